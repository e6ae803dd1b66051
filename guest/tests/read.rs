//! What the verbs that read return, in both layouts: no snapshot, the newest number, and errors of the directory.

use std::fs;
use std::io::ErrorKind;

use crate::pairs::*;
use crate::seam::{Fault, FaultyDir, copy_of, write_later, write_native};
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Soundness, Store};

#[test]
fn an_empty_directory_has_no_snapshot_and_a_missing_one_is_an_error() {
    let dir = dir();
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).info(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).newest_seq(), Err(Error::NotFound));

    let missing = store(&dir.path().join("missing"));
    for problem in [
        missing.restore().unwrap_err(),
        missing.create("1", 1).unwrap_err(),
        missing.newest_seq().unwrap_err(),
    ] {
        assert!(
            matches!(&problem, Error::Io(text) if text.contains("preopen one at `/snapshots`")),
            "{problem:?}"
        );
    }
}

#[test]
fn a_directory_that_holds_both_layouts_is_an_error_that_names_them() {
    let name = "snapshot_00000000000000000007.json";
    let generation = (name, "{\n  \"seq\": 7,\n  \"state\": 1\n}");
    let leftover = ("snapshot_00000000000000000008.json.tmp", "{");
    for file in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        let dir = dir_with(&[generation, leftover, (file, "1")]);
        let before = contents(dir.path());
        let store = store(dir.path());
        let problems = [
            store.restore().unwrap_err(),
            store.restore_at(7).unwrap_err(),
            store.info().unwrap_err(),
            store.list().unwrap_err(),
            store.oldest_kept().unwrap_err(),
            store.newest_seq().unwrap_err(),
            store.create("1", 9).unwrap_err(),
            store.open_writer(9).err().unwrap(),
            store.open_reader(None).err().unwrap(),
            store.open_reader(Some(7)).err().unwrap(),
            store.settle_leftovers().unwrap_err(),
        ];
        let expected = format!(
            "the directory holds snapshots in two layouts, `{file}` and `{name}`: move the files of one of them away"
        );
        for problem in problems {
            assert_eq!(problem, Error::Io(expected.clone()));
        }
        assert_eq!(contents(dir.path()), before);
        assert!(dir.path().join(file).exists());
    }
}

#[test]
fn the_newest_number_is_told_without_reading_a_state() {
    let numbered = Settings { layout: Layout::Numbered, ..Settings::default() };
    for settings in [Settings::default(), numbered] {
        let dir = dir();
        let asked = FaultyDir::new(dir.path(), Fault::None);
        let asking = Store::new(asked.clone()).with_settings(settings);
        assert_eq!(asking.newest_seq(), Err(Error::NotFound));
        for seq in [3, 5] {
            store(dir.path()).with_settings(settings).create("[1, 2]", seq).unwrap();
        }
        assert_eq!(asking.newest_seq(), Ok(5));
        let log = asked.log();
        let state = ["snapshot.json", "snapshot_00000000000000000005.json"];
        let has_read =
            |line: &String| line.starts_with("read ") && state.iter().any(|name| line.ends_with(name));
        assert!(!log.iter().any(has_read), "{log:?}");
        // It is made durable, as all that is returned.
        assert_eq!(log.last().map(String::as_str), Some("sync /"), "{log:?}");
        // Whether the state is sound is another question.
        for name in state.iter().map(|name| dir.path().join(name)).filter(|path| path.exists()) {
            fs::write(name, "[1, 3]").unwrap();
        }
        assert_eq!(asking.newest_seq(), Ok(5));
    }
    // Of a pair whose number nothing vouches for, it is not told.
    let dir = dir_with_snapshot();
    fs::write(dir.path().join("snapshot.seq"), "2").unwrap();
    assert!(matches!(store(dir.path()).newest_seq(), Err(Error::Corrupt(_))));
    // Native minisnap's own, and one that it left waiting, are its newest.
    write_native(dir.path(), "{}", "9");
    assert_eq!(store(dir.path()).newest_seq(), Ok(9));
    // Over ours, too, whose sums still vouch for our number.
    let dir = dir_with_snapshot();
    write_later(dir.path(), "snapshot.json", "[]");
    write_later(dir.path(), "snapshot.seq.tmp", "10");
    assert_eq!(store(dir.path()).newest_seq(), Ok(10));
    assert_eq!(store(dir.path()).restore().unwrap().seq, 10);
    // As a create judges it, a state of native minisnap's is not read.
    let dir = dir_with(&[("snapshot.json", "{\"cut\": "), ("snapshot.seq", "7")]);
    assert_eq!(store(dir.path()).newest_seq(), Ok(7));
    assert_eq!(store(dir.path()).create("1", 6), Err(Error::Stale(7)));
    // Nor is one that is being replaced, before its sums are made.
    let dir = dir_with_snapshot();
    fs::write(dir.path().join("snapshot.json.new"), "2").unwrap();
    let asked = FaultyDir::new(dir.path(), Fault::None);
    assert_eq!(Store::new(asked.clone()).newest_seq(), Ok(1));
    assert!(!asked.log().contains(&"read snapshot.json".to_owned()));
}

