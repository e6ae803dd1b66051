//! The commit of the numbered layout: its file, its order, and what every failure and every kill in the middle leaves.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::generations::*;
use crate::seam::{Fault, FaultyDir, copy_of, scratch};
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};

#[test]
fn a_generation_is_what_serde_json_prints_and_its_sum() {
    let dir = scratch();
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

/// The level of indentation that the file adds does not count.
#[test]
fn what_fits_the_limit_as_it_is_restored_is_restored() {
    let dir = scratch();
    store(dir.path()).create(&format!("[{}1]", "1,".repeat(90)), 1).unwrap();
    let limited = store(dir.path()).with_settings(Settings { max_state: 500, ..settings(3) });
    let info = limited.info().unwrap();
    assert!(info.size > 450 && fs::metadata(dir.path().join(name(1))).unwrap().len() > 600);
    assert_eq!(limited.restore().unwrap().state.len() as u64, info.size);
}

#[test]
fn a_state_that_native_minisnap_could_not_read_in_its_envelope_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let dir = scratch();
    store(dir.path()).create(&nested(126), 1).unwrap();
    let Err(Error::InvalidState(problem)) = store(dir.path()).create(&nested(127), 2) else { panic!() };
    assert!(problem.contains("nested deeper than 126"), "{problem}");
    let text = fs::read_to_string(dir.path().join(name(1))).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
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
fn an_error_of_a_large_write_names_the_file_that_was_written() {
    for (layout, file) in
        [(Layout::Pair, "snapshot.json.new"), (Layout::Numbered, "snapshot_00000000000000000001.json.tmp")]
    {
        let state = format!("[{}0]", "1,".repeat(300_000));
        let settings = Settings { layout, ..settings(3) };
        let tmp = scratch();
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
