//! State that survives: a log of operations and snapshots of what they come to, together.
//!
//! ```no_run
//! use std::time::Duration;
//! use minisnap_client::SnapshotPolicy;
//! use minisnap_client::state::{Mutator, Result, State};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter {
//!     value: u64,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Add(u64);
//!
//! impl Mutator<Counter> for Add {
//!     fn apply(&self, counter: &mut Counter) {
//!         counter.value += self.0;
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! const POLICY: SnapshotPolicy = SnapshotPolicy::every(1000);
//!
//! let mut counter = State::<Counter, Add>::open("/log")?; // the newest sound snapshot, then the records after it
//! let seq = counter.apply(Add(2))?; // durable when this returns
//! if POLICY.due(counter.since_snapshot(), Duration::ZERO) {
//!     counter.create_snapshot()?; // and removes the records that no snapshot needs any more
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The log is in a directory of the component's own, which a host grants beside that of the snapshots, as
//! `minisnap run --dir HOST::/log` does. `LOG.md` beside this crate's sources says what its lines are.
//!
//! What holds after any crash, power cut or full disk:
//!
//! - An operation whose [`apply`](State::apply) returned is in the state that the next [`open`](State::open) finds, and
//!   one that did not return is or is not. Of [`apply_all`](State::apply_all), all are or none is.
//! - A damaged snapshot costs a longer replay: an older one and the log come to the same state.
//! - Damage to the log is an error that names the file and the line. It is never taken for the end of the log, nor is a
//!   log that was lost: [`Error::Ahead`].
//! - Records go when the snapshot that makes them needless is durable, and not before.
//!
//! Natively this is what `ministate` does over `ministore` and `minisnap`, whose names it has. It is synchronous and holds
//! no thread, no timer and no lock but that of the directory.

mod error;
mod log;
mod record;
mod segment;
mod snapshots;

use std::io;
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

use crate::{Skipped, SnapStore};
use log::{Dir, Log};
use record::Record;
use segment::Found;

pub use error::{Error, Result};
pub use snapshots::Snapshots;

/// An operation on a state `S`, as the log holds it.
pub trait Mutator<S> {
    /// Changes the state. It must do the same to the same state whenever it is called: no clock, no random numbers, no
    /// other input. It is called again for each record that is replayed.
    ///
    /// What an operation cannot do it leaves undone: it is in the log already.
    fn apply(&self, state: &mut S);
}

/// A state `S` that is changed by operations `M`, whose log is a directory, and whose snapshots are in a store.
#[derive(Debug)]
pub struct State<S, M, Store = SnapStore> {
    snapshots: Store,
    log: Log,
    state: S,
    /// The number of the snapshot that was restored, or made since, or 0.
    snapshot: u64,
    recovery: Recovery,
    operations: PhantomData<fn() -> M>,
}

/// How a state was found when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The number of the snapshot that was restored; 0 if there was none.
    pub snapshot: u64,
    /// How many records were replayed.
    pub replayed: u64,
    /// The newer snapshots that are damaged, newest first: their records were replayed instead.
    pub skipped: Vec<Skipped>,
    /// How many bytes of a record that was never acknowledged were cut off at the end of the log.
    pub torn: u64,
}

/// How to open a state otherwise than from the newest snapshot.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    snapshot: Option<u64>,
    accepts_lost_log: bool,
}

impl OpenOptions {
    /// From the newest sound snapshot, with a log that has all that comes after it.
    pub fn new() -> Self {
        OpenOptions::default()
    }

    /// Begins with the snapshot of this number, or with none if it is 0, and replays more of the log: from every snapshot
    /// that is kept, the state is the same.
    pub fn snapshot(mut self, seq: u64) -> Self {
        self.snapshot = Some(seq);
        self
    }

    /// Accepts that the log was lost, or a part of its end, and that what it had after the snapshot is not in the state
    /// ([`Error::Ahead`]). It goes on after the snapshot.
    pub fn accept_lost_log(mut self) -> Self {
        self.accepts_lost_log = true;
        self
    }

    /// Opens the state, as [`State::open`] does, with its snapshots in this store.
    ///
    /// # Errors
    ///
    /// As [`State::open`], and [`crate::Error::NotFound`] if there is no snapshot of the number that was asked for.
    pub fn open<S, M, Store>(&self, mut snapshots: Store, log: impl AsRef<Path>) -> Result<State<S, M, Store>>
    where
        S: Default + DeserializeOwned,
        M: Mutator<S> + DeserializeOwned,
        Store: Snapshots,
    {
        // Nobody changes either once the log is locked.
        let dir = Dir::open(log.as_ref())?;
        let restored = match self.snapshot {
            None => snapshots.newest()?,
            Some(0) => None,
            Some(seq) => Some(snapshots.at(seq)?.ok_or(crate::Error::NotFound)?),
        };
        let (mut state, snapshot, skipped) = match restored {
            None => (S::default(), 0, Vec::new()),
            Some(restored) => {
                let restored = restored.parse()?;
                (restored.state, restored.seq, restored.skipped)
            }
        };
        let mut replayed = 0;
        let log = dir.replay(snapshot, |Found { path, line, op, .. }| {
            let operation: M = serde_json::from_str(op).map_err(|source| Error::RecordType {
                path: path.to_owned(),
                line,
                source,
            })?;
            operation.apply(&mut state);
            replayed += 1;
            Ok(())
        })?;
        let newest = match self.snapshot {
            None => newest_of(snapshot, &skipped),
            Some(_) => snapshots.newest()?.map_or(0, |newest| newest_of(newest.seq, &newest.skipped)),
        };
        if log.last < newest && !self.accepts_lost_log {
            return Err(Error::Ahead { path: log.path().to_owned(), snapshot: newest, log: log.last });
        }
        let recovery = Recovery { snapshot, replayed, skipped, torn: log.torn() };
        let last = after(log.last.max(snapshot), 0, log.path())?;
        let log = log.settle(last)?;
        Ok(State { snapshots, log, state, snapshot, recovery, operations: PhantomData })
    }
}

