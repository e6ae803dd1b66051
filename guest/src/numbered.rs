//! The numbered layout: its commit, how many generations it keeps, and what it sets aside. `DESIGN.md` argues them.
//!
//! A generation is one file, made under another name, synced, and renamed: that rename is the commit.

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};

pub mod envelope;
pub mod read;

use crate::body::State;
use crate::dir::{Dir, Entry, Kind, Sync};
use crate::error::{Error, Result};
use crate::files::{self, PENDING, Place, remove_file, sync_dir};
use crate::layout::Contents;
use crate::limits::Allowance;
use crate::pair;
use crate::sum::Summing;
use read::Generation;

/// What stands around a small state is written together with it; larger pieces go around this buffer.
const BUFFER: usize = 4 * 1024;

/// A generation that is being made: [`Write`] takes its [head](envelope::head) and its state, [`commit`](Self::commit) finishes it, and
/// dropping it undoes everything.
pub struct Draft<D: Dir> {
    dir: D,
    seq: u64,
    file: Summing<BufWriter<D::Writer>>,
    /// How many bytes stand before the state.
    head: u64,
    allowance: Allowance,
    /// Whether the temporary file is still this draft's to remove.
    undo: Undo<D>,
}

impl<D: Dir> Draft<D> {
    /// Starts the generation `seq`, in a directory that is [settled](settle).
    ///
    /// # Errors
    ///
    /// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn begin(dir: &D, seq: u64, allowance: Allowance) -> Result<Self> {
        let allowance = allowance.without(envelope::BESIDE_STATE)?;
        let name = files::temporary(seq);
        let file = make(dir, &name)?;
        let undo = Undo { dir: dir.clone(), name, armed: true };
        let file = Summing::new(BufWriter::with_capacity(BUFFER, file));
        let head = envelope::head(seq).len() as u64;
        Ok(Draft { dir: dir.clone(), seq, file, head, allowance, undo })
    }

    /// Makes the generation one of the stored ones; it is durable when this returns `Ok`. The `damaged` generations are
    /// set aside: they must not stand beside it as newer ones, nor be replaced by it.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io). Until
    /// the commit point, everything is undone then. After it, the new generation stays in place, and is
    /// not claimed to be durable.
    pub fn commit(mut self, damaged: &[u64]) -> Result<()> {
        self.finish().map_err(|e| Error::io("write", &self.undo.name, &e))?;
        // Without this sync, a committed file may be empty after a power cut.
        self.file.inner_mut().get_mut().sync().map_err(|e| Error::io("sync", &self.undo.name, &e))?;
        for &seq in damaged {
            set_aside(&self.dir, seq)?;
        }
        if damaged.contains(&self.seq) {
            // Without this sync, a power cut may keep the rename below and lose the one that set the old file aside.
            sync_dir(&self.dir, "")?;
        }
        // As long as this name is there, whoever reads the new generation syncs the directory first.
        drop(make(&self.dir, PENDING)?);

        // The commit point. It cannot be undone safely from here on: a generation of this number that was there before
        // is gone.
        let (from, to) = (&self.undo.name, files::generation(self.seq));
        if let Err(error) = self.dir.rename(from, &to) {
            let _ = self.dir.remove_file(PENDING);
            return Err(Error::io("rename", from, &error));
        }
        self.undo.armed = false;
        // Without this sync, a power cut may take the new generation back.
        sync_dir(&self.dir, "").map_err(|error| {
            Error::Io(format!(
                "{error}; the new snapshot is in place, but may not be durable until this is done again"
            ))
        })?;
        // The snapshot is durable: what cannot be removed now is removed by the next settling.
        let _ = self.dir.remove_file(PENDING);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.write_all(envelope::BEFORE_SUM)?;
        let tail = envelope::tail(&self.file.sum());
        self.file.write_all(tail.as_bytes())?;
        self.file.flush()
    }
}

impl<D: Dir> Write for Draft<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = (self.file.size() + bytes.len() as u64).saturating_sub(self.head);
        self.allowance.check(size).map_err(io::Error::other)?;
        self.file.write(bytes).map_err(|e| io::Error::other(Error::io("write", &self.undo.name, &e)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Makes a file. A host may fail after it has made it, when it looks at what that is: then it is removed again.
fn make<D: Dir>(dir: &D, name: &str) -> Result<D::Writer> {
    dir.create(name).map_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = dir.remove_file(name);
        }
        Error::io("make", name, &error)
    })
}

/// Removes the temporary file when a draft ends before its commit point.
struct Undo<D: Dir> {
    dir: D,
    name: String,
    armed: bool,
}

impl<D: Dir> Drop for Undo<D> {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is removed by the next settling.
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

/// Finishes or removes what an earlier crash left.
///
/// # Errors
///
/// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io); another attempt goes on
/// where this one stopped.
pub fn settle<D: Dir>(dir: &D, contents: &Contents) -> Result<()> {
    if contents.pending {
        // The process that made the newest generation may have been killed before its sync. What follows builds on it.
        sync_dir(dir, "")?;
        remove_file(dir, PENDING)?;
    }
    for name in &contents.temporaries {
        remove_file(dir, name)?;
    }
    // Beside `snapshot.commit/`, it may be another name of the same directory: then the other layout's settling comes
    // first.
    if contents.pair_temporary && contents.pair.is_none() { pair::remove_tmp(dir) } else { Ok(()) }
}

/// Gives a damaged generation a name under which it is kept, and is not taken for a generation.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn set_aside<D: Dir>(dir: &D, seq: u64) -> Result<()> {
    let from = files::generation(seq);
    for count in 1.. {
        let to = files::set_aside(seq, count);
        if Place::look(dir, to.as_str())?.is_empty() {
            return dir.rename(&from, &to).map_err(|e| Error::io("set aside", &from, &e));
        }
    }
    Err(Error::Io(format!("cannot set aside `{from}`: every name for that is taken")))
}

