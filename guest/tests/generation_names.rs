//! Which names in a directory are those of generations, and what becomes of the other entries.

use std::fs;
use std::path::Path;

use crate::generations::*;
use crate::seam::{Fault, FaultyDir, scratch};
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Soundness, Store};

#[test]
fn every_number_can_be_that_of_a_generation() {
    let dir = dir_with([0, u64::MAX - 1, u64::MAX]);
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot(&u64::MAX.to_string(), u64::MAX)));
    assert_eq!(store(dir.path()).restore_at(0).map(untimed), Ok(snapshot("0", 0)));
    assert_eq!(store(dir.path()).create("1", u64::MAX - 1), Err(Error::Stale(u64::MAX)));
    store(dir.path()).create("[]", u64::MAX).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("[]", u64::MAX)));
}

#[test]
fn names_that_are_not_exactly_a_generations_do_not_count() {
    let dir = scratch();
    let foreign = [
        "snapshot_9.bak",
        "snapshot_1.json",
        "snapshot_000000000000000000007.json",
        "snapshot_0000000000000000007.json",
        "snapshot_+0000000000000000007.json",
        "snapshot_000000000000000000٤.json",
        " snapshot_00000000000000000007.json",
        "snapshot-7.json",
        "snapshots",
    ];
    for name in foreign {
        fs::write(dir.path().join(name), "{\n  \"seq\": 7,\n  \"state\": 7\n}").unwrap();
    }
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).list(), Err(Error::NotFound));
    for seq in 1..6 {
        store(dir.path()).create(&seq.to_string(), seq).unwrap();
    }
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("5", 5)));
    let expected = foreign.map(str::to_owned).into_iter().chain(generations(3..6)).collect();
    assert_eq!(names(dir.path()), expected);
}

/// A number that starts again beside them would bury what they hold.
#[test]
fn what_looks_like_a_snapshot_and_is_none_is_named_and_a_create_is_refused() {
    for found in [
        "SNAPSHOT_00000000000000000007.JSON",
        "snapshot_00000000000000000007",
        "snapshot_00000000000000000007.msgpack",
        "snapshot_00000000000000000007.json.gz",
        "snapshot_00000000000000000007.json.bak",
        "snapshot_00000000000000000007.JSON",
        "Snapshot_00000000000000000007.json",
        "snapshot_00000000000000000007.bak",
        "snapshot_00000000000000000007.undone",
        "snapshot_00000000000000000007.json.damaged-1",
        "snapshot_00000000000000000007.json.damaged-+2",
        "snapshot_00000000000000000007.json.damaged.gz",
        "snapshot_00000000000000000007.json.undone-1",
        "snapshot_00000000000000000007.json.undone-02",
        "snapshot_18446744073709551616.json",
        "snapshot_99999999999999999999.json",
        "snapshot.json.gz",
        "SNAPSHOT.JSON",
        "SNAPSHOT.SEQ",
    ] {
        for layout in [Layout::Pair, Layout::Numbered] {
            let dir = scratch();
            fs::write(dir.path().join(found), "7").unwrap();
            let store = Store::new(OsDir::new(dir.path())).with_settings(Settings { layout, ..settings(3) });
            for refused in [
                store.restore().map(|_| ()),
                store.list().map(|_| ()),
                store.newest_seq().map(|_| ()),
                store.create("1", 1),
            ] {
                let Err(Error::Corrupt(problem)) = refused else { panic!("{found}: {refused:?}") };
                assert!(problem.contains(&format!("`{found}` looks like one")), "{problem}");
            }
            assert_eq!(names(dir.path()).len(), 1, "a refused create changed something");
        }
        // Beside a snapshot, it is nobody's.
        let dir = dir_with([8]);
        fs::write(dir.path().join(found), "7").unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("8", 8)), "{found}");
        store(dir.path()).create("9", 9).unwrap();
        assert!(dir.path().join(found).exists());
    }
}

