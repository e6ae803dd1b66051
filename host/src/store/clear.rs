//! Erasing a store: which files are its own, and in which order they go.

use std::fs;

use super::SnapshotStore;
use super::copy::generation;
use crate::error::{Error, Result};
use crate::grant::span;
use crate::names::{LATER, NATIVE, PAIR, is_of_pair, is_own};
use crate::snapshot::{Info, Soundness};

/// What lies in the directory of a store, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The names of the store's own files: of its snapshots, of what was set aside or undone, and of what is left of a crash.
    pub own: Vec<String>,
    /// All other names, those of named stores among them; what is not UTF-8 in one is shown as `U+FFFD`.
    pub others: Vec<String>,
}

impl SnapshotStore {
    /// What lies in the directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it is not there, [`Error::AccessDenied`], [`Error::Io`], also where a directory has a name of the
    /// store's own, or a later version of minisnap wrote there.
    pub fn files(&mut self) -> Result<Files> {
        if let Some(own) = self.away(|staging, time| staging.files(time))? {
            return Ok(Files { own, others: Vec::new() });
        }
        self.files_here()
    }

    /// The same, where they are in the directory.
    pub(super) fn files_here(&self) -> Result<Files> {
        self.dir()?;
        let dir = &self.grant.dir;
        let mut files = Files { own: Vec::new(), others: Vec::new() };
        for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
            let entry = entry.map_err(|e| Error::io("list", dir, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == LATER {
                return Err(Error::other(format!(
                    "`{LATER}` is there, so the directory has a layout of a later version of minisnap: use that version"
                )));
            } else if !is_own(&name) {
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
            if let Some(erased) = store.away(|staging, time| staging.clear(time))? {
                return Ok(erased);
            }
            let mut erased = store.files_here()?.own;
            // What is damaged is erased as it is.
            match store.settle() {
                Ok(_) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
            // An instance may remember what the directory held.
            store.end_streams();
            let stored = store.stored()?;
            store.end_streams();
            let names = store.files_here()?.own;
            store.check_replaceable("")?;
            store.dir()?;
            let in_doubt = |error: Error| {
                Error::InDoubt(format!(
                    "{}; a part of the store may be erased: clear it again",
                    error.to_line()
                ))
            };
            store.erase(&names, stored).map_err(in_doubt)?;
            if let Some(left) = store.files_here()?.own.first() {
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

    /// Erases the files of these names, of which `stored` is the number of the newest generation that is not damaged: it goes last.
    /// Of a pair, the steps of its commit are taken back: until the sums go, it is the stored one.
    fn erase(&self, names: &[String], stored: Option<u64>) -> Result<()> {
        let stored = stored.map(generation);
        let mut others = names.iter().filter(|name| !is_of_pair(name) && Some(*name) != stored.as_ref());
        others.try_for_each(|name| self.remove(name))?;
        // Without this sync, a power cut may lose the removal of an older generation and keep that of the stored one.
        self.sync()?;
        if let Some(stored) = stored {
            self.remove(&stored)?;
            self.sync()?;
        }
        if !names.iter().any(|name| is_of_pair(name)) {
            return Ok(());
        }
        let [sums, files @ ..] = PAIR;
        for renamed in [&files[..], &[sums]] {
            for (new, moved) in renamed {
                if names.iter().any(|name| name == moved) {
                    self.rename(moved, new)?;
                }
            }
            // Without this sync, a power cut may lose one of these renames and keep what comes after it.
            self.sync()?;
        }
        // The sums first, as wherever a commit is undone: files that are gone would look as if they had been moved. By both names,
        // since a rename does nothing where a torn one has left the two. Native minisnap's number goes before its state: alone, it
        // would be taken for that of a state in place.
        for name in PAIR.map(|(new, moved)| [new, moved]).into_iter().flatten().chain(NATIVE) {
            self.remove(name)?;
            self.sync()?;
        }
        Ok(())
    }
}
