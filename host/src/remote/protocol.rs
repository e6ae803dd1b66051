//! The protocol, as machines without input and output: each says what to ask of the object store, and is told the answer.
//!
//! `host/REMOTE.md` argues each request, each answer and each crash. In short:
//!
//! - **A commit is one conditional PUT of the head.** Whoever took the store over changed the head, so no commit of an earlier
//!   owner applies any more, however late it comes.
//! - **What the PUT answers is never believed,** unless it is that it was done: the head itself is read, and the nonce in it
//!   tells whose it is.
//! - **No object is deleted before the head that does not name it is known to be in place.**

mod opening;
mod reading;

use std::collections::BTreeSet;

use super::head::{Edit, Generation, Head, Refusal};

pub use opening::{Opened, Opening, TakeOver};
pub use reading::Reading;

/// What tells one version of an object from another.
pub type ETag = String;

/// What is asked of the object store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Get the head.
    GetHead,
    /// Put the head, if it is still of this version, or, for `None`, if there is none.
    PutHead(Head, Option<ETag>),
    /// Put the generation's file under its key, whatever is there.
    PutGeneration(Generation),
    /// Get the generation's file.
    GetGeneration(Generation),
    /// List the keys of all generations' files.
    List,
    /// Delete the object of a key.
    Delete(String),
}

/// What the object store answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The head and its version, or that there is none.
    Head(Option<(Head, ETag)>),
    /// The head was put, and is this version now.
    Put(ETag),
    /// It was done.
    Done,
    /// The generation's file was got: the machine need not know it.
    Got,
    /// There is no such object.
    Missing,
    /// The keys.
    Keys(Vec<String>),
    /// Anything else, and that nothing came in time: it may have been done, may yet be, or never.
    Failed,
}

/// What a machine does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Next<T> {
    /// Ask this, and tell the machine the answer. It asks again where that failed, until its caller gives up.
    Ask(Request),
    /// It has ended.
    End(T),
}

/// Where nonces come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonces {
    /// What no other process has.
    pub process: String,
    /// How many were given.
    pub count: u64,
}

impl Nonces {
    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.process, self.count)
    }
}

/// A store that this node has for writing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writer {
    node: String,
    nonces: Nonces,
    epoch: u64,
    /// The head as far as it is known, and its version.
    head: Head,
    etag: ETag,
    /// How many generations were put in this epoch.
    uploads: u64,
    /// The keys of generations whose calls were given up, and may be in place; or were refused after they were put.
    unsettled: BTreeSet<String>,
    /// The keys of dropped objects that were deleted.
    deleted: BTreeSet<String>,
    /// Whether the head is another owner's. A commit on its condition would be applied.
    is_fenced: bool,
    call: Option<Call>,
}

/// A call of a writer, which ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Call {
    edit: Edit,
    step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Upload,
    Swap(Head),
    /// Whether the head is in place.
    Look(Head),
    /// Delete the generation of this number, which nobody will name.
    Discard(String, u64),
    End(Ended),
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ended {
    /// It is in place.
    Committed,
    /// Nothing was changed.
    Refused(Refusal),
    /// The store was taken over, and nothing can be changed any more.
    Fenced {
        /// The node that has the store, unless it was released.
        owner: Option<String>,
        /// Whether the generation may have been in place: the new owner has a newer one, or one of the same number.
        in_doubt: bool,
    },
    /// The head was deleted, by no writer.
    HeadLost,
}

impl Writer {
    /// The head as far as it is known.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// A key for a new generation, which no other writer ever has.
    pub fn new_key(&mut self, seq: u64) -> String {
        self.uploads += 1;
        format!("g/{:010}-{}/snapshot_{seq:020}.json", self.epoch, self.uploads)
    }

    /// Begins to commit an edit. A call that has not ended is given up.
    pub fn begin(&mut self, edit: Edit) {
        self.give_up();
        let step = match (&edit, self.head.edited(&edit, String::new())) {
            _ if self.is_fenced => self.fenced(false),
            (_, Err(refusal)) => Step::End(Ended::Refused(refusal)),
            (Edit::Insert { .. }, Ok(_)) => Step::Upload,
            (Edit::Release, Ok(_)) => self.swap(&edit),
        };
        self.call = Some(Call { edit, step });
    }

    /// Ends a call without knowing whether it is in place, or comes to be. Nothing may be deleted.
    pub fn give_up(&mut self) {
        if let Some(Call { edit: Edit::Insert { generation, .. }, step }) = self.call.take()
            && !matches!(step, Step::End(_))
        {
            self.unsettled.insert(generation.key);
        }
    }

