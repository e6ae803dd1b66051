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
        /// Which newer ones were skipped, and why.
        skipped: Vec<String>,
    },
    /// A call failed.
    Failed {
        /// The case of its error.
        case: String,
        /// What it said.
        why: String,
    },
    /// It was stopped after the object of this state was put for the first time, before it knew that.
    Stopped {
        /// The state.
        state: String,
    },
}

/// What a host was told of a create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Became {
    /// It is in place.
    Acknowledged,
    /// It never will be, by an error of this case.
    Refused(String),
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
    /// How many creates were busy in which a host was stopped and another took the store over.
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
            "{opened} openings, {acknowledged} creates acknowledged, {refused} refused ({overtaken} since the host was stopped and \
             overtaken), {in_doubt} in doubt, {read} reads; failed: {failed:?}; {} violations {:?}",
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

/// How many creates were acknowledged.
pub fn acknowledged(history: &[Event]) -> u64 {
    let is_one = |event: &&Event| matches!(event.what, What::Created { became: Became::Acknowledged, .. });
    history.iter().filter(is_one).count() as u64
}

impl Outcome {
    /// Counts what happened, and finds what must not have.
    pub fn of(history: &[Event]) -> Outcome {
        let mut outcome = Outcome { acknowledged: acknowledged(history), ..Outcome::default() };
        for event in history {
            match &event.what {
                What::Opened => outcome.opened += 1,
                What::Created { became: Became::Refused(case), .. } => {
                    outcome.refused += 1;
                    outcome.failed(case);
                }
                What::Created { became: Became::InDoubt, .. } => outcome.in_doubt += 1,
                What::Read { .. } => outcome.read += 1,
                What::Failed { case, why } => {
                    if case == "corrupt" {
                        outcome.wrong(format!("{} found something damaged: {why}", event.host));
                    }
                    outcome.failed(case);
                }
                What::Created { became: Became::Acknowledged, .. } | What::Stopped { .. } => {}
            }
        }
        outcome.check_states(history);
        outcome.check_reads(history);
        outcome.check_owners(history);
        outcome
    }

