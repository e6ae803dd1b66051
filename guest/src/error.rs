//! The taxonomy: every way a call can fail, the same cases under the same names as in the WIT.

use std::fmt;
use std::io;

/// Why a call failed; `snapshot-store.wit` says what each case means to the caller.
#[derive(Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no snapshot yet.
    NotFound,
    /// The name is not one that a store can have.
    InvalidName(String),
    /// The given state is not one JSON value; with line and column.
    InvalidState(String),
    /// The sequence number is lower than the stored one, which this is.
    Stale(u64),
    /// The state is larger than the limit, which this is, in bytes.
    TooLarge(u64),
    /// What is on the disk is damaged; names the file, what is wrong, and what to do.
    Corrupt(String),
    /// The disk, a quota, or what the directory may hold is full; says which.
    NoSpace(String),
    /// Writing, or any access, is not allowed; names the operation and the file.
    AccessDenied(String),
    /// A writer of this store is open, or too many readers are, or the snapshot was rewritten faster than it could be
    /// read; says which.
    Busy(String),
    /// Anything else the system said; names the operation and the file.
    Io(String),
    /// A create, or a rollback, failed at its commit, which may have happened.
    InDoubt(String),
}

/// The result of an operation of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the system answered to `operation` on `name`.
    #[cold]
    pub(crate) fn io(operation: &str, name: &str, error: &io::Error) -> Error {
        let what = format!("cannot {operation} `{name}`: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace(what),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::AccessDenied(what),
            io::ErrorKind::ResourceBusy if operation == "list" => Error::rewritten(),
            _ => Error::Io(what),
        }
    }

    /// The directory changed again and again while it was read.
    #[cold]
    pub(crate) fn rewritten() -> Error {
        Error::Busy("the snapshot was rewritten faster than it could be read: try again".to_owned())
    }

    /// The same with a note on what the system said.
    #[cold]
    pub(crate) fn with_note(self, note: &str) -> Error {
        match self {
            Error::Io(what) => Error::Io(format!("{what}; {note}")),
            Error::AccessDenied(what) => Error::AccessDenied(format!("{what}; {note}")),
            error => error,
        }
    }

    /// The same of a commit that may have happened.
    #[cold]
    pub(crate) fn in_doubt(self) -> Error {
        Error::InDoubt(format!("{self}; whether the new snapshot is in place is not known: create it again"))
    }

    /// The same after the commit point, from where nothing is undone.
    #[cold]
    pub(crate) fn after_commit(self) -> Error {
        Error::InDoubt(format!(
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
            Error::InvalidName(what)
            | Error::NoSpace(what)
            | Error::AccessDenied(what)
            | Error::Busy(what)
            | Error::Io(what)
            | Error::InDoubt(what) => f.write_str(what),
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
