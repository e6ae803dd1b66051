//! `minisnap run`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Error, Grant, Minisnap, SnapshotView, Store};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use super::{Failure, Settings, engine, size};

const EXAMPLE: &str = "Example:
  minisnap run counter.wasm --grant ./snapshots -- increment

Exits with 0 or 1, as the component ends (WASI 0.2 has no other codes), or, if it could not run or trapped, as every
verb does.";

/// Run a command component with a snapshot directory
///
/// It gets the import arcella:minisnap/snapshot-store, arguments, standard streams, clocks and random numbers; no files,
/// no environment and no network.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Run {
    /// The component, which exports wasi:cli/run
    component: PathBuf,
    /// The directory for its snapshots; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    grant: PathBuf,
    /// Allow the component to restore, and not to create
    #[arg(long)]
    read_only: bool,
    /// The most that one memory of the component may grow to, beside what the store needs
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    max_memory: u64,
    #[command(flatten)]
    settings: Settings,
    /// Arguments for the component
    #[arg(last = true)]
    args: Vec<String>,
}

/// What belongs to the running component.
struct Consumer {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
    snapshots: Store,
}

impl Run {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let about_component = Failure::about(&self.component);
        let engine = engine().map_err(&about_component)?;
        let command = self.load(&engine).map_err(&about_component)?;

        let mut grant = self.settings.apply(Grant::new(&self.grant));
        if self.read_only {
            grant = grant.read_only();
        }
        let snapshots = Minisnap::with_engine(&engine)
            .and_then(|minisnap| minisnap.open(grant))
            .map_err(Failure::about(&self.grant))?;
        self.call(&command, snapshots).map_err(&about_component)
    }

    fn load(&self, engine: &Engine) -> Result<wasmtime::component::InstancePre<Consumer>, Error> {
        let bytes = std::fs::read(&self.component).map_err(|error| {
            Error::Component(wasmtime::Error::new(error).context("cannot read the component"))
        })?;
        let link = || {
            let component = Component::new(engine, &bytes)?;
            let mut linker = Linker::<Consumer>::new(engine);
            wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
            minisnap_host::add_to_linker(&mut linker)?;
            linker.instantiate_pre(&component)
        };
        link().map_err(Error::Component)
    }

    /// Runs the component to its end.
    fn call(
        &self,
        command: &wasmtime::component::InstancePre<Consumer>,
        snapshots: Store,
    ) -> Result<ExitCode, Error> {
        let name = self.component.file_name().unwrap_or_default().to_string_lossy();
        let wasi = WasiCtx::builder().inherit_stdio().arg(&name).args(&self.args).build();
        let memory = usize::try_from(self.max_memory).unwrap_or(usize::MAX);
        let limits = StoreLimitsBuilder::new().memory_size(memory).build();
        let consumer = Consumer { wasi, table: ResourceTable::new(), limits, snapshots };
        let mut store = wasmtime::Store::new(command.engine(), consumer);
        store.limiter(|consumer| &mut consumer.limits);
        // A state in one call, of strings that may be UTF-16, which counts twice.
        let state = store.data().snapshots.grant().max_state_bytes();
        let fuel = state.saturating_mul(2).saturating_add(1 << 20);
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));

        let run = |store: &mut wasmtime::Store<Consumer>| {
            let instance = command.instantiate(&mut *store)?;
            let command = Command::new(&mut *store, &instance)?;
            command.wasi_cli_run().call_run(store)
        };
        match run(&mut store) {
            Ok(Ok(())) => Ok(ExitCode::SUCCESS),
            Ok(Err(())) => Ok(ExitCode::FAILURE),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(&I32Exit(0)) => Ok(ExitCode::SUCCESS),
                Some(&I32Exit(_)) => Ok(ExitCode::FAILURE),
                None => Err(Error::Component(error)),
            },
        }
    }
}

impl WasiView for Consumer {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl SnapshotView for Consumer {
    fn snapshots(&mut self) -> &mut Store {
        &mut self.snapshots
    }
}
