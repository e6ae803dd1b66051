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
//! The log is in a directory of the component's own, which a host grants beside that of the snapshots:
//! a grants file by `log = true`, or `minisnap run --dir HOST::/log`. `LOG.md` beside this crate's sources says what its lines are.
//!
//! What holds after any crash, power cut or full disk:
//!
//! - An operation whose [`apply`](State::apply) returned its number is in the state that the next [`open`](State::open)
//!   finds. One whose `apply` did not return, or was [`Error::InDoubt`], may be in it or not. Of
//!   [`apply_all`](State::apply_all), all are or none is.
//! - A damaged snapshot costs a longer replay where an older one is kept, as in the layout `numbered`: it and the log come
//!   to the same state.
//! - Damage to the log is an error that names the file and the line; it is not taken for the end of the log. If the log or
//!   its newest segment was lost since a snapshot was made, that is [`Error::Ahead`]. If whole lines are missing at the end,
//!   nobody can tell.
//! - Records go when the snapshot that makes them needless is durable, and not before.
//!
//! One process at a time has the log: natively the directory is locked, and of components, `minisnap run` locks what
//! `--dir` gives them; another host does so by `Folder::lock` of its library. Grant the log's directory itself: the lock does
//! not reach directories inside it. The log belongs to its snapshots: nothing
//! ties the two directories together but their numbers. After a host's `rollback`, the log still has the records that came
//! later, and `LOG.md` says what to do.
//!
//! Natively this is what `ministate` does over `ministore` and `minisnap`; what means the same is called the same. It is
//! synchronous and holds no thread and no timer.

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

use crate::{Skipped, SnapStore, Snapshot};
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
    /// What an operation cannot do it leaves undone: it is in the log already, and a panic would come again at each start.
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
#[non_exhaustive]
pub struct Recovery {
    /// The number of the snapshot that was restored, if there was one.
    pub snapshot: Option<u64>,
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

    /// Begins with the snapshot of this number, and replays more of the log: from every snapshot that is kept, the state is
    /// the same. 0 begins with nothing, or with the snapshot 0 if there is one: for a log that is whole beside snapshots of
    /// which none is sound.
    pub fn snapshot(mut self, seq: u64) -> Self {
        self.snapshot = Some(seq);
        self
    }

    /// Accepts [`Error::Ahead`]: the log was lost, or a part of its end, or there never was one, as beside the snapshots of
    /// another program. The state is that of the newest sound snapshot and of what there is of the log after it, and goes on
    /// after the newest snapshot's number: if that one is damaged, with a new snapshot in its place.
    ///
    /// It does not go with [`snapshot`](Self::snapshot). After an error, accept it again, and do not put the lost log back.
    /// Until as many new snapshots were made as are kept, an older one cannot stand in for a damaged one: between it and them,
    /// records are missing.
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
        S: Default + Serialize + DeserializeOwned,
        M: Mutator<S> + Serialize + DeserializeOwned,
        Store: Snapshots,
    {
        // First, so that no other process changes what is found.
        let dir = Dir::open(log.as_ref())?;
        let restored = match self.snapshot {
            None => snapshots.newest()?,
            Some(seq) => match snapshots.at(seq)? {
                None if seq > 0 => return Err(crate::Error::NotFound.into()),
                restored => restored,
            },
        };
        let mut recovery = Recovery { snapshot: None, replayed: 0, skipped: Vec::new(), torn: 0 };
        let mut state = S::default();
        if let Some(restored) = restored {
            let Snapshot { state: found, seq, skipped, .. } = restored.parse()?;
            (state, recovery.snapshot, recovery.skipped) = (found, Some(seq), skipped);
        }
        let snapshot = recovery.snapshot.unwrap_or(0);
        let log = dir.replay(snapshot, |Found { path, line, op, .. }| {
            let operation: M = serde_json::from_str(op).map_err(|source| Error::RecordType {
                path: path.to_owned(),
                line,
                source,
            })?;
            operation.apply(&mut state);
            recovery.replayed += 1;
            Ok(())
        })?;
        recovery.torn = log.torn();

        let newest = match self.snapshot {
            None => recovery.skipped.iter().map(|skipped| skipped.seq).max().max(recovery.snapshot),
            Some(_) => snapshots.newest_seq()?,
        };
        let ahead = newest.filter(|&newest| log.last < newest || !log.goes_beyond(newest));
        match ahead {
            Some(newest) if !self.accepts_lost_log || self.snapshot.is_some() => {
                return Err(Error::Ahead { path: log.path().to_owned(), snapshot: newest, log: log.last });
            }
            _ => {}
        }
        let last = after(ahead.map_or(log.last, |newest| log.last.max(newest)), 0, log.path())?;
        let mut snapshot = snapshot;
        if last > log.last.max(snapshot) {
            // What the numbers between stand for is lost. A damaged snapshot that comes back must not bring it back; and before
            // the log goes on, since what it lacks then is in no other snapshot.
            snapshots.create(&to_json(&state)?, last)?;
            snapshot = last;
        }
        let log = log.settle(last, ahead.is_some())?;
        Ok(State { snapshots, log, state, snapshot, recovery, operations: PhantomData })
    }
}

