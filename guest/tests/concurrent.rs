//! Readers without a lock: each of their operations with any number of a writer's in between.

use std::cell::Cell;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::seam::{copy_of, scratch};
use minisnap_component::dir::{Dir, Entry, Listing, OsDir};
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Soundness, Store};

/// A directory that asks before each operation.
#[derive(Clone)]
struct Asking<F> {
    dir: OsDir,
    ask: F,
}

impl<F: Fn() + Clone> Dir for Asking<F> {
    type Reader = fs::File;
    type Writer = fs::File;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        (self.ask)();
        self.dir.entry(name)
    }
    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool> {
        (self.ask)();
        self.dir.is_same_file(name, other)
    }
    fn open(&self, name: &str) -> io::Result<fs::File> {
        (self.ask)();
        self.dir.open(name)
    }
    fn create(&self, name: &str) -> io::Result<fs::File> {
        (self.ask)();
        self.dir.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.ask)();
        self.dir.rename(from, to)
    }
    fn remove_file(&self, name: &str) -> io::Result<()> {
        (self.ask)();
        self.dir.remove_file(name)
    }
    fn dir(&self, name: &str) -> io::Result<Self> {
        (self.ask)();
        Ok(Asking { dir: self.dir.dir(name)?, ask: self.ask.clone() })
    }
    fn make_dir(&self, name: &str) -> io::Result<()> {
        (self.ask)();
        self.dir.make_dir(name)
    }

    fn list(&self) -> io::Result<Listing> {
        (self.ask)();
        self.dir.list()
    }
    fn sync(&self) -> io::Result<()> {
        (self.ask)();
        // No power is cut here.
        Ok(())
    }
}

/// A writer in a thread of its own that does one operation each time it is told to.
struct Stepped {
    tell: Sender<()>,
    done: Receiver<()>,
}

impl Stepped {
    fn create(path: &Path) -> Self {
        let (tell, told) = channel();
        let (say_done, done) = channel();
        let dir = OsDir::new(path);
        thread::spawn(move || {
            let steps = Cell::new(0);
            let ask = || {
                if steps.replace(steps.get() + 1) > 0 {
                    let _ = say_done.send(());
                }
                // When nobody tells any more, it goes on to its end.
                let _ = told.recv();
            };
            // Of the numbered layout, the old generation is pruned at once.
            let settings = Settings { keep: Some(NonZeroU32::MIN), ..Settings::default() };
            let store = Store::new(Asking { dir, ask }).with_settings(settings);
            store.create("\"new\"", 2).unwrap();
        });
        Stepped { tell, done }
    }

    /// Does one operation; false once all are done.
    fn step(&self) -> bool {
        self.tell.send(()).is_ok() && self.done.recv().is_ok()
    }
}

/// What the directory holds before the writer comes.
fn prepare(before: &str, path: &Path) {
    match before {
        "nothing" => {}
        "ours" => Store::new(OsDir::new(path)).create("\"old\"", 1).unwrap(),
        "numbered" => {
            let numbered = Settings { layout: Layout::Numbered, ..Settings::default() };
            Store::new(OsDir::new(path)).with_settings(numbered).create("\"old\"", 1).unwrap();
        }
        "native, numbered" => fs::write(
            path.join("snapshot_00000000000000000001.json"),
            "{\n  \"seq\": 1,\n  \"state\": \"old\"\n}",
        )
        .unwrap(),
        "native" | "native, killed" => {
            fs::write(path.join("snapshot.json"), "\"old\"").unwrap();
            fs::write(path.join("snapshot.seq"), if before == "native" { "1" } else { "0" }).unwrap();
            if before != "native" {
                fs::write(path.join("snapshot.seq.tmp"), "1").unwrap();
            }
        }
        // After its commit, or before it.
        "ours, killed" | "ours, killed early" => {
            let (old, new) =
                if before == "ours, killed" { ("\"older\"", "\"old\"") } else { ("\"old\"", "\"lost\"") };
            Store::new(OsDir::new(path)).create(old, 1).unwrap();
            let killed = scratch();
            Store::new(OsDir::new(killed.path())).create(new, 1).unwrap();
            for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
                let is_moved = before == "ours, killed" && name == "snapshot.sum";
                let to = if is_moved { name.to_owned() } else { format!("{name}.new") };
                fs::copy(killed.path().join(name), path.join(to)).unwrap();
            }
        }
        other => panic!("{other}"),
    }
}

/// The same without its time, which differs each time.
fn untimed(snapshot: Snapshot) -> Snapshot {
    Snapshot { modified: None, ..snapshot }
}

