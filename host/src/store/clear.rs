//! Erasing a store: which files are its own, and in which order they go.

use std::fs;
use std::path::Path;

use rustix::fs::{AtFlags, fsync, renameat, unlinkat};
use rustix::io::Errno;

use super::SnapshotStore;
use crate::directory::Held;
use crate::error::{Error, Result};
use crate::grant::span;
use crate::snapshot::{Info, Soundness};

/// What lies in the directory of a store, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The names of the store's own files: of its snapshots, of what was set aside or undone, and of what is left of a crash.
    pub own: Vec<String>,
    /// All other names, those of named stores among them; what is not UTF-8 in one is shown as `U+FFFD`.
    pub others: Vec<String>,
}

/// The names under which the files of a pair are made, and those that its commit gives them, in its order.
const PAIR: [(&str, &str); 3] = [
    ("snapshot.sum.new", "snapshot.sum"),
    ("snapshot.json.new", "snapshot.json"),
    ("snapshot.seq.new", "snapshot.seq"),
];

/// Where native minisnap 0.1.2 makes its files.
const NATIVE: [&str; 2] = ["snapshot.seq.tmp", "snapshot.json.tmp"];

impl SnapshotStore {
    /// What lies in the directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it is not there, [`Error::AccessDenied`], [`Error::Io`], also where a directory has a name of the
    /// store's own.
    pub fn files(&self) -> Result<Files> {
        self.dir()?;
        let dir = &self.grant.dir;
        let mut files = Files { own: Vec::new(), others: Vec::new() };
        for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
            let entry = entry.map_err(|e| Error::io("list", dir, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_own(&name) {
                files.others.push(name);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                return Err(Error::other(format!(
                    "`{}` is a directory, and no file of the store: move it away",
                    path.display()
                )));
            } else {
                files.own.push(name);
            }
        }
        files.own.sort();
        files.others.sort();
        Ok(files)
    }

    /// Erases the store's own files, durably, and returns their names. The directory and whatever else is in it stay: where
    /// something that looks like a snapshot is left, no create begins until it is moved away.
    ///
    /// Whoever restores meanwhile, or after a crash, finds the snapshot that was newest, or none, and never an older one. Of a
    /// pair that another program wrote, or that is damaged, a restore may be [`Error::Corrupt`] in between. After an error,
    /// another call goes on where this one stopped.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], [`Error::Busy`] while a reader or writer is open, of a named store too, [`Error::Io`], also for
    /// a directory with snapshots in two layouts, [`Error::InDoubt`] where a part may be erased, [`Error::Component`].
    pub fn clear(&mut self) -> Result<Vec<String>> {
        self.check_granted()?;
        let _span = span!("clear", self.grant, self.grant.dir).entered();
        self.in_one_turn(|store| {
            if store.has_streams() {
                return Err(Error::Busy("a reader or writer is open: drop it first".to_owned()));
            }
            let mut erased = store.files()?.own;
            // What is damaged is erased as it is.
            match store.settle() {
                Ok(_) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
            // An instance may remember what the directory held.
            store.end_streams();
            let stored = store.stored()?;
            store.end_streams();
            let names = store.files()?.own;
            store.check_replaceable("")?;
            store.dir()?;
            let in_doubt = |error: Error| {
                Error::InDoubt(format!(
                    "{}; a part of the store may be erased: clear it again",
                    error.to_line()
                ))
            };
            if let Some(held) = &store.held {
                erase(held, &store.grant.dir, &names, stored).map_err(in_doubt)?;
            }
            if let Some(left) = store.files()?.own.first() {
                return Err(in_doubt(Error::other(format!("`{left}` is still there"))));
            }
            erased.extend(names);
            erased.sort();
            erased.dedup();
            Ok(erased)
        })
    }

    /// The number of the snapshot that is restored, or cannot be read now.
    fn stored(&mut self) -> Result<Option<u64>> {
        match self.info() {
            Ok(info) => Ok(Some(info.seq)),
            Err(Error::NotFound | Error::Corrupt(_)) => Ok(None),
            Err(Error::Io(_)) => {
                let infos = self.generations()?;
                let is_damaged = |info: &&Info| matches!(info.soundness, Soundness::Damaged(_));
                Ok(infos.iter().find(|info| !is_damaged(info)).map(|info| info.seq))
            }
            Err(error) => Err(error),
        }
    }
}

/// Erases the files of these names, of which `stored` is the number of the newest generation that is not damaged: it goes last.
/// Of a pair, the steps of its commit are taken back: until the sums go, it is the stored one.
fn erase(held: &Held, dir: &Path, names: &[String], stored: Option<u64>) -> Result<()> {
    let stored = stored.map(|seq| format!("snapshot_{seq:020}.json"));
    let remove = |name: &str| match unlinkat(held, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("remove", &dir.join(name), error.into())),
    };
    let sync = || fsync(held).map_err(|e| Error::io("sync", dir, e.into()));

    let mut others = names.iter().filter(|name| !is_of_pair(name) && Some(*name) != stored.as_ref());
    others.try_for_each(|name| remove(name))?;
    // Without this sync, a power cut may lose the removal of an older generation and keep that of the stored one.
    sync()?;
    if let Some(stored) = stored {
        remove(&stored)?;
        sync()?;
    }
    if !names.iter().any(|name| is_of_pair(name)) {
        return Ok(());
    }
    let [sums, files @ ..] = PAIR;
    for renamed in [&files[..], &[sums]] {
        for (new, moved) in renamed {
            if names.iter().any(|name| name == moved) {
                renameat(held, *moved, held, *new)
                    .map_err(|e| Error::io("rename", &dir.join(moved), e.into()))?;
            }
        }
        // Without this sync, a power cut may lose one of these renames and keep what comes after it.
        sync()?;
    }
    // The sums first, as wherever a commit is undone: files that are gone would look as if they had been moved. By both names,
    // since a rename does nothing where a torn one has left the two. Native minisnap's number goes before its state: alone, it
    // would be taken for that of a state in place.
    for name in PAIR.map(|(new, moved)| [new, moved]).into_iter().flatten().chain(NATIVE) {
        remove(name)?;
        sync()?;
    }
    Ok(())
}

/// Whether a file of this name is a store's own, as `guest/src/catalog.rs` has it.
fn is_own(name: &str) -> bool {
    is_of_pair(name) || is_of_generation(name)
}

fn is_of_pair(name: &str) -> bool {
    PAIR.iter().any(|(new, moved)| name == *new || name == *moved) || NATIVE.contains(&name)
}

fn is_of_generation(name: &str) -> bool {
    end_of_generation(name).is_some()
}

/// What stands behind the number in a file's name, if it is that of a generation: one that is there, is being made, or was set
/// aside or undone.
pub(crate) fn end_of_generation(name: &str) -> Option<&str> {
    let (digits, end) = name.strip_prefix("snapshot_")?.split_at_checked(20)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u64>().is_ok();
    let is_further = |end: &str| {
        let count = end.strip_prefix('-').and_then(|count| count.parse::<u64>().ok());
        count.is_some_and(|count| count > 1 && end == format!("-{count}"))
    };
    let is_beside = |what| end.strip_prefix(what).is_some_and(|rest| rest.is_empty() || is_further(rest));
    let is_known = end == ".json" || end == ".json.tmp" || is_beside(DAMAGED) || is_beside(UNDONE);
    (is_number && is_known).then_some(end)
}

/// What the name of a generation ends in that was set aside as damaged.
pub(super) const DAMAGED: &str = ".json.damaged";

/// What the name of a generation ends in that a rollback undid.
pub(crate) const UNDONE: &str = ".json.undone";

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
