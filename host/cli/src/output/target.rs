//! What `--output` leads to. The path is resolved once, so the file that is checked is the file that is written.
//!
//! Folders are compared by device and inode, not by path: symlinks, bind mounts and case-insensitive names lead to the
//! same inode.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, DirEntry, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::fs::{fchmod, fchown, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Unwritten;
use super::streams::Stream;
use super::temporary::Temporary;

/// The most symlinks to follow, as in Linux.
const MAX_LINKS: usize = 40;

/// The folder of this process's own descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Opens a folder to look up names in it, which needs no read permission.
const LOOK_UP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a folder to list or sync it.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What is written.
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Another inherited descriptor, such as `/dev/fd/3`. Reopening it would lose its offset and its append flag, and
    /// replacing the file would hide the output from whoever opened it.
    Descriptor(File),
    /// A device, a FIFO or a terminal: it is opened and written in place.
    Special(Place),
    /// A regular file, or nothing yet: it is replaced atomically.
    File {
        place: Place,
        /// The file that is replaced.
        old: Option<Stat>,
    },
}

/// A name in a folder; not a symlink when it was resolved.
pub struct Place {
    folder: OwnedFd,
    name: OsString,
}

impl Target {
    /// Follows every symlink; a dangling one leads to the name that it would create.
    pub fn find(path: &Path) -> io::Result<Self> {
        // The kernel may refuse to follow a symlink that another user planted (`fs.protected_symlinks`).
        match statat(CWD, path, AtFlags::empty()) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut place = Place::new(CWD, path.as_os_str())?;
        for _ in 0..MAX_LINKS {
            let Place { folder, name } = &place;
            if is_own_descriptors(folder)? {
                return Self::descriptor(name);
            }
            match readlinkat(folder, name, Vec::new()) {
                Ok(_) if is_procfs(folder)? => return Self::of_another_process(place),
                Ok(link) => place = Place::new(folder, &OsString::from_vec(link.into_bytes()))?,
                // Not a symlink, or nothing there.
                Err(Errno::INVAL | Errno::NOENT) => return Self::at(place),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::LOOP.into())
    }

    fn at(place: Place) -> io::Result<Self> {
        let old = match statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(old) => Some(old),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        match old.map(|old| FileType::from_raw_mode(old.st_mode)) {
            None | Some(FileType::RegularFile) => Ok(Target::File { place, old }),
            Some(FileType::Directory) => Err(Errno::ISDIR.into()),
            Some(FileType::Symlink) => Err(io::Error::other("it changed while it was resolved")),
            Some(_) => Ok(Target::Special(place)),
        }
    }

    fn descriptor(number: &OsStr) -> io::Result<Self> {
        match number.to_str().and_then(|number| number.parse().ok()) {
            Some(1) => Ok(Target::Stdout),
            Some(2) => Ok(Target::Stderr),
            Some(number) => Ok(Target::Descriptor(duplicate(number)?)),
            None => Err(Errno::BADF.into()),
        }
    }

    /// Another process's descriptor: a pipe or a terminal can be opened, such as `/proc/1/fd/1`, a container's log.
    fn of_another_process(place: Place) -> io::Result<Self> {
        match FileType::from_raw_mode(statat(&place.folder, &place.name, AtFlags::empty())?.st_mode) {
            FileType::RegularFile | FileType::Directory => {
                Err(io::Error::other("another process has this open: name the file itself"))
            }
            _ => Ok(Target::Special(place)),
        }
    }

    /// Whether writing would touch a directory of snapshots: `store` or anything below it, or a folder with files of
    /// another store.
    ///
    /// Replacing a hard link to a file of the store is harmless, since only that name changes. Writing an open
    /// descriptor changes the file itself, so that must not be a file of the store under any name.
    pub fn lies_in_snapshots(&self, store: Option<&Path>) -> io::Result<bool> {
        match self {
            Target::Special(Place { folder, .. }) => is_below(folder, store),
            Target::File { place: Place { folder, .. }, .. } => {
                Ok(is_below(folder, store)? || holds_files_of_a_store(folder)?)
            }
            Target::Stdout => is_opened_file_of_a_store(io::stdout(), store),
            Target::Stderr => is_opened_file_of_a_store(io::stderr(), store),
            Target::Descriptor(file) => is_opened_file_of_a_store(file, store),
        }
    }

    /// Has `write` write there. A file ends up with all of it, or as it was.
    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> Result<(), Unwritten>) -> Result<(), Unwritten> {
        match self {
            Target::Stdout => write(&mut Stream::stdout()),
            Target::Stderr => write(&mut Stream::stderr()),
            Target::Descriptor(mut file) => write(&mut file),
            Target::Special(place) => write(&mut place.open_special()?),
            Target::File { place, old } => place.replace(old, write),
        }
    }
}

