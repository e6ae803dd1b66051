//! One running store component and its calls.

mod call;
mod clear;
mod copy;
mod maintenance;
mod remote;
#[cfg(feature = "state")]
mod state;
mod streams;
mod typed;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Span, field, warn, warn_span};

use crate::calls::{Calls, Target};
use crate::clock::Deadline;
use crate::directory::Held;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::grant::{Grant, span};
use crate::idle::{Idle, Slot};
use crate::instance::{Handle, Instance};
use crate::metrics::Event;
use crate::snapshot::{Info, Skipped, Snapshot};
use crate::staged::{Buckets, Staging};

pub use clear::Files;
pub use copy::{Copied, CopyError, Refusal, Selection};

/// What one call hands over of a stream, in bytes.
const CHUNK: usize = 256 << 10;

/// What all stores share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    /// The instances that wait for the next call of their stores.
    pub(crate) idle: Arc<Idle<Instance>>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) buckets: Buckets,
}

/// The store of one directory.
///
/// Its instance of the store component is made on first use and serves every call. After a trap, or a call that returned a
/// large state, it is thrown away, and the next call makes another. Dropping the store discards what is being written, and
/// releases the directory.
///
/// Beside the errors that they name, calls have [`Error::DeadlineExceeded`], and [`Error::DirectoryReplaced`] where the
/// directory is not there any more.
///
/// Its calls block: in a task of tokio they are [`Error::Io`], after tokio has panicked, which ends a host that was built to
/// abort then. Such a host gives the store to
/// [`SnapshotCtx`](crate::SnapshotCtx), and makes its own calls by [`SnapshotCtx::call`](crate::SnapshotCtx::call).
pub struct SnapshotStore {
    shared: Arc<Shared>,
    /// What the component gets.
    grant: Grant,
    /// Where the snapshots are, if the directory is only where they are made and got to.
    staging: Option<Box<Staging>>,
    target: Arc<Target>,
    held: Option<Held>,
    /// Where the instance waits for the next call.
    instance: Slot<Instance>,
    peak_memory: usize,
    /// Whether what an earlier crash left was settled, and told of.
    settled: bool,
    /// When the call that is running must have ended.
    deadline: Deadline,
    /// Whether the call that is running need not wait for its turn.
    has_turn: bool,
    /// Open streams that have no owner any more.
    ownerless: Vec<Handle>,
    /// Whether its calls are parts of another one, and not counted.
    is_uncounted: bool,
}

impl SnapshotStore {
    /// A store on the target, which is the directory of the grant.
    pub(crate) fn new(shared: Arc<Shared>, grant: Grant, target: Arc<Target>) -> Result<Self> {
        let staging = Staging::open(&shared.buckets, &grant)?.map(Box::new);
        let (grant, held) = match &staging {
            Some(staging) => (staging.grant(), None),
            None => {
                let held = grant.hold()?;
                (grant, held)
            }
        };
        // A link may lead to another file system than the path says.
        let target = match &held {
            Some(held) => Arc::new(target.on_device(held.identity.device)),
            _ => target,
        };
        Ok(SnapshotStore {
            instance: shared.idle.slot(),
            shared,
            grant,
            staging,
            target,
            held,
            peak_memory: 0,
            settled: false,
            deadline: Deadline::NEVER,
            has_turn: false,
            ownerless: Vec::new(),
            is_uncounted: false,
        })
    }

    /// The names of the named stores, sorted, of which the grant allows some.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`], [`Error::Component`].
    pub fn names(&mut self) -> Result<Vec<String>> {
        if let Some(names) = self.away(|staging, time| staging.names(time))? {
            return Ok(names);
        }
        let names = self.with_instance("names", |instance| {
            instance.bindings.arcella_minisnap_snapshot_store().call_names(&mut instance.store)
        });
        match names {
            // A directory that is not there, which only a reader leaves at that.
            Err(Error::NotFound) => Ok(Vec::new()),
            names => names,
        }
    }

    /// Makes `state` with `seq` the stored snapshot; it is durable when this returns.
    ///
    /// A large one is written, and its calls are logged, by another thread while it is being serialised here: that must not
    /// wait for a lock which the caller holds. The deadline is that of both.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if it cannot be serialised, and as [`create_text`](Self::create_text).
    pub fn create<S: Serialize + ?Sized>(&mut self, state: &S, seq: u64) -> Result<()> {
        typed::create(self, state, seq)
    }

