//! Power cuts: every state of the disk that the syncs of a create leave possible is recovered, in both layouts, and none
//! is a mixed pair.
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
use std::num::NonZeroU32;
use std::rc::Rc;

use minisnap_component::dir::Dir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};
use model::{Disk, Machine, ModelDir, Visible};

/// A state and its number, or that there is no snapshot.
type Pair = Option<(String, u64)>;

/// What may be restored.
type Possible = Vec<Pair>;

fn pair(state: &str, seq: u64) -> Pair {
    Some((state.to_owned(), seq))
}

fn restore<D: Dir>(store: &Store<D>) -> Result<Pair, Error> {
    match store.restore() {
        Ok(snapshot) => Ok(Some((snapshot.state, snapshot.seq))),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A directory in which the snapshot 2 is made while the power is cut.
#[derive(Clone)]
struct Scenario {
    name: String,
    layout: Layout,
    disk: Disk,
}

impl Scenario {
    fn store(&self, dir: ModelDir) -> Store<ModelDir> {
        let keep = NonZeroU32::new(2).unwrap();
        Store::new(dir).with_settings(Settings {
            layout: self.layout,
            keep: Some(keep),
            ..Settings::default()
        })
    }

    fn restore(&self, disk: &Disk) -> Result<Pair, Error> {
        restore(&self.store(ModelDir::plain(disk)))
    }
}

/// What was tried, and what was wrong.
#[derive(Default)]
struct Findings {
    disks: RefCell<BTreeSet<(Visible, bool)>>,
    violations: RefCell<Vec<String>>,
}

impl Findings {
    /// Cuts the power, and recovers; cuts it again during the recovery if `twice`.
    fn cut_power(
        self: &Rc<Self>,
        scenario: &Scenario,
        machine: &Machine,
        possible: &Possible,
        has_returned: bool,
        twice: bool,
    ) {
        for disk in machine.after_power_cut() {
            if !self.disks.borrow_mut().insert((disk.visible(), has_returned)) {
                continue;
            }
            let restored = match scenario.restore(&disk) {
                Ok(restored) if possible.contains(&restored) => restored,
                other => {
                    self.violations.borrow_mut().push(format!("{other:?} on {:?}", disk.visible()));
                    continue;
                }
            };
            let findings = Rc::new(Findings::default());
            let next = pair("\"next\"", 9);
            let look = |possible: Possible| -> Rc<dyn Fn(&Machine)> {
                let (findings, scenario) = (findings.clone(), scenario.clone());
                if twice {
                    Rc::new(move |machine| findings.cut_power(&scenario, machine, &possible, false, false))
                } else {
                    Rc::new(|_| {})
                }
            };
            let dir = ModelDir::new(Machine::new(disk.clone()), look(vec![restored, next.clone()]));
            let store = scenario.store(dir);
            if let Err(error) = store.create("\"next\"", 9) {
                self.violations.borrow_mut().push(format!("no create: {error} on {:?}", disk.visible()));
            } else if restore(&store) != Ok(next) {
                self.violations.borrow_mut().push(format!("not the next on {:?}", disk.visible()));
            }
            self.violations.borrow_mut().append(&mut findings.violations.borrow_mut());
        }
    }
}

/// Makes the snapshot 2 on `machine`, where `before` is restored, and cuts the power after every operation.
fn create_with_power_cuts(
    scenario: &Scenario,
    machine: &Machine,
    before: &Possible,
    without_sync: Option<usize>,
    twice: bool,
) -> Findings {
    let findings = Rc::new(Findings::default());
    let after = vec![pair("\"new\"", 2)];
    let possible = [before.clone(), after.clone()].concat();
    let (look, looks_at) = (findings.clone(), scenario.clone());
    let mut dir = ModelDir::new(
        machine.clone(),
        Rc::new(move |now| look.cut_power(&looks_at, now, &possible, false, twice)),
    );
    dir.without_sync = without_sync;
    scenario.store(dir.clone()).create("\"new\"", 2).unwrap();
    findings.cut_power(scenario, &dir.machine.borrow(), &after, true, twice);
    drop(dir);
    Rc::try_unwrap(findings).unwrap_or_else(|_| panic!("nobody looks any more"))
}

/// A directory in which these snapshots were created, in this order.
fn created(layout: Layout, snapshots: &[(&str, u64)]) -> Disk {
    let dir = ModelDir::plain(&Disk::with(&[]));
    let store = Store::new(dir.clone()).with_settings(Settings { layout, ..Settings::default() });
    for (state, seq) in snapshots {
        store.create(state, *seq).unwrap();
    }
    dir.machine.borrow().now.clone()
}

fn scenarios() -> Vec<Scenario> {
    use Layout::{Numbered, Pair};

    let ours = created(Pair, &[("\"old\"", 1)]);
    let native = [("snapshot.json", "\"old\""), ("snapshot.seq", "1")];
    let native_killed = [("snapshot.json", "\"old\""), ("snapshot.seq", "0"), ("snapshot.seq.tmp", "1")];
    let native_early = [&native[..], &[("snapshot.json.tmp", "\"x\""), ("snapshot.seq.tmp", "5")]].concat();

    let generation = created(Numbered, &[("\"old\"", 1)]);
    let generations = created(Numbered, &[("\"oldest\"", 0), ("\"old\"", 1)]);
    let same_number = created(Numbered, &[("\"oldest\"", 0), ("\"old\"", 2)]);
    let mut damaged = created(Numbered, &[("\"old\"", 1), ("\"lost\"", 2)]);
    let newest = damaged.find("snapshot_00000000000000000002.json").unwrap();
    Rc::make_mut(damaged.files.get_mut(&newest).unwrap())[30] ^= 1;
    let native_numbered =
        [("snapshot_00000000000000000001.json", "{\n  \"seq\": 1,\n  \"state\": \"old\"\n}")];
    let leftovers = [
        &native_numbered[..],
        &[("snapshot_00000000000000000005.json.tmp", "{\n"), ("snapshot.pending", "")],
    ]
    .concat();

    [
        ("nothing", Pair, Disk::with(&[])),
        ("ours", Pair, ours),
        ("native", Pair, Disk::with(&native)),
        ("native, killed between its renames", Pair, Disk::with(&native_killed)),
        ("native, killed before its renames", Pair, Disk::with(&native_early)),
        ("nothing, numbered", Numbered, Disk::with(&[])),
        ("a generation", Numbered, generation),
        ("as many generations as are kept", Numbered, generations),
        ("a generation of the same number", Numbered, same_number),
        ("a damaged generation of the same number", Numbered, damaged),
        ("native, numbered", Numbered, Disk::with(&native_numbered)),
        ("what a numbered create left", Numbered, Disk::with(&leftovers)),
    ]
    .map(|(name, layout, disk)| Scenario { name: name.to_owned(), layout, disk })
    .into()
}

fn scenario(name: &str) -> Scenario {
    scenarios().into_iter().find(|scenario| scenario.name == name).unwrap()
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new_snapshot() {
    for scenario in scenarios() {
        let before = vec![scenario.restore(&scenario.disk).unwrap()];
        let machine = Machine::new(scenario.disk.clone());
        let findings = create_with_power_cuts(&scenario, &machine, &before, None, true);
        let disks = findings.disks.borrow().len();
        assert_eq!(findings.violations.into_inner(), Vec::<String>::new(), "{}", scenario.name);
        assert!(disks >= 10, "{}: only {disks} disks were tried", scenario.name);
        println!("{}: {disks} disks", scenario.name);
    }
}

/// A kill leaves the machine running: what was not durable is not, when the next process builds on it. What a process
/// was given to read since, a power cut must not take back.
#[test]
fn a_power_cut_after_a_kill_leaves_what_was_read_since_or_a_snapshot_that_was_created() {
    let mut machines = Vec::new();
    for scenario in scenarios() {
        let before = vec![scenario.restore(&scenario.disk).unwrap()];
        for killed_at in 0.. {
            let mut dir = ModelDir::new(Machine::new(scenario.disk.clone()), Rc::new(|_| {}));
            dir.killed_at = Some(killed_at);
            let was_killed = scenario.store(dir.clone()).create("\"killed\"", 2).is_err();
            // What comes after the commit is tried again by the next create, and not reported.
            if !was_killed && dir.changes.get() <= killed_at {
                break;
            }
            let machine = dir.machine.borrow().clone();
            let possible = [before.clone(), vec![pair("\"killed\"", 2)]].concat();
            let name = format!("{}, killed at {killed_at}", scenario.name);
            machines.push((Scenario { name, ..scenario.clone() }, machine, possible));
        }
    }
    // Native minisnap renames and syncs no directory.
    let files = [("snapshot.json", "\"older\""), ("snapshot.seq", "0")];
    let temporaries = [("snapshot.json.tmp", "\"old\""), ("snapshot.seq.tmp", "1")];
    let native = ModelDir::plain(&Disk::with(&[files, temporaries].concat()));
    native.rename("snapshot.json.tmp", "snapshot.json").unwrap();
    let possible = vec![pair("\"older\"", 0), pair("\"old\"", 1)];
    let killed_just_now = Scenario { name: "native, killed just now".to_owned(), ..scenario("native") };
    machines.push((killed_just_now, native.machine.borrow().clone(), possible));

    for (scenario, machine, possible) in machines {
        let killed = &scenario.name;
        let findings = create_with_power_cuts(&scenario, &machine, &possible, None, false);
        assert_eq!(findings.violations.into_inner(), Vec::<String>::new(), "{killed}");

        let dir = ModelDir::new(machine.clone(), Rc::new(|_| {}));
        let read = restore(&scenario.store(dir.clone())).unwrap();
        let machine = dir.machine.borrow().clone();
        let at_once = Rc::new(Findings::default());
        at_once.cut_power(&scenario, &machine, &vec![read.clone()], false, false);
        let later = create_with_power_cuts(&scenario, &machine, &vec![read], None, false);
        for violations in [&at_once.violations, &later.violations] {
            assert_eq!(*violations.borrow(), Vec::<String>::new(), "{killed}, and read since");
        }
    }
}

#[test]
fn without_any_one_of_its_syncs_a_create_loses_or_mixes_a_snapshot() {
    for (name, syncs) in [("ours", 6), ("a generation", 2), ("as many generations as are kept", 2)] {
        let scenario = scenario(name);
        let before = vec![scenario.restore(&scenario.disk).unwrap()];
        let machine = Machine::new(scenario.disk.clone());
        for sync in 0..syncs {
            let findings = create_with_power_cuts(&scenario, &machine, &before, Some(sync), false);
            assert!(!findings.violations.borrow().is_empty(), "{name}: sync {sync} can be left out");
        }
        let findings = create_with_power_cuts(&scenario, &machine, &before, Some(syncs), false);
        assert!(findings.violations.borrow().is_empty(), "{name}: there are more than {syncs} syncs");
    }
}

#[test]
fn without_its_first_sync_a_settling_mixes_a_snapshot() {
    // Killed after its commit point and before its sync: on the machine, the commit is there.
    let scenario = scenario("native");
    let machine = (0..)
        .find_map(|killed_at| {
            let mut dir = ModelDir::new(Machine::new(scenario.disk.clone()), Rc::new(|_| {}));
            dir.killed_at = Some(killed_at);
            let _ = Store::new(dir.clone()).create("\"killed\"", 2);
            let machine = dir.machine.borrow().clone();
            machine.now.find("snapshot.commit").is_some().then_some(machine)
        })
        .unwrap();
    let possible = vec![pair("\"old\"", 1), pair("\"killed\"", 2)];
    let with = create_with_power_cuts(&scenario, &machine, &possible, None, false);
    assert!(with.violations.borrow().is_empty());
    let without = create_with_power_cuts(&scenario, &machine, &possible, Some(0), false);
    let violations = without.violations.borrow();
    assert!(
        violations.iter().any(|v| v.contains("(\"\\\"killed\\\"\", 1)")),
        "no mixed pair: {violations:?}"
    );
}
