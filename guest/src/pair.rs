//! The pair layout: its commit and its settle rule. `DESIGN.md` argues both, crash by crash.
//!
//! A directory is the transaction: the three files are made in `snapshot.tmp/`, which is renamed to
//! `snapshot.commit/`, and that rename is the commit. What follows only moves files to where native
//! minisnap looks for them.

use std::io::{self, Write};

pub mod read;

use crate::dir::{Dir, Sync};
use crate::error::{Error, Result};
use crate::files::{
    self, COMMIT, NATIVE_SEQ_TMP, NATIVE_STATE_TMP, Place, SEQ, STATE, SUMS, TMP, remove_file, sync_dir,
};
use crate::limits::Allowance;
use crate::sum::{Sum, Summing, Sums};

/// A snapshot that is being made: [`Write`] takes its state, [`commit`](Self::commit) finishes it, and
/// dropping it undoes everything.
pub struct Draft<D: Dir> {
    dir: D,
    state: Summing<D::Writer>,
    allowance: Allowance,
    /// Whether `snapshot.tmp/` is still this draft's to remove.
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
        dir.make_dir(TMP).map_err(|e| Error::io("make", TMP, &e))?;
        let undo = Undo { dir: dir.clone(), armed: true };
        let state = create(dir, STATE)?;
        Ok(Draft { dir: dir.clone(), state: Summing::new(state), allowance, undo })
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
        sync(self.state.inner_mut(), STATE)?;
        write_synced(&self.dir, SEQ, seq.as_bytes())?;
        write_synced(&self.dir, SUMS, sums.to_text().as_bytes())?;
        // Without this one, a committed directory may lack a file.
        sync_dir(&self.dir, TMP)?;

        // The commit point. It cannot be undone safely from here on: of the steps back, a power cut
        // might keep the removal of a file and lose the rename.
        self.dir.rename(TMP, COMMIT).map_err(|e| Error::io("rename", TMP, &e))?;
        self.undo.armed = false;
        move_into_place(&self.dir).map_err(|error| {
            Error::Io(format!(
                "{error}; the new snapshot is in place, but may not be durable until this is done again"
            ))
        })
    }
}

impl<D: Dir> Write for Draft<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowance.check(self.state.size() + bytes.len() as u64).map_err(io::Error::other)?;
        self.state.write(bytes).map_err(|error| files::write_error(&format!("{TMP}/{STATE}"), error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.state.flush()
    }
}

/// Removes `snapshot.tmp/` when a draft ends before its commit point.
struct Undo<D: Dir> {
    dir: D,
    armed: bool,
}

impl<D: Dir> Drop for Undo<D> {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is removed by the next settling.
            let _ = remove_tmp(&self.dir);
        }
    }
}

/// Finishes or removes what an earlier crash left, ours or native minisnap's.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt), [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or
/// [`Io`](Error::Io); another attempt goes on where this one stopped.
pub fn settle<D: Dir>(dir: &D) -> Result<()> {
    settle_native(dir)?;
    if Place::look(dir, COMMIT)?.is_dir()? {
        move_into_place(dir)?;
    }
    remove_tmp(dir)
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
            // Native minisnap syncs no directory. Without this sync, its state's rename may still be lost, and the
            // number's kept: a mixed pair.
            sync_dir(dir, "")?;
            if read::waiting_number_belongs(dir)? {
                dir.rename(NATIVE_SEQ_TMP, SEQ).map_err(|e| Error::io("rename", NATIVE_SEQ_TMP, &e))?;
            } else {
                remove_file(dir, NATIVE_SEQ_TMP)?;
            }
        }
        (false, no_seq) => {
            // The number goes first and durably, even if an earlier settling has removed it: alone, it would be taken
            // for that of the state in place.
            if !no_seq {
                remove_file(dir, NATIVE_SEQ_TMP)?;
            }
            sync_dir(dir, "")?;
            remove_file(dir, NATIVE_STATE_TMP)?;
        }
    }
    // So that what follows builds on what is durable.
    sync_dir(dir, "")
}

/// Moves the files of `snapshot.commit/` that have not been moved yet, and removes it.
fn move_into_place<D: Dir>(dir: &D) -> Result<()> {
    // Without this sync, a file's move may be durable while the commit is not: a mixed pair. That holds for a
    // commit that is found, too: the process that made it may have been killed before its sync.
    sync_dir(dir, "")?;
    for name in files::ALL {
        match dir.rename(&format!("{COMMIT}/{name}"), name) {
            // Moved before a crash.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|e| Error::io("move into place", name, &e))?,
        }
    }
    // Without this sync, a program that does not know `snapshot.commit/` may read a mixed pair after a
    // power cut, and the next commit would hide the files that still wait to be moved.
    sync_dir(dir, "")?;
    match dir.remove_dir(COMMIT) {
        // A crash may leave both names of a file that was moved, and a rename between two names of one file does
        // nothing. The file is in place, durably.
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
            for name in files::ALL {
                let name = format!("{COMMIT}/{name}");
                if !Place::look(dir, &name)?.is_empty() {
                    remove_file(dir, &name)?;
                }
            }
            remove_dir(dir, COMMIT)
        }
        result => result.map_err(|e| Error::io("remove", COMMIT, &e)),
    }
}

/// Removes `snapshot.tmp/` and what is in it, if it is there.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn remove_tmp<D: Dir>(dir: &D) -> Result<()> {
    if !Place::look(dir, TMP)?.is_dir()? {
        return Ok(());
    }
    for name in dir.list(TMP).map_err(|e| Error::io("list", TMP, &e))?.names {
        remove_file(dir, &format!("{TMP}/{name}"))?;
    }
    remove_dir(dir, TMP)
}

fn create<D: Dir>(dir: &D, name: &str) -> Result<D::Writer> {
    let name = format!("{TMP}/{name}");
    dir.create(&name).map_err(|e| Error::io("make", &name, &e))
}

fn write_synced<D: Dir>(dir: &D, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = create(dir, name)?;
    file.write_all(bytes).map_err(|e| Error::io("write", &format!("{TMP}/{name}"), &e))?;
    sync(&mut file, name)
}

fn sync(file: &mut impl Sync, name: &str) -> Result<()> {
    file.sync().map_err(|e| Error::io("sync", &format!("{TMP}/{name}"), &e))
}

fn remove_dir<D: Dir>(dir: &D, name: &str) -> Result<()> {
    dir.remove_dir(name).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => {
            Error::Io(format!("`{name}` holds what is not this store's: move that away"))
        }
        _ => Error::io("remove", name, &error),
    })
}
