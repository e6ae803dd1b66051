//! A host that wants a store for itself, which others want, too.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use minisnap_host::remote::{Location, Remote};
use minisnap_host::{Error, Grant, Minisnap, Snapshot, SnapshotStore};

use super::history::{Became, Event, What, now};
use crate::random::Random;

/// What all of them do alike.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How many generations are kept.
    pub keep: NonZeroU32,
    /// How long a call may take, at most.
    pub deadline: Duration,
    /// The longest deadline of some openings, of which calls are given up at any point.
    pub short: Duration,
    /// How long a host lets the others have the store, at most.
    pub pause: Duration,
}

/// A host.
pub struct Fighter {
    /// Its name.
    pub name: String,
    /// What runs there.
    pub minisnap: Minisnap,
    /// The bucket.
    pub location: Location,
    /// The store that all want.
    pub store: String,
    /// Its own folder.
    pub dir: PathBuf,
    /// What no other start of it has.
    pub start: u64,
    /// What it does.
    pub rules: Rules,
}

impl Fighter {
    fn grant(&self, deadline: Duration) -> Grant {
        let remote = Remote::new(self.location.clone(), &self.store).node(&self.name);
        Grant::new(&self.dir).keep(self.rules.keep).deadline(deadline).remote(remote)
    }

    fn told(&self, began: u64, what: What) -> Event {
        Event { host: self.name.clone(), began, ended: now(), what }
    }

    /// Takes the store over, creates some snapshots, and lets go of it, again and again.
    pub fn write(&self, mut random: Random, goes_on: impl Fn() -> bool, tell: impl Fn(Event)) {
        let mut count = 0;
        while goes_on() {
            thread::sleep(random.time(self.rules.pause));
            let deadline = match random.below(4) {
                0 => random.time(self.rules.short),
                _ => self.rules.deadline,
            };
            let began = now();
            let opened = self.minisnap.open(self.grant(deadline));
            tell(self.told(began, opened.as_ref().map_or_else(failed, |_| What::Opened)));
            if let Ok(mut store) = opened {
                let times = 1 + random.below(12);
                self.create(&mut store, &mut count, times, &goes_on, &tell);
            }
        }
    }

    /// Creates snapshots, until it is told that it may not.
    fn create(
        &self,
        store: &mut SnapshotStore,
        count: &mut u64,
        times: u64,
        goes_on: impl Fn() -> bool,
        tell: impl Fn(Event),
    ) {
        let began = now();
        let mut seq = match store.newest_seq() {
            Ok(newest) => newest + 1,
            Err(Error::NotFound) => 1,
            Err(error) => return tell(self.told(began, failed(&error))),
        };
        for _ in 0..times {
            if !goes_on() {
                return;
            }
            *count += 1;
            let state = format!("{}-{}-{count}", self.name, self.start);
            let began = now();
            let created = store.create_text(&format!("\"{state}\""), seq);
            let became = match &created {
                Ok(()) => Became::Acknowledged,
                Err(Error::InDoubt(_)) => Became::InDoubt,
                Err(error) => Became::Refused(error.case().to_owned()),
            };
            tell(self.told(began, What::Created { seq, state, became }));
            match created {
                Ok(()) => seq += 1,
                Err(Error::Busy(_)) => return,
                Err(Error::Stale(newest)) => seq = newest + 1,
                Err(_) => {}
            }
        }
    }

    /// Restores the newest snapshot, again and again.
    pub fn read(&self, goes_on: impl Fn() -> bool, tell: impl Fn(Event)) {
        while goes_on() {
            let began = now();
            let mut store = match self.open_for_reading() {
                Ok(store) => store,
                Err(error) => {
                    tell(self.told(began, failed(&error)));
                    thread::sleep(self.rules.pause / 20);
                    continue;
                }
            };
            while goes_on() {
                thread::sleep(self.rules.pause / 20);
                let event = self.read_once(&mut store);
                let has_failed = matches!(event.what, What::Failed { .. });
                tell(event);
                if has_failed {
                    break;
                }
            }
        }
    }

    /// Its store, of which it only reads.
    ///
    /// # Errors
    ///
    /// As [`Minisnap::open`].
    pub fn open_for_reading(&self) -> Result<SnapshotStore, Error> {
        self.minisnap.open(self.grant(self.rules.deadline).read_only())
    }

    /// Restores the newest snapshot.
    pub fn read_once(&self, store: &mut SnapshotStore) -> Event {
        let began = now();
        let what = match store.restore::<String>() {
            Ok(Snapshot { state, seq, skipped, .. }) => {
                let skipped = skipped.iter().map(|skipped| format!("{skipped:?}")).collect();
                What::Read { seq, state, skipped }
            }
            Err(Error::NotFound) => What::Read { seq: 0, state: String::new(), skipped: Vec::new() },
            Err(error) => failed(&error),
        };
        self.told(began, what)
    }
}

fn failed(error: &Error) -> What {
    What::Failed { case: error.case().to_owned(), why: error.to_line() }
}
