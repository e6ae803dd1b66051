//! What hosts did with one store, and what of that must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A call that has ended, or a time in which a host was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The host's name.
    pub host: String,
    /// When it began, by the clock that all processes of a machine share, in nanoseconds.
    pub began: u64,
    /// When it had ended.
    pub ended: u64,
    /// What it was.
    pub what: What,
}

/// What a host did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It opened the store for writing.
    Opened,
    /// It tried to create this snapshot.
    Created {
        /// Its number.
        seq: u64,
        /// Its state, which no other has.
        state: String,
        /// What it was told.
        became: Became,
    },
    /// It restored the newest snapshot.
    Read {
        /// Its number, 0 if there was none.
        seq: u64,
        /// Its state.
        state: String,
        /// How many newer ones were skipped.
        skipped: usize,
    },
    /// A call failed, with an error of this case.
    Failed(String),
    /// It was stopped after the object of this state was put, before it knew that.
    Stopped {
        /// The state.
        state: String,
    },
}

/// What a host was told of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Became {
    /// It is in place.
    Acknowledged,
    /// It never will be.
    Refused,
    /// Nobody knows.
    InDoubt,
}

/// What came of it all.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often the store was opened.
    pub opened: u64,
    /// How many creates were acknowledged.
    pub acknowledged: u64,
    /// How many were refused, and so must never be seen.
    pub refused: u64,
    /// Of how many nobody knew.
    pub in_doubt: u64,
    /// How often a snapshot was read.
    pub read: u64,
    /// How many creates were refused in which a host was stopped and another took the store over.
    pub overtaken: u64,
    /// How often a call failed, by the case of its error.
    pub failed: BTreeMap<String, u64>,
    /// What must not be.
    pub violations: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { opened, acknowledged, refused, in_doubt, read, overtaken, failed, violations } = self;
        write!(
            f,
            "{opened} openings, {acknowledged} creates acknowledged, {refused} refused ({overtaken} of a host that was stopped \
             and overtaken), {in_doubt} in doubt, {read} reads; failed: {failed:?}; {} violations {:?}",
            violations.len(),
            violations.first()
        )
    }
}