/// The generations that were written or read whole, and were sound then. They are taken for sound as long as their
/// files are the same by size and time.
#[derive(Debug, Default)]
pub struct Known(RefCell<Vec<(u64, Entry)>>);

/// What became of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is sound, in a file of so many bytes.
    Sound(u64),
    /// It is damaged.
    Damaged,
    /// It could not be read, which may pass.
    Unreadable,
    /// It is not there.
    Gone,
}

impl Known {
    /// Remembers that a generation is sound.
    pub fn insert(&self, seq: u64, entry: Entry) {
        self.remove(seq);
        self.0.borrow_mut().push((seq, entry));
    }

    /// Forgets a generation, which is not there any more or was found damaged.
    pub fn remove(&self, seq: u64) {
        self.0.borrow_mut().retain(|&(known, _)| known != seq);
    }

    /// Forgets all that a directory does not hold any more.
    pub fn retain(&self, contents: &Contents) {
        self.0.borrow_mut().retain(|(known, _)| contents.generations.contains(known));
    }

    fn get(&self, seq: u64) -> Option<Entry> {
        self.0.borrow().iter().find_map(|&(known, entry)| (known == seq).then_some(entry))
    }

    /// Whether a generation is sound; reads it, unless that is known.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn check<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        let place = Place::look(dir, files::generation(seq))?;
        match (place.entry, self.get(seq)) {
            // A file system without times shows no change.
            (Some(found), Some(known)) if found == known && found.modified.is_some() => {
                return Ok(Condition::Sound(found.size));
            }
            _ => {}
        }
        self.check_anew(dir, seq)
    }

    /// The same, and reads it in any case.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_anew<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        self.remove(seq);
        Ok(match read::read(dir, seq, State::Sum)? {
            Generation::Sound(found) => {
                self.insert(seq, found.entry);
                Condition::Sound(found.entry.size)
            }
            Generation::Damaged(damage) if damage.unreadable => Condition::Unreadable,
            Generation::Damaged(_) => Condition::Damaged,
            Generation::Gone => Condition::Gone,
        })
    }
}

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many sound generations, the newest included; at least one is kept.
    pub keep: usize,
    /// How many bytes the directory may hold; the newest generation is kept if it is larger.
    pub max_total: u64,
}

/// Removes the oldest of the sound `generations` beyond `retention`, but none that is `open`, and sets the damaged ones
/// aside. They are given newest first, and the first was committed just now.
///
/// What cannot be removed, or not be looked at, stays: the next pruning tries again.
pub fn prune<D: Dir>(dir: &D, generations: &[u64], retention: Retention, known: &Known, open: &[u64]) {
    if generations.len() <= retention.keep && retention.max_total == u64::MAX {
        return;
    }
    let (mut sound, mut stay) = (Vec::new(), Vec::new());
    for &seq in generations {
        match known.check(dir, seq) {
            Ok(Condition::Sound(size)) => sound.push((seq, size)),
            Ok(Condition::Damaged) if set_aside(dir, seq).is_ok() => {}
            Ok(Condition::Damaged | Condition::Unreadable) | Err(_) => stay.push(seq),
            Ok(Condition::Gone) => {}
        }
    }
    let mut held = 0;
    if retention.max_total < u64::MAX {
        let sizes = sound.iter().map(|&(_, size)| size).chain(stay.iter().map(|&seq| size(dir, seq)));
        held = sizes.fold(held_beside_generations(dir).unwrap_or(0), u64::saturating_add);
    }
    for (rank, &(seq, size)) in sound.iter().enumerate().skip(1).rev() {
        let stays = rank < retention.keep && held <= retention.max_total;
        if !stays && !open.contains(&seq) && remove_file(dir, &files::generation(seq)).is_ok() {
            known.remove(seq);
            held = held.saturating_sub(size);
        }
    }
}

/// The size of the file of a generation in bytes, as far as it can be told.
pub fn size<D: Dir>(dir: &D, seq: u64) -> u64 {
    dir.entry(&files::generation(seq)).ok().flatten().map_or(0, |entry| entry.size)
}

/// The bytes of all files of the directory that are not generations.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn held_beside_generations<D: Dir>(dir: &D) -> Result<u64> {
    let mut held = 0_u64;
    for name in dir.list("").map_err(|e| Error::io("list", files::WHOLE, &e))? {
        if let Some(files::Numbered::Generation(_)) = files::Numbered::parse(&name) {
            continue;
        }
        match Place::look(dir, name)?.entry {
            Some(entry) if entry.kind == Kind::File => held = held.saturating_add(entry.size),
            _ => {}
        }
    }
    Ok(held)
}
