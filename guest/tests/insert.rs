//! A snapshot with any number, as a copy makes it: what it replaces, what stays, and what a power cut leaves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::rc::Rc;

use crate::generations::*;
use crate::model::{Disk, Machine, ModelDir};
use crate::seam::scratch;
use minisnap_component::dir::{Dir, OsDir};
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Soundness, Store};

fn insert<D: Dir>(store: &Store<D>, state: &str, seq: u64) -> Result<(), Error> {
    let mut writer = store.insert(seq)?;
    writer.write_text(state)?;
    writer.commit()
}

fn restored<D: Dir>(store: &Store<D>) -> Result<(String, u64), Error> {
    store.restore().map(|snapshot| (snapshot.state, snapshot.seq))
}

fn of_layout(layout: Layout) -> Settings {
    Settings { layout, keep: NonZeroU32::new(3), ..Settings::default() }
}

#[test]
fn an_insert_below_the_newest_leaves_the_newest_and_prunes_nothing() {
    let tmp = dir_with([3, 5, 7]);
    let store = store(tmp.path());
    for seq in [4, 1, 6] {
        insert(&store, &seq.to_string(), seq).unwrap();
        assert_eq!(restored(&store), Ok(("7".into(), 7)));
        assert_eq!(store.restore_at(seq).map(untimed), Ok(snapshot(&seq.to_string(), seq)));
    }
    assert_eq!(names(tmp.path()), generations([1, 3, 4, 5, 6, 7]));
    // Above it, too, and the number of one that is there.
    insert(&store, "8", 8).unwrap();
    insert(&store, "\"again\"", 5).unwrap();
    assert_eq!((restored(&store), store.oldest_kept()), (Ok(("8".into(), 8)), Ok(1)));
    assert_eq!(store.restore_at(5).unwrap().state, "\"again\"");
    assert!(store.list().unwrap().iter().all(|info| info.soundness == Soundness::Verified));
    // The next create goes by what is the newest, and prunes.
    assert_eq!(store.create("7", 7), Err(Error::Stale(8)));
    store.create("9", 9).unwrap();
    assert_eq!(names(tmp.path()), generations([7, 8, 9]));
}

#[test]
fn an_insert_sets_the_damaged_generation_of_its_number_aside_and_no_other() {
    let tmp = dir_with([1, 2, 3]);
    for seq in [2, 3] {
        damage(tmp.path(), seq);
    }
    insert(&store(tmp.path()), "2", 2).unwrap();
    let found: BTreeSet<_> =
        generations([1, 2, 3]).into_iter().chain([format!("{}.damaged", name(2))]).collect();
    assert_eq!(names(tmp.path()), found);
    let restored = store(tmp.path()).restore().unwrap();
    assert_eq!((restored.seq, restored.skipped.len()), (2, 1));
}

#[test]
fn an_insert_into_a_pair_replaces_a_newer_one() {
    let tmp = scratch();
    let store = Store::new(OsDir::new(tmp.path()));
    for seq in [7, 3, u64::MAX, 0] {
        insert(&store, &seq.to_string(), seq).unwrap();
        assert_eq!(restored(&store), Ok((seq.to_string(), seq)));
        assert_eq!(store.list().unwrap().len(), 1);
    }
    // It is a writer like any other.
    let writer = store.insert(1).unwrap();
    assert!(matches!(store.create("2", 2), Err(Error::Busy(_))));
    drop(writer);
    assert!(matches!(insert(&store, "[", 1), Err(Error::InvalidState(_))));
    assert_eq!(restored(&store), Ok(("0".into(), 0)));
}

/// The old snapshot until the commit, and then the inserted one of a pair; of generations, the newest all the time.
#[test]
fn a_power_cut_at_any_operation_of_an_insert_leaves_the_old_or_the_inserted_snapshot() {
    for layout in [Layout::Pair, Layout::Numbered] {
        // Another number, and the same.
        for seq in [1, 5] {
            let dir = ModelDir::new(Machine::new(Disk::with(&[])), Rc::new(|_| {}));
            Store::new(dir.clone()).with_settings(of_layout(layout)).create("5", 5).unwrap();
            let (tried, wrong) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
            let look = {
                let (tried, wrong) = (tried.clone(), wrong.clone());
                move |machine: &Machine, possible: &[(&str, u64)]| {
                    for disk in machine.after_power_cut() {
                        tried.set(tried.get() + 1);
                        let store = Store::new(ModelDir::plain(&disk)).with_settings(of_layout(layout));
                        match restored(&store) {
                            Ok((state, seq)) if possible.contains(&(&*state, seq)) => {}
                            other => wrong.borrow_mut().push(format!("{other:?}")),
                        }
                        if store.create("9", 9).and_then(|()| restored(&store)) != Ok(("9".into(), 9)) {
                            wrong.borrow_mut().push("no create".to_owned());
                        }
                    }
                }
            };
            let new = if layout == Layout::Numbered && seq < 5 { ("5", 5) } else { ("\"new\"", seq) };
            let (during, after) = (look.clone(), look);
            let machine = dir.machine.borrow().clone();
            let possible = [("5", 5), new];
            let dir = ModelDir::new(machine, Rc::new(move |machine| during(machine, &possible)));
            let store = Store::new(dir.clone()).with_settings(of_layout(layout));
            insert(&store, "\"new\"", seq).unwrap();
            after(&dir.machine.borrow(), &[new]);
            assert_eq!(wrong.take(), Vec::<String>::new(), "{layout:?}, {seq}");
            assert!(tried.get() > 10, "{layout:?}, {seq}: only {} disks", tried.get());
        }
    }
}
