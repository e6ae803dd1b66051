//! Every state of the disk that a crash may leave, and what the store makes of it. `CRASH_STATES.md` explains the method.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::rc::Rc;

use tempfile::TempDir;

use crate::disk::{Disk, Machine, Model, Visible};
use crate::replay::{apply, below_first, contents, names, read, write};
use crate::scenarios::{Act, Earlier, STORE, Scenario};
use crate::subject::{Pair, show, state};
use crate::trace::{Call, trace};
use crate::{Tally, program, run, scratch};

impl Scenario {
    /// Does it, and traces that.
    ///
    /// # Panics
    ///
    /// If it fails, or if the model of the disk does not come to what is on the disk.
    pub fn record(&self) -> Recorded<'_> {
        let root = scratch();
        for &(subject, of, seq) in &self.before {
            let dir = root.path().join(STORE);
            if !subject.is_ours() {
                fs::create_dir_all(&dir).expect("the scratch folder can be written");
            }
            let done = run(&mut subject.create(&dir, seq), &state(of, self.size));
            assert_eq!(done.code, Some(0), "{done:?}");
        }
        let source = scratch();
        if let Act::Copy(from) = self.act {
            for seq in [1, 2] {
                let done = run(&mut from.create(source.path(), seq), &state(seq, self.size));
                assert_eq!(done.code, Some(0), "{done:?}");
            }
        }
        let before = read(root.path());
        let command = self.command(root.path(), source.path());
        let (done, calls) = trace(&command, root.path(), &state(2, self.size));
        assert_eq!(done.code, Some(0), "{done:?}");
        let mut machine = Machine::new(before.clone());
        calls.iter().for_each(|call| apply(&mut machine, call));
        assert_eq!(contents(&machine.now), contents(&read(root.path())), "the trace is not what happened");
        Recorded { scenario: self, before, calls, verdicts: Verdicts::default() }
    }
}

/// A disk, and what may be restored from it.
type Case = (Visible, Rc<[Pair]>);

/// Which of these was restored from each disk, or what was wrong. The models of a disk have most of their disks in common.
type Verdicts = RefCell<BTreeMap<Case, Result<usize, String>>>;

/// A scenario that was traced.
#[derive(Debug)]
pub struct Recorded<'s> {
    scenario: &'s Scenario,
    before: Disk,
    calls: Vec<Call>,
    verdicts: Verdicts,
}

impl Recorded<'_> {
    /// What may be restored before it has returned: the old and the new snapshot.
    fn possible(&self) -> Vec<Pair> {
        let Scenario { before, act, size, .. } = self.scenario;
        let as_pair = |&(_, of, seq): &Earlier| (state(of, *size), seq);
        let new = match act {
            Act::Create | Act::Stream | Act::Copy(_) => self.scenario.pair(2),
            Act::Rollback => before.first().map(as_pair),
            Act::Clear => None,
        };
        vec![before.last().map(as_pair), new]
    }

    /// Crashes it after every call, and recovers each disk that may be left then.
    pub fn crash(&self, model: Model) -> Tally {
        let judge = Judge::new(self, false);
        self.crash_before(&judge, model);
        judge.finish()
    }

    /// The same, and crashes each recovery in the same way: what that found, and what the second crashes did.
    pub fn crash_twice(&self, model: Model) -> [Tally; 2] {
        let judge = Judge::new(self, true);
        self.crash_before(&judge, model);
        let second = judge.recoveries();
        [judge.finish(), second]
    }

    fn crash_before(&self, judge: &Judge<'_>, model: Model) {
        let possible = self.possible();
        let mut machine = Machine::with_model(self.before.clone(), model);
        judge.all(&machine, &possible, false);
        for call in &self.calls {
            apply(&mut machine, call);
            judge.all(&machine, &possible, false);
        }
        judge.all(&machine, &possible[1..], true);
    }

    /// Kills it after every call, with the machine running on, makes the next snapshot, and cuts the power in that.
    pub fn kill(&self, model: Model) -> Tally {
        let judge = Judge::new(self, true);
        let mut machine = Machine::with_model(self.before.clone(), model);
        for call in &self.calls {
            apply(&mut machine, call);
            judge.later(machine.clone(), self.possible());
        }
        judge.recoveries()
    }
}

/// Recovers disks, and says what is wrong.
struct Judge<'s> {
    recorded: &'s Recorded<'s>,
    scratch: TempDir,
    /// What was judged.
    seen: RefCell<BTreeSet<Case>>,
    violations: RefCell<Vec<String>>,
    /// The machines on which the next snapshot is to be made while it is traced, and what may be restored there.
    later: RefCell<Vec<(Machine, Vec<Pair>)>>,
    twice: bool,
}

