//! The commit of both layouts: a snapshot is made under other names, synced, and renamed. `DESIGN.md` argues it, crash by
//! crash.
//!
//! Of a pair, the sums are the record of the commit: the three files are made under new names and synced, and the rename of
//! the sums is the commit. The other two renames only move files to where native minisnap looks for them.
//!
//! A generation is one file, made under another name, synced, and renamed: that rename is the commit. A rollback is committed
//! by a rename, too: that of the newest generation to a name under which it is none.

use std::io::{BufWriter, Write};

use crate::catalog::{self, Layout, NEW, NEW_SEQ, NEW_STATE, NEW_SUMS, SUMS};
use crate::dir::{Dir, Sync};
use crate::error::{Error, Result};
use crate::files::{self, Place, remove_file, remove_temporary, sync_dir};
use crate::json::Sink;
use crate::numbered::envelope;
use crate::pair::Sums;
use crate::retain::{Allowance, set_aside};
use crate::sum::{Hasher, Sum};

/// What stands around a small state of a generation is written together with it; larger pieces go around this buffer.
const BUFFER: usize = 4 * 1024;

/// The most bytes that the files of a pair take beside the state.
const BESIDE_STATE: u64 = 256;

/// A snapshot that is being made: it takes its state as a [`Sink`], [`commit`](Self::commit) finishes it, and dropping it
/// undoes everything.
pub struct Draft<D: Dir> {
    dir: D,
    /// The name under which the state is made.
    name: String,
    layout: Layout,
    seq: u64,
    /// The generations that the commit sets aside.
    damaged: Vec<u64>,
    file: BufWriter<D::Writer>,
    sum: Hasher,
    /// How many bytes were written, and how many of them stand before the state.
    size: u64,
    head: u64,
    allowance: Allowance,
    /// Whether the new names are still this draft's to remove. The last field, so that the file is closed by then.
    undo: Undo<D>,
}

impl<D: Dir> Draft<D> {
    /// Starts a pair with the number `seq`, in a directory that is settled.
    pub fn pair(dir: &D, seq: u64, allowance: Allowance) -> Result<Self> {
        // There is nothing around its state.
        Self::begin(dir, NEW_STATE.to_owned(), Layout::Pair, seq, allowance.without(BESIDE_STATE)?)
    }

    /// Starts the generation `seq`, in a directory that is settled. Its commit sets aside those that are `damaged`, whose
    /// numbers are not lower: they must not stand beside it as newer ones, nor be replaced by it.
    pub fn generation(dir: &D, seq: u64, damaged: Vec<u64>, allowance: Allowance) -> Result<Self> {
        let allowance = allowance.without(envelope::BESIDE_STATE)?;
        let mut draft = Self::begin(dir, catalog::temporary(seq), Layout::Numbered, seq, allowance)?;
        draft.damaged = damaged;
        draft.head = draft.head().len() as u64;
        Ok(draft)
    }

    /// What is to be given to it before the state, and with the first of that: written alone, it would have every later piece
    /// begin and end within a page of the file.
    pub fn head(&self) -> String {
        match self.layout {
            Layout::Pair => String::new(),
            Layout::Numbered => envelope::head(self.seq),
        }
    }

    fn begin(dir: &D, name: String, layout: Layout, seq: u64, allowance: Allowance) -> Result<Self> {
        let (buffer, generation) = match layout {
            Layout::Pair => (0, None),
            Layout::Numbered => (BUFFER, Some(seq)),
        };
        let file = BufWriter::with_capacity(buffer, files::make(dir, &name)?);
        let undo = Undo { dir: dir.clone(), generation, armed: true };
        let (dir, damaged, sum) = (dir.clone(), Vec::new(), Hasher::default());
        Ok(Draft { dir, name, layout, seq, damaged, file, sum, size: 0, head: 0, allowance, undo })
    }

    /// Makes the snapshot a stored one; it is durable when this returns `Ok`. Until the commit point, an error undoes
    /// everything. After it, the new snapshot stays in place, and is not claimed to be durable.
    pub fn commit(self) -> Result<Layout> {
        let layout = self.layout;
        match layout {
            Layout::Pair => self.commit_pair()?,
            Layout::Numbered => self.commit_generation()?,
        }
        Ok(layout)
    }

