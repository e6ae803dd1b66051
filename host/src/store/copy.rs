//! Copying snapshots from one store to another: what is compared, what is refused, and in which order they come.

mod away;
mod compare;
mod files;
mod plan;

use std::collections::BTreeSet;
use std::fmt;

use super::{CHUNK, SnapshotStore};
use crate::error::{self, Error};
use crate::grant::span;
use crate::snapshot::{Layout, Skipped, Soundness};
use compare::sound;
pub(super) use files::generation;
use plan::{Found, Plan};

/// Which snapshots of a store are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The newest sound one.
    Newest,
    /// The generation with this number.
    Seq(u64),
    /// Every sound generation; a pair takes the newest of them.
    All,
}

/// What a copy does, or has done. Numbers are newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The layout of the directory that is copied to.
    pub layout: Layout,
    /// The numbers that are copied.
    pub copied: Vec<u64>,
    /// The numbers that are there already, with the same state.
    pub present: Vec<u64>,
    /// The numbers of what is replaced there: undone, except in a pair, which keeps nothing of it.
    pub replaced: Vec<u64>,
    /// The damaged generations that are not copied.
    pub skipped: Vec<Skipped>,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The snapshots to copy cannot be read.
    #[error("cannot copy from there: {0}")]
    From(#[source] Error),
    /// They cannot be written, or not compared with what is there.
    #[error("cannot copy to there: {0}")]
    To(#[source] Error),
    /// The copy is refused, because of a snapshot that is there. Nothing was copied.
    #[error("the snapshot {seq} that is there {refusal}")]
    Refused {
        /// The number of that snapshot.
        seq: u64,
        /// Why.
        refusal: Refusal,
        /// The damaged generations that would not have been copied.
        skipped: Vec<Skipped>,
    },
}

/// Why a copy is refused because of a snapshot that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is newer than those that are copied.
    Newer,
    /// It has another state than the snapshot of the same number to copy from: one of them was created again, or the two
    /// stores are of different histories.
    OtherState,
    /// The snapshot of the same number to copy from is damaged, so that this may be the only sound one.
    OnlySound,
    /// A copy that was to replace it was interrupted.
    HalfUndone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Newer => "is newer than what is copied",
            Refusal::OtherState => "has another state than the one to copy from",
            Refusal::OnlySound => "is damaged where it is copied from, and may be the only sound one",
            Refusal::HalfUndone => "was to give way to a copy that was interrupted",
        })
    }
}

use CopyError::{From as Source, To as Target};

/// The result of a copy, or of a step of one.
type Result<T> = std::result::Result<T, CopyError>;

/// How often a copy begins anew, when what it is to copy was pruned or replaced since it was found.
const ATTEMPTS: usize = 100;

impl SnapshotStore {
    /// Copies snapshots from another store to this one, durably, each with its time, and says which. In the layout
    /// `numbered`, files are copied byte for byte; where the layout changes, or another program wrote a pair, the copy gets its
    /// own sums. Every snapshot is checked before it is copied, and again once it is there; those that are there with the same
    /// state are not written again, and those that are damaged there are replaced and set aside. Nothing is pruned.
    ///
    /// Other stores may write in the directory of `from` meanwhile, of which nothing is locked. Whoever restores from this one
    /// meanwhile, or after a crash, finds the snapshot that was newest, or the newest of those that are copied. After an error,
    /// another call goes on where this one stopped. In an object store, all that is copied counts at once, or nothing does.
    ///
    /// It is [refused](CopyError::Refused) if this store holds a newer snapshot than those that are copied, or if the two stores
    /// have different states under one number: under one of those that are copied, or under the newest other one that both have.
    /// With `replace`, those are undone, and so is whatever is above the newest number that both have with the same state; what
    /// a pair held is gone.
    ///
    /// The limits of this store's grant are for creates: a copy may exceed `max_total` until the next one, and `max_state`.
    ///
    /// `progress` is told how many bytes were written. It blocks, and only each of its calls of a component has a deadline.
    ///
    /// # Errors
    ///
    /// [`CopyError`], with [`Error::Busy`] if what is to be copied is pruned faster than it can be read, and [`Error::InDoubt`]
    /// if a part of it is there.
    pub fn copy_from(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied> {
        self.check_granted().map_err(Target)?;
        let _span = span!("copy", self.grant, self.grant.dir, from = from.whereabouts()).entered();
        if self.has_streams() {
            return Err(Target(Error::Busy("a reader or writer is open: drop it first".to_owned())));
        }
        self.settle().map_err(Target)?;
        self.uncounted(from, |to, from| {
            for _ in 0..ATTEMPTS {
                // An instance may remember what the directory held.
                to.end_streams();
                let Some(plan) = to.plan(from, selection, replace)? else { continue };
                let copied = to.carry_out(from, plan, &mut progress);
                to.end_streams();
                if let Some(copied) = copied? {
                    return Ok(copied);
                }
            }
            Err(overtaken())
        })
    }

    /// What [`copy_from`](Self::copy_from) would do, as the two stores are now; nothing is changed, and reading suffices.
    ///
    /// # Errors
    ///
    /// As `copy_from`.
    pub fn plan_copy(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
    ) -> Result<Copied> {
        self.uncounted(from, |to, from| {
            for _ in 0..ATTEMPTS {
                if let Some(plan) = to.plan(from, selection, replace)? {
                    return Ok(plan.copied);
                }
            }
            Err(overtaken())
        })
    }

    /// Does something of which the calls of the two stores are no restores and creates of their users.
    fn uncounted<R>(
        &mut self,
        from: &mut SnapshotStore,
        act: impl FnOnce(&mut SnapshotStore, &mut SnapshotStore) -> R,
    ) -> R {
        /// Counts again, also where it panics.
        struct Uncounted<'s>(&'s mut SnapshotStore, &'s mut SnapshotStore);
        impl Drop for Uncounted<'_> {
            fn drop(&mut self) {
                (self.0.is_uncounted, self.1.is_uncounted) = (false, false);
                if let Some(staging) = &mut self.0.staging {
                    staging.give_up_copy();
                }
            }
        }
        (self.is_uncounted, from.is_uncounted) = (true, true);
        let Uncounted(to, from) = &mut Uncounted(self, from);
        act(to, from)
    }

