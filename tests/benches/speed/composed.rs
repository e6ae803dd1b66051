//! The benchmark's component and the store's as one.

use std::fs;
use std::path::Path;

use minisnap_host::COMPONENT;
use minisnap_host::manifest::SNAPSHOT_STORE;
use minisnap_tests::BENCH;
use minisnap_tests::bench::{Host, linker, seconds};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions};
use wasmtime::component::Component;
use wasmtime::{Engine, Store};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package minisnap:composed; world composed {
            export prepare: func(state: string);
            export create: func(seq: u64) -> u64;
        }",
    });
}

/// Both, in a store of their own.
pub struct Composed {
    store: Store<Host>,
    composed: bindings::Composed,
}

impl Composed {
    /// The component and the store as one, which keeps numbered snapshots in `dir`.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir(dir).expect("made");
        let engine = Engine::default();
        let component = Component::new(&engine, compose()).expect("it compiles");
        let linker = linker(&engine);
        let host = Host::new(dir, "/snapshots", None, &[("MINISNAP_LAYOUT", "numbered")]);
        let mut store = Store::new(&engine, host);
        let composed = bindings::Composed::instantiate(&mut store, &component, &linker).expect("an instance");
        Composed { store, composed }
    }

    pub fn prepare(&mut self, state: &str) {
        self.composed.call_prepare(&mut self.store, state).expect("no trap");
    }

    pub fn create(&mut self, seq: u64) -> f64 {
        seconds(self.composed.call_create(&mut self.store, seq))
    }
}

fn compose() -> Vec<u8> {
    let mut graph = CompositionGraph::new();
    let store = Package::from_bytes("store", None, COMPONENT, graph.types_mut()).expect("a component");
    let consumer = Package::from_file("consumer", None, BENCH, graph.types_mut()).expect("a component");
    let store = graph.register_package(store).expect("registered");
    let consumer = graph.register_package(consumer).expect("registered");
    let (store, consumer) = (graph.instantiate(store), graph.instantiate(consumer));
    let interface = format!("{SNAPSHOT_STORE}@0.1.0");
    let snapshots = graph.alias_instance_export(store, &interface).expect("the store exports it");
    graph.set_instantiation_argument(consumer, &interface, snapshots).expect("it fits");
    // Another export has types of the store, which is hidden in the composition.
    for name in ["prepare", "create"] {
        let function = graph.alias_instance_export(consumer, name).expect("the component exports it");
        graph.export(function, name).expect("no other has its name");
    }
    graph.encode(EncodeOptions::default()).expect("encoded")
}
