//! The protocol, as machines without input and output: each says what to ask of the object store, and is told the answer.
//!
//! `host/REMOTE.md` argues each request, each answer and each crash. In short:
//!
//! - **A commit is one conditional PUT of the head.** Whoever took the store over changed the head, so no commit of an earlier
//!   owner applies any more, however late it comes.
//! - **What the PUT answers is never believed,** unless it is that it was done: the head itself is read, and the nonce in it
//!   tells whose it is.
//! - **No object is deleted before the head that does not name it is known to be in place.**

use std::collections::BTreeSet;

use super::head::{Edit, Generation, Head, Refusal};

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

/// Whether a store may be taken from an owner that has not released it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TakeOver {
    /// By whoever opens it.
    Open,
    /// By the same node alone, which was restarted.
    Released,
}

/// How an opening ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Opened {
    /// The store is this node's.
    Own(Box<Writer>),
    /// Another node has it.
    Busy(String),
}

/// Takes a store over for writing, and deletes what earlier owners left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opening {
    node: String,
    take_over: TakeOver,
    nonces: Nonces,
    step: OpeningStep,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum OpeningStep {
    Look,
    Claim(Claim),
    /// Whether the claim is in place.
    Check(Claim),
    List(Box<Writer>),
    /// What is left to delete.
    Sweep(Box<Writer>, Vec<String>),
    Busy(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    head: Head,
    over: Option<ETag>,
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

impl Opening {
    /// For this node, with nonces that no other process has.
    pub fn new(node: impl Into<String>, take_over: TakeOver, nonces: Nonces) -> Self {
        Opening { node: node.into(), take_over, nonces, step: OpeningStep::Look }
    }

    /// What to do next.
    pub fn next(&self) -> Next<Opened> {
        match &self.step {
            OpeningStep::Look | OpeningStep::Check(_) => Next::Ask(Request::GetHead),
            OpeningStep::Claim(Claim { head, over }) => {
                Next::Ask(Request::PutHead(head.clone(), over.clone()))
            }
            OpeningStep::List(_) => Next::Ask(Request::List),
            OpeningStep::Sweep(writer, left) => match left.last() {
                Some(key) => Next::Ask(Request::Delete(key.clone())),
                None => Next::End(Opened::Own(writer.clone())),
            },
            OpeningStep::Busy(owner) => Next::End(Opened::Busy(owner.clone())),
        }
    }

    /// Takes the answer to what was asked.
    pub fn tell(&mut self, answer: Answer) {
        let step = std::mem::replace(&mut self.step, OpeningStep::Look);
        self.step = match (step, answer) {
            (OpeningStep::Look, Answer::Head(found)) => self.claim(found),
            (OpeningStep::Claim(claim), Answer::Put(etag)) => self.own(claim.head, etag),
            (OpeningStep::Claim(claim), _) => OpeningStep::Check(claim),
            (OpeningStep::Check(claim), Answer::Head(found)) => match found {
                Some((head, etag)) if head.nonce == claim.head.nonce => self.own(claim.head, etag),
                // It was not done, or not yet: if both are, only one counts.
                found if found.as_ref().map(|(_, etag)| etag) == claim.over.as_ref() => {
                    OpeningStep::Claim(claim)
                }
                // Someone was faster.
                found => self.claim(found),
            },
            (OpeningStep::List(writer), Answer::Keys(keys)) => {
                let left = keys.into_iter().filter(|key| writer.is_left_over(key)).collect();
                OpeningStep::Sweep(writer, left)
            }
            // It costs space only, until the next opening.
            (OpeningStep::List(writer), _) => OpeningStep::Sweep(writer, Vec::new()),
            (OpeningStep::Sweep(mut writer, mut left), answer) => {
                if let (Some(key), Answer::Done) = (left.pop(), answer) {
                    writer.deleted.insert(key);
                }
                OpeningStep::Sweep(writer, left)
            }
            (step, _) => step,
        };
    }

    fn claim(&mut self, found: Option<(Head, ETag)>) -> OpeningStep {
        let owner = found.as_ref().and_then(|(head, _)| head.owner.as_ref());
        match owner {
            Some(owner) if self.take_over == TakeOver::Released && *owner != self.node => {
                OpeningStep::Busy(owner.clone())
            }
            _ => {
                let nonce = self.nonces.next();
                let head = Head::claimed(found.as_ref().map(|(head, _)| head), self.node.clone(), nonce);
                OpeningStep::Claim(Claim { head, over: found.map(|(_, etag)| etag) })
            }
        }
    }

    fn own(&self, head: Head, etag: ETag) -> OpeningStep {
        OpeningStep::List(Box::new(Writer {
            node: self.node.clone(),
            nonces: self.nonces.clone(),
            epoch: head.epoch,
            head,
            etag,
            uploads: 0,
            unsettled: BTreeSet::new(),
            deleted: BTreeSet::new(),
            is_fenced: false,
            call: None,
        }))
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

/// Reads the newest generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Reading {
    step: ReadingStep,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum ReadingStep {
    #[default]
    Look,
    Get(Generation),
    End(Option<Generation>),
}

impl Reading {
    /// What to do next. It ends with the generation that was got, or `None` if there is none.
    pub fn next(&self) -> Next<Option<Generation>> {
        match &self.step {
            ReadingStep::Look => Next::Ask(Request::GetHead),
            ReadingStep::Get(generation) => Next::Ask(Request::GetGeneration(generation.clone())),
            ReadingStep::End(found) => Next::End(found.clone()),
        }
    }

    /// Takes the answer to what was asked.
    pub fn tell(&mut self, answer: Answer) {
        self.step = match (std::mem::take(&mut self.step), answer) {
            (ReadingStep::Look, Answer::Head(None)) => ReadingStep::End(None),
            (ReadingStep::Look, Answer::Head(Some((head, _)))) => match head.generations.into_iter().next() {
                Some(newest) => ReadingStep::Get(newest),
                None => ReadingStep::End(None),
            },
            (ReadingStep::Get(generation), Answer::Got) => ReadingStep::End(Some(generation)),
            // Pruned meanwhile: another is the newest now.
            (ReadingStep::Get(_), Answer::Missing) => ReadingStep::Look,
            (step, _) => step,
        };
    }
}
