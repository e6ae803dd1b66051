//! Runs the minisnap snapshot store, a WebAssembly component, on directories of the host.
//!
//! Each [`Store`] is one directory, granted to one instance of the component, which sees nothing else.
//!
//! ```
//! use minisnap_host::{Grant, Minisnap};
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
//! let (state, seq): (State, u64) = store.restore()?;
//! assert_eq!((state, seq), (State { counter: 42 }, 10));
//! # Ok(())
//! # }
//! ```
//!
//! A component that imports `arcella:minisnap/snapshot-store` gets it from [`add_to_linker`], backed by a [`Store`]
//! that the host chooses.
//!
//! `snapshot-store.wit` states what holds for every call, crashes included.

#![deny(missing_docs)]

mod component;
mod error;
mod grant;
mod linker;
mod store;

pub use component::{COMPONENT, Minisnap};
pub use error::{Error, Result};
pub use grant::{Access, Grant, MAX_STATE_CEILING};
pub use linker::{SnapshotView, add_to_linker};
pub use store::{Info, Layout, Soundness, Store};
