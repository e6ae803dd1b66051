//! Where a state's snapshots are kept.

use crate::{Error, Result, SnapStore, Snapshot};

/// A store of snapshots: the one that the host grants, or, in a program that is no component, one of the host library,
/// or of your own.
pub trait Snapshots {
    /// The newest sound snapshot, and the damaged ones that are newer; `None` if there is no snapshot yet.
    ///
    /// # Errors
    ///
    /// As [`SnapStore::restore_text`], but [`Error::NotFound`].
    fn newest(&mut self) -> Result<Option<Snapshot>>;

    /// The number of the newest snapshot, sound or not, without its state; `None` if there is no snapshot yet.
    ///
    /// # Errors
    ///
    /// As [`SnapStore::newest_seq`], but [`Error::NotFound`].
    fn newest_seq(&mut self) -> Result<Option<u64>>;

    /// The snapshot of this number, `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`SnapStore::restore_text_at`], but [`Error::NotFound`].
    fn at(&mut self, seq: u64) -> Result<Option<Snapshot>>;

    /// Makes `state`, which is JSON, the newest snapshot; it must be durable when this returns.
    ///
    /// # Errors
    ///
    /// As [`SnapStore::create_text`].
    fn create(&mut self, state: &str, seq: u64) -> Result<()>;

    /// The number of the oldest sound snapshot, which no power cut takes back; `None` if there is no snapshot.
    ///
    /// # Errors
    ///
    /// As [`SnapStore::oldest_kept`], but [`Error::NotFound`].
    fn oldest_kept(&mut self) -> Result<Option<u64>>;
}

impl Snapshots for SnapStore {
    fn newest(&mut self) -> Result<Option<Snapshot>> {
        found(self.restore_text())
    }

    fn newest_seq(&mut self) -> Result<Option<u64>> {
        found(SnapStore::newest_seq(self))
    }

    fn at(&mut self, seq: u64) -> Result<Option<Snapshot>> {
        found(self.restore_text_at(seq))
    }

    fn create(&mut self, state: &str, seq: u64) -> Result<()> {
        self.create_text(state, seq)
    }

    fn oldest_kept(&mut self) -> Result<Option<u64>> {
        found(SnapStore::oldest_kept(self))
    }
}

/// Whoever lends a store has it back afterwards.
impl<S: Snapshots + ?Sized> Snapshots for &mut S {
    fn newest(&mut self) -> Result<Option<Snapshot>> {
        (**self).newest()
    }

    fn newest_seq(&mut self) -> Result<Option<u64>> {
        (**self).newest_seq()
    }

    fn at(&mut self, seq: u64) -> Result<Option<Snapshot>> {
        (**self).at(seq)
    }

    fn create(&mut self, state: &str, seq: u64) -> Result<()> {
        (**self).create(state, seq)
    }

    fn oldest_kept(&mut self) -> Result<Option<u64>> {
        (**self).oldest_kept()
    }
}

fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(Error::NotFound) => Ok(None),
        result => result.map(Some),
    }
}
