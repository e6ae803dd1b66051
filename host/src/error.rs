//! The taxonomy as a host sees it: the cases of the WIT, and what only a host can meet.

use std::fmt;
use std::io;
use std::iter;
use std::path::Path;
use std::time::Duration;

use crate::bindings::{export, import};

/// Why a call failed; `snapshot-store.wit` says what its cases promise.
///
/// What the system said is the [`source`](std::error::Error::source), an [`io::Error`], wherever the host has asked it
/// itself: print that, too, or [`to_line`](Self::to_line).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    #[error(transparent)]
    NoSpace(Problem),
    /// The grant or the operating system allows no writing, or no access at all; names the operation and the file.
    #[error(transparent)]
    AccessDenied(Problem),
    /// Another process, or another [`SnapshotStore`](crate::SnapshotStore) of this one, holds the directory for writing; or
    /// a writer is open, or too many readers are, or the snapshot was rewritten faster than it could be read; says which.
    #[error("{0}")]
    Busy(String),
    /// Any other failure of the system; names the operation and the file.
    #[error(transparent)]
    Io(Problem),
    /// The call has not ended, or not begun, before its [deadline](crate::Grant::deadline); no new snapshot is in place.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The directory was removed, or replaced by another, since the store was opened.
    #[error("{0}")]
    DirectoryReplaced(String),
    /// The reader or writer has ended, with its instance of the store component: open another one.
    #[error("{0}")]
    StreamEnded(String),
    /// A create, or a rollback, failed at its commit, or was interrupted: it may have happened. A restore tells, and makes
    /// it durable. After any other error, it has not happened.
    #[error("{0}")]
    InDoubt(String),
    /// The stored state is sound, and not of the type that was asked for.
    #[error("the stored state is not of the type that was asked for")]
    OtherType(#[source] serde_json::Error),
    /// A component could not be loaded, or trapped. No snapshot is lost by that.
    #[error("the component failed: {0:#}")]
    Component(wasmtime::Error),
}

/// What went wrong, with the operation and the file, and what the system said.
#[derive(Debug)]
pub struct Problem {
    what: String,
    source: Option<io::Error>,
}

impl Problem {
    /// The kind of what the system said, if the host has asked it itself.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        self.source.as_ref().map(io::Error::kind)
    }

    /// The same, which came after an earlier one.
    pub(crate) fn after(self, earlier: &Problem) -> Self {
        Problem { what: format!("{}; {self}", to_line(earlier)), ..self }
    }
}

impl From<String> for Problem {
    fn from(what: String) -> Self {
        Problem { what, source: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// The result of an operation on a store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the system answered to `operation` on `path`.
    pub(crate) fn io(operation: &str, path: &Path, error: io::Error) -> Error {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let kind = error.kind();
        let what = format!("cannot {operation} `{}`", path.display());
        let problem = Problem { what, source: Some(error) };
        match kind {
            StorageFull | QuotaExceeded => Error::NoSpace(problem),
            PermissionDenied | ReadOnlyFilesystem => Error::AccessDenied(problem),
            _ => Error::Io(problem),
        }
    }

    /// An error that has no source.
    pub(crate) fn other(what: impl Into<String>) -> Error {
        Error::Io(what.into().into())
    }

    /// What is not allowed, without asking the system.
    pub(crate) fn denied(what: impl Into<String>) -> Error {
        Error::AccessDenied(what.into().into())
    }

    /// That a call was interrupted.
    pub(crate) fn interrupted(call: &str, deadline: Duration) -> Error {
        Error::DeadlineExceeded(format!(
            "`{call}` exceeded its deadline of {deadline:?}: the disk is too slow or the state too large; the host can \
             raise the deadline"
        ))
    }

    /// The name of the case: of that of the WIT, where there is one.
    pub fn case(&self) -> &'static str {
        match self {
            Error::NotFound => "not-found",
            Error::InvalidName(_) => "invalid-name",
            Error::InvalidState(_) => "invalid-state",
            Error::Stale(_) => "stale",
            Error::TooLarge(_) => "too-large",
            Error::Corrupt(_) => "corrupt",
            Error::NoSpace(_) => "no-space",
            Error::AccessDenied(_) => "access-denied",
            Error::Busy(_) => "busy",
            Error::Io(_) => "io",
            Error::DeadlineExceeded(_) => "deadline-exceeded",
            Error::DirectoryReplaced(_) => "directory-replaced",
            Error::StreamEnded(_) => "stream-ended",
            Error::InDoubt(_) => "in-doubt",
            Error::OtherType(_) => "other-type",
            Error::Component(_) => "component",
        }
    }

    /// The error and its sources, in one line. [`Display`](fmt::Display) leaves the sources to who prints the chain.
    pub fn to_line(&self) -> String {
        to_line(self)
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
            export::Error::NoSpace(what) => Error::NoSpace(what.into()),
            export::Error::AccessDenied(what) => Error::AccessDenied(what.into()),
            export::Error::Busy(what) => Error::Busy(what),
            export::Error::Io(what) => Error::Io(what.into()),
            export::Error::InDoubt(what) => Error::InDoubt(what),
        }
    }
}

impl From<Error> for import::Error {
    fn from(error: Error) -> Self {
        let line = || without_host_path(&error.to_line());
        match error {
            Error::InvalidName(what) => import::Error::InvalidName(what),
            Error::InvalidState(what) => import::Error::InvalidState(what),
            Error::Stale(newest) => import::Error::Stale(newest),
            Error::TooLarge(limit) => import::Error::TooLarge(limit),
            Error::Corrupt(what) => import::Error::Corrupt(without_host_path(&what)),
            Error::NoSpace(_) => import::Error::NoSpace(line()),
            Error::AccessDenied(_) => import::Error::AccessDenied(line()),
            Error::Busy(_) => import::Error::Busy(line()),
            Error::Io(_)
            | Error::DeadlineExceeded(_)
            | Error::DirectoryReplaced(_)
            | Error::StreamEnded(_) => import::Error::Io(line()),
            Error::InDoubt(_) => import::Error::InDoubt(line()),
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

fn to_line(error: &dyn std::error::Error) -> String {
    let sources = iter::successors(error.source(), |&error| error.source());
    sources.fold(error.to_string(), |line, source| format!("{line}: {source}"))
}

/// A message without the path of the host that it names, if it does: where the directory is, a component need not know.
fn without_host_path(what: &str) -> String {
    let is_path = |(at, _): &(usize, &str)| {
        let quoted = &what[at + 1..];
        Path::new(quoted).is_absolute() || quoted.starts_with("s3://")
    };
    let first = what.match_indices('`').find(is_path).map(|(at, _)| at);
    match (first, what.rfind('`')) {
        // A path may have such a quote in it.
        (Some(first), Some(last)) if first < last => {
            let before = what[..first].strip_suffix("the directory ").unwrap_or(&what[..first]);
            let mut after = &what[last + 1..];
            // What a server says besides may name who asked, and what for.
            if what[first + 1..].starts_with("s3://")
                && let Some((end, _)) = after.match_indices(": ").nth(1)
            {
                after = &after[..end];
            }
            format!("{before}the snapshot directory{after}")
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
            (
                "`create` of `s3://bucket/a`: cannot put `s3://bucket/a/head.json`: 403 Forbidden (AccessDenied): arn:a:b",
                "`create` of the snapshot directory: 403 Forbidden (AccessDenied)",
            ),
            ("the disk is too slow", "the disk is too slow"),
        ] {
            assert_eq!(without_host_path(what), told);
        }
    }
}