impl Place {
    /// Splits a path that starts at `from`.
    fn new(from: impl AsFd, path: &OsStr) -> io::Result<Self> {
        let path = path.as_bytes();
        let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (folder, name) = path.split_at(start);
        if let b"" | b"." | b".." = name {
            return Err(Errno::ISDIR.into());
        }
        let folder = if folder.is_empty() { b"." } else { folder };
        let folder = openat(from, folder, LOOK_UP, Mode::empty())?;
        Ok(Place { folder, name: OsString::from_vec(name.to_owned()) })
    }

    fn open_special(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&self.folder, &self.name, flags, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Err(io::Error::other("it changed while it was resolved")),
            _ => Ok(file.into()),
        }
    }

    fn replace(
        self,
        old: Option<Stat>,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Unwritten>,
    ) -> Result<(), Unwritten> {
        let folder = openat(&self.folder, ".", LIST, Mode::empty()).map_err(io::Error::from)?;
        // The umask applies to a new file; one that replaces another is private until it gets the old mode.
        let mode = if old.is_some() { 0o600 } else { 0o666 };
        let mut temporary = Temporary::new(&folder, Mode::from_raw_mode(mode))?;
        write(temporary.file())?;
        if let Some(old) = old {
            keep_owner_and_mode(temporary.file(), &old)?;
        }
        // Without this, a power cut could leave the name with a part of the contents.
        temporary.file().sync_all()?;
        temporary.rename(&self.name)?;
        // Without this, a power cut could bring the old file back after success was reported.
        Ok(rustix::fs::fsync(&folder).map_err(io::Error::from)?)
    }
}

/// Copies the owner of the old file, where that is allowed, and then its mode: chown clears bits of it.
fn keep_owner_and_mode(file: &File, old: &Stat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
    let bits = match fchown(file, Some(user), Some(group)) {
        Ok(()) => 0o7777,
        Err(_) => {
            let _ = fchown(file, None, Some(group));
            // The owner differs now, so setuid and setgid would grant other rights than before.
            0o777
        }
    };
    Ok(fchmod(file, Mode::from_raw_mode(old.st_mode & bits))?)
}

/// The entries of a folder that are wanted, as they are seen through whatever is mounted there. One that was renamed or
/// removed since is skipped.
fn entries(folder: &Path, is_wanted: impl Fn(&DirEntry) -> bool) -> Vec<Stat> {
    let Ok(folder) = openat(CWD, folder, LIST, Mode::empty()) else { return Vec::new() };
    let Ok(listing) = Dir::read_from(&folder) else { return Vec::new() };
    let found = listing.filter_map(Result::ok).filter(is_wanted);
    found.filter_map(|entry| statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).ok()).collect()
}

