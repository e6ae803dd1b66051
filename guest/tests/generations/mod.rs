//! Directories of generations, and what lies in them.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Soundness, Store};
use tempfile::TempDir;

use crate::seam::{FaultyDir, scratch};

pub fn settings(keep: u32) -> Settings {
    Settings { layout: Layout::Numbered, keep: NonZeroU32::new(keep), ..Settings::default() }
}

/// A store that keeps three generations.
pub fn store(dir: &Path) -> Store<OsDir> {
    Store::new(OsDir::new(dir)).with_settings(settings(3))
}

pub fn snapshot(state: &str, seq: u64) -> Snapshot {
    let state = state.to_owned();
    Snapshot { state, seq, modified: None, soundness: Soundness::Verified, skipped: Vec::new() }
}

/// The same without its time, which differs each time.
pub fn untimed(snapshot: Snapshot) -> Snapshot {
    Snapshot { modified: None, ..snapshot }
}

pub fn name(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

pub fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

pub fn generations(seqs: impl IntoIterator<Item = u64>) -> BTreeSet<String> {
    seqs.into_iter().map(name).collect()
}

/// A directory with these generations, whose states are their numbers.
pub fn dir_with(seqs: impl IntoIterator<Item = u64>) -> TempDir {
    let dir = scratch();
    for seq in seqs {
        store(dir.path()).create(&seq.to_string(), seq).unwrap();
    }
    dir
}

/// Changes a byte of the state.
pub fn damage(dir: &Path, seq: u64) {
    let path = dir.join(name(seq));
    let text = fs::read_to_string(&path).unwrap();
    let damaged = text.replace(&format!("\"state\": {seq}"), &format!("\"state\": {}", seq ^ 1));
    assert_ne!(text, damaged);
    fs::write(path, damaged).unwrap();
}

/// Makes of a generation what a full disk or a power cut leaves of a file.
pub fn cut(dir: &Path, seq: u64) {
    let contents = fs::read(dir.join(name(seq))).unwrap();
    fs::write(dir.join(name(seq)), &contents[..contents.len() / 2]).unwrap();
}

/// How often the directory was synced.
pub fn syncs(dir: &FaultyDir) -> usize {
    dir.log().iter().filter(|operation| *operation == "sync /").count()
}

/// What was done to the disk, in order.
pub fn edits(dir: &FaultyDir) -> Vec<String> {
    let mut log = dir.log();
    log.retain(|line| !["look", "list", "open", "read"].iter().any(|reading| line.starts_with(reading)));
    log.dedup();
    log
}

/// That a create was refused for what the directory may hold, which the error says.
pub fn assert_full(created: Result<(), Error>, max_total: u64) {
    match created {
        Err(Error::NoSpace(what)) => {
            assert!(what.contains(&format!("may hold {max_total} bytes")), "{what}");
        }
        other => panic!("{other:?}"),
    }
}
