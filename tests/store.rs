//! The store component in its host, on real directories: what it stores, what it refuses, what it costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use minisnap_host::{Error, Grant, Layout, Minisnap, Snapshot, SnapshotStore, Soundness};
use minisnap_tests::{minisnap, names};
use serde::{Deserialize, Serialize};
use tempfile::{TempDir, tempdir};

fn open(dir: &Path) -> SnapshotStore {
    minisnap().open(Grant::new(dir)).unwrap()
}

fn read(dir: &Path) -> SnapshotStore {
    minisnap().open(Grant::new(dir).read_only()).unwrap()
}

/// The newest state and its number.
trait Text {
    fn text(&mut self) -> (String, u64);
}

impl Text for SnapshotStore {
    fn text(&mut self) -> (String, u64) {
        let Snapshot { state, seq, soundness, skipped, .. } = self.restore_text().unwrap();
        assert_eq!((soundness, skipped), (Soundness::Verified, Vec::new()));
        (state, seq)
    }
}

fn dir_with_snapshot(state: &str, seq: u64) -> TempDir {
    let dir = tempdir().unwrap();
    open(dir.path()).create_text(state, seq).unwrap();
    dir
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Ledger {
    accounts: BTreeMap<String, i64>,
    note: Option<String>,
}

#[test]
fn what_one_handle_creates_another_restores_with_its_number() {
    let dir = tempdir().unwrap();
    let ledger = Ledger { accounts: [("é".to_owned(), -5), ("b".to_owned(), i64::MAX)].into(), note: None };
    open(dir.path()).create(&ledger, u64::MAX).unwrap();
    let Snapshot { state, seq, modified, soundness, skipped } = open(dir.path()).restore::<Ledger>().unwrap();
    assert!(modified.unwrap().elapsed().unwrap().as_secs() < 3600);
    assert_eq!((state, seq, soundness, skipped), (ledger, u64::MAX, Soundness::Verified, Vec::new()));
    assert_eq!(names(dir.path()), ["snapshot.json", "snapshot.seq", "snapshot.sum"]);
    assert_eq!(fs::read_to_string(dir.path().join("snapshot.seq")).unwrap(), "18446744073709551615");
}

#[test]
fn the_file_of_a_typed_state_is_what_serde_json_pretty_prints() {
    let dir = tempdir().unwrap();
    let ledger = Ledger { accounts: [("a".to_owned(), 1)].into(), note: Some("\"x\"\n".to_owned()) };
    open(dir.path()).create(&ledger, 1).unwrap();
    let file = fs::read_to_string(dir.path().join("snapshot.json")).unwrap();
    assert_eq!(file, serde_json::to_string_pretty(&ledger).unwrap());
    assert_eq!(open(dir.path()).text().0, file);
}

/// A JSON text of exactly `size` bytes that the formatter leaves as it is.
fn text_of(size: usize) -> String {
    assert!(size >= 2);
    format!("\"{}\"", "x".repeat(size - 2))
}

#[test]
fn states_from_2_bytes_to_300_mib_round_trip() {
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path()).max_state(400 << 20)).unwrap();
    let sizes =
        [2, 3, 4095, 4096, 65_535, 65_536, 65_537, 262_144, 1 << 20, (2 << 20) + 1, 3 << 20, 300 << 20];
    for (seq, size) in sizes.into_iter().enumerate() {
        let state = text_of(size);
        store.create_text(&state, seq as u64).unwrap();
        let (restored, restored_seq) = store.text();
        assert!(restored == state, "{size} bytes came back as {}", restored.len());
        assert_eq!(restored_seq, seq as u64);
        let info = store.info().unwrap();
        assert_eq!((info.size, info.soundness), (size as u64, Soundness::Verified));
    }
}

