//! Every state of the disk that a crash may leave, and what the store makes of it. `CRASH_STATES.md` explains the method.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use minisnap_host::Layout;
use tempfile::TempDir;

use crate::disk::{Disk, Machine, Model, Node, Visible};
use crate::subject::{NATIVES, OURS, Pair, Subject, show, state};
use crate::trace::{Call, trace};
use crate::{Tally, cli, program, run, scratch};

/// The directory of the store, in the folder that is traced: the entry that leads to it may be lost, too.
const STORE: &str = "store";

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

/// How many syncs a create makes in its directory, in the layouts of [`OURS`](crate::subject::OURS), after the first.
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
    fn subject(&self) -> Subject {
        match self.who {
            Who::Whole(subject) => subject,
            Who::Unsynced(layout, _) => Subject::Ours(layout),
        }
    }

    fn pair(&self, seq: u64) -> Pair {
        Some((state(seq, self.size), seq))
    }

    /// The command that does it, in the store's directory below `root`; what is copied is in `source`.
    fn command(&self, root: &Path, source: &Path) -> Command {
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
        Recorded { scenario: self, before, calls }
    }
}

/// A scenario that was traced.
#[derive(Debug)]
pub struct Recorded<'s> {
    scenario: &'s Scenario,
    before: Disk,
    calls: Vec<Call>,
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
        let judge = Judge::new(self.scenario, false);
        self.crash_before(&judge, model);
        judge.finish()
    }

    /// The same, and crashes each recovery in the same way: what that found, and what the second crashes did.
    pub fn crash_twice(&self, model: Model) -> [Tally; 2] {
        let judge = Judge::new(self.scenario, true);
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
        let judge = Judge::new(self.scenario, true);
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
    scenario: &'s Scenario,
    scratch: TempDir,
    count: Cell<usize>,
    /// The disks that were judged, and what was possible on each.
    seen: RefCell<BTreeSet<(Visible, Vec<Pair>)>>,
    violations: RefCell<Vec<String>>,
    /// The machines on which the next snapshot is to be made while it is traced, and what may be restored there.
    later: RefCell<Vec<(Machine, Vec<Pair>)>>,
    twice: bool,
}

/// The number of the snapshot that is made on every disk afterwards.
const NEXT: u64 = 9;

