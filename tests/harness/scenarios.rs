//! What is crashed to see what is left: who does what to a directory, and what that holds before.

use std::path::Path;
use std::process::Command;

use minisnap_host::Layout;

use crate::subject::{NATIVES, OURS, Pair, Subject, state};
use crate::{cli, program};

/// The directory of the store, in the folder that is traced: the entry that leads to it may be lost, too.
pub(crate) const STORE: &str = "store";

/// Who is crashed; who recovers is the same, or this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A store as it is: of this one, the component in its host.
    Whole(Subject),
    /// This store's sources, built natively, without the sync of this number. The one before the first create of a
    /// process is 0: it is for what another one left that was killed.
    Unsynced(Layout, usize),
}

/// What is crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Makes the snapshot 2, by one call of the component.
    Create,
    /// Makes it by the command line, which streams.
    Stream,
    /// Goes back to the first of the snapshots that are there.
    Rollback,
    /// Erases all of them.
    Clear,
    /// Copies the snapshots 1 and 2, or the second one from a pair, in the place of what is there.
    Copy(Subject),
}

/// How many syncs a create makes in its directory, in the layouts of [`OURS`], after the first.
pub const SYNCS: [usize; 2] = [5, 2];

/// A snapshot that is there before: who made it, the snapshot of which number has its state, and its number.
pub type Earlier = (Subject, u64, u64);

/// A directory, and what is done to it while it is crashed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Who does it.
    pub who: Who,
    /// What.
    pub act: Act,
    /// The snapshots that are there before; without any, the directory is not there either.
    pub before: Vec<Earlier>,
    /// The size of each state in bytes.
    pub size: usize,
}

/// What is done with a store: on a directory that is not there and on others, with a small and a large state.
pub fn scenarios(subject: Subject) -> Vec<Scenario> {
    let who = Who::Whole(subject);
    let one = (subject, 1, 1);
    let mut scenarios = Vec::new();
    if subject.is_ours() {
        for size in [60, 300_000] {
            for (act, before) in [
                (Act::Create, &[][..]),
                (Act::Create, &[one]),
                (Act::Stream, &[]),
                // The oldest generation is pruned.
                (Act::Stream, &[(subject, 0, 0), one]),
            ] {
                scenarios.push(Scenario { who, act, before: before.to_vec(), size });
            }
        }
        if subject.layout() == Layout::Numbered {
            // Native minisnap keeps more than two.
            let before: Vec<_> = (1..=4).map(|seq| (Subject::Native013, seq, seq)).collect();
            scenarios.push(Scenario { who, act: Act::Rollback, before: before.clone(), size: 60 });
            scenarios.push(Scenario { who, act: Act::Clear, before, size: 60 });
        }
        // Into a pair, both come the same way.
        let into = if subject.layout() == Layout::Pair { &OURS[..1] } else { &OURS };
        for &from in into {
            // Nothing, the first of them, newer ones, and other states under their numbers.
            let older = (subject, 0, 1);
            for before in
                [vec![], vec![one], vec![(subject, 4, 4), (subject, 5, 5)], vec![older, (subject, 1, 2)]]
            {
                scenarios.push(Scenario { who, act: Act::Copy(from), before, size: 60 });
            }
        }
        if subject.layout() == Layout::Pair {
            scenarios.push(Scenario { who, act: Act::Clear, before: vec![one], size: 60 });
        }
        // The same state under another number, and the same number: contents alone do not tell the old from the new.
        let native = if subject.layout() == Layout::Pair { Subject::Native012 } else { Subject::Native013 };
        for earlier in [(subject, 2, 1), (subject, 1, 2), (native, 1, 1), (native, 2, 1), (native, 1, 2)] {
            scenarios.push(Scenario { who, act: Act::Create, before: vec![earlier], size: 60 });
        }
    } else {
        for before in [&[][..], &[one]] {
            scenarios.push(Scenario { who, act: Act::Create, before: before.to_vec(), size: 60 });
        }
    }
    scenarios
}

/// What is done with this store, in both layouts.
pub fn ours() -> Vec<Scenario> {
    OURS.into_iter().flat_map(scenarios).collect()
}

/// The same with native minisnap, which is known to fail.
pub fn natives() -> Vec<Scenario> {
    NATIVES.into_iter().flat_map(scenarios).collect()
}

impl Scenario {
    /// Who recovers.
    pub(crate) fn subject(&self) -> Subject {
        match self.who {
            Who::Whole(subject) => subject,
            Who::Unsynced(layout, _) => Subject::Ours(layout),
        }
    }

    pub(crate) fn pair(&self, seq: u64) -> Pair {
        Some((state(seq, self.size), seq))
    }

    /// The command that does it, in the store's directory below `root`; what is copied is in `source`.
    pub(crate) fn command(&self, root: &Path, source: &Path) -> Command {
        let dir = root.join(STORE);
        let subject = self.subject();
        let mut command = Command::new(program("act"));
        match (self.who, self.act) {
            (Who::Unsynced(_, sync), _) => {
                command.arg("unsynced").arg(dir).args(["2", subject.layout_name(), &sync.to_string()]);
            }
            (Who::Whole(_), Act::Create) if subject.is_ours() => {
                command.arg("create").arg(dir).args(["2", subject.layout_name()]);
            }
            (Who::Whole(_), Act::Create | Act::Stream) => command = subject.create(&dir, 2),
            (Who::Whole(_), Act::Rollback) => {
                command = cli();
                command.arg("rollback").arg(&dir).args(["--to", "1"]);
            }
            (Who::Whole(_), Act::Clear) => {
                command = cli();
                command.arg("clear").arg(&dir).arg("--yes");
            }
            (Who::Whole(_), Act::Copy(_)) => {
                command = cli();
                command.arg("copy").arg(source).arg(&dir).args(["--all", "--replace"]);
                // For a directory that is not there.
                if self.before.is_empty() {
                    command.args(["--layout", subject.layout_name()]);
                }
            }
        }
        command
    }
}
