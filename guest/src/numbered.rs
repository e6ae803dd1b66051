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
use crate::files::{self, Numbered, Place, remove_file, sync_dir};
use crate::layout::Contents;
use crate::limits::Allowance;
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
        let file = files::make(dir, &name)?;
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
            sync_dir(&self.dir)?;
        }
        // The commit point. It cannot be undone safely from here on: a generation of this number that was there before
        // is gone.
        let committed = files::commit(&self.dir, &self.undo.name, &files::generation(self.seq));
        self.undo.armed = matches!(committed, Err((_, false)));
        committed.map_err(|(error, _)| error)?;
        // Without this sync, a power cut may take the new generation back.
        sync_dir(&self.dir).map_err(Error::after_commit)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.write_all(envelope::BEFORE_SUM)?;
        let tail = envelope::tail(self.file.sum());
        self.file.write_all(tail.as_bytes())?;
        self.file.flush()
    }
}

impl<D: Dir> Write for Draft<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = (self.file.size() + bytes.len() as u64).saturating_sub(self.head);
        self.allowance.check(size).map_err(io::Error::other)?;
        self.file.write(bytes).map_err(|error| files::write_error(&self.undo.name, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
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

/// Removes what an earlier crash left.
///
/// # Errors
///
/// [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io); another attempt goes on
/// where this one stopped.
pub fn settle<D: Dir>(dir: &D, contents: &Contents) -> Result<()> {
    for name in &contents.temporaries {
        files::remove_temporary(dir, name)?;
    }
    Ok(())
}

/// Gives a damaged generation a name under which it is kept, and is not taken for a generation.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn set_aside<D: Dir>(dir: &D, seq: u64) -> Result<()> {
    files::rename_aside(dir, &files::generation(seq), |count| files::set_aside(seq, count))
}

/// The generations that were sound when they were written or read, as long as their files are the same by size and time:
/// each is looked at again after the directory was listed. And those that only start and end as sound ones do.
#[derive(Debug, Default)]
pub struct Known {
    sound: RefCell<Vec<Sound>>,
    /// Those that were damaged when they were read.
    damaged: RefCell<Vec<u64>>,
}

/// A generation that was found sound. They are sorted, the newest first.
#[derive(Debug, Clone, Copy)]
struct Sound {
    seq: u64,
    /// Its file, unless only the ends of that were read.
    entry: Option<Entry>,
    /// Whether it has a sum, which vouches for it if all of it was read.
    verified: bool,
    /// Whether its file was looked at since the directory was listed.
    is_current: bool,
}

/// What became of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is sound.
    Sound,
    /// It is damaged.
    Damaged,
    /// It cannot be read now, which may pass.
    Unreadable(Error),
    /// It is not there.
    Gone,
}

impl Known {
    /// Remembers that a generation is sound, and whether its sum vouches for it.
    pub fn insert(&self, seq: u64, entry: Entry, verified: bool) {
        self.put(seq, Some(entry), verified);
    }

    fn put(&self, seq: u64, entry: Option<Entry>, verified: bool) {
        self.damaged.borrow_mut().retain(|damaged| *damaged != seq);
        let (found, mut all) = (self.find(seq), self.sound.borrow_mut());
        let sound = Sound { seq, entry, verified, is_current: true };
        match found {
            Ok(at) => all[at] = sound,
            Err(at) => all.insert(at, sound),
        }
    }

    /// Where a generation is, or would be.
    fn find(&self, seq: u64) -> std::result::Result<usize, usize> {
        self.sound.borrow().binary_search_by(|known| seq.cmp(&known.seq))
    }

    fn get(&self, seq: u64) -> Option<Sound> {
        self.find(seq).ok().map(|at| self.sound.borrow()[at])
    }

    /// Whether this store wrote a generation, by its last line; not whether it is sound.
    fn is_ours<D: Dir>(&self, dir: &D, seq: u64) -> bool {
        self.get(seq).map_or_else(|| read::is_ours(dir, seq), |known| known.verified)
    }

    /// Forgets a generation, of which another may be there now.
    pub fn remove(&self, seq: u64) {
        if let Ok(at) = self.find(seq) {
            self.sound.borrow_mut().remove(at);
        }
        self.damaged.borrow_mut().retain(|damaged| *damaged != seq);
    }

    /// Remembers that a generation was damaged when it was read.
    pub fn insert_damaged(&self, seq: u64) {
        self.remove(seq);
        self.damaged.borrow_mut().push(seq);
    }

    /// Forgets all that a directory does not hold any more, after it was listed.
    pub fn retain(&self, contents: &Contents) {
        self.sound.borrow_mut().retain_mut(|known| {
            known.is_current = false;
            contents.has(known.seq)
        });
        self.damaged.borrow_mut().retain(|seq| contents.has(*seq));
    }

