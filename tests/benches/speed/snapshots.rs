//! Creates and restores beside native minisnap, and beside what only writes or reads the same files.

use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use minisnap_host::{Layout, Minisnap};
use minisnap_tests::records::{Record, state};
use minisnap_tests::{NATIVE_0_1_2, NATIVE_0_1_3};
use xxhash_rust::xxh3::xxh3_128;

use crate::contest::Contest;
use crate::native::{Floor, Native};
use crate::report::{Row, Target};
use crate::topics::{LARGE, SMALL, WRITTEN, generation, minisnap, open, real_files, row, size_name};

/// Sizes of states in bytes, and how many rounds each is measured in.
const SIZES: [(usize, usize); 5] =
    [(1 << 10, 150), (64 << 10, 80), (1 << 20, 40), (16 << 20, 12), (64 << 20, 10)];

/// Native minisnap 0.1.2 cuts off larger states.
const MAX_0_1_2: usize = 1 << 20;

const READ: &str = "the file, read, summed and checked for UTF-8";

/// The same row, shown in the README although it has no target: it says what is slowest.
fn worst(row: Row) -> Row {
    let is_shown = row.state != "16 MiB" && row.state != "64 KiB";
    Row { is_shown, ..row }
}

/// States of every size, and the real files.
pub fn all() -> Vec<Row> {
    let minisnap = minisnap();
    let mut rows = Vec::new();
    for (size, rounds) in SIZES {
        rows.extend(of_size(&minisnap, size, rounds));
    }
    for (name, text) in real_files() {
        rows.extend(of_file(&minisnap, &name, &text));
    }
    rows
}

fn of_size(minisnap: &Minisnap, size: usize, rounds: usize) -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let dir = |name: &str| root.path().join(name);
    let state = state(size);
    let text = serde_json::to_string(&state).expect("JSON");
    let pretty = serde_json::to_string_pretty(&state).expect("JSON");

    let typed = open(minisnap, dir("typed"), Layout::Numbered);
    let numbered = open(minisnap, dir("numbered"), Layout::Numbered);
    let pair = open(minisnap, dir("pair"), Layout::Pair);
    let native = RefCell::new(Native::start(NATIVE_0_1_3, &dir("native-0.1.3")));
    let mut native_pair = Native::start(NATIVE_0_1_2, &dir("native-0.1.2"));
    let (floor, floor_pair) = (Floor::new(dir("floor")), Floor::new(dir("floor-pair")));
    // What is in the files, and what is read from one.
    numbered.borrow_mut().create_text(&text, 0).expect("stored");
    let bytes = generation(&dir("numbered"), 0);
    let (file, file_of_pair) = (dir("generation.json"), dir("state.json"));
    fs::write(&file, &bytes).expect("written");
    fs::write(&file_of_pair, &pretty).expect("written");
    let read = |file: &Path| {
        let bytes = fs::read(file).expect("readable");
        black_box(xxh3_128(&bytes));
        black_box(String::from_utf8(bytes).expect("UTF-8"));
    };

    let mut contest = Contest::new();
    contest.add_timed("numbered", |seq| numbered.borrow_mut().create_text(&text, seq).expect("stored"));
    contest.add_timed("typed", |seq| typed.borrow_mut().create(&state, seq).expect("stored"));
    contest.add("native", |seq| native.borrow_mut().create(size, seq));
    contest.add_timed("floor", |seq| floor.numbered(&bytes, seq));
    contest.add_timed("pair", |seq| pair.borrow_mut().create_text(&text, seq).expect("stored"));
    if size <= MAX_0_1_2 {
        contest.add("native pair", |seq| native_pair.create(size, seq));
    }
    contest.add_timed("floor pair", |seq| floor_pair.pair(pretty.as_bytes(), seq));
    let creates = contest.run(root.path(), rounds);

    let mut contest = Contest::new();
    contest
        .add_timed("numbered", |_| drop(black_box(numbered.borrow_mut().restore_text().expect("restored"))));
    contest.add_timed("pair", |_| drop(black_box(pair.borrow_mut().restore_text().expect("restored"))));
    contest.add("native", |_| native.borrow_mut().restore());
    contest.add_timed("typed", |_| {
        drop(black_box(numbered.borrow_mut().restore::<Vec<Record>>().expect("restored")));
    });
    contest.add_timed("floor", |_| read(&file));
    contest.add_timed("floor pair", |_| read(&file_of_pair));
    let restores = contest.run(root.path(), rounds);

    let name = &size_name(size);
    let is_large = size >= LARGE;
    let at_most = |small: Option<f64>, large: Option<f64>| match size {
        SMALL => small.map(Target::AtMost),
        _ if is_large => large.map(Target::AtMost),
        _ => None,
    };
    let native = ("native 0.1.3, which serialises", "native");
    let native_restore = ("native 0.1.3, typed", "native");
    let floor = (WRITTEN, "floor");
    let create_target = at_most(Some(1.1), Some(0.7));
    let mut rows = vec![
        row(&creates, ("create of a typed state, numbered", "typed"), native, name, create_target),
        row(&creates, ("create of a text, numbered", "numbered"), native, name, create_target),
        row(&creates, ("create of a text, numbered", "numbered"), floor, name, at_most(None, Some(1.5))),
    ];
    if size <= MAX_0_1_2 {
        let native = ("native 0.1.2, which serialises", "native pair");
        rows.push(row(&creates, ("create of a text, pair", "pair"), native, name, None));
    }
    let (text, typed) =
        (("restore as text, numbered", "numbered"), ("restore to a typed state, numbered", "typed"));
    let pair_target = at_most(Some(1.15), Some(1.5));
    let read_target = at_most(None, Some(1.3));
    rows.extend([
        row(&creates, ("create of a text, pair", "pair"), (WRITTEN, "floor pair"), name, pair_target),
        row(&restores, text, native_restore, name, at_most(Some(1.0), None)),
        worst(row(&restores, typed, native_restore, name, None)),
        row(&restores, text, (READ, "floor"), name, read_target),
        row(&restores, ("restore as text, pair", "pair"), (READ, "floor pair"), name, read_target),
    ]);
    rows
}

fn of_file(minisnap: &Minisnap, name: &str, text: &str) -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let dir = |name: &str| root.path().join(name);
    let numbered = open(minisnap, dir("numbered"), Layout::Numbered);
    numbered.borrow_mut().create_text(text, 0).expect("stored");
    let bytes = generation(&dir("numbered"), 0);
    let floor = Floor::new(dir("floor"));
    let mut contest = Contest::new();
    contest.add_timed("numbered", |seq| numbered.borrow_mut().create_text(text, seq).expect("stored"));
    contest.add_timed("floor", |seq| floor.numbered(&bytes, seq));
    let times = contest.run(root.path(), 30);
    vec![row(
        &times,
        ("create of a text, numbered", "numbered"),
        (WRITTEN, "floor"),
        name,
        Some(Target::AtMost(1.5)),
    )]
}