impl<'s> Judge<'s> {
    fn new(scenario: &'s Scenario, twice: bool) -> Self {
        Judge {
            scenario,
            scratch: scratch(),
            count: Cell::default(),
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
        for disk in machine.after_power_cut() {
            let visible = disk.visible();
            if !self.seen.borrow_mut().insert((visible, possible.to_vec())) {
                continue;
            }
            match self.recover(&disk, possible) {
                Ok(restored) if self.twice => {
                    self.later(Machine::with_model(disk, machine.model), vec![restored]);
                }
                Ok(_) => {}
                Err(problem) => {
                    let when = if has_returned { "after it returned" } else { "before it returned" };
                    self.violations.borrow_mut().push(format!("{when}: {problem}: {:?}", names(&disk)));
                }
            }
        }
    }

    /// Restores from a disk, and makes the next snapshot on it.
    fn recover(&self, disk: &Disk, possible: &[Pair]) -> Result<Pair, String> {
        let root = self.folder();
        write(disk, 0, &root);
        let mut recovery = self.scenario.subject().open(&root.join(STORE))?;
        let restored = recovery.restore()?;
        if !possible.contains(&restored) {
            return Err(format!("restored {}", show(&restored)));
        }
        recovery
            .create(&state(NEXT, self.scenario.size), NEXT)
            .map_err(|problem| format!("no create: {problem}"))?;
        let next = recovery.restore()?;
        drop(recovery);
        fs::remove_dir_all(&root).expect("the scratch folder can be removed");
        if next == self.scenario.pair(NEXT) {
            Ok(restored)
        } else {
            Err(format!("restored {} after the next create", show(&next)))
        }
    }

    fn folder(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let root = self.scratch.path().join(self.count.get().to_string());
        fs::create_dir(&root).expect("the scratch folder can be written");
        root
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
        let layout = self.scenario.subject().layout_name();
        let mut command = Command::new(program("act"));
        command.arg("create-in-each").arg(batch.path()).args([STORE, &NEXT.to_string(), layout]);
        let (done, calls) = trace(&command, batch.path(), &state(NEXT, self.scenario.size));
        assert_eq!(done.code, Some(0), "{done:?}");

        let mut by_root = BTreeMap::<usize, Vec<Call>>::new();
        for call in calls {
            let (root, call) = below_first(&call);
            by_root.entry(root).or_default().push(call);
        }
        let next = self.scenario.pair(NEXT);
        let judge = Judge::new(self.scenario, false);
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
        Tally { tried: self.count.get(), violations: self.violations.into_inner() }
    }
}

/// Does on the model what a program did.
///
/// # Panics
///
/// If the model does not allow it: then it differs from the disk.
fn apply(machine: &mut Machine, call: &Call) {
    let node = |machine: &Machine, path: &str| machine.now.find(path).unwrap_or_else(|| panic!("{call:?}"));
    match call {
        Call::MakeDir(path) => machine.make_dir(path).unwrap_or_else(|e| panic!("{call:?}: {e}")),
        Call::Open { path, truncate } => match machine.now.find(path) {
            None => drop(machine.create(path).unwrap_or_else(|e| panic!("{call:?}: {e}"))),
            Some(node) if *truncate => machine.truncate(node, 0),
            Some(_) => {}
        },
        Call::Write { path, offset, bytes } => {
            let node = node(machine, path);
            machine.write(node, *offset, bytes);
        }
        Call::Truncate(path, size) => {
            let node = node(machine, path);
            machine.truncate(node, *size);
        }
        Call::Sync(path) => {
            let node = node(machine, path);
            machine.sync(node);
        }
        Call::Link(from, to) => machine.link(from, to).unwrap_or_else(|e| panic!("{call:?}: {e}")),
        Call::Rename(from, to) => machine.rename(from, to).unwrap_or_else(|e| panic!("{call:?}: {e}")),
        Call::Remove(path) => machine.remove(path).unwrap_or_else(|e| panic!("{call:?}: {e}")),
    }
}

/// The number of the folder that a call is in, and the call within it.
fn below_first(call: &Call) -> (usize, Call) {
    let split = |path: &str| {
        let (number, rest) = path.split_once('/').unwrap_or((path, ""));
        (number.parse().expect("a numbered folder"), rest.to_owned())
    };
    match call {
        Call::MakeDir(path) => {
            let (number, path) = split(path);
            (number, Call::MakeDir(path))
        }
        Call::Open { path, truncate } => {
            let (number, path) = split(path);
            (number, Call::Open { path, truncate: *truncate })
        }
        Call::Write { path, offset, bytes } => {
            let (number, path) = split(path);
            (number, Call::Write { path, offset: *offset, bytes: bytes.clone() })
        }
        Call::Truncate(path, size) => {
            let (number, path) = split(path);
            (number, Call::Truncate(path, *size))
        }
        Call::Sync(path) => {
            let (number, path) = split(path);
            (number, Call::Sync(path))
        }
        Call::Link(from, to) => {
            let ((number, from), (_, to)) = (split(from), split(to));
            (number, Call::Link(from, to))
        }
        Call::Rename(from, to) => {
            let ((number, from), (_, to)) = (split(from), split(to));
            (number, Call::Rename(from, to))
        }
        Call::Remove(path) => {
            let (number, path) = split(path);
            (number, Call::Remove(path))
        }
    }
}

/// Reads a folder into the model.
fn read(folder: &Path) -> Disk {
    fn add(disk: &mut Disk, node: Node, folder: &Path) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let new = disk.dirs.len() + disk.files.len();
            disk.dirs.get_mut(&node).unwrap().insert(name, new);
            if path.is_dir() {
                disk.dirs.insert(new, BTreeMap::new());
                add(disk, new, &path);
            } else {
                disk.files.insert(new, Rc::new(fs::read(path).unwrap()));
            }
        }
    }
    let mut disk = Disk::with(&[]);
    add(&mut disk, 0, folder);
    disk
}

/// Writes a directory of the model into a folder. Two names of a file are two names of it there.
fn write(disk: &Disk, dir: Node, folder: &Path) {
    let mut written = BTreeMap::new();
    write_into(disk, dir, folder, &mut written);

    fn write_into(disk: &Disk, dir: Node, folder: &Path, written: &mut BTreeMap<Node, PathBuf>) {
        for (name, node) in &disk.dirs[&dir] {
            let path = folder.join(name);
            match (disk.files.get(node), written.get(node)) {
                (Some(_), Some(first)) => fs::hard_link(first, &path).unwrap(),
                (Some(contents), None) => {
                    fs::write(&path, contents.as_slice()).unwrap();
                    written.insert(*node, path);
                }
                (None, _) => {
                    fs::create_dir(&path).unwrap();
                    write_into(disk, *node, &path, written);
                }
            }
        }
    }
}

/// Names and contents, whatever the numbers.
fn contents(disk: &Disk) -> BTreeMap<String, Option<Rc<Vec<u8>>>> {
    disk.visible().into_iter().map(|(name, (_, contents))| (name, contents)).collect()
}

/// The names on a disk, with the sizes of the files.
fn names(disk: &Disk) -> Vec<String> {
    let contents = contents(disk).into_iter();
    let named = contents.map(|(name, contents)| match contents {
        Some(contents) => format!("{name} ({})", contents.len()),
        None => format!("{name}/"),
    });
    named.collect()
}
