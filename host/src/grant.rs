//! A host's decision: which directory, what limits, which access.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::snapshot::{Layout, UnknownName};

/// What an instance needs in memory beside one state, in bytes.
const MEMORY_BESIDE_STATE: u64 = 16 << 20;

/// The most memory that any instance may have, in bytes: it is addressed by 32 bits.
const MEMORY_CEILING: u64 = u32::MAX as u64;

/// Which directory a store works in, and what it may do there. Its methods set what its fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The directory.
    pub dir: PathBuf,
    /// What the store may do in it.
    pub access: Access,
    /// The layout of a directory that holds no snapshot; another keeps the one it has.
    pub layout: Layout,
    /// How many generations are kept in the numbered layout; if it is not set, [`Grant::KEEP`], and all that another program
    /// wrote.
    pub keep: Option<NonZeroU32>,
    /// Whether the directory must be there already.
    pub must_exist: bool,
    /// The largest state in bytes.
    pub max_state: u64,
    /// The most that the directory may hold in bytes, or `None` for no limit.
    pub max_total: Option<u64>,
    /// How many stores the component may have besides its own.
    pub stores: u32,
    /// The most memory that the store's instance may have in bytes; if it is not set, 16 MiB more than the largest state.
    pub max_memory: Option<u64>,
    /// How long one call may take.
    pub deadline: Duration,
}

/// What a store may do in its directory; displayed and parsed as `read-write`, `read-only` and `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arcella", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Access {
    /// Create and restore. Holds the directory: a second writer is told that it is busy.
    ReadWrite,
    /// Restore only, whether or not somebody else writes.
    ReadOnly,
    /// Nothing: every call is [`Error::AccessDenied`].
    None,
}

impl Grant {
    /// How many generations are kept in the numbered layout if the grant does not say.
    pub const KEEP: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");

    /// The largest state in bytes if the grant does not say.
    pub const MAX_STATE: u64 = 256 << 20;

    /// How long one call may take if the grant does not say.
    pub const DEADLINE: Duration = Duration::from_secs(30);

