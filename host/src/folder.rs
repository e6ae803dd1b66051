//! Folders of the host for a component's own files, beside its snapshots.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::location::{self, Location, Mounts, Unopened};
use crate::locks::{Locked, Locks};

/// A directory of the host that a component gets for its own files.
///
/// It is opened once: what is checked is what the component gets, whatever becomes of the path meanwhile, and bind mounts are
/// seen through.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    dir: fs::File,
    location: Location,
    locked: Option<Locked>,
}

/// Why a component does not get a directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It cannot be opened or looked at.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// The directory, or what it was compared with.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// There is a link on its way, which a component may have planted.
    #[error("`{}` is a link to `{}`", link.display(), target.display())]
    Link {
        /// The link.
        link: PathBuf,
        /// Where it leads, as it is written there.
        target: PathBuf,
    },
    /// It holds what is protected, lies inside of it, or holds a link or a directory on the way there.
    #[error("`{}` would give the component `{}`", folder.display(), protected.display())]
    Protected {
        /// The directory.
        folder: PathBuf,
        /// What the component would reach.
        protected: PathBuf,
    },
    /// Somebody else has it for writing.
    #[error("`{}` is in use{}", path.display(), by(*process))]
    Busy {
        /// The directory.
        path: PathBuf,
        /// The process that has it, if the system tells.
        process: Option<u32>,
    },
}

impl Folder {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// [`FolderError::Open`] if there is none, and [`FolderError::Link`]: a component that may write somewhere
    /// on the way could have planted one. Of a relative path, what leads to the working directory does not count.
    pub fn open(path: impl Into<PathBuf>) -> std::result::Result<Self, FolderError> {
        let path = path.into();
        let failed = |error| FolderError::Open { path: path.clone(), error };
        let dir = location::open_without_links(&path).map_err(|unopened| match unopened {
            Unopened::Io(error) => failed(error),
            Unopened::Link(link, target) => FolderError::Link { link, target },
        })?;
        let location = Mounts::now().locate(dir.as_fd(), &path).map_err(failed)?;
        Ok(Folder { path, dir, location, locked: None })
    }

    /// Locks the directory as long as this value lives, so that no other process can lock it, too. Otherwise two components
    /// could keep one log there, and each overwrite what the other was told is durable. Directories inside of it are not
    /// locked. Where the file system knows no locks at all, this does nothing.
    ///
    /// # Errors
    ///
    /// [`FolderError::Busy`], and [`FolderError::Open`] if it cannot be opened for that.
    pub fn lock(&mut self) -> std::result::Result<(), FolderError> {
        let path = location::path_of(&self.dir);
        let dir =
            fs::File::open(path).map_err(|error| FolderError::Open { path: self.path.clone(), error })?;
        match dir.try_lock() {
            Ok(()) => self.locked = Some(dir.into()),
            Err(TryLockError::WouldBlock) => {
                let process = dir.metadata().ok().and_then(|dir| Locks::now().holder(&dir));
                return Err(FolderError::Busy { path: self.path.clone(), process });
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(FolderError::Open { path: self.path.clone(), error });
            }
        }
        Ok(())
    }

    /// Whether this is the same directory as another.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.location.holds(&other.location) && other.location.holds(&self.location)
    }

    /// Checks that a component that may write in this directory changes nothing of `protected`, a file or directory that
    /// need not exist, nor where its path leads.
    ///
    /// Protect what decides who a component is and what it may do: the directories of all snapshots, the grants file, the
    /// component's file and its manifest, and where compiled code is kept.
    ///
    /// # Errors
    ///
    /// [`FolderError::Protected`], and [`FolderError::Open`] if something on the way cannot be looked at.
    pub fn check_apart(&self, protected: &Path) -> std::result::Result<(), FolderError> {
        let (real, on_the_way) = way(protected);
        let mounts = Mounts::now();
        let find = |path: &Path| {
            mounts.find(path).map_err(|error| FolderError::Open { path: protected.to_owned(), error })
        };
        let there = find(&real)?;
        let mut gives = there.holds(&self.location) || self.location.holds(&there);
        for place in &on_the_way {
            gives = gives || self.location.holds(&find(place)?);
        }
        if gives {
            return Err(FolderError::Protected { folder: self.path.clone(), protected: real });
        }
        Ok(())
    }

    /// Gives the directory to a component, which calls it `guest`.
    ///
    /// # Errors
    ///
    /// [`FolderError::Open`].
    pub fn preopen(
        &self,
        wasi: &mut WasiCtxBuilder,
        guest: &str,
        perms: FsPerms,
    ) -> std::result::Result<(), FolderError> {
        let path = location::path_of(&self.dir);
        let opened = wasi.preopened_dir(path, guest, perms).map(drop);
        opened.map_err(|error| FolderError::Open { path: self.path.clone(), error: io::Error::other(error) })
    }
}

impl Grant {
    /// Makes the directory of the component's [log](Grant::log) if need be, durably and with the mode 0700, opens it, and
    /// locks it as long as the folder lives. `None` if the component gets none.
    ///
    /// Open the store first, so that of two hosts the second is busy before it makes anything; and drop the folder before the
    /// store, once the component has ended, so that whoever gets the snapshots next gets the log, too. Check that the folder is
    /// [apart](Folder::check_apart) before you give it to the component, as [`Grant::LOG`].
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if somebody else holds it, [`Error::AccessDenied`] if there is a link on its way. Otherwise as of
    /// [`Minisnap::open`](crate::Minisnap::open).
    pub fn open_log(&self) -> Result<Option<Folder>> {
        let Some(dir) = self.log_dir() else { return Ok(None) };
        let must_exist = self.must_exist;
        let log = Grant { must_exist, ..Grant::new(dir) }.absolute()?;
        let failed = |error| match error {
            FolderError::Busy { .. } => Error::Busy(format!("the log {error}")),
            FolderError::Link { .. } => {
                Error::denied(format!("{error}, which a component may have planted: remove it"))
            }
            FolderError::Open { path, error } => Error::io("open", &path, error),
            FolderError::Protected { .. } => Error::denied(error.to_string()),
        };
        if let Some(there) = log.dir.ancestors().find(|path| path.symlink_metadata().is_ok()) {
            if there.is_file() {
                let (file, log) = (there.display(), log.dir.display());
                return Err(Error::other(format!("the log `{log}` cannot be made: `{file}` is a file")));
            }
            // Nothing is made through a link.
            Folder::open(there).map_err(failed)?;
        }
        log.make_dir()?;
        let mut folder = Folder::open(&log.dir).map_err(failed)?;
        folder.lock().map_err(failed)?;
        Ok(Some(folder))
    }
}

fn by(process: Option<u32>) -> String {
    process.map(|process| format!(" by process {process}")).unwrap_or_default()
}

/// The most links that are followed on the way to one file, as by Linux.
const MAX_LINKS: usize = 40;

/// Where the path leads, without links as far as it exists; and what decides that: each link on the way, and each folder
/// that a `..` leaves, which a link could replace.
fn way(path: &Path) -> (PathBuf, Vec<PathBuf>) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut left: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
    let (mut on_the_way, mut links, mut real) = (Vec::new(), 0, PathBuf::new());
    while let Some(part) = left.pop_front() {
        if part == ".." {
            on_the_way.push(real.clone());
            real.pop();
            continue;
        }
        let place = real.join(&part);
        match fs::read_link(&place) {
            Ok(target) if links < MAX_LINKS => {
                target.iter().rev().for_each(|part| left.push_front(part.to_owned()));
                on_the_way.push(place);
                links += 1;
            }
            _ => real = place,
        }
    }
    (real, on_the_way)
}