impl<S, M> State<S, M>
where
    S: Default + DeserializeOwned,
    M: Mutator<S> + DeserializeOwned,
{
    /// Restores the component's newest sound snapshot, or `S::default()` if there is none, and replays the records after
    /// it from the log in this directory, which must be there. What was torn by a crash is cut off, and what is found is
    /// durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`] if the snapshots cannot be restored, [`Error::Damaged`], [`Error::Missing`], [`Error::Ahead`],
    /// [`Error::RecordType`], [`Error::Busy`], [`Error::Io`]. Nothing was changed then, but by the last: what was torn
    /// may be cut off.
    pub fn open(log: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::new().open(SnapStore::new(), log)
    }
}

impl<S, M, Store> State<S, M, Store> {
    /// The state, with every operation that was applied.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The number of the last operation; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.log.last()
    }

    /// How many operations came after the newest sound snapshot, for a [`SnapshotPolicy`](crate::SnapshotPolicy).
    pub fn since_snapshot(&self) -> u64 {
        self.sequence() - self.snapshot
    }

    /// How the state was found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl<S, M, Store> State<S, M, Store>
where
    S: Serialize + DeserializeOwned,
    M: Mutator<S> + Serialize + DeserializeOwned,
    Store: Snapshots,
{
    /// Writes an operation to the log, and then changes the state by it. Returns its number; it is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Type`], [`Error::Io`] also if the disk is full, [`Error::InDoubt`], [`Error::Busy`]; after the last two,
    /// and where the end of the log is in doubt, every call is [`Error::Reopen`].
    pub fn apply(&mut self, operation: M) -> Result<u64> {
        self.apply_all([operation])
    }

    /// Writes operations to the log with one sync, and then changes the state by them in order. Returns the number of the
    /// last; all are durable. A crash leaves all of them or none.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and none was applied.
    pub fn apply_all(&mut self, operations: impl IntoIterator<Item = M>) -> Result<u64> {
        self.log.check()?;
        let texts: Vec<String> =
            operations.into_iter().map(|operation| one_line(&operation)).collect::<Result<_>>()?;
        // What is applied is what a replay reads, to the last bit.
        let read: Vec<M> = texts.iter().map(|text| read_back(text)).collect::<Result<_>>()?;
        let first = self.sequence() + 1;
        let last = after(self.sequence(), texts.len(), self.log.path())?;
        let mut lines = String::new();
        for (seq, op) in (first..).zip(&texts) {
            record::write(&mut lines, &Record { seq, batch: (first, last), op });
        }
        if !lines.is_empty() {
            self.log.append(&lines, last)?;
        }
        for operation in read {
            operation.apply(&mut self.state);
        }
        Ok(last)
    }

    /// Makes a snapshot of the state, which is durable when this returns, and then removes the records that no snapshot
    /// needs any more, as [`compact`](Self::compact) does. What cannot be removed now is no error here: it goes next time.
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`], [`Error::Type`], [`Error::Reopen`]. The log is as before then.
    pub fn create_snapshot(&mut self) -> Result<()> {
        self.log.check()?;
        let text = serde_json::to_string(&self.state).map_err(Error::Type)?;
        // A snapshot that cannot be read would be found out when the records are gone.
        let _: S = read_back(&text)?;
        self.snapshots.create(&text, self.sequence())?;
        self.snapshot = self.sequence();
        let _ = self.compact();
        Ok(())
    }

    /// Removes the records that every sound snapshot contains: segments of the log, whole. After a snapshot, the log goes
    /// on in a new segment, so that the next one can go.
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`], [`Error::Io`], [`Error::Reopen`].
    pub fn compact(&mut self) -> Result<()> {
        self.log.check()?;
        if self.snapshot == self.sequence() {
            self.log.start_segment()?;
        }
        match self.snapshots.oldest_kept()? {
            Some(oldest) => self.log.remove_up_to(oldest),
            None => Ok(()),
        }
    }
}

/// The number of the newest snapshot, sound or not.
fn newest_of(seq: u64, skipped: &[Skipped]) -> u64 {
    skipped.iter().map(|skipped| skipped.seq).fold(seq, u64::max)
}

/// The number that comes so many after another.
fn after(seq: u64, count: usize, log: &Path) -> Result<u64> {
    // The one after the last must have a name, too.
    seq.checked_add(count as u64).filter(|&last| last < u64::MAX).ok_or_else(|| Error::Io {
        doing: "go on in",
        path: log.to_owned(),
        source: io::Error::other("there are no higher numbers"),
    })
}

/// An operation as JSON in one line.
fn one_line<M: Serialize>(operation: &M) -> Result<String> {
    let text = serde_json::to_string(operation).map_err(Error::Type)?;
    // Only text that serde_json took as it is, a `RawValue`, can have one.
    if text.contains('\n') {
        return Err(Error::Type(serde_json::Error::custom("an operation is in more than one line")));
    }
    Ok(text)
}

fn read_back<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::Type)
}