    /// Grants `dir` for reading and writing, with states of up to 256 MiB.
    ///
    /// If there is no such directory, opening a store on it makes it, durably, with the mode 0700; an existing
    /// one keeps its mode.
    ///
    /// While a store is open on it, the folder around it is held, too, and shared with others: a store there is [`Error::Busy`].
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Grant {
            dir: dir.into(),
            access: Access::ReadWrite,
            layout: Layout::Pair,
            keep: None,
            must_exist: false,
            max_state: Grant::MAX_STATE,
            max_total: None,
            stores: 0,
            max_memory: None,
            deadline: Grant::DEADLINE,
        }
    }

    /// Grants nothing, for a component that asks for snapshots and is to have none.
    pub fn none() -> Self {
        Grant { access: Access::None, ..Grant::new("") }
    }

    /// The same directory, for reading only. It is not made if there is none: it has no snapshot then.
    pub fn read_only(self) -> Self {
        Grant { access: Access::ReadOnly, ..self }
    }

    /// Sets the layout of a directory that holds no snapshot; another keeps the one it has. [`Layout::Pair`] unless set.
    pub fn layout(self, layout: Layout) -> Self {
        Grant { layout, ..self }
    }

    /// Sets how many generations are kept in the numbered layout, the newest included. Unless it is set, 5 are, and those
    /// that another program wrote all are.
    pub fn keep(self, generations: NonZeroU32) -> Self {
        Grant { keep: Some(generations), ..self }
    }

    /// Refuses to make the directory: one that is missing is [`Error::Io`]. For a volume that may not be mounted, in whose
    /// place an empty directory would start from nothing.
    pub fn must_exist(self) -> Self {
        Grant { must_exist: true, ..self }
    }

    /// Sets the largest state in bytes, as given and as stored. 256 MiB unless set.
    pub fn max_state(self, bytes: u64) -> Self {
        Grant { max_state: bytes, ..self }
    }

    /// Sets the most that the directory may hold in bytes. Not limited unless set.
    ///
    /// A new snapshot must fit beside the newest one, or it is refused as [`Error::NoSpace`]. Older generations that do
    /// not fit any more are removed once it is durable; until then, the directory holds them as well.
    pub fn max_total(self, bytes: u64) -> Self {
        Grant { max_total: Some(bytes), ..self }
    }

    /// Sets how many stores the component may have besides its own: each in a directory inside of this one, with a name that the
    /// component gives, and with the limits of this grant for itself. None unless set.
    ///
    /// While this grant is held for writing, so are those. The directory must not be readable for other users, who could
    /// lock it, or opening it is [`Error::Io`].
    pub fn stores(self, stores: u32) -> Self {
        Grant { stores, ..self }
    }

    /// Sets the most memory that the store's instance may have in bytes. 16 MiB more than the largest state unless set,
    /// and 4 GiB at most.
    ///
    /// Creating a state, and reading one in pieces, needs less than 8 MiB whatever its size; restoring one as a whole
    /// needs its size beside that.
    pub fn max_memory(self, bytes: u64) -> Self {
        Grant { max_memory: Some(bytes), ..self }
    }

    /// Sets how long one call may take, with what it waits for [its turn](crate::MinisnapBuilder::max_calls): whole ones, and each of
    /// the calls of a writer or reader. 30 seconds unless set; [`Duration::MAX`] for no limit.
    ///
    /// A call that takes longer is interrupted, and is [`Error::DeadlineExceeded`]. Where a system call hangs, in a file system that does
    /// not answer, nothing can interrupt that: the call ends when it does, but a component that is linked
    /// [asynchronously](crate::add_to_linker_async) gets its error in time.
    pub fn deadline(self, time: Duration) -> Self {
        Grant { deadline: time, ..self }
    }

    /// The most memory that the store's instance may have in bytes.
    pub(crate) fn memory(&self) -> usize {
        let bytes = self.max_memory.unwrap_or(self.max_state.saturating_add(MEMORY_BESIDE_STATE));
        usize::try_from(bytes.min(MEMORY_CEILING)).unwrap_or(usize::MAX)
    }

    /// What the component is told, as its environment.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("MINISNAP_LAYOUT", self.layout.to_string()),
            ("MINISNAP_MAX_STATE", self.max_state.to_string()),
        ];
        settings.extend(self.keep.map(|keep| ("MINISNAP_KEEP", keep.to_string())));
        settings.extend(self.max_total.map(|bytes| ("MINISNAP_MAX_TOTAL", bytes.to_string())));
        settings.push(("MINISNAP_STORES", self.stores.to_string()));
        settings
    }

    /// The same grant with an absolute path: what the process does to its working directory later changes nothing.
    pub(crate) fn absolute(self) -> Result<Self> {
        if self.access == Access::None {
            return Ok(self);
        }
        let dir = std::path::absolute(&self.dir).map_err(|e| Error::io("find", &self.dir, e))?;
        Ok(Grant { dir, ..self })
    }

    /// Makes the directory if need be, and takes it for writing, or not, as the access asks for.
    pub(crate) fn hold(&self) -> Result<Option<Held>> {
        match self.access {
            Access::ReadOnly | Access::None => Ok(None),
            Access::ReadWrite => {
                // Which refuses one that is missing and must exist.
                self.identity()?;
                #[cfg(target_os = "linux")]
                crate::replaceable::check_umask()?;
                make_durably(&self.dir)?;
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

    /// The directory, open: the one that is held, whatever its path leads to, or else the one under its path.
    #[cfg(target_os = "linux")]
    pub(crate) fn open<'h>(&self, held: Option<&'h Held>) -> Result<Opened<'h>> {
        use rustix::fs::{Mode, OFlags};
        if let Some(held) = held {
            return Ok(Opened::Held(held));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&self.dir, flags, Mode::empty()) {
            Ok(dir) => Ok(Opened::Own(dir.into())),
            Err(error) => Err(Error::io("open", &self.dir, error.into())),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, reason = "on Linux, it is opened")]
    pub(crate) fn open<'h>(&self, _: Option<&'h Held>) -> Result<Opened<'h>> {
        Ok(Opened(std::marker::PhantomData))
    }

    /// Refuses a name that no store can have, and one that is not granted, in the words of the store's component.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_of_a_file = name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("snapshot_"));
        let is_valid = (1..=128).contains(&name.len()) && name.bytes().all(is_allowed) && !is_of_a_file;
        if self.access == Access::None {
            Err(self.denial())
        } else if name.is_empty() || is_valid && self.stores > 0 {
            Ok(())
        } else if is_valid {
            Err(Error::denied(format!("no store is granted but that of the empty name, and not `{name}`")))
        } else {
            Err(Error::InvalidName(
                "a store's name has 1 to 128 letters, digits, `-` and `_`, and does not begin with `snapshot_`"
                    .to_owned(),
            ))
        }
    }

    /// What a grant of nothing answers.
    pub(crate) fn denial(&self) -> Error {
        Error::denied("no snapshots are granted to this component")
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

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::ReadWrite => "read-write",
            Access::ReadOnly => "read-only",
            Access::None => "none",
        })
    }
}

