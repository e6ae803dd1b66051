//! The numbered layout: the order of its commit, what failures, kills and damage leave, what is kept, and what is set
//! aside.

mod generations;
mod seam;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use generations::*;
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Soundness, Store};
use seam::{Fault, FaultyDir, copy_of, rot};
use tempfile::tempdir;

/// The level of indentation that the file adds does not count.
#[test]
fn what_fits_the_limit_as_it_is_restored_is_restored() {
    let dir = tempdir().unwrap();
    store(dir.path()).create(&format!("[{}1]", "1,".repeat(90)), 1).unwrap();
    let limited = store(dir.path()).with_settings(Settings { max_state: 500, ..settings(3) });
    let info = limited.info().unwrap();
    assert!(info.size > 450 && fs::metadata(dir.path().join(name(1))).unwrap().len() > 600);
    assert_eq!(limited.restore().unwrap().state.len() as u64, info.size);
}

#[test]
fn a_generation_is_what_serde_json_prints_and_its_sum() {
    let dir = tempdir().unwrap();
    store(dir.path()).create("{\"list\":[1,{}],\"none\":[]}", 42).unwrap();
    let text = fs::read_to_string(dir.path().join(name(42))).unwrap();
    let (summed, rest) = text.split_at(text.find("  \"xxh128\"").unwrap());
    assert_eq!(
        summed,
        "{\n  \"seq\": 42,\n  \"state\": {\n    \"list\": [\n      1,\n      {}\n    ],\n    \"none\": []\n  },\n"
    );
    let sum = xxhash_rust::xxh3::xxh3_128(summed.as_bytes());
    assert_eq!(rest, format!("  \"xxh128\": \"{sum:032x}\"\n}}"));
    let restored = store(dir.path()).restore().unwrap().state;
    assert_eq!(restored, "{\n  \"list\": [\n    1,\n    {}\n  ],\n  \"none\": []\n}");
}

#[test]
fn a_generation_is_written_synced_and_renamed_in_this_order() {
    let tmp = dir_with([1, 2, 3]);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    Store::new(dir.clone()).with_settings(settings(3)).create("4", 4).unwrap();
    assert_eq!(
        edits(&dir),
        [
            "sync /",
            "create snapshot_00000000000000000004.json.tmp",
            "write snapshot_00000000000000000004.json.tmp",
            "sync snapshot_00000000000000000004.json.tmp",
            "rename snapshot_00000000000000000004.json.tmp snapshot_00000000000000000004.json",
            "sync /",
            "remove snapshot_00000000000000000001.json",
        ]
    );
}

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

/// A power cut could bring back a generation that was pruned, and its log records would be gone.
#[test]
fn what_was_pruned_is_gone_durably_before_the_oldest_number_is_returned() {
    let tmp = dir_with([2, 3]);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    assert_eq!(Store::new(dir.clone()).oldest_kept(), Ok(2));
    assert_eq!(edits(&dir), ["sync /"]);
}

#[test]
fn what_another_program_wrote_is_synced_before_it_is_returned() {
    let tmp = tempdir().unwrap();
    fs::write(tmp.path().join(name(7)), "{\n  \"seq\": 7,\n  \"state\": [\n    1\n  ]\n}").unwrap();
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    assert_eq!(
        Store::new(dir.clone()).restore().map(untimed),
        Ok(Snapshot { soundness: Soundness::Unverified, ..snapshot("[\n  1\n]", 7) })
    );
    assert_eq!(edits(&dir), ["sync /"]);
}

/// Makes the generation 4 where there are three, of which the first goes, with `fault` on the way.
fn with_fault(fault: Fault, check: impl Fn(&Path, &FaultyDir, Result<(), Error>)) -> bool {
    let tmp = dir_with([1, 2, 3]);
    let dir = FaultyDir::new(tmp.path(), fault);
    let result = Store::new(dir.clone()).with_settings(settings(3)).create("4", 4);
    check(tmp.path(), &dir, result);
    dir.has_failed()
}