#[test]
fn a_create_needs_less_than_8_mib_of_guest_memory_whatever_the_size() {
    const MIB: usize = 1 << 20;
    for layout in [Layout::Pair, Layout::Numbered] {
        for size in [2, MIB, 64 * MIB] {
            let many_tokens = format!("[{}1]", "1,".repeat(size / 2));
            for state in [text_of(size), many_tokens] {
                let dir = tempdir().unwrap();
                let grant = Grant::new(dir.path()).layout(layout).max_state(1 << 30).max_memory(8 << 20);
                let mut store = minisnap().open(grant).unwrap();
                store.create_text(&state, 1).unwrap();
                assert!(store.peak_memory() < 8 * MIB);
            }
        }
    }
}

#[test]
fn one_instance_serves_states_up_to_the_limit_again_and_again() {
    const MIB: usize = 1 << 20;
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path()).max_state(32 << 20)).unwrap();
    for (seq, size) in [32, 1, 31, 32, 2, 32, 17, 32].into_iter().enumerate() {
        let state = text_of(size * MIB);
        store.create_text(&state, seq as u64).unwrap();
        assert!(store.text().0 == state);
    }
    assert!(store.peak_memory() <= 48 * MIB);
}

#[test]
fn a_lower_number_is_stale_and_an_equal_one_replaces() {
    let dir = dir_with_snapshot("1", 10);
    let mut store = open(dir.path());
    assert!(matches!(store.create_text("2", 9), Err(Error::Stale(10))));
    assert_eq!(store.text(), ("1".to_owned(), 10));
    store.create_text("2", 10).unwrap();
    assert_eq!(store.text(), ("2".to_owned(), 10));
}

#[test]
fn a_state_that_is_not_json_is_refused_with_line_and_column() {
    let dir = dir_with_snapshot("1", 1);
    let Err(Error::InvalidState(problem)) = open(dir.path()).create_text("{\n\"a\":}", 2) else { panic!() };
    assert_eq!(problem, "line 2 column 5: `}` where a value is expected");
    assert_eq!(open(dir.path()).text(), ("1".to_owned(), 1));
    assert_eq!(names(dir.path()).len(), 3);
}

#[test]
fn a_state_over_the_limit_is_too_large_as_given_and_as_stored() {
    let dir = dir_with_snapshot("1", 1);
    {
        let mut store = minisnap().open(Grant::new(dir.path()).max_state(1000)).unwrap();
        store.create_text(&text_of(1000), 2).unwrap();
        assert!(matches!(store.create_text(&text_of(1001), 3), Err(Error::TooLarge(1000))));
        let grows = format!("[{}1]", "1,".repeat(300));
        assert!(matches!(store.create_text(&grows, 3), Err(Error::TooLarge(1000))));
        assert_eq!(store.text().1, 2);
    }
    let mut smaller = minisnap().open(Grant::new(dir.path()).max_state(999)).unwrap();
    assert!(matches!(smaller.restore_text(), Err(Error::TooLarge(999))));
    assert_eq!(smaller.info().unwrap().size, 1000, "info needs no memory for the state");
}

#[test]
fn a_missing_and_an_empty_directory_are_the_same_not_found() {
    let dir = tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        assert!(matches!(read(&path).restore_text(), Err(Error::NotFound)));
        assert!(matches!(read(&path).info(), Err(Error::NotFound)));
        assert!(!read(&path).exists().unwrap());
    }
    assert!(!dir.path().join("missing").exists(), "a reader makes nothing");
}

#[test]
fn names_that_are_not_utf8_are_none_of_the_stores() {
    use std::os::unix::ffi::OsStrExt;

    let dir = tempdir().unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xE9")), "").unwrap();
    assert!(matches!(read(dir.path()).restore_text(), Err(Error::NotFound)));
    open(dir.path()).create_text("1", 1).unwrap();
    assert_eq!(read(dir.path()).text().1, 1);
}

#[test]
fn a_directory_is_made_with_all_above_it() {
    let dir = tempdir().unwrap();
    for path in ["a/b/c", "d/.", "e/./f/", "g/../h"] {
        let path = dir.path().join(path);
        open(&path).create_text("1", 1).unwrap();
        assert_eq!(read(&path).text().1, 1);
    }
}

