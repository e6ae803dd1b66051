//! Going back to an older generation: the order of its steps, what failures and power cuts leave, and what becomes of what
//! was undone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::rc::Rc;

use crate::generations::{self, *};
use crate::model::{Disk, Machine, ModelDir};
use crate::seam::{Fault, FaultyDir, copy_of, rot, scratch};
use minisnap_component::dir::Dir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};

fn undone(seq: u64) -> String {
    format!("{}.undone", name(seq))
}

fn restored<D: Dir>(store: &Store<D>) -> Result<u64, Error> {
    store.restore().map(|snapshot| snapshot.seq)
}

#[test]
fn a_rollback_renames_all_but_the_newest_then_syncs_and_then_renames_that() {
    let tmp = scratch();
    for seq in 1..=4 {
        store(tmp.path()).with_settings(settings(9)).create(&seq.to_string(), seq).unwrap();
    }
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    let store = Store::new(dir.clone()).with_settings(settings(9));
    assert_eq!(store.rollback(1), Ok(vec![4, 3, 2]));
    let rename = |seq| format!("rename {} {}", name(seq), undone(seq));
    assert_eq!(
        edits(&dir),
        ["sync /".to_owned(), rename(2), rename(3), "sync /".into(), rename(4), "sync /".into()]
    );
    // It is the newest in every way, durably, and what comes next has any number that is not lower.
    assert_eq!(store.restore().map(untimed), Ok(snapshot("1", 1)));
    assert_eq!((store.newest_seq(), store.oldest_kept()), (Ok(1), Ok(1)));
    assert_eq!(store.list().unwrap().len(), 1);
    // `oldest_kept` syncs in any case.
    assert_eq!(syncs(&dir), 4);
    assert_eq!(store.create("0", 0), Err(Error::Stale(1)));
    store.create("\"again\"", 2).unwrap();
    assert_eq!(restored(&store), Ok(2));
    // Back once more: what was undone before is still there.
    assert_eq!(store.rollback(1), Ok(vec![2]));
    let expected = generations([1]).into_iter().chain([undone(2), undone(2) + "-2", undone(3), undone(4)]);
    assert_eq!(names(tmp.path()), expected.collect::<BTreeSet<_>>());
    assert!(fs::read_to_string(tmp.path().join(undone(2) + "-2")).unwrap().contains("again"));
}

#[test]
fn a_rollback_to_the_newest_changes_nothing() {
    let tmp = dir_with([1, 2]);
    assert_eq!(store(tmp.path()).rollback(2), Ok(vec![]));
    assert_eq!(names(tmp.path()), generations([1, 2]));
}

/// The way out of a number that is too high.
#[test]
fn after_a_rollback_the_numbers_begin_from_there() {
    let tmp = dir_with([1, u64::MAX]);
    let store = store(tmp.path());
    assert_eq!(store.create("2", 2), Err(Error::Stale(u64::MAX)));
    assert_eq!(store.rollback(1), Ok(vec![u64::MAX]));
    store.create("2", 2).unwrap();
    assert_eq!(names(tmp.path()), generations([1, 2]).into_iter().chain([undone(u64::MAX)]).collect());
}

#[test]
fn what_cannot_be_restored_is_not_gone_back_to() {
    let tmp = dir_with([1, 2, 3]);
    cut(tmp.path(), 1);
    let store = store(tmp.path());
    assert!(matches!(store.rollback(1), Err(Error::Corrupt(what)) if what.contains(&name(1))));
    for missing in [0, 4] {
        assert_eq!(store.rollback(missing), Err(Error::NotFound));
    }
    let _writer = store.open_writer(4).unwrap();
    assert!(matches!(store.rollback(2), Err(Error::Busy(_))));
    let present: BTreeSet<_> = generations([1, 2, 3]);
    assert!(names(tmp.path()).is_superset(&present));

    let empty = scratch();
    assert_eq!(generations::store(empty.path()).rollback(1), Err(Error::NotFound));
    let pair = generations::store(empty.path()).with_settings(Settings::default());
    pair.create("1", 1).unwrap();
    assert!(matches!(pair.rollback(1), Err(Error::Io(what)) if what.contains("no older one")));
}

