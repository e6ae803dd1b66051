//! The taxonomy as a host sees it: the cases of the WIT, and what only a host can meet.

use crate::store::bindings::exports::arcella::minisnap::snapshot_store as wit;

/// Why a call failed; `snapshot-store.wit` says what its cases promise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no snapshot yet.
    #[error("there is no snapshot yet")]
    NotFound,
    /// The name is not one that a store can have.
    #[error("{0}")]
    InvalidName(String),
    /// The given state is not one JSON value; names the line and the column.
    #[error("the state is not one JSON value: {0}")]
    InvalidState(String),
    /// The given sequence number is lower than that of the stored snapshot, which it carries.
    #[error("the sequence number is lower than the stored snapshot's, which is {0}")]
    Stale(u64),
    /// The state is larger than the grant allows, in bytes.
    #[error("the state is larger than the limit of {0} bytes, as given or as stored with its indentation")]
    TooLarge(u64),
    /// What is on the disk is damaged; names the file, what is wrong with it and what to do.
    #[error("the snapshot is damaged: {0}")]
    Corrupt(String),
    /// The disk, a quota, or what the grant allows the directory is full; says which.
    #[error("{0}")]
    NoSpace(String),
    /// The grant or the operating system allows no writing, or no access at all; names the operation and the file.
    #[error("{0}")]
    AccessDenied(String),
    /// Another process, or another [`Store`](crate::Store) of this one, holds the directory for writing; or a writer is
    /// open, or too many readers are, or the snapshot was rewritten faster than it could be read; says which.
    #[error("{0}")]
    Busy(String),
    /// Anything else that the system said; names the operation and the file.
    #[error("{0}")]
    Io(String),
    /// A create failed at its commit, or was interrupted: the new snapshot may be in place. A restore tells, and makes it
    /// durable. After any other error, it is not.
    #[error("{0}")]
    InDoubt(String),
    /// The stored state is sound, and not of the type that was asked for.
    #[error("the stored state is not of the type that was asked for: {0}")]
    OtherType(#[source] serde_json::Error),
    /// A component could not be loaded, or trapped. No snapshot is lost by that.
    #[error("the component failed: {0:#}")]
    Component(wasmtime::Error),
}

/// The result of an operation on a store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the system answered to `operation` on `path`.
    pub(crate) fn io(operation: &str, path: &std::path::Path, error: &std::io::Error) -> Error {
        use std::io::ErrorKind;
        let what = format!("cannot {operation} `{}`: {error}", path.display());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace(what),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::AccessDenied(what),
            _ => Error::Io(what),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::InvalidName(what) => Error::InvalidName(what),
            wit::Error::InvalidState(what) => Error::InvalidState(what),
            wit::Error::Stale(newest) => Error::Stale(newest),
            wit::Error::TooLarge(limit) => Error::TooLarge(limit),
            wit::Error::Corrupt(what) => Error::Corrupt(what),
            wit::Error::NoSpace(what) => Error::NoSpace(what),
            wit::Error::AccessDenied(what) => Error::AccessDenied(what),
            wit::Error::Busy(what) => Error::Busy(what),
            wit::Error::Io(what) => Error::Io(what),
            wit::Error::InDoubt(what) => Error::InDoubt(what),
        }
    }
}