#[test]
fn any_failed_operation_on_a_generation_is_reported_and_costs_no_data() {
    for (kind, expected) in [
        (ErrorKind::Other, Error::Io as fn(String) -> Error),
        (ErrorKind::StorageFull, Error::NoSpace),
        (ErrorKind::PermissionDenied, Error::AccessDenied),
    ] {
        let mut at = 0;
        while with_fault(Fault::Once(at, kind), |path, dir, result| {
            let restored = store(path).restore().map(untimed).unwrap();
            let (mut log, mut operation) = (dir.log(), String::new());
            if log.len() > at {
                operation = log.remove(at);
                log.truncate(at);
            }
            let renamed =
                log.iter().any(|line| line.starts_with("rename") && line.ends_with(name(4).as_str()));
            let synced = renamed && log.contains(&"sync /".to_owned());
            assert_eq!(
                restored,
                if renamed { snapshot("4", 4) } else { snapshot("3", 3) },
                "{at}, {operation}"
            );
            match &result {
                Ok(()) => assert!(synced || !dir.has_failed(), "{at}, {operation}: not reported"),
                Err(error) => {
                    let problem = error.to_string();
                    let expected = if renamed { Error::InDoubt } else { expected };
                    assert_eq!(*error, expected(problem.clone()), "{at}, {operation}");
                    let says = if renamed { "the new snapshot is in place" } else { "cannot " };
                    assert!(problem.contains(says), "{at}, {operation}: {problem}");
                }
            }
            if result.is_err() && !renamed {
                assert_eq!(names(path), generations([1, 2, 3]), "{at}, {operation}: left behind");
            }
            store(path).create("5", 5).unwrap();
            assert_eq!(store(path).restore().map(untimed), Ok(snapshot("5", 5)));
            assert!(
                names(path).is_subset(&generations([2, 3, 4, 5])),
                "{at}, {operation}: {:?}",
                names(path)
            );
        }) {
            at += 1;
        }
        assert!(at > 20, "only {at} operations were tried");
    }
}

#[test]
fn a_kill_at_any_operation_on_a_generation_leaves_the_old_or_the_new_snapshot() {
    let mut at = 0;
    while with_fault(Fault::Crash(at), |path, dir, result| {
        let restored = store(path).restore().map(untimed).unwrap();
        assert!([snapshot("3", 3), snapshot("4", 4)].contains(&restored), "{at}: {restored:?}");
        if result.is_ok() && !dir.has_failed() {
            assert_eq!(restored.seq, 4);
        }
        // A kill at any operation of the recovery, too.
        for again in 0.. {
            let copy = copy_of(path);
            let dir = FaultyDir::new(copy.path(), Fault::Crash(again));
            let _ = Store::new(dir.clone()).with_settings(settings(3)).create("5", 5);
            let recovered = store(copy.path()).restore().map(untimed).unwrap();
            assert!(recovered == restored || recovered == snapshot("5", 5), "{at}, {again}: {recovered:?}");
            store(copy.path()).create("6", 6).unwrap();
            assert_eq!(store(copy.path()).restore().map(untimed), Ok(snapshot("6", 6)));
            let left = names(copy.path());
            assert!(left.len() == 3 && left.is_subset(&generations(2..=6)), "{at}, {again}: {left:?}");
            if !dir.has_failed() {
                break;
            }
        }
    }) {
        at += 1;
    }
    assert!(at > 20, "only {at} operations were tried");
}

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
        let dir = tempdir().unwrap();
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

/// What is damaged and whole shows when it is read, which pruning does not do.
#[test]
fn a_create_of_a_process_that_knows_no_generation_reads_none_of_those_that_are_kept() {
    let dir = tempdir().unwrap();
    let state = format!("\"{}\"", "x".repeat(1 << 20));
    (1..=3).for_each(|seq| store(dir.path()).create(&state, seq).unwrap());
    rot(
        dir.path().join(name(3)),
        fs::read_to_string(dir.path().join(name(3))).unwrap().replacen("xx", "yy", 1),
    );
    for (seq, max_total) in [(4, u64::MAX), (5, 4 << 20)] {
        let faulty = FaultyDir::new(dir.path(), Fault::None);
        let store = Store::new(faulty.clone()).with_settings(Settings { max_total, ..settings(3) });
        store.create(&state, seq).unwrap();
        let reads = faulty.log().iter().filter(|line| line.starts_with("read ")).count();
        assert!(reads < 20, "{reads}");
    }
    assert_eq!(names(dir.path()), generations([3, 4, 5]));
    assert_eq!(store(dir.path()).oldest_kept(), Ok(4));
    // One that has read the damage remembers it, and keeps as many that are sound.
    rot(
        dir.path().join(name(5)),
        fs::read_to_string(dir.path().join(name(5))).unwrap().replacen("xx", "yy", 1),
    );
    let knowing = store(dir.path());
    assert_eq!(knowing.list().unwrap().len(), 3);
    knowing.create(&state, 6).unwrap();
    let aside = [3, 5].map(|seq| format!("{}.damaged", name(seq)));
    assert_eq!(names(dir.path()), generations([4, 6]).into_iter().chain(aside).collect());
}

