//! What a store remembers of its directory from one call to the next.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use crate::generations::{cut, damage, dir_with, generations, name, names, settings, store, untimed};
use crate::seam::{Fault, FaultyDir};
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};
use proptest::prelude::*;
use tempfile::tempdir;

fn listings(dir: &FaultyDir) -> usize {
    dir.log().iter().filter(|line| *line == "list /").count()
}

/// How many calls rely on what is remembered.
const UNLISTED: u64 = 15;

#[test]
fn after_a_create_the_directory_is_listed_once_in_sixteen_calls_or_when_a_name_comes_or_goes() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let tmp = tempdir().unwrap();
        let dir = FaultyDir::new(tmp.path(), Fault::None);
        let store = Store::new(dir.clone()).with_settings(Settings { layout, ..settings(3) });
        let listed_by = |call: &dyn Fn()| {
            let before = listings(&dir);
            call();
            listings(&dir) - before
        };
        let calls: [&dyn Fn(); 6] = [
            &|| store.create("3", 3).unwrap(),
            &|| assert_eq!(store.restore().unwrap().seq, 3),
            &|| assert_eq!(store.newest_seq(), Ok(3)),
            &|| assert_eq!(store.info().unwrap().seq, 3),
            &|| assert_eq!(store.list().unwrap()[0].seq, 3),
            &|| assert_eq!(store.restore_at(9), Err(Error::NotFound)),
        ];
        for call in calls {
            assert_eq!(listed_by(&|| store.create("3", 3).unwrap()), 1, "{layout:?}");
            for _ in 0..UNLISTED {
                assert_eq!(listed_by(call), 0, "{layout:?}");
            }
            assert!(listed_by(call) > 0, "{layout:?}");
            (1..UNLISTED).for_each(|_| assert_eq!(listed_by(call), 0, "{layout:?}"));

            by_hand(tmp.path(), || fs::write(tmp.path().join("notes.txt"), "").unwrap());
            assert!(listed_by(call) > 0, "{layout:?}");
            by_hand(tmp.path(), || fs::remove_file(tmp.path().join("notes.txt")).unwrap());
        }
    }
}

/// Neither in the process that made them, nor in the next one.
#[test]
fn what_a_create_does_does_not_grow_with_what_is_kept() {
    let operations = |keep| {
        let tmp = tempdir().unwrap();
        [0, 1].map(|process| {
            let dir = FaultyDir::new(tmp.path(), Fault::None);
            let store = Store::new(dir.clone()).with_settings(settings(keep));
            let last = 100 + process * 10;
            let first = if process == 0 { 1 } else { last - 3 };
            (first..last).for_each(|seq| store.create("1", seq).unwrap());
            let before = dir.log().len();
            store.create("1", last).unwrap();
            dir.log().len() - before
        })
    };
    assert_eq!(operations(2), operations(50));
}

/// A directory's time is the clock's, which before Linux 6.13 stands still for some milliseconds.
fn by_hand(dir: &Path, edit: impl FnOnce()) {
    let time = fs::metadata(dir).unwrap().modified().unwrap();
    edit();
    let times = fs::FileTimes::new().set_modified(time + Duration::from_secs(10));
    File::open(dir).unwrap().set_times(times).unwrap();
}

fn copy(from: &Path, to: &Path, seq: u64) {
    fs::copy(from.join(name(seq)), to.join(name(seq))).unwrap();
}

#[test]
fn what_is_done_by_hand_after_a_create_is_seen() {
    let dir = dir_with([]);
    let [path, in_dir] = [dir.path(), dir.path()].map(Path::to_owned);
    let this = store(&path);
    (1..=3).for_each(|seq| this.create(&seq.to_string(), seq).unwrap());

    by_hand(&path, || fs::remove_file(in_dir.join(name(3))).unwrap());
    assert_eq!(this.restore().unwrap().seq, 2);
    this.create("3", 3).unwrap();

    let other = dir_with([7]);
    by_hand(&path, || copy(other.path(), &in_dir, 7));
    assert_eq!(this.create("4", 4), Err(Error::Stale(7)));
    assert_eq!(this.restore().unwrap().seq, 7);
    this.create("8", 8).unwrap();

    let left = in_dir.join(format!("{}.tmp", name(9)));
    by_hand(&path, || fs::write(&left, "").unwrap());
    this.create("9", 9).unwrap();
    assert!(!left.exists());

    by_hand(&path, || fs::write(in_dir.join("snapshot.json"), "1").unwrap());
    assert!(matches!(this.create("10", 10), Err(Error::Io(problem)) if problem.contains("two layouts")));
    assert!(matches!(this.restore(), Err(Error::Io(problem)) if problem.contains("two layouts")));
}

#[test]
fn what_is_done_by_hand_while_a_writer_is_open_is_seen_by_the_next_call() {
    let dir = dir_with([]);
    let this = store(dir.path());
    (1..=3).for_each(|seq| this.create(&seq.to_string(), seq).unwrap());
    let mut writer = this.open_writer(4).unwrap();
    copy(dir_with([7]).path(), dir.path(), 7);
    fs::remove_file(dir.path().join(name(3))).unwrap();
    writer.write(b"4").unwrap();
    writer.commit().unwrap();
    // Three that are sound are kept, and the one that went is none of them.
    assert_eq!(names(dir.path()), generations([1, 2, 4, 7]));
    assert_eq!(this.newest_seq(), Ok(7));
    assert_eq!(this.create("5", 5), Err(Error::Stale(7)));
}

