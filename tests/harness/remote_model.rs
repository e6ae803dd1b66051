//! Every order in which writers and readers of a remote store, their requests, the answers, and what goes wrong with those can
//! come, within bounds: a model of an object store, and of a network that loses, delays and doubles.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use minisnap_host::remote::head::{Edit, Generation, Head};
use minisnap_host::remote::protocol::{
    Answer, ETag, Ended, Next, Nonces, Opened, Opening, Reading, Request, TakeOver, Writer,
};

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many nodes write.
    pub writers: usize,
    /// How many generations each of them creates at most.
    pub creates: u8,
    /// How often each of them may open the store.
    pub openings: u8,
    /// How many nodes read.
    pub readers: usize,
    /// How many things go wrong.
    pub faults: u8,
    /// How many generations are kept.
    pub keep: usize,
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
    /// Puts the head before the generation.
    PutsTheHeadFirst,
    /// Deletes what a new head drops before that is in place.
    DeletesBeforeTheCommit,
    /// Deletes what earlier owners left, and what the head names of it.
    SweepsWhatIsNamed,
    /// When it is fenced, deletes its generation, whatever the head names.
    DiscardsWhatIsNamed,
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
    /// Creates a generation of this key.
    Creating(Writer, u64, String),
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
    creates: u8,
    reads: u8,
    /// The number that it tried to create last: its log goes on from there.
    tried: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    head: Option<Head>,
    objects: BTreeSet<String>,
    nodes: Vec<Node>,
    /// Requests that arrive at any time, or never; sorted.
    late: Vec<Request>,
    faults: u8,
    /// The highest number that was acknowledged, or read.
    acknowledged: u64,
    /// All keys that a head ever named.
    committed: BTreeSet<String>,
    /// Generations that came late, and may be there again after they were deleted.
    came_late: BTreeSet<String>,
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
    fn check_garbage(&self, epoch: u64) -> Result<(), String> {
        let Some(head) = self.head.as_ref().filter(|head| head.epoch == epoch) else { return Ok(()) };
        let is_known = |key: &&String| {
            key_epoch(key) != epoch
                || head.names(key)
                || head.dropped.contains(key)
                || self.came_late.contains(*key)
        };
        match self.objects.iter().find(|key| !is_known(key)) {
            Some(key) => Err(format!("{key} is neither named nor to be deleted")),
            None => Ok(()),
        }
    }
}

struct Model {
    bounds: Bounds,
    mutant: Mutant,
}

fn etag(head: &Head) -> ETag {
    head.nonce.clone()
}

fn key_epoch(key: &str) -> u64 {
    key[2..12].parse().expect("a key has an epoch")
}

