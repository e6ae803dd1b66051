//! Changing a store that this node has for writing.

use std::collections::BTreeSet;

use super::{Answer, ETag, Machine, Next, Request};
use crate::remote::head::{Copying, Edit, Generation, Head, Limits, Refusal, Version};

/// A store that this node has for writing, until it is released, or taken over. A clone is for a test: two must not be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writer {
    claim: String,
    epoch: u64,
    /// How many heads were put, or tried to.
    commits: u64,
    /// How many calls have put generations.
    uploads: u64,
    /// The head as far as it is known, and its ETag.
    head: Head,
    etag: ETag,
    standing: Standing,
    /// The keys of generations whose calls were given up, and which a head may come to name.
    unsettled: BTreeSet<String>,
    /// The keys of objects that no head names, nor ever will, nor lists as dropped.
    leftovers: BTreeSet<String>,
    /// The keys of dropped objects that were deleted.
    deleted: BTreeSet<String>,
    call: Option<Call>,
}

/// Whether the store may be changed. A commit on the condition of another owner's head would be applied, so who has seen one
/// puts nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    Owner,
    /// Or about to be.
    Released,
    Fenced,
    HeadLost,
}

/// A call of a writer, which ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Call {
    edit: Edit,
    step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Upload(Generation),
    Swap(Head),
    /// Whether the head is in place.
    Look(Head),
    End(Ended),
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ended {
    /// It is in place.
    Committed,
    /// Nothing was changed.
    Refused(Refusal),
    /// The store was taken over, or released, and nothing can be changed any more.
    Fenced {
        /// The node that has the store, unless it was released.
        owner: Option<String>,
        /// Whether it may have been in place: the store was taken over so often since that no head tells.
        in_doubt: bool,
    },
    /// The head was deleted, by no writer. Nothing can be changed any more.
    HeadLost {
        /// Whether it may have been in place, or come to be if an older head is put back.
        in_doubt: bool,
    },
}

/// What is known of a call that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GivenUp {
    /// It is not in place, nor ever will be.
    NotPlaced,
    /// It may be in place, or come to be.
    InDoubt,
    /// It had ended.
    Ended,
}

impl Machine for Writer {
    type Ended = Ended;

    /// In a call that was begun, which is over once its end is returned.
    fn next(&mut self) -> Next<Ended> {
        let Call { step, .. } = self.call.as_ref().expect("a call was begun");
        Next::Ask(match step {
            Step::Upload(generation) => Request::PutGeneration(generation.clone()),
            Step::Swap(head) => Request::PutHead(head.clone(), Some(self.etag.clone())),
            Step::Look(_) => Request::GetHead,
            Step::End(ended) => {
                let ended = ended.clone();
                self.call = None;
                return Next::End(ended);
            }
        })
    }

    fn tell(&mut self, answer: Answer) {
        let Some(Call { edit, step }) = self.call.take() else { return };
        let step = match (step, answer) {
            (Step::Upload(_), Answer::Done) => self.swap(&edit),
            (Step::Swap(head), Answer::Put(etag)) => self.committed(head, etag),
            (Step::Swap(head), _) => Step::Look(head),
            (Step::Look(head), Answer::Head(found)) => self.look(&edit, head, found),
            (step, _) => step,
        };
        self.call = Some(Call { edit, step });
    }
}

impl Writer {
    /// Of the head that claimed the store.
    pub(super) fn new(head: Head, etag: ETag) -> Self {
        let Version { claim, commit } = head.version.clone();
        Writer {
            claim,
            epoch: head.epoch,
            commits: commit,
            uploads: 0,
            head,
            etag,
            standing: Standing::Owner,
            unsettled: BTreeSet::new(),
            leftovers: BTreeSet::new(),
            deleted: BTreeSet::new(),
            call: None,
        }
    }

    /// The head as far as it is known.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the store may be changed, as far as it is known.
    pub fn is_owner(&self) -> bool {
        self.standing == Standing::Owner
    }

    /// Begins to make a generation the newest. Its file, of this size, sum and time, is asked to be put under a key of its own.
    ///
    /// A call that has not ended must be [given up](Self::give_up) first.
    pub fn insert(&mut self, seq: u64, size: u64, sum: String, written: u64, limits: Limits) {
        let folder = self.folder_of(seq);
        self.insert_in(Generation::new(&folder, seq, size, sum, written), limits);
    }