#[test]
fn a_damaged_file_is_corrupt_and_named() {
    let dir = dir_with_snapshot("[1,2,3]", 1);
    fs::write(dir.path().join("snapshot.json"), "[1,2,4]").unwrap();
    let Err(Error::Corrupt(problem)) = read(dir.path()).restore_text() else { panic!() };
    assert!(problem.contains("`snapshot.json`"), "{problem}");
    assert!(matches!(read(dir.path()).info(), Err(Error::Corrupt(_))));
    assert!(read(dir.path()).exists().unwrap());
}

#[test]
fn a_second_writer_is_told_who_holds_the_directory() {
    let dir = dir_with_snapshot("1", 1);
    let mut first = open(dir.path());
    let Err(Error::Busy(problem)) = minisnap().open(Grant::new(dir.path())) else { panic!() };
    assert!(problem.contains(&format!("`{}`", dir.path().display())), "{problem}");
    assert!(problem.ends_with(&format!("process {}", std::process::id())), "{problem}");
    assert_eq!(read(dir.path()).text().1, 1, "readers need no lock");
    first.create_text("2", 2).unwrap();
    drop(first);
    open(dir.path()).create_text("3", 3).unwrap();
    assert_eq!(names(dir.path()).len(), 3, "the lock left a file");
}

#[test]
fn a_reader_cannot_create() {
    let dir = dir_with_snapshot("1", 1);
    assert!(matches!(read(dir.path()).create_text("2", 2), Err(Error::AccessDenied(_))));
    assert_eq!(read(dir.path()).text(), ("1".to_owned(), 1));
}

#[test]
fn a_state_of_another_type_is_said_to_be_that() {
    let dir = dir_with_snapshot("{\"accounts\":{}}", 1);
    assert!(matches!(open(dir.path()).restore::<Vec<u8>>(), Err(Error::OtherType(_))));
}

#[test]
fn a_directory_that_disappears_is_an_error_and_not_an_empty_store() {
    for used_before in [false, true] {
        let dir = tempdir().unwrap();
        let path = dir.path().join("snapshots");
        let mut store = open(&path);
        if used_before {
            store.create_text("1", 1).unwrap();
        }
        fs::remove_dir_all(&path).unwrap();
        for problem in [
            store.create_text("1", 1).unwrap_err(),
            store.restore_text().unwrap_err(),
            store.exists().unwrap_err(),
            store.info().unwrap_err(),
        ] {
            assert!(
                matches!(&problem, Error::DirectoryReplaced(text) if text.contains("is gone")),
                "{problem:?}"
            );
        }
    }
}

#[test]
fn a_writer_never_writes_in_a_directory_that_it_does_not_hold() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("snapshots");
    let mut store = open(&path);
    store.create_text("1", 1).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    fs::create_dir(&path).unwrap();
    for problem in [store.create_text("2", 2).unwrap_err(), store.restore_text().unwrap_err()] {
        assert!(
            matches!(&problem, Error::DirectoryReplaced(text) if text.contains("was replaced")),
            "{problem:?}"
        );
    }
    assert!(names(&path).is_empty());
    open(&path).create_text("3", 3).unwrap();
}

#[test]
fn a_reader_follows_a_directory_that_is_replaced() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("snapshots");
    open(&path).create_text("1", 1).unwrap();
    let mut reader = read(&path);
    assert_eq!(reader.text().1, 1);
    fs::rename(&path, dir.path().join("moved")).unwrap();
    assert!(!reader.exists().unwrap());
    open(&path).create_text("2", 2).unwrap();
    assert_eq!(reader.text().1, 2);
}

#[test]
fn a_store_sees_what_others_wrote_since_its_last_call() {
    let dir = dir_with_snapshot("1", 1);
    let mut reader = read(dir.path());
    assert_eq!(reader.text().1, 1);
    open(dir.path()).create_text("2", 2).unwrap();
    assert_eq!(reader.text(), ("2".to_owned(), 2));
}

