//! What a crash may leave of a state with a log: every disk, opened.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::disk::{Disk, Machine, Model, Visible};
use crate::logged::{Scenario, Step, check, dirs, open};
use crate::replay::{apply, below_first, contents, names, read, write};
use crate::trace::{Call, trace};
use crate::{Tally, program, scratch};

impl Scenario {
    /// Does it, and traces that.
    ///
    /// # Panics
    ///
    /// If it fails, or if the model of the disk does not come to what is on the disk.
    pub fn record(&self) -> Recorded<'_> {
        let root = scratch();
        fs::create_dir(&dirs(root.path())[0]).expect("the scratch folder can be written");
        let mut last = 0;
        for step in &self.before {
            let mut state = open(root.path()).expect("it opens");
            step.run(&mut state, self.size).expect("it works");
            last = state.sequence();
        }
        let before = read(root.path());
        let calls = act(self.step, root.path(), self.size, false);
        let mut machine = Machine::new(before.clone());
        calls.iter().for_each(|call| apply(&mut machine, call));
        assert_eq!(contents(&machine.now), contents(&read(root.path())), "the trace is not what happened");
        Recorded { scenario: self, before, calls, last, verdicts: Verdicts::default() }
    }
}

/// What a process does that opens a state and does something to it, in one folder or in each of those in a folder.
fn act(step: Step, root: &Path, size: usize, in_each: bool) -> Vec<Call> {
    let mut command = Command::new(program("act"));
    let verb = if in_each { "state-in-each" } else { "state" };
    command.args([verb, step.name()]).arg(root).arg(size.to_string());
    let (done, calls) = trace(&command, root, "");
    assert_eq!(done.code, Some(0), "{done:?}");
    calls
}

/// A disk, and the last operations that may be found on it.
type Case = (Visible, Vec<u64>);

/// Which was found on each disk, or what was wrong. The models of a disk have most of their disks in common.
type Verdicts = RefCell<BTreeMap<Case, Result<u64, String>>>;

/// A scenario that was traced.
#[derive(Debug)]
pub struct Recorded<'s> {
    scenario: &'s Scenario,
    before: Disk,
    calls: Vec<Call>,
    /// The number of the last operation before.
    last: u64,
    verdicts: Verdicts,
}

/// Whether a call makes something of the log durable.
fn is_sync(call: &Call) -> bool {
    matches!(call, Call::Sync(path) if path.starts_with("log"))
}

/// The calls without the sync of this number, of those of the log.
fn without(calls: &[Call], sync: usize) -> Vec<Call> {
    let at = calls.iter().enumerate().filter(|(_, call)| is_sync(call)).nth(sync).map(|(at, _)| at);
    calls.iter().enumerate().filter(|&(other, _)| Some(other) != at).map(|(_, call)| call.clone()).collect()
}

impl Recorded<'_> {
    /// How many syncs of the log it makes.
    pub fn syncs(&self) -> usize {
        self.calls.iter().filter(|call| is_sync(call)).count()
    }

    /// The same, as if the sync of this number did nothing.
    #[must_use]
    pub fn without(&self, sync: usize) -> Self {
        let Recorded { scenario, ref before, ref calls, last, .. } = *self;
        let (before, calls) = (before.clone(), without(calls, sync));
        Recorded { scenario, before, calls, last, verdicts: Verdicts::default() }
    }

    /// The last operation that may be found before it has returned, and the one that must be found afterwards.
    fn possible(&self) -> [u64; 2] {
        [self.last, self.last + self.scenario.step.operations()]
    }

    /// Crashes it after every call, and opens each disk that may be left then.
    pub fn crash(&self, model: Model) -> Tally {
        let judge = Judge::new(self, false);
        self.crash_before(&judge, model);
        judge.finish()
    }

    /// Crashes it, and then each recovery in the same way: what the second crashes found.
    pub fn crash_twice(&self, model: Model) -> Tally {
        let judge = Judge::new(self, true);
        self.crash_before(&judge, model);
        judge.recoveries(Step::Apply, None)
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

    /// Kills it after every call, with the machine running on, has the next process do this step, and cuts the power in
    /// that and afterwards. The sync of this number in the next process does nothing.
    pub fn kill(&self, model: Model, next: Step, unsynced: Option<usize>) -> Tally {
        let judge = Judge::new(self, true);
        let mut machine = Machine::with_model(self.before.clone(), model);
        for call in &self.calls {
            apply(&mut machine, call);
            // What is visible is what the next process finds.
            let found = judge.open(&machine.now, &self.possible());
            match found {
                Ok(found) => judge.later(machine.clone(), self.last.min(found), found),
                Err(problem) => judge.violation(&problem, &machine.now),
            }
        }
        judge.recoveries(next, unsynced)
    }
}

