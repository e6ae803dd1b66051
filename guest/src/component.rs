//! The component's edge: bindings and conversion, nothing else.

use crate::error::Error;
use crate::store::{Info, Layout, Limits, Snapshot, Soundness, Store};
use crate::wasi::Preopen;

mod bindings {
    #![expect(unsafe_code, reason = "the generated code lifts and lowers what crosses the component's edge")]
    wit_bindgen::generate!({ path: "../wit", world: "store" });
    use super::Component;
    export!(Component);
}

use bindings::exports::arcella::minisnap::snapshot_store as wit;

struct Component;

impl wit::Guest for Component {
    fn create(state: String, seq: u64) -> Result<(), wit::Error> {
        Ok(store()?.create(&state, seq)?)
    }

    fn restore() -> Result<wit::Snapshot, wit::Error> {
        Ok(store()?.restore()?.into())
    }

    fn exists() -> Result<bool, wit::Error> {
        Ok(store()?.exists()?)
    }

    fn info() -> Result<wit::SnapshotInfo, wit::Error> {
        Ok(store()?.info()?.into())
    }
}

/// The store that the host's settings describe.
fn store() -> Result<Store<Preopen>, Error> {
    let dir = setting("MINISNAP_DIR")?.unwrap_or_else(|| "/snapshots".to_owned());
    let max_state = match setting("MINISNAP_MAX_STATE")? {
        None => Limits::default().max_state,
        Some(text) => text.parse().map_err(|_| {
            Error::Io(format!("`MINISNAP_MAX_STATE` is `{text}`: set it to a number of bytes, or not at all"))
        })?,
    };
    Ok(Store::new(Preopen::open(&dir)?).with_limits(Limits { max_state }))
}

fn setting(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::Io(format!("`{name}` is not UTF-8"))),
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
            Error::Busy => wit::Error::Busy,
            Error::Io(what) => wit::Error::Io(what),
        }
    }
}

impl From<Snapshot> for wit::Snapshot {
    fn from(Snapshot { state, seq }: Snapshot) -> Self {
        wit::Snapshot { state, seq }
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
