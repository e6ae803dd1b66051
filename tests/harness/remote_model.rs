//! Every order in which writers and readers of a remote store, their requests, the answers, and what goes wrong with those can
//! come, within bounds: a model of an object store, and of a network that loses, delays and doubles.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::num::NonZeroUsize;

use minisnap_host::remote::head::{Head, Limits};
use minisnap_host::remote::protocol::{
    Answer, ETag, Ended, GivenUp, Machine, Next, Opened, Opening, Read, Reading, Request, TakeOver, Wanted,
    Writer,
};

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
}

/// What was found.
#[derive(Debug, Default)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// What is wrong in the first that is.
    pub violation: Option<String>,
}

/// What a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    Opening(Opening),
    /// Lists what earlier owners left.
    Sweeping(Writer),
    /// Makes a change, and creates a generation of this number and key; the ETag of the head that it has put last.
    Changing(Writer, Option<(u64, String)>, Option<ETag>),
    /// Deletes what was dropped.
    Tidying(Writer),
    /// Reads, and must find this number at least.
    Reading(Reading, u64),
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    doing: Doing,
    /// What it asks, and waits for.
    request: Option<Request>,
    openings: u8,
    changes: u8,
    reads: u8,
    has_released: bool,
    /// The number that it tried to create last: its log goes on from there.
    tried: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    head: Option<Head>,
    objects: BTreeSet<String>,
    /// What an old list may hold: all that was ever put.
    ever: BTreeSet<String>,
    nodes: Vec<Node>,
    /// Requests that arrive at any time, or never; sorted.
    late: Vec<Request>,
    faults: u8,
    /// The highest number that was acknowledged, or read, and not undone since.
    acknowledged: u64,
    /// All keys that a head ever named, and how often something was undone before.
    committed: BTreeMap<String, u8>,
    /// The ETags of all heads that ever were in place.
    placed: BTreeSet<ETag>,
    /// How often a node has begun to undo something.
    undos: u8,
    /// The keys of which a writer was told that no head names them, nor ever will.
    refused: BTreeSet<String>,
    /// Generations that came late, and may be there again after they were deleted.
    came_late: BTreeSet<String>,
    may_lose_head: bool,
    has_lost_head: bool,
}

type Step = Result<World, String>;

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

