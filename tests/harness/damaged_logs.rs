//! Logs that are damaged in many ways, of which every reader must say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use minisnap_client::state::{Mutator, OpenOptions};
use minisnap_host::{Grant, Layout, SnapshotStore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::random::Random;
use crate::{minisnap, names, rounds, scratch};

/// The files of a log, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

const FIRST: &str = "log_00000000000000000001.jsonl";
const NEWEST: &str = "log_00000000000000000004.jsonl";

/// A log, and the number of the only snapshot, if there is one.
#[derive(Debug, Clone)]
pub struct Damaged {
    /// The log.
    pub files: Files,
    /// The snapshot.
    pub snapshot: Option<u64>,
}

/// An operation that the state remembers.
#[derive(Serialize, Deserialize)]
struct Operation(Value);

impl Mutator<Vec<Value>> for Operation {
    fn apply(&self, state: &mut Vec<Value>) {
        state.push(self.0.clone());
    }
}

/// The files in a directory.
pub fn files(dir: &Path) -> Files {
    names(dir).into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).expect("a file"))).collect()
}

/// Writes a log into a directory of its own.
pub fn write(files: &Files, dir: &Path) {
    fs::create_dir(dir).expect("it is new");
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).expect("it can be written");
    }
}

/// A log of two segments: three records, then one, a batch of three that covers several blocks of a disk, and one more.
fn whole() -> Files {
    let root = scratch();
    let dir = root.path().join("log");
    fs::create_dir(&dir).expect("it works");
    let mut state = OpenOptions::new()
        .open::<Vec<Value>, Operation, _>(store(&root.path().join("snapshots")), &dir)
        .expect("it works");
    for number in 1..=3 {
        state.apply(Operation(json!({ "number": number, "sum": "00000000" }))).expect("it works");
    }
    let mut files = files(&dir);
    state.create_snapshot().expect("it works");
    let long = |size: usize| Operation(json!("x".repeat(size)));
    // The batch begins with the last byte of a block.
    state.apply(long(431)).expect("it works");
    state.apply_all([long(700), Operation(json!(null)), long(500)]).expect("it works");
    state.apply(Operation(json!([8, "\"}\n"]))).expect("it works");
    drop(state);
    files.extend(self::files(&dir));
    files
}

fn store(dir: &Path) -> SnapshotStore {
    minisnap().open(Grant::new(dir).layout(Layout::Numbered)).expect("it opens")
}

fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// Bits are flipped, files cut, blocks zeroed, records moved, and segments lost.
pub fn damaged_logs() -> Vec<Damaged> {
    let whole = whole();
    assert_eq!(whole.keys().collect::<Vec<_>>(), [FIRST, NEWEST]);
    assert!(whole[NEWEST][511..].starts_with(b"{\"seq\":5,\"batch\":[5,7]"));
    let mut all = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, snapshot: Option<u64>| {
        let mut files = whole.clone();
        files.insert(name.to_owned(), bytes);
        all.push(Damaged { files, snapshot });
    };
    let mut random = Random::default();
    for name in [FIRST, NEWEST] {
        let bytes = &whole[name];
        let ends = bytes.iter().enumerate().filter(|(_, byte)| is_end(byte)).map(|(at, _)| at + 1);
        let edges: BTreeSet<usize> = (0..=bytes.len())
            .step_by(512)
            .chain(ends)
            .chain([0, bytes.len()])
            .flat_map(|edge| [edge.saturating_sub(1), edge, (edge + 1).min(bytes.len())])
            .collect();
        for bit in (0..bytes.len() * 8).step_by(rounds(7, 1)) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            add(name, flipped, None);
        }
        for end in 0..=bytes.len() {
            add(name, bytes[..end].to_vec(), None);
            add(name, bytes[..end].to_vec(), Some(3));
        }
        for &from in &edges {
            for &to in edges.range(from + 1..) {
                let mut holed = bytes.clone();
                holed[from..to].fill(0);
                add(name, holed.clone(), None);
                let end = random.below(bytes.len() as u64) as usize;
                holed.truncate(end);
                add(name, holed, None);
                // What lies between goes, or comes twice.
                add(name, [&bytes[..from], &bytes[to..]].concat(), None);
                add(name, [&bytes[..to], &bytes[from..]].concat(), Some(3));
            }
        }
        for end in [&[0; 1][..], &[0; 2], &[0; 511], &[0; 700], b"{", b"\n", b"{\"seq\":9,\"op\":", b"\xff"] {
            add(name, [bytes, end].concat(), None);
        }
        for _ in 0..rounds(500, 20_000) {
            let mut bytes = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = |random: &mut Random| random.below(bytes.len() as u64) as usize;
                let (from, size, to) = (at(&mut random), 1 + random.below(600) as usize, at(&mut random));
                let size = size.min(bytes.len() - from.max(to));
                match random.below(4) {
                    0 => bytes[to..to + size].fill(0),
                    1 => bytes.copy_within(from..from + size, to),
                    2 => bytes[to] ^= 1 << random.below(8),
                    _ => bytes.truncate(to.max(1)),
                }
            }
            add(name, bytes, None);
        }
    }
    let odd = [
        (FIRST, None),
        (NEWEST, None),
        ("log_00000000000000000000.jsonl", Some(FIRST)),
        ("log.tmp", Some(NEWEST)),
    ];
    let odd = odd.into_iter().chain([
        ("log_00000000000000000003.jsonl", Some(NEWEST)),
        ("log_00000000000000000009.jsonl", Some(NEWEST)),
        ("log_99999999999999999999.jsonl", Some(NEWEST)),
        ("log_4.jsonl", Some(NEWEST)),
    ]);
    for snapshot in [None, Some(0), Some(2), Some(3), Some(4), Some(6), Some(8), Some(9)] {
        all.push(Damaged { files: Files::new(), snapshot });
        all.push(Damaged { files: whole.clone(), snapshot });
        for (name, of) in odd.clone() {
            let mut files = whole.clone();
            match of {
                None => drop(files.remove(name)),
                Some(of) => drop(files.insert(name.to_owned(), whole[of].clone())),
            }
            all.push(Damaged { files, snapshot });
        }
        // Whole lines, whose sums fit, of what no library writes: as the first record, and after the last.
        for rest in [&b"\"op\":{"[..], b"\"batch\":[9,8],\"op\":1", b"\"op\":\"\xff\""] {
            let line = |seq: u64| {
                let text = [format!("{{\"seq\":{seq},").as_bytes(), rest].concat();
                let sum = format!(",\"sum\":\"{:08x}\"}}\n", crc32fast::hash(&text));
                [&text, sum.as_bytes()].concat()
            };
            let mut lines: Vec<Vec<u8>> = whole[FIRST].split_inclusive(is_end).map(<[u8]>::to_vec).collect();
            lines[1] = line(1);
            for (name, bytes) in [(FIRST, lines.concat()), (NEWEST, [&whole[NEWEST][..], &line(9)].concat())]
            {
                let mut files = whole.clone();
                files.insert(name.to_owned(), bytes);
                all.push(Damaged { files, snapshot });
            }
        }
    }
    all
}

/// Opens logs by the library.
pub struct Library {
    root: TempDir,
    stores: BTreeMap<Option<u64>, SnapshotStore>,
}

impl Library {
    /// With a store for each number of a snapshot.
    pub fn new(logs: &[Damaged]) -> Self {
        let root = scratch();
        let numbers: BTreeSet<Option<u64>> = logs.iter().map(|log| log.snapshot).collect();
        let open = |snapshot: Option<u64>| {
            let mut store = store(&root.path().join(format!("{snapshot:?}")));
            if let Some(seq) = snapshot {
                store.create(&Vec::<Value>::new(), seq).expect("it works");
            }
            (snapshot, store)
        };
        let stores = numbers.into_iter().map(open).collect();
        Library { root, stores }
    }

    /// The last number, and the operations after the snapshot, or why it is not opened; and what the log is once `"after"` was
    /// appended.
    pub fn open(&mut self, log: &Damaged) -> (Result<(u64, Vec<Value>), String>, Files) {
        let dir: PathBuf = self.root.path().join("log");
        write(&log.files, &dir);
        let store = self.stores.get_mut(&log.snapshot).expect("there is one");
        let opened = OpenOptions::new().open::<Vec<Value>, Operation, _>(store, &dir);
        let found = opened.map(|mut state| {
            let found = (state.sequence(), state.state().clone());
            state.apply(Operation(json!("after"))).expect("it works");
            found
        });
        let left = files(&dir);
        fs::remove_dir_all(&dir).expect("it works");
        (found.map_err(|error| error.to_string()), left)
    }
}
