//! What is generated from the WIT, for the import of consumers. An embedder whose own `bindgen!` makes types of functions
//! that use the import's names this module in `with:`, for
//! `"arcella:minisnap/snapshot-store": minisnap_host::bindings::arcella::minisnap::snapshot_store`.

pub(crate) use component::exports::arcella::minisnap::{
    snapshot_maintenance as maintenance, snapshot_store as export,
};
pub use consumer::arcella;
pub(crate) use consumer::arcella::minisnap::snapshot_store as import;

/// The world of a consumer.
mod consumer {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({
        path: "../wit",
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
    wasmtime::component::bindgen!({ path: "../wit", world: "store" });
}

/// What a consumer's handle of a store is of.
pub enum ConsumerStore {}

/// What its handle of a writer is of.
pub enum ConsumerWriter {}

/// What its handle of a reader is of.
pub enum ConsumerReader {}
