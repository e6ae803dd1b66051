//! What is measured, topic by topic.

use std::cell::RefCell;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use minisnap_host::{Grant, Layout, Minisnap, Store};
use minisnap_tests::records::{Record, state};
use minisnap_tests::{NATIVE_0_1_2, NATIVE_0_1_3, binary};

use crate::component::{Bench, Composed, memory_of_create};
use crate::contest::{Contest, Spread, Times, timed};
use crate::native::{Floor, Native};
use crate::report::{Row, Target};

/// A name, and what measures it.
type Topic = (&'static str, fn() -> Vec<Row>);

/// The topics.
pub const ALL: [Topic; 6] = [
    ("snapshots", snapshots),
    ("formatting", formatting),
    ("consumers", consumers),
    ("processes", processes),
    ("threads", threads),
    ("memory", memory),
];

/// Sizes of states in bytes, and how many rounds each is measured in.
const SIZES: [(usize, usize); 5] =
    [(1 << 10, 150), (64 << 10, 80), (1 << 20, 40), (16 << 20, 12), (64 << 20, 10)];

/// Native minisnap 0.1.2 cuts off larger states.
const MAX_0_1_2: usize = 1 << 20;

const SMALL: usize = 1 << 10;
const LARGE: usize = 1 << 20;

const WRITTEN: &str = "the same files, written and synced";
const READ: &str = "the file, read, summed and checked for UTF-8";

fn row(
    times: &Times,
    (work, name): (&'static str, &str),
    (against, other): (&'static str, &str),
    state: &str,
    target: Option<Target>,
) -> Row {
    let (time, ratio) = (Some(times.of(name)), times.ratio(name, other));
    let is_shown = target.is_some() && state != "16 MiB" && !state.ends_with(".json");
    Row { work, state: state.to_owned(), against, time, ratio, target, is_shown }
}

/// The same row, shown in the README although it has no target: it says what is slowest.
fn worst(row: Row) -> Row {
    let is_shown = row.state != "16 MiB" && row.state != "64 KiB";
    Row { is_shown, ..row }
}

fn open(minisnap: &Minisnap, dir: PathBuf, layout: Layout) -> RefCell<Store> {
    RefCell::new(minisnap.open(Grant::new(dir).layout(layout)).expect("a store"))
}

fn minisnap() -> Minisnap {
    Minisnap::new().expect("the component compiles")
}

fn size_name(size: usize) -> String {
    if size < 1 << 20 { format!("{} KiB", size >> 10) } else { format!("{} MiB", size >> 20) }
}

/// The newest generation's file.
fn generation(dir: &Path, seq: u64) -> Vec<u8> {
    fs::read(dir.join(format!("snapshot_{seq:020}.json"))).expect("the generation is there")
}

fn snapshots() -> Vec<Row> {
    let minisnap = minisnap();
    let mut rows = Vec::new();
    for (size, rounds) in SIZES {
        rows.extend(snapshots_of(&minisnap, size, rounds));
    }
    for (name, text) in real_files() {
        rows.extend(snapshots_of_file(&minisnap, &name, &text));
    }
    rows
}

fn snapshots_of(minisnap: &Minisnap, size: usize, rounds: usize) -> Vec<Row> {
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
        black_box(blake3::hash(&bytes));
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

fn snapshots_of_file(minisnap: &Minisnap, name: &str, text: &str) -> Vec<Row> {
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

/// The real files, if their folder is named.
fn real_files() -> Vec<(String, String)> {
    let Some(folder) = std::env::var_os("MINISNAP_JSON_DATA") else { return Vec::new() };
    let entries = fs::read_dir(folder).expect("MINISNAP_JSON_DATA is a folder");
    let paths = entries.map(|entry| entry.expect("listed").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("JSON"))
    };
    paths.into_iter().map(read).collect()
}

fn formatting() -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let grant = Grant::new(root.path().join("store"));
    let bench = RefCell::new(Bench::linked(&minisnap(), grant, &root.path().join("own")));
    let state = state(LARGE);
    let mut inputs = vec![
        ("1 MiB".to_owned(), serde_json::to_string(&state).expect("JSON")),
        ("1 MiB, laid out already".to_owned(), serde_json::to_string_pretty(&state).expect("JSON")),
    ];
    inputs.extend(real_files());
    let mut rows = Vec::new();
    for (name, text) in inputs {
        bench.borrow_mut().prepare(&text);
        let mut contest = Contest::new();
        contest.add("wasm", |_| bench.borrow_mut().format());
        contest.add_timed("native", |_| {
            // Dropped in pieces, as ours is.
            let out = BufWriter::with_capacity(64 << 10, io::sink());
            let mut from = serde_json::Deserializer::from_str(&text);
            let mut to = serde_json::Serializer::pretty(out);
            serde_transcode::transcode(&mut from, &mut to).expect("JSON");
        });
        let times = contest.run(root.path(), 40);
        let against = ("native serde_json, transcoding", "native");
        rows.push(row(&times, ("formatting", "wasm"), against, &name, Some(Target::AtMost(0.5))));
    }
    rows
}

fn consumers() -> Vec<Row> {
    let minisnap = minisnap();
    let mut rows = Vec::new();
    for (size, rounds) in [(SMALL, 150), (LARGE, 40)] {
        let root = tempfile::tempdir().expect("a folder");
        let dir = |name: &str| root.path().join(name);
        let text = serde_json::to_string(&state(size)).expect("JSON");
        let direct = open(&minisnap, dir("direct"), Layout::Numbered);
        let grant = Grant::new(dir("linked")).layout(Layout::Numbered);
        let linked = RefCell::new(Bench::linked(&minisnap, grant, &dir("own")));
        let mut composed = Composed::new(&dir("composed"));
        linked.borrow_mut().prepare(&text);
        composed.prepare(&text);

        let mut contest = Contest::new();
        contest.add_timed("direct", |seq| direct.borrow_mut().create_text(&text, seq).expect("stored"));
        contest.add("linked", |seq| linked.borrow_mut().create(seq));
        contest.add("composed", |seq| composed.create(seq));
        contest.add("own file", |_| linked.borrow_mut().write_own_file());
        contest.add("set", |_| linked.borrow_mut().set_key());
        let times = contest.run(root.path(), rounds);
        let name = &size_name(size);
        let linked = ("a consumer's create, linked", "linked");
        let direct = ("the host's create", "direct");
        let target = (size == LARGE).then_some(Target::AtMost(1.15));
        rows.extend([
            row(&times, linked, direct, name, target),
            row(&times, ("a consumer's create, composed", "composed"), direct, name, None),
            row(&times, linked, ("a file of its own through WASI, one sync", "own file"), name, None),
            row(
                &times,
                ("wasi:keyvalue `set`, in memory", "set"),
                ("a consumer's create, linked", "linked"),
                name,
                None,
            ),
        ]);
    }
    rows
}

fn processes() -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let dir = root.path().join("snapshots");
    let state = serde_json::to_string(&state(SMALL)).expect("JSON");
    let mut store = minisnap().open(Grant::new(&dir).layout(Layout::Numbered)).expect("a store");
    store.create_text(&state, 1).expect("stored");
    drop(store);
    let run = |program: &Path| {
        let mut command = Command::new(program);
        let status = command
            .arg("restore")
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("it runs");
        assert!(status.success());
    };
    let (ours, native) = (binary(), Path::new(NATIVE_0_1_3));
    let mut contest = Contest::new();
    contest.add_timed("minisnap", |_| run(ours));
    contest.add_timed("native", |_| run(native));
    let times = contest.run(root.path(), 60);
    let (ours, native) =
        (("`minisnap restore`, a process", "minisnap"), ("a program with native 0.1.3", "native"));
    vec![row(&times, ours, native, &size_name(SMALL), Some(Target::AtMost(3.0)))]
}

/// Snapshots of each thread and round.
const EACH: u64 = 40;

fn threads() -> Vec<Row> {
    let minisnap = minisnap();
    let mut rows = Vec::new();
    for size in [SMALL, LARGE] {
        let root = tempfile::tempdir().expect("a folder");
        let text = &serde_json::to_string(&state(size)).expect("JSON");
        let open = |name: &str| {
            let grant = Grant::new(root.path().join(name)).layout(Layout::Numbered);
            minisnap.open(grant).expect("a store")
        };
        let (mut one, mut two) = (open("one"), open("two"));
        one.create_text(text, 0).expect("stored");
        let bytes = &generation(&root.path().join("one"), 0);
        let (floor_one, floor_two) = (Floor::new(root.path().join("f1")), Floor::new(root.path().join("f2")));
        // Of each one's own, without a gap, so that the oldest are removed.
        let seqs = |of: &AtomicU64| {
            let first = of.fetch_add(EACH, Ordering::Relaxed);
            first..first + EACH
        };
        let [of_one, of_two, of_floor_one, of_floor_two] = [1, 1, 1, 1].map(AtomicU64::new);
        let all =
            |store: &mut Store, of| seqs(of).for_each(|seq| store.create_text(text, seq).expect("stored"));
        let written = |floor: &Floor, of| seqs(of).for_each(|seq| floor.numbered(bytes, seq));
        // Seconds for a snapshot, of both together.
        let each = |time: f64, threads: u64| time / (EACH * threads) as f64;
        let both = |one: &mut (dyn FnMut() + Send), two: &mut (dyn FnMut() + Send)| {
            timed(|| {
                thread::scope(|scope| {
                    scope.spawn(one);
                    scope.spawn(two);
                });
            })
        };
        let stores = RefCell::new((&mut one, &mut two));
        let mut contest = Contest::new();
        contest.add("one", |_| each(timed(|| all(stores.borrow_mut().0, &of_one)), 1));
        contest.add("two", |_| {
            let (one, two) = &mut *stores.borrow_mut();
            each(both(&mut || all(one, &of_one), &mut || all(two, &of_two)), 2)
        });
        contest.add("written by one", |_| each(timed(|| written(&floor_one, &of_floor_one)), 1));
        contest.add("written by two", |_| {
            each(
                both(&mut || written(&floor_one, &of_floor_one), &mut || written(&floor_two, &of_floor_two)),
                2,
            )
        });
        let times = contest.run(root.path(), 10);
        let name = size_name(size);
        let one = "one";
        rows.push(Row {
            work: "snapshots a second, 2 busy consumers",
            state: name.clone(),
            against: one,
            time: None,
            ratio: times.ratio("one", "two"),
            target: Some(Target::AtLeast(1.7)),
            is_shown: true,
        });
        rows.push(Row {
            work: "the same files written a second, 2 threads",
            state: name,
            against: one,
            time: None,
            ratio: times.ratio("written by one", "written by two"),
            target: None,
            is_shown: true,
        });
    }
    rows
}

fn memory() -> Vec<Row> {
    let root = tempfile::tempdir().expect("a folder");
    let mut rows = Vec::new();
    for size in [LARGE, 16 << 20, 64 << 20] {
        let text = serde_json::to_string(&state(size)).expect("JSON");
        let most = memory_of_create(&root.path().join(size.to_string()), &text);
        let ratio = most as f64 / text.len() as f64;
        rows.push(Row {
            work: "the component's memory during a create of one text",
            state: size_name(size),
            against: "the state",
            time: None,
            ratio: Spread { low: ratio, median: ratio, high: ratio },
            target: Some(Target::AtMost((text.len() + (4 << 20)) as f64 / text.len() as f64)),
            is_shown: true,
        });
    }
    rows
}