/// As where it is done in the middle of a create, or within one tick of a file system's clock.
#[test]
fn what_the_time_of_the_directory_does_not_show_is_seen_within_sixteen_calls() {
    let dir = dir_with([]);
    let this = store(dir.path());
    this.create("1", 1).unwrap();
    let time = fs::metadata(dir.path()).unwrap().modified().unwrap();
    copy(dir_with([7]).path(), dir.path(), 7);
    File::open(dir.path()).unwrap().set_modified(time).unwrap();
    let seen: Vec<u64> = (0..=UNLISTED).map(|_| this.newest_seq().unwrap()).collect();
    assert_eq!((seen[0], *seen.last().unwrap()), (1, 7), "{seen:?}");
}

/// Whether there is a generation whose state is its number.
fn is_whole(file: &Path, seq: u64) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("\"state\": {seq},")))
}

/// A step of a store's life.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create(u64),
    Discard(u64),
    Settle,
    /// The others are done by hand.
    Damage(u64),
    Cut(u64),
    Remove(u64),
    Add(u64),
    AddHalf(u64),
    Leave,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seq = || 0..12u64;
    let step = prop_oneof![
        8 => seq().prop_map(Step::Create),
        1 => seq().prop_map(Step::Discard),
        1 => Just(Step::Settle),
        1 => seq().prop_map(Step::Damage),
        1 => seq().prop_map(Step::Cut),
        1 => seq().prop_map(Step::Remove),
        1 => seq().prop_map(Step::Add),
        3 => seq().prop_map(Step::AddHalf),
        1 => Just(Step::Leave),
    ];
    prop::collection::vec(step, 1..40)
}

fn all_settings() -> impl Strategy<Value = Settings> {
    let layout = prop_oneof![Just(Layout::Pair), Just(Layout::Numbered)];
    let max_total = prop_oneof![3 => Just(u64::MAX), 1 => 200..500u64];
    (layout, 0..4u32, max_total).prop_map(|(layout, keep, max_total)| Settings {
        layout,
        max_total,
        ..settings(keep)
    })
}

/// Returns what the store answered.
fn take(step: Step, store: &Store<OsDir>, dir: &Path, layout: Layout) -> Result<(), Error> {
    let file = |seq| dir.join(name(seq));
    match step {
        Step::Create(seq) => return store.create(&seq.to_string(), seq),
        Step::Discard(seq) => return store.open_writer(seq).map(drop),
        Step::Settle => return store.settle_leftovers().map(drop),
        Step::Damage(seq) if is_whole(&file(seq), seq) => damage(dir, seq),
        Step::Cut(seq) if file(seq).exists() => cut(dir, seq),
        Step::Remove(seq) if file(seq).exists() => by_hand(dir, || fs::remove_file(file(seq)).unwrap()),
        Step::Add(seq) if !file(seq).exists() => by_hand(dir, || copy(dir_with([seq]).path(), dir, seq)),
        Step::AddHalf(seq) if !file(seq).exists() => by_hand(dir, || {
            copy(dir_with([seq]).path(), dir, seq);
            cut(dir, seq);
        }),
        Step::Leave => {
            let left = if layout == Layout::Pair { "snapshot.seq.new" } else { &format!("{}.tmp", name(77)) };
            by_hand(dir, || fs::write(dir.join(left), "7").unwrap());
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_that_remembers_answers_as_one_that_looks(steps in steps(), settings in all_settings()) {
        let tmp = tempdir().unwrap();
        let open = || Store::new(OsDir::new(tmp.path())).with_settings(settings);
        let this = open();
        for step in steps {
            let _ = take(step, &this, tmp.path(), settings.layout);
            let new = open();
            prop_assert_eq!(this.restore().map(untimed), new.restore().map(untimed), "{:?}", step);
            prop_assert_eq!(this.list(), new.list(), "{:?}", step);
            prop_assert_eq!(this.newest_seq(), new.newest_seq(), "{:?}", step);
            prop_assert_eq!(this.oldest_kept(), new.oldest_kept(), "{:?}", step);
            prop_assert_eq!(this.layout(), new.layout(), "{:?}", step);
        }
    }

    #[test]
    fn a_store_that_remembers_leaves_what_one_that_looks_leaves(steps in steps(), settings in all_settings()) {
        let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
        let open = |dir: &Path| Store::new(OsDir::new(dir)).with_settings(settings);
        let this = open(one.path());
        for step in steps {
            // Whether these are found depends on what a store has read before.
            if matches!(step, Step::Damage(_) | Step::Cut(_)) {
                continue;
            }
            let new = open(other.path());
            let (this_took, new_took) = (
                take(step, &this, one.path(), settings.layout),
                take(step, &new, other.path(), settings.layout),
            );
            prop_assert_eq!(this_took, new_took, "{:?}", step);
            prop_assert_eq!(names(one.path()), names(other.path()), "{:?}", step);
        }
    }
}