/// The number of the snapshot that is made on every disk afterwards.
const NEXT: u64 = 9;

impl<'s> Judge<'s> {
    fn new(recorded: &'s Recorded<'s>, twice: bool) -> Self {
        Judge {
            recorded,
            scratch: scratch(),
            seen: RefCell::default(),
            violations: RefCell::default(),
            later: RefCell::default(),
            twice,
        }
    }

    fn later(&self, machine: Machine, possible: Vec<Pair>) {
        self.later.borrow_mut().push((machine, possible));
    }

    /// Judges every disk that a power cut may leave now.
    fn all(&self, machine: &Machine, possible: &[Pair], has_returned: bool) {
        let possible: Rc<[Pair]> = possible.into();
        for disk in machine.after_power_cut() {
            let case = (disk.visible(), Rc::clone(&possible));
            if !self.seen.borrow_mut().insert(case.clone()) {
                continue;
            }
            match self.verdict(&disk, case) {
                Ok(restored) if self.twice => {
                    let restored = vec![possible[restored].clone()];
                    self.later(Machine::with_model(disk, machine.model), restored);
                }
                Ok(_) => {}
                Err(problem) => {
                    let when = if has_returned { "after it returned" } else { "before it returned" };
                    self.violations.borrow_mut().push(format!("{when}: {problem}: {:?}", names(&disk)));
                }
            }
        }
    }

    /// Which of what may be is restored from a disk, or what is wrong: known, or found out now.
    fn verdict(&self, disk: &Disk, case: Case) -> Result<usize, String> {
        if let Some(known) = self.recorded.verdicts.borrow().get(&case) {
            return known.clone();
        }
        let verdict = self.recover(disk, &case.1);
        self.recorded.verdicts.borrow_mut().insert(case, verdict.clone());
        verdict
    }

    /// Restores from a disk, and makes the next snapshot on it.
    fn recover(&self, disk: &Disk, possible: &[Pair]) -> Result<usize, String> {
        let scenario = self.recorded.scenario;
        let root = self.scratch.path().join(self.seen.borrow().len().to_string());
        fs::create_dir(&root).expect("the scratch folder can be written");
        write(disk, 0, &root);
        let mut recovery = scenario.subject().open(&root.join(STORE))?;
        let restored = recovery.restore()?;
        let Some(which) = possible.iter().position(|pair| *pair == restored) else {
            return Err(format!("restored {}", show(&restored)));
        };
        recovery
            .create(&state(NEXT, scenario.size), NEXT)
            .map_err(|problem| format!("no create: {problem}"))?;
        let next = recovery.restore()?;
        drop(recovery);
        fs::remove_dir_all(&root).expect("the scratch folder can be removed");
        if next == scenario.pair(NEXT) {
            Ok(which)
        } else {
            Err(format!("restored {} after the next create", show(&next)))
        }
    }

    /// Traces how the next snapshot is made on each machine that waits for it, and cuts the power after each call of
    /// that.
    fn recoveries(&self) -> Tally {
        let waiting = self.later.take();
        if waiting.is_empty() {
            return Tally::default();
        }
        let batch = scratch();
        for (number, (machine, _)) in waiting.iter().enumerate() {
            let root = batch.path().join(number.to_string());
            fs::create_dir(&root).expect("the scratch folder can be written");
            write(&machine.now, 0, &root);
        }
        let scenario = self.recorded.scenario;
        let layout = scenario.subject().layout_name();
        let mut command = Command::new(program("act"));
        command.arg("create-in-each").arg(batch.path()).args([STORE, &NEXT.to_string(), layout]);
        let (done, calls) = trace(&command, batch.path(), &state(NEXT, scenario.size));
        assert_eq!(done.code, Some(0), "{done:?}");

        let mut by_root = BTreeMap::<usize, Vec<Call>>::new();
        for call in calls {
            let (root, call) = below_first(call);
            by_root.entry(root).or_default().push(call);
        }
        let next = scenario.pair(NEXT);
        let judge = Judge::new(self.recorded, false);
        for (number, (mut machine, mut possible)) in waiting.into_iter().enumerate() {
            possible.push(next.clone());
            for call in by_root.get(&number).into_iter().flatten() {
                apply(&mut machine, call);
                judge.all(&machine, &possible, false);
            }
            judge.all(&machine, std::slice::from_ref(&next), true);
        }
        judge.finish()
    }

    fn finish(self) -> Tally {
        Tally { tried: self.seen.borrow().len(), violations: self.violations.into_inner() }
    }
}
