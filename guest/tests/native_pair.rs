//! Pairs that native minisnap wrote: alone, over this store's, and cut short by a crash of either.

use std::fs;

use crate::pairs::*;
use crate::seam::{Fault, FaultyDir, rot, write_later, write_native};
use minisnap_component::error::Error;
use minisnap_component::store::{Soundness, Store};

#[test]
fn a_native_pair_without_sums_is_accepted_as_unverified() {
    for seq in ["7", "7\n", " \t7\r\n", "007"] {
        let dir = dir_with(&[("snapshot.json", "{\"a\": 1}"), ("snapshot.seq", seq)]);
        // The state comes back as it is on the disk, whoever laid it out.
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\"a\": 1}", 7)));
        let info = store(dir.path()).info().unwrap();
        assert_eq!((info.seq, info.size, info.soundness), (7, 8, Soundness::Unverified));
        assert_eq!(store(dir.path()).create("1", 6), Err(Error::Stale(7)));
        store(dir.path()).create("1", 8).unwrap();
        assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Verified);
    }
}

#[test]
fn a_native_pair_written_over_ours_is_accepted_as_unverified() {
    let dir = dir_with_snapshot();
    write_native(dir.path(), "{}", "9");
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{}", 9)));
    assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Unverified);
    assert_eq!(store(dir.path()).create("1", 8), Err(Error::Stale(9)));
}

/// Native minisnap writes both files each time; which of them differ from ours does not matter.
#[test]
fn a_native_pair_of_which_one_file_happens_to_be_ours_is_accepted_as_unverified() {
    for (state, seq) in [("1", "2"), ("2", "1")] {
        let dir = dir_with_snapshot();
        write_native(dir.path(), state, seq);
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified(state, seq.parse().unwrap())));
        assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Unverified);
        store(dir.path()).create("3", 3).unwrap();
    }
    // Nothing else vouches for it, so it must be JSON at least.
    let dir = dir_with_snapshot();
    write_native(dir.path(), "[", "1");
    assert_corrupt(dir.path(), "`snapshot.json` is not valid JSON");
}

#[test]
fn a_pair_of_another_program_is_synced_before_it_is_returned() {
    let dir = dir_with(&[("snapshot.json", "1"), ("snapshot.seq", "7")]);
    for is_number in [false, true] {
        let faulty = FaultyDir::new(dir.path(), Fault::None);
        let store = Store::new(faulty.clone());
        if is_number {
            assert_eq!(store.newest_seq(), Ok(7));
        } else {
            assert_eq!(store.restore().map(untimed), Ok(unverified("1", 7)));
        }
        assert_eq!(faulty.log().last().map(String::as_str), Some("sync /"));
    }
}

/// It should not do so before this store's next create; but if it does, it was acknowledged last.
#[test]
fn what_native_minisnap_writes_after_a_crash_of_this_store_is_kept() {
    for (seq, left) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)] {
        let (dir, new) = (dir_with_snapshot(), dir());
        store(new.path()).create("\"killed\"", seq).unwrap();
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"].iter().take(left) {
            fs::rename(new.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
        }
        write_native(dir.path(), "\"native\"", "2");
        for _ in 0..2 {
            assert_eq!(
                store(dir.path()).restore().map(untimed),
                Ok(unverified("\"native\"", 2)),
                "{seq}, {left}"
            );
            assert_eq!(store(dir.path()).create("0", 0), Err(Error::Stale(2)), "{seq}, {left}");
        }
        store(dir.path()).create("3", 3).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("3", 3)));
    }
}

/// A file system without times does not show who wrote last.
#[test]
fn what_native_minisnap_may_have_written_last_is_never_replaced_by_what_was_not_committed() {
    for (state, seq, left) in [
        ("\"killed\"", 1, 3),
        ("\"killed\"", 1, 2),
        ("\"killed\"", 1, 1),
        ("1", 2, 3),
        ("1", 2, 2),
        ("1", 1, 2),
        ("1", 2, 1),
    ] {
        let (dir, new) = (dir_with_snapshot(), dir());
        store(new.path()).create(state, seq).unwrap();
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"].iter().take(left) {
            fs::rename(new.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
        }
        rot(dir.path().join("snapshot.json"), "\"native\"");
        rot(dir.path().join("snapshot.seq"), "9");
        if (state, seq, left) == ("1", 1, 2) {
            // The same snapshot again: its files are those that the sums vouch for.
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
            continue;
        }
        // With its sums under their new name, nothing was committed, and what is in place is whole.
        assert_corrupt(
            dir.path(),
            if left == 3 { "remove `snapshot.sum` to accept the two as they are" } else { "" },
        );
        for refused in [0, 10] {
            assert!(matches!(store(dir.path()).create("3", refused), Err(Error::Corrupt(_))));
        }
        for (name, contents) in [("snapshot.json", "\"native\""), ("snapshot.seq", "9")] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), contents, "{state} {seq}, {left}");
        }
        fs::remove_file(dir.path().join("snapshot.sum")).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("\"native\"", 9)));
    }
}