    /// The same with a key that was chosen before, in a [folder](Self::folder_of) that [is for it](Self::is_for) still.
    pub fn insert_in(&mut self, generation: Generation, limits: Limits) {
        self.begin(Edit::Insert(generation, limits));
    }

    /// A folder for the object of a generation with this number, which is to be made the newest.
    pub fn folder_of(&mut self, seq: u64) -> String {
        self.folder(self.gone(seq))
    }

    /// Whether that is the last folder of this opening, and would be named so still.
    pub fn is_for(&self, folder: &str, seq: u64) -> bool {
        folder == self.last_folder(self.gone(seq))
    }

    /// From which number on nothing counts any more once a generation with this one is put.
    fn gone(&self, seq: u64) -> u64 {
        match self.head.generations.first() {
            // What an earlier call may yet add stays, if its number is lower.
            _ if !self.unsettled.is_empty() => seq,
            None => 0,
            Some(newest) if newest.seq == seq => newest.gone().unwrap_or(seq).min(seq),
            Some(newest) => newest.seq.saturating_add(1).min(seq),
        }
    }

    /// The folder of the objects of one call, which no other call has. Should the head be lost, its name says what was undone, or
    /// not in place, when they were put: what has a number from `gone` on.
    pub fn folder(&mut self, gone: u64) -> String {
        self.uploads += 1;
        self.last_folder(gone)
    }

    fn last_folder(&self, gone: u64) -> String {
        format!("g/{:010}-{}-{}-{gone}", self.epoch, self.claim, self.uploads)
    }

    /// Begins to add generations of any numbers, whose objects were put in a [folder](Self::folder) of their own.
    pub fn copy(&mut self, copying: Copying) {
        self.begin(Edit::Copy(copying));
    }

    /// Has the objects of generations deleted that no call has added, nor will.
    pub fn abandon(&mut self, generations: Vec<Generation>) {
        self.leftovers.extend(generations.into_iter().map(|generation| generation.key));
    }

    /// Begins to make the generation with this number the newest, by undoing those above it.
    pub fn rollback(&mut self, seq: u64) {
        self.begin(Edit::Rollback(seq));
    }

    /// Begins to drop all generations.
    pub fn clear(&mut self) {
        self.begin(Edit::Clear);
    }

    /// Begins to leave the store to whoever wants it. Whatever becomes of that, nothing can be changed any more.
    pub fn release(&mut self) {
        self.begin(Edit::Release);
    }

    /// Begins to find out what became of the calls that were given up: none of them comes to be in place later.
    pub fn confirm(&mut self) {
        self.begin(Edit::Confirm);
    }

    fn begin(&mut self, edit: Edit) {
        assert!(self.call.is_none(), "a call that has not ended is given up first");
        let refused = self.edited(&edit).err();
        let step = match (self.standing, &edit) {
            (Standing::HeadLost, _) => Step::End(Ended::HeadLost { in_doubt: false }),
            (Standing::Fenced | Standing::Released, _) => Step::End(self.fenced(false)),
            (Standing::Owner, _) if refused.is_some() => Step::End(Ended::Refused(refused.expect("it is"))),
            (Standing::Owner, Edit::Insert(generation, _)) => Step::Upload(generation.clone()),
            (Standing::Owner, _) => self.swap(&edit),
        };
        if let (Step::End(_), Edit::Copy(_)) = (&step, &edit) {
            self.discard(&edit);
        }
        if edit == Edit::Release && self.is_owner() {
            self.standing = Standing::Released;
        }
        self.call = Some(Call { edit, step });
    }

    /// Ends a call before it is known what becomes of it. Nothing that it has put may be deleted.
    pub fn give_up(&mut self) -> GivenUp {
        let Some(Call { edit, step }) = self.call.take() else { return GivenUp::Ended };
        let given_up = match step {
            Step::End(_) => return GivenUp::Ended,
            Step::Upload(_) => GivenUp::NotPlaced,
            Step::Swap(_) | Step::Look(_) => GivenUp::InDoubt,
        };
        self.unsettled.extend(edit.added().iter().map(|generation| generation.key.clone()));
        given_up
    }

