//! What a crash of this store left of a pair: it is read as it will be finished, and the next create settles it.

use std::fs;
use std::io::ErrorKind;

use crate::pairs::*;
use crate::seam::{Fault, FaultyDir, copy_of, rot, write_later};
use minisnap_component::error::Error;
use minisnap_component::store::{Settings, Soundness, Store};

#[test]
fn what_a_crash_left_is_settled_and_counted() {
    let dir = dir_with_snapshot();
    assert_eq!(store(dir.path()).settle_leftovers(), Ok(0));
    fs::write(dir.path().join("snapshot.seq.new"), "").unwrap();
    fs::write(dir.path().join("snapshot.json.tmp"), "").unwrap();
    fs::write(dir.path().join("notes"), "").unwrap();
    assert_eq!(store(dir.path()).settle_leftovers(), Ok(2));
    assert_eq!(contents(dir.path()).len(), 4);
    let store = store(dir.path());
    let _writer = store.open_writer(2).unwrap();
    assert!(matches!(store.settle_leftovers(), Err(Error::Busy(_))));
}

#[test]
fn what_was_made_and_never_committed_is_no_snapshot() {
    let (whole, dir) = (dir_with_snapshot(), dir());
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        fs::rename(whole.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
        assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
        assert_eq!(store(dir.path()).newest_seq(), Err(Error::NotFound));
        assert_eq!(store(dir.path()).list(), Err(Error::NotFound));
    }
    store(dir.path()).create("2", 0).unwrap();
    assert_eq!(contents(dir.path()).len(), 3);
}

#[test]
fn what_was_never_committed_is_ignored_and_removed() {
    let dir = dir_with_snapshot();
    for name in ["snapshot.json.new", "snapshot.seq.new", "snapshot.sum.new"] {
        fs::write(dir.path().join(name), "{\"long\": \"and never committed\"}").unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    }
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
    assert_eq!(contents(dir.path()).len(), 3);
}

#[test]
fn a_commit_that_was_cut_short_is_read_as_it_will_be_finished() {
    // The old snapshot, the new one, and how many of the new one's files had been moved when the crash came.
    let [old, new] = [dir(), dir()];
    store(old.path()).create("[\"old\"]", 1).unwrap();
    store(new.path()).create("[\"new\"]", 2).unwrap();
    let expected = untimed(store(new.path()).restore().unwrap());
    for has_old in [true, false] {
        for moved in 0..8 {
            let files = ["snapshot.json", "snapshot.seq", "snapshot.sum"];
            let dir = dir();
            for (bit, name) in files.into_iter().enumerate() {
                let (new, to) = (new.path().join(name), dir.path().join(name));
                if has_old {
                    fs::copy(old.path().join(name), &to).unwrap();
                }
                let to = if moved >> bit & 1 == 1 { to } else { dir.path().join(format!("{name}.new")) };
                fs::copy(new, to).unwrap();
            }
            // Nothing was moved, so it was not committed.
            let expected = match (moved, has_old) {
                (0, true) => snapshot("[\n  \"old\"\n]", 1),
                (0, false) => continue,
                _ => expected.clone(),
            };
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(expected.clone()), "{moved:b}");
            assert_eq!(store(dir.path()).newest_seq(), Ok(expected.seq));
            assert_eq!(store(dir.path()).create("3", 0), Err(Error::Stale(expected.seq)));
            assert_eq!(contents(dir.path()).len(), 3, "a create settles first");
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(expected.clone()), "{moved:b}, settled");
        }
    }
}

/// A crash may leave both names of a file that was moved, and to rename one to the other does nothing.
#[test]
fn a_moved_file_that_kept_its_old_name_does_not_stop_a_create() {
    let dir = dir_with_snapshot();
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        fs::hard_link(dir.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
    }
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
    assert_eq!(contents(dir.path()).len(), 3);
}

