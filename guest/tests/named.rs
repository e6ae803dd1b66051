//! Named stores: their directories are made durably, and no sooner than they are needed.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use crate::model::{Disk, Machine, ModelDir};
use crate::seam::{Fault, FaultyDir, scratch};
use minisnap_component::dir::{Dir, OsDir};
use minisnap_component::error::Error;
use minisnap_component::store::{Settings, Stores};

fn stores<D: Dir>(dir: D) -> Stores<D> {
    Stores::new(dir, Settings::default(), 3)
}

fn create<D: Dir>(stores: &Stores<D>, state: &str, seq: u64) -> Result<(), Error> {
    stores.made("a")?.create(state, seq)
}

/// The newest number of the store, if there is one.
fn restored<D: Dir>(stores: &Stores<D>) -> Option<u64> {
    match stores.existing("a").and_then(|store| store.restore()) {
        Ok(snapshot) => Some(snapshot.seq),
        Err(Error::NotFound) => None,
        Err(error) => panic!("{error}"),
    }
}

/// What was done in the component's own directory.
fn outer(dir: &FaultyDir, from: usize) -> Vec<String> {
    let mut log = dir.log().split_off(from);
    log.retain(|line| line == "sync /" || line.starts_with("make "));
    log
}

#[test]
fn a_named_store_is_made_durably_by_its_first_create() {
    let tmp = scratch();
    let dir = FaultyDir::new(tmp.path(), Fault::None);
    let first = stores(dir.clone());
    assert_eq!((restored(&first), first.names().unwrap()), (None, Vec::new()));
    assert_eq!(outer(&dir, 0), Vec::<String>::new(), "reading makes nothing");
    create(&first, "1", 1).unwrap();
    assert_eq!(outer(&dir, 0), ["make a/", "sync /"]);
    let log = dir.log();
    let at = |line: &str| log.iter().position(|other| other == line).unwrap();
    assert!(at("sync /") < at("rename a/snapshot.sum.new a/snapshot.sum"));
    // Once an instance.
    let before = log.len();
    create(&first, "2", 2).unwrap();
    assert_eq!((outer(&dir, before), restored(&first)), (Vec::new(), Some(2)));
    // Another one does not know who made it.
    let second = stores(dir.clone());
    let before = dir.log().len();
    create(&second, "3", 3).unwrap();
    assert_eq!(outer(&dir, before), ["sync /"]);
    // Nor does one that only reads.
    let third = stores(dir.clone());
    let before = dir.log().len();
    assert_eq!(restored(&third), Some(3));
    assert_eq!(outer(&dir, before), ["sync /"]);
    // It was removed, by whoever may.
    std::fs::remove_dir_all(tmp.path().join("a")).unwrap();
    assert_eq!(restored(&first), None);
    let before = dir.log().len();
    create(&first, "1", 1).unwrap();
    assert_eq!(outer(&dir, before), ["make a/", "sync /"]);
    // Also where the first try after that fails.
    std::fs::remove_dir_all(tmp.path().join("a")).unwrap();
    std::fs::create_dir(tmp.path().join("a")).unwrap();
    std::fs::remove_dir(tmp.path().join("a")).unwrap();
    assert_eq!(restored(&first), None);
    std::fs::create_dir(tmp.path().join("a")).unwrap();
    let before = dir.log().len();
    create(&first, "1", 1).unwrap();
    assert_eq!(outer(&dir, before), ["sync /"]);
}

/// The numbers that a power cut may leave now.
fn after_power_cut(machine: &Machine) -> Vec<Option<u64>> {
    machine.after_power_cut().iter().map(|disk| restored(&stores(ModelDir::plain(disk)))).collect()
}

