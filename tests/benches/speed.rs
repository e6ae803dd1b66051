//! How fast the store is beside native minisnap, and beside a program that only writes the same files with the same
//! syncs: `cargo bench -p minisnap-tests --bench speed`, on the disk of TMPDIR.
//!
//! All take turns in each round. Printed are medians, with the quarters of the rounds that lie below and above, and
//! ratios of medians.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use minisnap_host::{Grant, Layout, Minisnap, Store};
use minisnap_tests::records::{Record, state};
use minisnap_tests::{NATIVE_0_1_2, NATIVE_0_1_3};

/// Sizes of states in bytes, and how many rounds each is measured in.
const SIZES: [(usize, usize); 5] =
    [(1 << 10, 200), (64 << 10, 100), (1 << 20, 40), (16 << 20, 12), (64 << 20, 7)];

/// Native minisnap 0.1.2 cuts off larger states.
const MAX_0_1_2: usize = 1 << 20;

/// How many generations are kept, here and by the floor.
const KEEP: usize = 5;

fn main() {
    let minisnap = Minisnap::new().expect("the component compiles");
    println!("| state | work | time | against | its time | ratio |");
    println!("|---|---|---|---|---|---|");
    for (size, rounds) in SIZES {
        measure(&minisnap, size, rounds);
    }
}

/// Who takes part, each with a directory of its own.
struct Contest {
    text: String,
    state: Vec<Record>,
    size: usize,
    numbered: Store,
    pair: Store,
    native_0_1_3: Native,
    native_0_1_2: Native,
    floor_numbered: Floor,
    floor_pair: Floor,
}

fn measure(minisnap: &Minisnap, size: usize, rounds: usize) {
    let root = tempfile::tempdir().expect("a folder");
    let open = |name: &str, layout| {
        let grant = Grant::new(root.path().join(name)).layout(layout);
        minisnap.open(grant).expect("a store")
    };
    let state = state(size);
    let mut contest = Contest {
        text: serde_json::to_string_pretty(&state).expect("JSON"),
        state,
        size,
        numbered: open("numbered", Layout::Numbered),
        pair: open("pair", Layout::Pair),
        native_0_1_3: Native::start(NATIVE_0_1_3, &root.path().join("native-0.1.3")),
        native_0_1_2: Native::start(NATIVE_0_1_2, &root.path().join("native-0.1.2")),
        floor_numbered: Floor::new(root.path().join("floor-numbered")),
        floor_pair: Floor::new(root.path().join("floor-pair")),
    };
    let mut times: Vec<Times> = Vec::new();
    // One round that does not count.
    for round in 0..=rounds {
        let measured = contest.round(round as u64 + 1);
        if round == 0 {
            times = measured.iter().map(|_| Times::default()).collect();
            continue;
        }
        for (times, measured) in times.iter_mut().zip(measured) {
            times.0.extend(measured);
        }
    }
    print(size, &times);
}

/// What is measured in a round, in this order.
const NUMBERED: usize = 0;
const NATIVE_NUMBERED: usize = 1;
const FLOOR_NUMBERED: usize = 2;
const PAIR: usize = 3;
const NATIVE_PAIR: usize = 4;
const FLOOR_PAIR: usize = 5;
const RESTORE: usize = 6;
const NATIVE_RESTORE: usize = 7;
const FLOOR_RESTORE: usize = 8;

const ROWS: [(&str, usize, &str, usize); 7] = [
    ("create, numbered", NUMBERED, "native 0.1.3", NATIVE_NUMBERED),
    ("create, numbered", NUMBERED, "the same files, written and synced", FLOOR_NUMBERED),
    ("create, pair", PAIR, "native 0.1.2", NATIVE_PAIR),
    ("create, pair", PAIR, "the same files, written and synced", FLOOR_PAIR),
    ("restore as text", RESTORE, "native 0.1.3, to a typed state", NATIVE_RESTORE),
    ("restore as text", RESTORE, "the file, read, summed and checked for UTF-8", FLOOR_RESTORE),
    ("native 0.1.3's create", NATIVE_NUMBERED, "the same files, written and synced", FLOOR_NUMBERED),
];

