//! The head: the one object of a store that is ever replaced, and what may be done to it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The version of what is written here.
pub const FORMAT: u32 = 1;

/// How many earlier owners a head remembers.
const REPLACED: usize = 16;

/// How many keys a head lists to be deleted: with more, no snapshot is created.
const DROPPED: usize = 1000;

/// How many generations a head lists, those that were undone or set aside included: with more, no snapshot is created. It is read
/// and written whole, and one that is larger than 8 MiB is not read at all.
pub(super) const LISTED: usize = 20_000;

/// What `head.json` holds: who owns the store, and which objects are its generations.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u32,
    /// How often the store was taken over: higher than any before.
    pub epoch: u64,
    /// The node that has the store for writing, or `None` if it was released.
    pub owner: Option<String>,
    /// Which head this is. No other ever has it.
    pub version: Version,
    /// The generations, newest first.
    pub generations: Vec<Generation>,
    /// Generations that were found damaged and set aside, newest first.
    pub damaged: Vec<Generation>,
    /// Generations that a rollback has undone, newest first.
    pub undone: Vec<Generation>,
    /// The keys of objects that no head needs from here on. Whoever has the store deletes them.
    pub dropped: Vec<String>,
    /// The last head of each earlier owner, newest first, as far as they are remembered: it tells an owner from which the store
    /// was taken over whether what it put was ever in place.
    pub replaced: Vec<Version>,
}

/// Which head it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// What no other opening of any store ever has: each owner knows itself by it.
    pub claim: String,
    /// How many heads its owner has put, or has tried to.
    pub commit: u64,
}

/// A snapshot, and the object that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its number.
    pub seq: u64,
    /// The object's key below that of the store.
    pub key: String,
    /// The object's size in bytes.
    pub size: u64,
    /// The object's XXH3 sum of 128 bits, as 32 hexadecimal digits.
    pub sum: String,
    /// When it was written, in milliseconds since 1970-01-01T00:00:00Z.
    pub written: u64,
}

/// What a commit does to the head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Makes a generation, which is in its object already, the newest. One of the same number gives way.
    Insert(Generation, Limits),
    /// Makes the generation with this number the newest: undoes those above it.
    Rollback(u64),
    /// Adds generations of any numbers, which are in their objects already.
    Copy(Copying),
    /// Drops everything.
    Clear,
    /// Leaves the store to whoever wants it.
    Release,
    /// Changes nothing. Once it is in place, nothing that was given up before can come to be.
    Confirm,
}

/// Which generations a copy adds, and which give way to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Copying {
    /// The generations.
    pub added: Vec<Generation>,
    /// The numbers of those that are undone.
    pub undone: BTreeSet<u64>,
    /// The numbers of those that are damaged, and set aside.
    pub damaged: BTreeSet<u64>,
}

/// What is kept of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limits {
    /// How many generations are, the newest included, and as many damaged ones.
    pub keep: NonZeroUsize,
    /// How large they may be together, in bytes.
    pub max_total: Option<u64>,
    /// The keys of generations that are known to be damaged: those are set aside.
    pub damaged: Vec<String>,
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The store has a higher number.
    Stale {
        /// The newest one.
        newest: u64,
    },
    /// The generation does not fit beside the newest one.
    NoSpace,
    /// There is no generation of this number.
    NotFound,
    /// So many objects were not deleted, which could be, that the head would grow without end.
    Undeleted {
        /// How many.
        objects: usize,
    },
    /// The head lists as many generations as it can.
    Full {
        /// How many.
        generations: usize,
    },
}

impl Generation {
    /// One whose object is in this folder.
    pub(super) fn new(folder: &str, seq: u64, size: u64, sum: String, written: u64) -> Generation {
        let mut generation = Generation { seq, key: String::new(), size, sum, written };
        generation.key = format!("{folder}/{}", generation.file_name());
        generation
    }

    /// Whether these are a file's that was put.
    pub(super) fn is(&self, size: u64, sum: &str) -> bool {
        (self.size, self.sum.as_str()) == (size, sum)
    }

    /// The name of its file, in a folder of one store.
    pub fn file_name(&self) -> String {
        format!("snapshot_{:020}.json", self.seq)
    }

    /// The number from which on nothing counted any more when it was put, as its key says.
    pub(super) fn gone(&self) -> Option<u64> {
        self.key.split('/').nth(1)?.split('-').nth(3)?.parse().ok()
    }

    /// When it was written.
    pub(super) fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.written)
    }
}

impl Edit {
    /// The generations whose objects it needs.
    pub(super) fn added(&self) -> &[Generation] {
        match self {
            Edit::Insert(generation, _) => std::slice::from_ref(generation),
            Edit::Copy(Copying { added, .. }) => added,
            Edit::Rollback(_) | Edit::Clear | Edit::Release | Edit::Confirm => &[],
        }
    }
}

impl Head {
    /// The number of the newest generation.
    pub fn newest(&self) -> Option<u64> {
        self.generations.first().map(|newest| newest.seq)
    }

    /// The names of the files of all generations, as a directory would have them, sorted.
    pub(super) fn file_names(&self) -> Vec<String> {
        let kinds = [(&self.generations, ""), (&self.damaged, ".damaged"), (&self.undone, ".undone")];
        let name = |(all, end): (&Vec<Generation>, &str)| -> Vec<String> {
            all.iter().map(|generation| format!("{}{end}", generation.file_name())).collect()
        };
        let mut names: Vec<String> = kinds.into_iter().flat_map(name).collect();
        names.sort();
        names
    }

