//! Power cuts: every state of the disk that the syncs of a create leave possible is recovered, and none is a mixed pair.
//!
//! The directory is a model in memory, which knows what is durable and what is not: an edit of a directory until that
//! directory is synced, the contents of a file until the file is. After every operation, every subset of what need not
//! have survived makes a disk on which the store is opened again. A rename may be lost, be whole, or leave both names;
//! its old name, in another directory, stays in doubt until that one is synced.
//!
//! The model must be seen to bite: with any single sync left out, it finds a lost or a mixed snapshot.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::rc::Rc;

use minisnap_component::dir::{Dir, Entry, Kind, Sync};
use minisnap_component::error::Error;
use minisnap_component::store::{Snapshot, Store};

/// A file or a directory, by number; the store's directory is 0.
type Node = usize;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Disk {
    /// The entries of each directory.
    dirs: BTreeMap<Node, BTreeMap<String, Node>>,
    /// The contents of each file.
    files: BTreeMap<Node, Vec<u8>>,
}

/// Names, what they lead to, and the contents of those that are files.
type Visible = BTreeMap<String, (Node, Option<Vec<u8>>)>;

/// One change of a directory, which its next sync makes durable.
#[derive(Debug, Clone)]
struct Edit {
    dir: Node,
    name: String,
    to: Option<Node>,
    /// Of a rename: the name that goes, and its directory.
    from: Option<(Node, String)>,
}

impl Disk {
    fn with(files: &[(&str, &str)]) -> Self {
        let mut disk = Disk { dirs: [(0, BTreeMap::new())].into(), files: BTreeMap::new() };
        for (node, (name, contents)) in (1..).zip(files) {
            disk.dirs.get_mut(&0).unwrap().insert((*name).to_owned(), node);
            disk.files.insert(node, contents.as_bytes().to_vec());
        }
        disk
    }

    fn apply(&mut self, edit: &Edit, leaves_both_names: bool) {
        let mut set = |dir: Node, name: &str, to: Option<Node>| {
            let entries = self.dirs.get_mut(&dir).unwrap();
            match to {
                Some(node) => entries.insert(name.to_owned(), node),
                None => entries.remove(name),
            };
        };
        set(edit.dir, &edit.name, edit.to);
        if let Some((dir, name)) = &edit.from
            && !leaves_both_names
        {
            set(*dir, name, None);
        }
    }

    /// The names that can be reached, with what they lead to: recovery cannot tell disks apart that have them in common.
    fn visible(&self) -> Visible {
        let mut visible = BTreeMap::new();
        for (name, node) in &self.dirs[&0] {
            visible.insert(name.clone(), (*node, self.files.get(node).cloned()));
            for (inner, inner_node) in self.dirs.get(node).into_iter().flatten() {
                visible.insert(format!("{name}/{inner}"), (*inner_node, self.files.get(inner_node).cloned()));
            }
        }
        visible
    }

    fn find(&self, name: &str) -> Option<Node> {
        if name.is_empty() {
            return Some(0);
        }
        let (dir, name) = self.parent(name)?;
        self.dirs.get(&dir)?.get(name).copied()
    }

    /// The directory that a name is in, and its last part.
    fn parent<'n>(&self, name: &'n str) -> Option<(Node, &'n str)> {
        match name.split_once('/') {
            None => Some((0, name)),
            Some((dir, name)) => {
                self.dirs[&0].get(dir).filter(|node| self.dirs.contains_key(node)).map(|&node| (node, name))
            }
        }
    }
}

/// A running system.
#[derive(Clone)]
struct Machine {
    /// What its programs see.
    now: Disk,
    /// What survives a power cut in any case.
    durable: Disk,
    /// What may survive it, oldest first.
    pending: Vec<Edit>,
    /// The files whose contents may survive it.
    dirty: BTreeSet<Node>,
    next: Node,
}