impl World {
    /// That each object which the owner of this epoch has put, if it has the store still, is named by the head, or is to be
    /// deleted.
    fn check_garbage(&self, key: &str, writer: &Writer) -> Result<(), String> {
        let epoch = key_epoch(key);
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

    /// What a writer that has made a change, or has not, is told of the head that it has put, and of a generation's key.
    fn told(&mut self, put: Option<&ETag>, key: Option<&String>, is_placed: bool) -> Result<(), String> {
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
}

struct Model {
    bounds: Bounds,
    mutant: Mutant,
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

impl Model {
    fn start(&self) -> World {
        let node = |reads: u8| Node {
            doing: Doing::Nothing,
            request: None,
            openings: if reads == 0 { self.bounds.openings } else { 0 },
            changes: if reads == 0 { self.bounds.changes } else { 0 },
            reads,
            has_released: false,
            tried: 0,
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
            undos: 0,
            refused: BTreeSet::new(),
            came_late: BTreeSet::new(),
            may_lose_head: self.bounds.loses_head,
            has_lost_head: false,
        }
    }

    fn successors(&self, world: &World, next: &mut Vec<Step>) {
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
            if let Doing::Changing(writer, key, _) = &world.nodes[at].doing {
                let (mut writer, mut given_up) = (writer.clone(), world.clone());
                let known = writer.give_up();
                if let (GivenUp::NotPlaced, Some((_, key))) = (known, key) {
                    given_up.refused.insert(key.clone());
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

    /// A node is told an answer.
    fn tell(&self, mut world: World, at: usize, mut answer: Answer) -> Step {
        let asked = |writer: &Writer| match writer.clone().next() {
            Next::Ask(request) => Some(request),
            Next::End(_) => None,
        };
        match &mut world.nodes[at].doing {
            Doing::Opening(opening) => {
                if self.mutant == Mutant::BeginsAnew && matches!(answer, Answer::Keys(_)) {
                    answer = Answer::Keys(Vec::new());
                }
                opening.tell(answer);
            }
            Doing::Sweeping(writer) => {
                if let Answer::Keys(keys) = answer {
                    if self.mutant == Mutant::SweepsLaterOwners {
                        let own = writer.head();
                        let is_swept = |key: &String| key_epoch(key) != own.epoch && !own.names(key);
                        keys.iter().filter(|key| is_swept(key)).for_each(|key| {
                            world.objects.remove(key);
                        });
                    }
                    writer.sweep(keys);
                }
                let writer = writer.clone();
                world.nodes[at].doing = Doing::Tidying(writer);
            }
            Doing::Changing(writer, key, _) => {
                let was_swapping = matches!(asked(writer), Some(Request::PutHead(..)));
                if self.mutant == Mutant::BelievesTheAnswer && was_swapping && answer == Answer::Failed {
                    if let Some((_, key)) = key {
                        world.objects.remove(key);
                    }
                    world.nodes[at].doing = Doing::Nothing;
                    return Ok(world);
                }
                let claim = writer.head().version.claim.clone();
                if let Answer::Head(Some((head, _))) = &mut answer
                    && head.version.claim != claim
                {
                    if self.mutant == Mutant::GoesOnWhenFenced {
                        head.version.claim = claim;
                    }
                    if let (Mutant::DiscardsWhatWasPlaced, Some((_, key))) = (self.mutant, key) {
                        world.objects.remove(key);
                    }
                }
                writer.tell(answer);
            }
            Doing::Tidying(writer) => {
                if let (Some(key), Answer::Done) = (writer.to_delete().pop(), answer) {
                    writer.deleted(&key);
                }
            }
            Doing::Reading(reading, _) => reading.tell(answer),
            Doing::Nothing => {}
        }
        self.go_on(world, at)
    }

    /// Goes on to the next request, or the next thing to do.
    fn go_on(&self, mut world: World, at: usize) -> Step {
        let node = &mut world.nodes[at];
        match node.doing.clone() {
            Doing::Opening(mut opening) => match opening.next() {
                Next::Ask(request) => node.request = Some(request),
                Next::End(Opened::Busy(owner)) => {
                    let is_itself = owner == format!("node-{at}");
                    // Of one that opens it once, nothing else can be left.
                    let may = match self.bounds.take_over {
                        TakeOver::Anyone => true,
                        TakeOver::Itself => is_itself,
                        TakeOver::Nobody => is_itself && self.bounds.openings == 1,
                    };
                    if may {
                        return Err(format!("{owner} is busy"));
                    }
                    node.doing = Doing::Nothing;
                }
                Next::End(Opened::HeadLost) => {
                    node.doing = Doing::Nothing;
                    if !world.has_lost_head {
                        return Err("a head is said to be lost".to_owned());
                    }
                }
                Next::End(Opened::Own(writer)) => {
                    node.doing = Doing::Sweeping(*writer);
                    node.request = Some(Request::List);
                }
            },
            // A next change need not wait for it; here it does.
            Doing::Tidying(writer) => match writer.to_delete().pop() {
                Some(key) => node.request = Some(Request::Delete(key)),
                None if !writer.is_owner() => node.doing = Doing::Nothing,
                None => {}
            },
            Doing::Changing(mut writer, key, put) => match writer.next() {
                Next::Ask(request) => {
                    if let Request::PutHead(head, _) = &request {
                        if self.mutant == Mutant::DeletesBeforeTheCommit {
                            world.objects.retain(|key| !head.dropped.contains(key));
                        }
                        let is_own = head.version.claim.starts_with(&at.to_string());
                        if !is_own {
                            return Err(format!("node {at} puts a head of {}", head.version.claim));
                        }
                    }
                    if let (Request::PutHead(head, _), Doing::Changing(.., put)) =
                        (&request, &mut world.nodes[at].doing)
                    {
                        *put = Some(etag(head));
                    }
                    world.nodes[at].request = Some(request);
                }
                Next::End(ended) => {
                    let seq = key.as_ref().map_or(0, |(seq, _)| *seq);
                    let key = key.map(|(_, key)| key);
                    world.nodes[at].doing = Doing::Tidying(writer.clone());
                    match ended {
                        // It is left in any case.
                        Ended::Committed if world.nodes[at].has_released => {}
                        Ended::Committed => {
                            world.told(put.as_ref(), key.as_ref(), true)?;
                            if let Some(key) = &key {
                                // Who undoes something may have seen it already.
                                if world.committed[key] == world.undos {
                                    world.acknowledged = world.acknowledged.max(seq);
                                }
                                world.check_garbage(key, &writer)?;
                            }
                        }
                        Ended::Refused(_) => world.told(put.as_ref(), key.as_ref(), false)?,
                        Ended::Fenced { in_doubt, .. } => {
                            let is_owner = |key: &String| {
                                world.head.as_ref().is_none_or(|head| head.epoch <= key_epoch(key))
                            };
                            if key.as_ref().is_some_and(is_owner) && !world.has_lost_head {
                                return Err(format!("the owner of {key:?} is told that it is not"));
                            }
                            if in_doubt {
                                return Err(format!("what becomes of {key:?} is not known"));
                            }
                            world.told(put.as_ref(), key.as_ref(), false)?;
                        }
                        Ended::HeadLost { .. } if world.has_lost_head => {}
                        Ended::HeadLost { .. } => return Err("a head is said to be lost".to_owned()),
                    }
                    return self.go_on(world, at);
                }
            },
            Doing::Reading(mut reading, least) => match reading.next() {
                Next::Ask(request) => node.request = Some(request),
                Next::End(Read::Found { generation, skipped, .. }) => {
                    node.doing = Doing::Nothing;
                    let seq = generation.map_or(0, |generation| generation.seq);
                    if seq < least || !skipped.is_empty() {
                        return Err(format!("{seq} is read, after {least}, without {skipped:?}"));
                    }
                    if world.undos == 0 {
                        world.acknowledged = world.acknowledged.max(seq);
                    }
                }
                Next::End(Read::HeadLost) => {
                    node.doing = Doing::Nothing;
                    if !world.has_lost_head {
                        return Err("a head is said to be lost".to_owned());
                    }
                }
            },
            Doing::Sweeping(_) | Doing::Nothing => {}
        }
        Ok(world)
    }

    /// What the object store does and answers.
    fn apply(&self, world: &mut World, request: &Request) -> Result<Answer, String> {
        Ok(match request {
            Request::GetHead => Answer::Head(world.head.clone().map(|head| (head.clone(), etag(&head)))),
            Request::PutHead(head, over) => {
                let is_claim = world.head.as_ref().is_none_or(|found| found.epoch != head.epoch);
                let is_met = world.head.as_ref().map(etag) == *over
                    || self.mutant == Mutant::IgnoresConditions
                    || self.mutant == Mutant::TakesOverWithoutACondition && is_claim;
                if !is_met {
                    return Ok(Answer::Failed);
                }
                if let Some(found) = world.head.as_ref().filter(|found| found.epoch != head.epoch) {
                    let is_own = found.version.claim == head.version.claim || found.owner.is_none();
                    let may = match self.bounds.take_over {
                        TakeOver::Anyone => true,
                        TakeOver::Itself => is_own || found.owner == head.owner,
                        TakeOver::Nobody => is_own,
                    };
                    if !may && head.owner.as_deref() != Some("last") {
                        return Err(format!("{:?} takes the store from {:?}", head.owner, found.owner));
                    }
                }
                if world.has_lost_head && !world.objects.is_empty() {
                    return Err("a store is begun anew where there are generations".to_owned());
                }
                if let Some(key) = head.dropped.iter().find(|key| head.names(key)) {
                    return Err(format!("{key} is named and dropped"));
                }
                let named = [&head.generations, &head.damaged, &head.undone].into_iter().flatten();
                for generation in named {
                    world.committed.entry(generation.key.clone()).or_insert(world.undos);
                }
                world.placed.insert(etag(head));
                world.head = Some(head.clone());
                Answer::Put(etag(head))
            }
            Request::PutGeneration(generation) => {
                world.objects.insert(generation.key.clone());
                world.ever.insert(generation.key.clone());
                Answer::Done
            }
            Request::GetGeneration(generation) => match world.objects.contains(&generation.key) {
                true => Answer::Done,
                false => Answer::Missing,
            },
            Request::List => Answer::Keys(world.objects.iter().cloned().collect()),
            Request::Delete(key) => {
                world.objects.remove(key);
                Answer::Done
            }
        })
    }

    /// What holds in every state.
    fn check(&self, world: &World) -> Result<(), String> {
        let heads = world.head.iter();
        let named = heads.flat_map(|head| [&head.generations, &head.damaged, &head.undone]).flatten();
        if let Some(lost) = named.clone().find(|generation| !world.objects.contains(&generation.key)) {
            return Err(format!("the object of the generation {} is lost: {}", lost.seq, lost.key));
        }
        if let Some(key) = world.refused.iter().find(|key| world.committed.contains_key(*key)) {
            return Err(format!("{key} was refused, and a head names it"));
        }
        let newest = world.head.as_ref().and_then(Head::newest).unwrap_or(0);
        if newest < world.acknowledged && !world.has_lost_head {
            return Err(format!("{} was acknowledged, and {newest} is the newest", world.acknowledged));
        }
        if world.head.as_ref().is_some_and(|head| head.generations.len() > self.bounds.keep) {
            return Err("more are kept than are to be".to_owned());
        }
        Ok(())
    }

    /// What holds when nobody does anything any more: whoever opens the store next leaves no object but those that are named.
    fn check_end(&self, mut world: World) -> Result<(), String> {
        let mut opening = Opening::new("last", TakeOver::Anyone, "last".to_owned());
        let mut writer = loop {
            match opening.next() {
                Next::Ask(request) => {
                    let answer = self.apply(&mut world, &request)?;
                    opening.tell(answer);
                }
                Next::End(Opened::Own(writer)) => break writer,
                Next::End(Opened::HeadLost) if world.has_lost_head => return Ok(()),
                Next::End(ended) => return Err(format!("{ended:?}")),
            }
        };
        writer.sweep(world.objects.iter().cloned());
        while let Some(key) = writer.to_delete().pop() {
            world.objects.remove(&key);
            writer.deleted(&key);
        }
        self.check(&world)?;
        let named = |key: &String| world.head.as_ref().is_some_and(|head| head.names(key));
        match world.objects.iter().find(|key| !named(key)) {
            Some(left) => Err(format!("{left} is never deleted")),
            None => Ok(()),
        }
    }
}

impl World {
    /// What is above a number may go from here on.
    fn undo(&mut self, seq: u64) {
        self.undos += 1;
        self.acknowledged = self.acknowledged.min(seq);
        for node in &mut self.nodes {
            if let Doing::Reading(_, least) = &mut node.doing {
                *least = (*least).min(seq);
            }
        }
    }
}