#[test]
fn a_native_crash_before_its_renames_is_ignored_and_removed() {
    for left in [&["snapshot.json.tmp"][..], &["snapshot.json.tmp", "snapshot.seq.tmp"]] {
        let dir = dir_with_snapshot();
        for name in left {
            fs::write(dir.path().join(name), "79999999").unwrap();
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
        store(dir.path()).create("2", 2).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
        for name in left {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
    }
    let dir = dir_with(&[("snapshot.json.tmp", "{}"), ("snapshot.seq.tmp", "7")]);
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).newest_seq(), Err(Error::NotFound));
}

#[test]
fn a_native_crash_between_its_renames_is_finished() {
    for over_ours in [false, true] {
        let dir = if over_ours { dir_with_snapshot() } else { dir_with(&[("snapshot.seq", "1")]) };
        // 0.1.2 renamed the state, and not the number.
        write_later(dir.path(), "snapshot.json", "{\"native\": 2}");
        write_later(dir.path(), "snapshot.seq.tmp", "2");
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\"native\": 2}", 2)));
        assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Unverified);
        assert_eq!(store(dir.path()).create("3", 1), Err(Error::Stale(2)));
        assert!(!dir.path().join("snapshot.seq.tmp").exists());
        assert_eq!(fs::read_to_string(dir.path().join("snapshot.seq")).unwrap(), "2");
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\"native\": 2}", 2)));
    }
}

#[test]
fn a_native_number_that_cannot_be_read_replaces_nothing() {
    let dir = dir_with(&[("snapshot.json", "{}"), ("snapshot.seq", "1"), ("snapshot.seq.tmp", "")]);
    assert_corrupt(dir.path(), "`snapshot.seq.tmp` does not hold a decimal number");
    assert_create_refused(dir.path());
}

#[test]
fn a_waiting_native_number_beside_a_pair_that_the_sums_vouch_for_belongs_to_nothing() {
    // Native 0.1.2 wrote the same state again, with another number, and never got to say so.
    let dir = dir_with_snapshot();
    fs::write(dir.path().join("snapshot.seq.tmp"), "2").unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Verified);
    assert_eq!(store(dir.path()).create("1", 0), Err(Error::Stale(1)));
    assert!(!dir.path().join("snapshot.seq.tmp").exists());
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));

    let dir = dir_with(&[("snapshot.seq.tmp", "7")]);
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound), "a number without a state");
    store(dir.path()).create("1", 1).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
}

#[test]
fn a_waiting_native_number_that_the_sums_vouch_for_is_put_into_place() {
    for in_place in [None, Some("5")] {
        let dir = dir_with_snapshot();
        let [seq, waiting] = ["snapshot.seq", "snapshot.seq.tmp"].map(|name| dir.path().join(name));
        fs::rename(&seq, &waiting).unwrap();
        if let Some(other) = in_place {
            fs::write(&seq, other).unwrap();
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
        assert_eq!(store(dir.path()).create("0", 0), Err(Error::Stale(1)));
        assert!(!waiting.exists(), "it was settled");
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    }
}

/// Each was killed before its second rename, native minisnap first; found by the fuzzer.
#[test]
fn a_waiting_native_number_goes_with_new_sums_whose_rename_was_lost_before_and_after_it_is_settled() {
    let (dir, new) = (dir_with_snapshot(), dir());
    store(new.path()).create("2", 9).unwrap();
    for (name, to) in [
        ("snapshot.json", "snapshot.json"),
        ("snapshot.seq", "snapshot.seq.tmp"),
        ("snapshot.sum", "snapshot.sum.new"),
    ] {
        fs::rename(new.path().join(name), dir.path().join(to)).unwrap();
    }
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 9)));
    assert_eq!(store(dir.path()).create("3", 3), Err(Error::Stale(9)));
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 9)));
}

/// A power cut lost the new name of the number; found by the fuzzer.
#[test]
fn a_waiting_native_number_in_place_is_no_rename_of_this_stores() {
    let (dir, new) = (dir(), dir());
    store(new.path()).create("2", 9).unwrap();
    for name in ["snapshot.json", "snapshot.sum"] {
        fs::rename(new.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
    }
    write_native(dir.path(), "\"native\"", "8");
    fs::write(dir.path().join("snapshot.seq.tmp"), "9").unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("\"native\"", 9)));
    assert_eq!(store(dir.path()).create("3", 3), Err(Error::Stale(9)));
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("\"native\"", 9)));
}
