//! One call of the component: its turn, its deadline, and the instance that it is made on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;
use wasmtime::Trap;
use wasmtime::component::ResourceAny;

use super::SnapshotStore;
use crate::bindings::export as wit;
use crate::blocking::{check_may_block, may_block};
use crate::calls::{Calls, Target};
use crate::clock::Deadline;
use crate::directory::{Identity, leads_to, lock_named};
use crate::engine::Guest;
use crate::error::{Error, Result};
use crate::grant::Access;
use crate::instance::{Answer, Instance, Stream};
use crate::locks::Locked;
use crate::metrics::{Event, Labels};

/// An instance that has grown beyond this many bytes does not outlive its call, unless a stream is open: its memory goes
/// back to the system, and what is left between its allocations cannot keep the next large state from fitting.
const KEPT_MEMORY: usize = 8 << 20;

impl SnapshotStore {
    /// The calls of all stores, of which this one's are on its target.
    pub(crate) fn calls(&self) -> (&Arc<Calls>, &Arc<Target>) {
        (&self.shared.calls, &self.target)
    }

    /// Makes one call, of one or several calls of the component, in its turn and before its deadline.
    pub(super) fn in_one_turn<R>(&mut self, call: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        if self.has_turn {
            return call(self);
        }
        // What nothing is granted to waits for nothing.
        if self.grant.access != Access::None {
            check_may_block()?;
        }
        let deadline = Deadline::after(self.grant.deadline);
        let turn = self.shared.calls.turn(&self.target, deadline);
        let _turn = turn.inspect_err(|error| self.count(Event::Failed(error)))?;
        self.in_turn(deadline, call)
    }