    /// Makes `state`, which is JSON, with `seq` the stored snapshot; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`], [`Error::Stale`], [`Error::TooLarge`], [`Error::Corrupt`] if the stored number cannot
    /// be trusted, [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Busy`] while a component has a writer open,
    /// [`Error::Io`], [`Error::InDoubt`], [`Error::Component`].
    pub fn create_text(&mut self, state: &str, seq: u64) -> Result<()> {
        self.create_in("", state, seq)
    }

    /// The same in the store of this name.
    pub(crate) fn create_in(&mut self, name: &str, state: &str, seq: u64) -> Result<()> {
        self.check_granted()?;
        // Before anything is written.
        if state.len() as u64 > self.grant.max_state {
            let refused = Error::TooLarge(self.grant.max_state);
            self.count(Event::Failed(&refused));
            return Err(refused);
        }
        self.in_one_turn(|store| {
            if state.len() > CHUNK {
                let write = |store: &mut Self, handle| store.write(handle, state.as_bytes()).map(|()| true);
                return store.create_by(name, seq, write).map(drop);
            }
            let span = store.span_of_create(name, seq).entered();
            span.record("bytes", state.len());
            let _locked = store.lock(name)?;
            store.prepare(name, seq)?;
            store.settle_first(name)?;
            let result = store.with_instance("create", |instance| {
                let created =
                    instance.call(name, |guest, store, this| guest.call_create(store, this, state, seq))?;
                instance.count_pruned(name);
                Ok(created)
            });
            store.explain(result)?;
            store.ship(name, seq, None)?;
            store.count(Event::Created(state.len() as u64));
            Ok(())
        })
    }

    /// Returns the newest sound state and its sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::OtherType`] if the state cannot be read as a `S`, and as [`restore_text`](Self::restore_text).
    pub fn restore<S: DeserializeOwned>(&mut self) -> Result<Snapshot<S>> {
        let Snapshot { state, seq, modified, soundness, skipped } = self.restore_text()?;
        let state = serde_json::from_str(&state)
            .map_err(Error::OtherType)
            .inspect_err(|error| self.count(Event::Failed(error)))?;
        Ok(Snapshot { state, seq, modified, soundness, skipped })
    }

    /// Returns the newest sound state, laid out as serde_json pretty-prints, and its sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if no generation is sound, [`Error::TooLarge`],
    /// [`Error::AccessDenied`], [`Error::Busy`] if it was rewritten faster than it could be read, [`Error::Io`],
    /// [`Error::Component`].
    pub fn restore_text(&mut self) -> Result<Snapshot> {
        self.restore_in("", None)
    }

    /// Returns the generation with the number `seq`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none, and as [`restore_text`](Self::restore_text).
    pub fn restore_text_at(&mut self, seq: u64) -> Result<Snapshot> {
        self.restore_in("", Some(seq))
    }

    /// The newest sound snapshot of the store of this name, or the generation with the number `seq`.
    pub(crate) fn restore_in(&mut self, name: &str, seq: Option<u64>) -> Result<Snapshot> {
        let span = self.span_of_restore(name).entered();
        let (mut snapshot, skipped) = self.read_sound(name, seq, |store, seq| {
            let snapshot = store.call(name, "restore", |guest, store, this| match seq {
                None => guest.call_restore(store, this),
                Some(seq) => guest.call_restore_at(store, this, seq),
            })?;
            snapshot.map(Snapshot::from).ok_or(Error::NotFound)
        })?;
        snapshot.skipped.splice(0..0, skipped);
        span.record("seq", snapshot.seq).record("bytes", snapshot.state.len());
        self.tell_restored(snapshot.state.len() as u64, &snapshot.skipped);
        Ok(snapshot)
    }