    /// Whether an object is needed.
    pub fn names(&self, key: &str) -> bool {
        let kept = [&self.generations, &self.damaged, &self.undone];
        kept.into_iter().flatten().any(|generation| generation.key == key)
    }

    /// The head of who takes the store over from the owner of this one.
    pub(super) fn claimed(found: Option<Head>, owner: String, version: Version) -> Head {
        let Some(mut head) = found else {
            return Head {
                format: FORMAT,
                epoch: 1,
                owner: Some(owner),
                version,
                generations: Vec::new(),
                damaged: Vec::new(),
                undone: Vec::new(),
                dropped: Vec::new(),
                replaced: Vec::new(),
            };
        };
        head.epoch += 1;
        head.owner = Some(owner);
        head.replaced.insert(0, std::mem::replace(&mut head.version, version));
        head.replaced.truncate(REPLACED);
        head
    }

    /// Whether a head of an owner from which the store was taken over was ever in place, or `None` where this one does not
    /// remember that owner any more.
    pub(super) fn follows(&self, version: &Version) -> Option<bool> {
        let last = self.replaced.iter().find(|last| last.claim == version.claim)?;
        Some(last.commit == version.commit)
    }

    /// Makes an edit; one that is refused may leave anything.
    pub(super) fn edit(&mut self, edit: &Edit) -> Result<(), Refusal> {
        match edit {
            Edit::Insert(generation, limits) => self.insert(generation, limits)?,
            Edit::Rollback(seq) => {
                let newest = self.generations.iter().position(|generation| generation.seq == *seq);
                let mut undone: Vec<_> = self.generations.drain(..newest.ok_or(Refusal::NotFound)?).collect();
                undone.append(&mut self.undone);
                self.undone = undone;
            }
            Edit::Copy(copying) => self.copy(copying)?,
            Edit::Clear => {
                let kept = [&mut self.generations, &mut self.damaged, &mut self.undone];
                let cleared: Vec<_> = kept.into_iter().flat_map(std::mem::take).collect();
                self.drop_all(cleared);
            }
            Edit::Release => self.owner = None,
            Edit::Confirm => {}
        }
        Ok(())
    }

    /// Refuses generations that are more than a head lists.
    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        let objects = self.dropped.len();
        if objects > DROPPED {
            return Err(Refusal::Undeleted { objects });
        }
        let generations = self.generations.len() + self.damaged.len() + self.undone.len();
        if generations + more > LISTED {
            return Err(Refusal::Full { generations });
        }
        Ok(())
    }

    /// Sets damaged generations aside.
    fn set_aside(&mut self, is_damaged: impl FnMut(&mut Generation) -> bool) {
        let damaged: Vec<_> = self.generations.extract_if(.., is_damaged).collect();
        self.damaged.splice(0..0, damaged);
    }

    fn copy(&mut self, Copying { added, undone, damaged }: &Copying) -> Result<(), Refusal> {
        self.check_room(added.len())?;
        self.set_aside(|generation| damaged.contains(&generation.seq));
        let numbers: BTreeSet<u64> = added.iter().map(|generation| generation.seq).collect();
        let gives_way = |generation: &mut Generation| {
            undone.contains(&generation.seq) || numbers.contains(&generation.seq)
        };
        let undone: Vec<_> = self.generations.extract_if(.., gives_way).collect();
        self.undone.splice(0..0, undone);
        self.generations.extend_from_slice(added);
        self.generations.sort_by_key(|generation| Reverse(generation.seq));
        Ok(())
    }

    fn insert(&mut self, new: &Generation, limits: &Limits) -> Result<(), Refusal> {
        self.check_room(1)?;
        self.set_aside(|generation| limits.damaged.contains(&generation.key));
        if let Some(newest) = self.newest().filter(|newest| *newest > new.seq) {
            return Err(Refusal::Stale { newest });
        }
        let replaced = self.generations.first().is_some_and(|newest| newest.seq == new.seq);
        let mut dropped: Vec<_> = self.generations.drain(..usize::from(replaced)).collect();
        // Until this is in place, the newest one must be kept beside it, whether or not it gives way.
        let beside = dropped.first().or(self.generations.first()).map_or(0, |newest| newest.size);
        let max_total = limits.max_total.unwrap_or(u64::MAX);
        if new.size.saturating_add(beside) > max_total {
            return Err(Refusal::NoSpace);
        }
        self.generations.insert(0, new.clone());
        let keep = limits.keep.get();
        dropped.extend(self.generations.split_off(keep.min(self.generations.len())));
        dropped.extend(self.damaged.split_off(keep.min(self.damaged.len())));
        while self.kept() > max_total {
            // The newest two fit.
            let Some(oldest) = self.damaged.pop().or_else(|| self.generations.pop()) else { break };
            dropped.push(oldest);
        }
        self.drop_all(dropped);
        Ok(())
    }

    /// The size of all generations that limits are about, in bytes.
    fn kept(&self) -> u64 {
        let sizes = self.generations.iter().chain(&self.damaged).map(|generation| generation.size);
        sizes.fold(0, u64::saturating_add)
    }

    fn drop_all(&mut self, generations: Vec<Generation>) {
        self.dropped.extend(generations.into_iter().map(|generation| generation.key));
    }
}
