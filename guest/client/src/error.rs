//! The taxonomy as a component sees it: the cases of the WIT, and a state of another type.

use std::io;

use crate::wit;

/// Why a call failed; `snapshot-store.wit` says what its cases promise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no snapshot yet.
    #[error("there is no snapshot yet")]
    NotFound,
    /// A store cannot have this name.
    #[error("{0}")]
    InvalidName(String),
    /// The given state is not one JSON value; names the line and the column.
    #[error("the state is not one JSON value: {0}")]
    InvalidState(String),
    /// The given sequence number is lower than that of the stored snapshot, which this carries.
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
    /// The grant or the operating system allows no writing, no store of this name, or no access at all; says what.
    #[error("{0}")]
    AccessDenied(String),
    /// Another process holds the directory for writing; or a writer is open, or too many readers are, or the snapshot was
    /// rewritten faster than it could be read; says which. Retry later.
    #[error("{0}")]
    Busy(String),
    /// Any other failure of the system; names the operation and the file.
    #[error("{0}")]
    Io(String),
    /// A create failed at its commit, or was interrupted: the new snapshot may be in place. `restore` tells, and makes it
    /// durable. After any other error, it is not in place.
    #[error("{0}")]
    InDoubt(String),
    /// The state cannot be written as JSON, or the stored one, which is sound, is not of the type that was asked for.
    #[error("the state does not fit its type: {0}")]
    Type(#[source] serde_json::Error),
}

/// The result of an operation on the store.
pub type Result<T> = std::result::Result<T, Error>;

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

/// What a [`Writer`](crate::Writer) or a [`Reader`](crate::Reader) reports as `std::io` has it: the error itself, within.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        use io::ErrorKind;
        let kind = match &error {
            Error::NotFound => ErrorKind::NotFound,
            Error::InvalidState(_) | Error::Corrupt(_) | Error::Type(_) => ErrorKind::InvalidData,
            Error::InvalidName(_) | Error::Stale(_) => ErrorKind::InvalidInput,
            Error::TooLarge(_) => ErrorKind::FileTooLarge,
            Error::NoSpace(_) => ErrorKind::StorageFull,
            Error::AccessDenied(_) => ErrorKind::PermissionDenied,
            Error::Busy(_) => ErrorKind::ResourceBusy,
            Error::Io(_) | Error::InDoubt(_) => ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// The store's own error, if it is within.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|error: io::Error| Error::Io(error.to_string()))
    }
}

/// For `into_inner` of a [`BufWriter`](io::BufWriter).
impl<W> From<io::IntoInnerError<W>> for Error {
    fn from(error: io::IntoInnerError<W>) -> Self {
        error.into_error().into()
    }
}

/// The store's own error, if what failed was reading or writing.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { io::Error::from(error).into() } else { Error::Type(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails as a writer of the store does.
    struct Full;

    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(Error::NoSpace("the disk is full".to_owned()).into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_stores_error_comes_back_through_io_and_serde() {
        let written = serde_json::to_writer(Full, &[1, 2]).map_err(Error::from);
        assert!(matches!(written, Err(Error::NoSpace(_))), "{written:?}");
        let mut buffered = io::BufWriter::new(Full);
        serde_json::to_writer(&mut buffered, &[1, 2]).expect("it is buffered");
        let flushed = buffered.into_inner().map(|_| ()).map_err(Error::from);
        assert!(matches!(flushed, Err(Error::NoSpace(_))), "{flushed:?}");
    }

    #[test]
    fn another_error_keeps_its_text() {
        let read = Error::from(io::Error::other("the line is dead"));
        assert!(matches!(&read, Error::Io(what) if what == "the line is dead"), "{read:?}");
        let parsed = serde_json::from_str::<u64>("\"text\"").map_err(Error::from);
        assert!(matches!(parsed, Err(Error::Type(_))), "{parsed:?}");
    }
}