/// What an instance knew of the newest one does not count: it may have rotted since.
#[test]
fn a_newest_generation_that_rotted_since_it_was_written_is_not_the_last_to_go() {
    let tmp = scratch();
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    let store = Store::new(dir.clone()).with_settings(settings(9));
    for seq in 1..=4 {
        store.create(&seq.to_string(), seq).unwrap();
    }
    let text = fs::read_to_string(tmp.path().join(name(4))).unwrap();
    rot(tmp.path().join(name(4)), text.replace("\"state\": 4", "\"state\": 5"));
    assert_eq!(restored(&generations::store(tmp.path())), Ok(3));
    assert_eq!(store.rollback(1), Ok(vec![4, 3, 2]));
    let last = edits(&dir).into_iter().rfind(|edit| edit.starts_with("rename"));
    assert_eq!(last, Some(format!("rename {} {}", name(3), undone(3))));
}

#[test]
fn a_newest_generation_that_cannot_be_read_now_is_undone_last() {
    let tmp = dir_with([1, 2, 3]);
    let dir = FaultyDir::new(tmp.path(), Fault::Broken("snapshot_00000000000000000003.json"));
    assert_eq!(Store::new(dir.clone()).with_settings(settings(3)).rollback(1), Ok(vec![3, 2]));
    let last = edits(&dir).into_iter().rfind(|edit| edit.starts_with("rename"));
    assert_eq!(last, Some(format!("rename {} {}", name(3), undone(3))));
}

/// What is done by hand is seen, whatever an instance remembers.
#[test]
fn a_generation_that_was_copied_in_by_hand_is_undone_too() {
    let tmp = dir_with([1, 2]);
    let store = store(tmp.path());
    store.create("3", 3).unwrap();
    let elsewhere = dir_with([9]);
    let time = fs::metadata(tmp.path()).unwrap().modified().unwrap();
    fs::copy(elsewhere.path().join(name(9)), tmp.path().join(name(9))).unwrap();
    fs::File::open(tmp.path()).unwrap().set_modified(time).unwrap();
    assert_eq!(store.rollback(1), Ok(vec![9, 3, 2]));
}

#[test]
fn a_directory_with_nothing_but_what_was_undone_is_no_empty_one() {
    let tmp = dir_with([1, 2]);
    store(tmp.path()).rollback(1).unwrap();
    fs::remove_file(tmp.path().join(name(1))).unwrap();
    for layout in [Layout::Pair, Layout::Numbered] {
        let store = store(tmp.path()).with_settings(Settings { layout, ..settings(3) });
        let is_told = |error: Error| matches!(&error, Error::Corrupt(what) if what.contains(&undone(2)));
        assert!(is_told(store.restore().unwrap_err()));
        assert!(is_told(store.newest_seq().unwrap_err()));
        assert!(is_told(store.create("1", 1).unwrap_err()));
    }
    assert_eq!(names(tmp.path()), BTreeSet::from([undone(2)]));
    // Nor are further ones.
    let further = undone(2) + "-2";
    fs::rename(tmp.path().join(undone(2)), tmp.path().join(&further)).unwrap();
    let told = store(tmp.path()).restore().unwrap_err().to_string();
    assert!(told.contains(&further) && told.contains("was undone by a rollback"), "{told}");
    fs::rename(tmp.path().join(further), tmp.path().join(name(2))).unwrap();
    assert_eq!(restored(&store(tmp.path())), Ok(2));
}

/// A network file system may report a rename that it did as failed.
#[test]
fn a_rename_that_is_reported_as_failed_and_was_done_is_in_doubt_and_gone_on_with() {
    let is_done = |at| {
        let mut dir = ModelDir::new(Machine::new(disk(&[1, 2, 3], &[])), Rc::new(|_| {}));
        dir.fails = Some((at, true));
        let store = Store::new(dir.clone()).with_settings(settings(9));
        let result = store.rollback(1);
        let found = restored(&Store::new(dir.clone()).with_settings(settings(9))).unwrap();
        assert_eq!(store.rollback(1).map(|_| restored(&store)), Ok(Ok(1)), "{at}: {result:?}");
        (result, found)
    };
    let results: Vec<_> = (0..5).map(is_done).collect();
    let in_doubt = |what: &str| {
        results.iter().any(|(result, found)| {
            matches!(result, Err(Error::InDoubt(text)) if text.contains(what)) && *found == 1
        })
    };
    assert!(in_doubt("whether it went back is not known"), "{results:?}");
    assert!(in_doubt("may not be durable"), "{results:?}");
    let some = |(result, found): &(Result<_, Error>, u64)| {
        matches!(result, Err(Error::Io(text)) if text.contains("some may be undone")) && *found == 3
    };
    assert!(results.iter().any(some), "{results:?}");
}