    /// Copies what is planned, and reads it there. `None` if it is not there any more.
    fn carry_out(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Copied>> {
        let copied = match self.staging.is_some() {
            true => self.carry_out_away(from, plan, progress)?,
            false => self.carry_out_here(from, plan, progress)?,
        };
        let Some(copied) = copied else { return Ok(None) };
        match self.check_copied(&copied.copied) {
            Ok(()) => Ok(Some(copied)),
            Err(damaged @ Error::Corrupt(_)) => Err(Target(damaged)),
            Err(error) => Err(in_doubt(Target(error))),
        }
    }

    /// Copies the newest first: whoever restores meanwhile finds what was newest, or this. `None` if it is not there any more.
    fn carry_out_here(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Copied>> {
        let mut links = Vec::new();
        let carried = self.carry_out_with(from, plan, &mut links, progress);
        if !matches!(carried, Ok(Some(_)) | Err(Target(Error::InDoubt(_)))) {
            // Nothing gives way.
            for (name, beside) in links {
                if self.inode(&name).is_some() && self.inode(&name) == self.inode(&beside) {
                    let _ = self.remove(&beside);
                }
            }
        }
        carried
    }

    fn carry_out_with(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        links: &mut Vec<(String, String)>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Copied>> {
        let Plan { mut copied, as_files, seqs, files, older, .. } = plan;
        // What gives way has its other name before anything is in its place: if this is interrupted, that tells who goes on.
        let other = seqs.iter().filter(|(_, found)| *found == Found::OtherState).map(|(seq, _)| seq);
        let mut kept = other.filter(|_| copied.layout == Layout::Numbered).chain(&older).peekable();
        if kept.peek().is_some() {
            let linked = kept.try_for_each(|&seq| self.link_undone(seq).map(|link| links.extend(link)));
            linked.and_then(|()| self.sync()).map_err(Target)?;
        }
        let mut gone = BTreeSet::new();
        let mut is_newest = true;
        for (seq, found) in seqs {
            let is_done = match found {
                Found::SameState => Ok(true),
                _ if as_files => self.copy_file(from, seq, found, files.get(&seq), progress),
                _ => self.copy_state(from, seq, copied.layout, progress),
            };
            let is_done = if is_newest { is_done? } else { is_done.map_err(in_doubt)? };
            if is_newest && is_done {
                self.sync().map_err(|error| in_doubt(Target(error)))?;
                if copied.layout == Layout::Numbered && copied.replaced.iter().any(|&other| other > seq) {
                    self.end_streams();
                    self.rollback(seq).map_err(|error| in_doubt(Target(error)))?;
                }
            } else if is_newest {
                return Ok(None);
            } else if !is_done {
                // As if it had been pruned before.
                gone.insert(seq);
            }
            is_newest = false;
        }
        copied.copied.retain(|seq| !gone.contains(seq));
        let undone = older.iter().try_for_each(|&seq| self.remove(&generation(seq)));
        undone.and_then(|()| self.sync()).map_err(|error| in_doubt(Target(error)))?;
        Ok(Some(copied))
    }

    /// Reads what was copied.
    fn check_copied(&mut self, copied: &[u64]) -> error::Result<()> {
        self.end_streams();
        match *copied {
            [] => Ok(()),
            [seq] => {
                let (handle, ..) = self.stream_from("", Some(seq))?;
                self.end(handle);
                Ok(())
            }
            _ => {
                let mut all = None;
                for &seq in copied {
                    match sound(&mut all, self, seq)? {
                        Some(Soundness::Damaged(problem)) => return Err(Error::Corrupt(problem)),
                        None => return Err(Error::NotFound),
                        Some(_) => {}
                    }
                }
                Ok(())
            }
        }
    }
}

fn overtaken() -> CopyError {
    let what = "the snapshots were replaced faster than they could be copied: try again";
    Source(Error::Busy(what.to_owned()))
}

/// What failed after the newest snapshot was copied.
fn in_doubt(error: CopyError) -> CopyError {
    let (Source(cause) | Target(cause)) = error else { return error };
    let what = format!("{}; a part of it may be copied: copy again", cause.to_line());
    Target(Error::InDoubt(what))
}
