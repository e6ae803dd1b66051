//! A state with a log.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use minisnap_client::state::{Mutator, OpenOptions, Result, State};
use minisnap_host::{Grant, Layout, Minisnap, SnapshotStore, Soundness};
use serde::{Deserialize, Serialize};

use crate::minisnap;

/// The numbers of all operations in order, in short: what any other sequence of them would not come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// How many there were.
    pub count: u64,
    /// What they come to.
    pub sum: u64,
    /// The same, where each bit matters.
    pub mean: f64,
}

/// An operation that is told from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its own number, if it is where it belongs.
    pub number: u64,
    /// What makes it large.
    pub text: String,
}

impl Mutator<Seen> for Note {
    fn apply(&self, seen: &mut Seen) {
        seen.count += 1;
        seen.mean = (seen.mean * 0.9 + self.number as f64 / 7.0) / 1.1;
        seen.sum = (seen.sum ^ self.number).wrapping_mul(0x0100_0000_01B3) + self.text.len() as u64;
    }
}

impl Note {
    /// The operation of this number.
    pub fn new(number: u64, size: usize) -> Self {
        Note { number, text: "x @".repeat(size / 3) }
    }
}

impl Seen {
    /// What the operations up to a number come to.
    pub fn at(seq: u64, size: usize) -> Self {
        let mut seen = Seen::default();
        (1..=seq).for_each(|number| Note::new(number, size).apply(&mut seen));
        seen
    }
}

/// A state on this store's snapshots.
pub type Logged = State<Seen, Note, SnapshotStore>;

/// The directories of the log and of the snapshots, in one folder.
pub fn dirs(root: &Path) -> [PathBuf; 2] {
    ["log", "snapshots"].map(|name| root.join(name))
}

/// The snapshots of a folder, of which two are kept.
pub fn snapshots(minisnap: &Minisnap, root: &Path) -> SnapshotStore {
    let [_, snapshots] = dirs(root);
    let keep = NonZeroU32::new(2).expect("two is not zero");
    minisnap.open(Grant::new(snapshots).layout(Layout::Numbered).keep(keep)).expect("the directory opens")
}

/// Opens the state in a folder.
///
/// # Errors
///
/// As the state.
pub fn open(root: &Path) -> Result<Logged> {
    let [log, _] = dirs(root);
    OpenOptions::new().open(snapshots(minisnap(), root), log)
}

/// Applies the next operations, one by one or together.
///
/// # Errors
///
/// As the state.
pub fn go_on(state: &mut Logged, count: u64, together: bool, size: usize) -> Result<()> {
    let mut next = (state.sequence() + 1..).take(count as usize).map(|number| Note::new(number, size));
    if together {
        state.apply_all(next).map(drop)
    } else {
        next.try_for_each(|note| state.apply(note).map(drop))
    }
}

/// What is done to a state that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is opened only.
    Open,
    /// One operation.
    Apply,
    /// Three operations together.
    Batch,
    /// A snapshot, after which records are removed.
    Snapshot,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 4] = [Step::Open, Step::Apply, Step::Batch, Step::Snapshot];

    /// As a program is told it.
    pub fn name(self) -> &'static str {
        match self {
            Step::Open => "open",
            Step::Apply => "apply",
            Step::Batch => "batch",
            Step::Snapshot => "snapshot",
        }
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// As the state.
    pub fn run(self, state: &mut Logged, size: usize) -> Result<()> {
        match self {
            Step::Open => Ok(()),
            Step::Apply => go_on(state, 1, false, size),
            Step::Batch => go_on(state, 3, true, size),
            Step::Snapshot => state.create_snapshot(),
        }
    }

    /// How many operations it applies.
    pub fn operations(self) -> u64 {
        match self {
            Step::Open | Step::Snapshot => 0,
            Step::Apply => 1,
            Step::Batch => 3,
        }
    }
}

/// What a state has behind it, and what is done while it is crashed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What was done before, in processes that ended; nothing means that there is only an empty directory for the log.
    pub before: Vec<Step>,
    /// What a process that begins does to it.
    pub step: Step,
    /// The size of the operations in bytes.
    pub size: usize,
}

/// The size of an operation the end of whose line, of the first in a segment, is the first byte of a block.
const END_IN_A_BLOCK: usize = 1437;

/// A state that is new, one that has a log only, and one with snapshots of which the oldest goes.
pub fn scenarios() -> Vec<Scenario> {
    use Step::{Apply, Batch, Open, Snapshot};
    let mut scenarios = Vec::new();
    for size in [30, 1500, END_IN_A_BLOCK] {
        for before in [
            &[][..],
            &[Open],
            &[Apply, Batch],
            &[Apply, Snapshot, Apply, Snapshot, Batch],
            &[Apply, Snapshot, Batch, Snapshot],
        ] {
            for step in Step::ALL {
                scenarios.push(Scenario { before: before.to_vec(), step, size });
            }
        }
    }
    scenarios
}

/// Opens the state in a folder, and returns its last operation: one of those that are possible. It must take the next
/// operation and a snapshot, and be the same when it is opened again, from each snapshot.
///
/// # Errors
///
/// What is wrong.
pub fn check(root: &Path, possible: &[u64], size: usize) -> std::result::Result<u64, String> {
    let mut state = open(root).map_err(|error| error.to_string())?;
    let found = state.sequence();
    if !possible.contains(&found) || *state.state() != Seen::at(found, size) {
        return Err(format!("found {found} and {:?}, where {possible:?} is possible", state.state()));
    }
    drop(state);
    check_again(root, found, size)?;
    let go_further = |state: &mut Logged| {
        go_on(state, 1, false, size)?;
        state.create_snapshot()?;
        go_on(state, 1, false, size)
    };
    state = open(root).map_err(|error| format!("opened again: {error}"))?;
    go_further(&mut state).map_err(|error| format!("the next operations: {error}"))?;
    drop(state);
    check_again(root, found + 2, size).map_err(|problem| format!("after the next operations, {problem}"))?;
    Ok(found)
}

/// That the last operation is the one of this number, whatever snapshot is restored.
fn check_again(root: &Path, last: u64, size: usize) -> std::result::Result<(), String> {
    let [log, _] = dirs(root);
    let mut kept = snapshots(minisnap(), root);
    let generations = kept.generations().map_err(|error| error.to_string())?;
    let sound = generations.iter().filter(|info| !matches!(info.soundness, Soundness::Damaged(_)));
    let newest = [OpenOptions::new()].into_iter();
    for options in newest.chain(sound.map(|info| OpenOptions::new().snapshot(info.seq))) {
        let state: State<Seen, Note, _> =
            options.open(&mut kept, &log).map_err(|error| format!("{options:?}: {error}"))?;
        if (state.sequence(), state.state()) != (last, &Seen::at(last, size)) {
            return Err(format!("{options:?}: found {} and {:?}", state.sequence(), state.state()));
        }
    }
    Ok(())
}