#[test]
fn no_power_cut_takes_a_named_store_that_was_acknowledged_or_read() {
    let machine = || Machine::new(Disk::with(&[]));
    let dir = ModelDir::new(machine(), Rc::new(|_| {}));
    create(&stores(dir.clone()), "1", 1).unwrap();
    assert!(after_power_cut(&dir.machine.borrow()).iter().all(|seq| *seq == Some(1)));
    // The method must be seen to bite: the first sync is of the directory that it lies in.
    let mut dir = ModelDir::new(machine(), Rc::new(|_| {}));
    dir.without_sync = Some(0);
    create(&stores(dir.clone()), "1", 1).unwrap();
    assert!(after_power_cut(&dir.machine.borrow()).contains(&None));

    // Whoever made it was killed, at any change; then another one reads, or creates.
    for killed_at in 0..30 {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let look = {
            let seen = seen.clone();
            move |machine: &Machine| seen.borrow_mut().extend(after_power_cut(machine))
        };
        let mut killed = ModelDir::new(machine(), Rc::new(look));
        killed.killed_at = Some(killed_at);
        let created = create(&stores(killed.clone()), "1", 1);
        assert!(seen.borrow().iter().all(|seq| matches!(seq, None | Some(1))), "killed at {killed_at}");
        let machine = killed.machine.borrow().clone();
        let reader = ModelDir::new(machine.clone(), Rc::new(|_| {}));
        let read = restored(&stores(reader.clone()));
        assert!(created.is_err() || read == Some(1));
        if read.is_some() {
            assert!(
                after_power_cut(&reader.machine.borrow()).iter().all(|seq| *seq == read),
                "killed at {killed_at}"
            );
        }
        let writer = ModelDir::new(machine, Rc::new(|_| {}));
        create(&stores(writer.clone()), "2", 2).unwrap();
        assert!(
            after_power_cut(&writer.machine.borrow()).iter().all(|seq| *seq == Some(2)),
            "killed at {killed_at}"
        );
    }
}

#[test]
fn any_failed_operation_of_a_first_create_is_reported_and_the_next_one_works() {
    let mut tried = 0;
    for at in 0.. {
        let tmp = scratch();
        let dir = FaultyDir::new(tmp.path(), Fault::Once(at, std::io::ErrorKind::Other));
        let failing = stores(dir.clone());
        let result = create(&failing, "1", 1);
        if !dir.has_failed() {
            break;
        }
        tried += 1;
        let operation = &dir.log()[at];
        // What is only removed in vain is no failure.
        assert!(result.is_err() || restored(&plain(tmp.path())) == Some(1), "{at}, {operation}");
        let (log, before) = (dir.log(), dir.log().len());
        create(&failing, "2", 2).unwrap();
        assert_eq!(restored(&plain(tmp.path())), Some(2), "{at}, {operation}");
        // The directory was made durable by whichever create came so far.
        let made = log.iter().position(|line| line == "make a/").filter(|made| *made != at);
        let is_synced =
            made.is_some_and(|made| log[made..].contains(&"sync /".to_owned()) && operation != "sync /");
        assert_eq!(
            outer(&dir, before).contains(&"sync /".to_owned()),
            !is_synced,
            "{at}, {operation}: {log:?}"
        );
    }
    assert!(tried > 20, "only {tried} operations were tried");
}

/// A file system that does not tell them apart opens the other one's directory.
#[test]
fn a_name_that_differs_in_case_only_is_refused_wherever_it_may_lead() {
    let tmp = scratch();
    let stores = plain(tmp.path());
    create(&stores, "1", 1).unwrap();
    // As on such a file system.
    std::fs::create_dir(tmp.path().join("A")).unwrap();
    for refused in [stores.made("A"), stores.existing("A")] {
        assert!(matches!(refused, Err(Error::AccessDenied(problem)) if problem.contains("`a`")));
    }
    // One that was removed is in nobody's way.
    std::fs::remove_dir(tmp.path().join("A")).unwrap();
    std::fs::remove_dir_all(tmp.path().join("a")).unwrap();
    stores.made("A").unwrap().create("1", 1).unwrap();
}

#[test]
fn readers_and_writers_of_all_stores_are_limited_together() {
    let tmp = scratch();
    let stores = Stores::new(OsDir::new(tmp.path()), Settings::default(), 10);
    let (mut readers, mut writers) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c", "d"] {
        let store = stores.made(name).unwrap();
        store.create("1", 1).unwrap();
        readers.extend((0..15).map(|_| store.open_reader(None).unwrap()));
        writers.push(store.open_writer(2).unwrap());
    }
    let own = stores.made("").unwrap();
    assert!(
        matches!(own.create("1", 1), Err(Error::Busy(problem)) if problem.contains("64 readers and writers"))
    );
    drop(readers.pop());
    own.create("1", 1).unwrap();
}

fn plain(path: &Path) -> Stores<OsDir> {
    stores(OsDir::new(path))
}
