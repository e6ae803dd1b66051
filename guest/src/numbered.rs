//! The numbered layout: reading a generation, without a lock and without changing anything, and which are known to be sound.
//!
//! A generation's file is only ever renamed into place whole, and never changed: what was opened is one generation,
//! whatever happens to its name meanwhile.

use std::cell::{Cell, RefCell};
use std::io;

pub mod envelope;

use crate::body::{Body, Failure, Found, State};
use crate::catalog::{self, Contents};
use crate::damage;
use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files::{self, Place, retry};

/// What became of the name of a generation.
pub enum Generation<R> {
    /// It is sound.
    Sound(Found<R>),
    /// Its content is wrong: the problem, which names the file, and what the file is.
    Damaged(String, Entry),
    /// It cannot be read now, which may pass: nothing is known of its content.
    Unreadable(Error),
    /// There is none: it was removed, or set aside.
    Gone,
}

/// Reads the generation `seq` and checks all of it.
pub fn read<D: Dir>(dir: &D, seq: u64, wanted: State) -> Result<Generation<D::Reader>> {
    let name = &catalog::generation(seq);
    let unreadable = |error: &io::Error| Ok(Generation::Unreadable(Error::io("read", name, error)));
    let entry = match retry(|| dir.entry(name)) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(Generation::Gone),
        Err(error) => return unreadable(&error),
    };
    let damaged = |problem| Ok(Generation::Damaged(damage::explain(dir, problem), entry));
    if entry.kind != Kind::File {
        return damaged(files::not_a_file(name, entry.kind));
    }
    let file = match retry(|| dir.open(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Generation::Gone),
        Err(error) => return unreadable(&error),
    };

    let outline = match envelope::outline(&file, seq) {
        Ok(Ok(outline)) => outline,
        Ok(Err(problem)) => return damaged(problem),
        Err(error) => return unreadable(&error),
    };
    let extent = outline.extent;
    let mut body = Body::new(file, extent, outline.start);
    let state = match body.scan(wanted, extent.stop - extent.start, outline.sum.is_none()) {
        Ok(state) => state,
        Err(Failure::Read(error)) => return unreadable(&error),
        Err(Failure::Refused(error)) => return Err(error),
    };
    let verified = outline.sum.is_some();
    match (outline.sum, &state.json) {
        (Some(written), _) if written != state.sum => {
            damaged(format!("`{name}` is not what was written: its sum differs"))
        }
        // Without a sum, that it can be read at all is all that shows damage.
        (None, Err(invalid)) => damaged(format!("the state in `{name}` is not valid JSON: in it, {invalid}")),
        _ => Ok(Generation::Sound(Found { seq, verified, entry: Some(entry), state, body })),
    }
}

/// Whether the file of the generation `seq` ends as this store ends its files; of what lies before, only the start is read.
pub fn is_ours<D: Dir>(dir: &D, seq: u64) -> bool {
    let name = catalog::generation(seq);
    let Ok(Some(Entry { kind: Kind::File, .. })) = retry(|| dir.entry(&name)) else { return false };
    let Ok(file) = retry(|| dir.open(&name)) else { return false };
    matches!(envelope::outline(&file, seq), Ok(Ok(outline)) if outline.sum.is_some())
}

/// The generations that were sound when they were written or read, as long as their files are the same by size and time:
/// each is looked at again after the directory was listed. And those that only start and end as sound ones do.
#[derive(Debug, Default)]
pub struct Known {
    sound: RefCell<Vec<Sound>>,
    /// Those that were damaged when they were read.
    damaged: RefCell<Vec<u64>>,
    /// How many were pruned since this was taken.
    pub pruned: Cell<u64>,
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
    /// Remembers that a generation is sound, its file if all of that was read, and whether its sum vouches for it.
    pub fn insert(&self, seq: u64, entry: Option<Entry>, verified: bool) {
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
    pub fn is_ours<D: Dir>(&self, dir: &D, seq: u64) -> bool {
        self.get(seq).map_or_else(|| is_ours(dir, seq), |known| known.verified)
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
    pub fn glance<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        let known = self.get(seq);
        if known.is_some_and(|known| known.is_current) {
            return Ok(Condition::Sound);
        }
        let was_read =
            known.is_some_and(|known| known.entry.is_some()) || self.damaged.borrow().contains(&seq);
        if !was_read && is_ours(dir, seq) {
            self.insert(seq, None, true);
            return Ok(Condition::Sound);
        }
        self.check(dir, seq)
    }

    /// Whether a generation is sound; reads it, unless that is known.
    pub fn check<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        // A file system without times shows no change.
        if let Some(Sound { entry, verified, .. }) = self.get(seq)
            && entry.is_some_and(|entry| entry.modified.is_some())
            && Place::look(dir, catalog::generation(seq)).is_ok_and(|place| place.entry == entry)
        {
            self.insert(seq, entry, verified);
            return Ok(Condition::Sound);
        }
        self.check_anew(dir, seq)
    }

    /// The same, and reads it in any case.
    pub fn check_anew<D: Dir>(&self, dir: &D, seq: u64) -> Result<Condition> {
        self.remove(seq);
        Ok(match read(dir, seq, State::Sum)? {
            Generation::Sound(found) => {
                self.insert(seq, found.entry, found.verified);
                Condition::Sound
            }
            Generation::Damaged(..) => {
                self.insert_damaged(seq);
                Condition::Damaged
            }
            Generation::Unreadable(error) => Condition::Unreadable(error),
            Generation::Gone => Condition::Gone,
        })
    }
}
