//! What a node makes of an answer.

use minisnap_host::remote::head::{Copying, Generation};
use minisnap_host::remote::protocol::{
    Answer, Ended, Machine, Next, Opened, Read, Request, TakeOver, Writer,
};

use crate::world::{Doing, Step, World};
use crate::{Model, Mutant, etag, key_epoch};

impl Model {
    /// A node is told an answer.
    pub(super) fn tell(&self, mut world: World, at: usize, mut answer: Answer) -> Step {
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
            Doing::Copying(_, put, left) => {
                // What was not put is put again.
                put.extend((answer == Answer::Done).then(|| left.pop()).flatten());
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
    pub(super) fn go_on(&self, mut world: World, at: usize) -> Step {
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
            Doing::Copying(mut writer, put, left) => match left.last() {
                Some(generation) => node.request = Some(Request::PutGeneration(generation.clone())),
                None => {
                    let newest = put.iter().max_by_key(|generation| generation.seq);
                    let newest = newest.map(|newest| (newest.seq, newest.key.clone()));
                    let keys = put.iter().map(|generation| generation.key.clone()).collect::<Vec<_>>();
                    world.copies.insert(keys.try_into().expect("a copy has two"));
                    let is_replaced = |generation: &&Generation| {
                        writer.head().generations.iter().any(|other| other.seq == generation.seq)
                    };
                    let undone = put.iter().filter(is_replaced).map(|generation| generation.seq).collect();
                    writer.copy(Copying { added: put, undone, ..Copying::default() });
                    world.nodes[at].doing = Doing::Changing(writer, newest, None);
                    return self.go_on(world, at);
                }
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
                            world.settle(at);
                            if writer.is_owner() {
                                world.check_garbage(&writer)?;
                            }
                            if let Some(key) = &key {
                                // Who undoes something may have seen it already.
                                if world.committed[key] == world.undos {
                                    world.acknowledged = world.acknowledged.max(seq);
                                }
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
                            world.settle(at);
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
}
