//! Damaged generations that a create sets aside: when, under which names, and how many are kept.

use std::fs;

use crate::generations::*;
use crate::seam::{Fault, FaultyDir};
use minisnap_component::error::Error;
use minisnap_component::store::Store;

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
fn a_directory_of_damaged_generations_that_were_set_aside_is_not_taken_for_an_empty_one() {
    for end in ["", "-2", "-18446744073709551615"] {
        a_directory_of_this_is_not_taken_for_an_empty_one(&format!("{}.damaged{end}", name(1)));
    }
}

fn a_directory_of_this_is_not_taken_for_an_empty_one(aside: &str) {
    let dir = dir_with([1]);
    fs::rename(dir.path().join(name(1)), dir.path().join(aside)).unwrap();
    for problem in [
        store(dir.path()).restore().unwrap_err(),
        store(dir.path()).list().unwrap_err(),
        store(dir.path()).newest_seq().unwrap_err(),
    ] {
        assert!(matches!(&problem, Error::Corrupt(text) if text.contains(aside)), "{problem:?}");
    }
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
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
    let aside = || names(dir.path()).into_iter().filter(|name| name.contains("damaged"));
    assert!(aside().eq([9, 10, 11].map(|seq| format!("{}.damaged", name(seq)))));
    // Of those of one number, too.
    for _ in 0..5 {
        cut(dir.path(), 14);
        store(dir.path()).create("14", 14).unwrap();
    }
    store(dir.path()).create("15", 15).unwrap();
    assert!(
        aside().eq(["-3", "-4", "-5"].map(|end| format!("{}.damaged{end}", name(14)))),
        "{:?}",
        names(dir.path())
    );
}
