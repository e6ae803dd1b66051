//! Runs minisnap's store component, a WebAssembly component that keeps snapshots, on directories of the host.
//!
//! Each [`SnapshotStore`] has one directory and an instance of the store component, which sees nothing else.
//!
//! ```
//! use minisnap_host::{Grant, Minisnap, Snapshot};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct State {
//!     counter: u64,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tmp = tempfile::tempdir()?;
//! # let dir = tmp.path().join("counter");
//! let minisnap = Minisnap::new()?; // once a process
//! let mut store = minisnap.open(Grant::new(&dir))?;
//! store.create(&State { counter: 42 }, 10)?; // durable when this returns
//!
//! let Snapshot { state, seq, .. } = store.restore::<State>()?;
//! assert_eq!((state, seq), (State { counter: 42 }, 10));
//! # Ok(())
//! # }
//! ```
//!
//! States larger than memory go through a [`Writer`] and a [`Reader`], in chunks:
//!
//! ```
//! # use minisnap_host::{Grant, Layout, Minisnap};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tmp = tempfile::tempdir()?;
//! # let mut store = Minisnap::new()?.open(Grant::new(tmp.path()).layout(Layout::Numbered))?;
//! let mut writer = store.open_writer(11)?;
//! writer.write_chunk(br#"{"counter""#)?;
//! writer.write_chunk(b":43}")?;
//! writer.commit()?; // dropping it instead discards the snapshot
//!
//! let mut reader = store.open_reader()?;
//! let state: serde_json::Value = serde_json::from_reader(&mut reader)?;
//! assert_eq!(state["counter"], 43);
//! # Ok(())
//! # }
//! ```
//!
//! A component that imports `arcella:minisnap/snapshot-store` gets it from [`add_to_linker_sync`] or
//! [`add_to_linker_async`], backed by a [`SnapshotStore`] that the host chooses.
//!
//! `snapshot-store.wit` states what holds for every call, crashes included.

#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("minisnap-host runs on Linux only: it locks, opens and looks at directories as Linux does");

// What an embedder calls: the compiled component, a store on one directory, and the import of consumers.
mod component;
mod ctx;
mod linker;
#[cfg(feature = "arcella")]
mod status;
mod store;
mod stream;

// Who gets which directory.
#[cfg(feature = "arcella")]
mod diagnostic;
mod grant;
#[cfg(feature = "arcella")]
pub mod grants;
#[cfg(feature = "arcella")]
pub mod manifest;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "arcella")]
mod spelling;

// Directories as they lie on this machine: that of a grant, other folders of a component, and where each really is.
mod directory;
mod folder;
mod location;
mod locks;
mod replaceable;

// Running the component: its instances, and what they share.
mod calls;
mod clock;
#[cfg(feature = "cache")]
mod compiled;
mod descriptor;
mod engine;
mod idle;
mod instance;
mod memory;
mod metrics;
mod staged;

// At the bottom: what crosses the component's edge.
pub mod bindings;
mod blocking;
mod error;
mod names;
mod snapshot;

#[cfg(feature = "cache")]
pub use compiled::load_cached;
pub use component::{COMPONENT, Minisnap, MinisnapBuilder};
pub use ctx::SnapshotCtx;
#[cfg(feature = "arcella")]
pub use diagnostic::{Diagnostic, Place};
pub use error::{Error, Problem, Result};
pub use folder::{Folder, FolderError};
pub use grant::{Access, Grant};
pub use linker::{add_to_linker_async, add_to_linker_sync};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use snapshot::{Info, Layout, Skipped, Snapshot, Soundness};
#[cfg(feature = "arcella")]
pub use status::{Contents, Newest, Status};
pub use store::{Copied, CopyError, Files, Refusal, Selection, SnapshotStore};
pub use stream::{Reader, Writer};
