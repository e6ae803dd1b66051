//! From one layout to the other, with no moment in which a crash loses the snapshot.
//!
//! The new layout is written beside the old one under a mark, `snapshot.to-pair` or `snapshot.to-numbered`, which is
//! durable before the commit in the new layout. While it is there, the new layout counts as soon as it holds anything,
//! and the old one until then. What is left of the old one is removed, durably, before the mark is.

use super::writer::{Alone, Draft};
use super::{Found, Skipped, Store};
use crate::body::{Body, State};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::files::{self, COMMIT, Place, SEQ, STATE, SUMS, TO_NUMBERED, TO_PAIR, remove_file, sync_dir};
use crate::json::{self, Formatter};
use crate::layout::{Contents, Layout};
use crate::limits::Allowance;
use crate::numbered::{self, Condition, envelope};
use crate::pair;
use crate::sum::Sum;

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The number of the snapshot.
    pub seq: u64,
    /// The layout that the directory had.
    pub from: Layout,
    /// How many older generations were removed, or set aside if they were damaged.
    pub removed: u64,
    /// The newer generations that are damaged, newest first, and were set aside.
    pub skipped: Vec<Skipped>,
}

impl<D: Dir> Store<D> {
    /// Rewrites the newest sound snapshot in the layout `to`. Older generations have no place in the pair layout, and are
    /// removed; damaged ones are set aside.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`InvalidState`](Error::InvalidState),
    /// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or
    /// [`Io`](Error::Io).
    pub fn migrate(&self, to: Layout) -> Result<Migration> {
        self.check_dir()?;
        let _alone = Alone::new(&self.shared)?;
        let contents = self.settle()?;
        let Found { info, skipped, state, body } = self.find(None, State::Sum)?;
        let seq = info.seq;
        if info.layout == to {
            return Ok(Migration { seq, from: to, removed: 0, skipped });
        }
        let removed = contents.generations.iter().filter(|&&generation| generation < seq).count() as u64;
        let migration = Migration { seq, from: info.layout, removed, skipped };
        let allowance = Allowance { max_state: u64::MAX, room: self.room(&contents)? };
        let draft = match to {
            Layout::Pair => Formatter::new(Draft::Pair(pair::Draft::begin(&self.dir, allowance)?)),
            Layout::Numbered => {
                let draft = numbered::Draft::begin(&self.dir, info.seq, allowance)?;
                Formatter::new(Draft::Numbered(draft)).after(envelope::head(info.seq).as_bytes()).nested(1)
            }
        };
        let draft = self.copy(body, state.sum, draft)?;

        self.put_mark(to)?;
        let committed = match draft {
            Draft::Pair(draft) => draft.commit(info.seq),
            Draft::Numbered(draft) => draft.commit(&[]),
        };
        let contents = Contents::look(&self.dir)?;
        match committed {
            Ok(()) => self.settle_migration(&contents).map(|()| migration),
            Err(error) => {
                // After its commit point, the new layout may not be durable: the old one must stay for now.
                if !is_committed(to, &contents) {
                    let _ = remove_file(&self.dir, mark(to));
                }
                Err(error)
            }
        }
    }

    /// Writes a state that is in one layout into a draft in another.
    fn copy(&self, body: Body<D::Reader>, sum: Sum, formatter: Formatter<Draft<D>>) -> Result<Draft<D>> {
        let failed = |error| Error::io("read", "the snapshot", &error);
        let mut body = body.rewind().map_err(failed)?;
        let mut formatter = json::Bytes::from(formatter);
        let mut piece = Vec::new();
        while body.read(&mut piece).map_err(failed)? {
            formatter.push(&piece)?;
            piece.clear();
        }
        if body.sum() != sum {
            return Err(Error::Corrupt("the snapshot was changed while it was read: try again".to_owned()));
        }
        Ok(formatter.finish()?)
    }

    fn put_mark(&self, to: Layout) -> Result<()> {
        let name = mark(to);
        drop(self.dir.create(name).map_err(|e| Error::io("make", name, &e))?);
        // Without this sync, a power cut could leave both layouts and nothing that says which one counts.
        sync_dir(&self.dir, "")
    }

    /// Finishes a migration that was committed, or undoes one that was not.
    pub(super) fn settle_migration(&self, contents: &Contents) -> Result<()> {
        // What has no name may be of either layout.
        contents.check_named()?;
        for &to in &contents.migrating {
            if is_committed(to, contents) && contents.layout()? == Some(to) {
                self.remove_old_layout(to, contents)?;
            }
            remove_file(&self.dir, mark(to))?;
            // Without this sync, a power cut could bring the mark back, for what another program puts there later.
            sync_dir(&self.dir, "")?;
        }
        Ok(())
    }

    /// Removes the old layout once the snapshot is durable in the layout `to`.
    fn remove_old_layout(&self, to: Layout, contents: &Contents) -> Result<()> {
        // The process that committed may have been killed before its sync.
        sync_dir(&self.dir, "")?;
        // Of the new layout or of the old one: either way, nothing of it may be left when the mark is gone.
        if !Place::look(&self.dir, COMMIT)?.is_empty() {
            pair::settle(&self.dir)?;
        }
        match to {
            Layout::Pair => {
                // What has become of it since must not cost the old layout, too.
                pair::read::snapshot(&self.dir, State::Sum)?;
                for &seq in contents.generations.iter().rev() {
                    match self.shared.known.check(&self.dir, seq) {
                        Ok(Condition::Sound) => remove_file(&self.dir, &files::generation(seq))?,
                        Ok(Condition::Gone) => {}
                        Ok(Condition::Damaged | Condition::Unreadable(_)) | Err(_) => {
                            numbered::set_aside(&self.dir, seq)?;
                        }
                    }
                }
            }
            Layout::Numbered => {
                let newest = contents.generations.first().copied();
                self.find_numbered(contents, newest, State::Sum)?.ok_or(Error::Busy)?;
                for name in [STATE, SEQ, SUMS] {
                    if !Place::look(&self.dir, name)?.is_empty() {
                        remove_file(&self.dir, name)?;
                    }
                }
            }
        }
        // Without this sync, a power cut could bring some of it back with no mark that says that it does not count.
        sync_dir(&self.dir, "")
    }
}

/// Whether the directory holds anything in the layout `to`.
fn is_committed(to: Layout, contents: &Contents) -> bool {
    match to {
        Layout::Pair => contents.pair.is_some(),
        Layout::Numbered => !contents.generations.is_empty(),
    }
}

/// The name that is there while a snapshot is put into the layout `to`.
fn mark(to: Layout) -> &'static str {
    match to {
        Layout::Pair => TO_PAIR,
        Layout::Numbered => TO_NUMBERED,
    }
}
