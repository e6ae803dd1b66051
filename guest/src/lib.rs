//! A store that keeps the newest snapshot of an application's state in a directory.
//!
//! This crate is the component `minisnap.wasm`, which exports `arcella:minisnap/snapshot-store` and
//! keeps its files in the one directory that its host preopens for it. What it does is plain Rust over
//! a small seam to the file system, so that all of it runs natively too:
//!
//! ```
//! use minisnap_component::{dir::OsDir, store::Store};
//!
//! let dir = tempfile::tempdir()?;
//! Store::new(OsDir::new(dir.path())).create(r#"{"total": 10.50}"#, 42)?;
//!
//! // After a crash, another process:
//! let snapshot = Store::new(OsDir::new(dir.path())).restore()?;
//! assert_eq!(snapshot.seq, 42);
//! assert_eq!(snapshot.state, "{\n  \"total\": 10.50\n}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `DESIGN.md` beside the manifest gives the layout on the disk, the order of the commit, and the reason
//! of each step. A `create` goes through [`store`], which has `settle` finish what a crash left; [`json`], which lays the
//! state out; `commit`, which makes it durable; and `retain`, which removes what is too old. No two modules
//! import each other.

#![deny(missing_docs)]

mod block;
mod body;
mod catalog;
mod commit;
mod damage;
pub mod dir;
pub mod error;
mod files;
pub mod json;
mod numbered;
mod pair;
mod retain;
mod settle;
mod snapshot;
pub mod store;
mod sum;

#[cfg(all(target_family = "wasm", feature = "component"))]
mod component;
#[cfg(all(target_family = "wasm", feature = "component"))]
mod libc;
#[cfg(all(target_family = "wasm", feature = "component"))]
mod wasi;

/// The C library's, which is the default, is three times as large.
#[cfg(all(target_family = "wasm", feature = "component"))]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// What the component was built from and by, as custom sections.
#[cfg(all(target_family = "wasm", feature = "component"))]
#[expect(unsafe_code, reason = "a static that is placed in a custom section is data beside the program")]
mod records {
    include!(concat!(env!("OUT_DIR"), "/records.rs"));
}
