//! What may happen next: a node begins something, or a request is carried, or goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use minisnap_host::remote::head::{Generation, Limits};
use minisnap_host::remote::protocol::{
    Answer, GivenUp, Machine, Next, Opening, Reading, Request, Wanted, Writer,
};

use crate::world::{Doing, Node, Step, World};
use crate::{Change, Model, Mutant, claim};

impl Model {
    pub(super) fn start(&self) -> World {
        let node = |reads: u8| Node {
            doing: Doing::Nothing,
            request: None,
            openings: if reads == 0 { self.bounds.openings } else { 0 },
            changes: if reads == 0 { self.bounds.changes } else { 0 },
            reads,
            has_released: false,
            tried: 0,
            in_doubt: BTreeSet::new(),
        };
        let writers = (0..self.bounds.writers).map(|_| node(0));
        World {
            head: None,
            objects: BTreeSet::new(),
            ever: BTreeSet::new(),
            nodes: writers.chain((0..self.bounds.readers).map(|_| node(2))).collect(),
            late: Vec::new(),
            faults: self.bounds.faults,
            acknowledged: 0,
            committed: BTreeMap::new(),
            placed: BTreeSet::new(),
            refused_heads: BTreeSet::new(),
            copies: BTreeSet::new(),
            undos: 0,
            refused: BTreeSet::new(),
            came_late: BTreeSet::new(),
            may_lose_head: self.bounds.loses_head,
            has_lost_head: false,
        }
    }

    pub(super) fn successors(&self, world: &World, next: &mut Vec<Step>) {
        for (at, request) in world.late.iter().enumerate() {
            if at > 0 && world.late[at - 1] == *request {
                continue;
            }
            let mut world = world.clone();
            world.late.remove(at);
            if let Request::PutGeneration(generation) = request {
                world.came_late.insert(generation.key.clone());
            }
            next.push(self.apply(&mut world, request).map(|_| world));
        }
        // That a first claim comes so late that the head has been there and was deleted, nothing finds.
        let asked = world.nodes.iter().filter_map(|node| node.request.as_ref());
        let is_begun =
            world.late.iter().chain(asked).any(|request| matches!(request, Request::PutHead(_, None)));
        let has_generations = world.head.as_ref().is_some_and(|head| !head.generations.is_empty());
        if world.may_lose_head && has_generations && !is_begun {
            let mut world = world.clone();
            (world.head, world.may_lose_head, world.has_lost_head) = (None, false, true);
            next.push(Ok(world));
        }
        // An object that no head names yet, or any more, is nobody else's: whatever others do meanwhile comes to the same after it.
        // (Only a list may hold it or not, which matters to what is left over; and a reader may read it until it is deleted.)
        let is_read = world.nodes.iter().any(|node| matches!(node.doing, Doing::Reading(..)));
        let is_of_one = |request: &Request| match request {
            Request::PutGeneration(_) => true,
            Request::Delete(_) => !is_read,
            _ => false,
        };
        let is_reduced = self.bounds.is_reduced && !self.bounds.loses_head;
        let of_one = world.nodes.iter().position(|node| node.request.as_ref().is_some_and(is_of_one));
        let of_one = of_one.filter(|_| is_reduced);
        for (at, node) in world.nodes.iter().enumerate().filter(|(at, _)| of_one.is_none_or(|one| one == *at))
        {
            match &node.request {
                None => self.begin(world, at, next),
                Some(request) => self.carry(world, at, request, next),
            }
        }
    }

    /// A node that waits for nothing begins something, if there is anything left to do.
    fn begin(&self, world: &World, at: usize, next: &mut Vec<Step>) {
        let node = &world.nodes[at];
        let mut begun = world.clone();
        match &node.doing {
            Doing::Nothing if node.openings > 0 => {
                begun.nodes[at].openings -= 1;
                begun.nodes[at].has_released = false;
                let opening =
                    Opening::new(format!("node-{at}"), self.bounds.take_over, claim(at, node.openings));
                begun.nodes[at].doing = Doing::Opening(opening);
                next.push(self.go_on(begun, at));
            }
            Doing::Nothing if node.reads > 0 => {
                begun.nodes[at].reads -= 1;
                begun.nodes[at].doing = Doing::Reading(Reading::new(Wanted::Newest), world.acknowledged);
                next.push(self.go_on(begun, at));
            }
            Doing::Tidying(writer) if node.changes > 0 => {
                begun.nodes[at].changes -= 1;
                for change in self.bounds.kinds {
                    next.push(self.change(begun.clone(), at, writer.clone(), *change));
                }
            }
            Doing::Tidying(writer) if self.bounds.releases && !node.has_released => {
                let mut writer = writer.clone();
                writer.release();
                begun.nodes[at].has_released = true;
                begun.nodes[at].doing = Doing::Changing(writer, None, None);
                next.push(self.go_on(begun, at));
            }
            _ => {}
        }
    }

