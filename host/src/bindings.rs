//! What is generated from the WIT.
//!
//! An embedder whose own `bindgen!` has functions with the import's types gives
//! `"arcella:minisnap/snapshot-store": minisnap_host::bindings::arcella::minisnap::snapshot_store` in its `with:`. It links
//! the import by [`add_to_linker_sync`](crate::add_to_linker_sync) or [`add_to_linker_async`](crate::add_to_linker_async),
//! and the world's other imports by the `add_to_linker` of each interface: the world's own asks for traits that nothing
//! here implements.

pub(crate) use component::exports::arcella::minisnap::{
    snapshot_maintenance as maintenance, snapshot_store as export,
};
pub use consumer::arcella;
pub(crate) use consumer::arcella::minisnap::snapshot_store as import;

/// The world `consumer`.
mod consumer {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({
        path: "wit",
        world: "consumer",
        with: {
            "arcella:minisnap/snapshot-store.store": super::ConsumerStore,
            "arcella:minisnap/snapshot-store.snapshot-writer": super::ConsumerWriter,
            "arcella:minisnap/snapshot-store.snapshot-reader": super::ConsumerReader,
        },
    });
}

/// The world of the store's component.
pub(crate) mod component {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({ path: "wit", world: "store" });
}

/// What is behind a component's handle of a store.
pub enum ConsumerStore {}

/// What is behind a component's handle of a writer.
pub enum ConsumerWriter {}

/// What is behind a component's handle of a reader.
pub enum ConsumerReader {}