#[test]
fn an_entry_that_cannot_be_looked_at_hides_no_snapshot() {
    let newest = "snapshot_00000000000000000003.json";
    let open = |dir: &Path, fault| Store::new(FaultyDir::new(dir, fault)).with_settings(settings(3));
    let dir = dir_with([1, 2, 3]);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let before = names(dir.path());

    // A generation whose name is known is one that cannot be read now.
    let broken = open(dir.path(), Fault::Broken(newest));
    let way_out = "try again, or restore the snapshot 2 by its number, or move that file away";
    for refused in [
        broken.restore().map(|_| ()),
        broken.info().map(|_| ()),
        broken.open_reader(None).map(|_| ()),
        broken.create("0", 2),
        broken.create("0", 3),
    ] {
        let Err(Error::Io(problem)) = refused else { panic!("{refused:?}") };
        assert!(problem.contains(newest) && problem.contains("the file system is damaged"), "{problem}");
        assert!(problem.contains(way_out) || problem.contains("which may be newer: try again"), "{problem}");
    }
    assert_eq!(broken.oldest_kept(), Ok(1));
    assert_eq!(broken.restore_at(2).map(untimed), Ok(snapshot("2", 2)));
    let list = broken.list().unwrap();
    assert!(matches!(&list[0].soundness, Soundness::Unreadable(problem) if problem.contains("cannot read")));
    assert_eq!((list[0].seq, list[1].soundness.clone()), (3, Soundness::Verified));
    let oldest = open(dir.path(), Fault::Broken("snapshot_00000000000000000001.json"));
    assert!(matches!(oldest.oldest_kept(), Err(Error::Io(_))), "its log records may be needed");
    assert_eq!(oldest.restore().map(untimed), Ok(snapshot("3", 3)));

    // Without its name, nothing tells whether it is the newest.
    for nameless in [newest, "notes.txt"] {
        let hidden = open(dir.path(), Fault::Nameless(nameless));
        for refused in [
            hidden.restore().map(|_| ()),
            hidden.list().map(|_| ()),
            hidden.oldest_kept().map(|_| ()),
            hidden.create("4", 4),
        ] {
            let Err(Error::Io(problem)) = refused else { panic!("{refused:?}") };
            assert!(
                problem.contains("cannot be looked at") && problem.contains("by its number"),
                "{problem}"
            );
        }
        assert_eq!(hidden.restore_at(2).map(untimed), Ok(snapshot("2", 2)));
    }
    assert_eq!(names(dir.path()), before);
    // Its name is known, and it is none of the store's.
    let other = open(dir.path(), Fault::Broken("notes.txt"));
    assert_eq!(other.restore().map(untimed), Ok(snapshot("3", 3)));
    other.create("4", 4).unwrap();

    // What a pair consists of is known by its names.
    let dir = scratch();
    let pair = |fault| Store::new(FaultyDir::new(dir.path(), fault));
    pair(Fault::None).create("1", 1).unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    for fault in [Fault::Broken("notes.txt"), Fault::Nameless("notes.txt")] {
        assert_eq!(pair(fault).restore().map(untimed), Ok(snapshot("1", 1)));
        pair(fault).create("1", 1).unwrap();
    }
    for fault in [Fault::Broken("snapshot.json"), Fault::Nameless("snapshot.json")] {
        assert!(matches!(pair(fault).restore(), Err(Error::Io(_))));
        assert!(matches!(pair(fault).create("0", 0), Err(Error::Io(_) | Error::Stale(1))));
    }
    // And in a directory that seems to hold nothing, what has no name may be a snapshot.
    let dir = scratch();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let hidden = open(dir.path(), Fault::Nameless("notes.txt"));
    assert!(matches!(hidden.restore(), Err(Error::Io(_))));
    assert!(matches!(hidden.create("1", 1), Err(Error::Io(_))));
}

#[test]
fn what_native_left_beside_generations_is_settled_and_counted_once() {
    let dir = dir_with([1]);
    for name in [
        "snapshot.json.tmp",
        "snapshot.seq.tmp",
        "snapshot.sum.new",
        "snapshot_00000000000000000009.json.tmp",
    ] {
        fs::write(dir.path().join(name), "9").unwrap();
    }
    assert_eq!(store(dir.path()).settle_leftovers(), Ok(4));
    assert_eq!(store(dir.path()).settle_leftovers(), Ok(0));
    assert_eq!(names(dir.path()), generations([1]));
}