/// Whether the folder, or one above it, is the store or a folder in it, which a bind mount may have brought elsewhere.
fn is_below(folder: &OwnedFd, store: Option<&Path>) -> io::Result<bool> {
    let is_folder = |entry: &DirEntry| {
        let may_be = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
        may_be && entry.file_name() != c".."
    };
    let mut kept = store.map(|store| entries(store, is_folder)).unwrap_or_default();
    kept.extend(store.and_then(|store| statat(CWD, store, AtFlags::empty()).ok()));
    let mut folder = folder.try_clone()?;
    let mut stat = fstat(&folder)?;
    loop {
        if kept.iter().any(|kept| is_same(kept, &stat)) {
            return Ok(true);
        }
        let above = match openat(&folder, "..", LOOK_UP, Mode::empty()) {
            Ok(above) => above,
            // No permission to search here, and so none for a store above.
            Err(Errno::ACCESS) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let above_stat = fstat(&above)?;
        if is_same(&stat, &above_stat) {
            return Ok(false);
        }
        (folder, stat) = (above, above_stat);
    }
}

/// Whether an open file is one of the store's, or, by the path it was opened with, of another store.
fn is_opened_file_of_a_store(file: impl AsFd, store: Option<&Path>) -> io::Result<bool> {
    let stat = fstat(&file)?;
    // Pipes and terminals are the usual case, and need no look at the store.
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    let is_ours = |entry: &DirEntry| is_of_a_store(OsStr::from_bytes(entry.file_name().to_bytes()));
    let kept = store.map(|store| entries(store, is_ours)).unwrap_or_default();
    if kept.iter().any(|kept| is_same(kept, &stat)) {
        return Ok(true);
    }
    let link = format!("{DESCRIPTORS}/{}", file.as_fd().as_raw_fd());
    let Ok(path) = std::fs::read_link(link) else { return Ok(false) };
    let Ok(Place { folder, name }) = Place::new(CWD, path.as_os_str()) else { return Ok(false) };
    let found = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW);
    let is_there = found.is_ok_and(|found| is_same(&found, &stat));
    Ok(is_there && is_of_a_store(&name) && holds_files_of_a_store(&folder)?)
}

/// Whether the folder holds files of a store. `snapshot.json` alone does not count: without its number, it is no
/// snapshot, and an earlier output may have that name.
fn holds_files_of_a_store(folder: &OwnedFd) -> io::Result<bool> {
    Ok(names(folder)?.iter().any(|name| name != "snapshot.json" && is_of_a_store(name)))
}

/// Whether a store uses this name, for temporary and damaged files too.
fn is_of_a_store(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "snapshot.json",
        "snapshot.json.tmp",
        "snapshot.seq",
        // After a crash of native minisnap, the number of a committed snapshot.
        "snapshot.seq.tmp",
        "snapshot.sum",
        // After a crash, files of a committed snapshot.
        "snapshot.json.new",
        "snapshot.seq.new",
        "snapshot.sum.new",
        // Of a later version.
        "snapshot.layout",
    ];
    let numbered = name.as_bytes().strip_prefix(b"snapshot_").and_then(|rest| rest.split_at_checked(20));
    let is_generation = numbered
        .is_some_and(|(number, end)| number.iter().all(u8::is_ascii_digit) && end.starts_with(b".json"));
    is_generation || NAMES.iter().any(|ours| *name == **ours)
}

fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::new(openat(folder, ".", LIST, Mode::empty())?)? {
        let name = entry?.file_name().to_bytes().to_owned();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn is_own_descriptors(folder: &OwnedFd) -> io::Result<bool> {
    match statat(CWD, DESCRIPTORS, AtFlags::empty()) {
        Ok(own) => Ok(is_same(&own, &fstat(folder)?)),
        Err(_) => Ok(false),
    }
}

fn is_procfs(folder: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(folder)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Duplicates a descriptor by its number: the two share offset and flags.
fn duplicate(number: i32) -> io::Result<File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let duplicated = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|this| pidfd_getfd(this, number, PidfdGetfdFlags::empty()));
    match duplicated {
        Ok(file) => Ok(file.into()),
        // Seccomp in a container may forbid that. Pipes and devices can be reopened: they have no offset.
        Err(error) => {
            let path = format!("{DESCRIPTORS}/{number}");
            match FileType::from_raw_mode(statat(CWD, &path, AtFlags::empty())?.st_mode) {
                FileType::RegularFile => Err(error.into()),
                _ => Ok(File::options().write(true).open(path)?),
            }
        }
    }
}
