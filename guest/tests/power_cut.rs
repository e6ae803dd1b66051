//! Power cuts: every state of the disk that the syncs of a create leave possible is recovered, in both layouts, and none
//! is a mixed pair.
//!
//! The directory is a model in memory, which knows what is durable and what is not: an edit of a directory until that
//! directory is synced, the contents of a file until the file is. After every operation, every subset of what need not
//! have survived makes a disk on which the store is opened again. A rename may be lost, be whole, or leave both names;
//! its old name, in another directory, stays in doubt until that one is synced.
//!
//! The model must be seen to bite: with any single sync left out, it finds a lost or a mixed snapshot.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::{Disk, Machine, ModelDir};
use crate::scenarios::*;
use minisnap_component::dir::Dir;
use minisnap_component::error::Error;
use minisnap_component::store::Layout;

#[test]
fn a_power_cut_at_any_operation_leaves_the_old_or_the_new_snapshot() {
    for scenario in scenarios() {
        let before = vec![scenario.restore(&scenario.disk).unwrap()];
        let machine = Machine::new(scenario.disk.clone());
        let findings = create_with_power_cuts(&scenario, &machine, &before, None, true);
        let disks = findings.disks.borrow().len();
        assert_eq!(findings.violations.into_inner(), Vec::<String>::new(), "{}", scenario.name);
        assert!(disks >= 8, "{}: only {disks} disks were tried", scenario.name);
        println!("{}: {disks} disks", scenario.name);
    }
}

/// Creates that go wrong after `before`: of another snapshot, of the one that is created later, of the same number, of the
/// same state.
fn creates_to_fail(before: &Pair) -> Vec<(String, u64)> {
    let mut creates = vec![("\"killed\"".to_owned(), 4), ("\"new\"".to_owned(), 4)];
    if let Some((state, seq)) = before {
        creates.extend([("\"killed\"".to_owned(), *seq), (state.clone(), 4)]);
    }
    creates
}