impl Contest {
    fn round(&mut self, seq: u64) -> [Option<f64>; 9] {
        let numbered = timed(|| self.numbered.create(&self.state, seq).expect("stored"));
        let native_numbered = self.native_0_1_3.create(self.size, seq);
        let generation = self.numbered.grant().dir().join(format!("snapshot_{seq:020}.json"));
        let bytes = fs::read(&generation).expect("the generation is there");
        let floor_numbered = timed(|| self.floor_numbered.numbered(&bytes, seq));
        let pair = timed(|| self.pair.create(&self.state, seq).expect("stored"));
        let native_pair = (self.size <= MAX_0_1_2).then(|| self.native_0_1_2.create(self.size, seq));
        let floor_pair = timed(|| self.floor_pair.pair(self.text.as_bytes(), seq));
        let restore = timed(|| drop(black_box(self.numbered.restore_text().expect("restored"))));
        let native_restore = self.native_0_1_3.restore();
        let floor_restore = timed(|| {
            let bytes = fs::read(&generation).expect("readable");
            black_box(blake3::hash(&bytes));
            black_box(String::from_utf8(bytes).expect("UTF-8"));
        });
        [
            Some(numbered),
            Some(native_numbered),
            Some(floor_numbered),
            Some(pair),
            native_pair,
            Some(floor_pair),
            Some(restore),
            Some(native_restore),
            Some(floor_restore),
        ]
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// Seconds of each round.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    /// The times that a quarter, a half and three quarters of the rounds did not reach.
    fn quartiles(&self) -> Option<[f64; 3]> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        Some([1, 2, 3].map(|quarter| sorted[last * quarter / 4]))
    }
}

fn print(size: usize, times: &[Times]) {
    let size = if size < 1 << 20 { format!("{} KiB", size >> 10) } else { format!("{} MiB", size >> 20) };
    for (what, ours, against, theirs) in ROWS {
        if let (Some(ours), Some(theirs)) = (times[ours].quartiles(), times[theirs].quartiles()) {
            let ratio = ours[1] / theirs[1];
            println!("| {size} | {what} | {} | {against} | {} | {ratio:.2} |", show(ours), show(theirs));
        }
    }
}

fn show([low, median, high]: [f64; 3]) -> String {
    format!("{:.2} ms ({:.2} to {:.2})", median * 1e3, low * 1e3, high * 1e3)
}

/// A program of native minisnap, which times itself.
struct Native {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: PathBuf,
    /// The generations that it has made, which it never removes.
    made: VecDeque<PathBuf>,
}

impl Native {
    fn start(program: &str, dir: &Path) -> Self {
        fs::create_dir(dir).expect("made");
        let mut child = Command::new(program)
            .arg("bench")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let asks = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Native { child, asks, answers, dir: dir.to_owned(), made: VecDeque::new() }
    }

    fn create(&mut self, size: usize, seq: u64) -> f64 {
        let time = self.ask(&format!("create {size} {seq}"));
        self.made.push_back(self.dir.join(format!("snapshot_{seq:020}.json")));
        if self.made.len() > KEEP
            && let Some(oldest) = self.made.pop_front()
        {
            fs::remove_file(oldest).ok();
        }
        time
    }

    fn restore(&mut self) -> f64 {
        self.ask("restore")
    }

    /// Asks for something, and returns how many seconds it took.
    fn ask(&mut self, what: &str) -> f64 {
        writeln!(self.asks, "{what}").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        answer.trim().parse::<f64>().unwrap_or_else(|_| panic!("{what}: {answer}")) / 1e9
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What does the same to its directory as the store, and nothing else.
struct Floor {
    dir: PathBuf,
}

impl Floor {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir(&dir).expect("made");
        Floor { dir }
    }

    fn numbered(&self, bytes: &[u8], seq: u64) {
        let path = |seq: u64, end: &str| self.dir.join(format!("snapshot_{seq:020}.json{end}"));
        let pending = self.dir.join("snapshot.pending");
        write_synced(&path(seq, ".tmp"), bytes);
        File::create(&pending).expect("made");
        fs::rename(path(seq, ".tmp"), path(seq, "")).expect("renamed");
        sync(&self.dir);
        fs::remove_file(&pending).expect("removed");
        if let Some(oldest) = seq.checked_sub(KEEP as u64) {
            fs::remove_file(path(oldest, "")).ok();
        }
    }

    fn pair(&self, bytes: &[u8], seq: u64) {
        let (tmp, commit) = (self.dir.join("snapshot.tmp"), self.dir.join("snapshot.commit"));
        let names = ["snapshot.json", "snapshot.seq", "snapshot.sum"];
        fs::create_dir(&tmp).expect("made");
        write_synced(&tmp.join(names[0]), bytes);
        write_synced(&tmp.join(names[1]), seq.to_string().as_bytes());
        write_synced(&tmp.join(names[2]), &[b'0'; 160]);
        sync(&tmp);
        fs::rename(&tmp, &commit).expect("renamed");
        sync(&self.dir);
        for name in names {
            fs::rename(commit.join(name), self.dir.join(name)).expect("renamed");
        }
        sync(&self.dir);
        fs::remove_dir(&commit).expect("removed");
    }
}

fn write_synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create_new(path).expect("made");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
}

fn sync(dir: &Path) {
    File::open(dir).expect("a folder").sync_all().expect("synced");
}
