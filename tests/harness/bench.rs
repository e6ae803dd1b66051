//! The benchmark's component, and the store's by itself, in a host that is not ours.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use minisnap_host::bindings::arcella::minisnap::snapshot_store::SnapshotInfo;
use minisnap_host::{COMPONENT, Grant, Minisnap, SnapshotCtx};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceAny, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use crate::{BENCH, cached_config, cached_engine};

mod bindings {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({
        path: ["../wit", "consumers/bench/wit"],
        world: "minisnap:bench/bench",
        with: {
            "arcella:minisnap/snapshot-store": minisnap_host::bindings::arcella::minisnap::snapshot_store,
            "wasi:keyvalue/store.bucket": super::Bucket,
        },
        imports: { default: trappable },
    });
}

mod store {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({ path: "../wit", world: "store" });
}

use bindings::wasi::keyvalue::store as keyvalue;

/// The benchmark's component, in a store of its own.
pub struct Bench {
    store: Store<Host>,
    bench: bindings::Bench,
}

/// What belongs to one component.
pub struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
    snapshots: Option<SnapshotCtx>,
    values: HashMap<String, Vec<u8>>,
    peak_memory: usize,
}

/// The only bucket.
pub struct Bucket;

impl Bench {
    /// The component, with what `grant` says linked, and a folder of its own.
    pub fn linked(minisnap: &Minisnap, grant: Grant, own: &Path) -> Self {
        Self::linked_in(&cached_engine(), minisnap, grant, own)
    }

    fn linked_in(engine: &Engine, minisnap: &Minisnap, grant: Grant, own: &Path) -> Self {
        fs::create_dir(own).expect("made");
        let component = Component::from_file(engine, BENCH).expect("it was built");
        let mut linker = linker(engine);
        minisnap_host::add_to_linker_sync(&mut linker, |host| {
            host.snapshots.as_mut().expect("what imports them is given some")
        })
        .expect("linked");
        let snapshots = SnapshotCtx::new(minisnap.open(grant).expect("a store"));
        let mut store = Store::new(engine, Host::new(own, "/own", Some(snapshots), &[]));
        // As much as there is, where it is burnt.
        store.set_fuel(u64::MAX).ok();
        let bench = bindings::Bench::instantiate(&mut store, &component, &linker).expect("an instance");
        Bench { store, bench }
    }

    /// Sets the state, as JSON.
    pub fn prepare(&mut self, state: &str) {
        self.bench.call_prepare(&mut self.store, state).expect("no trap");
    }

    /// Seconds of a create.
    pub fn create(&mut self, seq: u64) -> f64 {
        seconds(self.bench.call_create(&mut self.store, seq))
    }

    /// What the component is told of the newest snapshot, in the library's type.
    pub fn newest(&mut self) -> Option<SnapshotInfo> {
        self.bench.minisnap_bench_told().call_newest(&mut self.store).expect("no trap")
    }

    /// Seconds of writing a file of its own, with one sync.
    pub fn write_own_file(&mut self) -> f64 {
        seconds(self.bench.call_write_own_file(&mut self.store))
    }

    /// Seconds of applying an operation.
    pub fn apply(&mut self) -> f64 {
        seconds(self.bench.call_apply(&mut self.store))
    }

    /// Seconds of setting a key's value.
    pub fn set_key(&mut self) -> f64 {
        seconds(self.bench.call_set_key(&mut self.store))
    }
    /// Formats a text in pieces, after a start and nested in so many levels.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn format_pieces(
        &mut self,
        start: &[u8],
        levels: u32,
        pieces: &[Vec<u8>],
    ) -> Result<Vec<u8>, String> {
        self.bench.call_format_pieces(&mut self.store, start, levels, pieces).expect("no trap")
    }

    /// Seconds of formatting.
    pub fn format(&mut self) -> f64 {
        seconds(self.bench.call_format(&mut self.store))
    }
}

