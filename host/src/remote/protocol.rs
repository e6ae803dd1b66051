//! The protocol, as machines without input and output: each says what to ask of the object store, and is told the answer.
//!
//! `host/REMOTE.md` argues each request, each answer and each crash. In short:
//!
//! - **A commit is one conditional PUT of the head.** Whoever took the store over changed the head, so no commit of an earlier
//!   owner applies any more, however late it comes.
//! - **What the PUT answers is never believed,** unless it is that it was done: the head itself is read, and its version tells
//!   whose it is.
//! - **No object is deleted before the head that does not name it is known to be in place.**

mod opening;
mod reading;
mod writer;

use super::head::{Generation, Head};

pub use opening::{Opened, Opening, TakeOver};
pub use reading::{Ended as Read, Reading, Skipped, Wanted, Why};
pub use writer::{Ended, GivenUp, Writer};

/// A machine: what has a beginning, asks, and ends.
pub trait Machine {
    /// What it ends with.
    type Ended;

    /// What to do next.
    fn next(&mut self) -> Next<Self::Ended>;

    /// Takes the answer to what was asked.
    fn tell(&mut self, answer: Answer);
}

/// What tells one content of an object from another.
pub type ETag = String;

/// What is asked of the object store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Get the head.
    GetHead,
    /// Put the head, if that which is there has this ETag, or, for `None`, if there is none.
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
    /// The head and its ETag, or that there is none.
    Head(Option<(Head, ETag)>),
    /// The head was put, and has this ETag now.
    Put(ETag),
    /// It was done; of a generation's file that was to be got, that it is what was put.
    Done,
    /// There is no such object.
    Missing,
    /// The object is not what was put.
    Damaged,
    /// The keys.
    Keys(Vec<String>),
    /// Anything else, and that nothing came in time: it may have been done, may yet be, or never.
    Failed,
}

/// What a machine does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, which is taken apart at once")]
pub enum Next<T> {
    /// Ask this, and tell the machine the answer. It asks again where that failed, until its caller gives up. An answer that
    /// comes after that is not to be told.
    Ask(Request),
    /// It has ended.
    End(T),
}
