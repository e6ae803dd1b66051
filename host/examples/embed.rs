//! A host that runs components, each with a snapshot directory of its own: `embed ROOT COMPONENT.wasm ...`.

use std::path::Path;

use metrics_exporter_prometheus::PrometheusBuilder;
use minisnap_host::manifest::{Admitted, Manifest, MemoryLimit, Offer};
use minisnap_host::{Grant, Minisnap, SnapshotCtx, describe_metrics};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Result, Store, bail};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// What belongs to one running component.
struct Consumer {
    wasi: WasiCtx,
    table: ResourceTable,
    memory: MemoryLimit,
    snapshots: SnapshotCtx,
}

impl WasiView for Consumer {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, components @ ..] = &args[..] else { bail!("usage: embed ROOT COMPONENT.wasm ...") };

    // Once a process: the engine and the linker for the components, and the store.
    let engine = Engine::default();
    let mut linker = Linker::<Consumer>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    minisnap_host::add_to_linker_sync(&mut linker, |consumer| &mut consumer.snapshots)?;
    let minisnap = Minisnap::new()?;
    // Whatever recorder the host has: this one prints what Prometheus would ask for.
    let metrics = PrometheusBuilder::new().install_recorder()?;
    describe_metrics();

    for file in components {
        // Which directory, and what the component may do there, is the host's decision.
        let Some(manifest) = Manifest::of(file)? else { bail!("{file}: name it NAME@X.Y.Z.wasm") };
        let grant = Grant::new(Path::new(root).join(manifest.name())).component(manifest.name());
        let grant = grant.max_state(16 << 20).max_total(64 << 20);
        // The component gets as much of it as its manifest allows, or does not run.
        let Admitted { grant, memory } = manifest.admit(Offer::new(grant).component_memory(256 << 20))?;

        let wasi = WasiCtx::builder().inherit_stdio().build();
        let snapshots = SnapshotCtx::new(minisnap.open(grant)?);
        let mut store =
            Store::new(&engine, Consumer { wasi, table: ResourceTable::new(), memory, snapshots });
        store.limiter(|consumer| &mut consumer.memory);
        let component = Component::from_file(&engine, file)?;
        let command = Command::instantiate(&mut store, &component, &linker)?;
        if command.wasi_cli_run().call_run(&mut store)?.is_err() {
            bail!("{file} failed");
        }
    }
    eprint!("{}", metrics.render());
    Ok(())
}
