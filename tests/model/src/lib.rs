//! Every order in which writers and readers of a remote store, their requests, the answers, and what goes wrong with those can
//! come, within bounds: a model of an object store, and of a network that loses, delays and doubles.

mod answers;
mod objects;
mod steps;
mod world;

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use minisnap_host::remote::head::Head;
use minisnap_host::remote::protocol::{ETag, TakeOver};

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many nodes write.
    pub writers: usize,
    /// How many changes each of them makes at most.
    pub changes: u8,
    /// What these are.
    pub kinds: &'static [Change],
    /// How often each of them may open the store.
    pub openings: u8,
    /// From whom they take it.
    pub take_over: TakeOver,
    /// Whether they release it in the end.
    pub releases: bool,
    /// How many nodes read.
    pub readers: usize,
    /// How many things go wrong.
    pub faults: u8,
    /// Whether somebody may delete the head.
    pub loses_head: bool,
    /// How many generations are kept.
    pub keep: usize,
    /// Whether the steps of nodes that do not touch each other are taken in one order only.
    pub is_reduced: bool,
}

/// A change that a writer makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Creates a generation with the next number.
    Next,
    /// With the newest number again.
    Equal,
    /// With a lower one.
    Lower,
    /// Goes back to the oldest generation.
    Rollback,
    /// Drops everything.
    Clear,
    /// Adds two generations at once, with the next numbers.
    Copy,
    /// Adds two at once, of which one has the newest number, and undoes the one that had it.
    CopyOver,
    /// Finds out what became of the calls that were given up.
    Confirm,
}

/// What a wrong protocol, or a wrong object store, would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing is wrong.
    None,
    /// Deletes its generation when it gives a call up.
    CleansUpAfterATimeout,
    /// Believes that a head was not put if the answer does not say so, and deletes its generation.
    BelievesTheAnswer,
    /// Takes the store over whatever the head is.
    TakesOverWithoutACondition,
    /// The object store ignores all conditions.
    IgnoresConditions,
    /// Deletes what a new head drops before that is in place.
    DeletesBeforeTheCommit,
    /// Deletes what any other owner has put and the head that it knows does not name.
    SweepsLaterOwners,
    /// When it is fenced, deletes its generation, whatever became of it.
    DiscardsWhatWasPlaced,
    /// Goes on with another owner's head as with its own.
    GoesOnWhenFenced,
    /// Begins anew where there are generations, and no head.
    BeginsAnew,
    /// Adds the generations of a copy one by one.
    CopiesInPieces,
    /// Confirms what was in doubt without a commit.
    ConfirmsWithoutACommit,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// What is wrong in the first that is.
    pub violation: Option<String>,
}

struct Model {
    bounds: Bounds,
    mutant: Mutant,
}

/// Explores all states.
pub fn explore(bounds: Bounds, mutant: Mutant) -> Explored {
    let model = Model { bounds, mutant };
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let mut explored = Explored::default();
    // Of ten million states, two have one hash with a probability of three in a million.
    let mut seen: HashSet<u64> = HashSet::new();
    let start = model.start();
    let mut left = vec![start];
    while let Some(world) = left.pop() {
        if !seen.insert(hasher.hash_one(&world)) {
            continue;
        }
        explored.states += 1;
        let mut next = Vec::new();
        model.successors(&world, &mut next);
        let is_end = next.is_empty();
        for step in next {
            match step.and_then(|world| model.check(&world).map(|()| world)) {
                Ok(world) => left.push(world),
                Err(violation) => {
                    explored.violation = Some(format!("{violation}, after {world:#?}"));
                    return explored;
                }
            }
        }
        if is_end && let Err(violation) = model.check_end(world.clone()) {
            explored.violation = Some(format!("{violation}, at the end {world:#?}"));
            return explored;
        }
    }
    explored
}

fn etag(head: &Head) -> ETag {
    format!("{}-{}", head.version.claim, head.version.commit)
}

fn key_epoch(key: &str) -> u64 {
    key[2..12].parse().expect("a key has an epoch")
}

/// Each opening has a claim of its own.
fn claim(node: usize, openings: u8) -> String {
    format!("{node}{openings}")
}
