//! A host of consumer components, as an embedder writes one.

use std::future::pending;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::{Error, Grant, Minisnap, SnapshotCtx};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Cache, CacheConfig, Config, Engine, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::p2::bindings::{Command, sync};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

/// The most that a component may print, in bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// What is the same for all components.
pub struct Host {
    /// The components' engine; the store has another.
    pub engine: Engine,
    linker: Linker<Consumer>,
    minisnap: Minisnap,
    /// The most memory of a component, in bytes.
    pub max_memory: usize,
    /// After how many epochs a component is ended, where the engine counts them.
    pub epochs: u64,
    /// How much fuel a component gets, where the engine burns it.
    pub fuel: Option<u64>,
    /// A folder that a component may read beside its snapshots, and what it is called there.
    pub folder: Option<(PathBuf, &'static str)>,
}

/// What belongs to one component.
pub struct Consumer {
    wasi: WasiCtx,
    table: ResourceTable,
    limits: StoreLimits,
    snapshots: SnapshotCtx,
}

/// A component that has ended.
#[derive(Debug)]
pub struct Ended {
    /// What it printed.
    pub printed: String,
    /// Why it was ended, if it did not do so itself.
    pub trap: Option<wasmtime::Error>,
    /// Its snapshots.
    pub snapshots: SnapshotCtx,
}

impl Host {
    /// A host of components that are called synchronously.
    pub fn new(config: &Config, minisnap: &Minisnap) -> Self {
        Self::with(config, minisnap, |linker| {
            wasmtime_wasi::p2::add_to_linker_sync(linker)?;
            minisnap_host::add_to_linker_sync(linker, |consumer| &mut consumer.snapshots)
        })
    }

    /// A host of components that are called asynchronously.
    pub fn new_async(config: &Config, minisnap: &Minisnap) -> Self {
        Self::with(config, minisnap, |linker| {
            wasmtime_wasi::p2::add_to_linker_async(linker)?;
            minisnap_host::add_to_linker_async(linker, |consumer| &mut consumer.snapshots)
        })
    }

    fn with(
        config: &Config,
        minisnap: &Minisnap,
        link: impl FnOnce(&mut Linker<Consumer>) -> wasmtime::Result<()>,
    ) -> Self {
        let mut config = config.clone();
        config.cache(Cache::new(CacheConfig::new()).ok());
        let engine = Engine::new(&config).expect("the engine can be configured like this");
        let mut linker = Linker::new(&engine);
        link(&mut linker).expect("the imports are defined once");
        Host {
            engine,
            linker,
            minisnap: minisnap.clone(),
            max_memory: 64 << 20,
            epochs: 1 << 40,
            fuel: None,
            folder: None,
        }
    }

    /// A component's file, compiled.
    pub fn load(&self, file: &str) -> Component {
        Component::from_file(&self.engine, file).expect("the component compiles")
    }

    /// The snapshots of a component that is granted this.
    pub fn snapshots(&self, grant: Grant) -> SnapshotCtx {
        // A program that another thread starts holds a directory that was just let go of, for a moment.
        let started = Instant::now();
        loop {
            match self.minisnap.open(grant.clone()) {
                Err(Error::Busy(_)) if started.elapsed() < Duration::from_secs(10) => {
                    thread::sleep(Duration::from_millis(1));
                }
                opened => return SnapshotCtx::new(opened.expect("the directory can be granted")),
            }
        }
    }

    /// Runs a component to its end.
    pub fn run(&self, component: &Component, snapshots: SnapshotCtx, args: &[&str]) -> Ended {
        let (mut store, output) = self.store(snapshots, args);
        let command = sync::Command::instantiate(&mut store, component, &self.linker);
        let result = command.and_then(|command| command.wasi_cli_run().call_run(&mut store));
        ended(store, &output, result)
    }

    /// Runs a component to its end, asynchronously.
    pub async fn run_async(&self, component: &Component, snapshots: SnapshotCtx, args: &[&str]) -> Ended {
        self.run_until(component, snapshots, args, pending()).await
    }

    /// Runs a component to its end, asynchronously, or gives it up in the middle of whatever it does.
    pub async fn run_until(
        &self,
        component: &Component,
        snapshots: SnapshotCtx,
        args: &[&str],
        given_up: impl Future<Output = ()>,
    ) -> Ended {
        let (mut store, output) = self.store(snapshots, args);
        let run = async {
            let command = Command::instantiate_async(&mut store, component, &self.linker).await?;
            command.wasi_cli_run().call_run(&mut store).await
        };
        let result = tokio::select! {
            result = run => result,
            () = given_up => Err(wasmtime::Error::msg("given up")),
        };
        ended(store, &output, result)
    }

    fn store(&self, snapshots: SnapshotCtx, args: &[&str]) -> (Store<Consumer>, MemoryOutputPipe) {
        let output = MemoryOutputPipe::new(MAX_OUTPUT);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.clone()).arg("consumer").args(args);
        if let Some((folder, name)) = &self.folder {
            wasi.preopened_dir(folder, name, FsPerms::ReadOnly).expect("the folder can be opened");
        }
        let wasi = wasi.build();
        let limits = StoreLimitsBuilder::new().memory_size(self.max_memory).build();
        let consumer = Consumer { wasi, table: ResourceTable::new(), limits, snapshots };
        let mut store = Store::new(&self.engine, consumer);
        store.limiter(|consumer| &mut consumer.limits);
        store.set_epoch_deadline(self.epochs);
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel).expect("the engine burns fuel");
        }
        (store, output)
    }
}

fn ended(
    store: Store<Consumer>,
    output: &MemoryOutputPipe,
    result: wasmtime::Result<Result<(), ()>>,
) -> Ended {
    let printed = String::from_utf8(output.contents().to_vec()).expect("components print UTF-8");
    Ended { printed, trap: result.err(), snapshots: store.into_data().snapshots }
}

impl WasiView for Consumer {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
