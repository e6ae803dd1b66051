//! Creates and restores beside native minisnap, and beside what only writes or reads the same files.

use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use minisnap_host::{Layout, Minisnap};
use minisnap_tests::records::{Record, state};
use minisnap_tests::{NATIVE_0_1_2, NATIVE_0_1_3};
use xxhash_rust::xxh3::xxh3_128;

use crate::contest::{Contest, timed};
use crate::native::{Floor, Native};
use crate::report::{Group, Row};
use crate::topics::{WRITTEN, generation, minisnap, open, real_files, row, size_name};

/// Sizes of states in bytes, and how many rounds each is measured in.
const SIZES: [(usize, usize); 5] =
    [(1 << 10, 150), (64 << 10, 80), (1 << 20, 40), (16 << 20, 12), (64 << 20, 10)];

/// Native minisnap 0.1.2 cuts off larger states.
const MAX_0_1_2: usize = 1 << 20;

const READ: &str = "the file, read, summed and checked for UTF-8";

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
        String::from_utf8(bytes).expect("UTF-8")
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
    contest.add_timed("numbered", |_| numbered.borrow_mut().restore_text().expect("restored"));
    contest.add_timed("pair", |_| pair.borrow_mut().restore_text().expect("restored"));
    contest.add("native", |_| native.borrow_mut().restore());
    contest.add_timed("typed", |_| numbered.borrow_mut().restore::<Vec<Record>>().expect("restored"));
    contest.add_timed("floor", |_| read(&file));
    contest.add_timed("floor pair", |_| read(&file_of_pair));
    let restores = contest.run(root.path(), rounds);

    // A large restore ends the instance that knew what its directory holds.
    let after_restores = (size == 16 << 20).then(|| {
        let mut contest = Contest::new();
        contest.add("typed", |round| {
            let mut typed = typed.borrow_mut();
            drop(black_box(typed.restore_text().expect("restored")));
            timed(|| typed.create(&state, 1000 + round).expect("stored"))
        });
        contest.add("native", |round| native.borrow_mut().create(size, 1000 + round));
        contest.run(root.path(), rounds)
    });

    let name = &size_name(size);
    // The chart has a small, a medium and a large state.
    let shown =
        |row: Row, group| if [1 << 10, 1 << 20, 64 << 20].contains(&size) { row.shown(group) } else { row };
    let native = ("native 0.1.3", "native");
    let native_restore = ("native 0.1.3, typed", "native");
    let floor = (WRITTEN, "floor");
    let (text, typed) =
        (("restore as text, numbered", "numbered"), ("restore to a typed state, numbered", "typed"));
    let created = ("create of a text, numbered", "numbered");
    let mut rows = vec![
        shown(row(&creates, created, native, name), Group::Create),
        shown(row(&creates, ("create of a typed state, numbered", "typed"), native, name), Group::Create),
        row(&creates, created, floor, name),
    ];
    if size <= MAX_0_1_2 {
        let native = ("native 0.1.2", "native pair");
        rows.push(shown(row(&creates, ("create of a text, pair", "pair"), native, name), Group::Create));
    }
    rows.extend([
        row(&creates, ("create of a text, pair", "pair"), (WRITTEN, "floor pair"), name),
        shown(row(&restores, text, native_restore, name), Group::Restore),
        shown(row(&restores, typed, native_restore, name), Group::Restore),
        row(&restores, text, (READ, "floor"), name),
        row(&restores, ("restore as text, pair", "pair"), (READ, "floor pair"), name),
    ]);
    let again = ("create of a typed state, numbered, after a restore", "typed");
    rows.extend(after_restores.map(|times| row(&times, again, native, name)));
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
    vec![row(&times, ("create of a text, numbered", "numbered"), (WRITTEN, "floor"), name)]
}
