//! When the directory of a numbered store is synced: before what another process left is returned, and no more often.

use std::fs;
use std::io::ErrorKind;

use crate::generations::*;
use crate::seam::{Fault, FaultyDir, scratch};
use minisnap_component::error::Error;
use minisnap_component::store::{Snapshot, Soundness, Store};

#[test]
fn what_a_killed_create_left_is_synced_before_it_is_read_or_built_on() {
    let tmp = dir_with([1]);
    fs::write(tmp.path().join("snapshot_00000000000000000009.json.tmp"), "").unwrap();
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    let store = Store::new(dir.clone()).with_settings(settings(3));
    // Whoever only reads does so beside a writer.
    for reads in 1..3 {
        assert_eq!(store.restore().map(untimed), Ok(snapshot("1", 1)));
        assert_eq!(syncs(&dir), reads);
    }
    assert_eq!(edits(&dir), ["sync /"]);
    for (seq, is_newer) in [(0, false), (2, true)] {
        fs::write(tmp.path().join("snapshot_00000000000000000009.json.tmp"), "").unwrap();
        let dir = FaultyDir::new(tmp.path(), Fault::None);
        let created = Store::new(dir.clone()).with_settings(settings(3)).create("2", seq);
        assert_eq!(created, if is_newer { Ok(()) } else { Err(Error::Stale(1)) });
        assert_eq!(
            edits(&dir)[..2],
            ["sync /", "remove snapshot_00000000000000000009.json.tmp"].map(str::to_owned)
        );
    }
    assert_eq!(names(tmp.path()), generations([1, 2]));
}

#[test]
fn what_another_program_wrote_is_synced_before_it_is_returned() {
    let tmp = scratch();
    fs::write(tmp.path().join(name(7)), "{\n  \"seq\": 7,\n  \"state\": [\n    1\n  ]\n}").unwrap();
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    assert_eq!(
        Store::new(dir.clone()).restore().map(untimed),
        Ok(Snapshot { soundness: Soundness::Unverified, ..snapshot("[\n  1\n]", 7) })
    );
    assert_eq!(edits(&dir), ["sync /"]);
}

/// A power cut could bring back a generation that was pruned, and its log records would be gone.
#[test]
fn what_was_pruned_is_gone_durably_before_the_oldest_number_is_returned() {
    let tmp = dir_with([2, 3]);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    assert_eq!(Store::new(dir.clone()).oldest_kept(), Ok(2));
    assert_eq!(edits(&dir), ["sync /"]);
}

#[test]
fn a_read_after_a_commit_whose_last_sync_failed_syncs_what_it_returns() {
    let last_sync = |dir: &FaultyDir| dir.log().iter().rposition(|operation| operation == "sync /").unwrap();
    let tmp = dir_with([1]);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    Store::new(dir.clone()).with_settings(settings(3)).create("2", 2).unwrap();

    let tmp = dir_with([1]);
    let dir = FaultyDir::new(tmp.path(), Fault::Once(last_sync(&dir), ErrorKind::Other));
    let store = Store::new(dir.clone()).with_settings(settings(3));
    assert!(store.create("2", 2).is_err());
    let failed = last_sync(&dir);
    assert_eq!(store.restore().map(untimed), Ok(snapshot("2", 2)));
    assert!(last_sync(&dir) > failed);
}

#[test]
fn a_store_that_has_synced_its_directory_syncs_no_read_until_it_writes_again() {
    let tmp = dir_with([1]);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    let store = Store::new(dir.clone()).with_settings(settings(3));
    store.create("2", 2).unwrap();
    assert_eq!(syncs(&dir), 2);
    store.restore().unwrap();
    store.info().unwrap();
    store.list().unwrap();
    store.open_reader(None).unwrap();
    assert_eq!(store.create("1", 1), Err(Error::Stale(2)));
    assert_eq!(syncs(&dir), 2);
    drop(store.open_writer(3).unwrap());
    store.restore().unwrap();
    assert_eq!(syncs(&dir), 3);
    store.create("3", 3).unwrap();
    assert_eq!(syncs(&dir), 5);
}

/// A share may have no sync of directories.
#[test]
fn where_no_directory_can_be_synced_a_read_is_answered_and_a_create_refused() {
    let tmp = dir_with([1]);
    let sync_of = |act: &dyn Fn(&Store<FaultyDir>)| {
        let dir = FaultyDir::new(tmp.path(), Fault::Once(usize::MAX, ErrorKind::Other));
        act(&Store::new(dir.clone()));
        dir.log().iter().position(|operation| operation == "sync /").unwrap()
    };
    let sync = sync_of(&|store| drop(store.restore()));
    let first_sync = sync_of(&|store| drop(store.create("0", 0)));
    for (kind, is_read) in [
        (ErrorKind::InvalidInput, true),
        (ErrorKind::Unsupported, true),
        (ErrorKind::ReadOnlyFilesystem, true),
        (ErrorKind::Other, false),
        (ErrorKind::PermissionDenied, false),
    ] {
        let store = |at| Store::new(FaultyDir::new(tmp.path(), Fault::Once(at, kind)));
        assert_eq!(store(sync).restore().is_ok(), is_read, "{kind}");
        let created = store(first_sync).create("2", 2);
        assert!(matches!(created, Err(Error::Io(_) | Error::AccessDenied(_))), "{kind}: {created:?}");
        assert_eq!(names(tmp.path()), generations([1]), "{kind}");
    }
}
