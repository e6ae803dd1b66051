//! Why a state cannot be opened or changed.

use std::io;
use std::path::{Path, PathBuf};

/// Why a call of a [`State`](super::State) failed.
///
/// After any error of an `apply` but [`InDoubt`](Error::InDoubt), what it was given is not in the log, and the state is as
/// before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The snapshots cannot be read or written.
    #[error(transparent)]
    Snapshot(#[from] crate::Error),
    /// The system said no; names the operation and the file. To a component, WASI may call a full disk an I/O error.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the log is not what was written there. Nothing was changed: whoever knows what was written, from a copy
    /// or by hand, can put it back.
    #[error("`{}` is damaged: line {line} {problem}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The line in it, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A later version of this library wrote the log. Nothing was changed.
    #[error("`{}` says in its first line that a later version of the library wrote it: use that version", path.display())]
    Later {
        /// The segment.
        path: PathBuf,
    },
    /// Records are missing: between the snapshot and the log, or between two segments.
    #[error(
        "the log in `{}` lacks the records {first} to {last}: put its missing segments back, or restore an older copy of \
         snapshots and log together",
        path.display()
    )]
    Missing {
        /// The directory of the log.
        path: PathBuf,
        /// The first record that is missing.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// The log was lost, or its end, or it was replaced by an older one: it ends before the newest snapshot, or has no
    /// segment that begins after it. What came after the snapshot is lost, if anything did.
    #[error(
        "the log in `{}` ends with the record {log}, but the newest snapshot is {snapshot}, and the segment that begins after \
         it is missing: put the log back, or accept that what came after the snapshot is lost",
        path.display()
    )]
    Ahead {
        /// The directory of the log.
        path: PathBuf,
        /// The number of the newest snapshot.
        snapshot: u64,
        /// The last record of the log, or 0.
        log: u64,
    },
    /// Another process has the log open, or wrote to it.
    #[error("another process has the log in `{}` open: only one at a time can", path.display())]
    Busy {
        /// The directory of the log.
        path: PathBuf,
    },
    /// What was given is written, and could not be made durable: the next [`open`](super::State::open) may find it, or not.
    #[error("`{}` could not be synced, and the next start tells whether the record is there: {source}", path.display())]
    InDoubt {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier call failed in a way that leaves the end of the log in doubt. Opening it again finds out.
    #[error("the log in `{}` must be opened again, since an earlier call failed: {reason}", path.display())]
    Reopen {
        /// The directory of the log.
        path: PathBuf,
        /// What that call said.
        reason: String,
    },
    /// An operation, or the state, could not be read back: its JSON does not fit its type. (Numbers that are not finite
    /// become `null`, for example.)
    #[error("what was to be written cannot be read back: {0}")]
    Type(#[source] serde_json::Error),
    /// A record of the log is as it was written, and not of the type that was asked for.
    #[error("the record in line {line} of `{}` is not of the type that the application reads: {source}", path.display())]
    RecordType {
        /// The segment.
        path: PathBuf,
        /// The line in it, from 1.
        line: u64,
        /// What it is not.
        source: serde_json::Error,
    },
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was to be done with which file when the system said no.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.to_owned(), source })
    }
}
