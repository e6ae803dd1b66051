//! The pair layout: its commit and its settle rule. `DESIGN.md` argues both, crash by crash.
//!
//! The sums are the record of the commit: the three files are made under new names and synced, and the rename of the
//! sums is the commit. The other two renames only move files to where native minisnap looks for them.

use std::io::{self, Write};

pub mod read;

use crate::dir::{Dir, Sync};
use crate::error::{Error, Result};
use crate::files::{
    self, NATIVE_SEQ_TMP, NATIVE_STATE_TMP, NEW, NEW_SEQ, NEW_STATE, NEW_SUMS, Place, SEQ, SUMS, remove_file,
    remove_temporary, sync_dir,
};
use crate::layout::Contents;
use crate::limits::Allowance;
use crate::sum::{Sum, Summing, Sums};

/// A snapshot that is being made: [`Write`] takes its state, [`commit`](Self::commit) finishes it, and
/// dropping it undoes everything.
pub struct Draft<D: Dir> {
    dir: D,
    state: Summing<D::Writer>,
    allowance: Allowance,
    /// Whether the new names are still this draft's to remove.
    undo: Undo<D>,
}

impl<D: Dir> Draft<D> {
    /// The most bytes that the files beside the state take.
    pub const BESIDE_STATE: u64 = 256;

    /// Starts a snapshot, in a directory that is [settled](settle).
    ///
    /// # Errors
    ///
    /// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn begin(dir: &D, allowance: Allowance) -> Result<Self> {
        let allowance = allowance.without(Self::BESIDE_STATE)?;
        let state = Summing::new(files::make(dir, NEW_STATE)?);
        Ok(Draft { dir: dir.clone(), state, allowance, undo: Undo { dir: dir.clone(), armed: true } })
    }

    /// Makes the snapshot the stored one, with the number `seq`; it is durable when this returns `Ok`.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io). Until
    /// the commit point, everything is undone then. After it, the new snapshot stays in place, and is
    /// not claimed to be durable.
    pub fn commit(mut self, seq: u64) -> Result<()> {
        let seq = seq.to_string();
        let sums = Sums { state: self.state.sum(), seq: Sum::of(seq.as_bytes()) };

        // Without the syncs of the three files, a committed file may be empty after a power cut.
        self.state.inner_mut().sync().map_err(|e| Error::io("sync", NEW_STATE, &e))?;
        write_synced(&self.dir, NEW_SEQ, seq.as_bytes())?;
        write_synced(&self.dir, NEW_SUMS, sums.to_text().as_bytes())?;
        // Without this one, a power cut may keep a rename and lose the new name of another file.
        sync_dir(&self.dir)?;

        // The commit point. It cannot be undone safely from here on: of the steps back, a power cut may keep some.
        let committed = files::commit(&self.dir, NEW_SUMS, SUMS);
        self.undo.armed = false;
        if let Err((error, may_be_done)) = committed {
            // What was not committed is undone: the record of it first, or nothing.
            self.undo.armed =
                !may_be_done && remove_file(&self.dir, NEW_SUMS).is_ok() && sync_dir(&self.dir).is_ok();
            return Err(if self.undo.armed { error } else { error.in_doubt() });
        }
        move_into_place(&self.dir, &[NEW_STATE, NEW_SEQ]).map_err(Error::after_commit)?;
        // Without this sync, a power cut may take the new snapshot back.
        sync_dir(&self.dir).map_err(Error::after_commit)
    }
}

impl<D: Dir> Write for Draft<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowance.check(self.state.size() + bytes.len() as u64).map_err(io::Error::other)?;
        self.state.write(bytes).map_err(|error| files::write_error(NEW_STATE, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.state.flush()
    }
}

/// Removes what a draft made when it ends before its commit point.
struct Undo<D: Dir> {
    dir: D,
    armed: bool,
}

impl<D: Dir> Drop for Undo<D> {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is removed by the next settling.
            let _ = remove_new(&self.dir);
        }
    }
}

/// Finishes or removes what an earlier crash left, ours or native minisnap's, in a directory that was synced since.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt), [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or
/// [`Io`](Error::Io); another attempt goes on where this one stopped.
pub fn settle<D: Dir>(dir: &D, contents: &Contents) -> Result<()> {
    // First, since native minisnap's number in place of ours would look as if ours had been renamed.
    if contents.pair_temporary {
        move_into_place(dir, &read::waiting(dir)?)?;
        remove_new(dir)?;
        // So that what follows builds on what is durable.
        sync_dir(dir)?;
    }
    if contents.native_temporary { settle_native(dir) } else { Ok(()) }
}

/// Native 0.1.2 renames its two temporaries one after the other. Where the first rename happened and
/// the second did not, the number still waiting belongs to the state in place; where neither did, both
/// are of a snapshot that was never committed.
fn settle_native<D: Dir>(dir: &D) -> Result<()> {
    let state = Place::look(dir, NATIVE_STATE_TMP)?;
    let seq = Place::look(dir, NATIVE_SEQ_TMP)?;
    match (state.is_empty(), seq.is_empty()) {
        (true, true) => return Ok(()),
        (true, false) => {
            if read::native_number_belongs(dir)? {
                dir.rename(NATIVE_SEQ_TMP, SEQ).map_err(|e| Error::io("rename", NATIVE_SEQ_TMP, &e))?;
            } else {
                remove_temporary(dir, NATIVE_SEQ_TMP)?;
            }
        }
        (false, no_seq) => {
            // The number goes first and durably: alone, it would be taken for that of the state in place.
            if !no_seq {
                remove_temporary(dir, NATIVE_SEQ_TMP)?;
                sync_dir(dir)?;
            }
            remove_temporary(dir, NATIVE_STATE_TMP)?;
        }
    }
    // So that what follows builds on what is durable.
    sync_dir(dir)
}

/// Gives those files that are waiting under their new names the names under which native minisnap looks for them.
fn move_into_place<D: Dir>(dir: &D, waiting: &[&str]) -> Result<()> {
    for (from, to) in NEW {
        if waiting.contains(&from) {
            dir.rename(from, to).map_err(|e| Error::io("rename", from, &e))?;
        }
    }
    Ok(())
}

/// Removes sums that native minisnap has written over, durably: they could vouch for a new snapshot before its commit.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn remove_stale_sums<D: Dir>(dir: &D) -> Result<()> {
    remove_file(dir, SUMS)?;
    sync_dir(dir)
}

/// Removes what lies under the new names.
fn remove_new<D: Dir>(dir: &D) -> Result<()> {
    for (name, _) in NEW {
        if !Place::look(dir, name)?.is_empty() {
            remove_temporary(dir, name)?;
            if name == NEW_SUMS {
                // Without this sync, a power cut may leave the sums and take a file: as if that had been moved.
                sync_dir(dir)?;
            }
        }
    }
    Ok(())
}

fn write_synced<D: Dir>(dir: &D, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = files::make(dir, name)?;
    file.write_all(bytes).map_err(|e| Error::io("write", name, &e))?;
    file.sync().map_err(|e| Error::io("sync", name, &e))
}