#[test]
fn a_generation_that_was_cut_is_set_aside_and_does_not_count() {
    let dir = dir_with([1, 2, 3]);
    cut(dir.path(), 2);
    let damaged = fs::read(dir.path().join(name(2))).unwrap();
    store(dir.path()).create("4", 4).unwrap();
    let aside = format!("{}.damaged", name(2));
    let mut expected = generations([1, 3, 4]);
    expected.insert(aside.clone());
    assert_eq!(names(dir.path()), expected, "three sound ones are kept");
    assert_eq!(fs::read(dir.path().join(&aside)).unwrap(), damaged);
    for seq in 5..20 {
        store(dir.path()).create("[]", seq).unwrap();
    }
    assert_eq!(fs::read(dir.path().join(&aside)).unwrap(), damaged);
    assert_eq!(names(dir.path()).len(), 4);
}

#[test]
fn a_generation_that_replaces_damaged_ones_sets_them_aside() {
    for (seq, left) in [(2, 2), (3, 3), (7, 7)] {
        let dir = dir_with([1, 2, 3]);
        damage(dir.path(), 3);
        store(dir.path()).create("\"new\"", seq).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("\"new\"", left)), "{seq}");
        let aside = dir.path().join(format!("{}.damaged", name(3)));
        if seq <= 3 {
            assert!(fs::read_to_string(aside).unwrap().contains("\"state\": 2"), "{seq}");
        }
    }
    // What is lower than the newest sound one is stale, whatever lies above that.
    let dir = dir_with([1, 2, 3]);
    damage(dir.path(), 3);
    assert_eq!(store(dir.path()).create("0", 1), Err(Error::Stale(2)));
    assert_eq!(names(dir.path()), generations([1, 2, 3]));
    // A second one of the same number gets another name.
    for _ in 0..2 {
        damage(dir.path(), 2);
        store(dir.path()).create("2", 2).unwrap();
    }
    assert!(names(dir.path()).contains(&format!("{}.damaged-2", name(2))));
}