    /// Has the object of a generation deleted later that no call has added, nor will, but whose PUT may yet be done.
    pub fn lose(&mut self, generation: Generation) {
        self.unsettled.insert(generation.key);
    }

    /// The head that is known, after an edit.
    fn edited(&self, edit: &Edit) -> Result<Head, Refusal> {
        let mut head = self.head.clone();
        head.dropped.retain(|key| !self.deleted.contains(key));
        head.version = Version { claim: self.claim.clone(), commit: self.commits };
        head.edit(edit)?;
        Ok(head)
    }

    /// The edit of the head that is known.
    fn swap(&mut self, edit: &Edit) -> Step {
        self.commits += 1;
        match self.edited(edit) {
            Err(refusal) => {
                self.discard(edit);
                Step::End(Ended::Refused(refusal))
            }
            Ok(head) => Step::Swap(head),
        }
    }

    fn committed(&mut self, head: Head, etag: ETag) -> Step {
        (self.head, self.etag) = (head, etag);
        // No head that was given up can be in place from here on.
        let is_lost = |key: &String| !self.head.names(key) && !self.head.dropped.contains(key);
        self.leftovers.extend(std::mem::take(&mut self.unsettled).into_iter().filter(is_lost));
        self.deleted.retain(|key| self.head.dropped.contains(key));
        Step::End(Ended::Committed)
    }

    /// Tells by the head that is found what became of the one that was put.
    fn look(&mut self, edit: &Edit, put: Head, found: Option<(Head, ETag)>) -> Step {
        let Some((head, etag)) = found else {
            self.standing = Standing::HeadLost;
            return Step::End(Ended::HeadLost { in_doubt: true });
        };
        if head.version == put.version {
            return self.committed(head, etag);
        }
        let is_unchanged = head.version == self.head.version;
        (self.head, self.etag) = (head, etag);
        if is_unchanged {
            return Step::Swap(put);
        }
        if self.head.version.claim == self.claim {
            // One that was given up is in place.
            return self.swap(edit);
        }
        self.standing = Standing::Fenced;
        match self.head.follows(&put.version) {
            Some(true) => return Step::End(Ended::Committed),
            // It is left, one way or the other.
            _ if *edit == Edit::Release => return Step::End(Ended::Committed),
            Some(false) => self.discard(edit),
            // It may still be needed.
            None => {}
        }
        let in_doubt = self.head.follows(&put.version).is_none();
        Step::End(self.fenced(in_doubt))
    }

    fn fenced(&self, in_doubt: bool) -> Ended {
        Ended::Fenced { owner: self.head.owner.clone(), in_doubt }
    }

    /// Deletes the files that were put for an edit which no head has made, nor ever will.
    fn discard(&mut self, edit: &Edit) {
        self.leftovers.extend(edit.added().iter().map(|generation| generation.key.clone()));
    }

    /// Takes a list of the keys of all generations' files, which may be old: what is left of earlier owners is to be deleted.
    pub fn sweep(&mut self, keys: impl IntoIterator<Item = String>) {
        let is_left_over = |key: &String| {
            let epoch = key.strip_prefix("g/").and_then(|key| key.split_once('-')?.0.parse::<u64>().ok());
            epoch.is_some_and(|epoch| epoch < self.epoch)
                && !self.head.names(key)
                && !self.head.dropped.contains(key)
        };
        let left: Vec<String> = keys.into_iter().filter(is_left_over).collect();
        self.leftovers.extend(left);
    }

    /// The keys of the objects that are to be deleted, at any time. Who has deleted one says so by [`deleted`](Self::deleted).
    pub fn to_delete(&self) -> Vec<String> {
        // Of another's head, its owner does so.
        let dropped = match self.standing {
            Standing::Owner | Standing::Released => &self.head.dropped[..],
            Standing::Fenced => &[],
            Standing::HeadLost => return Vec::new(),
        };
        let dropped = dropped.iter().filter(|key| !self.deleted.contains(*key));
        dropped.chain(&self.leftovers).cloned().collect()
    }

    /// That an object was deleted.
    pub fn deleted(&mut self, key: &str) {
        if !self.leftovers.remove(key) {
            self.deleted.insert(key.to_owned());
        }
    }
}
