//! Snapshots of a WebAssembly component's state, typed: what native `minisnap` is to a program, over the import
//! `arcella:minisnap/snapshot-store`.
//!
//! ```no_run
//! use minisnap_client::{Error, SnapStore};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct State {
//!     counter: u64,
//! }
//!
//! # fn main() -> Result<(), Error> {
//! let store = SnapStore::new();
//! store.create(&State { counter: 42 }, 10)?; // durable when this returns
//!
//! let (state, seq) = store.restore::<State>()?;
//! assert_eq!((state, seq), (State { counter: 42 }, 10));
//! # Ok(())
//! # }
//! ```
//!
//! A component that keeps a log restores the newest snapshot when it starts, applies the log's records after `seq`, creates
//! a snapshot from time to time, as a [`SnapshotPolicy`] says, and then removes the records that no snapshot needs any more:
//!
//! ```no_run
//! # use minisnap_client::{Error, SnapStore};
//! # fn replay(state: &mut u64, after: u64) -> u64 { after }
//! # fn remove_records(up_to: u64) {}
//! # fn main() -> Result<(), Error> {
//! let store = SnapStore::new();
//! let (mut state, seq) = match store.restore::<u64>() {
//!     Err(Error::NotFound) => (0, 0), // the first start
//!     restored => restored?,
//! };
//! let last = replay(&mut state, seq);
//!
//! store.create(&state, last)?;
//! remove_records(store.oldest_kept()?);
//! # Ok(())
//! # }
//! ```
//!
//! States larger than memory go through a [`Writer`] and a [`Reader`], in chunks:
//!
//! ```no_run
//! # use minisnap_client::{Error, SnapStore};
//! # fn main() -> Result<(), Error> {
//! use std::io::BufWriter;
//!
//! let store = SnapStore::new();
//! // serde_json writes a token at a time, and each piece that the writer gets is a call of the host.
//! let mut pieces = BufWriter::with_capacity(64 << 10, store.open_writer(11)?);
//! serde_json::to_writer(&mut pieces, &[1, 2, 3])?;
//! pieces.into_inner()?.commit()?; // dropping it instead discards the snapshot
//!
//! let state: Vec<u64> = serde_json::from_reader(store.open_reader()?)?;
//! # Ok(())
//! # }
//! ```
//!
//! The host grants the component its directory, and with it the layout, the number of generations that are kept, and the
//! limits. `snapshot-store.wit` states what holds for every call, crashes included.
//!
//! For any target but WebAssembly the crate compiles, so that what uses it can be checked and tested; there is no store,
//! and every call that would reach one panics.

#![deny(missing_docs)]
// By hand there is none; the lint does not look into what the bindings' macro writes.
#![forbid(unsafe_code)]

mod error;
mod policy;
mod snapshot;
pub mod state;
mod stream;

mod bindings {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wit_bindgen::generate!({
        path: "wit",
        world: "consumer",
        // A component may generate bindings of the same world for itself.
        type_section_suffix: "minisnap-client",
    });
}

use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

use bindings::arcella::minisnap::snapshot_store as wit;

pub use error::{Error, Result};
pub use policy::SnapshotPolicy;
pub use snapshot::{Info, Skipped, Snapshot, Soundness};
pub use stream::{Reader, Writer};

/// One of the component's snapshot stores.
#[derive(Debug, Default)]
pub struct SnapStore(OnceLock<wit::Store>);

impl SnapStore {
    /// The component's own store, which is opened by its first call.
    pub const fn new() -> Self {
        SnapStore(OnceLock::new())
    }

    /// Opens the named store of this name, which has its own snapshots: for one of many agents or tenants. A name has 1 to
    /// 128 letters, digits, `-` and `_`, and does not begin with `snapshot_`. The empty name is the component's own store.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::AccessDenied`] if the host grants no such store, [`Error::Io`].
    pub fn open(name: &str) -> Result<Self> {
        Ok(SnapStore(wit::open(name)?.into()))
    }

    /// The names of the named stores that have a directory, sorted.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`].
    pub fn names() -> Result<Vec<String>> {
        Ok(wit::names()?)
    }

    fn opened(&self) -> Result<&wit::Store> {
        match self.0.get() {
            Some(store) => Ok(store),
            None => {
                let store = wit::open("")?;
                Ok(self.0.get_or_init(|| store))
            }
        }
    }

    /// Makes `state` with `seq`, the number of the last log record that it contains, the newest snapshot; it is durable
    /// when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Type`] if it cannot be serialised, and as [`create_text`](Self::create_text).
    pub fn create<S: Serialize + ?Sized>(&self, state: &S, seq: u64) -> Result<()> {
        self.create_text(&serde_json::to_string(state)?, seq)
    }

