//! Which layout a directory has, by the names in it.

use std::collections::BinaryHeap;

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::files::{
    self, NATIVE_SEQ_TMP, NATIVE_STATE_TMP, NEW_SEQ, NEW_STATE, NEW_SUMS, Numbered, SEQ, STATE, SUMS,
};

/// How often a directory that changes while it is read is read again.
pub const ATTEMPTS: usize = 100;

/// How snapshots are laid out on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// The files of minisnap 0.1.0 to 0.1.2, with their sums: the newest snapshot.
    Pair,
    /// The files of minisnap 0.1.3, each with its sum: the newest generations.
    Numbered,
}

/// What lies in a directory, as far as it is the store's.
#[derive(Debug, Default)]
pub struct Contents {
    /// The numbers of the generations, newest first.
    pub generations: Vec<u64>,
    /// The numbers of damaged generations that were set aside, and which of that number, newest first.
    pub set_aside: Vec<(u64, u64)>,
    /// A name that looks like a snapshot's and is none.
    pub near_miss: Option<String>,
    /// Why an entry came without its name, which may be a snapshot's.
    pub nameless: Option<String>,
    /// What was being made and never committed, of the numbered layout.
    pub temporaries: Vec<String>,
    /// Whether there is what was being made, of the pair layout.
    pub pair_temporary: bool,
    /// Whether the sums are among that, which are made last.
    pub new_sums: bool,
    /// Whether there is what native 0.1.2 was making, of the pair layout.
    pub native_temporary: bool,
    /// A name of the pair layout, if there is any: that of its state, if that is there.
    pub pair: Option<&'static str>,
}

impl Contents {
    /// Lists a directory that others may write.
    ///
    /// A listing is not one moment: what is renamed or removed meanwhile may be in it or not. It is believed when a
    /// second one is the same; that a pair is there, at once.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn look<D: Dir>(dir: &D) -> Result<Self> {
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let contents = Self::look_alone(dir)?;
            let is_pair = matches!(contents.layout(), Ok(Some(Layout::Pair)));
            if is_pair || before.as_ref().is_some_and(|before| contents.holds_the_same_as(before)) {
                return Ok(contents);
            }
            before = Some(contents);
        }
        Err(Error::rewritten())
    }

    /// Whether there is a generation of this number.
    pub fn has(&self, seq: u64) -> bool {
        self.generations.binary_search_by(|generation| seq.cmp(generation)).is_ok()
    }

    /// Whether there is anything that was being made.
    pub fn has_leftovers(&self) -> bool {
        !self.temporaries.is_empty() || self.pair_temporary || self.native_temporary
    }

    /// Refuses what depends on all the names where one is not known.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io), with what to do.
    pub fn check_named(&self) -> Result<()> {
        match &self.nameless {
            None => Ok(()),
            Some(problem) => Err(Error::Io(format!(
                "an entry that cannot be looked at may be the newest snapshot: {problem}; move it away, or restore a \
                 snapshot by its number"
            ))),
        }
    }

    /// Whether the two hold the same snapshots; what is being made does not matter.
    pub fn holds_the_same_as(&self, other: &Contents) -> bool {
        self.generations == other.generations && self.set_aside == other.set_aside && self.pair == other.pair
    }

    /// Lists a directory that nobody else writes.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn look_alone<D: Dir>(dir: &D) -> Result<Self> {
        let (mut contents, mut generations) = (Contents::default(), Vec::new());
        let listing = files::list(dir)?;
        contents.nameless = listing.nameless.map(|error| error.to_string());
        for name in listing.names {
            match name.as_str() {
                STATE => contents.pair = Some(STATE),
                SEQ => contents.pair = contents.pair.or(Some(SEQ)),
                SUMS => contents.pair = contents.pair.or(Some(SUMS)),
                NEW_STATE | NEW_SEQ | NEW_SUMS => {
                    contents.pair_temporary = true;
                    contents.new_sums |= name == NEW_SUMS;
                }
                NATIVE_STATE_TMP | NATIVE_SEQ_TMP => contents.native_temporary = true,
                name => match Numbered::parse(name) {
                    Some(Numbered::Generation(seq)) => generations.push((seq, 0)),
                    Some(Numbered::Temporary) => contents.temporaries.push(name.to_owned()),
                    Some(Numbered::SetAside(seq, count)) => contents.set_aside.push((seq, count)),
                    None if files::is_near_miss(name) => contents.near_miss = Some(name.to_owned()),
                    None => {}
                },
            }
        }
        contents.generations = newest_first(generations).into_iter().map(|(seq, _)| seq).collect();
        contents.set_aside = newest_first(contents.set_aside);
        Ok(contents)
    }

    /// The layout of the directory, or `None` if it holds no snapshot.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if there are snapshots of both, or if an entry that has no name may be one;
    /// [`Corrupt`](Error::Corrupt) if there is none, and something that looks like one.
    pub fn layout(&self) -> Result<Option<Layout>> {
        match (self.pair, self.generations.first()) {
            (Some(pair), Some(&newest)) => Err(Error::Io(format!(
                "the directory holds snapshots in two layouts, `{pair}` and `{}`: move the files of one of them away",
                files::generation(newest)
            ))),
            (Some(_), None) => Ok(Some(Layout::Pair)),
            (None, Some(_)) => Ok(Some(Layout::Numbered)),
            (None, None) => match &self.near_miss {
                // Starting from nothing beside them could bury what they hold.
                Some(name) => Err(Error::Corrupt(format!(
                    "there is none, but `{name}` looks like one: unpack or rename it, or move it away to start with none"
                ))),
                // A damaged generation that was set aside is no snapshot, and a directory that holds one is not empty.
                None if !self.set_aside.is_empty() => Ok(Some(Layout::Numbered)),
                None => self.check_named().map(|()| None),
            },
        }
    }
}

/// In an order in which two listings can be compared, each number once, whatever order the system gives them in.
fn newest_first(seqs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    // By a heap, which is less code than a sort.
    let mut sorted = BinaryHeap::from(seqs).into_sorted_vec();
    sorted.dedup();
    sorted.reverse();
    sorted
}