    /// Whether there is a snapshot, sound or not.
    ///
    /// # Errors
    ///
    /// As [`newest_seq`](Self::newest_seq), but [`Error::NotFound`].
    pub fn exists(&mut self) -> Result<bool> {
        match self.newest_seq() {
            Ok(_) => Ok(true),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The number of the newest snapshot, whose state is not read: if it is damaged, [`restore`](Self::restore) returns an
    /// older generation, or fails.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if the number cannot be trusted, [`Error::AccessDenied`],
    /// [`Error::Busy`], [`Error::Io`], [`Error::Component`].
    pub fn newest_seq(&mut self) -> Result<u64> {
        self.newest_seq_in("")
    }

    /// The same of the store of this name.
    pub(crate) fn newest_seq_in(&mut self, name: &str) -> Result<u64> {
        if let Some(listed) = self.listed(name)? {
            return listed.first().map(|newest| newest.seq).ok_or(Error::NotFound);
        }
        let seq = self.call(name, "newest-seq", |guest, store, this| guest.call_newest_seq(store, this))?;
        seq.ok_or(Error::NotFound)
    }

    /// Reads and checks the snapshot that [`restore`](Self::restore) returns, and says what is known of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`],
    /// [`Error::Component`].
    pub fn info(&mut self) -> Result<Info> {
        self.info_in("")
    }

    /// The same of the store of this name.
    pub(crate) fn info_in(&mut self, name: &str) -> Result<Info> {
        let read = self.read_sound(name, None, |store, _| {
            // Where a generation was got, there is no other.
            let info = store.call(name, "info", |guest, store, this| guest.call_info(store, this))?;
            info.map(Info::from).ok_or(Error::NotFound)
        });
        Ok(read?.0)
    }

    /// Reads and checks every generation, the damaged ones included, and says what is known of each, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the number of a damaged pair cannot be trusted, or if all that is left was set aside,
    /// [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`], [`Error::Component`].
    pub fn generations(&mut self) -> Result<Vec<Info>> {
        self.generations_in("")
    }

    /// The same of the store of this name.
    pub(crate) fn generations_in(&mut self, name: &str) -> Result<Vec<Info>> {
        match self.listed(name)? {
            Some(listed) => self.read_all(name, &listed),
            None => self.generations_here(name),
        }
    }

    /// The same of those in the directory.
    fn generations_here(&mut self, name: &str) -> Result<Vec<Info>> {
        match self.call(name, "generations", |guest, store, this| guest.call_generations(store, this)) {
            Ok(infos) => Ok(infos.into_iter().map(Into::into).collect()),
            // A directory that is not there, which only a reader leaves at that.
            Err(Error::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The number of the oldest sound generation: every log record up to it can go, and each generation that is kept
    /// can still be rolled forward.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if no generation is sound, [`Error::AccessDenied`], [`Error::Busy`],
    /// [`Error::Io`], [`Error::Component`].
    pub fn oldest_kept(&mut self) -> Result<u64> {
        self.oldest_kept_in("")
    }

    /// The same of the store of this name.
    pub(crate) fn oldest_kept_in(&mut self, name: &str) -> Result<u64> {
        if let Some(oldest) = self.oldest_away(name)? {
            return Ok(oldest);
        }
        let seq = self.call(name, "oldest-kept", |guest, store, this| guest.call_oldest_kept(store, this))?;
        seq.ok_or(Error::NotFound)
    }

    /// The span of a create, in which its size in bytes is recorded once it is known.
    fn span_of_create(&self, name: &str, seq: u64) -> Span {
        span!("create", self.grant, self.dir_of(name), seq, bytes = field::Empty)
    }

    /// The span of a restore, in which what is restored is recorded once it is known.
    fn span_of_restore(&self, name: &str) -> Span {
        span!("restore", self.grant, self.dir_of(name), seq = field::Empty, bytes = field::Empty)
    }

    /// Counts a restore, and tells of each generation that was damaged and skipped.
    fn tell_restored(&self, bytes: u64, skipped: &[Skipped]) {
        self.count(Event::Restored(bytes));
        self.count(Event::Skipped(skipped.len()));
        for Skipped { seq, problem } in skipped {
            warn_span!("skip", seq, problem).in_scope(|| warn!("a damaged generation was skipped"));
        }
    }

    /// What was granted.
    pub fn grant(&self) -> &Grant {
        self.staging.as_ref().map_or(&self.grant, |staging| staging.granted())
    }

    /// The most memory that an instance of the store component has had for this store, in bytes.
    pub fn peak_memory(&self) -> usize {
        self.peak_memory
    }

    /// Drops every reader and writer that is still open: what was written is discarded.
    pub fn end_streams(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.close(instance);
        }
    }

    /// Whether a reader or writer is open.
    pub(crate) fn has_streams(&self) -> bool {
        self.instance.look(|instance| !instance.streams.is_empty()).unwrap_or_default()
    }

    /// Throws away what is open; what a writer leaves, the next settling removes.
    pub(crate) fn abandon_streams(&mut self) {
        drop(self.instance.take());
    }
}

impl Drop for SnapshotStore {
    fn drop(&mut self) {
        self.end_streams();
    }
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStore").field("grant", &self.grant).finish_non_exhaustive()
    }
}
