//! A host's decision: which directory, what limits, which access.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The largest state that any grant allows, in bytes: a component's memory is addressed by 32 bits.
pub const MAX_STATE_CEILING: u64 = (4 << 30) - (16 << 20);

/// Which directory a store works in, and what it may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    dir: PathBuf,
    access: Access,
    max_state: u64,
}

/// What a store may do in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Create and restore. Holds the directory: a second writer is told that it is busy.
    ReadWrite,
    /// Restore only, whether or not somebody else writes.
    ReadOnly,
}

impl Grant {
    /// Grants `dir` for reading and writing, with states of up to 256 MiB.
    ///
    /// If there is no such directory, opening a store on it makes it, durably.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Grant { dir: dir.into(), access: Access::ReadWrite, max_state: 256 << 20 }
    }

    /// The same directory, for reading only. It is not made if there is none: it has no snapshot then.
    pub fn read_only(self) -> Self {
        Grant { access: Access::ReadOnly, ..self }
    }

    /// Sets the largest state in bytes, as given and as stored, at most [`MAX_STATE_CEILING`].
    ///
    /// The memory of the store's instance is capped at this and 16 MiB.
    pub fn max_state(self, bytes: u64) -> Self {
        Grant { max_state: bytes.min(MAX_STATE_CEILING), ..self }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the store may do in it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The largest state in bytes.
    pub fn max_state_bytes(&self) -> u64 {
        self.max_state
    }

    /// Makes the directory if need be, and takes it for writing, or not, as the access asks for.
    pub(crate) fn hold(&self) -> Result<Option<Held>> {
        match self.access {
            Access::ReadOnly => Ok(None),
            Access::ReadWrite => {
                make_durably(&self.dir)?;
                let held = Held::new(&self.dir)?;
                self.check_writable()?;
                Ok(Some(held))
            }
        }
    }

    /// Whether the system lets this process write in the directory.
    ///
    /// A component is only told of an input/output error where its directory is on a read-only file system.
    #[cfg(unix)]
    pub(crate) fn check_writable(&self) -> Result<()> {
        use rustix::fs::{AtFlags, CWD, accessat};
        let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        match accessat(CWD, &self.dir, wanted, AtFlags::EACCESS) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::io("write in", &self.dir, &error.into())),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn check_writable(&self) -> Result<()> {
        Ok(())
    }

    /// Whether there is a directory; anything else under its name is an error.
    pub(crate) fn dir_exists(&self) -> Result<bool> {
        match fs::metadata(&self.dir) {
            Ok(metadata) if metadata.is_dir() => Ok(true),
            Ok(_) => Err(not_a_directory(&self.dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(not_a_directory(&self.dir)),
            Err(error) => Err(Error::io("look at", &self.dir, &error)),
        }
    }
}

/// A directory that nobody else writes, until this is dropped.
///
/// The lock is on the directory itself, so it leaves no file behind, whatever happens to the process.
#[derive(Debug)]
pub(crate) struct Held {
    _dir: File,
}

impl Held {
    fn new(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        match dir.try_lock() {
            Ok(()) => Ok(Held { _dir: dir }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { holder: holder(&dir) }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, &error)),
        }
    }
}

/// Makes `dir` and what lies above it, so that a power cut does not lose it with the first snapshot in it.
///
/// The entry of a directory that is there already is synced too, because nobody else may have done so.
fn make_durably(dir: &Path) -> Result<()> {
    let is_new = match fs::create_dir(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !dir.is_dir() {
                return Err(not_a_directory(dir));
            }
            false
        }
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && dir.parent().is_some_and(|above| above != dir) =>
        {
            make_durably(above(dir))?;
            return make_durably(dir);
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_a_directory(dir)),
        // Where making is not allowed, or not possible, what is there already serves.
        Err(_) if dir.is_dir() => false,
        Err(error) => return Err(Error::io("make the directory", dir, &error)),
    };
    let parent = above(dir);
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_new => {
            tracing::debug!(parent = %parent.display(), "the parent may not be read, so its entries are not synced");
            Ok(())
        }
        result => result.map_err(|e| Error::io("sync", parent, &e)),
    }
}

fn above(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => dir,
    }
}

fn not_a_directory(dir: &Path) -> Error {
    Error::Io(format!("`{}` is not a directory: name the directory that holds the snapshot", dir.display()))
}

/// The process that holds the lock on `dir`, as Linux lists it: one line a lock, with the process and, as
/// major:minor:inode, the file.
#[cfg(target_os = "linux")]
fn holder(dir: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let inode = dir.metadata().ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, _, _, pid, file) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let same = kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode);
        same.then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(not(target_os = "linux"))]
fn holder(_: &File) -> Option<u32> {
    None
}