/// The store's component on the snapshots in a folder, in an engine of wasmtime as it comes.
struct Foreign {
    store: Store<Host>,
    instance: store::Store,
    this: ResourceAny,
}

impl Foreign {
    fn new(engine: &Engine, dir: &Path, layout: &str) -> Self {
        fs::create_dir(dir).expect("made");
        let component = Component::new(engine, COMPONENT).expect("it compiles");
        let linker = linker(engine);
        let host = Host::new(dir, "/snapshots", None, &[("MINISNAP_LAYOUT", layout)]);
        let mut store = Store::new(engine, host);
        store.limiter(|host| host);
        // As much as there is, where it is burnt.
        store.set_fuel(u64::MAX).ok();
        let instance = store::Store::instantiate(&mut store, &component, &linker).expect("an instance");
        let opened = instance.arcella_minisnap_snapshot_store().call_open(&mut store, "");
        let this = opened.expect("no trap").expect("a store");
        Foreign { store, instance, this }
    }

    fn create(&mut self, state: &str, seq: u64) {
        let store = self.instance.arcella_minisnap_snapshot_store().store();
        let created = store.call_create(&mut self.store, self.this, state, seq);
        created.expect("no trap").expect("stored");
    }
}

/// The most memory in bytes that the store's component had while it made a snapshot of `state`, given as one text.
pub fn memory_of_create(dir: &Path, state: &str) -> usize {
    let mut foreign = Foreign::new(&cached_engine(), dir, "numbered");
    foreign.create(state, 1);
    foreign.store.data().peak_memory
}
/// How much fuel the store's component burns for one more snapshot of `state` in `dir`, where as many are as it keeps.
pub fn fuel_of_create(dir: &Path, layout: &str, state: &str) -> u64 {
    let mut foreign = Foreign::new(&burning(), dir, layout);
    (1..=6).for_each(|seq| foreign.create(state, seq));
    let before = foreign.store.get_fuel().expect("it burns fuel");
    foreign.create(state, 7);
    before - foreign.store.get_fuel().expect("it burns fuel")
}
/// How much fuel the formatter burns for `state`.
pub fn fuel_of_format(minisnap: &Minisnap, dir: &Path, state: &str) -> u64 {
    let mut bench = Bench::linked_in(&burning(), minisnap, Grant::new(dir.join("store")), &dir.join("own"));
    bench.prepare(state);
    let before = bench.store.get_fuel().expect("it burns fuel");
    bench.format();
    before - bench.store.get_fuel().expect("it burns fuel")
}
/// An engine that counts the instructions of WebAssembly.
fn burning() -> Engine {
    Engine::new(cached_config().consume_fuel(true)).expect("fuel can be burnt")
}

/// What all of them may import but for snapshots.
pub fn linker(engine: &Engine) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).expect("linked");
    keyvalue::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host).expect("linked");
    linker
}

/// What a call of the benchmark's component said, in seconds.
pub fn seconds(nanoseconds: wasmtime::Result<u64>) -> f64 {
    nanoseconds.expect("no trap") as f64 / 1e9
}

impl Host {
    /// A component's folder under a name, its snapshots, and its environment.
    pub fn new(
        dir: &Path,
        guest_dir: &str,
        snapshots: Option<SnapshotCtx>,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.allow_blocking_current_thread(true).inherit_stderr().envs(settings);
        wasi.preopened_dir(dir, guest_dir, FsPerms::ReadWrite).expect("opened");
        Host {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            snapshots,
            values: HashMap::new(),
            peak_memory: 0,
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.peak_memory = self.peak_memory.max(desired);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl keyvalue::Host for Host {
    fn open(&mut self, _: String) -> wasmtime::Result<Result<Resource<Bucket>, keyvalue::Error>> {
        Ok(Ok(self.table.push(Bucket)?))
    }
}

impl keyvalue::HostBucket for Host {
    fn set(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), keyvalue::Error>> {
        self.values.insert(key, value);
        Ok(Ok(()))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}