/// What time it is, in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Outcome {
    /// Counts what happened, and finds what must not have.
    pub fn of(history: &[Event]) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut acknowledged, mut refused, mut read) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for event in history {
            match &event.what {
                What::Opened => outcome.opened += 1,
                What::Created { seq, state, became: Became::Acknowledged } => {
                    outcome.acknowledged += 1;
                    if let Some((earlier, _)) = acknowledged.insert(*seq, (state, event.ended)) {
                        outcome.wrong(format!("{seq} was acknowledged for {earlier} and for {state}"));
                    }
                }
                What::Created { state, became: Became::Refused, .. } => {
                    outcome.refused += 1;
                    refused.insert(state);
                }
                What::Created { became: Became::InDoubt, .. } => outcome.in_doubt += 1,
                What::Read { state, .. } => {
                    outcome.read += 1;
                    read.insert(state);
                }
                What::Failed(case) => {
                    if case == "corrupt" {
                        outcome.wrong(format!("{} found something damaged", event.host));
                    }
                    *outcome.failed.entry(case.clone()).or_default() += 1;
                }
                What::Stopped { state } => outcome.stopped(event, state, history),
            }
        }
        for state in refused.intersection(&read) {
            outcome.wrong(format!("{state} was refused, and read"));
        }
        outcome.check_reads(history, &acknowledged);
        outcome
    }

    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    /// A host that was overtaken in its sleep has committed nothing.
    fn stopped(&mut self, stop: &Event, stopped: &str, history: &[Event]) {
        let overtook = |event: &&Event| {
            let in_between = stop.began < event.began && event.ended < stop.ended;
            event.what == What::Opened && event.host != stop.host && in_between
        };
        let Some(other) = history.iter().find(overtook) else { return };
        let became = history.iter().find_map(|event| match &event.what {
            What::Created { state, became, .. } if state == stopped => Some(*became),
            _ => None,
        });
        match became {
            Some(Became::Acknowledged) => self.wrong(format!(
                "{stopped} was acknowledged to {}, which {} overtook while it was stopped",
                stop.host, other.host
            )),
            Some(Became::Refused) => self.overtaken += 1,
            // It was killed, or could not find out.
            Some(Became::InDoubt) | None => {}
        }
    }

    /// What was acknowledged or read is not lost to who reads later.
    fn check_reads(&mut self, history: &[Event], acknowledged: &BTreeMap<u64, (&String, u64)>) {
        let known = |event: &Event| match event.what {
            What::Created { seq, became: Became::Acknowledged, .. } | What::Read { seq, .. } => {
                Some((event.ended, seq))
            }
            _ => None,
        };
        let mut known: Vec<_> = history.iter().filter_map(known).collect();
        known.sort_unstable();
        let mut highest = 0;
        for (_, seq) in &mut known {
            highest = highest.max(*seq);
            *seq = highest;
        }
        for event in history {
            let What::Read { seq, state, skipped } = &event.what else { continue };
            let before = known.partition_point(|(ended, _)| *ended < event.began);
            let least = before.checked_sub(1).map_or(0, |last| known[last].1);
            if *seq < least || *skipped > 0 {
                self.wrong(format!(
                    "{} read {seq} after {least} was known, and skipped {skipped}",
                    event.host
                ));
            }
            // One in doubt may be read until another takes its number.
            if let Some((other, ended)) = acknowledged.get(seq)
                && *ended < event.began
                && *other != state
            {
                self.wrong(format!("{seq} was acknowledged for {other}, and read as {state}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(host: &str, began: u64, ended: u64, what: What) -> Event {
        Event { host: host.to_owned(), began, ended, what }
    }

    fn created(seq: u64, state: &str, became: Became) -> What {
        What::Created { seq, state: state.to_owned(), became }
    }

    fn read(seq: u64, state: &str) -> What {
        What::Read { seq, state: state.to_owned(), skipped: 0 }
    }

    fn stopped(state: &str) -> What {
        What::Stopped { state: state.to_owned() }
    }

    /// What must not be in a history, of which each line alone would be right.
    #[track_caller]
    fn check(history: &[Event], violation: Option<&str>) {
        let found = Outcome::of(history).violations;
        match violation {
            None => assert_eq!(found, [""; 0]),
            Some(violation) => assert!(found.len() == 1 && found[0].contains(violation), "{found:?}"),
        }
    }

    #[test]
    fn each_violation_is_found_in_a_history_and_none_in_a_sound_one() {
        use Became::{Acknowledged, InDoubt, Refused};
        let one = || event("a", 1, 2, created(1, "x", Acknowledged));
        let two = || event("b", 3, 5, created(2, "y", Acknowledged));
        check(&[one(), two(), event("c", 6, 7, read(2, "y"))], None);
        check(&[one(), two(), event("c", 6, 7, read(1, "x"))], Some("read 1 after 2"));
        // Who reads meanwhile may find either.
        check(&[one(), two(), event("c", 4, 7, read(1, "x"))], None);
        check(&[one(), two(), event("c", 4, 6, read(2, "y")), event("a", 5, 8, read(1, "x"))], None);
        check(
            &[one(), event("c", 4, 6, read(2, "y")), event("a", 7, 8, read(1, "x"))],
            Some("read 1 after 2"),
        );
        check(&[one(), event("c", 4, 6, read(0, ""))], Some("read 0 after 1"));
        check(&[one(), event("b", 3, 4, created(1, "z", Acknowledged))], Some("for x and for z"));
        check(&[one(), event("c", 3, 4, read(1, "z"))], Some("read as z"));
        let refused = event("b", 3, 4, created(2, "z", Refused));
        check(&[one(), refused, event("c", 5, 6, read(2, "z"))], Some("z was refused, and read"));
        let doubtful = event("b", 3, 4, created(2, "z", InDoubt));
        check(&[one(), doubtful.clone(), event("c", 5, 6, read(2, "z"))], None);
        check(&[one(), doubtful, event("c", 5, 6, read(1, "x"))], None);
        let skipped = What::Read { seq: 1, state: "x".to_owned(), skipped: 1 };
        check(&[one(), event("c", 5, 6, skipped)], Some("skipped 1"));
    }

    #[test]
    fn what_is_found_damaged_is_a_violation() {
        let failed = |case: &str| event("a", 1, 2, What::Failed(case.to_owned()));
        check(&[failed("io")], None);
        check(&[failed("corrupt")], Some("damaged"));
    }

    #[test]
    fn a_host_that_was_overtaken_while_it_was_stopped_must_not_be_acknowledged() {
        let create = |became| event("a", 1, 9, created(1, "x", became));
        let stop = || event("a", 2, 6, stopped("x"));
        let other = |began, ended| event("b", began, ended, What::Opened);
        check(&[create(Became::Acknowledged), stop(), other(3, 5)], Some("overtook"));
        check(&[create(Became::Acknowledged), stop(), other(3, 7)], None);
        check(&[create(Became::Acknowledged), stop(), other(1, 5)], None);
        let refused = Outcome::of(&[create(Became::Refused), stop(), other(3, 5)]);
        assert_eq!((refused.overtaken, refused.violations.len()), (1, 0));
    }
}