/// A machine on which the state is to be opened while that is traced: what may be found before, and what must be afterwards.
type Waiting = (Machine, u64, u64);

/// Opens what is left, and says what is wrong.
struct Judge<'s> {
    recorded: &'s Recorded<'s>,
    scratch: TempDir,
    count: Cell<usize>,
    /// The disks that were judged, and what was possible on each.
    seen: RefCell<BTreeSet<Case>>,
    violations: RefCell<Vec<String>>,
    later: RefCell<Vec<Waiting>>,
    twice: bool,
}

impl<'s> Judge<'s> {
    fn new(recorded: &'s Recorded<'s>, twice: bool) -> Self {
        Judge {
            recorded,
            scratch: scratch(),
            count: Cell::default(),
            seen: RefCell::default(),
            violations: RefCell::default(),
            later: RefCell::default(),
            twice,
        }
    }

    fn later(&self, machine: Machine, old: u64, found: u64) {
        self.later.borrow_mut().push((machine, old, found));
    }

    fn violation(&self, problem: &str, disk: &Disk) {
        self.violations.borrow_mut().push(format!("{problem}: {:?}", names(disk)));
    }

    /// Judges every disk that a power cut may leave now.
    fn all(&self, machine: &Machine, possible: &[u64], has_returned: bool) {
        for disk in machine.after_power_cut() {
            if !self.seen.borrow_mut().insert((disk.visible(), possible.to_vec())) {
                continue;
            }
            match self.open(&disk, possible) {
                Ok(found) if self.twice => {
                    self.later(Machine::with_model(disk, machine.model), found, found);
                }
                Ok(_) => {}
                Err(problem) => {
                    let when = if has_returned { "after it returned" } else { "before it returned" };
                    self.violation(&format!("{when}, {problem}"), &disk);
                }
            }
        }
    }

    /// Opens the state of a disk, and goes on with it. Returns the last operation that it had, which may be known.
    fn open(&self, disk: &Disk, possible: &[u64]) -> Result<u64, String> {
        self.count.set(self.count.get() + 1);
        let case = (disk.visible(), possible.to_vec());
        if let Some(known) = self.recorded.verdicts.borrow().get(&case) {
            return known.clone();
        }
        let root = self.scratch.path().join(self.count.get().to_string());
        fs::create_dir(&root).expect("the scratch folder can be written");
        write(disk, 0, &root);
        let found = check(&root, possible, self.recorded.scenario.size);
        fs::remove_dir_all(&root).expect("the scratch folder can be removed");
        self.recorded.verdicts.borrow_mut().insert(case, found.clone());
        found
    }

    /// Traces how a step is done on each machine that waits for it, and cuts the power after each call of that.
    fn recoveries(&self, step: Step, unsynced: Option<usize>) -> Tally {
        let waiting = self.later.take();
        let judge = Judge::new(self.recorded, false);
        judge.violations.borrow_mut().append(&mut self.violations.borrow_mut());
        if waiting.is_empty() {
            return judge.finish();
        }
        let batch = scratch();
        for (number, (machine, ..)) in waiting.iter().enumerate() {
            let root = batch.path().join(number.to_string());
            fs::create_dir(&root).expect("the scratch folder can be written");
            write(&machine.now, 0, &root);
        }
        let mut calls = vec![Vec::new(); waiting.len()];
        for call in act(step, batch.path(), self.recorded.scenario.size, true) {
            let (number, call) = below_first(call);
            calls[number].push(call);
        }
        for ((mut machine, old, found), calls) in waiting.into_iter().zip(calls) {
            let calls = unsynced.map_or_else(|| calls.clone(), |sync| without(&calls, sync));
            let new = found + step.operations();
            for call in &calls {
                apply(&mut machine, call);
                judge.all(&machine, &[old, found, new], false);
            }
            judge.all(&machine, &[new], true);
        }
        judge.finish()
    }

    fn finish(self) -> Tally {
        Tally { tried: self.count.get(), violations: self.violations.into_inner() }
    }
}
