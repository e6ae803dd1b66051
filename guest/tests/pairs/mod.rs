//! Directories of a pair, and what is asserted of them.

use std::fs;
use std::path::Path;

use crate::seam::scratch;
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Snapshot, Soundness, Store};
use tempfile::TempDir;

pub fn store(dir: &Path) -> Store<OsDir> {
    Store::new(OsDir::new(dir))
}

pub fn snapshot(state: &str, seq: u64) -> Snapshot {
    let state = state.to_owned();
    Snapshot { state, seq, modified: None, soundness: Soundness::Verified, skipped: Vec::new() }
}

/// The same without its time, which differs each time.
pub fn untimed(snapshot: Snapshot) -> Snapshot {
    Snapshot { modified: None, ..snapshot }
}

pub fn unverified(state: &str, seq: u64) -> Snapshot {
    Snapshot { soundness: Soundness::Unverified, ..snapshot(state, seq) }
}

pub fn dir() -> TempDir {
    scratch()
}

/// A directory with these files, directories in their names included.
pub fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let dir = dir();
    for (name, contents) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    dir
}

/// A directory with the snapshot `("1", 1)`.
pub fn dir_with_snapshot() -> TempDir {
    let dir = dir();
    store(dir.path()).create("1", 1).unwrap();
    dir
}

/// Every verb agrees that it is damaged; the message holds `expected`.
#[track_caller]
pub fn assert_corrupt(dir: &Path, expected: &str) {
    let Err(Error::Corrupt(problem)) = store(dir).restore() else { panic!("{:?}", store(dir).restore()) };
    assert!(problem.contains(expected), "{problem:?} does not contain {expected:?}");
    assert_eq!(store(dir).info(), Err(Error::Corrupt(problem)));
    assert!(matches!(store(dir).newest_seq(), Ok(_) | Err(Error::Corrupt(_))));
}

/// And a create is refused, because it cannot know what number is stored.
#[track_caller]
pub fn assert_create_refused(dir: &Path) {
    let before = contents(dir);
    assert!(matches!(store(dir).create("2", u64::MAX), Err(Error::Corrupt(_))));
    assert_eq!(contents(dir), before, "a refused create changed something");
}

pub fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}
