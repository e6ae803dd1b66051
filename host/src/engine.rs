//! What instances of the store's component are made of, and run in.

use std::io;
use std::sync::{Arc, LazyLock};

use tokio::runtime::{Builder, EnterGuard, Runtime};
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::component as bindings;
use crate::clock::{Clock, Running};
use crate::descriptor;
use crate::memory::{Budget, Memory};

/// The component, compiled and linked, and what it needs while it runs.
pub(crate) struct Engine {
    pub(crate) pre: bindings::StorePre<Guest>,
    pub(crate) budget: Arc<Budget>,
    clock: Clock,
    /// In which WASI's calls wait for files, instead of in a runtime with a thread for each processor, which
    /// wasmtime-wasi starts where it finds none.
    runtime: &'static Runtime,
}

/// What belongs to one instance.
pub(crate) struct Guest {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) memory: Memory,
    /// Whether its syncs reach the disk.
    pub(crate) syncs: bool,
}

impl Engine {
    /// Links a component that was compiled by `engine`, whose instances share a memory budget.
    pub(crate) fn new(
        engine: &wasmtime::Engine,
        component: &Component,
        budget: Budget,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        link_wasi(&mut linker)?;
        descriptor::link(&mut linker, |guest| guest.syncs)?;
        let pre = bindings::StorePre::new(linker.instantiate_pre(component)?)?;
        Ok(Engine { pre, budget: Arc::new(budget), clock: Clock::start(engine)?, runtime: runtime()? })
    }

    /// Gives a call of the component what it needs while it runs: the clock that ends it, and a runtime for WASI.
    pub(crate) fn calling(&self) -> (Running<'_>, EnterGuard<'_>) {
        (self.clock.run(), self.runtime.enter())
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Links of WASI what the component imports, and nothing else: no sockets, say.
fn link_wasi(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
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
    io::error::add_to_linker::<_, WasiIo>(linker, |guest| guest.ctx().table)?;
    sync::io::streams::add_to_linker::<_, WasiIo>(linker, |guest| guest.ctx().table)
}

/// One runtime for the process, since some may not be dropped in a task of another. It has no thread, and no timers: files
/// need neither.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| Builder::new_current_thread().build());
    RUNTIME.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}