    /// What to do next, in a call that was begun.
    pub fn next(&self) -> Option<Next<Ended>> {
        let Call { edit, step } = self.call.as_ref()?;
        Some(match (step, edit) {
            (Step::Upload, Edit::Insert { generation, .. }) => {
                Next::Ask(Request::PutGeneration(generation.clone()))
            }
            (Step::Swap(head), _) => Next::Ask(Request::PutHead(head.clone(), Some(self.etag.clone()))),
            (Step::Look(_) | Step::Upload, _) => Next::Ask(Request::GetHead),
            (Step::Discard(key, _), _) => Next::Ask(Request::Delete(key.clone())),
            (Step::End(ended), _) => Next::End(ended.clone()),
        })
    }

    /// Takes the answer to what was asked.
    pub fn tell(&mut self, answer: Answer) {
        let Some(Call { edit, step }) = self.call.take() else { return };
        let step = match (step, answer) {
            (Step::Upload, Answer::Done) => self.swap(&edit),
            (Step::Swap(head), Answer::Put(etag)) => self.committed(head, etag),
            (Step::Swap(head), _) => Step::Look(head),
            (Step::Look(head), Answer::Head(found)) => self.look(&edit, head, found),
            // Whether or not it is gone: the next to open the store deletes it. Numbers only rise, so where the newest is lower,
            // this was never in place.
            (Step::Discard(_, seq), _) => self.fenced(self.head.newest() >= Some(seq)),
            (step, _) => step,
        };
        self.call = Some(Call { edit, step });
    }

    /// The edit of the head that is known.
    fn swap(&mut self, edit: &Edit) -> Step {
        match self.head.edited(edit, self.nonces.next()) {
            Err(refusal) => {
                if let Edit::Insert { generation, .. } = edit {
                    self.unsettled.insert(generation.key.clone());
                }
                Step::End(Ended::Refused(refusal))
            }
            Ok(mut head) => {
                head.dropped.retain(|key| !self.deleted.contains(key));
                // Once this is in place, no head that was given up can be any more.
                let lost =
                    self.unsettled.iter().filter(|key| !head.names(key) && !head.dropped.contains(key));
                let lost: Vec<String> = lost.cloned().collect();
                head.dropped.extend(lost);
                Step::Swap(head)
            }
        }
    }

    fn committed(&mut self, head: Head, etag: ETag) -> Step {
        (self.head, self.etag) = (head, etag);
        self.unsettled.clear();
        self.deleted.retain(|key| self.head.dropped.contains(key));
        Step::End(Ended::Committed)
    }

    /// Tells by the head that is found what became of the one that was put.
    fn look(&mut self, edit: &Edit, put: Head, found: Option<(Head, ETag)>) -> Step {
        let Some((head, etag)) = found else { return Step::End(Ended::HeadLost) };
        if head.nonce == put.nonce {
            return self.committed(head, etag);
        }
        if etag == self.etag {
            return Step::Swap(put);
        }
        let is_own = head.epoch == self.epoch;
        (self.head, self.etag) = (head, etag);
        if is_own {
            // One that was given up is in place.
            return self.swap(edit);
        }
        self.is_fenced = true;
        match edit {
            // It was in place before the store was taken over.
            Edit::Insert { generation, .. } if self.head.names(&generation.key) => {
                Step::End(Ended::Committed)
            }
            Edit::Insert { generation, .. } => Step::Discard(generation.key.clone(), generation.seq),
            Edit::Release => self.fenced(false),
        }
    }

    fn fenced(&self, in_doubt: bool) -> Step {
        Step::End(Ended::Fenced { owner: self.head.owner.clone(), in_doubt })
    }

    /// The dropped objects that are to be deleted. Whoever does so says it by [`deleted`](Writer::deleted).
    pub fn to_delete(&self) -> Vec<String> {
        // Of another's head, its owner does so.
        let dropped = if self.is_fenced { &[][..] } else { &self.head.dropped };
        dropped.iter().filter(|key| !self.deleted.contains(*key)).cloned().collect()
    }

    /// That an object was deleted: the next head need not name it.
    pub fn deleted(&mut self, key: &str) {
        self.deleted.insert(key.to_owned());
    }

    /// Whether an object is of an earlier owner, and no generation.
    fn is_left_over(&self, key: &str) -> bool {
        let epoch = key.strip_prefix("g/").and_then(|key| key.split_once('-')?.0.parse::<u64>().ok());
        epoch.is_some_and(|epoch| epoch < self.epoch) && !self.head.names(key)
    }
}
