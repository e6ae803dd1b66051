//! Damaged generations: each damage is found, and the newest sound one is restored.

use std::fs;
use std::io::ErrorKind;

use crate::generations::*;
use crate::seam::{Fault, FaultyDir, copy_of, scratch};
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Soundness, Store};

#[test]
fn every_flipped_bit_and_every_cut_of_a_generation_is_found() {
    let whole = dir_with([1, 2]);
    let original = fs::read(whole.path().join(name(2))).unwrap();
    let check = |what: &str, damaged: &[u8]| {
        for alone in [false, true] {
            let dir = copy_of(whole.path());
            fs::write(dir.path().join(name(2)), damaged).unwrap();
            if alone {
                fs::remove_file(dir.path().join(name(1))).unwrap();
                let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!("{what}") };
                assert!(problem.contains(&format!("`{}`", name(2))), "{what}: {problem}");
            } else {
                let restored = store(dir.path()).restore().map(untimed).unwrap();
                assert_eq!((restored.state.as_str(), restored.seq), ("1", 1), "{what}");
                assert_eq!(restored.skipped.len(), 1, "{what}");
                assert!(restored.skipped[0].problem.contains(&name(2)), "{what}: {restored:?}");
            }
        }
    };
    for bit in 0..8 * original.len() {
        let mut damaged = original.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        check(&format!("bit {bit}"), &damaged);
    }
    for size in 0..original.len() {
        check(&format!("cut at {size}"), &original[..size]);
        let mut zeroed = original.clone();
        zeroed[size..].fill(0);
        check(&format!("zeroed from {size}"), &zeroed);
    }
    check("a line break at the end", &[&original[..], b"\n"].concat());
    check("another generation", &fs::read(whole.path().join(name(1))).unwrap());
}

#[test]
fn every_flipped_bit_of_a_generation_of_another_program_is_found_or_is_another_state() {
    let original = "{\n  \"seq\": 7,\n  \"state\": \"abc\"\n}";
    for bit in 0..8 * original.len() {
        let dir = scratch();
        let mut damaged = original.as_bytes().to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(dir.path().join(name(7)), damaged).unwrap();
        match store(dir.path()).restore() {
            // There is no sum, and it is said to be unverified.
            Ok(found) => assert_eq!((found.seq, found.state.len()), (7, 5), "bit {bit}: {found:?}"),
            Err(error) => assert!(matches!(error, Error::Corrupt(_)), "bit {bit}: {error:?}"),
        }
    }
}

#[test]
fn swapped_generations_are_both_damaged() {
    let dir = dir_with([1, 2]);
    let [one, two, aside] = [name(1), name(2), "aside".to_owned()].map(|name| dir.path().join(name));
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!() };
    assert!(problem.contains(&name(1)) && problem.contains(&name(2)), "{problem}");
    assert!(problem.contains("holds the sequence number 1, and its name another"), "{problem}");
}

#[test]
fn a_generation_that_has_the_name_of_another_number_is_told_from_one_that_is_damaged() {
    for start in ["", "x"] {
        let dir = scratch();
        let store = Store::new(OsDir::new(dir.path())).with_settings(settings(3));
        // A character lies across the end of what is read of the start.
        store.create(&format!("\"{start}{}\"", "ж".repeat(10_000)), 7).unwrap();
        fs::rename(dir.path().join(name(7)), dir.path().join(name(8))).unwrap();
        let Err(Error::Corrupt(problem)) = store.restore() else { panic!() };
        assert!(problem.contains("holds the sequence number 7, and its name another"), "{problem}");
    }
}

#[test]
fn what_is_no_file_is_a_damaged_generation() {
    let dir = dir_with([1]);
    fs::create_dir(dir.path().join(name(2))).unwrap();
    std::os::unix::fs::symlink(dir.path().join(name(1)), dir.path().join(name(3))).unwrap();
    let restored = store(dir.path()).restore().map(untimed).unwrap();
    assert_eq!(restored.seq, 1);
    assert_eq!(restored.skipped.iter().map(|skipped| skipped.seq).collect::<Vec<_>>(), [3, 2]);
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
}