    /// Makes a call whose turn it is.
    pub(crate) fn in_turn<R>(
        &mut self,
        deadline: Deadline,
        call: impl FnOnce(&mut Self) -> Result<R>,
    ) -> Result<R> {
        /// Ends the turn, also where the call panics.
        struct InTurn<'s>(&'s mut SnapshotStore);
        impl Drop for InTurn<'_> {
            fn drop(&mut self) {
                (self.0.deadline, self.0.has_turn) = (Deadline::NEVER, false);
            }
        }
        (self.deadline, self.has_turn) = (deadline, true);
        let InTurn(store) = &mut InTurn(self);
        store.end_ownerless();
        call(store).inspect_err(|error| store.count(Event::Failed(error)))
    }

    /// Counts what has happened.
    pub(crate) fn count(&self, event: Event<'_>) {
        if !self.is_uncounted {
            Labels::of(&self.grant).count(event);
        }
    }

    /// Ends the streams that have no owner any more.
    pub(crate) fn end_ownerless(&mut self) {
        for handle in std::mem::take(&mut self.ownerless) {
            self.end(handle);
        }
    }

    /// Whether there are open streams that have no owner any more.
    pub(crate) fn has_ownerless(&self) -> bool {
        !self.ownerless.is_empty()
    }

    /// How much time is left for the next call of the component.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.left().min(self.grant.deadline)
    }

    /// Ends an instance, and what is open in it.
    pub(super) fn close(&self, instance: Instance) {
        // Otherwise, the next settling removes what was being written.
        if !instance.streams.is_empty() && may_block() {
            let _calling = self.shared.engine.calling();
            instance.close(self.grant.deadline);
        }
    }

    /// Refuses what is not granted, before anything waits for its turn.
    pub(super) fn check_granted(&self) -> Result<()> {
        self.check_access().inspect_err(|error| self.count(Event::Failed(error)))
    }

    pub(super) fn check_access(&self) -> Result<()> {
        match self.grant.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => {
                Err(Error::denied(format!("the grant of `{}` is for reading only", self.whereabouts())))
            }
            Access::None => Err(self.grant.denial()),
        }
    }

    /// Says what the component cannot tell apart: a file system that has become read-only since.
    pub(super) fn explain<R>(&self, result: Result<R>) -> Result<R> {
        match result {
            // It would have been put next.
            Err(Error::InDoubt(what)) if self.staging.is_some() => Err(Error::other(what)),
            Err(Error::Io(problem)) => match self.grant.check_writable() {
                Err(Error::AccessDenied(denied)) => Err(Error::AccessDenied(denied.after(&problem))),
                _ => Err(Error::Io(problem)),
            },
            result => result,
        }
    }

    /// Calls a function of the store of this name.
    pub(super) fn call<R>(
        &mut self,
        name: &str,
        function: &'static str,
        call: impl FnOnce(&wit::GuestStore<'_>, &mut wasmtime::Store<Guest>, ResourceAny) -> Answer<R>,
    ) -> Result<R> {
        self.with_instance(function, |instance| instance.call(name, call))
    }

    pub(super) fn with_instance<R>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(&mut Instance) -> Answer<R>,
    ) -> Result<R> {
        self.in_one_turn(|store| {
            let instance = store.instance()?;
            store.call_on(instance, name, call)
        })
    }

    /// Keeps an instance for the next call; until then, it may be dropped, unless a stream is open in it.
    pub(super) fn put_back(&self, instance: Instance) {
        match instance.streams.is_empty() {
            true => self.instance.put(instance),
            false => self.instance.keep(instance),
        }
    }

    /// Calls an instance, and keeps it if it can serve other calls.
    pub(super) fn call_on<R>(
        &mut self,
        mut instance: Instance,
        name: &'static str,
        call: impl FnOnce(&mut Instance) -> Answer<R>,
    ) -> Result<R> {
        instance.set_deadline(self.time_left());
        let started = Instant::now();
        let answer = {
            let _calling = self.shared.engine.calling();
            call(&mut instance)
        };
        let elapsed = started.elapsed();
        debug!(call = name, ?elapsed, "called");
        self.count(Event::Called(name, elapsed));
        let peak = instance.peak_memory();
        self.peak_memory = self.peak_memory.max(peak);
        let problem = instance.memory_problem();
        let trap = match answer {
            Ok(answer) => {
                if !instance.has_trapped && (!instance.streams.is_empty() || peak <= KEPT_MEMORY) {
                    self.put_back(instance);
                }
                return match (answer, problem) {
                    (Err(wit::Error::Io(_)), Some(problem)) => Err(problem),
                    (answer, _) => Ok(answer?),
                };
            }
            Err(trap) => trap,
        };
        // The instance is not put back: after a trap, its memory means nothing. What it was committing may be committed.
        let in_doubt = |error| match name {
            // Of a file that nobody has put anywhere yet.
            _ if self.staging.is_some() => error,
            "create" | "commit" => {
                Error::InDoubt(format!("{error}; the new snapshot may be in place: restore it to see"))
            }
            "rollback" => {
                Error::InDoubt(format!("{error}; it may have gone back: restore the snapshot to see"))
            }
            _ => error,
        };
        if let Some(problem) = problem {
            return Err(in_doubt(problem));
        }
        if let Some(Trap::Interrupt) = trap.downcast_ref::<Trap>() {
            self.count(Event::Interrupted);
            return Err(in_doubt(Error::interrupted(name, self.grant.deadline)));
        }
        // What it has printed may hold a piece of a state, which no log gets.
        debug!(call = name, "the store component trapped");
        if let doubt @ Error::InDoubt(_) = in_doubt(Error::other("the snapshot store failed")) {
            debug!(error = format_args!("{trap:#}"), "what it was doing is in doubt");
            return Err(doubt);
        }
        let printed = instance.printed();
        Err(Error::Component(if printed.is_empty() { trap } else { trap.context(printed) }))
    }

    /// An instance on the directory that lies under the grant's path now: one that is open still, or another one.
    fn instance(&mut self) -> Result<Instance> {
        let dir = self.dir()?;
        if self.staging.is_none() && !self.target.is_on_device(dir.device) {
            self.target = Arc::new(self.target.on_device(dir.device));
        }
        let instance = match self.instance.take() {
            Some(instance) if instance.dir == dir => return Ok(instance),
            other => {
                if let Some(instance) = other {
                    self.close(instance);
                }
                let (syncs, time) = (self.staging.is_none(), self.time_left());
                Instance::new(&self.shared.engine, &self.grant, self.held.as_ref(), dir, syncs, time)?
            }
        };
        // A reader's path was opened once more for a new instance, and that of a writer must still lead to what it holds.
        match self.dir() {
            Ok(now) if now == instance.dir => Ok(instance),
            now => {
                self.close(instance);
                Err(now.err().unwrap_or_else(|| self.replaced()))
            }
        }
    }

    /// The directory that lies under the grant's path; for a writer, only if it is the one that it holds.
    pub(super) fn dir(&self) -> Result<Identity> {
        if self.grant.access == Access::None {
            return Err(self.grant.denial());
        }
        match (self.grant.identity()?, &self.held) {
            (Some(found), Some(held)) if found != held.identity => Err(self.replaced()),
            (Some(found), _) => Ok(found),
            (None, None) => Err(Error::NotFound),
            // Going on as with an empty one would hide the loss.
            (None, Some(_)) => {
                let dir = self.grant.dir.display();
                Err(Error::DirectoryReplaced(format!("the directory `{dir}` is gone: put it back")))
            }
        }
    }

    fn replaced(&self) -> Error {
        replaced(&self.grant.dir)
    }

    /// Checks that what is written can take the place of what is there.
    pub(super) fn check_replaceable(&self, name: &str) -> Result<()> {
        crate::replaceable::check(&self.dir_of(name))
    }

    /// Keeps everybody else from writing to the store of this name. Its own is held all the time.
    pub(super) fn lock(&self, name: &str) -> Result<Option<Locked>> {
        // Another writer of this store finds that one is open.
        match name.is_empty() || self.has_writer(name) {
            true => Ok(None),
            false => lock_named(&self.dir_of(name)),
        }
    }

    /// Whether a writer of the store of this name is open.
    fn has_writer(&self, name: &str) -> bool {
        let is_writer = |stream: &Stream| stream.locked.is_some() && stream.name == name;
        self.instance.look(|instance| instance.streams.iter().any(is_writer)).unwrap_or_default()
    }

    /// The directory of the store of this name.
    pub(super) fn dir_of(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.grant.dir.to_owned() } else { self.grant.dir.join(name) }
    }

    /// Checks that the directory of a named store, which a writer has locked, still has its name.
    pub(super) fn check_named(&self, name: &str, locked: Option<&Locked>) -> Result<()> {
        let dir = self.dir_of(name);
        match locked {
            Some(locked) if !leads_to(&dir, locked) => Err(replaced(&dir)),
            _ => Ok(()),
        }
    }
}

fn replaced(dir: &Path) -> Error {
    Error::DirectoryReplaced(format!(
        "the directory `{}` was replaced by another: open it again",
        dir.display()
    ))
}
