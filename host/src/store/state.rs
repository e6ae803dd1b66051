//! The store as the snapshots of a [`State`](minisnap_client::state::State): what a component has, in a program that is none.

use minisnap_client::state::Snapshots;
use minisnap_client::{Error, Result, Skipped, Snapshot, Soundness};

use crate::store::SnapshotStore;

impl Snapshots for SnapshotStore {
    fn newest(&mut self) -> Result<Option<Snapshot>> {
        found(self.restore_text().map(Into::into))
    }

    fn newest_seq(&mut self) -> Result<Option<u64>> {
        found(SnapshotStore::newest_seq(self))
    }

    fn at(&mut self, seq: u64) -> Result<Option<Snapshot>> {
        found(self.restore_text_at(seq).map(Into::into))
    }

    fn create(&mut self, state: &str, seq: u64) -> Result<()> {
        Ok(self.create_text(state, seq)?)
    }

    fn oldest_kept(&mut self) -> Result<Option<u64>> {
        found(SnapshotStore::oldest_kept(self))
    }
}

fn found<T>(result: crate::Result<T>) -> Result<Option<T>> {
    match result {
        Err(crate::Error::NotFound) => Ok(None),
        result => Ok(Some(result?)),
    }
}

impl From<crate::Snapshot> for Snapshot {
    fn from(crate::Snapshot { state, seq, modified, soundness, skipped }: crate::Snapshot) -> Self {
        let skipped = skipped.into_iter().map(|crate::Skipped { seq, problem }| Skipped { seq, problem });
        Snapshot { state, seq, modified, soundness: soundness.into(), skipped: skipped.collect() }
    }
}

impl From<crate::Soundness> for Soundness {
    fn from(soundness: crate::Soundness) -> Self {
        match soundness {
            crate::Soundness::Verified => Soundness::Verified,
            crate::Soundness::Unverified => Soundness::Unverified,
            crate::Soundness::Damaged(problem) => Soundness::Damaged(problem),
            crate::Soundness::Unreadable(problem) => Soundness::Unreadable(problem),
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        let line = error.to_line();
        match error {
            crate::Error::NotFound => Error::NotFound,
            crate::Error::InvalidName(what) => Error::InvalidName(what),
            crate::Error::InvalidState(what) => Error::InvalidState(what),
            crate::Error::Stale(newest) => Error::Stale(newest),
            crate::Error::TooLarge(limit) => Error::TooLarge(limit),
            crate::Error::Corrupt(what) => Error::Corrupt(what),
            crate::Error::NoSpace(_) => Error::NoSpace(line),
            crate::Error::AccessDenied(_) => Error::AccessDenied(line),
            crate::Error::Busy(what) => Error::Busy(what),
            crate::Error::InDoubt(what) => Error::InDoubt(what),
            crate::Error::OtherType(error) => Error::Type(error),
            crate::Error::Io(_)
            | crate::Error::DeadlineExceeded(_)
            | crate::Error::DirectoryReplaced(_)
            | crate::Error::StreamEnded(_)
            | crate::Error::Component(_) => Error::Io(line),
        }
    }
}