#[test]
fn a_read_between_any_operations_of_a_writer_returns_the_old_or_the_new_snapshot_and_never_goes_back() {
    let snapshot = |state: &str, seq, soundness| {
        let state = format!("\"{state}\"");
        Snapshot { state, seq, modified: None, soundness, skipped: Vec::new() }
    };
    let new = snapshot("new", 2, Soundness::Verified);
    for before in [
        "nothing",
        "ours",
        "native",
        "native, killed",
        "ours, killed",
        "ours, killed early",
        "numbered",
        "native, numbered",
    ] {
        let template = scratch();
        prepare(before, template.path());
        let soundness =
            if before.starts_with("native") { Soundness::Unverified } else { Soundness::Verified };
        let old = snapshot("old", 1, soundness);
        let mut interleavings = 0;
        let mut seen = [0, 0];
        // The writer does so many operations for each of the reader's, the last time all of them at once; it starts so
        // many of its own before the reader, or, from 100 on, of the reader's after it.
        for stride in [1, 2, 3, 100] {
            for ahead in (0..60).chain(101..130) {
                let tmp = copy_of(template.path());
                let writer = Stepped::create(tmp.path());
                let behind = if ahead > 100 { ahead - 100 } else { 0 };
                if behind == 0 && (0..ahead).any(|_| !writer.step()) {
                    // It has fewer.
                    continue;
                }
                let count = Cell::new(0);
                let reader = Store::new(Asking {
                    dir: OsDir::new(tmp.path()),
                    ask: || {
                        count.set(count.get() + 1);
                        if count.get() > behind {
                            let _ = (0..stride).all(|_| writer.step());
                        }
                    },
                });
                let mut newest = 0;
                for _ in 0..3 {
                    let restored = match reader.restore() {
                        Ok(snapshot) => Some(untimed(snapshot)),
                        Err(Error::NotFound) => None,
                        Err(error) => panic!("{before}, {ahead} ahead, {stride} a step: {error}"),
                    };
                    let is_new = restored.as_ref() == Some(&new);
                    let is_old = if before == "nothing" {
                        restored.is_none()
                    } else {
                        restored.as_ref() == Some(&old)
                    };
                    assert!(is_new || is_old, "{before}, {ahead} ahead, {stride} a step: {restored:?}");
                    let seq = if is_new { 2 } else { 1 };
                    assert!(seq >= newest, "{before}, {ahead} ahead, {stride} a step: {seq} after {newest}");
                    newest = seq;
                    seen[usize::from(is_new)] += 1;
                    let number = reader.newest_seq();
                    let is_possible = match number {
                        Ok(number) => (newest..=2).contains(&number),
                        Err(Error::NotFound) => restored.is_none(),
                        Err(_) => false,
                    };
                    assert!(
                        is_possible,
                        "{before}, {ahead} ahead, {stride} a step: {number:?} after {newest}"
                    );
                    newest = number.unwrap_or(newest);
                }
                while writer.step() {}
                assert_eq!(reader.restore().map(untimed), Ok(new.clone()));
                interleavings += 1;
            }
        }
        assert!(
            interleavings > 100 && seen.iter().all(|&count| count > 50),
            "{before}: {interleavings}, {seen:?}"
        );
    }
}

/// The writer does so many operations at one of the reader's, and then nothing: it was killed, or waits for a processor.
#[test]
fn a_read_beside_a_writer_that_stops_anywhere_finds_the_old_or_the_new_snapshot() {
    for before in ["ours", "native", "native, killed", "ours, killed", "numbered", "native, numbered"] {
        let template = scratch();
        prepare(before, template.path());
        let mut reads = 0;
        for at in (1..9).chain((9..45).step_by(4)) {
            for steps in 1..60 {
                let tmp = copy_of(template.path());
                let writer = Stepped::create(tmp.path());
                let (count, is_running) = (Cell::new(0), Cell::new(true));
                let reader = Store::new(Asking {
                    dir: OsDir::new(tmp.path()),
                    ask: || {
                        count.set(count.get() + 1);
                        if count.get() == at {
                            is_running.set((0..steps).all(|_| writer.step()));
                        }
                    },
                });
                let context = format!("{before}, {steps} steps at {at}");
                let seq = match steps % 5 {
                    0 => {
                        assert!(reader.layout().is_ok(), "{context}");
                        None
                    }
                    1 => Some(reader.list().map(|infos| infos[0].seq)),
                    2 => Some(reader.oldest_kept()),
                    3 => Some(reader.newest_seq()),
                    _ => Some(reader.restore().map(|found| found.seq)),
                };
                assert!(matches!(seq, None | Some(Ok(1 | 2))), "{context}: {seq:?}");
                reads += 1;
                while writer.step() {}
                if !is_running.get() {
                    // It has fewer operations.
                    break;
                }
            }
        }
        assert!(reads > 100, "{before}: {reads}");
    }
}

#[test]
fn a_snapshot_that_never_stands_still_is_busy() {
    let tmp = scratch();
    let count = Cell::new(0);
    let store = Store::new(Asking {
        dir: OsDir::new(tmp.path()),
        ask: || {
            // Another program without sums, and faster than this one.
            count.set(count.get() + 1);
            fs::write(tmp.path().join("snapshot.json"), "1".repeat(1 + count.get() % 50)).unwrap();
            fs::write(tmp.path().join("snapshot.seq"), count.get().to_string()).unwrap();
        },
    });
    let rewritten =
        Error::Busy("the snapshot was rewritten faster than it could be read: try again".to_owned());
    assert_eq!(store.restore(), Err(rewritten.clone()));
    assert_eq!(store.info(), Err(rewritten));
}