#[test]
fn a_damaged_newest_generation_is_skipped_and_said_to_be() {
    let dir = dir_with([1, 2, 3]);
    damage(dir.path(), 3);
    let restored = store(dir.path()).restore().map(untimed).unwrap();
    assert_eq!((restored.state.as_str(), restored.seq), ("2", 2));
    assert_eq!(restored.skipped.iter().map(|skipped| skipped.seq).collect::<Vec<_>>(), [3]);
    assert_eq!(store(dir.path()).info().unwrap().seq, 2);
    assert_eq!(store(dir.path()).restore_at(3).map_err(|e| matches!(e, Error::Corrupt(_))), Err(true));
    assert_eq!(store(dir.path()).restore_at(1).map(untimed), Ok(snapshot("1", 1)));
    assert_eq!(store(dir.path()).restore_at(4), Err(Error::NotFound));
    let list = store(dir.path()).list().unwrap();
    assert_eq!(list.iter().map(|info| info.seq).collect::<Vec<_>>(), [3, 2, 1]);
    assert!(matches!(list[0].soundness, Soundness::Damaged(_)));
    assert_eq!(list[1].soundness, Soundness::Verified);
    assert_eq!(names(dir.path()), generations([1, 2, 3]), "reading changed something");
}

#[test]
fn where_no_generation_is_sound_the_error_lists_them() {
    let dir = dir_with([1, 2]);
    for seq in [1, 2] {
        damage(dir.path(), seq);
    }
    for problem in [
        store(dir.path()).restore().unwrap_err(),
        store(dir.path()).info().unwrap_err(),
        store(dir.path()).oldest_kept().unwrap_err(),
    ] {
        let Error::Corrupt(problem) = problem else { panic!("{problem:?}") };
        assert!(problem.contains(&name(1)) && problem.contains(&name(2)), "{problem}");
    }
    assert_eq!(store(dir.path()).newest_seq(), Ok(2));
    assert_eq!(store(dir.path()).list().unwrap().len(), 2);
    // Nothing that can be restored is lost by a new one.
    store(dir.path()).create("0", 0).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("0", 0)));
    assert_eq!(names(dir.path()).len(), 3);
}

/// An error that described each would not fit into memory where there are 150,000.
#[test]
fn of_many_damaged_generations_the_error_describes_some_and_counts_the_others() {
    let dir = scratch();
    for seq in 0..50 {
        fs::write(dir.path().join(format!("snapshot_{seq:020}.json")), "").unwrap();
    }
    let Err(Error::Corrupt(problem)) = Store::new(OsDir::new(dir.path())).restore() else { panic!() };
    assert_eq!(problem.matches("is empty").count(), 20, "{problem}");
    assert!(problem.contains("; and 30 more; no generation is sound: "), "{problem}");
}

/// Rot below the file system changes neither the size nor the time.
#[test]
fn what_a_store_has_seen_to_be_damaged_is_not_taken_for_sound_by_its_size_and_time() {
    for read_before in [true, false] {
        for seq in [1, 2, 3] {
            let dir = scratch();
            let store = store(dir.path());
            store.create("1", 1).unwrap();
            store.create("2", 2).unwrap();
            let path = dir.path().join(name(2));
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            damage(dir.path(), 2);
            fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            if read_before {
                assert_eq!(store.restore().unwrap().skipped.len(), 1);
            } else if seq == 1 {
                // Nothing shows it.
                assert_eq!(store.create("[]", seq), Err(Error::Stale(2)));
                continue;
            }
            store.create("[]", seq).unwrap();
            assert_eq!(store.restore().map(untimed).unwrap(), snapshot("[]", seq));
            let aside = dir.path().join(format!("{}.damaged", name(2)));
            assert!(seq == 3 || fs::read_to_string(aside).unwrap().contains("\"state\": 3"), "{seq}");
        }
    }
}

#[test]
fn a_newest_generation_that_cannot_be_read_now_is_neither_replaced_nor_set_aside() {
    let tmp = dir_with([1]);
    // Its start, its end, and what lies between are read one after the other.
    let large = format!("\"{}\"", "x".repeat(20_000));
    Store::new(OsDir::new(tmp.path())).with_settings(settings(3)).create(&large, 2).unwrap();
    let mut met = 0;
    for at in 0..100 {
        let dir = FaultyDir::new(tmp.path(), Fault::Once(at, ErrorKind::Other));
        let store = Store::new(dir.clone());
        if dir.log().len() > at {
            break;
        }
        let created = store.create("0", 1);
        if dir.log().get(at).is_some_and(|operation| operation == &format!("read {}", name(2))) {
            let Err(Error::Io(problem)) = created else { panic!("{created:?}") };
            assert!(problem.contains(&name(2)) && problem.contains("try again"), "{problem}");
            met += 1;
        } else {
            assert!(matches!(created, Err(Error::Stale(2) | Error::Io(_))), "{created:?}");
        }
        assert_eq!(names(tmp.path()), generations([1, 2]));
    }
    assert!(met > 20);
}
