//! The names of files in both layouts, and what a directory holds by them.

use std::collections::BinaryHeap;

use crate::dir::{ATTEMPTS, Dir};
use crate::error::{Error, Result};
use crate::files;

/// The state, as JSON.
pub const STATE: &str = "snapshot.json";
/// The sequence number, in decimal.
pub const SEQ: &str = "snapshot.seq";
/// The sums of the two.
pub const SUMS: &str = "snapshot.sum";

/// Marks a directory that a later version wrote; nothing else in it counts.
pub const LATER: &str = "snapshot.layout";

/// Where the state is made.
pub const NEW_STATE: &str = "snapshot.json.new";
/// Where the number is made.
pub const NEW_SEQ: &str = "snapshot.seq.new";
/// Where the sums are made.
pub const NEW_SUMS: &str = "snapshot.sum.new";

/// The names under which the files of a snapshot are made, and those that a commit gives them, in its order.
pub const NEW: [(&str, &str); 3] = [(NEW_SUMS, SUMS), (NEW_STATE, STATE), (NEW_SEQ, SEQ)];

/// Where native minisnap 0.1.2 makes the state.
pub const NATIVE_STATE_TMP: &str = "snapshot.json.tmp";
/// Where native minisnap 0.1.2 makes the number.
pub const NATIVE_SEQ_TMP: &str = "snapshot.seq.tmp";

/// What the name of a generation starts with; 20 digits follow.
const GENERATION: &str = "snapshot_";

/// The name of the generation `seq`, which is that of minisnap 0.1.3.
pub fn generation(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

/// The name under which the generation `seq` is made. Native minisnap does not take it for a generation.
pub fn temporary(seq: u64) -> String {
    format!("snapshot_{seq:020}.json.tmp")
}

/// The name that a damaged generation `seq` gets, the first or a further one. Native minisnap does not take it for a
/// generation.
pub fn set_aside(seq: u64, count: u64) -> String {
    beside(seq, DAMAGED, count)
}

/// The same of a generation that was undone by a rollback.
pub fn undone(seq: u64, count: u64) -> String {
    beside(seq, UNDONE, count)
}

const DAMAGED: &str = ".json.damaged";
const UNDONE: &str = ".json.undone";

fn beside(seq: u64, end: &str, count: u64) -> String {
    match count {
        0 | 1 => format!("snapshot_{seq:020}{end}"),
        count => format!("snapshot_{seq:020}{end}-{count}"),
    }
}

/// Refuses a directory that a later version wrote.
#[cold]
pub fn later() -> Error {
    Error::Io(format!(
        "`{LATER}` is there, so the directory has a layout of a later version of minisnap: use that version"
    ))
}

/// Whether a name that is none of this store's looks like a snapshot's: in other letters, with something behind it, as a
/// compressed file has, or of native minisnap 0.1.3 with another codec.
pub fn is_near_miss(name: &str) -> bool {
    if starts_like(name, GENERATION) {
        let digits = name.bytes().skip(GENERATION.len()).take_while(u8::is_ascii_digit);
        return digits.count() == 20;
    }
    starts_like(name, STATE) || starts_like(name, SEQ)
}

/// Whether a name starts like this, in whatever case.
#[inline(never)]
fn starts_like(name: &str, start: &str) -> bool {
    let mut found = name.bytes();
    start.bytes().all(|byte| found.next().is_some_and(|found| found.eq_ignore_ascii_case(&byte)))
}

/// What a file of the numbered layout is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    /// A generation.
    Generation(u64),
    /// One that was being made.
    Temporary,
    /// One that was found damaged, and which of that number.
    SetAside(u64, u64),
    /// One that was undone by a rollback: it is kept, and counts for nothing.
    Undone,
}

