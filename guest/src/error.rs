//! The taxonomy: every way a call can fail, the same cases under the same names as in the WIT.

use std::fmt;
use std::io;

/// Why a call failed; `snapshot-store.wit` says what each case means to the caller.
#[derive(Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no snapshot yet.
    NotFound,
    /// The given state is not one JSON value; with line and column.
    InvalidState(String),
    /// The sequence number is lower than the stored one, which this is.
    Stale(u64),
    /// The state is larger than the limit, which this is, in bytes.
    TooLarge(u64),
    /// What is on the disk is damaged; names the file, what is wrong, and what to do.
    Corrupt(String),
    /// The disk or a quota is full.
    NoSpace,
    /// Writing, or any access, is not allowed.
    AccessDenied,
    /// A writer of this store is open, or too many readers are, or the snapshot was rewritten faster than it could be
    /// read.
    Busy,
    /// Anything else the system said; names the operation and the file.
    Io(String),
}

/// The result of an operation of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the system answered to `operation` on `name`.
    #[cold]
    pub(crate) fn io(operation: &str, name: &str, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::AccessDenied,
            io::ErrorKind::ResourceBusy => Error::Busy,
            _ => Error::Io(format!("cannot {operation} `{name}`: {error}")),
        }
    }

    /// The same after the commit point, from where nothing is undone.
    #[cold]
    pub(crate) fn after_commit(self) -> Error {
        Error::Io(format!(
            "{self}; the new snapshot is in place, but may not be durable until this is done again"
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("there is no snapshot yet"),
            Error::InvalidState(what) => write!(f, "the state is not one JSON value: {what}"),
            Error::Stale(newest) => {
                write!(f, "the sequence number is lower than the stored snapshot's, which is {newest}")
            }
            Error::TooLarge(limit) => write!(f, "the state is larger than the limit of {limit} bytes"),
            Error::Corrupt(what) => write!(f, "the snapshot is damaged: {what}"),
            Error::NoSpace => f.write_str("the disk or a quota is full"),
            Error::AccessDenied => f.write_str("access to the snapshot directory is denied"),
            Error::Busy => f.write_str("the snapshot directory is in use"),
            Error::Io(what) => f.write_str(what),
        }
    }
}

/// Prints the message. A derived implementation would bring the standard library's escaping of strings, and its tables, into
/// the component.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
