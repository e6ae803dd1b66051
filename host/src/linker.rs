//! The import `arcella:minisnap/snapshot-store` for components that keep their state in snapshots.

use wasmtime::component::{HasData, Linker};

use crate::error::Error;
use crate::store::{Info, Layout, Soundness, Store};
use bindings::arcella::minisnap::snapshot_store as wit;

mod bindings {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({ path: "../wit", world: "consumer" });
}

/// What a linker's data must give: the store that its component's snapshots go to.
pub trait SnapshotView {
    /// The store.
    fn snapshots(&mut self) -> &mut Store;
}

/// Gives components of `linker` the import `arcella:minisnap/snapshot-store`, backed by the [`Store`] of their data.
///
/// The store's component runs in an instance and a `wasmtime::Store` of its own: the two share no memory, no file
/// system and no resources.
///
/// What a component hands over in one call is limited by the hostcall fuel of its own `wasmtime::Store`, 128 MiB by
/// default: a host that allows larger states sets more (`Store::set_hostcall_fuel`), twice the size for components
/// whose strings are UTF-16.
///
/// # Errors
///
/// As wasmtime reports it if the import is defined already.
pub fn add_to_linker<T: SnapshotView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    struct View;
    impl HasData for View {
        type Data<'a> = &'a mut Store;
    }
    wit::add_to_linker::<T, View>(linker, T::snapshots)
}

impl wit::Host for Store {
    fn create(&mut self, state: String, seq: u64) -> Result<(), wit::Error> {
        Ok(self.create_text(&state, seq)?)
    }

    fn restore(&mut self) -> Result<wit::Snapshot, wit::Error> {
        let (state, seq) = self.restore_text()?;
        Ok(wit::Snapshot { state, seq })
    }

    fn exists(&mut self) -> Result<bool, wit::Error> {
        Ok(Store::exists(self)?)
    }

    fn info(&mut self) -> Result<wit::SnapshotInfo, wit::Error> {
        Ok(Store::info(self)?.into())
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => wit::Error::NotFound,
            Error::InvalidState(what) => wit::Error::InvalidState(what),
            Error::Stale(newest) => wit::Error::Stale(newest),
            Error::TooLarge(limit) => wit::Error::TooLarge(limit),
            Error::Corrupt(what) => wit::Error::Corrupt(what),
            Error::NoSpace => wit::Error::NoSpace,
            Error::AccessDenied => wit::Error::AccessDenied,
            Error::Busy { holder: _ } => wit::Error::Busy,
            Error::Io(what) => wit::Error::Io(what),
            error @ (Error::OtherType(_) | Error::Component(_)) => wit::Error::Io(error.to_string()),
        }
    }
}

impl From<Info> for wit::SnapshotInfo {
    fn from(Info { seq, size, layout, soundness }: Info) -> Self {
        let layout = match layout {
            Layout::Pair => wit::Layout::Pair,
        };
        let soundness = match soundness {
            Soundness::Verified => wit::Soundness::Verified,
            Soundness::Unverified => wit::Soundness::Unverified,
        };
        wit::SnapshotInfo { seq, size, layout, soundness }
    }
}