impl Model {
    fn start(&self) -> World {
        let node = |reads: u8| Node {
            doing: Doing::Nothing,
            request: None,
            openings: if reads == 0 { self.bounds.openings } else { 0 },
            creates: if reads == 0 { self.bounds.creates } else { 0 },
            reads,
            tried: 0,
        };
        let writers = (0..self.bounds.writers).map(|_| node(0));
        World {
            head: None,
            objects: BTreeSet::new(),
            nodes: writers.chain((0..self.bounds.readers).map(|_| node(2))).collect(),
            late: Vec::new(),
            faults: self.bounds.faults,
            acknowledged: 0,
            committed: BTreeSet::new(),
            came_late: BTreeSet::new(),
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
        // An object that no head names yet, or any more, is nobody else's: whatever others do meanwhile comes to the same after it.
        // (Only a list may hold it or not, which matters to what is left over; and a reader may read it until it is deleted.)
        let is_read = world.nodes.iter().any(|node| matches!(node.doing, Doing::Reading(..)));
        let is_of_one = |request: &Request| match request {
            Request::PutGeneration(_) => true,
            Request::Delete(_) => !is_read,
            _ => false,
        };
        let of_one = world.nodes.iter().position(|node| node.request.as_ref().is_some_and(is_of_one));
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
        let mut world = world.clone();
        match &node.doing {
            Doing::Nothing if node.openings > 0 => {
                world.nodes[at].openings -= 1;
                let nonces = Nonces { process: format!("{at}-{}", node.openings), count: 0 };
                world.nodes[at].doing =
                    Doing::Opening(Opening::new(format!("node-{at}"), TakeOver::Open, nonces));
            }
            Doing::Nothing if node.reads > 0 => {
                world.nodes[at].reads -= 1;
                world.nodes[at].doing = Doing::Reading(Reading::default(), world.acknowledged);
            }
            _ => return,
        }
        next.push(self.go_on(world, at));
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
        // The node gives the call up, or dies.
        for mut world in ends {
            if let Doing::Creating(writer, _, key) = &world.nodes[at].doing {
                let (mut writer, mut given_up) = (writer.clone(), world.clone());
                writer.give_up();
                if self.mutant == Mutant::CleansUpAfterATimeout {
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
    fn tell(&self, mut world: World, at: usize, answer: Answer) -> Step {
        match &mut world.nodes[at].doing {
            Doing::Opening(opening) => opening.tell(answer),
            Doing::Creating(writer, _, key) => {
                let was_swapping = matches!(writer.next(), Some(Next::Ask(Request::PutHead(..))));
                if self.mutant == Mutant::BelievesTheAnswer && was_swapping && answer == Answer::Failed {
                    world.objects.remove(key);
                    world.nodes[at].doing = Doing::Nothing;
                    return Ok(world);
                }
                let is_fenced = |answer: &Answer| match answer {
                    Answer::Head(Some((head, _))) => head.epoch > key_epoch(key),
                    _ => false,
                };
                if self.mutant == Mutant::DiscardsWhatIsNamed && is_fenced(&answer) {
                    world.objects.remove(key);
                    world.nodes[at].doing = Doing::Nothing;
                    return Ok(world);
                }
                writer.tell(answer);
            }
            Doing::Tidying(writer) => {
                let key = writer.to_delete().pop();
                if let Some(key) = key {
                    // What cannot be deleted now is left to the next owner, here.
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
            Doing::Opening(opening) => match opening.next() {
                Next::Ask(request) => node.request = Some(request),
                Next::End(Opened::Busy(_)) => node.doing = Doing::Nothing,
                Next::End(Opened::Own(writer)) => {
                    node.doing = Doing::Tidying(*writer);
                    return self.go_on(world, at);
                }
            },
            Doing::Tidying(mut writer) => match writer.to_delete().pop() {
                Some(key) => node.request = Some(Request::Delete(key)),
                None if node.creates == 0 => node.doing = Doing::Nothing,
                None => {
                    node.creates -= 1;
                    let seq = writer.head().newest().unwrap_or(0).max(node.tried) + 1;
                    node.tried = seq;
                    let key = writer.new_key(seq);
                    let generation =
                        Generation { seq, key: key.clone(), size: 1, sum: String::new(), written: 0 };
                    writer.begin(Edit::Insert { generation, keep: self.bounds.keep });
                    node.doing = Doing::Creating(writer, seq, key);
                    return self.go_on(world, at);
                }
            },
            Doing::Creating(writer, seq, key) => match writer.next().expect("a call was begun") {
                Next::Ask(request) => {
                    if let (Mutant::DeletesBeforeTheCommit, Request::PutHead(head, _)) =
                        (self.mutant, &request)
                    {
                        world.objects.retain(|key| !head.dropped.contains(key));
                    }
                    node.request = Some(request);
                }
                Next::End(Ended::Committed) => {
                    if !world.committed.contains(&key) {
                        return Err(format!("{seq} is acknowledged, and no head named {key}"));
                    }
                    node.doing = Doing::Tidying(writer);
                    world.acknowledged = world.acknowledged.max(seq);
                    world.check_garbage(key_epoch(&key))?;
                    return self.go_on(world, at);
                }
                Next::End(Ended::Fenced { in_doubt, .. }) => {
                    if world.head.as_ref().is_none_or(|head| head.epoch <= key_epoch(&key)) {
                        return Err(format!("the owner of {key} is told that it is not"));
                    }
                    if !in_doubt && world.committed.contains(&key) {
                        return Err(format!("{seq} is refused, and a head named {key}"));
                    }
                    node.doing = Doing::Nothing;
                }
                Next::End(Ended::Refused(_)) => {
                    // One that was given up is in place.
                    node.doing = Doing::Tidying(writer);
                    return self.go_on(world, at);
                }
                Next::End(Ended::HeadLost) => return Err("the head was lost".to_owned()),
            },
            Doing::Reading(reading, least) => match reading.next() {
                Next::Ask(request) => node.request = Some(request),
                Next::End(found) => {
                    let seq = found.map_or(0, |generation| generation.seq);
                    if seq < least {
                        return Err(format!("{seq} is read, after {least}"));
                    }
                    node.doing = Doing::Nothing;
                    world.acknowledged = world.acknowledged.max(seq);
                }
            },
            Doing::Nothing => {}
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
                let newest = world.head.as_ref().and_then(Head::newest);
                if head.newest() < newest {
                    return Err(format!("the newest generation goes from {newest:?} to {:?}", head.newest()));
                }
                world.committed.extend(head.generations.iter().map(|generation| generation.key.clone()));
                world.head = Some(head.clone());
                Answer::Put(etag(head))
            }
            Request::PutGeneration(generation) => {
                if self.mutant != Mutant::PutsTheHeadFirst {
                    world.objects.insert(generation.key.clone());
                }
                Answer::Done
            }
            Request::GetGeneration(generation) => match world.objects.contains(&generation.key) {
                true => Answer::Got,
                false => Answer::Missing,
            },
            Request::List => {
                if self.mutant == Mutant::SweepsWhatIsNamed {
                    world.objects.clear();
                }
                Answer::Keys(world.objects.iter().cloned().collect())
            }
            Request::Delete(key) => {
                world.objects.remove(key);
                Answer::Done
            }
        })
    }

    /// What holds in every state.
    fn check(&self, world: &World) -> Result<(), String> {
        let generations = world.head.iter().flat_map(|head| &head.generations);
        if let Some(lost) = generations.clone().find(|generation| !world.objects.contains(&generation.key)) {
            return Err(format!("the object of the generation {} is lost: {}", lost.seq, lost.key));
        }
        let newest = world.head.as_ref().and_then(Head::newest).unwrap_or(0);
        if newest < world.acknowledged {
            return Err(format!("{} was acknowledged, and {newest} is the newest", world.acknowledged));
        }
        if generations.count() > self.bounds.keep {
            return Err("more are kept than are to be".to_owned());
        }
        Ok(())
    }

    /// What holds when nobody does anything any more: whoever opens the store next leaves no object but those that are named.
    fn check_end(&self, mut world: World) -> Result<(), String> {
        let nonces = Nonces { process: "last".to_owned(), count: 0 };
        let mut opening = Opening::new("last", TakeOver::Open, nonces);
        let mut writer = loop {
            match opening.next() {
                Next::Ask(request) => {
                    let answer = self.apply(&mut world, &request)?;
                    opening.tell(answer);
                }
                Next::End(Opened::Own(writer)) => break writer,
                Next::End(busy) => return Err(format!("{busy:?}")),
            }
        };
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
