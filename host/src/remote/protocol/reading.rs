//! Reading a generation, whoever writes.

use std::fmt;

use super::{Answer, Machine, Next, Request};
use crate::remote::head::{Generation, Head};

/// Which generation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// The newest one that is sound.
    Newest,
    /// The one with this number.
    Seq(u64),
    /// None: only the head.
    Head,
}

/// How a reading ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, which is taken apart at once")]
pub enum Ended {
    /// With a generation that was got, if there is one.
    Found {
        /// The head that names it, or `None` if nothing was ever stored.
        head: Option<Head>,
        /// The generation.
        generation: Option<Generation>,
        /// Those that were wanted before it, newest first.
        skipped: Vec<Skipped>,
    },
    /// There are generations, and no head: somebody has deleted it.
    HeadLost,
}

/// A generation that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// The generation.
    pub generation: Generation,
    /// What is wrong.
    pub why: Why,
}

/// Why a generation cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There is no such object.
    Missing,
    /// The object is not what was put.
    Damaged,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Missing => "is not there",
            Why::Damaged => "is not what was put there",
        })
    }
}

/// Reads a generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reading {
    wanted: Wanted,
    skipped: Vec<Skipped>,
    step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    /// Whether there are generations, although there was no head a moment ago.
    Look {
        is_filled: bool,
    },
    /// Where there is no head, there must be no generations.
    List,
    Get(Head, Generation),
    End(Ended),
}

impl Machine for Reading {
    type Ended = Ended;

    // A generation's file is [`Damaged`](Answer::Damaged) if it is not of the size and sum that it should be.
    fn next(&mut self) -> Next<Ended> {
        Next::Ask(match &self.step {
            Step::Look { .. } => Request::GetHead,
            Step::List => Request::List,
            Step::Get(_, generation) => Request::GetGeneration(generation.clone()),
            Step::End(ended) => return Next::End(ended.clone()),
        })
    }

    fn tell(&mut self, answer: Answer) {
        let step = std::mem::replace(&mut self.step, Step::List);
        self.step = match (step, answer) {
            (Step::Look { is_filled: true }, Answer::Head(None)) => Step::End(Ended::HeadLost),
            (Step::Look { .. }, Answer::Head(None)) => Step::List,
            (Step::Look { .. }, Answer::Head(Some((head, _)))) => self.get(head),
            (Step::List, Answer::Keys(keys)) if keys.is_empty() => self.end(None, None),
            // Another may have begun it since.
            (Step::List, Answer::Keys(_)) => Step::Look { is_filled: true },
            (Step::Get(head, generation), Answer::Done) => self.end(Some(head), Some(generation)),
            // It may have been pruned meanwhile, which the head tells; and another may be the newest now.
            (Step::Get(_, generation), Answer::Missing) => self.skip(generation, Why::Missing),
            (Step::Get(_, generation), Answer::Damaged) => self.skip(generation, Why::Damaged),
            (step, _) => step,
        };
    }
}

impl Reading {
    /// Of this generation.
    pub fn new(wanted: Wanted) -> Self {
        Reading { wanted, skipped: Vec::new(), step: Step::Look { is_filled: false } }
    }

    fn skip(&mut self, generation: Generation, why: Why) -> Step {
        self.skipped.push(Skipped { generation, why });
        Step::Look { is_filled: false }
    }

    fn get(&mut self, head: Head) -> Step {
        self.skipped.retain(|skipped| head.generations.contains(&skipped.generation));
        let is_wanted = |generation: &&Generation| match self.wanted {
            Wanted::Newest => !self.is_skipped(generation),
            Wanted::Seq(seq) => generation.seq == seq && !self.is_skipped(generation),
            Wanted::Head => false,
        };
        match head.generations.iter().find(is_wanted).cloned() {
            Some(generation) => Step::Get(head, generation),
            None => self.end(Some(head), None),
        }
    }

    fn is_skipped(&self, generation: &Generation) -> bool {
        self.skipped.iter().any(|skipped| skipped.generation.key == generation.key)
    }

    fn end(&mut self, head: Option<Head>, generation: Option<Generation>) -> Step {
        Step::End(Ended::Found { head, generation, skipped: std::mem::take(&mut self.skipped) })
    }
}
