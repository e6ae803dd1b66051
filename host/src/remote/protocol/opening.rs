//! Taking a store over for writing.

use super::{Answer, ETag, Machine, Next, Request, Writer};
use crate::remote::head::{Head, Version};

/// From whom a store may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
pub enum TakeOver {
    /// From anyone, whether or not they still write.
    #[serde(rename = "open")]
    Anyone,
    /// From this node itself, which was restarted.
    #[serde(rename = "released")]
    Itself,
    /// From nobody: only a store that was released.
    #[serde(skip)]
    Nobody,
}

/// How an opening ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Opened {
    /// The store is this node's.
    Own(Box<Writer>),
    /// Another node has it.
    Busy(String),
    /// There are generations, and no head: somebody has deleted it.
    HeadLost,
}

/// Takes a store over for writing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opening {
    node: String,
    take_over: TakeOver,
    /// What no other opening of any store ever has.
    claim: String,
    /// How many heads were put, or tried to.
    commits: u64,
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
    Claim(Claim),
    /// Whether the claim is in place.
    Check(Claim),
    End(Option<Opened>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    head: Head,
    over: Option<(Version, ETag)>,
}

impl Machine for Opening {
    type Ended = Opened;

    fn next(&mut self) -> Next<Opened> {
        Next::Ask(match &mut self.step {
            Step::Look { .. } | Step::Check(_) => Request::GetHead,
            Step::List => Request::List,
            Step::Claim(Claim { head, over }) => {
                Request::PutHead(head.clone(), over.as_ref().map(|(_, etag)| etag.clone()))
            }
            // There is one writer only, which is returned once.
            Step::End(opened) => return Next::End(opened.take().expect("it ends once")),
        })
    }

    fn tell(&mut self, answer: Answer) {
        let step = std::mem::replace(&mut self.step, Step::List);
        self.step = match (step, answer) {
            (Step::Look { is_filled: true }, Answer::Head(None)) => Step::End(Some(Opened::HeadLost)),
            (Step::Look { .. }, Answer::Head(None)) => Step::List,
            (Step::Look { .. }, Answer::Head(Some(found))) => self.claim(Some(found)),
            (Step::List, Answer::Keys(keys)) if keys.is_empty() => self.claim(None),
            // Another may have begun it since.
            (Step::List, Answer::Keys(_)) => Step::Look { is_filled: true },
            (Step::Claim(Claim { head, .. }), Answer::Put(etag)) => own(head, etag),
            (Step::Claim(claim), _) => Step::Check(claim),
            (Step::Check(claim), Answer::Head(found)) => self.check(claim, found),
            (step, _) => step,
        };
    }
}

impl Opening {
    /// For this node. No other opening of any store may ever be given the same `claim`: it is random.
    pub fn new(node: impl Into<String>, take_over: TakeOver, claim: String) -> Self {
        Opening { node: node.into(), take_over, claim, commits: 0, step: Step::Look { is_filled: false } }
    }

    fn claim(&mut self, found: Option<(Head, ETag)>) -> Step {
        // An earlier claim of this opening, which came late, is in nobody's way.
        let other = found.as_ref().filter(|(head, _)| head.version.claim != self.claim);
        let owner = other.and_then(|(head, _)| head.owner.as_ref());
        let may = |owner: &str| match self.take_over {
            TakeOver::Anyone => true,
            TakeOver::Itself => owner == self.node,
            TakeOver::Nobody => false,
        };
        if let Some(owner) = owner.filter(|owner| !may(owner)) {
            return Step::End(Some(Opened::Busy(owner.clone())));
        }
        self.commits += 1;
        let version = Version { claim: self.claim.clone(), commit: self.commits };
        let (head, etag) = found.unzip();
        let over = head.as_ref().map(|head| head.version.clone()).zip(etag);
        Step::Claim(Claim { head: Head::claimed(head, self.node.clone(), version), over })
    }

    /// Tells by the head that is found what became of the claim.
    fn check(&mut self, claim: Claim, found: Option<(Head, ETag)>) -> Step {
        match (found, &claim.over) {
            (Some((head, etag)), _) if head.version == claim.head.version => own(head, etag),
            // It was not done, or not yet: if both are, only one counts.
            (Some((head, etag)), Some((over, _))) if head.version == *over => {
                let over = Some((head.version, etag));
                Step::Claim(Claim { over, ..claim })
            }
            (None, None) => Step::List,
            // Someone was faster.
            (Some(found), _) => self.claim(Some(found)),
            (None, Some(_)) => Step::End(Some(Opened::HeadLost)),
        }
    }
}

fn own(head: Head, etag: ETag) -> Step {
    Step::End(Some(Opened::Own(Box::new(Writer::new(head, etag)))))
}
