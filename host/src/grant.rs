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

    /// The same grant with an absolute path: what the process does to its working directory later changes nothing.
    pub(crate) fn absolute(self) -> Result<Self> {
        let dir = std::path::absolute(&self.dir).map_err(|e| Error::io("find", &self.dir, &e))?;
        Ok(Grant { dir, ..self })
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

    /// Which directory there is now under the grant's path, or `None` if there is none; anything else is an error.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        match fs::metadata(&self.dir) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Identity::of(&metadata))),
            Ok(_) => Err(not_a_directory(&self.dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(not_a_directory(&self.dir)),
            Err(error) => Err(Error::io("look at", &self.dir, &error)),
        }
    }
}

/// Which directory it is, whatever its name; where the system does not tell, all are taken for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }

    #[cfg(not(unix))]
    fn of(_: &fs::Metadata) -> Self {
        Identity { device: 0, inode: 0 }
    }
}

/// A directory that nobody else writes, until this is dropped.
///
/// The lock is on the directory itself, so it leaves no file behind, whatever happens to the process.
#[derive(Debug)]
pub(crate) struct Held {
    _dir: File,
    /// The directory that is held, which may get another name, or none.
    pub(crate) identity: Identity,
}

impl Held {
    fn new(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        match dir.try_lock() {
            Ok(()) => {
                let metadata = dir.metadata().map_err(|e| Error::io("look at", path, &e))?;
                Ok(Held { _dir: dir, identity: Identity::of(&metadata) })
            }
            Err(TryLockError::WouldBlock) => Err(Error::Busy { holder: holder(&dir) }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, &error)),
        }
    }
}

/// Makes `dir`, an absolute path, and what lies above it, so that a power cut does not lose it with the first snapshot
/// in it.
///
/// The entry of a directory that is there already is synced too, because nobody else may have done so.
fn make_durably(dir: &Path) -> Result<()> {
    let mut made = fs::create_dir(dir);
    if let (Err(error), Some(parent)) = (&made, dir.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        make_durably(parent)?;
        made = fs::create_dir(dir);
    }
    match made {
        Ok(()) => {}
        // Making may not be allowed, or not be possible, and what is there serves.
        Err(_) if dir.is_dir() => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            return Err(not_a_directory(dir));
        }
        Err(error) => return Err(Error::io("make the directory", dir, &error)),
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        // Where the parent may not be read, all of its file system is synced in its place.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => sync_file_system(dir),
        result => result.map_err(|e| Error::io("sync", parent, &e)),
    }
}

#[cfg(target_os = "linux")]
fn sync_file_system(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
    synced.map_err(|e| Error::io("sync the file system of", dir, &e))
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &Path) -> Result<()> {
    Err(Error::AccessDenied)
}

fn not_a_directory(dir: &Path) -> Error {
    Error::Io(format!("`{}` is not a directory: name the directory that holds the snapshot", dir.display()))
}

/// The process that holds the lock on `dir`, as Linux lists it: one line a lock, with the process and, as
/// major:minor:inode, the file.
#[cfg(target_os = "linux")]
fn holder(dir: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let metadata = dir.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, found, ..] if found == file => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn holder(_: &File) -> Option<u32> {
    None
}
