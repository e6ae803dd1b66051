//! Reading the newest generation, whoever writes.

use super::{Answer, Next, Request};
use crate::remote::head::Generation;

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