impl<S, M> State<S, M>
where
    S: Default + Serialize + DeserializeOwned,
    M: Mutator<S> + Serialize + DeserializeOwned,
{
    /// Restores the component's newest sound snapshot, or `S::default()` if there is none, and replays the records after
    /// it from the log in this directory, which must be there. What was torn by a crash is cut off, and what is found is
    /// durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`] if the snapshots cannot be restored, [`Error::Damaged`], [`Error::Later`], [`Error::Missing`],
    /// [`Error::Ahead`], [`Error::RecordType`], [`Error::Busy`], [`Error::Io`]. Nothing was changed then, but by the last: what was torn
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
    /// last, or of the last there was if these are none; all are durable. A crash leaves all of them or none.
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
        let last = after(self.sequence(), texts.len(), self.log.path())?;
        let first = self.sequence() + 1;
        let mut lines = String::new();
        for (op, seq) in texts.iter().zip(first..) {
            record::write(&mut lines, &Record { seq, batch: (first, last), op });
        }
        if lines.is_empty() {
            return Ok(last);
        }
        self.log.append(&lines, last)?;
        // Until all are applied, the state is none that a replay comes to.
        self.log.refuse_all(Some("an operation panicked"));
        for operation in read {
            operation.apply(&mut self.state);
        }
        self.log.refuse_all(None);
        Ok(last)
    }

    /// Makes a snapshot of the state, which is durable when this returns, and then removes the records that no snapshot
    /// needs any more, as [`compact`](Self::compact) does. What cannot be removed now is no error here: it goes next time.
    ///
    /// The state is written as JSON in memory and read back, to see that it can be: that takes as much memory again as the
    /// state and its JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Type`], [`Error::Snapshot`], [`Error::Io`], [`Error::Reopen`]; no operation is lost by any.
    pub fn create_snapshot(&mut self) -> Result<()> {
        self.log.check()?;
        let text = to_json(&self.state)?;
        // First the segment of what comes after it: where there is none beside the snapshot, it was lost.
        self.log.start_segment()?;
        self.snapshots.create(&text, self.sequence())?;
        self.snapshot = self.sequence();
        let _ = self.compact();
        Ok(())
    }

    /// Removes the records that every sound snapshot contains: segments of the log, whole. Each snapshot begins a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`], [`Error::Io`], [`Error::Reopen`].
    pub fn compact(&mut self) -> Result<()> {
        self.log.check()?;
        match self.snapshots.oldest_kept()? {
            Some(oldest) => self.log.remove_up_to(oldest),
            None => Ok(()),
        }
    }
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

/// A state as JSON that can be read back: else that would be found out when the records are gone.
fn to_json<S: Serialize + DeserializeOwned>(state: &S) -> Result<String> {
    let text = serde_json::to_string(state).map_err(Error::Type)?;
    read_back::<S>(&text).map(|_| text)
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
