//! What is measured, topic by topic.

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use minisnap_host::remote::Bucket;
use minisnap_host::{Grant, Layout, Minisnap, SnapshotStore};
use minisnap_tests::bench::{Bench, memory_of_create};
use minisnap_tests::records::state;
use minisnap_tests::{NATIVE_0_1_3, binary};

use crate::composed::Composed;
use crate::contest::{Contest, Spread, Times, timed};
use crate::logs;
use crate::native::Floor;
use crate::objects;
use crate::report::{Group, Row};
use crate::snapshots;

/// A name, and what measures it.
type Topic = (&'static str, fn() -> Vec<Row>);

/// The topics.
pub const ALL: [Topic; 8] = [
    ("snapshots", snapshots::all),
    ("formatting", formatting),
    ("consumers", consumers),
    ("processes", processes),
    ("threads", threads),
    ("memory", memory),
    ("logs", logs::all),
    ("objects", objects::all),
];

pub const SMALL: usize = 1 << 10;
pub const LARGE: usize = 1 << 20;

pub const WRITTEN: &str = "the same files, written and synced";

pub fn row(
    times: &Times,
    (work, name): (&'static str, &str),
    (against, other): (&'static str, &str),
    state: &str,
) -> Row {
    let ratio = times.ratio(name, other);
    let times = Some([times.of(name).median, times.of(other).median]);
    Row { work, state: state.to_owned(), against, times, ratio, group: None }
}

pub fn open(minisnap: &Minisnap, dir: PathBuf, layout: Layout) -> RefCell<SnapshotStore> {
    RefCell::new(minisnap.open(Grant::new(dir).layout(layout)).expect("a store"))
}

pub fn minisnap() -> Minisnap {
    Minisnap::new().expect("the component compiles")
}

pub fn minisnap_with(bucket: Bucket) -> Minisnap {
    Minisnap::builder().bucket(bucket).build().expect("the component compiles")
}

pub fn size_name(size: usize) -> String {
    if size < 1 << 20 { format!("{} KiB", size >> 10) } else { format!("{} MiB", size >> 20) }
}

/// The newest generation's file.
pub fn generation(dir: &Path, seq: u64) -> Vec<u8> {
    fs::read(dir.join(format!("snapshot_{seq:020}.json"))).expect("the generation is there")
}

/// The real files, if their folder is named.
pub fn real_files() -> Vec<(String, String)> {
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
        rows.push(row(&times, ("formatting", "wasm"), against, &name).shown(Group::Other));
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
        rows.extend([
            row(&times, linked, direct, name),
            row(&times, ("a consumer's create, composed", "composed"), direct, name),
            row(&times, linked, ("a file of its own through WASI, one sync", "own file"), name),
            row(
                &times,
                ("wasi:keyvalue `set`, in memory", "set"),
                ("a consumer's create, linked", "linked"),
                name,
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
            // Its compiled code is kept where nothing else is.
            .env("XDG_CACHE_HOME", root.path().join("caches"))
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
    let mut rows = vec![row(&times, ours, native, &size_name(SMALL)).shown(Group::Other)];
    rows.extend(histories());
    rows.extend(crowds());
    rows
}

/// A create, and a restore, by a process beside a long history of native minisnap, which removes nothing.
fn crowds() -> Vec<Row> {
    const GENERATIONS: u64 = 150_000;
    let root = tempfile::tempdir().expect("a folder");
    let dir = root.path().join("snapshots");
    fs::create_dir(&dir).expect("made");
    for seq in 0..GENERATIONS {
        let text = format!("{{\n  \"seq\": {seq},\n  \"state\": [\n    1\n  ]\n}}");
        fs::write(dir.join(format!("snapshot_{seq:020}.json")), text).expect("written");
    }
    let state = root.path().join("state.json");
    fs::write(&state, "[1]").expect("written");
    let run = |command: &mut Command| {
        let command = command.env("XDG_CACHE_HOME", root.path().join("caches")).stdout(Stdio::null());
        assert!(command.stderr(Stdio::null()).status().expect("it runs").success());
    };
    let mut contest = Contest::new();
    contest.add_timed("create", |round| {
        let seq = (GENERATIONS + round).to_string();
        run(Command::new(binary()).arg("create").arg(&dir).args(["--seq", &seq]).arg(&state));
    });
    contest.add_timed("restore", |_| run(Command::new(binary()).arg("restore").arg(&dir)));
    let times = contest.run(root.path(), 6);
    let create = ("`minisnap create`, a process, beside 150,000 generations of native minisnap", "create");
    vec![row(&times, create, ("`minisnap restore` there", "restore"), "3 bytes")]
}

/// A create by a process that knows nothing of the generations that are there.
fn histories() -> Vec<Row> {
    const SIZE: usize = 64 << 20;
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("state.json");
    fs::write(&file, serde_json::to_string(&state(SIZE)).expect("JSON")).expect("written");
    let create = |dir: &str, seq: u64| {
        let mut command = Command::new(binary());
        command.arg("create").arg(root.path().join(dir)).args(["--layout", "numbered", "--seq"]);
        command.arg(seq.to_string()).arg(&file).env("XDG_CACHE_HOME", root.path().join("caches"));
        assert!(command.status().expect("it runs").success());
    };
    (1..=5).for_each(|seq| create("full", seq));
    let mut contest = Contest::new();
    contest.add_timed("full", |round| create("full", 5 + round));
    contest.add("new", |round| {
        let dir = format!("new-{round}");
        let time = timed(|| create(&dir, 1));
        fs::remove_dir_all(root.path().join(dir)).expect("removed");
        time
    });
    let times = contest.run(root.path(), 6);
    let full = ("`minisnap create`, a process, where 5 generations are kept", "full");
    vec![row(&times, full, ("the same in a new directory", "new"), &size_name(SIZE))]
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
        let all = |store: &mut SnapshotStore, of| {
            seqs(of).for_each(|seq| store.create_text(text, seq).expect("stored"))
        };
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
            times: None,
            ratio: times.ratio("one", "two"),
            group: None,
        });
        rows.push(Row {
            work: "the same files written a second, 2 threads",
            state: name,
            against: one,
            times: None,
            ratio: times.ratio("written by one", "written by two"),
            group: None,
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
            times: None,
            ratio: Spread { low: ratio, median: ratio, high: ratio },
            group: None,
        });
    }
    rows
}