/// Machines on which a create was killed, after each of its changes, and what may be restored there.
fn killed_machines() -> Vec<(Scenario, Machine, Possible)> {
    let mut machines = Vec::new();
    for scenario in scenarios() {
        let before = scenario.restore(&scenario.disk).unwrap();
        for (state, seq) in creates_to_fail(&before) {
            let possible = vec![before.clone(), pair(&state, seq)];
            for killed_at in 0.. {
                let mut dir = ModelDir::new(Machine::new(scenario.disk.clone()), Rc::new(|_| {}));
                dir.killed_at = Some(killed_at);
                let was_killed = scenario.store(dir.clone()).create(&state, seq).is_err();
                // What comes after the commit is tried again by the next create, and not reported.
                if !was_killed && dir.changes.get() <= killed_at {
                    break;
                }
                let name = format!("{}, {state} {seq} killed at {killed_at}", scenario.name);
                let machine = dir.machine.borrow().clone();
                machines.push((Scenario { name, ..scenario.clone() }, machine, possible.clone()));
            }
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
    machines
}

/// A kill leaves the machine running: what was not durable is not, when the next process builds on it. What a process
/// was given to read since, a power cut must not take back.
#[test]
fn a_power_cut_after_a_kill_leaves_what_was_read_since_or_a_snapshot_that_was_created() {
    for (scenario, machine, possible) in killed_machines() {
        let killed = &scenario.name;
        let findings = create_with_power_cuts(&scenario, &machine, &possible, None, false);
        assert_eq!(findings.violations.into_inner(), Vec::<String>::new(), "{killed}");

        // A number that a refusal tells is one that was read.
        let dir = ModelDir::new(machine.clone(), Rc::new(|_| {}));
        if let Err(Error::Stale(seq)) = scenario.store(dir.clone()).create("0", 0) {
            let told = possible.iter().filter(|pair| pair.as_ref().is_some_and(|pair| pair.1 == seq));
            let (told, findings) = (told.cloned().collect(), Rc::new(Findings::default()));
            findings.cut_power(&scenario, &dir.machine.borrow(), &told, false, false);
            assert_eq!(*findings.violations.borrow(), Vec::<String>::new(), "{killed}, and told {seq}");
        }

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
    for (name, syncs) in
        [("ours", 5), ("native", 5), ("a generation", 2), ("as many generations as are kept", 2)]
    {
        let scenario = scenario(name);
        let before = vec![scenario.restore(&scenario.disk).unwrap()];
        let machine = Machine::new(scenario.disk.clone());
        // The first one is for what a process left that was killed.
        for sync in 1..=syncs {
            let findings = create_with_power_cuts(&scenario, &machine, &before, Some(sync), false);
            assert!(!findings.violations.borrow().is_empty(), "{name}: sync {sync} can be left out");
        }
        let findings = create_with_power_cuts(&scenario, &machine, &before, Some(syncs + 1), false);
        assert!(findings.violations.borrow().is_empty(), "{name}: there are more than {syncs} syncs");
    }
}

/// Of what a process left that was killed, each sync of the settling is needed somewhere.
#[test]
fn without_any_one_of_its_syncs_a_settling_loses_or_mixes_a_snapshot() {
    let machines = killed_machines();
    for (name, sync) in [
        // Before anything: a rename of native minisnap's may be lost, and the one that follows it kept.
        ("native, killed just now", 0),
        // After the removal of native minisnap's waiting number.
        ("native, killed before its renames, \"old\" 4 killed at 0", 1),
        // After the removal of the new sums.
        ("native, \"old\" 4 killed at 9", 1),
        // After the renames.
        ("ours, \"killed\" 4 killed at 12", 1),
    ] {
        let (scenario, machine, possible) = machines.iter().find(|machine| machine.0.name == name).unwrap();
        // What is read now is not to change.
        let read = restore(&scenario.store(ModelDir::new(machine.clone(), Rc::new(|_| {})))).unwrap();
        let possible = if sync == 0 { possible.clone() } else { vec![read] };
        let findings = |without| create_with_power_cuts(scenario, machine, &possible, without, false);
        assert_eq!(findings(None).violations.into_inner(), Vec::<String>::new(), "{name}");
        assert!(!findings(Some(sync)).violations.borrow().is_empty(), "{name}: sync {sync} can be left out");
    }
}

/// Whoever may not write reads beside a writer, and a refused create does not change that.
#[test]
fn what_a_store_reads_that_has_written_nothing_no_power_cut_takes_back() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let disk = created(layout, &[("\"old\"", 1)]);
        for killed_at in 0..20 {
            let scenario = Scenario { name: String::new(), layout, disk: disk.clone() };
            let dir = ModelDir::plain(&disk);
            let reader = scenario.store(dir.clone());
            assert_eq!(reader.create("0", 0), Err(Error::Stale(1)));
            let writer = ModelDir { killed_at: Some(killed_at), changes: Rc::default(), ..dir.clone() };
            let _ = scenario.store(writer).create("\"new\"", 4);
            let read = restore(&reader).unwrap();
            for disk in dir.machine.borrow().after_power_cut() {
                assert_eq!(scenario.restore(&disk).as_ref(), Ok(&read), "{layout:?}, killed at {killed_at}");
            }
        }
    }
}

#[test]
fn a_create_that_failed_does_not_come_back_after_a_power_cut() {
    for scenario in scenarios() {
        let before = scenario.restore(&scenario.disk).unwrap();
        for (state, seq) in creates_to_fail(&before) {
            for fails in (0..).flat_map(|at| [(at, false), (at, true)]) {
                let failed = pair(&state, seq);
                let possible = Rc::new(RefCell::new(vec![before.clone(), failed.clone()]));
                let findings = Rc::new(Findings::default());
                let look = {
                    let (findings, scenario, possible) =
                        (findings.clone(), scenario.clone(), possible.clone());
                    move |now: &Machine| findings.cut_power(&scenario, now, &possible.borrow(), false, false)
                };
                let mut dir = ModelDir::new(Machine::new(scenario.disk.clone()), Rc::new(look));
                dir.fails = Some(fails);
                let store = scenario.store(dir.clone());
                let result = store.create(&state, seq);
                if dir.changes.get() <= fails.0 {
                    break;
                }
                match &result {
                    Ok(()) => drop(possible.borrow_mut().remove(0)),
                    Err(Error::InDoubt(_)) => {}
                    Err(_) => drop(possible.borrow_mut().pop()),
                }
                // What was seen before was not checked against what is possible now.
                findings.disks.borrow_mut().clear();
                findings.cut_power(&scenario, &dir.machine.borrow(), &possible.borrow(), false, false);

                // The same process goes on.
                let new = pair("\"new\"", 5);
                possible.borrow_mut().push(new.clone());
                store.create("\"new\"", 5).unwrap();
                findings.disks.borrow_mut().clear();
                findings.cut_power(&scenario, &dir.machine.borrow(), &vec![new], true, false);
                let violations = findings.violations.borrow();
                assert_eq!(
                    *violations,
                    Vec::<String>::new(),
                    "{}, {state} {seq}, {fails:?}: {result:?}",
                    scenario.name
                );
            }
        }
    }
}