    /// Whether a generation counts as sound beside a newer one that is. One that is known does, without a look if there was
    /// one since the directory was listed. Of another, only the start and the end are read, so that a process that knows
    /// none does not read all that is kept; but all of another program's.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn glance<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        let known = self.get(seq);
        if known.is_some_and(|known| known.is_current) {
            return Ok(Condition::Sound);
        }
        let was_read =
            known.is_some_and(|known| known.entry.is_some()) || self.damaged.borrow().contains(&seq);
        if !was_read && read::is_ours(dir, seq) {
            self.put(seq, None, true);
            return Ok(Condition::Sound);
        }
        self.check(dir, seq)
    }

    /// Whether a generation is sound; reads it, unless that is known.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if there is not the memory to read it.
    pub fn check<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        // A file system without times shows no change.
        if let Some(Sound { entry: Some(entry), verified, .. }) = self.get(seq)
            && entry.modified.is_some()
            && Place::look(dir, files::generation(seq)).is_ok_and(|place| place.entry == Some(entry))
        {
            self.insert(seq, entry, verified);
            return Ok(Condition::Sound);
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
                self.insert(seq, found.entry, found.verified);
                Condition::Sound
            }
            Generation::Damaged(_) => {
                self.insert_damaged(seq);
                Condition::Damaged
            }
            Generation::Unreadable(error) => Condition::Unreadable(error),
            Generation::Gone => Condition::Gone,
        })
    }
}

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many sound generations, the newest included; at least one is kept. As many that were set aside are kept, too.
    pub keep: usize,
    /// Whether generations that another program wrote may go because they are beyond `keep`.
    pub others: bool,
    /// How many bytes the directory may hold; the newest generation is kept if it is larger.
    pub max_total: u64,
}

/// How many files of a kind one pruning removes at most, so that it ends soon in a directory of many.
const MAX_PRUNED: usize = 1000;

/// How many generations that readers have open, or that cannot be read now, stay at most while others go.
const MAX_PINNED: usize = 100;

/// Removes generations beyond `retention`, but none that is `open`, and sets those that would count and are damaged
/// aside. Of `contents`, the newest generation was committed just now. Returns whether they are what the directory holds
/// then.
///
/// Beyond `keep`, nothing is read: there are newer ones that are sound. What cannot be removed, or not be looked at,
/// stays: the next pruning tries again.
pub fn prune<D: Dir>(
    dir: &D,
    contents: &mut Contents,
    retention: Retention,
    known: &Known,
    open: &[u64],
) -> bool {
    let (mut pinned, mut is_exact) = (open.to_vec(), true);
    let is_over =
        retention.max_total < u64::MAX && held(dir, &|_| true).is_ok_and(|held| held > retention.max_total);
    // Unless some must go, none is read.
    if is_over || contents.generations.len() > retention.keep {
        let (mut older, mut sound) = (contents.generations.get(1..).unwrap_or_default().iter(), 1);
        while sound < retention.keep
            && let Some(&seq) = older.next()
        {
            match known.glance(dir, seq) {
                Ok(Condition::Sound) => sound += 1,
                Ok(Condition::Damaged) => {
                    is_exact = false;
                    let _ = set_aside(dir, seq);
                }
                Ok(Condition::Gone) => is_exact = false,
                // Where much cannot be read, the next pruning sees to it.
                Ok(Condition::Unreadable(_)) | Err(_) if pinned.len() < MAX_PINNED => pinned.push(seq),
                Ok(Condition::Unreadable(_)) | Err(_) => return false,
            }
        }
        let mut excess = older.as_slice();
        if !retention.others {
            // What another program wrote, it wrote before: all that is older is its own.
            let mut ours = 0;
            while ours < excess.len().min(MAX_PRUNED) && known.is_ours(dir, excess[ours]) {
                ours += 1;
            }
            excess = &excess[..ours];
        }
        let mut removed = Vec::new();
        for &seq in excess.iter().rev() {
            if removed.len() < MAX_PRUNED && !pinned.contains(&seq) {
                match remove_file(dir, &files::generation(seq)) {
                    Ok(()) => removed.push(seq),
                    Err(_) => is_exact = false,
                }
            }
        }
        contents.generations.retain(|seq| removed.binary_search(seq).is_err());
    }
    for &(seq, count) in contents.set_aside.iter().skip(retention.keep).rev().take(MAX_PRUNED) {
        is_exact = false;
        let _ = remove_file(dir, &files::set_aside(seq, count));
    }
    if is_over {
        is_exact = false;
        make_room(dir, retention.max_total, &pinned);
    }
    is_exact
}

/// Removes what was set aside, and then generations, the oldest first and never the newest, until the directory holds no
/// more than `max_total` bytes.
fn make_room<D: Dir>(dir: &D, max_total: u64, pinned: &[u64]) {
    let (Ok(mut held), Ok(contents)) = (held(dir, &|_| true), Contents::look_alone(dir)) else { return };
    let mut names = Vec::new();
    for &(seq, count) in contents.set_aside.iter().rev() {
        names.push(files::set_aside(seq, count));
    }
    for &seq in contents.generations.iter().skip(1).rev() {
        if names.len() < MAX_PRUNED && !pinned.contains(&seq) {
            names.push(files::generation(seq));
        }
    }
    for name in names {
        let size = if held > max_total { size(dir, &name) } else { return };
        if remove_file(dir, &name).is_ok() {
            held = held.saturating_sub(size);
        }
    }
}

/// The bytes of those files of the directory that count.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn held<D: Dir>(dir: &D, counts: &dyn Fn(Option<Numbered>) -> bool) -> Result<u64> {
    let names = files::list(dir)?.names;
    let counted = names.iter().filter(|name| counts(Numbered::parse(name)));
    Ok(counted.fold(0, |held, name| held.saturating_add(size(dir, name))))
}

/// The size of a file in bytes, as far as it can be told.
fn size<D: Dir>(dir: &D, name: &str) -> u64 {
    match Place::look(dir, name) {
        Ok(Place { entry: Some(Entry { kind: Kind::File, size, .. }), .. }) => size,
        _ => 0,
    }
}
