//! Taking a store over for writing.

use std::collections::BTreeSet;

use super::{Answer, ETag, Next, Nonces, Request, Writer};
use crate::remote::head::Head;

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