    fn change(&self, mut world: World, at: usize, mut writer: Writer, change: Change) -> Step {
        let node = &mut world.nodes[at];
        let newest = writer.head().newest();
        let seq = match change {
            Change::Next => newest.unwrap_or(0).max(node.tried) + 1,
            Change::Equal => newest.unwrap_or(1),
            Change::Lower => newest.unwrap_or(1).saturating_sub(1),
            Change::Rollback => {
                let oldest = writer.head().generations.last().map_or(1, |oldest| oldest.seq);
                world.undo(oldest);
                writer.rollback(oldest);
                world.nodes[at].doing = Doing::Changing(writer, None, None);
                return self.go_on(world, at);
            }
            Change::Clear => {
                world.undo(0);
                writer.clear();
                world.nodes[at].doing = Doing::Changing(writer, None, None);
                return self.go_on(world, at);
            }
            Change::Confirm if self.mutant == Mutant::ConfirmsWithoutACommit => {
                world.settle(at);
                return Ok(world);
            }
            Change::Confirm => {
                writer.confirm();
                node.doing = Doing::Changing(writer, None, None);
                return self.go_on(world, at);
            }
            Change::Copy | Change::CopyOver => {
                let first = match (change, newest) {
                    (Change::CopyOver, Some(newest)) => newest,
                    _ => newest.unwrap_or(0).max(node.tried) + 1,
                };
                node.tried = node.tried.max(first + 1);
                let folder = writer.folder(first);
                let generation = |seq: u64| {
                    let key = format!("{folder}/snapshot_{seq:020}.json");
                    Generation { seq, key, size: 1, sum: String::new(), written: 0 }
                };
                let left = vec![generation(first), generation(first + 1)];
                node.doing = Doing::Copying(writer, Vec::new(), left);
                return self.go_on(world, at);
            }
        };
        node.tried = node.tried.max(seq);
        let keep = NonZeroUsize::new(self.bounds.keep).expect("at least one is kept");
        let limits = Limits { keep, max_total: None, damaged: Vec::new() };
        writer.insert(seq, 1, String::new(), 0, limits);
        let mut known = writer.clone();
        let key = match known.next() {
            Next::Ask(Request::PutGeneration(generation)) => Some((seq, generation.key)),
            _ => None,
        };
        node.doing = Doing::Changing(writer, key, None);
        self.go_on(world, at)
    }

    /// What becomes of a request. The node is told at once: until its next request is applied, nobody sees what it knows.
    fn carry(&self, world: &World, at: usize, request: &Request, next: &mut Vec<Step>) {
        let is_change = !matches!(request, Request::GetHead | Request::List | Request::GetGeneration(_));
        let mut asked = world.clone();
        asked.nodes[at].request = None;
        let mut applied = asked.clone();
        let answer = match self.apply(&mut applied, request) {
            Ok(answer) => answer,
            Err(violation) => return next.push(Err(violation)),
        };
        next.push(self.tell(applied.clone(), at, answer.clone()));
        if world.faults == 0 {
            return;
        }
        asked.faults -= 1;
        applied.faults -= 1;
        let late = |world: &World| {
            let mut late = world.clone();
            late.late.push(request.clone());
            late.late.sort_by_cached_key(|request| format!("{request:?}"));
            late
        };
        // Lost, or refused for no reason; and where it changes something, done with the answer lost, late, or doubled.
        next.push(self.tell(asked.clone(), at, Answer::Failed));
        let mut ends = vec![asked.clone()];
        if is_change {
            next.push(self.tell(applied.clone(), at, Answer::Failed));
            next.push(self.tell(late(&asked), at, Answer::Failed));
            next.push(self.tell(late(&applied), at, answer));
            ends.extend([late(&asked), applied]);
        }
        // Where there is no head, an old list is not told from none.
        if let (Request::List, Doing::Sweeping(_)) = (request, &world.nodes[at].doing) {
            next.push(self.tell(asked.clone(), at, Answer::Keys(Vec::new())));
            next.push(self.tell(asked.clone(), at, Answer::Keys(world.ever.iter().cloned().collect())));
        }
        // The node gives the call up, or dies.
        for mut world in ends {
            if let Doing::Copying(writer, put, left) = &world.nodes[at].doing {
                let (mut writer, mut given_up) = (writer.clone(), world.clone());
                given_up.refused.extend(put.iter().chain(left).map(|generation| generation.key.clone()));
                if let Some(lost) = left.last() {
                    writer.lose(lost.clone());
                }
                writer.abandon(put.clone());
                given_up.nodes[at].doing = Doing::Tidying(writer);
                next.push(self.go_on(given_up, at));
            }
            if let Doing::Changing(writer, key, put) = &world.nodes[at].doing {
                let (mut writer, mut given_up) = (writer.clone(), world.clone());
                let known = writer.give_up();
                match (known, key, put) {
                    (GivenUp::NotPlaced, Some((_, key)), _) => drop(given_up.refused.insert(key.clone())),
                    (GivenUp::InDoubt, key, Some(put)) => {
                        given_up.nodes[at].in_doubt.insert((put.clone(), key.clone()));
                    }
                    _ => {}
                }
                if let (Mutant::CleansUpAfterATimeout, Some((_, key))) = (self.mutant, key) {
                    given_up.objects.remove(key);
                }
                given_up.nodes[at].doing = Doing::Tidying(writer);
                next.push(self.go_on(given_up, at));
            }
            world.nodes[at].doing = Doing::Nothing;
            next.push(Ok(world));
        }
    }
}