/// Returns the number of the snapshot that it read.
type Read = fn(&Store<FaultyDir>) -> Result<u64, Error>;

#[test]
fn any_failed_operation_of_a_read_is_reported_and_never_makes_another_snapshot() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let settings = Settings { layout, ..Settings::default() };
        let open = |dir: &FaultyDir| Store::new(dir.clone()).with_settings(settings);
        let template = dir();
        for seq in [1, 2] {
            open(&FaultyDir::new(template.path(), Fault::None)).create(&seq.to_string(), seq).unwrap();
        }
        let reads: [(&str, Read); 4] = [
            ("restore", |store| Ok(store.restore()?.seq)),
            ("info", |store| Ok(store.info()?.seq)),
            ("open_reader", |store| Ok(store.open_reader(None)?.info().seq)),
            ("list", |store| {
                let list = store.list()?;
                let unreadable = list.iter().find_map(|info| match &info.soundness {
                    Soundness::Unreadable(problem) => Some(problem.clone()),
                    _ => None,
                });
                unreadable.map_or(Ok(list[0].seq), |problem| Err(Error::Io(problem)))
            }),
        ];
        let kinds = [ErrorKind::Other, ErrorKind::PermissionDenied];
        for ((verb, read), kind) in reads.into_iter().flat_map(|read| kinds.map(|kind| (read, kind))) {
            let mut tried = 0;
            for at in 0.. {
                let dir = copy_of(template.path());
                let faulty = FaultyDir::new(dir.path(), Fault::Once(at, kind));
                let store = open(&faulty);
                let found = read(&store);
                if !faulty.has_failed() {
                    assert_eq!(found, Ok(2), "{verb}");
                    break;
                }
                let operation = &faulty.log()[at];
                let what = format!("{layout:?}, {verb}, {at}, {operation}");
                match found {
                    Err(Error::Io(problem) | Error::AccessDenied(problem)) => {
                        assert_eq!(problem.matches("cannot ").count(), 1, "{what}: {problem}");
                        assert_eq!(
                            problem.contains("permission denied"),
                            kind == ErrorKind::PermissionDenied,
                            "{what}: {problem}"
                        );
                    }
                    // It is looked for once more.
                    Ok(2) if layout == Layout::Pair && operation.ends_with("snapshot.json") => {}
                    other => panic!("{what}: {other:?}"),
                }
                tried += 1;
                // Whoever goes on with the number that they know replaces nothing that could not be read for a moment.
                assert_eq!(store.create("\"older\"", 1), Err(Error::Stale(2)), "{what}");
                assert_eq!(store.restore().map(untimed), Ok(snapshot("2", 2)), "{what}");
                store.create("3", 3).unwrap();
                assert_eq!(store.restore().map(untimed), Ok(snapshot("3", 3)), "{what}");
            }
            assert!(tried > 7, "{layout:?}, {verb}: only {tried} operations were tried");
        }
    }
}

#[test]
fn what_a_signal_interrupts_is_done_again() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let settings = Settings { layout, ..Settings::default() };
        let template = dir();
        Store::new(OsDir::new(template.path())).with_settings(settings).create("1", 1).unwrap();
        let (mut reads, mut writes) = (0, 0);
        for at in 0.. {
            let dir = copy_of(template.path());
            let faulty = FaultyDir::new(dir.path(), Fault::Once(at, ErrorKind::Interrupted));
            let store = Store::new(faulty.clone()).with_settings(settings);
            let (restored, created) = (store.restore().map(untimed), store.create("2", 2));
            if !faulty.has_failed() {
                break;
            }
            let operation = &faulty.log()[at];
            let what = format!("{layout:?}, {at}, {operation}: {created:?}");
            assert_eq!(restored, Ok(snapshot("1", 1)), "{what}");
            let changes = ["create ", "make ", "rename ", "remove ", "sync "];
            if changes.iter().any(|change| operation.starts_with(change)) {
                continue;
            }
            created.unwrap_or_else(|error| panic!("{what}: {error}"));
            *(if operation.starts_with("write") { &mut writes } else { &mut reads }) += 1;
        }
        assert!(reads > 8 && writes > 1, "{layout:?}: {reads} reads, {writes} writes");
    }
}
