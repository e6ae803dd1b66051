//! Erasing a store: which files are its own, and in which order they go.

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, fsync, renameat, unlinkat};
use tracing::debug_span;

use super::SnapshotStore;
use crate::directory::Held;
use crate::error::{Error, Result};

/// What lies in the directory of a store, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The names of the store's own files: of its snapshots, of what was set aside or undone, and of what is left of a crash.
    pub own: Vec<String>,
    /// All other names, as far as they are UTF-8: stores of a name are among them.
    pub others: Vec<String>,
}

/// The names under which the files of a pair are made, and those that its commit gives them, in its order.
const PAIR: [(&str, &str); 3] = [
    ("snapshot.sum.new", "snapshot.sum"),
    ("snapshot.json.new", "snapshot.json"),
    ("snapshot.seq.new", "snapshot.seq"),
];

/// Where native minisnap 0.1.2 makes its files.
const NATIVE: [&str; 2] = ["snapshot.json.tmp", "snapshot.seq.tmp"];

impl SnapshotStore {
    /// What lies in the directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it is not there, [`Error::AccessDenied`], [`Error::Io`].
    pub fn files(&self) -> Result<Files> {
        self.dir()?;
        let dir = &self.grant.dir;
        let mut files = Files { own: Vec::new(), others: Vec::new() };
        for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
            let name = entry.map_err(|e| Error::io("list", dir, e))?.file_name();
            let name = name.to_string_lossy().into_owned();
            if is_own(&name) { files.own.push(name) } else { files.others.push(name) }
        }
        files.own.sort();
        files.others.sort();
        Ok(files)
    }

    /// Erases the store's own files, durably, and returns their names. The directory and whatever else is in it stay.
    ///
    /// Whoever restores meanwhile, or after a crash, finds the snapshot that was newest, or none, and never an older one. Of a
    /// pair that another program wrote, or that is damaged, it may be [`Error::Corrupt`] in between. After an error, another
    /// call goes on where this one stopped.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], [`Error::Busy`] while a component has a writer open, [`Error::Io`], also for a directory with
    /// snapshots in two layouts, [`Error::Component`].
    pub fn clear(&mut self) -> Result<Vec<String>> {
        self.check_access()?;
        let _span = debug_span!("clear", dir = %self.grant.dir.display()).entered();
        self.in_one_turn(|store| {
            // What is damaged is erased as it is.
            match store.settle() {
                Ok(_) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
            // Which may remember what the directory held.
            store.end_streams();
            let stored = match store.info() {
                Ok(info) => Some(info.seq),
                Err(Error::NotFound | Error::Corrupt(_)) => None,
                // It cannot be read now.
                Err(Error::Io(_)) => Some(store.newest_seq()?),
                Err(error) => return Err(error),
            };
            store.end_streams();
            let own = store.files()?.own;
            store.check_replaceable("")?;
            store.dir()?;
            if let Some(held) = &store.held {
                erase(held, &store.grant.dir, &own, stored)?;
            }
            Ok(own)
        })
    }
}

/// Erases the files of these names, of which the newest snapshot that is not damaged has the number `stored`: it goes last. Of
/// a pair, the steps of its commit are taken back: until the sums go, it is the stored one.
fn erase(held: &Held, dir: &Path, names: &[String], stored: Option<u64>) -> Result<()> {
    let stored = stored.map(|seq| format!("snapshot_{seq:020}.json"));
    let is_last = |name: &String| {
        Some(name) == stored.as_ref() || PAIR.iter().any(|(new, moved)| name == new || name == moved)
    };
    let remove = |name: &str| {
        unlinkat(held, name, AtFlags::empty()).map_err(|e| Error::io("remove", &dir.join(name), e.into()))
    };
    let sync = || fsync(held).map_err(|e| Error::io("sync", dir, e.into()));
    let has = |name: &str| names.iter().any(|found| found == name);

    names.iter().filter(|name| !is_last(name)).try_for_each(|name| remove(name))?;
    // Without this sync, a power cut may lose the removal of an older generation and keep that of the stored one.
    sync()?;
    if let Some(stored) = stored.filter(|stored| has(stored)) {
        remove(&stored)?;
    }
    let [sums, files @ ..] = PAIR;
    for renamed in [&files[..], &[sums]] {
        for (new, moved) in renamed.iter().filter(|(_, moved)| has(moved)) {
            renameat(held, *moved, held, *new)
                .map_err(|e| Error::io("rename", &dir.join(moved), e.into()))?;
        }
        // Without this sync, a power cut may lose one of these renames and keep what comes after it.
        sync()?;
    }
    // The sums first, as wherever a commit is undone: files that are gone would look as if they had been moved.
    for (new, moved) in PAIR {
        if has(new) || has(moved) {
            remove(new)?;
            sync()?;
        }
    }
    Ok(())
}

/// Whether a file of this name is a store's own, as `guest/src/catalog.rs` has it.
fn is_own(name: &str) -> bool {
    let is_of_pair = PAIR.iter().any(|(new, moved)| name == *new || name == *moved);
    is_of_pair || NATIVE.contains(&name) || is_of_generation(name)
}

fn is_of_generation(name: &str) -> bool {
    let parts = name.strip_prefix("snapshot_").and_then(|rest| rest.split_at_checked(20));
    let Some((digits, end)) = parts else { return false };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.parse::<u64>().is_err() {
        return false;
    }
    let is_further = |end: &str| {
        let count = end.strip_prefix('-').and_then(|count| count.parse::<u64>().ok());
        count.is_some_and(|count| count > 1 && end == format!("-{count}"))
    };
    let is_beside = |what| end.strip_prefix(what).is_some_and(|rest| rest.is_empty() || is_further(rest));
    end == ".json" || end == ".json.tmp" || is_beside(".json.damaged") || is_beside(".json.undone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_names_are_the_stores_own() {
        for own in [
            "snapshot.json",
            "snapshot.seq",
            "snapshot.sum",
            "snapshot.json.new",
            "snapshot.seq.new",
            "snapshot.sum.new",
            "snapshot.json.tmp",
            "snapshot.seq.tmp",
            "snapshot_00000000000000000007.json",
            "snapshot_18446744073709551615.json",
            "snapshot_00000000000000000007.json.tmp",
            "snapshot_00000000000000000007.json.damaged",
            "snapshot_00000000000000000007.json.damaged-2",
            "snapshot_00000000000000000007.json.undone",
            "snapshot_00000000000000000007.json.undone-10",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "notes.txt",
            "snapshot",
            "snapshot.json.gz",
            "Snapshot.json",
            "snapshot.sum.tmp",
            "snapshot_9.bak",
            "snapshot_1.json",
            "snapshot_00000000000000000007",
            "snapshot_00000000000000000007.msgpack",
            "snapshot_00000000000000000007.JSON",
            "snapshot_000000000000000000007.json",
            "snapshot_+0000000000000000007.json",
            "snapshot_18446744073709551616.json",
            "snapshot_00000000000000000007.json.damaged-1",
            "snapshot_00000000000000000007.json.damaged-02",
            "snapshot_00000000000000000007.json.damaged-+2",
            "snapshot_00000000000000000007.json.undone.gz",
            "aside.snapshot.json.tmp",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
