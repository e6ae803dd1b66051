//! The store component, compiled and linked.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::sync::oneshot;
use tracing::{Span, debug, debug_span};
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Config, Engine};

use crate::bindings::component as bindings;
use crate::calls::{Calls, GRACE, MAX_CALLS, Submitted, Target};
use crate::clock::{Clock, Running};
use crate::error::{Error, Result};
use crate::grant::{Access, Grant};
use crate::instance::Guest;
use crate::instances::Instances;
use crate::store::SnapshotStore;

/// The store component that this crate embeds, for composing it with others.
pub const COMPONENT: &[u8] = include_bytes!(env!("MINISNAP_COMPONENT_FILE"));

/// How many instances wait for their next call, unless the host says otherwise.
const MAX_IDLE: usize = 64;

/// The most memory that all instances have together, unless the host says otherwise: as much as one alone can ever have,
/// so that no restore is refused while it is the only one.
const MAX_MEMORY: usize = u32::MAX as usize;

/// The store component, ready to be opened on directories. Made once a process; clones share everything.
///
/// It has an engine of its own, whatever the host's other engines are like: with fuel, epochs, asynchronous calls, or a
/// pool of instances.
#[derive(Clone)]
pub struct Minisnap {
    pub(crate) shared: Arc<Shared>,
}

/// What all stores have in common.
pub(crate) struct Shared {
    pub(crate) pre: bindings::StorePre<Guest>,
    pub(crate) clock: Clock,
    pub(crate) instances: Arc<Instances>,
    pub(crate) calls: Arc<Calls>,
    /// In which WASI's calls wait for files, instead of in a runtime with a thread for each processor, which
    /// wasmtime-wasi starts where it finds none.
    pub(crate) runtime: &'static Runtime,
}

impl Shared {
    /// Gives a call of the component what it needs while it runs: the clock that ends it, and a runtime for WASI.
    pub(crate) fn calling(&self) -> (Running<'_>, EnterGuard<'_>) {
        (self.clock.run(), self.runtime.enter())
    }
}

impl Minisnap {
    /// Compiles the embedded component, which takes a fraction of a second.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if this machine cannot run it.
    pub fn new() -> Result<Self> {
        Self::with_config(Config::new())
    }

    /// The same with an engine that is configured like this: with a cache for compiled code, say, or a pool for
    /// instances. Interruption by epochs is turned on in any case: it ends calls at their [deadlines](Grant::deadline).
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if such an engine cannot run it.
    pub fn with_config(config: Config) -> Result<Self> {
        Self::link(config, |engine| Component::new(engine, COMPONENT))
    }

    /// The same, and keeps compiled code in `folder` for the next process, which then starts in a hundredth of the time:
    /// files `store-*.cwasm`, of which those that are older than 30 days, or more than 64, are removed when another one is
    /// written. The folder is made if it is not there. That nothing can be kept is no error.
    ///
    /// What lies there is run with all rights of this process: a folder or a file that is another user's, or that others
    /// may write, is not used.
    ///
    /// # Errors
    ///
    /// As [`with_config`](Self::with_config).
    #[cfg(feature = "cache")]
    pub fn with_cache(config: Config, folder: &Path) -> Result<Self> {
        Self::link(config, |engine| crate::compiled::load(engine, folder))
    }

    fn link(
        mut config: Config,
        compile: impl FnOnce(&Engine) -> wasmtime::Result<Component>,
    ) -> Result<Self> {
        config.epoch_interruption(true);
        let link = || {
            let engine = Engine::new(&config)?;
            let component = compile(&engine)?;
            let mut linker = Linker::new(&engine);
            link_wasi(&mut linker)?;
            let clock = Clock::start(&engine)?;
            let pre = bindings::StorePre::new(linker.instantiate_pre(&component)?)?;
            let instances = Arc::new(Instances::new(MAX_IDLE, MAX_MEMORY));
            let calls = Arc::new(Calls::new(MAX_CALLS));
            Ok(Shared { pre, clock, instances, calls, runtime: runtime()? })
        };
        let shared = link().map_err(Error::Component)?;
        Ok(Minisnap { shared: Arc::new(shared) })
    }

    /// Sets how many instances of the component are kept for the next calls of their stores; 64 unless set. Those that
    /// were not called for longest are dropped first, and made again when they are called.
    ///
    /// Call it before this is cloned or a store is opened: for those, nothing changes.
    pub fn max_idle(self, instances: usize) -> Self {
        self.set(|shared| shared.instances = Arc::new(shared.instances.with_max_idle(instances)))
    }

    /// Sets the most memory that all instances of the component have together, in bytes; 4 GiB unless set, which is what
    /// one alone can have at most. Where a call needs more, idle instances are dropped; if that is not enough, it is
    /// [`Error::Io`], and costs no data.
    ///
    /// Creating a state, and reading one in chunks, needs less than 8 MiB; restoring one needs its size beside that. How much
    /// of it one store can have, its grant [says](Grant::max_memory).
    ///
    /// Call it before this is cloned or a store is opened: for those, nothing changes.
    pub fn max_memory(self, bytes: usize) -> Self {
        self.set(|shared| shared.instances = Arc::new(shared.instances.with_max_memory(bytes)))
    }