impl Machine {
    fn new(disk: Disk) -> Self {
        let next = 1 + disk.dirs.keys().chain(disk.files.keys()).max().unwrap();
        Machine { durable: disk.clone(), now: disk, pending: Vec::new(), dirty: BTreeSet::new(), next }
    }

    fn edit(&mut self, edit: Edit) {
        self.now.apply(&edit, false);
        self.pending.push(edit);
    }

    /// The directory and the name of what is to be made.
    fn free(&self, name: &str) -> io::Result<(Node, String)> {
        match self.now.find(name) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => match self.now.parent(name) {
                Some((dir, name)) => Ok((dir, name.to_owned())),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// Every disk that a power cut may leave now.
    fn after_power_cut(&self) -> Vec<Disk> {
        let mut disks = vec![self.durable.clone()];
        for edit in &self.pending {
            for disk in disks.clone() {
                for leaves_both_names in [false, true] {
                    if edit.from.is_some() || !leaves_both_names {
                        let mut disk = disk.clone();
                        disk.apply(edit, leaves_both_names);
                        disks.push(disk);
                    }
                }
            }
            disks.sort();
            disks.dedup();
        }
        for node in &self.dirty {
            let whole = &self.now.files[node];
            let survivals =
                [Vec::new(), whole[..whole.len() / 2].to_vec(), vec![0; whole.len()], whole.clone()];
            disks = disks
                .into_iter()
                .flat_map(|disk| {
                    survivals.clone().map(|contents| {
                        let mut disk = disk.clone();
                        disk.files.insert(*node, contents);
                        disk
                    })
                })
                .collect();
        }
        disks
    }
}

/// The model behind the seam.
#[derive(Clone)]
struct ModelDir {
    machine: Rc<RefCell<Machine>>,
    /// Sees the machine after every change.
    look: Rc<dyn Fn(&Machine)>,
    /// The sync of this number, counted from 0, does nothing.
    without_sync: Option<usize>,
    syncs: Rc<Cell<usize>>,
    /// The change of this number, and every later one, is not made: the program was killed.
    killed_at: Option<usize>,
    changes: Rc<Cell<usize>>,
}

impl ModelDir {
    fn new(machine: Machine, look: Rc<dyn Fn(&Machine)>) -> Self {
        let (syncs, changes) = (Rc::default(), Rc::default());
        ModelDir {
            machine: Rc::new(RefCell::new(machine)),
            look,
            without_sync: None,
            syncs,
            killed_at: None,
            changes,
        }
    }

    /// A directory that nobody looks on.
    fn plain(disk: &Disk) -> Self {
        Self::new(Machine::new(disk.clone()), Rc::new(|_| {}))
    }

    fn change(&self, change: impl FnOnce(&mut Machine) -> io::Result<()>) -> io::Result<()> {
        let number = self.changes.replace(self.changes.get() + 1);
        if self.killed_at.is_some_and(|at| at <= number) {
            return Err(io::Error::other("killed"));
        }
        let changed = change(&mut self.machine.borrow_mut());
        (self.look)(&self.machine.borrow());
        changed
    }

    fn sync_counted(&self, sync: impl FnOnce(&mut Machine) -> io::Result<()>) -> io::Result<()> {
        let number = self.syncs.replace(self.syncs.get() + 1);
        self.change(|machine| if self.without_sync == Some(number) { Ok(()) } else { sync(machine) })
    }
}

impl Dir for ModelDir {
    type Reader = io::Cursor<Vec<u8>>;
    type Writer = ModelFile;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let disk = &self.machine.borrow().now;
        Ok(disk.find(name).map(|node| match disk.files.get(&node) {
            Some(contents) => Entry { kind: Kind::File, size: contents.len() as u64, modified: None },
            None => Entry { kind: Kind::Dir, size: 0, modified: None },
        }))
    }

    fn open(&self, name: &str) -> io::Result<Self::Reader> {
        let disk = &self.machine.borrow().now;
        let contents = disk.find(name).and_then(|node| disk.files.get(&node));
        contents.cloned().map(io::Cursor::new).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        let mut node = 0;
        self.change(|machine| {
            let (dir, name) = machine.free(name)?;
            node = machine.next;
            machine.next += 1;
            machine.now.files.insert(node, Vec::new());
            machine.durable.files.insert(node, Vec::new());
            machine.edit(Edit { dir, name, to: Some(node), from: None });
            Ok(())
        })?;
        Ok(ModelFile { node, dir: self.clone() })
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.change(|machine| {
            let (dir, name) = machine.free(name)?;
            let node = machine.next;
            machine.next += 1;
            machine.now.dirs.insert(node, BTreeMap::new());
            machine.durable.dirs.insert(node, BTreeMap::new());
            machine.edit(Edit { dir, name, to: Some(node), from: None });
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|machine| {
            let node = machine.now.find(from).ok_or(io::ErrorKind::NotFound)?;
            let (from_dir, from) = machine.now.parent(from).ok_or(io::ErrorKind::NotFound)?;
            let (dir, name) = machine.now.parent(to).ok_or(io::ErrorKind::NotFound)?;
            if let Some(replaced) = machine.now.find(to) {
                // Two names of one file: a rename does nothing, as POSIX has it.
                if replaced == node {
                    return Ok(());
                }
                if machine.now.dirs.contains_key(&replaced) {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
            machine.edit(Edit {
                dir,
                name: name.to_owned(),
                to: Some(node),
                from: Some((from_dir, from.to_owned())),
            });
            Ok(())
        })
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.change(|machine| {
            let node = machine.now.find(name).ok_or(io::ErrorKind::NotFound)?;
            if machine.now.dirs.get(&node).is_some_and(|entries| !entries.is_empty()) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (dir, name) = machine.now.parent(name).ok_or(io::ErrorKind::NotFound)?;
            machine.edit(Edit { dir, name: name.to_owned(), to: None, from: None });
            Ok(())
        })
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)
    }

    fn list(&self, name: &str) -> io::Result<Vec<String>> {
        let disk = &self.machine.borrow().now;
        let entries = disk.find(name).and_then(|node| disk.dirs.get(&node));
        entries.map(|entries| entries.keys().cloned().collect()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.sync_counted(|machine| {
            let dir = machine.now.find(name).ok_or(io::ErrorKind::NotFound)?;
            let mut kept = Vec::new();
            for edit in machine.pending.drain(..) {
                if edit.dir != dir {
                    kept.push(edit);
                    continue;
                }
                match &edit.from {
                    // The old name of a rename is an entry of the other directory, which is not synced.
                    Some((from, name)) if *from != dir => {
                        machine.durable.apply(&edit, true);
                        kept.push(Edit { dir: *from, name: name.clone(), to: None, from: None });
                    }
                    _ => machine.durable.apply(&edit, false),
                }
            }
            machine.pending = kept;
            Ok(())
        })
    }
}

struct ModelFile {
    node: Node,
    dir: ModelDir,
}

impl Write for ModelFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dir.change(|machine| {
            machine.now.files.get_mut(&self.node).unwrap().extend_from_slice(bytes);
            machine.dirty.insert(self.node);
            Ok(())
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sync for ModelFile {
    fn sync(&mut self) -> io::Result<()> {
        self.dir.sync_counted(|machine| {
            let contents = machine.now.files[&self.node].clone();
            machine.durable.files.insert(self.node, contents);
            machine.dirty.remove(&self.node);
            Ok(())
        })
    }
}

/// What may be restored.
type Possible = Vec<Option<Snapshot>>;

fn restore(disk: &Disk) -> Result<Option<Snapshot>, Error> {
    match Store::new(ModelDir::plain(disk)).restore() {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn snapshot(state: &str, seq: u64) -> Option<Snapshot> {
    Some(Snapshot { state: state.to_owned(), seq })
}

/// What was tried, and what was wrong.
#[derive(Default)]
struct Findings {
    disks: RefCell<BTreeSet<(Visible, bool)>>,
    violations: RefCell<Vec<String>>,
}

impl Findings {
    /// Cuts the power, and recovers; cuts it again during the recovery if `twice`.
    fn cut_power(self: &Rc<Self>, machine: &Machine, possible: &Possible, has_returned: bool, twice: bool) {
        for disk in machine.after_power_cut() {
            if !self.disks.borrow_mut().insert((disk.visible(), has_returned)) {
                continue;
            }
            let restored = match restore(&disk) {
                Ok(restored) if possible.contains(&restored) => restored,
                other => {
                    self.violations.borrow_mut().push(format!("{other:?} on {:?}", disk.visible()));
                    continue;
                }
            };
            let findings = Rc::new(Findings::default());
            let look = |possible: Possible| -> Rc<dyn Fn(&Machine)> {
                let findings = findings.clone();
                if twice {
                    Rc::new(move |machine| findings.cut_power(machine, &possible, false, false))
                } else {
                    Rc::new(|_| {})
                }
            };
            let dir =
                ModelDir::new(Machine::new(disk.clone()), look(vec![restored, snapshot("\"next\"", 9)]));
            if let Err(error) = Store::new(dir).create("\"next\"", 9) {
                self.violations.borrow_mut().push(format!("no create: {error} on {:?}", disk.visible()));
            }
            self.violations.borrow_mut().append(&mut findings.violations.borrow_mut());
        }
    }
}

/// Creates the snapshot 2 on `machine`, where `before` is restored, and cuts the power after every operation.
fn create_with_power_cuts(
    machine: &Machine,
    before: &Possible,
    without_sync: Option<usize>,
    twice: bool,
) -> Findings {
    let findings = Rc::new(Findings::default());
    let new = snapshot("\"new\"", 2);
    let mut possible = before.clone();
    possible.push(new.clone());
    let look = findings.clone();
    let mut dir =
        ModelDir::new(machine.clone(), Rc::new(move |now| look.cut_power(now, &possible, false, twice)));
    dir.without_sync = without_sync;
    Store::new(dir.clone()).create("\"new\"", 2).unwrap();
    findings.cut_power(&dir.machine.borrow(), &vec![new], true, twice);
    drop(dir);
    Rc::try_unwrap(findings).unwrap_or_else(|_| panic!("nobody looks any more"))
}

/// The disks that a create starts from, and what is restored from each.
fn starts() -> Vec<(&'static str, Disk)> {
    let ours = ModelDir::plain(&Disk::with(&[]));
    Store::new(ours.clone()).create("\"old\"", 1).unwrap();
    let ours = ours.machine.borrow().now.clone();
    let native = [("snapshot.json", "\"old\""), ("snapshot.seq", "1")];
    let native_killed = [("snapshot.json", "\"old\""), ("snapshot.seq", "0"), ("snapshot.seq.tmp", "1")];
    let native_early = [&native[..], &[("snapshot.json.tmp", "\"x\""), ("snapshot.seq.tmp", "5")]].concat();
    vec![
        ("nothing", Disk::with(&[])),
        ("ours", ours),
        ("native", Disk::with(&native)),
        ("native, killed between its renames", Disk::with(&native_killed)),
        ("native, killed before its renames", Disk::with(&native_early)),
    ]
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new_snapshot() {
    for (start, disk) in starts() {
        let before = vec![restore(&disk).unwrap()];
        let findings = create_with_power_cuts(&Machine::new(disk), &before, None, true);
        let disks = findings.disks.borrow().len();
        assert_eq!(findings.violations.into_inner(), Vec::<String>::new(), "{start}");
        assert!(disks >= 30, "{start}: only {disks} disks were tried");
        println!("{start}: {disks} disks");
    }
}

/// A kill leaves the machine running: what was not durable is not, when the next process builds on it. What a process
/// was given to read since, a power cut must not take back.
#[test]
fn a_power_cut_after_a_kill_leaves_what_was_read_since_or_a_snapshot_that_was_created() {
    let mut machines = Vec::new();
    for (start, disk) in starts() {
        let before = restore(&disk).unwrap();
        for killed_at in 0.. {
            let mut dir = ModelDir::new(Machine::new(disk.clone()), Rc::new(|_| {}));
            dir.killed_at = Some(killed_at);
            if Store::new(dir.clone()).create("\"killed\"", 2).is_ok() {
                break;
            }
            let machine = dir.machine.borrow().clone();
            let possible = vec![before.clone(), snapshot("\"killed\"", 2)];
            machines.push((format!("{start}, killed at {killed_at}"), machine, possible));
        }
    }
    // Native minisnap renames and syncs no directory.
    let files = [("snapshot.json", "\"older\""), ("snapshot.seq", "0")];
    let temporaries = [("snapshot.json.tmp", "\"old\""), ("snapshot.seq.tmp", "1")];
    let native = ModelDir::plain(&Disk::with(&[files, temporaries].concat()));
    native.rename("snapshot.json.tmp", "snapshot.json").unwrap();
    let possible = vec![snapshot("\"older\"", 0), snapshot("\"old\"", 1)];
    machines.push(("native, killed just now".to_owned(), native.machine.borrow().clone(), possible));

    for (killed, machine, possible) in machines {
        let findings = create_with_power_cuts(&machine, &possible, None, false);
        assert_eq!(findings.violations.into_inner(), Vec::<String>::new(), "{killed}");

        let dir = ModelDir::new(machine, Rc::new(|_| {}));
        let read = match Store::new(dir.clone()).restore() {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                assert_eq!(error, Error::NotFound, "{killed}");
                None
            }
        };
        let machine = dir.machine.borrow().clone();
        let at_once = Rc::new(Findings::default());
        at_once.cut_power(&machine, &vec![read.clone()], false, false);
        let later = create_with_power_cuts(&machine, &vec![read], None, false);
        for violations in [&at_once.violations, &later.violations] {
            assert_eq!(*violations.borrow(), Vec::<String>::new(), "{killed}, and read since");
        }
    }
}

#[test]
fn without_any_one_of_its_syncs_a_create_loses_or_mixes_a_snapshot() {
    let (_, ours) = starts().remove(1);
    let before = vec![restore(&ours).unwrap()];
    let machine = Machine::new(ours);
    for sync in 0..6 {
        let findings = create_with_power_cuts(&machine, &before, Some(sync), false);
        assert!(!findings.violations.borrow().is_empty(), "sync {sync} can be left out");
    }
    let findings = create_with_power_cuts(&machine, &before, Some(6), false);
    assert!(findings.violations.borrow().is_empty(), "there are more than six syncs");
}

#[test]
fn without_its_first_sync_a_settling_mixes_a_snapshot() {
    // Killed after its commit point and before its sync: on the machine, the commit is there.
    let native = Disk::with(&[("snapshot.json", "\"old\""), ("snapshot.seq", "1")]);
    let machine = (0..)
        .find_map(|killed_at| {
            let mut dir = ModelDir::new(Machine::new(native.clone()), Rc::new(|_| {}));
            dir.killed_at = Some(killed_at);
            let _ = Store::new(dir.clone()).create("\"killed\"", 2);
            let machine = dir.machine.borrow().clone();
            machine.now.find("snapshot.commit").is_some().then_some(machine)
        })
        .unwrap();
    let possible = vec![snapshot("\"old\"", 1), snapshot("\"killed\"", 2)];
    assert!(create_with_power_cuts(&machine, &possible, None, false).violations.borrow().is_empty());
    let without = create_with_power_cuts(&machine, &possible, Some(0), false);
    let violations = without.violations.borrow();
    assert!(
        violations.iter().any(|v| v.contains("\\\"killed\\\"\", seq: 1")),
        "no mixed pair: {violations:?}"
    );
}
