//! How long a state with a log takes beside native ministore.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use minisnap_client::state::{Mutator, OpenOptions, State};
use minisnap_host::{Grant, SnapshotStore};
use minisnap_tests::NATIVE_STATE;
use minisnap_tests::bench::Bench;
use serde::{Deserialize, Serialize};

use crate::contest::Contest;
use crate::native::Native;
use crate::report::Row;
use crate::topics::{minisnap, row};

/// How many operations one sync makes durable.
const BATCH: u64 = 100;

const MANY: u64 = 1_000_000;
const TAIL: u64 = 1_000;

type Logged = State<u64, Add, SnapshotStore>;

/// An operation of some hundred bytes, as the native program has it.
#[derive(Serialize, Deserialize)]
struct Add {
    number: u64,
    text: String,
}

impl Add {
    fn new(number: u64) -> Self {
        Add { number, text: "x".repeat(60) }
    }
}

impl Mutator<u64> for Add {
    fn apply(&self, sum: &mut u64) {
        *sum += self.number;
    }
}

/// The topic.
pub fn all() -> Vec<Row> {
    let mut rows = applies();
    rows.extend(recoveries());
    rows
}

fn open(root: &Path, name: &str) -> Logged {
    let log = root.join(name);
    fs::create_dir_all(&log).expect("made");
    let snapshots = minisnap().open(Grant::new(root.join(format!("{name}-snapshots")))).expect("a store");
    OpenOptions::new().open(snapshots, log).expect("opened")
}

fn applies() -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let (mut one, mut many) = (open(root.path(), "one"), open(root.path(), "many"));
    let grant = Grant::new(root.path().join("snapshots"));
    let linked = RefCell::new(Bench::linked(&minisnap(), grant, &root.path().join("own")));
    let mut native = Native::start_on(NATIVE_STATE, &root.path().join("journal"));
    let mut contest = Contest::new();
    contest.add_timed("apply", |seq| one.apply(Add::new(seq)).expect("applied"));
    contest.add_timed("batch", |_| many.apply_all((0..BATCH).map(Add::new)).expect("applied"));
    contest.add("linked", |_| linked.borrow_mut().apply());
    contest.add("native", |_| native.ask("append"));
    let times = contest.run(root.path(), 300);
    let (apply, native) =
        (("apply of an operation, natively", "apply"), ("ministore 0.1.7, append", "native"));
    vec![
        row(&times, apply, native, "100 bytes"),
        row(&times, ("apply of an operation, in a component", "linked"), native, "100 bytes"),
        row(&times, ("apply of 100 operations together, natively", "batch"), apply, "100 bytes"),
    ]
}

fn recoveries() -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let path = root.path();
    // As if each had been written by itself, which would take minutes.
    let (mut numbers, journal) = (1.., path.join("journal"));
    let mut ours = open(path, "many");
    while ours.sequence() < MANY {
        ours.apply_all(numbers.by_ref().take(1000).map(Add::new)).expect("applied");
    }
    drop(ours);
    let mut written = BufWriter::new(File::create(&journal).expect("made"));
    writeln!(written, "// MINISTORE JOURNAL v0.1.4").expect("written");
    for number in 1..=MANY {
        serde_json::to_writer(&mut written, &Add::new(number)).expect("written");
        writeln!(written).expect("written");
    }
    drop(written);
    let mut few = open(path, "few");
    few.apply_all((1..=TAIL).map(Add::new)).expect("applied");
    few.create_snapshot().expect("stored");
    for number in 1..=TAIL {
        few.apply(Add::new(number)).expect("applied");
    }
    drop(few);

    let minisnap = minisnap();
    let opened = |name: &str| -> Logged {
        let snapshots = minisnap.open(Grant::new(path.join(format!("{name}-snapshots")))).expect("a store");
        OpenOptions::new().open(snapshots, path.join(name)).expect("opened")
    };
    let mut native = Native::start_on(NATIVE_STATE, &journal);
    let mut contest = Contest::new();
    contest.add_timed("many", |_| assert_eq!(opened("many").recovery().replayed, MANY));
    contest.add_timed("few", |_| assert_eq!(opened("few").recovery().replayed, TAIL));
    contest.add("native", |_| native.ask("replay"));
    let times = contest.run(path, 6);
    let many = ("recovery of a state without a snapshot", "many");
    vec![
        row(&times, many, ("ministore 0.1.7, replay", "native"), "1,000,000 records"),
        row(&times, ("recovery of a snapshot and 1,000 records", "few"), many, "1,000 records"),
    ]
}