/// Rot below the file system changes neither the size nor the time.
#[test]
fn what_a_store_has_seen_to_be_damaged_is_not_taken_for_sound_by_its_size_and_time() {
    for read_before in [true, false] {
        for seq in [1, 2, 3] {
            let dir = tempdir().unwrap();
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
fn a_damaged_generation_that_is_replaced_is_set_aside_durably_first() {
    let tmp = dir_with([1, 2]);
    damage(tmp.path(), 2);
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    Store::new(dir.clone()).create("2", 2).unwrap();
    assert_eq!(
        edits(&dir)[4..],
        [
            "rename snapshot_00000000000000000002.json snapshot_00000000000000000002.json.damaged",
            "sync /",
            "rename snapshot_00000000000000000002.json.tmp snapshot_00000000000000000002.json",
            "sync /",
        ]
    );
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

#[test]
fn a_generation_that_has_the_name_of_another_number_is_told_from_one_that_is_damaged() {
    for start in ["", "x"] {
        let dir = tempdir().unwrap();
        let store = Store::new(OsDir::new(dir.path())).with_settings(settings(3));
        // A character lies across the end of what is read of the start.
        store.create(&format!("\"{start}{}\"", "ж".repeat(10_000)), 7).unwrap();
        fs::rename(dir.path().join(name(7)), dir.path().join(name(8))).unwrap();
        let Err(Error::Corrupt(problem)) = store.restore() else { panic!() };
        assert!(problem.contains("holds the sequence number 7, and its name another"), "{problem}");
    }
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

#[test]
fn a_directory_of_damaged_generations_that_were_set_aside_is_not_taken_for_an_empty_one() {
    let dir = dir_with([1]);
    let aside = format!("{}.damaged", name(1));
    fs::rename(dir.path().join(name(1)), dir.path().join(&aside)).unwrap();
    for problem in [
        store(dir.path()).restore().unwrap_err(),
        store(dir.path()).list().unwrap_err(),
        store(dir.path()).newest_seq().unwrap_err(),
    ] {
        assert!(matches!(&problem, Error::Corrupt(text) if text.contains(&aside)), "{problem:?}");
    }
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
}

#[test]
fn the_last_generations_are_kept() {
    let dir = dir_with(0..100);
    assert_eq!(names(dir.path()), generations(97..100));
    assert_eq!(store(dir.path()).oldest_kept(), Ok(97));
    let fewer = Store::new(OsDir::new(dir.path())).with_settings(settings(1));
    fewer.create("100", 100).unwrap();
    assert_eq!(names(dir.path()), generations([100]));
}

#[test]
fn what_a_reader_has_open_is_not_pruned() {
    let dir = dir_with([1, 2, 3]);
    let store = store(dir.path());
    let mut reader = store.open_reader(Some(1)).unwrap();
    for seq in 4..10 {
        store.create(&seq.to_string(), seq).unwrap();
    }
    // Nor does it take the place of a newer one.
    assert_eq!(names(dir.path()), generations([1, 7, 8, 9]));
    assert_eq!(reader.read(99).unwrap(), b"1");
    assert_eq!(reader.read(99).unwrap(), b"");
    drop(reader);
    store.create("10", 10).unwrap();
    assert_eq!(names(dir.path()), generations([8, 9, 10]));
}

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
    let dir = tempdir().unwrap();
    let foreign =
        ["snapshot_9.bak", "snapshot_1.json", "snapshot_000000000000000000007.json", "snapshot-7.json"];
    for name in foreign {
        fs::write(dir.path().join(name), "{\n  \"seq\": 7,\n  \"state\": 7\n}").unwrap();
    }
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).list(), Ok(Vec::new()));
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
        "snapshot_99999999999999999999.json",
        "snapshot.json.gz",
        "SNAPSHOT.JSON",
    ] {
        for layout in [Layout::Pair, Layout::Numbered] {
            let dir = tempdir().unwrap();
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
    let dir = tempdir().unwrap();
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
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let hidden = open(dir.path(), Fault::Nameless("notes.txt"));
    assert!(matches!(hidden.restore(), Err(Error::Io(_))));
    assert!(matches!(hidden.create("1", 1), Err(Error::Io(_))));
}

/// As native 0.1.3 writes it.
fn write_native(dir: &Path, seq: u64) {
    fs::write(dir.join(name(seq)), format!("{{\n  \"seq\": {seq},\n  \"state\": {seq}\n}}")).unwrap();
}

#[test]
fn what_another_program_wrote_is_pruned_only_where_keep_is_given() {
    let dir = tempdir().unwrap();
    (0..20).for_each(|seq| write_native(dir.path(), seq));
    let unasked = Settings { keep: None, ..settings(3) };
    let open = |settings| Store::new(OsDir::new(dir.path())).with_settings(settings);
    for seq in 20..40 {
        open(unasked).create(&seq.to_string(), seq).unwrap();
    }
    assert_eq!(names(dir.path()), generations((0..20).chain(35..40)), "of its own, five are kept");
    open(settings(3)).create("40", 40).unwrap();
    assert_eq!(names(dir.path()), generations(38..41));
}

/// Counted in operations: each reads, looks at or removes a file of as many generations as are kept, and of no other.
#[test]
fn what_a_create_and_a_restore_do_does_not_grow_with_the_generations_of_another_program() {
    let operations = |count| {
        let dir = tempdir().unwrap();
        (0..count).for_each(|seq| write_native(dir.path(), seq));
        let faulty = FaultyDir::new(dir.path(), Fault::None);
        let store = Store::new(faulty.clone()).with_settings(Settings { keep: None, ..settings(3) });
        store.restore().unwrap();
        store.create("[]", count).unwrap();
        assert_eq!(names(dir.path()).len() as u64, count + 1);
        faulty.log().len()
    };
    assert_eq!(operations(50), operations(3000));
    // Where it is to remove them, it reads none of those that it removes, and removes only so many at once.
    let dir = tempdir().unwrap();
    (0..3000).for_each(|seq| write_native(dir.path(), seq));
    for (seq, left) in [(3000, 2001), (3001, 1002), (3002, 3), (3003, 3)] {
        let faulty = FaultyDir::new(dir.path(), Fault::None);
        Store::new(faulty.clone()).with_settings(settings(3)).create("[]", seq).unwrap();
        let reads = faulty.log().iter().filter(|line| line.starts_with("read ")).count();
        assert!(reads < 20, "{reads}");
        assert_eq!(names(dir.path()).len() as u64, left);
    }
}

#[test]
fn of_what_was_set_aside_the_newest_are_kept() {
    let dir = dir_with([1]);
    for seq in 2..12 {
        store(dir.path()).create(&seq.to_string(), seq).unwrap();
        cut(dir.path(), seq);
    }
    // What is set aside by a create is not yet counted by it.
    (12..15).for_each(|seq| store(dir.path()).create(&seq.to_string(), seq).unwrap());
    let aside = names(dir.path()).into_iter().filter(|name| name.contains("damaged"));
    assert!(aside.eq([9, 10, 11].map(|seq| format!("{}.damaged", name(seq)))));
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
fn the_directory_never_holds_more_than_its_limit_after_a_create() {
    let dir = tempdir().unwrap();
    let held =
        || names(dir.path()).iter().map(|name| fs::metadata(dir.path().join(name)).unwrap().len()).sum();
    let state = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    let limited = |keep| {
        Store::new(OsDir::new(dir.path())).with_settings(Settings { max_total: 10_000, ..settings(keep) })
    };
    for seq in 0..10 {
        limited(5).create(&state(3000), seq).unwrap();
        let held: u64 = held();
        assert!(held <= 10_000, "{held}");
    }
    assert_eq!(names(dir.path()), generations([7, 8, 9]), "as many as fit");
    // The newest one cannot make room.
    let before = names(dir.path());
    assert_full(limited(5).create(&state(7000), 10), 10_000);
    assert_eq!(names(dir.path()), before);
    assert_eq!(store(dir.path()).restore().unwrap().seq, 9);
    limited(5).create(&state(6500), 10).unwrap();
    assert_eq!(names(dir.path()), generations([9, 10]));
    // What was set aside counts, and makes room before a sound one does.
    limited(5).create(&state(1000), 11).unwrap();
    limited(5).create(&state(1000), 12).unwrap();
    let path = dir.path().join(name(11));
    fs::write(&path, fs::read_to_string(&path).unwrap().replace('x', "y")).unwrap();
    for seq in 13..20 {
        limited(5).create(&state(3000), seq).unwrap();
        let held: u64 = held();
        assert!(held <= 10_000, "{held}");
    }
    assert_eq!(names(dir.path()), generations([17, 18, 19]));
    // Nor does it keep out a new one that fits without it.
    let path = dir.path().join(name(19));
    fs::write(&path, fs::read_to_string(&path).unwrap().replace('x', "y")).unwrap();
    limited(1).create(&state(1000), 19).unwrap();
    let aside = format!("{}.damaged", name(19));
    assert_eq!(names(dir.path()), generations([19]).into_iter().chain([aside]).collect());
    limited(1).create(&state(8000), 20).unwrap();
    assert_eq!(names(dir.path()), generations([20]));
}

#[test]
fn what_readers_have_open_counts_towards_the_limit_and_costs_no_newer_one() {
    let dir = tempdir().unwrap();
    let store =
        Store::new(OsDir::new(dir.path())).with_settings(Settings { max_total: 10_000, ..settings(5) });
    let state = format!("\"{}\"", "x".repeat(3000));
    let mut readers = Vec::new();
    for seq in 1..=3 {
        store.create(&state, seq).unwrap();
        readers.push(store.open_reader(Some(seq)).unwrap());
    }
    assert_full(store.create(&state, 4), 10_000);
    assert_eq!(names(dir.path()), generations([1, 2, 3]));
    readers.remove(0);
    store.create(&state, 4).unwrap();
    assert_eq!(names(dir.path()), generations([2, 3, 4]));
}

#[test]
fn an_error_of_a_large_write_names_the_file_that_was_written() {
    for (layout, file) in
        [(Layout::Pair, "snapshot.json.new"), (Layout::Numbered, "snapshot_00000000000000000001.json.tmp")]
    {
        let state = format!("[{}0]", "1,".repeat(300_000));
        let settings = Settings { layout, ..settings(3) };
        let tmp = tempdir().unwrap();
        let mut named = 0;
        for at in 0..60 {
            let dir = FaultyDir::new(tmp.path(), Fault::Once(at, ErrorKind::Other));
            let created = Store::new(dir.clone()).with_settings(settings).create(&state, 1);
            let Some(operation) = dir.log().get(at).cloned() else { break };
            if operation == format!("write {file}") {
                let Err(Error::Io(problem)) = created else { panic!("{created:?}") };
                assert!(problem.contains(&format!("`{file}`")), "{operation}: {problem}");
                named += 1;
            }
        }
        assert!(named > 1, "{named}");
    }
}

#[test]
fn a_state_that_native_minisnap_could_not_read_in_its_envelope_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let dir = tempdir().unwrap();
    store(dir.path()).create(&nested(126), 1).unwrap();
    let Err(Error::InvalidState(problem)) = store(dir.path()).create(&nested(127), 2) else { panic!() };
    assert!(problem.contains("nested deeper than 126"), "{problem}");
    let text = fs::read_to_string(dir.path().join(name(1))).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}