/// Its sums were renamed, so the one before is superseded, and what is left of it is no snapshot.
#[test]
fn a_committed_snapshot_that_is_damaged_before_it_is_moved_is_corrupt_and_what_is_left_of_it_is_kept() {
    for (damaged, is_moved, expected) in [
        ("snapshot.json.new", false, "`snapshot.json.new` is not what was written with `snapshot.seq.new`"),
        ("snapshot.json", true, "`snapshot.json` is not what was written with `snapshot.seq.new`"),
        ("snapshot.seq.new", false, "`snapshot.seq.new` is not what was written with `snapshot.json.new`"),
        ("snapshot.seq.new", true, "`snapshot.seq.new` is not what was written with `snapshot.json`"),
    ] {
        let (dir, new) = (dir_with_snapshot(), dir());
        store(new.path()).create("2", 2).unwrap();
        let state = if is_moved { "snapshot.json" } else { "snapshot.json.new" };
        for (name, to) in
            [("snapshot.json", state), ("snapshot.seq", "snapshot.seq.new"), ("snapshot.sum", "snapshot.sum")]
        {
            fs::rename(new.path().join(name), dir.path().join(to)).unwrap();
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
        rot(dir.path().join(damaged), "3");
        assert_corrupt(dir.path(), expected);
        assert_create_refused(dir.path());
        let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!() };
        assert!(!problem.contains("accept"), "that would mix two snapshots: {problem}");

        // What the message says.
        let backup = dir_with_snapshot();
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
            fs::rename(backup.path().join(name), dir.path().join(name)).unwrap();
            let _ = fs::remove_file(dir.path().join(format!("{name}.new")));
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
        store(dir.path()).create("3", 3).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("3", 3)));
    }
}

#[test]
fn a_committed_snapshot_is_read_without_the_state_that_it_replaces() {
    for seq in [2, 1] {
        let (dir, new) = (dir(), dir());
        store(dir.path()).create("\"longer than the limit\"", 1).unwrap();
        store(new.path()).create("2", seq).unwrap();
        for (name, to) in [
            ("snapshot.json", "snapshot.json.new"),
            ("snapshot.seq", "snapshot.seq.new"),
            ("snapshot.sum", "snapshot.sum"),
        ] {
            fs::rename(new.path().join(name), dir.path().join(to)).unwrap();
        }
        let limited = store(dir.path()).with_settings(Settings { max_state: 10, ..Settings::default() });
        assert_eq!(limited.restore().map(untimed), Ok(snapshot("2", seq)));
        // And where that cannot be read.
        fs::remove_file(dir.path().join("snapshot.json")).unwrap();
        fs::create_dir(dir.path().join("snapshot.json")).unwrap();
        assert_eq!(limited.restore().map(untimed), Ok(snapshot("2", seq)));
    }
}

/// A state that cannot be read now may be the stored one.
#[test]
fn any_failed_operation_of_a_settling_costs_no_snapshot() {
    for (seq, moved) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let (template, new) = (dir_with_snapshot(), dir());
        store(new.path()).create("2", seq).unwrap();
        for (at, name) in ["snapshot.sum", "snapshot.json", "snapshot.seq"].into_iter().enumerate() {
            let to = if at < moved { name.to_owned() } else { format!("{name}.new") };
            fs::rename(new.path().join(name), template.path().join(to)).unwrap();
        }
        for at in 0.. {
            let read = Store::new(FaultyDir::new(template.path(), Fault::Once(at, ErrorKind::Other)))
                .restore()
                .map(untimed);
            assert!(
                read == Ok(snapshot("2", seq)) || matches!(read, Err(Error::Io(_))),
                "{seq}, {moved}, {at}: {read:?}"
            );
            let dir = copy_of(template.path());
            let faulty = FaultyDir::new(dir.path(), Fault::Once(at, ErrorKind::Other));
            let refused = Store::new(faulty.clone()).create("0", 0);
            assert!(refused.is_err());
            assert_eq!(
                store(dir.path()).restore().map(untimed),
                Ok(snapshot("2", seq)),
                "{seq}, {moved}, {at}: {refused:?}"
            );
            if !faulty.has_failed() {
                break;
            }
        }
    }
}

/// Many a copy makes new times.
#[test]
fn a_refused_create_leaves_a_pair_verified_whatever_its_times_are() {
    let dir = dir_with_snapshot();
    for name in ["snapshot.json", "snapshot.seq"] {
        let contents = fs::read_to_string(dir.path().join(name)).unwrap();
        write_later(dir.path(), name, &contents);
    }
    assert!(matches!(store(dir.path()).create("[", 2), Err(Error::InvalidState(_))));
    assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Verified);
}
