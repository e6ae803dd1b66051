//! What there is in one state: the object store, the network, and what each node knows.

use std::collections::{BTreeMap, BTreeSet};

use minisnap_host::remote::head::{Generation, Head};
use minisnap_host::remote::protocol::{ETag, Opening, Reading, Request, Writer};

use crate::key_epoch;

/// What a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Opening(Opening),
    /// Lists what earlier owners left.
    Sweeping(Writer),
    /// Makes a change, and creates a generation of this number and key; the ETag of the head that it has put last.
    Changing(Writer, Option<(u64, String)>, Option<ETag>),
    /// Puts generations for a copy: those that were put, and those that were not yet.
    Copying(Writer, Vec<Generation>, Vec<Generation>),
    /// Deletes what was dropped.
    Tidying(Writer),
    /// Reads, and must find this number at least.
    Reading(Reading, u64),
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) doing: Doing,
    /// What it asks, and waits for.
    pub(super) request: Option<Request>,
    pub(super) openings: u8,
    pub(super) changes: u8,
    pub(super) reads: u8,
    pub(super) has_released: bool,
    /// The number that it tried to create last: its log goes on from there.
    pub(super) tried: u64,
    /// The heads that may come to be in place, since their calls were given up, with the number and the key of a generation.
    pub(super) in_doubt: BTreeSet<(ETag, Option<(u64, String)>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) head: Option<Head>,
    pub(super) objects: BTreeSet<String>,
    /// What an old list may hold: all that was ever put.
    pub(super) ever: BTreeSet<String>,
    pub(super) nodes: Vec<Node>,
    /// Requests that arrive at any time, or never; sorted.
    pub(super) late: Vec<Request>,
    pub(super) faults: u8,
    /// The highest number that was acknowledged, or read, and not undone since.
    pub(super) acknowledged: u64,
    /// All keys that a head ever named, and how often something was undone before.
    pub(super) committed: BTreeMap<String, u8>,
    /// The ETags of all heads that ever were in place.
    pub(super) placed: BTreeSet<ETag>,
    /// Those of which a writer was told that they never will be.
    pub(super) refused_heads: BTreeSet<ETag>,
    /// The keys of the generations that a copy adds.
    pub(super) copies: BTreeSet<[String; 2]>,
    /// How often a node has begun to undo something.
    pub(super) undos: u8,
    /// The keys of which a writer was told that no head names them, nor ever will.
    pub(super) refused: BTreeSet<String>,
    /// Generations that came late, and may be there again after they were deleted.
    pub(super) came_late: BTreeSet<String>,
    pub(super) may_lose_head: bool,
    pub(super) has_lost_head: bool,
}

pub(super) type Step = Result<World, String>;

impl World {
    /// That each object which the owner of this epoch has put, if it has the store still, is named by the head, or is to be
    /// deleted.
    pub(super) fn check_garbage(&self, writer: &Writer) -> Result<(), String> {
        let epoch = writer.head().epoch;
        let Some(head) = self.head.as_ref().filter(|head| head.epoch == epoch) else { return Ok(()) };
        let to_delete = writer.to_delete();
        let is_known = |key: &&String| {
            key_epoch(key) != epoch
                || head.names(key)
                || to_delete.contains(*key)
                || self.came_late.contains(*key)
        };
        match self.objects.iter().find(|key| !is_known(key)) {
            Some(key) => Err(format!("{key} is neither named nor to be deleted")),
            None => Ok(()),
        }
    }

    /// What was in doubt is in place by now, or never will be.
    pub(super) fn settle(&mut self, at: usize) {
        for (head, generation) in std::mem::take(&mut self.nodes[at].in_doubt) {
            if !self.placed.contains(&head) {
                self.refused_heads.insert(head);
            }
            let Some((seq, key)) = generation else { continue };
            match self.committed.get(&key) {
                None => drop(self.refused.insert(key)),
                // It may have come after what undoes it was begun.
                Some(_) if self.undos > 0 => {}
                Some(_) => self.acknowledged = self.acknowledged.max(seq),
            }
        }
    }

    /// What a writer that has made a change, or has not, is told of the head that it has put, and of a generation's key.
    pub(super) fn told(
        &mut self,
        put: Option<&ETag>,
        key: Option<&String>,
        is_placed: bool,
    ) -> Result<(), String> {
        let was_placed = put.is_some_and(|put| self.placed.contains(put));
        if was_placed != is_placed {
            return Err(format!(
                "the head {put:?} was in place: {was_placed}, and its writer is told: {is_placed}"
            ));
        }
        let Some(key) = key else { return Ok(()) };
        if !is_placed {
            self.refused.insert(key.clone());
        }
        match (is_placed, self.committed.contains_key(key)) {
            (true, false) => Err(format!("{key} is acknowledged, and no head named it")),
            (false, true) => Err(format!("{key} is refused, and a head named it")),
            _ => Ok(()),
        }
    }

    /// What is above a number may go from here on.
    pub(super) fn undo(&mut self, seq: u64) {
        self.undos += 1;
        self.acknowledged = self.acknowledged.min(seq);
        for node in &mut self.nodes {
            if let Doing::Reading(_, least) = &mut node.doing {
                *least = (*least).min(seq);
            }
        }
    }
}
