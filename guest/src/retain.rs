//! How much is kept: limits of size, how many generations, and what is set aside.

use crate::catalog::{self, Contents, Numbered};
use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files::{self, Place, remove_file};
use crate::numbered::{Condition, Known};
use crate::snapshot::Settings;

/// What a snapshot that is being made may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The largest state, as stored.
    pub max_state: u64,
    /// The most that the directory may hold.
    pub max_total: u64,
    /// The most that all of the snapshot may add to it.
    pub room: u64,
}

impl Allowance {
    /// What is left for the state when `bytes` are needed beside it.
    pub fn without(self, bytes: u64) -> Result<Self> {
        match self.room.checked_sub(bytes) {
            Some(room) if room > 0 => Ok(Allowance { room, ..self }),
            _ => Err(self.full()),
        }
    }

    #[cold]
    fn full(self) -> Error {
        let Allowance { max_total, room, .. } = self;
        Error::NoSpace(format!(
            "the directory may hold {max_total} bytes, of which {room} are left beside the newest snapshot and what is not \
             the store's: the new snapshot needs more"
        ))
    }

    /// Whether a state of `size` bytes may be stored.
    pub fn check(&self, size: u64) -> Result<()> {
        if size > self.max_state {
            Err(Error::TooLarge(self.max_state))
        } else if size > self.room {
            Err(self.full())
        } else {
            Ok(())
        }
    }
}

/// Gives a damaged generation a name under which it is kept, and is not taken for a generation.
pub fn set_aside<D: Dir>(dir: &D, seq: u64) -> Result<()> {
    files::rename_aside(dir, &catalog::generation(seq), &|count| catalog::set_aside(seq, count))
}

/// How many files of a kind one pruning removes at most, so that it ends soon in a directory of many.
const MAX_PRUNED: usize = 1000;

/// How many generations that readers have open, or that cannot be read now, stay at most while others go.
const MAX_PINNED: usize = 100;

/// Removes generations beyond what the settings keep, but none that is `open`, and sets those that would count and are
/// damaged aside; of what was set aside, as many are kept. Of `contents`, the newest generation was committed just now.
/// Returns whether they are what the directory holds then.
///
/// Beyond `keep`, nothing is read: there are newer ones that are sound. What cannot be removed, or not be looked at,
/// stays: the next pruning tries again.
pub fn prune<D: Dir>(
    dir: &D,
    contents: &mut Contents,
    settings: Settings,
    known: &Known,
    open: &[u64],
) -> bool {
    let max_total = settings.max_total;
    let keep = usize::try_from(settings.keep.unwrap_or(Settings::KEEP).get()).unwrap_or(usize::MAX);
    let (mut pinned, mut is_exact) = (open.to_vec(), true);
    let is_over = max_total < u64::MAX && held(dir, &|_| true).is_ok_and(|held| held > max_total);
    // Unless some must go, none is read.
    if is_over || contents.generations.len() > keep {
        let (mut older, mut sound) = (contents.generations.get(1..).unwrap_or_default().iter(), 1);
        while sound < keep
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
        if settings.keep.is_none() {
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
                match remove_file(dir, &catalog::generation(seq)) {
                    Ok(()) => removed.push(seq),
                    Err(_) => is_exact = false,
                }
            }
        }
        known.pruned.update(|pruned| pruned + removed.len() as u64);
        contents.generations.retain(|seq| removed.binary_search(seq).is_err());
    }
    for &(seq, count) in contents.set_aside.iter().skip(keep).rev().take(MAX_PRUNED) {
        is_exact = false;
        let _ = remove_file(dir, &catalog::set_aside(seq, count));
    }
    if is_over {
        is_exact = false;
        make_room(dir, max_total, &pinned, known);
    }
    is_exact
}

/// Removes what was set aside, and then generations, the oldest first and never the newest, until the directory holds no
/// more than `max_total` bytes.
fn make_room<D: Dir>(dir: &D, max_total: u64, pinned: &[u64], known: &Known) {
    let (Ok(mut held), Ok(contents)) = (held(dir, &|_| true), Contents::look_alone(dir)) else { return };
    let mut names = Vec::new();
    for &(seq, count) in contents.set_aside.iter().rev() {
        names.push(catalog::set_aside(seq, count));
    }
    let set_aside = names.len();
    for &seq in contents.generations.iter().skip(1).rev() {
        if names.len() < MAX_PRUNED && !pinned.contains(&seq) {
            names.push(catalog::generation(seq));
        }
    }
    for (at, name) in names.into_iter().enumerate() {
        let size = if held > max_total { size(dir, &name) } else { return };
        if remove_file(dir, &name).is_ok() {
            held = held.saturating_sub(size);
            known.pruned.update(|pruned| pruned + u64::from(at >= set_aside));
        }
    }
}

/// The bytes of those files of the directory that count. Those that were undone never do: who undid them keeps them.
pub fn held<D: Dir>(dir: &D, counts: &dyn Fn(Option<Numbered>) -> bool) -> Result<u64> {
    let names = files::list(dir)?.names;
    let is_counted = |file| file != Some(Numbered::Undone) && counts(file);
    let counted = names.iter().filter(|name| is_counted(Numbered::parse(name)));
    Ok(counted.fold(0, |held, name| held.saturating_add(size(dir, name))))
}

/// The size of a file in bytes, as far as it can be told.
fn size<D: Dir>(dir: &D, name: &str) -> u64 {
    match Place::look(dir, name) {
        Ok(Place { entry: Some(Entry { kind: Kind::File, size, .. }), .. }) => size,
        _ => 0,
    }
}