impl Numbered {
    /// Only exactly the names that [`generation`], [`temporary`], [`set_aside`] and [`undone`] make are any of these.
    pub fn parse(name: &str) -> Option<Numbered> {
        let (number, end) = name.strip_prefix(GENERATION)?.split_at_checked(20)?;
        // A sign would be accepted otherwise.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit()).then_some(number)?;
        let seq = digits.parse().ok()?;
        match end {
            ".json" => Some(Numbered::Generation(seq)),
            ".json.tmp" => Some(Numbered::Temporary),
            _ => {
                let (is_damaged, count) = match end.strip_prefix(DAMAGED) {
                    Some(count) => (true, count),
                    None => (false, end.strip_prefix(UNDONE)?),
                };
                let count = if count.is_empty() { 1 } else { count.strip_prefix('-')?.parse().ok()? };
                let is_exact = beside(seq, if is_damaged { DAMAGED } else { UNDONE }, count) == name;
                let parsed = if is_damaged { Numbered::SetAside(seq, count) } else { Numbered::Undone };
                is_exact.then_some(parsed)
            }
        }
    }
}

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
    /// The name of one that was undone.
    pub undone: Option<String>,
    /// Whether a later version wrote the directory.
    pub is_later: bool,
    /// Why an entry came without its name, which may be a snapshot's.
    pub nameless: Option<String>,
    /// What was being made and never committed, of the numbered layout.
    pub temporaries: Vec<String>,
    /// How many names there are of what was being made, of the pair layout.
    pub pair_temporaries: u64,
    /// Whether the sums are among those, which are made last.
    pub new_sums: bool,
    /// How many there are of what native 0.1.2 was making, of the pair layout.
    pub native_temporaries: u64,
    /// A name of the pair layout, if there is any: that of its state, if that is there.
    pub pair: Option<&'static str>,
}

impl Contents {
    /// Lists a directory that others may write.
    ///
    /// A listing is not one moment: what is renamed or removed meanwhile may be in it or not. It is believed when a
    /// second one is the same; that a pair is there, at once.
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

    /// How many names there are only while something is being done, or after a crash in that.
    pub fn leftovers(&self) -> u64 {
        self.temporaries.len() as u64 + self.pair_temporaries + self.native_temporaries
    }

    /// Refuses what depends on all the names where one is not known.
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
        self.generations == other.generations
            && self.set_aside == other.set_aside
            && self.pair == other.pair
            && self.is_later == other.is_later
    }

    /// Lists a directory that nobody else writes.
    pub fn look_alone<D: Dir>(dir: &D) -> Result<Self> {
        let (mut contents, mut generations) = (Contents::default(), Vec::new());
        let listing = files::list(dir)?;
        contents.nameless = listing.nameless.map(|error| error.to_string());
        for name in listing.names {
            match name.as_str() {
                STATE => contents.pair = Some(STATE),
                SEQ => contents.pair = contents.pair.or(Some(SEQ)),
                SUMS => contents.pair = contents.pair.or(Some(SUMS)),
                LATER => contents.is_later = true,
                NEW_STATE | NEW_SEQ | NEW_SUMS => {
                    contents.pair_temporaries += 1;
                    contents.new_sums |= name == NEW_SUMS;
                }
                NATIVE_STATE_TMP | NATIVE_SEQ_TMP => contents.native_temporaries += 1,
                name => match Numbered::parse(name) {
                    Some(Numbered::Generation(seq)) => generations.push((seq, 0)),
                    Some(Numbered::Temporary) => contents.temporaries.push(name.to_owned()),
                    Some(Numbered::SetAside(seq, count)) => contents.set_aside.push((seq, count)),
                    Some(Numbered::Undone) => contents.undone = Some(name.to_owned()),
                    None if is_near_miss(name) => contents.near_miss = Some(name.to_owned()),
                    None => {}
                },
            }
        }
        contents.generations = newest_first(generations).into_iter().map(|(seq, _)| seq).collect();
        contents.set_aside = newest_first(contents.set_aside);
        Ok(contents)
    }

    /// The layout of the directory, or `None` if it holds no snapshot. Where it holds snapshots of both, or none and something
    /// that may be or looks like one, or what a later version has made, that is an error with what to do.
    pub fn layout(&self) -> Result<Option<Layout>> {
        if self.is_later {
            return Err(later());
        }
        match (self.pair, self.generations.first()) {
            (Some(pair), Some(&newest)) => Err(Error::Io(format!(
                "the directory holds snapshots in two layouts, `{pair}` and `{}`: move the files of one of them away",
                generation(newest)
            ))),
            (Some(_), None) => Ok(Some(Layout::Pair)),
            (None, Some(_)) => Ok(Some(Layout::Numbered)),
            // Starting from nothing beside them could bury what they hold.
            (None, None) => match (&self.near_miss, &self.undone) {
                (Some(name), _) => Err(Error::Corrupt(format!(
                    "there is none, but `{name}` looks like one: unpack or rename it, or move it away to start with none"
                ))),
                // A damaged generation that was set aside is no snapshot, and a directory that holds one is not empty.
                _ if !self.set_aside.is_empty() => Ok(Some(Layout::Numbered)),
                (None, Some(name)) => Err(Error::Corrupt(format!(
                    "there is none, but `{name}` was undone by a rollback: rename it back, or move it away to start with none"
                ))),
                (None, None) => self.check_named().map(|()| None),
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