    /// Makes `state`, which is JSON, with `seq` the newest snapshot; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`], [`Error::Stale`], [`Error::TooLarge`], [`Error::Corrupt`] if the stored number cannot
    /// be trusted, [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Busy`] while a writer is open, [`Error::Io`],
    /// [`Error::InDoubt`].
    pub fn create_text(&self, state: &str, seq: u64) -> Result<()> {
        Ok(self.opened()?.create(state, seq)?)
    }

    /// Returns the newest sound state and its sequence number.
    ///
    /// This does not say which newer generations are damaged and were skipped; [`restore_text`](Self::restore_text) does.
    ///
    /// # Errors
    ///
    /// [`Error::Type`] if the state cannot be read as a `T`, and as [`restore_text`](Self::restore_text).
    pub fn restore<T: DeserializeOwned>(&self) -> Result<(T, u64)> {
        let Snapshot { state, seq, .. } = self.restore_text()?.parse()?;
        Ok((state, seq))
    }

    /// Returns the state of the generation with the number `seq`.
    ///
    /// # Errors
    ///
    /// [`Error::Type`] if the state cannot be read as a `T`, [`Error::NotFound`] if there is no such generation, and as
    /// [`restore_text`](Self::restore_text).
    pub fn restore_at<T: DeserializeOwned>(&self, seq: u64) -> Result<T> {
        Ok(self.restore_text_at(seq)?.parse()?.state)
    }

    /// Returns the newest sound state as text, laid out as serde_json pretty-prints, with its sequence number and the
    /// damaged generations that were skipped; [`Snapshot::parse`] makes it typed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if no generation is sound, [`Error::TooLarge`],
    /// [`Error::AccessDenied`], [`Error::Busy`] if it was rewritten faster than it could be read, [`Error::Io`].
    pub fn restore_text(&self) -> Result<Snapshot> {
        some(self.opened()?.restore())
    }

    /// Returns the generation with the number `seq`, as [`restore_text`](Self::restore_text) does.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none, and as [`restore_text`](Self::restore_text).
    pub fn restore_text_at(&self, seq: u64) -> Result<Snapshot> {
        some(self.opened()?.restore_at(seq))
    }

    /// Whether there is a snapshot, sound or not.
    ///
    /// # Errors
    ///
    /// As [`newest_seq`](Self::newest_seq), but [`Error::NotFound`].
    pub fn exists(&self) -> Result<bool> {
        Ok(self.opened()?.newest_seq()?.is_some())
    }

    /// The number of the newest snapshot, whose state is not read: if it is damaged, [`restore`](Self::restore) returns an
    /// older generation, or fails.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if the number cannot be trusted, [`Error::AccessDenied`],
    /// [`Error::Busy`], [`Error::Io`].
    pub fn newest_seq(&self) -> Result<u64> {
        some(self.opened()?.newest_seq())
    }

    /// Reads and checks the snapshot that [`restore`](Self::restore) returns, and says what is known of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`].
    pub fn info(&self) -> Result<Info> {
        some(self.opened()?.info())
    }

    /// Reads and checks every generation, the damaged ones included, and says what is known of each, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the number of a damaged pair cannot be trusted, or if all that is left was set aside,
    /// [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`].
    pub fn generations(&self) -> Result<Vec<Info>> {
        Ok(self.opened()?.generations()?.into_iter().map(Into::into).collect())
    }

    /// The number of the oldest sound generation: every log record up to it can go, and each sound generation can still be
    /// rolled forward.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if no generation is sound, [`Error::AccessDenied`], [`Error::Busy`],
    /// [`Error::Io`].
    pub fn oldest_kept(&self) -> Result<u64> {
        some(self.opened()?.oldest_kept())
    }

    /// Starts a snapshot with the number `seq` that is written in chunks.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Corrupt`] if the stored number cannot be trusted, [`Error::NoSpace`],
    /// [`Error::AccessDenied`], [`Error::Busy`] while another writer is open, [`Error::Io`].
    pub fn open_writer(&self, seq: u64) -> Result<Writer> {
        Ok(Writer::new(self.opened()?.open_writer(seq)?))
    }

    /// Opens the newest sound snapshot, all of it checked, to read it in chunks.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if no generation is sound, [`Error::AccessDenied`], [`Error::Busy`] also
    /// while 16 readers are open, [`Error::Io`].
    pub fn open_reader(&self) -> Result<Reader> {
        some(self.opened()?.open_reader())
    }

    /// Opens the generation with the number `seq`, as [`open_reader`](Self::open_reader) does.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none, and as [`open_reader`](Self::open_reader).
    pub fn open_reader_at(&self, seq: u64) -> Result<Reader> {
        some(self.opened()?.open_reader_at(seq))
    }
}

/// What there is, or that there is nothing.
fn some<T, R: From<T>>(found: std::result::Result<Option<T>, wit::Error>) -> Result<R> {
    found?.map(Into::into).ok_or(Error::NotFound)
}
