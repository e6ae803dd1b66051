//! Which generations a create prunes: by their count, by the directory's limit, and beside readers and other programs.

use std::fs;
use std::path::Path;

use crate::generations::*;
use crate::seam::{Fault, FaultyDir, rot, scratch};
use minisnap_component::dir::OsDir;
use minisnap_component::store::{Settings, Store};

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

/// What is damaged and whole shows when it is read, which pruning does not do.
#[test]
fn a_create_of_a_process_that_knows_no_generation_reads_none_of_those_that_are_kept() {
    let dir = scratch();
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

/// As native 0.1.3 writes it.
fn write_native(dir: &Path, seq: u64) {
    fs::write(dir.join(name(seq)), format!("{{\n  \"seq\": {seq},\n  \"state\": {seq}\n}}")).unwrap();
}

#[test]
fn what_another_program_wrote_is_pruned_only_where_keep_is_given() {
    let dir = scratch();
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
        let dir = scratch();
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
    let dir = scratch();
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
fn the_directory_never_holds_more_than_its_limit_after_a_create() {
    let dir = scratch();
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
    let dir = scratch();
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
