//! One running instance of the store component, in a `wasmtime::Store` of its own.

use std::time::Duration;

use tracing::Span;
use wasmtime::Trap;
use wasmtime::component::{ResourceAny, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx};

use crate::bindings::{component as bindings, export as wit};
use crate::clock::Clock;
use crate::directory::{Held, Identity};
use crate::engine::{Engine, Guest};
use crate::error::{Error, Result};
use crate::grant::{Access, Grant};
use crate::location::path_of;
use crate::locks::Locked;
use crate::memory::Memory;
use crate::metrics::{Event, Labels};
use crate::staged::Ahead;

/// Where the component finds its directory.
const GUEST_DIR: &str = "/snapshots";

/// What an instance may print in bytes: only a panic prints anything.
const MAX_OUTPUT: usize = 64 << 10;

/// What a call of the component answers, unless it traps.
pub(crate) type Answer<R> = wasmtime::Result<std::result::Result<R, wit::Error>>;

/// An instance on one directory.
pub(crate) struct Instance {
    /// The readers and writers that are open.
    pub(crate) streams: Vec<Stream>,
    /// The directory that it has open.
    pub(crate) dir: Identity,
    pub(crate) store: wasmtime::Store<Guest>,
    pub(crate) bindings: bindings::Store,
    /// The store of the empty name.
    pub(crate) this: ResourceAny,
    output: MemoryOutputPipe,
    labels: Labels,
    /// Whether it has trapped beside what it was called for, and is good for nothing more.
    pub(crate) has_trapped: bool,
}

/// A reader or writer that is open.
pub(crate) struct Stream {
    pub(crate) resource: ResourceAny,
    /// The name of its store, whose directory is locked by a writer.
    pub(crate) name: String,
    pub(crate) locked: Option<Locked>,
    /// The create or restore that it is.
    pub(crate) span: Span,
    /// How many bytes were given to a writer.
    pub(crate) given: u64,
    /// The number of what it creates, if it is a writer.
    pub(crate) seq: Option<u64>,
    /// Whether what is made is not to count yet, if it is elsewhere that it will.
    pub(crate) is_insert: bool,
    /// What was put ahead of the commit, if snapshots are elsewhere.
    pub(crate) ahead: Option<Ahead>,
}

/// One of a store's streams, by its instance's own handle, which no stream of another instance has.
pub(crate) type Handle = ResourceAny;

impl Instance {
    /// Makes an instance, in this time, on the directory of a grant: the one that is `held`, if one is, and
    /// else the one under its path, which is `dir`. Unless it `syncs`, nothing waits for the disk.
    pub(crate) fn new(
        engine: &Engine,
        grant: &Grant,
        held: Option<&Held>,
        dir: Identity,
        syncs: bool,
        time: Duration,
    ) -> Result<Self> {
        let perms = match grant.access {
            Access::ReadWrite => FsPerms::ReadWrite,
            Access::ReadOnly => FsPerms::ReadOnly,
            Access::None => return Err(grant.denial()),
        };
        let output = MemoryOutputPipe::new(MAX_OUTPUT);
        let mut wasi = WasiCtx::builder();
        wasi.allow_blocking_current_thread(true)
            .stderr(output.clone())
            .env("MINISNAP_DIR", GUEST_DIR)
            .envs(&grant.settings());
        let opened = grant.open(held)?;
        let dir = opened.metadata().map_or(dir, |metadata| Identity::of(&metadata));
        // Where `/proc` is not mounted, no path leads to it.
        let path =
            Some(path_of(&opened)).filter(|path| path.is_dir()).unwrap_or_else(|| grant.dir.to_owned());
        wasi.preopened_dir(path, GUEST_DIR, perms).map_err(|error| {
            match error.downcast::<std::io::Error>() {
                Ok(error) => Error::io("open", &grant.dir, error),
                Err(error) => Error::other(format!("cannot open `{}`: {error:#}", grant.dir.display())),
            }
        })?;

        let limit = grant.memory();
        let memory = Memory::new(limit, engine.budget.clone());
        let guest = Guest { wasi: wasi.build(), table: ResourceTable::new(), memory, syncs };
        let mut store = wasmtime::Store::new(engine.pre.engine(), guest);
        store.limiter(|guest| &mut guest.memory);
        // What one call may bring back: its default would refuse a state above 128 MiB.
        store.set_hostcall_fuel(limit);
        store.set_epoch_deadline(Clock::epochs(time));
        let _calling = engine.calling();
        let bindings = engine.pre.instantiate(&mut store);
        let bindings = bindings.map_err(|error| not_made(error, &mut store, grant))?;
        let opened = bindings.arcella_minisnap_snapshot_store().call_open(&mut store, "");
        let this = opened.map_err(|error| not_made(error, &mut store, grant))??;
        let labels = Labels::of(grant);
        labels.count(Event::Made);
        Ok(Instance { streams: Vec::new(), dir, store, bindings, this, output, labels, has_trapped: false })
    }

