//! Large values, which are written while they are being serialised.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use minisnap_host::{Error, Grant, Layout, SnapshotStore};
use minisnap_tests::{minisnap, names};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};
use tempfile::{TempDir, tempdir};

/// A list of numbers that does something before its last one.
struct List<F> {
    length: u32,
    before_the_last: F,
}

impl<F: Fn() -> Result<(), String>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        (1..self.length).try_for_each(|number| list.serialize_element(&number))?;
        (self.before_the_last)().map_err(S::Error::custom)?;
        list.serialize_element(&self.length)?;
        list.end()
    }
}

/// More than a mebibyte.
const LARGE: u32 = 200_000;

fn store() -> (TempDir, SnapshotStore) {
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path()).layout(Layout::Numbered)).unwrap();
    store.create(&["old"], 1).unwrap();
    (dir, store)
}

/// That the snapshot before is the stored one, that nothing else lies in the directory, and that the next create works.
fn assert_old(dir: &Path, store: &mut SnapshotStore) {
    assert_eq!(store.restore::<[String; 1]>().unwrap().seq, 1);
    assert_eq!(names(dir), ["snapshot_00000000000000000001.json"]);
    store.create(&(0..LARGE).collect::<Vec<_>>(), 9).unwrap();
    assert_eq!(store.restore::<Vec<u32>>().unwrap().state.len(), LARGE as usize);
}

#[test]
fn a_value_of_any_size_is_restored_as_it_was() {
    let (_dir, mut store) = store();
    // Around the sizes from which it is handed on, too.
    for (seq, length) in [0, 1, 40_000, 48_000, 49_000, 60_000, 1_000_000].into_iter().enumerate() {
        let list = List { length, before_the_last: || Ok(()) };
        store.create(&list, 2 + seq as u64).unwrap();
        let restored = store.restore::<Vec<u32>>().unwrap();
        assert!(restored.state.into_iter().eq(1..=length.max(1)) || length == 0, "{length}");
    }
    let text = "é\n".repeat(1 << 20);
    store.create(&[&text, "", &text], 100).unwrap();
    assert_eq!(store.restore::<[String; 3]>().unwrap().state, [text.clone(), String::new(), text]);
}

/// What is serialised is in the file before its end is: a store that keeps all of it first would wait here in vain.
#[test]
fn a_large_value_is_written_while_it_is_being_serialised() {
    let (dir, mut store) = store();
    let was_written = Cell::new(false);
    let before_the_last = || {
        let until = Instant::now() + Duration::from_secs(60);
        while !was_written.get() && Instant::now() < until {
            let temporary = fs::metadata(dir.path().join("snapshot_00000000000000000002.json.tmp"));
            was_written.set(temporary.is_ok_and(|file| file.len() > 100_000));
            sleep(Duration::from_millis(1));
        }
        Ok(())
    };
    store.create(&List { length: LARGE, before_the_last }, 2).unwrap();
    assert!(was_written.get());
}

#[test]
fn a_value_that_fails_after_much_of_it_was_written_leaves_the_snapshot_before() {
    let (dir, mut store) = store();
    let list = List { length: LARGE, before_the_last: || Err("it has no end".to_owned()) };
    match store.create(&list, 2) {
        Err(Error::InvalidState(problem)) => assert!(problem.contains("it has no end"), "{problem}"),
        other => panic!("{other:?}"),
    }
    assert_old(dir.path(), &mut store);
}

#[test]
fn a_value_that_panics_after_much_of_it_was_written_leaves_the_snapshot_before() {
    let (dir, mut store) = store();
    let list = List { length: LARGE, before_the_last: || panic!("on purpose") };
    let panic = catch_unwind(AssertUnwindSafe(|| store.create(&list, 2))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert_old(dir.path(), &mut store);
}

#[test]
fn what_the_store_answers_to_a_large_value_is_what_it_answers_to_its_text() {
    let (dir, mut store) = store();
    let large = List { length: LARGE, before_the_last: || Ok(()) };
    assert!(matches!(store.create(&large, 0), Err(Error::Stale(1))));
    drop(store);
    for (limit, is_max_state) in [(1 << 20, true), (1 << 20, false)] {
        let grant = Grant::new(dir.path());
        let grant = if is_max_state { grant.max_state(limit) } else { grant.max_total(limit) };
        let mut limited = minisnap().open(grant).unwrap();
        match limited.create(&large, 2) {
            Err(Error::TooLarge(most)) if is_max_state => assert_eq!(most, limit),
            Err(Error::NoSpace(problem)) if !is_max_state => {
                assert!(problem.to_string().contains("may hold"), "{problem}")
            }
            other => panic!("{other:?}"),
        }
    }
    let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
    assert_old(dir.path(), &mut store);
}

#[test]
fn the_deadline_of_a_large_value_is_that_of_all_of_it() {
    let (dir, store) = store();
    drop(store);
    let mut hasty = minisnap().open(Grant::new(dir.path()).deadline(Duration::from_millis(300))).unwrap();
    let before_the_last = || {
        sleep(Duration::from_millis(600));
        Ok(())
    };
    match hasty.create(&List { length: LARGE, before_the_last }, 2) {
        Err(Error::DeadlineExceeded(_) | Error::InDoubt(_)) => {}
        other => panic!("{other:?}"),
    }
    drop(hasty);
    let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
    store.settle().unwrap();
    assert_old(dir.path(), &mut store);
}