#[test]
fn readers_beside_a_writer_see_whole_snapshots_that_never_go_back() {
    for layout in [Layout::Pair, Layout::Numbered] {
        readers_beside_a_writer(layout);
    }
}

fn readers_beside_a_writer(layout: Layout) {
    let dir = tempdir().unwrap();
    let open = |dir: &Path| {
        // A generation goes as soon as it is not the newest any more.
        let grant = Grant::new(dir).layout(layout).keep(std::num::NonZeroU32::MIN);
        minisnap().open(grant).unwrap()
    };
    open(dir.path()).create_text("[0,0]", 0).unwrap();
    let last = 500;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reader = read(dir.path());
                let mut newest = 0;
                while newest < last {
                    let Snapshot { state, seq, .. } = reader.restore::<(u64, u64)>().unwrap();
                    assert_eq!(state, (seq, seq * seq));
                    assert!(seq >= newest, "{seq} after {newest}");
                    newest = seq;
                }
            });
        }
        let mut writer = open(dir.path());
        for seq in 1..=last {
            writer.create(&(seq, seq * seq), seq).unwrap();
        }
    });
}

#[test]
fn a_file_larger_than_the_instance_is_too_large_and_no_trap() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("snapshot.seq"), "1").unwrap();
    fs::write(dir.path().join("snapshot.json"), text_of(64 << 20)).unwrap();
    let mut store = minisnap().open(Grant::new(dir.path()).max_state(1 << 20)).unwrap();
    assert!(matches!(store.restore_text(), Err(Error::TooLarge(_))));
    store.create_text("2", 2).unwrap();
    assert_eq!(store.text(), ("2".to_owned(), 2));
}

#[test]
fn after_a_trap_the_next_call_gets_another_instance() {
    let dir = dir_with_snapshot("1", 1);
    // So small a stack is exhausted by every call.
    let mut config = minisnap_tests::cached_config();
    config.max_wasm_stack(1);
    let starved = Minisnap::builder().config(config).build().unwrap();
    let mut store = starved.open(Grant::new(dir.path())).unwrap();
    for _ in 0..2 {
        let Err(Error::Component(trap)) = store.create_text("2", 2) else { panic!() };
        // An instance that has trapped would refuse to be entered again.
        assert!(format!("{trap:#}").contains("call stack exhausted"), "{trap:#}");
    }
    drop(store);
    assert_eq!(open(dir.path()).text(), ("1".to_owned(), 1));
}

#[test]
fn an_engine_that_counts_fuel_is_refused() {
    let mut config = wasmtime::Config::new();
    config.consume_fuel(true);
    let Err(Error::Component(error)) = Minisnap::builder().config(config).build() else { panic!() };
    assert!(error.to_string().contains("remove `Config::consume_fuel`"), "{error}");
}

#[test]
fn a_thread_that_ends_can_drop_a_store() {
    thread_local! {
        static STORE: std::cell::RefCell<Option<SnapshotStore>> = const { std::cell::RefCell::new(None) };
    }
    for is_open in [false, true] {
        let dir = tempdir().unwrap();
        let store = open(dir.path());
        let ended = std::thread::spawn(move || {
            // Before its first call in this thread, so that it is dropped after all that calls leave in one.
            STORE.set(Some(store));
            STORE.with_borrow_mut(|store| {
                let store = store.as_mut().unwrap();
                store.create_text("1", 1).unwrap();
                if is_open {
                    std::mem::forget(store.open_writer(2).unwrap());
                }
            });
        });
        ended.join().unwrap();
        let mut store = open(dir.path());
        assert_eq!(store.restore_text().unwrap().seq, 1);
        store.create_text("3", 3).unwrap();
        assert!(!dir.path().join("snapshot.json.new").exists());
    }
}
