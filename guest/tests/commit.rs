//! The commit of the pair layout: its order, and what every failure and every kill in the middle of it leaves.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::seam::{DIR_TIME, Fault, FaultyDir, copy_of, scratch};
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Soundness, Store};
use proptest::prelude::*;

fn store(dir: &Path) -> Store<OsDir> {
    Store::new(OsDir::new(dir))
}

fn snapshot(state: &str, seq: u64) -> Snapshot {
    let state = state.to_owned();
    Snapshot { state, seq, modified: None, soundness: Soundness::Verified, skipped: Vec::new() }
}

/// The same without its time, which differs each time.
fn untimed(snapshot: Snapshot) -> Snapshot {
    Snapshot { modified: None, ..snapshot }
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

const FILES: [&str; 3] = ["snapshot.json", "snapshot.seq", "snapshot.sum"];

/// What was done to the disk, in order.
fn edits(dir: &FaultyDir) -> Vec<String> {
    let mut log = dir.log();
    log.retain(|line| !["look", "list", "open", "read"].iter().any(|reading| line.starts_with(reading)));
    log.dedup();
    log
}

#[test]
fn a_create_writes_syncs_and_renames_in_this_order() {
    let tmp = scratch();
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    Store::new(dir.clone()).create("1", 7).unwrap();
    assert_eq!(
        edits(&dir),
        [
            "sync /",
            "create snapshot.json.new",
            "write snapshot.json.new",
            "sync snapshot.json.new",
            "create snapshot.seq.new",
            "write snapshot.seq.new",
            "sync snapshot.seq.new",
            "create snapshot.sum.new",
            "write snapshot.sum.new",
            "sync snapshot.sum.new",
            "sync /",
            "rename snapshot.sum.new snapshot.sum",
            "rename snapshot.json.new snapshot.json",
            "rename snapshot.seq.new snapshot.seq",
            "sync /",
        ]
    );
    assert_eq!(names(tmp.path()), FILES.map(str::to_owned).into());
}

/// The edits of a create that is refused as stale, so that they are those of its settling.
fn settling(path: &Path) -> Vec<String> {
    let dir = FaultyDir::new(path, Fault::None);
    assert!(matches!(Store::new(dir.clone()).create("1", 0), Err(Error::Stale(_))));
    edits(&dir)
}

#[test]
fn a_settling_syncs_what_it_finds_before_it_builds_on_it() {
    // A process that was killed after its commit point may not have synced it.
    let tmp = scratch();
    store(tmp.path()).create("1", 7).unwrap();
    for name in ["snapshot.json", "snapshot.seq"] {
        fs::rename(tmp.path().join(name), tmp.path().join(format!("{name}.new"))).unwrap();
    }
    assert_eq!(
        settling(tmp.path()),
        [
            "sync /",
            "rename snapshot.json.new snapshot.json",
            "rename snapshot.seq.new snapshot.seq",
            "sync /"
        ]
    );

    // And before it: without the sums first, the others' removal would look as if they had been moved.
    for name in FILES {
        fs::write(tmp.path().join(format!("{name}.new")), "8").unwrap();
    }
    assert_eq!(
        settling(tmp.path()),
        [
            "sync /",
            "remove snapshot.sum.new",
            "sync /",
            "remove snapshot.json.new",
            "remove snapshot.seq.new",
            "sync /"
        ]
    );

    // Native minisnap, killed between its renames, which it never syncs.
    let tmp = scratch();
    for (name, contents) in [("snapshot.json", "2"), ("snapshot.seq", "1"), ("snapshot.seq.tmp", "2")] {
        fs::write(tmp.path().join(name), contents).unwrap();
    }
    assert_eq!(settling(tmp.path()), ["sync /", "rename snapshot.seq.tmp snapshot.seq", "sync /"]);

    // Or before them: alone, the number would be taken for that of the state in place.
    for name in ["snapshot.json.tmp", "snapshot.seq.tmp"] {
        fs::write(tmp.path().join(name), "3").unwrap();
    }
    assert_eq!(
        settling(tmp.path()),
        ["sync /", "remove snapshot.seq.tmp", "sync /", "remove snapshot.json.tmp", "sync /"]
    );
}

/// Puts a snapshot into a new directory, makes another with `fault` on the way, and returns what `check` needs.
fn with_fault(fault: Fault, check: impl Fn(&Path, &FaultyDir, Result<(), Error>)) -> bool {
    let tmp = scratch();
    store(tmp.path()).create(r#"{"old":true}"#, 1).unwrap();
    let dir = FaultyDir::new(tmp.path(), fault);
    let result = Store::new(dir.clone()).create(r#"{"new":true}"#, 2);
    check(tmp.path(), &dir, result);
    dir.has_failed()
}

const OLD: &str = "{\n  \"old\": true\n}";
const NEW: &str = "{\n  \"new\": true\n}";

#[test]
fn any_failed_operation_is_reported_and_costs_no_data() {
    for (kind, expected) in [
        (ErrorKind::Other, Error::Io as fn(String) -> Error),
        (ErrorKind::StorageFull, Error::NoSpace),
        (ErrorKind::PermissionDenied, Error::AccessDenied),
    ] {
        any_failed_operation(kind, expected);
    }
}

/// Fails each operation in turn. `expected` is what the failure is called before the commit point.
fn any_failed_operation(kind: ErrorKind, expected: fn(String) -> Error) {
    let mut at = 0;
    loop {
        let met = with_fault(Fault::Once(at, kind), |path, dir, result| {
            let restored = store(path).restore().map(untimed).unwrap();
            if dir.has_failed() && dir.log()[at] != DIR_TIME {
                let operation = &dir.log()[at];
                let committed = dir.log()[..at].contains(&"rename snapshot.sum.new snapshot.sum".to_owned());
                let error = result.clone().unwrap_err();
                let problem = error.to_string();
                if committed {
                    assert_eq!(error, Error::InDoubt(problem.clone()), "{at}, {operation}");
                    assert!(problem.contains("the new snapshot is in place"), "{at}, {operation}: {problem}");
                } else {
                    assert_eq!(error, expected(problem.clone()), "{at}, {operation}");
                    assert!(problem.starts_with("cannot "), "{at}, {operation}: {problem}");
                }
                assert!(
                    [snapshot(OLD, 1), snapshot(NEW, 2)].contains(&restored),
                    "{at}, {operation}: {restored:?}"
                );
                assert_eq!(restored.seq == 2, committed, "{at}, {operation}");
                if !committed {
                    assert_eq!(
                        names(path),
                        FILES.map(str::to_owned).into(),
                        "{at}, {operation}: left behind"
                    );
                }
            } else {
                assert_eq!((result, restored), (Ok(()), snapshot(NEW, 2)));
            }
            store(path).create("3", 3).unwrap();
            assert_eq!(store(path).restore().map(untimed), Ok(snapshot("3", 3)));
            assert_eq!(names(path), FILES.map(str::to_owned).into());
        });
        if !met {
            break;
        }
        at += 1;
    }
    assert!(at > 30, "only {at} operations were tried");
}

#[test]
fn a_kill_at_any_operation_leaves_the_old_or_the_new_snapshot() {
    let mut at = 0;
    let mut seen = BTreeSet::new();
    while with_fault(Fault::Crash(at), |path, dir, result| {
        let restored = store(path).restore().map(untimed).unwrap();
        seen_pair(&restored);
        if result.is_ok() {
            assert!(!dir.has_failed() || dir.log()[at] == DIR_TIME);
            assert_eq!(restored.seq, 2);
        }
        // A kill at any operation of the recovery, too.
        let mut again = 0;
        loop {
            let copy = copy_of(path);
            let dir = FaultyDir::new(copy.path(), Fault::Crash(again));
            let result = Store::new(dir.clone()).create("3", 3);
            let recovered = store(copy.path()).restore().map(untimed).unwrap();
            assert!(recovered == restored || recovered == snapshot("3", 3), "{at}, {again}: {recovered:?}");
            store(copy.path()).create("4", 4).unwrap();
            assert_eq!(store(copy.path()).restore().map(untimed), Ok(snapshot("4", 4)));
            assert_eq!(names(copy.path()), FILES.map(str::to_owned).into());
            again += 1;
            if result.is_ok() {
                break;
            }
        }
    }) {
        at += 1;
        seen.insert(at);
    }
    assert!(seen.len() > 30, "only {} operations were tried", seen.len());

    fn seen_pair(restored: &Snapshot) {
        assert!([snapshot(OLD, 1), snapshot(NEW, 2)].contains(restored), "{restored:?}");
    }
}

#[test]
fn the_kinds_of_failures_keep_their_names() {
    // The first write is of the state; what fails it fails the create.
    let at = {
        let tmp = scratch();
        let dir = FaultyDir::new(tmp.path(), Fault::None);
        Store::new(dir.clone()).create("1", 1).unwrap();
        dir.log().iter().position(|line| line == "write snapshot.json.new").unwrap()
    };
    for (kind, expected) in [
        (ErrorKind::StorageFull, Error::NoSpace as fn(String) -> Error),
        (ErrorKind::QuotaExceeded, Error::NoSpace),
        (ErrorKind::PermissionDenied, Error::AccessDenied),
        (ErrorKind::ReadOnlyFilesystem, Error::AccessDenied),
    ] {
        let tmp = scratch();
        let dir = FaultyDir::new(tmp.path(), Fault::Once(at, kind));
        let what = format!("cannot write `snapshot.json.new`: {}", std::io::Error::from(kind));
        assert_eq!(Store::new(dir).create("1", 1), Err(expected(what)));
        assert_eq!(names(tmp.path()), BTreeSet::new(), "{kind:?}: left behind");
    }
}

#[test]
fn a_refused_create_leaves_the_stored_snapshot_and_nothing_else() {
    let tmp = scratch();
    let path = tmp.path();
    store(path).create("[1]", 5).unwrap();
    assert_eq!(store(path).create("[2]", 4), Err(Error::Stale(5)));
    assert!(matches!(store(path).create("[2", 6), Err(Error::InvalidState(_))));
    let limited = store(path).with_settings(Settings { max_state: 7, ..Settings::default() });
    assert_eq!(limited.create("[1,2,3,4]", 6), Err(Error::TooLarge(7)), "as given");
    assert_eq!(limited.create("[1,2]", 6), Err(Error::TooLarge(7)), "as it would be stored");
    assert_eq!(names(path), FILES.map(str::to_owned).into());
    assert_eq!(store(path).restore().map(untimed), Ok(snapshot("[\n  1\n]", 5)));
    assert_eq!(limited.restore().map(untimed), Ok(snapshot("[\n  1\n]", 5)));
    assert_eq!(
        store(path).with_settings(Settings { max_state: 6, ..Settings::default() }).restore(),
        Err(Error::TooLarge(6))
    );
}

#[test]
fn an_equal_number_replaces_and_every_number_can_be_stored() {
    let tmp = scratch();
    for (state, seq) in [("1", 0), ("2", 0), ("3", 1), ("4", u64::MAX), ("5", u64::MAX)] {
        store(tmp.path()).create(state, seq).unwrap();
        assert_eq!(store(tmp.path()).restore().map(untimed), Ok(snapshot(state, seq)));
    }
    assert_eq!(store(tmp.path()).create("6", u64::MAX - 1), Err(Error::Stale(u64::MAX)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Creates with kills in between, against a model that only remembers what may be stored.
    #[test]
    fn after_any_creates_and_kills_the_store_holds_what_was_last_committed(
        steps in prop::collection::vec((0u64..4, prop::option::of(0usize..45)), 1..12),
    ) {
        let tmp = scratch();
        let mut newest: Option<u64> = None;
        let mut possible: Vec<Option<Snapshot>> = vec![None];
        for (index, (ahead, kill)) in steps.into_iter().enumerate() {
            // One step of four goes back, which must be refused.
            let seq = newest.map_or(ahead, |newest| (newest + ahead).saturating_sub(1));
            let state = index.to_string();
            let fault = kill.map_or(Fault::None, Fault::Crash);
            let dir = FaultyDir::new(tmp.path(), fault);
            match Store::new(dir.clone()).create(&state, seq) {
                Ok(()) => possible = vec![Some(snapshot(&state, seq))],
                Err(Error::Stale(carried)) => {
                    prop_assert_eq!(Some(carried), newest);
                    prop_assert!(seq < carried);
                }
                Err(_) => {
                    prop_assert!(dir.has_failed());
                    possible.push(Some(snapshot(&state, seq)));
                }
            }
            let restored = match store(tmp.path()).restore() {
                Ok(snapshot) => Some(untimed(snapshot)),
                Err(Error::NotFound) => None,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert!(possible.contains(&restored), "{:?} not in {:?}", restored, possible);
            let number = store(tmp.path()).newest_seq().ok();
            prop_assert_eq!(number, restored.as_ref().map(|snapshot| snapshot.seq));
            newest = restored.as_ref().map(|snapshot| snapshot.seq);
            possible = vec![restored];
        }
    }
}

#[test]
fn after_a_piece_that_was_refused_nothing_is_committed() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let tmp = scratch();
        let settings = Settings { layout, ..Settings::default() };
        let store = Store::new(OsDir::new(tmp.path())).with_settings(settings);
        let mut writer = store.open_writer(1).unwrap();
        writer.write(b"1").unwrap();
        let refused = writer.write(b" x").unwrap_err();
        assert!(matches!(refused, Error::InvalidState(_)), "{refused}");
        assert_eq!(writer.write(b" "), Err(refused.clone()));
        // It is undone at once, and in nobody's way.
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
        store.create("2", 2).unwrap();
        assert_eq!(writer.commit(), Err(refused));
        assert_eq!(store.restore().map(untimed), Ok(snapshot("2", 2)));
    }
}