/// Of those above, a damaged one is not the stored one, and its turn does not matter.
#[test]
fn damaged_generations_above_are_undone_before_the_one_that_is_restored() {
    let tmp = dir_with([1, 2, 3]);
    damage(tmp.path(), 3);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    assert_eq!(Store::new(dir.clone()).with_settings(settings(3)).rollback(1), Ok(vec![3, 2]));
    let renames: Vec<_> = edits(&dir).into_iter().filter(|edit| edit.starts_with("rename")).collect();
    assert_eq!(renames, [3, 2].map(|seq| format!("rename {} {}", name(seq), undone(seq))));

    // None but damaged ones.
    let tmp = dir_with([1, 2, 3]);
    for seq in [2, 3] {
        damage(tmp.path(), seq);
    }
    assert_eq!(store(tmp.path()).rollback(1), Ok(vec![3, 2]));
    assert_eq!(store(tmp.path()).restore().map(untimed), Ok(snapshot("1", 1)));
}

#[test]
fn what_was_undone_is_not_pruned_and_counts_for_no_limit() {
    let tmp = dir_with([1, 2, 3]);
    store(tmp.path()).rollback(1).unwrap();
    let size = |name: &str| fs::metadata(tmp.path().join(name)).unwrap().len();
    // Room for the newest and a new one, and not for those that were undone.
    let max_total = size(&name(1)) * 2 + 200;
    assert!(max_total < size(&name(1)) + size(&undone(2)) + size(&undone(3)) + 200);
    let limited = store(tmp.path()).with_settings(Settings { max_total, ..settings(1) });
    for seq in 2..20 {
        limited.create(&seq.to_string(), seq).unwrap();
    }
    assert_eq!(names(tmp.path()), generations([19]).into_iter().chain([undone(2), undone(3)]).collect());
}

#[test]
fn any_failed_operation_of_a_rollback_leaves_the_old_or_the_older_snapshot_and_can_be_repeated() {
    let original = dir_with([1, 2, 3]);
    for at in 0.. {
        let tmp = copy_of(original.path());
        let dir = FaultyDir::new(tmp.path(), Fault::Once(at, ErrorKind::Other));
        let faulty = Store::new(dir.clone()).with_settings(settings(3));
        let result = faulty.rollback(1);
        if !dir.has_failed() {
            assert!(at > 10, "only {at} operations");
            break;
        }
        let failed = dir.log()[at].clone();
        let found = restored(&store(tmp.path())).unwrap();
        match &result {
            Ok(_) => assert_eq!(found, 1, "{failed}"),
            Err(Error::InDoubt(what)) => {
                assert!(what.contains("roll back again") && (found == 1 || found == 3), "{failed}: {what}");
            }
            Err(Error::Io(_)) => assert_eq!(found, 3, "{failed}"),
            other => panic!("{failed}: {other:?}"),
        }
        // The same instance goes on.
        faulty.rollback(1).unwrap_or_else(|error| panic!("{failed}: {error}"));
        assert_eq!(restored(&faulty), Ok(1), "{failed}");
        let expected = generations([1]).into_iter().chain([undone(2), undone(3)]).collect();
        assert_eq!(names(tmp.path()), expected, "{failed}");
    }
}

/// A directory with generations, whose states are their numbers, of which the newest ones may be damaged.
fn disk(seqs: &[u64], damaged: &[u64]) -> Disk {
    let dir = ModelDir::plain(&Disk::with(&[]));
    let store = Store::new(dir.clone()).with_settings(settings(9));
    for &seq in seqs {
        store.create(&seq.to_string(), seq).unwrap();
    }
    let mut disk = dir.machine.borrow().now.clone();
    for &seq in damaged {
        let node = disk.find(&name(seq)).unwrap();
        Rc::make_mut(disk.files.get_mut(&node).unwrap())[30] ^= 1;
    }
    disk
}

