//! The directory of a grant, as it lies on this machine: made, opened, and held for writing.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::error::{Error, Result};
use crate::grant::{Access, Grant, is_name};
use crate::locks::{Locked, Locks};

impl Grant {
    /// Makes the directory if need be, and takes it for writing, or not, as the access asks for.
    pub(crate) fn hold(&self) -> Result<Option<Held>> {
        match self.access {
            Access::ReadOnly | Access::None => Ok(None),
            Access::ReadWrite => {
                self.make_dir()?;
                let held = Held::new(&self.dir)?;
                if self.stores > 0 && is_readable_for_others(&held.dir, &self.dir)? {
                    return Err(Error::other(format!(
                        "other users may read the directory `{0}`, and so could lock the stores in it: `chmod go-r {0}`",
                        self.dir.display()
                    )));
                }
                self.check_writable()?;
                Ok(Some(held))
            }
        }
    }

    /// Makes the directory if need be, durably, unless it must exist.
    pub(crate) fn make_dir(&self) -> Result<()> {
        // Which refuses one that is missing and must exist.
        self.identity()?;
        crate::replaceable::check_umask()?;
        self.make()
    }

    /// Makes the directory if need be, unless it would be one of more instances than may have one.
    fn make(&self) -> Result<()> {
        let Some(most) = self.max_instances else { return make_durably(&self.dir).map(drop) };
        let most = u64::from(most.get());
        let refused = || {
            let component = self.component.as_deref().unwrap_or("the component");
            Error::denied(format!(
                "`{}` is not made: `{component}` has {most} instances already, as many as it may have",
                self.dir.display()
            ))
        };
        if !self.dir.is_dir() && self.count_instances()? >= most {
            return Err(refused());
        }
        let is_new = make_durably(&self.dir)?;
        // Others may have made theirs since, and a crash may have left one that was refused. Each that is empty counts those that
        // there are: the last of too many is refused, and whoever has a file in it was not.
        if (is_new || entries(&self.dir)?.is_empty()) && self.count_instances()? > most {
            if is_new {
                self.take_back();
            }
            return Err(refused());
        }
        Ok(())
    }

    /// Removes the directory that was made for nothing, unless somebody holds it or has made a file there.
    fn take_back(&self) {
        // Until it is gone, it is locked: who opens it meanwhile must not hold it.
        if let Ok(dir) = File::open(&self.dir)
            && dir.try_lock().is_ok()
        {
            let _locked = Locked::from(dir);
            let _ = fs::remove_dir(&self.dir);
        }
    }

    /// How many instances have a directory beside this one, itself included: so called but for the instance's name at the end.
    fn count_instances(&self) -> Result<u64> {
        let (Some(folder), Some(name), Some(instance)) =
            (self.dir.parent(), self.dir.file_name().and_then(OsStr::to_str), &self.instance)
        else {
            return Ok(0);
        };
        let Some(prefix) = name.strip_suffix(instance.as_str()) else { return Ok(0) };
        let failed = |error| Error::io("list", folder, error);
        let mut count = 0;
        for entry in entries(folder)? {
            let name = entry.file_name();
            let instance = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if instance.is_some_and(is_name) && entry.file_type().map_err(failed)?.is_dir() {
                count += 1;
            }
        }
        Ok(count)
    }

    /// The directory, open: the one that is held, whatever its path leads to, or else the one under its path.
    pub(crate) fn open(&self, held: Option<&Held>) -> Result<File> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match held {
            Some(held) => held.dir.try_clone(),
            None => rustix::fs::open(&self.dir, flags, Mode::empty()).map(File::from).map_err(Into::into),
        };
        opened.map_err(|error| Error::io("open", &self.dir, error))
    }

    /// Whether the system lets this process write in the directory.
    ///
    /// A component is only told of an input/output error where its directory is on a read-only file system.
    pub(crate) fn check_writable(&self) -> Result<()> {
        use rustix::fs::{AtFlags, CWD, accessat};
        let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        match accessat(CWD, &self.dir, wanted, AtFlags::EACCESS) {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::io("write in", &self.dir, error.into())),
        }
    }

    /// Which directory there is now under the grant's path, or `None` if there is none; anything else is an error.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        match fs::metadata(&self.dir) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Identity::of(&metadata))),
            Ok(_) => Err(not_a_directory(&self.dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.must_exist => {
                Err(Error::other(format!(
                    "the directory `{}` is not there, and must exist: mount it, or make it",
                    self.dir.display()
                )))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(not_a_directory(&self.dir)),
            Err(error) => Err(Error::io("look at", &self.dir, error)),
        }
    }
}