    fn commit_pair(mut self) -> Result<()> {
        let seq = self.seq.to_string();
        let sums = Sums { state: self.sum.sum(), seq: Sum::of(seq.as_bytes()) };

        // Without the syncs of the three files, a committed file may be empty after a power cut.
        self.file.get_mut().sync().map_err(|e| Error::io("sync", &self.name, &e))?;
        write_synced(&self.dir, NEW_SEQ, seq.as_bytes())?;
        write_synced(&self.dir, NEW_SUMS, sums.to_text().as_bytes())?;
        // Without this one, a power cut may keep a rename and lose the new name of another file.
        sync_dir(&self.dir)?;

        // The commit point. It cannot be undone safely from here on: of the steps back, a power cut may keep some.
        let committed = rename(&self.dir, NEW_SUMS, SUMS);
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

    fn commit_generation(mut self) -> Result<()> {
        self.write(envelope::BEFORE_SUM)?;
        let tail = envelope::tail(self.sum.sum());
        self.write(tail.as_bytes())?;
        self.file.flush().map_err(|e| Error::io("write", &self.name, &e))?;
        // Without this sync, a committed file may be empty after a power cut.
        self.file.get_mut().sync().map_err(|e| Error::io("sync", &self.name, &e))?;
        for &seq in &self.damaged {
            set_aside(&self.dir, seq)?;
        }
        if self.damaged.contains(&self.seq) {
            // Without this sync, a power cut may keep the rename below and lose the one that set the old file aside.
            sync_dir(&self.dir)?;
        }
        // The commit point. It cannot be undone safely from here on: a generation of this number that was there before
        // is gone.
        let committed = rename(&self.dir, &self.name, &catalog::generation(self.seq));
        self.undo.armed = matches!(committed, Err((_, false)));
        committed.map_err(|(error, may_be_done)| if may_be_done { error.in_doubt() } else { error })?;
        // Without this sync, a power cut may take the new generation back.
        sync_dir(&self.dir).map_err(Error::after_commit)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("write", &self.name, &e))?;
        self.sum.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

impl<D: Dir> Sink for Draft<D> {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.size + bytes.len() as u64;
        self.allowance.check(size.saturating_sub(self.head))?;
        self.write(bytes)
    }
}

/// Undoes `generations`, so that the one below them is the newest, durably: each gets a name under which it is kept. `last`
/// is the newest of them that is not damaged, if there is any: its rename is the commit point, and until then it is the
/// stored one. After an error, another rollback goes on where this one stopped.
pub fn undo<D: Dir>(dir: &D, generations: &[u64], last: Option<u64>) -> Result<()> {
    // The oldest first: until the end, the best ones stand in for that one.
    for &seq in generations.iter().rev().filter(|&&seq| Some(seq) != last) {
        rename_undone(dir, seq).map_err(|(error, _)| error.with_note(SOME))?;
    }
    if let Some(last) = last {
        // Without this sync, a power cut may keep the rename below and lose one of those above, or a removal when older ones
        // were pruned: what is back would be stored.
        sync_dir(dir)?;
        // The commit point.
        rename_undone(dir, last).map_err(|(error, may_be_done)| match may_be_done {
            true => Error::InDoubt(format!("{error}; whether it went back is not known: roll back again")),
            false => error.with_note(SOME),
        })?;
    }
    // Without this sync, a power cut may bring back what was undone.
    sync_dir(dir).map_err(|error| {
        Error::InDoubt(format!("{error}; it went back, but that may not be durable: roll back again"))
    })
}

const SOME: &str = "of the generations in between, some may be undone: roll back again, or rename them back";

/// With an error comes whether it may have happened.
fn rename_undone<D: Dir>(dir: &D, seq: u64) -> std::result::Result<(), (Error, bool)> {
    let name = files::free_name(dir, &|count| catalog::undone(seq, count)).map_err(|error| (error, false))?;
    rename(dir, &catalog::generation(seq), &name)
}

/// Removes what a draft made when it ends before its commit point. What cannot be removed now, the next settling removes.
struct Undo<D: Dir> {
    dir: D,
    generation: Option<u64>,
    armed: bool,
}

impl<D: Dir> Drop for Undo<D> {
    fn drop(&mut self) {
        if self.armed {
            let _ = match self.generation {
                None => remove_new(&self.dir),
                Some(seq) => remove_file(&self.dir, &catalog::temporary(seq)),
            };
        }
    }
}

/// Gives a file the name that makes its snapshot the stored one. With an error comes whether that may have happened: a
/// network file system may report a rename that it did as failed, and then the old name is gone.
fn rename<D: Dir>(dir: &D, from: &str, to: &str) -> std::result::Result<(), (Error, bool)> {
    dir.rename(from, to).map_err(|error| {
        let error = Error::io("rename", from, &error);
        match Place::look(dir, from) {
            Ok(place) if !place.is_empty() => (error, false),
            _ => (error, true),
        }
    })
}

fn write_synced<D: Dir>(dir: &D, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = files::make(dir, name)?;
    file.write_all(bytes).map_err(|e| Error::io("write", name, &e))?;
    file.sync().map_err(|e| Error::io("sync", name, &e))
}

/// Gives those files of a pair, of these names, that have new names those under which native minisnap looks for them.
pub fn move_into_place<D: Dir>(dir: &D, names: &[impl AsRef<str>]) -> Result<()> {
    for (from, to) in NEW {
        if names.iter().any(|name| name.as_ref() == from) {
            dir.rename(from, to).map_err(|e| Error::io("rename", from, &e))?;
        }
    }
    Ok(())
}

/// Removes what lies under the new names of a pair.
pub fn remove_new<D: Dir>(dir: &D) -> Result<()> {
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
