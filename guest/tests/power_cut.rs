//! Power cuts: every state of the disk that the syncs of a create leave possible is recovered, and none is a mixed pair.
//!
//! The directory is a model in memory, which knows what is durable and what is not: an edit of a directory until that
//! directory is synced, the contents of a file until the file is. After every operation, every subset of what need not
//! have survived makes a disk on which the store is opened again. A rename may be lost, be whole, or leave both names;
//! its old name, in another directory, stays in doubt until that one is synced.
//!
//! The model must be seen to bite: with any single sync left out, it finds a lost or a mixed snapshot.

mod model;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use minisnap_component::dir::Dir;
use minisnap_component::error::Error;
use minisnap_component::store::{Snapshot, Store};
use model::{Disk, Machine, ModelDir, Visible};

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
