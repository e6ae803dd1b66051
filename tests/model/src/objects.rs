//! What the object store does, and what must hold.

use minisnap_host::remote::head::Head;
use minisnap_host::remote::protocol::{Answer, Machine, Next, Opened, Opening, Request, TakeOver};

use crate::world::World;
use crate::{Change, Model, Mutant, etag};

impl Model {
    /// What the object store does and answers.
    pub(super) fn apply(&self, world: &mut World, request: &Request) -> Result<Answer, String> {
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
                let mut head = head.clone();
                if self.mutant == Mutant::CopiesInPieces {
                    let is_later = |key: &String| {
                        world
                            .copies
                            .iter()
                            .any(|[_, first]| first == key && !world.committed.contains_key(key))
                    };
                    head.generations.retain(|generation| !is_later(&generation.key));
                }
                let named = [&head.generations, &head.damaged, &head.undone].into_iter().flatten();
                for generation in named {
                    world.committed.entry(generation.key.clone()).or_insert(world.undos);
                }
                let etag = etag(&head);
                world.placed.insert(etag.clone());
                world.head = Some(head);
                Answer::Put(etag)
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
    pub(super) fn check(&self, world: &World) -> Result<(), String> {
        let heads = world.head.iter();
        let named = heads.flat_map(|head| [&head.generations, &head.damaged, &head.undone]).flatten();
        if let Some(lost) = named.clone().find(|generation| !world.objects.contains(&generation.key)) {
            return Err(format!("the object of the generation {} is lost: {}", lost.seq, lost.key));
        }
        if let Some(key) = world.refused.iter().find(|key| world.committed.contains_key(*key)) {
            return Err(format!("{key} was refused, and a head names it"));
        }
        if let Some(head) = world.refused_heads.iter().find(|head| world.placed.contains(*head)) {
            return Err(format!("the head {head} was to be never in place, and was"));
        }
        let is_committed = |key: &String| world.committed.contains_key(key);
        if let Some(copy) = world.copies.iter().find(|[one, other]| is_committed(one) != is_committed(other))
        {
            return Err(format!("of the copy {copy:?}, one is in place"));
        }
        let newest = world.head.as_ref().and_then(Head::newest).unwrap_or(0);
        if newest < world.acknowledged && !world.has_lost_head {
            return Err(format!("{} was acknowledged, and {newest} is the newest", world.acknowledged));
        }
        // What is kept of a copy, its plan says.
        let is_limited =
            !self.bounds.kinds.iter().any(|kind| matches!(kind, Change::Copy | Change::CopyOver));
        let is_too_long = |head: &Head| head.generations.len() > self.bounds.keep;
        if is_limited && world.head.as_ref().is_some_and(is_too_long) {
            return Err("more are kept than are to be".to_owned());
        }
        Ok(())
    }

    /// What holds when nobody does anything any more: whoever opens the store next leaves no object but those that are named.
    pub(super) fn check_end(&self, mut world: World) -> Result<(), String> {
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