/// Which directory it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A directory that nobody else writes, until this is dropped: locked, and shared with others the one that it is in, whose
/// stores are locked by who locks it.
///
/// The lock is on the directory itself, so it leaves no file behind, whatever happens to the process.
#[derive(Debug)]
pub(crate) struct Held {
    dir: Locked,
    /// The directory that is held, which may get another name, or none.
    pub(crate) identity: Identity,
    _parent: Option<Locked>,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Held {
    fn new(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(|e| Error::io("open", path, e))?;
        match dir.try_lock() {
            Ok(()) => {
                let dir = Locked::from(dir);
                let failed = |error| Error::io("look at", path, error);
                let metadata = dir.metadata().map_err(failed)?;
                // Who was refused an instance may have taken its directory back after it was opened here.
                let is_there = match fs::metadata(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                    found => Identity::of(&found.map_err(failed)?) == Identity::of(&metadata),
                };
                if !is_there {
                    let path = path.display();
                    return Err(Error::Busy(format!(
                        "the directory `{path}` was removed while it was opened: try again"
                    )));
                }
                let parent = share_parent(&dir, path)?;
                Ok(Held { dir, identity: Identity::of(&metadata), _parent: parent })
            }
            Err(TryLockError::WouldBlock) => Err(in_use(&dir, path)),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
        }
    }
}

/// Keeps whoever would write in the directory that this one is in, as a store of a name, from locking it. Who holds it
/// keeps this one out, unless other users may read it: then it has no stores inside, and may be held by any of them.
fn share_parent(dir: &File, path: &Path) -> Result<Option<Locked>> {
    use rustix::fs::{Mode, OFlags, openat};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Not by its path, which may be a link's.
    let parent = match openat(dir, "..", flags, Mode::empty()) {
        Ok(parent) => File::from(parent),
        // Nor can this user hold it.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
        Err(error) => return Err(Error::io("open the folder around", path, error.into())),
    };
    match parent.try_lock_shared() {
        Ok(()) => Ok(Some(parent.into())),
        Err(TryLockError::WouldBlock) if is_readable_for_others(&parent, path)? => Ok(None),
        Err(TryLockError::WouldBlock) => Err(in_use(&parent, path.parent().unwrap_or(path))),
        Err(TryLockError::Error(error)) => Err(Error::io("lock the parent of", path, error)),
    }
}

fn is_readable_for_others(dir: &File, path: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = dir.metadata().map_err(|error| Error::io("look at", path, error))?;
    Ok(metadata.mode() & 0o044 != 0)
}

fn in_use(dir: &File, path: &Path) -> Error {
    let holder = dir.metadata().ok().and_then(|dir| Locks::now().holder(&dir));
    Error::Busy(match holder {
        Some(pid) => format!("the directory `{}` is in use by process {pid}", path.display()),
        None => format!("the directory `{}` is in use", path.display()),
    })
}

/// Makes `dir`, an absolute path, and what lies above it, so that a power cut does not lose it with the first snapshot
/// in it.
///
/// The entry of a directory that is there already is synced too, because nobody else may have done so. Such a directory
/// keeps its mode. Returns whether it is new.
fn make_durably(dir: &Path) -> Result<bool> {
    let mut made = make_private(dir);
    if let (Err(error), Some(parent)) = (&made, dir.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        make_durably(parent)?;
        made = make_private(dir);
    }
    let is_new = made.is_ok();
    match made {
        Ok(()) => {}
        // Making may not be allowed, or not be possible, and what is there serves.
        Err(_) if dir.is_dir() => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            return Err(not_a_directory(dir));
        }
        Err(error) => return Err(Error::io("make the directory", dir, error)),
    }
    let Some(parent) = dir.parent() else { return Ok(is_new) };
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        // Where the parent may not be read, all of its file system is synced in its place.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => sync_file_system(dir)?,
        result => result.map_err(|e| Error::io("sync", parent, e))?,
    }
    Ok(is_new)
}

/// What is in a directory; nothing where it is not there.
pub(crate) fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect).map_err(|e| Error::io("list", dir, e)),
    }
}

/// Makes a directory for this user alone: others could read the states in it, and lock its writer out.
fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn sync_file_system(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
    synced.map_err(|e| Error::io("sync the file system of", dir, e))
}

fn not_a_directory(dir: &Path) -> Error {
    Error::other(format!(
        "`{}` is not a directory: name the directory that holds the snapshot",
        dir.display()
    ))
}

/// Locks the directory of a named store, unless it was not made yet, so that nobody writes there by another path; while
/// this is open. The one that it is in is held.
pub(crate) fn lock_named(path: &Path) -> Result<Option<Locked>> {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match open(path, flags, Mode::empty()) {
        Ok(dir) => File::from(dir),
        // What is no directory, the store's component refuses.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error.into())),
    };
    match dir.try_lock() {
        Ok(()) => Ok(Some(dir.into())),
        Err(TryLockError::WouldBlock) => Err(in_use(&dir, path)),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

/// Whether a path still leads to this directory.
pub(crate) fn leads_to(path: &Path, dir: &File) -> bool {
    let identity = |metadata: io::Result<fs::Metadata>| metadata.ok().as_ref().map(Identity::of);
    identity(fs::metadata(path)) == identity(dir.metadata())
}