    /// Sets how many calls of all stores run at once; 512 unless set. A file system gets a quarter of them, and a directory
    /// a quarter of that, but at least one each, so that one that hangs leaves the rest to others. Further calls wait for
    /// their turn until their [deadlines](Grant::deadline), and are [`Error::Io`] then.
    ///
    /// Call it before this is cloned or a store is opened: for those, nothing changes.
    pub fn max_calls(self, calls: usize) -> Self {
        self.set(|shared| shared.calls = Arc::new(Calls::new(calls)))
    }

    fn set(mut self, set: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            set(shared);
        }
        self
    }

    /// Opens a store as `grant` says. It blocks, for half a second more than the grant's [deadline](Grant::deadline) at
    /// most: an asynchronous host calls [`open_async`](Self::open_async).
    ///
    /// # Errors
    ///
    /// With write access, [`Error::Busy`] if the directory is held already, and what making it may meet:
    /// [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`], also if its file system does not answer in time.
    pub fn open(&self, grant: Grant) -> Result<SnapshotStore> {
        let (opening, deadline) = (Opening::of(&grant), grant.deadline_of_a_call());
        // Only with write access is the directory touched here.
        if deadline == Duration::MAX || grant.access() != Access::ReadWrite {
            let (grant, target) = locate(grant)?;
            return opening.ended(SnapshotStore::new(self.clone(), grant, target));
        }
        let dir = grant.dir().to_owned();
        let (answer, answered) = mpsc::channel();
        let submitted = self.submit(grant, move |store| drop(answer.send(store)))?;
        let opened = match answered.recv_timeout(deadline.saturating_add(GRACE)) {
            Err(RecvTimeoutError::Timeout) if submitted.withdraw() => answered.recv().ok(),
            opened => opened.ok(),
        };
        opening.ended(opened.unwrap_or_else(|| Err(unanswered(&dir, deadline))))
    }

    /// The same in a tokio runtime with its time driver.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_async(&self, grant: Grant) -> Result<SnapshotStore> {
        let opening = Opening::of(&grant);
        let (dir, deadline) = (grant.dir().to_owned(), grant.deadline_of_a_call());
        let (answer, mut answered) = oneshot::channel();
        let submitted = self.submit(grant, move |store| drop(answer.send(store)))?;
        let opened = match tokio::time::timeout(deadline.saturating_add(GRACE), &mut answered).await {
            Ok(opened) => opened.ok(),
            Err(_) if submitted.withdraw() => answered.await.ok(),
            Err(_) => None,
        };
        opening.ended(opened.unwrap_or_else(|| Err(unanswered(&dir, deadline))))
    }

    /// Has a store opened in a thread. One that nobody waits for any more is closed again there.
    fn submit(
        &self,
        grant: Grant,
        answer: impl FnOnce(Result<SnapshotStore>) + Send + 'static,
    ) -> Result<Submitted> {
        let (grant, target) = locate(grant)?;
        let until = Instant::now().checked_add(grant.deadline_of_a_call());
        let (minisnap, opened) = (self.clone(), target.clone());
        let job =
            move |turn: Result<()>| answer(turn.and_then(|()| SnapshotStore::new(minisnap, grant, opened)));
        Ok(self.shared.calls.submit(&target, until, job))
    }
}

/// What is logged of the opening of a store.
struct Opening {
    span: Span,
    started: Instant,
}

impl Opening {
    fn of(grant: &Grant) -> Self {
        let span = debug_span!("grant", dir = %grant.dir().display(), access = ?grant.access());
        Opening { span, started: Instant::now() }
    }

    fn ended(self, opened: Result<SnapshotStore>) -> Result<SnapshotStore> {
        if opened.is_ok() {
            self.span.in_scope(|| debug!(elapsed = ?self.started.elapsed(), "opened"));
        }
        opened
    }
}

/// A grant with an absolute path, and what its calls work on.
fn locate(grant: Grant) -> Result<(Grant, Arc<Target>)> {
    let grant = grant.absolute()?;
    let target = Arc::new(Target::new(grant.dir().to_owned()));
    Ok((grant, target))
}

fn unanswered(dir: &Path, deadline: Duration) -> Error {
    Error::Io(format!(
        "cannot open the directory `{}`: its file system has not answered within {deadline:?}; try again once it answers",
        dir.display()
    ))
}

/// Links of WASI what the component imports, and nothing else: no sockets, say.
fn link_wasi(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::WasiView;
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
    use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
    use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, sync};

    struct WasiIo;
    impl HasData for WasiIo {
        type Data<'a> = &'a mut ResourceTable;
    }
    cli::environment::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, Guest::clocks)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, Guest::filesystem)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, Guest::filesystem)?;
    crate::descriptor::link(linker)?;
    io::error::add_to_linker::<_, WasiIo>(linker, |guest| guest.ctx().table)?;
    sync::io::streams::add_to_linker::<_, WasiIo>(linker, |guest| guest.ctx().table)
}

/// One runtime for the process, since some may not be dropped in a task of another. It has no thread, and no timers: files
/// need neither.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| Builder::new_current_thread().build());
    RUNTIME.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

impl std::fmt::Debug for Minisnap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minisnap").finish_non_exhaustive()
    }
}
