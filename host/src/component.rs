//! The store component, compiled and linked.

use std::sync::Arc;

use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Config, Engine};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::idle::Idle;
use crate::instance::Guest;
use crate::store::{Store, bindings};

/// The store component that this crate embeds, for composing it with others.
pub const COMPONENT: &[u8] = include_bytes!(env!("MINISNAP_COMPONENT_FILE"));

/// How many instances wait for their next call, unless the host says otherwise.
const MAX_IDLE: usize = 64;

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
    pub(crate) idle: Idle,
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
    /// What lies there is run with all rights of this process. On Unix, a folder or a file that is another user's, or
    /// that others may write, is not used; elsewhere, it must be a folder that only this user can write.
    ///
    /// # Errors
    ///
    /// As [`with_config`](Self::with_config).
    #[cfg(feature = "cache")]
    pub fn with_cache(config: Config, folder: &std::path::Path) -> Result<Self> {
        Self::link(config, |engine| crate::compiled::load(engine, folder))
    }

    fn link(
        mut config: Config,
        compile: impl FnOnce(&Engine) -> wasmtime::Result<Component>,
    ) -> Result<Self> {
        config.epoch_interruption(true);
        let link = || {
            start_runtime()?;
            let engine = Engine::new(&config)?;
            let component = compile(&engine)?;
            let mut linker = Linker::new(&engine);
            link_wasi(&mut linker)?;
            let clock = Clock::start(&engine)?;
            let pre = bindings::StorePre::new(linker.instantiate_pre(&component)?)?;
            Ok(Shared { pre, clock, idle: Idle::new(MAX_IDLE) })
        };
        let shared = link().map_err(Error::Component)?;
        Ok(Minisnap { shared: Arc::new(shared) })
    }

    /// Sets how many instances of the component are kept for the next calls of their stores; 64 unless set. Those that
    /// were not called for longest are dropped first, and made again when they are called.
    ///
    /// Call it before this is cloned or a store is opened: for those, nothing changes.
    pub fn max_idle(mut self, instances: usize) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.idle = Idle::new(instances);
        }
        self
    }

    /// Opens a store as `grant` says. It blocks: an asynchronous host opens stores in `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// With write access, [`Error::Busy`] if the directory is held already, and what making it may meet:
    /// [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`].
    pub fn open(&self, grant: Grant) -> Result<Store> {
        Store::new(self.clone(), grant)
    }
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
    #[cfg(unix)]
    crate::listing::link(linker)?;
    io::error::add_to_linker::<_, WasiIo>(linker, |guest| guest.ctx().table)?;
    sync::io::streams::add_to_linker::<_, WasiIo>(linker, |guest| guest.ctx().table)
}

/// Starts the runtime in which WASI's calls wait, unless this thread is in one.
///
/// wasmtime-wasi starts it with the first call of a process, and panics where that fails, for want of file descriptors,
/// say: here, it is an error.
fn start_runtime() -> std::io::Result<()> {
    if tokio::runtime::Handle::try_current().is_err() {
        drop(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
        wasmtime_wasi::runtime::with_ambient_tokio_runtime(|| ());
    }
    Ok(())
}

impl std::fmt::Debug for Minisnap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minisnap").finish_non_exhaustive()
    }
}
