//! The taxonomy as a host sees it: the cases of the WIT, and what only a host can meet.

use std::path::Path;

use crate::bindings::{export, import};

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
    /// Another process, or another [`SnapshotStore`](crate::SnapshotStore) of this one, holds the directory for writing; or
    /// a writer is open, or too many readers are, or the snapshot was rewritten faster than it could be read; says which.
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
    pub(crate) fn io(operation: &str, path: &Path, error: &std::io::Error) -> Error {
        use std::io::ErrorKind;
        let what = format!("cannot {operation} `{}`: {error}", path.display());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace(what),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::AccessDenied(what),
            _ => Error::Io(what),
        }
    }
}

impl From<export::Error> for Error {
    fn from(error: export::Error) -> Self {
        match error {
            export::Error::InvalidName(what) => Error::InvalidName(what),
            export::Error::InvalidState(what) => Error::InvalidState(what),
            export::Error::Stale(newest) => Error::Stale(newest),
            export::Error::TooLarge(limit) => Error::TooLarge(limit),
            export::Error::Corrupt(what) => Error::Corrupt(what),
            export::Error::NoSpace(what) => Error::NoSpace(what),
            export::Error::AccessDenied(what) => Error::AccessDenied(what),
            export::Error::Busy(what) => Error::Busy(what),
            export::Error::Io(what) => Error::Io(what),
            export::Error::InDoubt(what) => Error::InDoubt(what),
        }
    }
}

impl From<Error> for import::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidName(what) => import::Error::InvalidName(what),
            Error::InvalidState(what) => import::Error::InvalidState(what),
            Error::Stale(newest) => import::Error::Stale(newest),
            Error::TooLarge(limit) => import::Error::TooLarge(limit),
            Error::Corrupt(what) => import::Error::Corrupt(what),
            Error::NoSpace(what) => import::Error::NoSpace(without_host_path(&what)),
            Error::AccessDenied(what) => import::Error::AccessDenied(without_host_path(&what)),
            Error::Busy(what) => import::Error::Busy(without_host_path(&what)),
            Error::Io(what) => import::Error::Io(without_host_path(&what)),
            Error::InDoubt(what) => import::Error::InDoubt(without_host_path(&what)),
            // Which is an answer of its own wherever it can be one.
            Error::NotFound => import::Error::Io("there is no snapshot".to_owned()),
            Error::OtherType(_) => import::Error::Io("the stored state is of another type".to_owned()),
            Error::Component(error) => {
                // Its backtrace is the host's business.
                tracing::debug!(error = format_args!("{error:#}"), "the store component failed");
                import::Error::Io("the snapshot store failed; its host can say why".to_owned())
            }
        }
    }
}

/// A message without the path of the host that it names, if it does: where the directory is, a component need not know.
fn without_host_path(what: &str) -> String {
    let is_path = |(at, _): &(usize, &str)| Path::new(&what[at + 1..]).is_absolute();
    let first = what.match_indices('`').find(is_path).map(|(at, _)| at);
    match (first, what.rfind('`')) {
        // A path may have such a quote in it.
        (Some(first), Some(last)) if first < last => {
            let before = what[..first].strip_suffix("the directory ").unwrap_or(&what[..first]);
            format!("{before}the snapshot directory{}", &what[last + 1..])
        }
        _ => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_no_path_of_the_host() {
        for (what, told) in [
            ("the directory `/srv/a` is gone: put it back", "the snapshot directory is gone: put it back"),
            ("cannot open `/srv/a`b/c`: no such file", "cannot open the snapshot directory: no such file"),
            ("cannot read `snapshot.json`: it is a link", "cannot read `snapshot.json`: it is a link"),
            ("the disk is too slow", "the disk is too slow"),
        ] {
            assert_eq!(without_host_path(what), told);
        }
    }
}
