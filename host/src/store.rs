//! One running store component and its calls.

use std::fmt;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use crate::component::Minisnap;
use crate::error::{Error, Result};
use crate::grant::{Access, Grant, Held, Identity};
use bindings::exports::arcella::minisnap::snapshot_store as wit;

pub(crate) mod bindings {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({ path: "../wit", world: "store" });
}

/// Where the component finds its directory.
const GUEST_DIR: &str = "/snapshots";

/// What an instance needs in memory beside one state, in bytes, [`KEPT_MEMORY`] included.
const MEMORY_BESIDE_STATE: u64 = 16 << 20;

/// An instance that has grown beyond this many bytes does not outlive its call: its memory goes back to the system,
/// and what is left between its allocations cannot keep the next large state from fitting.
const KEPT_MEMORY: usize = 8 << 20;

/// What an instance may print in bytes: only a panic prints anything.
const MAX_OUTPUT: usize = 64 << 10;

/// A snapshot store on one directory.
///
/// The component's instance is made on first use and serves every call. After a trap, or a call with a large state, it
/// is thrown away, and the next call makes another. Dropping the store lets go of the directory.
pub struct Store {
    minisnap: Minisnap,
    grant: Grant,
    held: Option<Held>,
    instance: Option<Instance>,
    peak_memory: usize,
}

struct Instance {
    /// The directory that it has open.
    dir: Identity,
    store: wasmtime::Store<Guest>,
    bindings: bindings::Store,
    output: MemoryOutputPipe,
}

/// What belongs to one instance.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    memory: Memory,
}

/// The memory of one instance in bytes.
struct Memory {
    limit: usize,
    peak: usize,
}

/// What is known of a snapshot without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The sequence number.
    pub seq: u64,
    /// The size of the state on the disk in bytes.
    pub size: u64,
    /// The layout of the directory.
    pub layout: Layout,
    /// What the sums said, after every byte was read.
    pub soundness: Soundness,
}

/// How a snapshot is laid out on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The files of minisnap 0.1.0 to 0.1.2, with their sums.
    Pair,
}

/// What the sums said of a snapshot that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// Every byte is as the store wrote it.
    Verified,
    /// Another program wrote it, and there is no sum to check it by.
    Unverified,
}

impl Store {
    pub(crate) fn new(minisnap: Minisnap, grant: Grant) -> Result<Self> {
        let grant = grant.absolute()?;
        let held = grant.hold()?;
        Ok(Store { minisnap, grant, held, instance: None, peak_memory: 0 })
    }

    /// Makes `state` with `seq` the stored snapshot; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`] if it cannot be serialised, and as [`create_text`](Self::create_text).
    pub fn create<S: Serialize + ?Sized>(&mut self, state: &S, seq: u64) -> Result<()> {
        let state = serde_json::to_string(state).map_err(|error| Error::InvalidState(error.to_string()))?;
        self.create_text(&state, seq)
    }

    /// Makes `state`, which is JSON, with `seq` the stored snapshot; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`], [`Error::Stale`], [`Error::TooLarge`], [`Error::Corrupt`] if the stored number cannot
    /// be trusted, [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`], [`Error::Component`].
    pub fn create_text(&mut self, state: &str, seq: u64) -> Result<()> {
        if self.grant.access() == Access::ReadOnly {
            return Err(Error::AccessDenied);
        }
        // What does not fit into the instance's memory could not even be handed over.
        if state.len() as u64 > self.grant.max_state_bytes() {
            return Err(Error::TooLarge(self.grant.max_state_bytes()));
        }
        match self.call("create", |guest, store| guest.call_create(store, state, seq)) {
            // What the component cannot tell apart: a file system that has become read-only since.
            Err(Error::Io(problem)) => match self.grant.check_writable() {
                Err(Error::AccessDenied) => Err(Error::AccessDenied),
                _ => Err(Error::Io(problem)),
            },
            result => result,
        }
    }

    /// Returns the stored state and its sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::OtherType`] if the state cannot be read as a `S`, and as [`restore_text`](Self::restore_text).
    pub fn restore<S: DeserializeOwned>(&mut self) -> Result<(S, u64)> {
        let (state, seq) = self.restore_text()?;
        Ok((serde_json::from_str(&state).map_err(Error::OtherType)?, seq))
    }

    /// Returns the stored state, exactly as it is on the disk, and its sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::TooLarge`], [`Error::AccessDenied`], [`Error::Busy`] if it
    /// was rewritten faster than it could be read, [`Error::Io`], [`Error::Component`].
    pub fn restore_text(&mut self) -> Result<(String, u64)> {
        let snapshot = self.call("restore", |guest, store| guest.call_restore(store))?;
        Ok((snapshot.state, snapshot.seq))
    }

    /// Whether there is a snapshot, sound or not.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`], [`Error::Component`].
    pub fn exists(&mut self) -> Result<bool> {
        match self.call("exists", |guest, store| guest.call_exists(store)) {
            // A directory that is not there, which only a reader leaves at that.
            Err(Error::NotFound) => Ok(false),
            result => result,
        }
    }