impl FromStr for Access {
    type Err = UnknownName;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownName> {
        match name {
            "read-write" => Ok(Access::ReadWrite),
            "read-only" => Ok(Access::ReadOnly),
            "none" => Ok(Access::None),
            _ => Err(UnknownName::new(name, "`read-write`, `read-only` and `none`")),
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
    fn of(metadata: &fs::Metadata) -> Self {
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
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "it is locked while it is open"))]
    dir: File,
    /// The directory that is held, which may get another name, or none.
    pub(crate) identity: Identity,
    _parent: Option<File>,
}

/// A directory that is open while an instance opens it once more.
#[cfg(target_os = "linux")]
pub(crate) enum Opened<'h> {
    Held(&'h Held),
    Own(File),
}

#[cfg(target_os = "linux")]
impl Opened<'_> {
    /// A path that leads to this very directory, or `None` where `/proc` is not mounted.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let (Opened::Held(Held { dir, .. }) | Opened::Own(dir)) = self;
        Some(crate::location::path_of(dir)).filter(|path| path.is_dir())
    }

    /// Which directory it is, or `None` if the system does not tell.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Opened::Held(held) => Some(held.identity),
            Opened::Own(dir) => dir.metadata().ok().as_ref().map(Identity::of),
        }
    }
}

/// Where no path leads to an open directory, it is not opened.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Opened<'h>(std::marker::PhantomData<&'h Held>);

#[cfg(not(target_os = "linux"))]
impl Opened<'_> {
    pub(crate) fn path(&self) -> Option<PathBuf> {
        None
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        None
    }
}

impl Held {
    fn new(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(|e| Error::io("open", path, e))?;
        match dir.try_lock() {
            Ok(()) => {
                let metadata = dir.metadata().map_err(|e| Error::io("look at", path, e))?;
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
fn share_parent(dir: &File, path: &Path) -> Result<Option<File>> {
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
        Ok(()) => Ok(Some(parent)),
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
    Error::Busy(match holder(dir) {
        Some(pid) => format!("the directory `{}` is in use by process {pid}", path.display()),
        None => format!("the directory `{}` is in use", path.display()),
    })
}

/// Makes `dir`, an absolute path, and what lies above it, so that a power cut does not lose it with the first snapshot
/// in it.
///
/// The entry of a directory that is there already is synced too, because nobody else may have done so. Such a directory
/// keeps its mode.
fn make_durably(dir: &Path) -> Result<()> {
    let mut made = make_private(dir);
    if let (Err(error), Some(parent)) = (&made, dir.parent())
        && error.kind() == io::ErrorKind::NotFound
    {
        make_durably(parent)?;
        made = make_private(dir);
    }
    match made {
        Ok(()) => {}
        // Making may not be allowed, or not be possible, and what is there serves.
        Err(_) if dir.is_dir() => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            return Err(not_a_directory(dir));
        }
        Err(error) => return Err(Error::io("make the directory", dir, error)),
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        // Where the parent may not be read, all of its file system is synced in its place.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => sync_file_system(dir),
        result => result.map_err(|e| Error::io("sync", parent, e)),
    }
}

/// Makes a directory for this user alone: others could read the states in it, and lock its writer out.
fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(target_os = "linux")]
fn sync_file_system(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
    synced.map_err(|e| Error::io("sync the file system of", dir, e))
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(dir: &Path) -> Result<()> {
    Err(Error::denied(format!("cannot sync the folder that `{}` is in: it may not be read", dir.display())))
}

fn not_a_directory(dir: &Path) -> Error {
    Error::other(format!(
        "`{}` is not a directory: name the directory that holds the snapshot",
        dir.display()
    ))
}

/// Locks the directory of a named store, unless it was not made yet, so that nobody writes there by another path; while
/// this is open. The one that it is in is held.
pub(crate) fn lock_named(path: &Path) -> Result<Option<File>> {
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
        Ok(()) => Ok(Some(dir)),
        Err(TryLockError::WouldBlock) => Err(in_use(&dir, path)),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

/// Whether a path still leads to this directory.
pub(crate) fn leads_to(path: &Path, dir: &File) -> bool {
    let identity = |metadata: io::Result<fs::Metadata>| metadata.ok().as_ref().map(Identity::of);
    identity(fs::metadata(path)) == identity(dir.metadata())
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