/// Goes back to 1 and cuts the power after each operation; returns how many disks that left, and what was wrong on them.
fn cut_power(machine: &Machine, old: &[u64], without_sync: Option<usize>) -> (usize, Vec<String>) {
    let (seen, violations) = (Rc::new(RefCell::new(BTreeSet::new())), Rc::new(RefCell::new(Vec::new())));
    let look = {
        let (seen, violations) = (seen.clone(), violations.clone());
        move |machine: &Machine, possible: &[u64]| {
            for disk in machine.after_power_cut() {
                if !seen.borrow_mut().insert((disk.visible(), possible.to_vec())) {
                    continue;
                }
                let store = Store::new(ModelDir::plain(&disk)).with_settings(settings(9));
                match restored(&store) {
                    Ok(seq) if possible.contains(&seq) => {}
                    other => {
                        violations.borrow_mut().push(format!("{other:?} on {:?}", disk.visible().keys()))
                    }
                }
                // It goes on, and so does who creates.
                let again = Store::new(ModelDir::plain(&disk)).with_settings(settings(9));
                let end = again.rollback(1).and_then(|_| restored(&again));
                let next = store
                    .newest_seq()
                    .and_then(|seq| store.create("9", seq + 1))
                    .and_then(|()| restored(&store));
                if end != Ok(1) || next.is_err() {
                    violations.borrow_mut().push(format!("{end:?}, {next:?} on {:?}", disk.visible().keys()));
                }
            }
        }
    };
    let possible: Vec<u64> = old.iter().copied().chain([1]).collect();
    let during = look.clone();
    let mut dir = ModelDir::new(machine.clone(), Rc::new(move |machine| during(machine, &possible)));
    dir.without_sync = without_sync;
    Store::new(dir.clone()).with_settings(settings(9)).rollback(1).unwrap();
    look(&dir.machine.borrow(), &[1]);
    let disks = seen.borrow().len();
    (disks, violations.take())
}

#[test]
fn a_power_cut_at_any_operation_of_a_rollback_leaves_the_old_or_the_older_snapshot() {
    for (seqs, damaged, old) in [
        (&[1, 2][..], &[][..], 2),
        (&[1, 2, 3, 4], &[], 4),
        (&[1, 2, 3, 4], &[4], 3),
        (&[0, 1, 2, 3, 4], &[2, 4], 3),
        (&[1, 2, 3], &[2, 3], 1),
    ] {
        let (disks, violations) = cut_power(&Machine::new(disk(seqs, damaged)), &[old], None);
        assert_eq!(violations, Vec::<String>::new(), "{seqs:?}, {damaged:?}");
        assert!(disks > seqs.len(), "{seqs:?}, {damaged:?}: only {disks} disks");
        println!("{seqs:?}, {damaged:?}: {disks} disks");
    }
}

#[test]
fn without_any_one_of_its_syncs_a_rollback_is_wrong_after_a_power_cut() {
    let all = &[1, 2, 3, 4];
    for sync in [1, 2] {
        let (_, violations) = cut_power(&Machine::new(disk(all, &[])), &[4], Some(sync));
        assert!(!violations.is_empty(), "sync {sync} can be left out");
    }
    // The first one is for what a process left that was killed after its commit: that one is undone, or is still there.
    let (_, violations) = cut_power(&Machine::new(disk(all, &[])), &[4], Some(3));
    assert!(violations.is_empty(), "there are more than three syncs: {violations:?}");
}

/// A rollback that was killed after any of its changes goes on, and a power cut then finds nothing between.
#[test]
fn a_rollback_after_one_that_was_killed_goes_on() {
    for killed_at in 0.. {
        let mut dir = ModelDir::new(Machine::new(disk(&[1, 2, 3, 4], &[])), Rc::new(|_| {}));
        dir.killed_at = Some(killed_at);
        let was_killed = Store::new(dir.clone()).with_settings(settings(9)).rollback(1).is_err();
        if !was_killed {
            assert!(killed_at >= 5, "only {killed_at} changes");
            break;
        }
        let machine = dir.machine.borrow().clone();
        let (_, violations) = cut_power(&machine, &[4], None);
        assert_eq!(violations, Vec::<String>::new(), "killed at {killed_at}");
    }
}

/// Who looks on beside it finds the one or the other.
#[test]
fn whoever_reads_beside_a_rollback_finds_the_old_or_the_older_snapshot() {
    let found = Rc::new(RefCell::new(Vec::new()));
    let seen = found.clone();
    let look = move |machine: &Machine| {
        let reader = Store::new(ModelDir::plain(&machine.now)).with_settings(settings(9));
        seen.borrow_mut().push((restored(&reader).unwrap(), reader.newest_seq().unwrap()));
    };
    let dir = ModelDir::new(Machine::new(disk(&[1, 2, 3, 4], &[])), Rc::new(look));
    Store::new(dir).with_settings(Settings { layout: Layout::Numbered, ..settings(9) }).rollback(1).unwrap();
    let mut found = found.take();
    found.dedup();
    assert_eq!(found, [(4, 4), (1, 1)]);
}