    fn failed(&mut self, case: &str) {
        *self.failed.entry(case.to_owned()).or_default() += 1;
    }

    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    /// What was refused is never read; each state has one number, and each number at most one that was acknowledged.
    fn check_states(&mut self, history: &[Event]) {
        let (mut never, mut numbers, mut acknowledged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for event in history {
            match &event.what {
                What::Created { seq, state, became } => {
                    numbers.insert(state, *seq);
                    match became {
                        Became::Acknowledged => {
                            if let Some(earlier) = acknowledged.insert(*seq, state) {
                                self.wrong(format!("{seq} was acknowledged for {earlier} and for {state}"));
                            }
                        }
                        Became::Refused(_) => {
                            never.insert(state, "refused");
                        }
                        Became::InDoubt => {}
                    }
                }
                What::Stopped { state } if self.is_overtaken(event, state, history) => {
                    never.insert(state, "overtaken");
                }
                _ => {}
            }
        }
        let mut seen = BTreeSet::new();
        for event in history {
            let What::Read { seq, state, .. } = &event.what else { continue };
            if let Some(why) = never.get(state)
                && seen.insert(state)
            {
                self.wrong(format!("{state} was {why}, and read"));
            }
            if let Some(number) = numbers.get(state)
                && number != seq
            {
                self.wrong(format!("{state} was created as {number}, and read as {seq}"));
            }
        }
    }

    /// Whether another took the store over while a host was stopped, which has committed nothing then.
    fn is_overtaken(&mut self, stop: &Event, stopped: &str, history: &[Event]) -> bool {
        let overtook = |event: &&Event| {
            let in_between = stop.began < event.began && event.ended < stop.ended;
            event.what == What::Opened && event.host != stop.host && in_between
        };
        let Some(other) = history.iter().find(overtook) else { return false };
        let became = history.iter().find_map(|event| match &event.what {
            What::Created { state, became, .. } if state == stopped => Some(became),
            _ => None,
        });
        match became {
            Some(Became::Acknowledged) => self.wrong(format!(
                "{stopped} was acknowledged to {}, which {} overtook while it was stopped",
                stop.host, other.host
            )),
            Some(Became::Refused(case)) if case == "busy" => self.overtaken += 1,
            // It was killed, or could not find out, or had no time left.
            _ => {}
        }
        true
    }

    /// What was acknowledged or read is not lost to who reads later.
    fn check_reads(&mut self, history: &[Event]) {
        let (mut known, mut acknowledged) = (Vec::new(), BTreeMap::new());
        for event in history {
            match &event.what {
                What::Created { seq, state, became: Became::Acknowledged } => {
                    known.push((event.ended, *seq));
                    acknowledged.insert(*seq, (state, event.ended));
                }
                What::Read { seq, .. } => known.push((event.ended, *seq)),
                _ => {}
            }
        }
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
            if *seq < least || !skipped.is_empty() {
                let host = &event.host;
                self.wrong(format!("{host} read {seq} after {least} was known, and skipped {skipped:?}"));
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

    /// Who was taken over from since it opened the store is acknowledged nothing that it begins then.
    fn check_owners(&mut self, history: &[Event]) {
        let mut opened: Vec<_> = history.iter().filter(|event| event.what == What::Opened).collect();
        opened.sort_unstable_by_key(|event| event.ended);
        for event in history {
            let What::Created { state, became: Became::Acknowledged, .. } = &event.what else { continue };
            let before = opened.partition_point(|opening| opening.ended < event.began);
            let mut later = opened[..before].iter().rev();
            let own = later.clone().find(|opening| opening.host == event.host);
            let Some(own) = own else { continue };
            let other = later
                .by_ref()
                .take_while(|opening| opening.ended > own.ended)
                .find(|opening| opening.began > own.ended);
            if let Some(other) = other {
                let (host, other) = (&event.host, &other.host);
                self.wrong(format!("{state} was acknowledged to {host}, from which {other} had taken over"));
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
        What::Read { seq, state: state.to_owned(), skipped: Vec::new() }
    }

    fn refused(case: &str) -> Became {
        Became::Refused(case.to_owned())
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
        use Became::{Acknowledged, InDoubt};
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
        let create = event("b", 3, 4, created(2, "z", refused("busy")));
        check(&[one(), create, event("c", 5, 6, read(2, "z"))], Some("z was refused, and read"));
        let doubtful = event("b", 3, 4, created(2, "z", InDoubt));
        check(&[one(), doubtful.clone(), event("c", 5, 6, read(2, "z"))], None);
        check(&[one(), doubtful, event("c", 5, 6, read(1, "x"))], None);
        let skipped = What::Read { seq: 1, state: "x".to_owned(), skipped: vec!["2".to_owned()] };
        check(&[one(), event("c", 5, 6, skipped)], Some("skipped [\"2\"]"));
        check(&[one(), event("c", 0, 6, read(2, "x"))], Some("created as 1, and read as 2"));
    }

    #[test]
    fn what_is_found_damaged_is_a_violation() {
        let why = String::new();
        let failed = |case: &str| event("a", 1, 2, What::Failed { case: case.to_owned(), why: why.clone() });
        check(&[failed("io")], None);
        check(&[failed("corrupt")], Some("damaged"));
    }

    #[test]
    fn a_host_that_was_overtaken_while_it_was_stopped_has_committed_nothing() {
        let create = |became| event("a", 1, 9, created(1, "x", became));
        let stop = || event("a", 2, 6, stopped("x"));
        let other = |began, ended| event("b", began, ended, What::Opened);
        check(&[create(Became::Acknowledged), stop(), other(3, 5)], Some("overtook"));
        check(&[create(Became::Acknowledged), stop(), other(3, 7)], None);
        check(&[create(Became::Acknowledged), stop(), other(1, 5)], None);
        // Whatever it was told, or if it was killed.
        let seen = || event("c", 10, 11, read(1, "x"));
        check(&[create(Became::InDoubt), stop(), other(3, 5), seen()], Some("x was overtaken, and read"));
        check(&[stop(), other(3, 5), seen()], Some("x was overtaken, and read"));
        check(&[create(Became::InDoubt), stop(), other(3, 7), seen()], None);
        for (case, overtaken) in [("busy", 1), ("deadline-exceeded", 0)] {
            let found = Outcome::of(&[create(refused(case)), stop(), other(3, 5)]);
            assert_eq!((found.overtaken, found.violations.len()), (overtaken, 0));
        }
    }

    #[test]
    fn a_host_that_was_taken_over_from_is_acknowledged_nothing_that_it_begins_then() {
        let opened = |host, began, ended| event(host, began, ended, What::Opened);
        let create = || event("a", 5, 6, created(1, "x", Became::Acknowledged));
        check(&[opened("a", 0, 1), opened("b", 2, 4), create()], Some("from which b had taken over"));
        check(&[opened("a", 0, 1), opened("b", 2, 5), create()], None);
        check(&[opened("a", 0, 3), opened("b", 2, 4), create()], None);
        check(&[opened("a", 0, 1), opened("b", 2, 3), opened("a", 3, 4), create()], None);
    }
}