    /// Reads and checks the whole stored snapshot, and says what is known of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`],
    /// [`Error::Component`].
    pub fn info(&mut self) -> Result<Info> {
        Ok(self.call("info", |guest, store| guest.call_info(store))?.into())
    }

    /// What was granted.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The most memory that an instance of this store has had, in bytes.
    pub fn peak_memory(&self) -> usize {
        self.peak_memory
    }

    fn call<R>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(
            &wit::Guest,
            &mut wasmtime::Store<Guest>,
        ) -> wasmtime::Result<std::result::Result<R, wit::Error>>,
    ) -> Result<R> {
        let mut instance = self.instance()?;
        let started = Instant::now();
        let answer = call(instance.bindings.arcella_minisnap_snapshot_store(), &mut instance.store);
        tracing::debug!(call = name, dir = %self.grant.dir().display(), elapsed = ?started.elapsed(), "called");
        let peak = instance.store.data().memory.peak;
        self.peak_memory = self.peak_memory.max(peak);
        match answer {
            Ok(answer) => {
                if peak <= KEPT_MEMORY {
                    self.instance = Some(instance);
                }
                Ok(answer?)
            }
            // The instance is not put back: after a trap, its memory means nothing.
            Err(trap) => {
                let output = instance.output.contents();
                let printed = String::from_utf8_lossy(&output).trim().to_owned();
                tracing::debug!(call = name, printed, "the store component trapped");
                Err(Error::Component(if printed.is_empty() { trap } else { trap.context(printed) }))
            }
        }
    }

    /// An instance on the directory that lies under the grant's path now: one that is open still, or another one.
    fn instance(&mut self) -> Result<Instance> {
        let dir = self.dir()?;
        let instance = match self.instance.take() {
            Some(instance) if instance.dir == dir => instance,
            _ => self.instantiate(dir)?,
        };
        // The path was opened once more for a new instance.
        if self.dir()? != dir {
            return Err(self.replaced());
        }
        Ok(instance)
    }

    /// The directory that lies under the grant's path; for a writer, only if it is the one that it holds.
    fn dir(&self) -> Result<Identity> {
        match (self.grant.identity()?, &self.held) {
            (Some(found), Some(held)) if found != held.identity => Err(self.replaced()),
            (Some(found), _) => Ok(found),
            (None, None) => Err(Error::NotFound),
            // Going on as with an empty one would hide the loss.
            (None, Some(_)) => {
                Err(Error::Io(format!("the directory `{}` is gone: put it back", self.grant.dir().display())))
            }
        }
    }

    fn replaced(&self) -> Error {
        Error::Io(format!(
            "the directory `{}` was replaced by another: open it again",
            self.grant.dir().display()
        ))
    }

    fn instantiate(&self, dir: Identity) -> Result<Instance> {
        let grant = &self.grant;
        let perms = match grant.access() {
            Access::ReadWrite => FsPerms::ReadWrite,
            Access::ReadOnly => FsPerms::ReadOnly,
        };
        let output = MemoryOutputPipe::new(MAX_OUTPUT);
        let mut wasi = WasiCtx::builder();
        wasi.allow_blocking_current_thread(true)
            .stderr(output.clone())
            .env("MINISNAP_DIR", GUEST_DIR)
            .env("MINISNAP_MAX_STATE", grant.max_state_bytes().to_string())
            .preopened_dir(grant.dir(), GUEST_DIR, perms)
            .map_err(|error| match error.downcast_ref::<std::io::Error>() {
                Some(error) => Error::io("open", grant.dir(), error),
                None => Error::Io(format!("cannot open `{}`: {error:#}", grant.dir().display())),
            })?;

        // `max_state` is at most MAX_STATE_CEILING, so this fits 32 bits.
        let limit = (grant.max_state_bytes() + MEMORY_BESIDE_STATE) as usize;
        let guest =
            Guest { wasi: wasi.build(), table: ResourceTable::new(), memory: Memory { limit, peak: 0 } };
        let mut store = wasmtime::Store::new(self.minisnap.pre.engine(), guest);
        store.limiter(|guest| &mut guest.memory);
        // What one call may bring back: its default would refuse a state above 128 MiB.
        store.set_hostcall_fuel(limit);
        let bindings = self.minisnap.pre.instantiate(&mut store).map_err(Error::Component)?;
        Ok(Instance { dir, store, bindings, output })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.limit;
        if allowed {
            self.peak = self.peak.max(desired);
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 10_000)
    }
}

impl From<wit::SnapshotInfo> for Info {
    fn from(wit::SnapshotInfo { seq, size, layout, soundness }: wit::SnapshotInfo) -> Self {
        let layout = match layout {
            wit::Layout::Pair => Layout::Pair,
        };
        let soundness = match soundness {
            wit::Soundness::Verified => Soundness::Verified,
            wit::Soundness::Unverified => Soundness::Unverified,
        };
        Info { seq, size, layout, soundness }
    }
}
