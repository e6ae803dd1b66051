//! Which layout a directory has, by the names in it.

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::files::{self, COMMIT, Numbered, PENDING, SEQ, STATE, SUMS, TMP, TO_NUMBERED, TO_PAIR};

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The numbers of the generations, newest first.
    pub generations: Vec<u64>,
    /// The names of damaged generations that were set aside.
    pub set_aside: Vec<String>,
    /// What was being made and never committed, of the numbered layout.
    pub temporaries: Vec<String>,
    /// Whether `snapshot.tmp/` is there, of the pair layout.
    pub pair_temporary: bool,
    /// A name of the pair layout, if there is any: that of its state, if that is there.
    pub pair: Option<&'static str>,
    /// Whether the last commit in the numbered layout may not be durable.
    pub pending: bool,
    /// The layout that the snapshot is being put into, or both if somebody made such names.
    pub migrating: Vec<Layout>,
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
        Err(Error::Busy)
    }

    /// Whether the two hold the same snapshots; what is being made does not matter.
    pub fn holds_the_same_as(&self, other: &Contents) -> bool {
        self.generations == other.generations
            && self.set_aside == other.set_aside
            && self.pair == other.pair
            && self.migrating == other.migrating
    }

    /// Lists a directory that nobody else writes.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn look_alone<D: Dir>(dir: &D) -> Result<Self> {
        let mut contents = Contents::default();
        for name in dir.list("").map_err(|e| Error::io("list", files::WHOLE, &e))? {
            match name.as_str() {
                STATE => contents.pair = Some(STATE),
                SEQ => contents.pair = contents.pair.or(Some(SEQ)),
                SUMS => contents.pair = contents.pair.or(Some(SUMS)),
                COMMIT => contents.pair = contents.pair.or(Some(COMMIT)),
                TMP => contents.pair_temporary = true,
                PENDING => contents.pending = true,
                TO_NUMBERED => contents.migrating.push(Layout::Numbered),
                TO_PAIR => contents.migrating.insert(0, Layout::Pair),
                name => match Numbered::parse(name) {
                    Some(Numbered::Generation(seq)) => {
                        let newer = contents.generations.partition_point(|&generation| generation > seq);
                        if contents.generations.get(newer) != Some(&seq) {
                            contents.generations.insert(newer, seq);
                        }
                    }
                    Some(Numbered::Temporary) => insert_sorted(&mut contents.temporaries, name),
                    Some(Numbered::SetAside) => insert_sorted(&mut contents.set_aside, name),
                    None => {}
                },
            }
        }
        Ok(contents)
    }

    /// The layout of the directory, or `None` if it holds no snapshot.
    ///
    /// While a snapshot is put into another layout, it is there in both; from its commit in the new one on, that one
    /// counts.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if there are snapshots of both.
    pub fn layout(&self) -> Result<Option<Layout>> {
        match (self.pair, self.generations.first(), self.migrating.as_slice()) {
            (Some(_), Some(_), &[to]) => Ok(Some(to)),
            (Some(pair), Some(&newest), _) => Err(Error::Io(format!(
                "the directory holds snapshots in two layouts, `{pair}` and `{}`: move the files of one of them away",
                files::generation(newest)
            ))),
            (Some(_), None, _) => Ok(Some(Layout::Pair)),
            (None, Some(_), _) => Ok(Some(Layout::Numbered)),
            // A damaged generation that was set aside is no snapshot, and a directory that holds one is not empty.
            (None, None, _) if !self.set_aside.is_empty() => Ok(Some(Layout::Numbered)),
            (None, None, _) => Ok(None),
        }
    }
}

/// So that two listings can be compared, in whatever order the system gives them. A few names need no more than this.
fn insert_sorted(names: &mut Vec<String>, name: &str) {
    let at = names.partition_point(|other| other.as_str() < name);
    names.insert(at, name.to_owned());
}
