//! Folders in which a state with a log is made, looked at, and damaged.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::logged::{Logged, Seen, dirs, go_on, open};
use crate::{names, scratch};

/// The size of the operations in bytes.
pub const SIZE: usize = 30;

/// A folder with an empty directory for the log.
pub fn folder() -> TempDir {
    let root = scratch();
    fs::create_dir(log(root.path())).expect("it works");
    root
}

/// The directory of its log.
pub fn log(root: &Path) -> PathBuf {
    dirs(root)[0].clone()
}

/// The segment of the log that begins with this record.
pub fn segment(root: &Path, first: u64) -> PathBuf {
    log(root).join(format!("log_{first:020}.jsonl"))
}

/// The first records of its segments.
pub fn segments(root: &Path) -> Vec<u64> {
    let number = |name: &String| name.strip_prefix("log_")?.strip_suffix(".jsonl")?.parse().ok();
    names(&log(root)).iter().filter_map(number).collect()
}

/// With snapshots of these numbers, and operations up to `last`.
pub fn with(snapshots: &[u64], last: u64) -> TempDir {
    let root = folder();
    let mut state = open(root.path()).expect("it works");
    for &seq in snapshots {
        let count = seq - state.sequence();
        go_on(&mut state, count, false, SIZE).expect("it works");
        state.create_snapshot().expect("it works");
    }
    let count = last - state.sequence();
    go_on(&mut state, count, false, SIZE).expect("it works");
    root
}

/// Changes a name in the state of a snapshot.
pub fn damage_snapshot(root: &Path, seq: u64) {
    let path = dirs(root)[1].join(format!("snapshot_{seq:020}.json"));
    let text = fs::read_to_string(&path).expect("it works");
    fs::write(&path, text.replacen("count", "cound", 1)).expect("it works");
}

/// That the state has the operations up to this one.
#[track_caller]
pub fn is_at(state: &Logged, seq: u64) {
    assert_eq!((state.sequence(), state.state()), (seq, &Seen::at(seq, SIZE)));
}