    /// Ends it, since others need its place.
    pub(crate) fn evict(self) {
        self.labels.count(Event::Evicted);
    }

    /// Calls a function of the store of this name.
    pub(crate) fn call<R>(
        &mut self,
        name: &str,
        call: impl FnOnce(&wit::GuestStore<'_>, &mut wasmtime::Store<Guest>, ResourceAny) -> Answer<R>,
    ) -> Answer<R> {
        self.with_store(name, |bindings, store, this| {
            call(&bindings.arcella_minisnap_snapshot_store().store(), store, this)
        })
    }

    /// The same of what the component exports.
    fn with_store<R>(
        &mut self,
        name: &str,
        call: impl FnOnce(&bindings::Store, &mut wasmtime::Store<Guest>, ResourceAny) -> Answer<R>,
    ) -> Answer<R> {
        if name.is_empty() {
            return call(&self.bindings, &mut self.store, self.this);
        }
        // What is known of it, the component keeps; a handle is only a name.
        let opened = self.bindings.arcella_minisnap_snapshot_store().call_open(&mut self.store, name)?;
        let this = match opened {
            Ok(this) => this,
            Err(error) => return Ok(Err(error)),
        };
        let answer = call(&self.bindings, &mut self.store, this)?;
        this.resource_drop(&mut self.store)?;
        Ok(answer)
    }

    /// Counts the generations that a create has pruned in the store of this name. That has its own time, and is no part of the
    /// create's answer.
    pub(crate) fn count_pruned(&mut self, name: &str) {
        if cfg!(feature = "metrics") {
            self.set_deadline(Duration::from_secs(1));
            let pruned = self.with_store(name, |bindings, store, this| {
                bindings.arcella_minisnap_snapshot_maintenance().call_pruned(store, this).map(Ok)
            });
            match pruned {
                Ok(pruned) => self.labels.count(Event::Pruned(pruned.unwrap_or_default())),
                Err(_) => self.has_trapped = true,
            }
        }
    }

    /// Gives the next call so much time.
    pub(crate) fn set_deadline(&mut self, deadline: Duration) {
        self.store.set_epoch_deadline(Clock::epochs(deadline));
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.store.data().memory.peak()
    }

    /// Why a call failed, if the memory limit of all instances together was the cause.
    pub(crate) fn memory_problem(&mut self) -> Option<Error> {
        self.store.data_mut().memory.problem()
    }

    /// Whether a stream is open under this handle.
    pub(crate) fn has_stream(&self, resource: ResourceAny) -> bool {
        self.streams.iter().any(|stream| stream.resource == resource)
    }

    /// The stream that is open under this handle.
    pub(crate) fn stream(&mut self, resource: ResourceAny) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.resource == resource)
    }

    /// What it has printed, before a trap.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.output.contents()).trim().to_owned()
    }

    /// Ends the streams that are still open: what was written to one must not stay on the disk.
    pub(crate) fn close(mut self, deadline: Duration) {
        for stream in std::mem::take(&mut self.streams) {
            self.set_deadline(deadline);
            if let Err(error) = stream.resource.resource_drop(&mut self.store) {
                // What is left is removed by the next settling.
                tracing::debug!(%error, "a stream was not undone");
                return;
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.labels.count(Event::Ended);
    }
}

/// Why an instance could not be made.
fn not_made(error: wasmtime::Error, store: &mut wasmtime::Store<Guest>, grant: &Grant) -> Error {
    match (store.data_mut().memory.problem(), error.downcast_ref::<Trap>()) {
        (Some(problem), _) => problem,
        (None, Some(Trap::Interrupt)) => {
            Labels::of(grant).count(Event::Interrupted);
            Error::interrupted("open", grant.deadline)
        }
        (None, _) => Error::Component(error),
    }
}
