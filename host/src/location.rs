//! Where a file or directory really is, whatever it is called: by device and inode, and by its place in its file system,
//! which links and bind mounts do not change.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// What is opened only to be looked at; a link itself, and not what it leads to.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where something is that exists, or will be.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    /// The directories that it is in, from the innermost, itself first if it exists; each by device and inode.
    chain: Vec<(u64, u64)>,
    exists: bool,
    /// Its place, and those of what is mounted below.
    places: Vec<Place>,
}

/// A path in the file system of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    device: String,
    path: PathBuf,
}

/// What is mounted where.
pub(crate) struct Mounts(Vec<Mount>);

/// The device that is mounted where the path leads, going by its name alone: a file system that hangs is not asked.
pub(crate) fn device_of(path: &Path) -> Option<u64> {
    let mounts = mounts().ok()?.into_iter().filter(|mount| path.starts_with(&mount.point));
    // Of two mounts on one point, the later one is seen.
    let mount = mounts.max_by_key(|mount| mount.point.as_os_str().len())?;
    let (major, minor) = mount.device.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// A path by which the system opens `file` again, whatever becomes of its name.
pub(crate) fn path_of(file: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

impl Mounts {
    /// Those that there are now. Where `/proc` is not mounted, none is known, and paths say where things are.
    pub(crate) fn now() -> Self {
        Mounts(mounts().unwrap_or_default())
    }

    /// Whether something is, or may be, mounted below a path that has no links. Otherwise, two paths below it that are apart
    /// are two directories.
    #[cfg(feature = "arcella")]
    pub(crate) fn may_be_below(&self, path: &Path) -> bool {
        let Mounts(mounts) = self;
        let is_below = |mount: &Mount| mount.point != path && mount.point.starts_with(path);
        mounts.is_empty() || mounts.iter().any(is_below)
    }

    /// Where an open directory is, of which this is the path.
    pub(crate) fn locate(&self, dir: BorrowedFd<'_>, path: &Path) -> io::Result<Location> {
        self.below(dir, &std::path::absolute(path)?, Path::new(""))
    }

    /// Where the path leads, which is absolute and has no links; what does not exist of it is taken for what it will be.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Location> {
        for existing in path.ancestors() {
            match rustix::fs::open(existing, LOOK, Mode::empty()) {
                Ok(file) => {
                    let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                    return self.below(file.as_fd(), existing, rest);
                }
                // What this process may not reach is where its path says, as far as it may look.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Where `rest` is, or would be, below an open file or directory, of which this is the path.
    fn below(&self, file: BorrowedFd<'_>, path: &Path, rest: &Path) -> io::Result<Location> {
        let Mounts(mounts) = self;
        let path = fs::read_link(path_of(file)).unwrap_or_else(|_| path.to_owned());
        let chain = chain(file, &path)?;
        let mount = mount_of(file).ok().and_then(|id| mounts.iter().find(|mount| mount.id == id));
        let inside = mount.and_then(|mount| Some((mount, path.strip_prefix(&mount.point).ok()?)));
        let own = match inside {
            // Without a slash at the end.
            Some((mount, inside)) => Place {
                device: mount.device.clone(),
                path: mount.root.join(inside).join(rest).iter().collect(),
            },
            None => {
                let device = chain.first().map_or(0, |&(device, _)| device);
                let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
                Place { device: format!("{major}:{minor}"), path: path.join(rest).iter().collect() }
            }
        };
        let path = path.join(rest);
        let below = mounts.iter().filter(|mount| mount.point != path && mount.point.starts_with(&path));
        let below = below.map(|mount| Place { device: mount.device.clone(), path: mount.root.clone() });
        let places = std::iter::once(own).chain(below).collect();
        Ok(Location { chain, exists: rest.as_os_str().is_empty(), places })
    }
}

impl Location {
    /// Whether this holds the other, is it, or would be it.
    pub(crate) fn holds(&self, other: &Location) -> bool {
        let by_inode = self.exists && self.chain.first().is_some_and(|own| other.chain.contains(own));
        let by_place = self.places.iter().any(|outer| {
            let is_inside =
                |inner: &Place| inner.device == outer.device && inner.path.starts_with(&outer.path);
            other.places.iter().any(is_inside)
        });
        by_inode || by_place
    }

    /// Whether both are one.
    #[cfg(feature = "arcella")]
    pub(crate) fn is_same(&self, other: &Location) -> bool {
        self.places.first() == other.places.first()
            || self.exists && other.exists && self.chain.first() == other.chain.first()
    }
}

/// The directories that an open file or directory is in, itself first.
fn chain(file: BorrowedFd<'_>, path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let look = |file: BorrowedFd<'_>| rustix::fs::fstat(file);
    let stat = look(file)?;
    let mut chain = vec![(stat.st_dev, stat.st_ino)];
    let mut dir: OwnedFd = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        file.try_clone_to_owned()?
    } else {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let dir = rustix::fs::open(folder, LOOK | OFlags::DIRECTORY, Mode::empty())?;
        let stat = look(dir.as_fd())?;
        chain.push((stat.st_dev, stat.st_ino));
        dir
    };
    let mut above = path.ancestors().skip(chain.len());
    loop {
        let parent = rustix::fs::openat(&dir, "..", LOOK | OFlags::DIRECTORY, Mode::empty());
        dir = match (parent, above.next()) {
            // Another user's directory, which this process may not enter: its path leads above it.
            (Err(Errno::ACCESS), Some(path)) => {
                rustix::fs::open(path, LOOK | OFlags::DIRECTORY, Mode::empty())?
            }
            (parent, _) => parent?,
        };
        let stat = look(dir.as_fd())?;
        // Only the root is in itself.
        if chain.last() == Some(&(stat.st_dev, stat.st_ino)) {
            return Ok(chain);
        }
        chain.push((stat.st_dev, stat.st_ino));
    }
}

/// A mount, as Linux lists it.
struct Mount {
    id: String,
    device: String,
    /// What of the device is mounted.
    root: PathBuf,
    point: PathBuf,
}

fn mounts() -> io::Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo")?;
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut text = |at| fields.nth(at).map(|field| String::from_utf8_lossy(field).into_owned());
        let (id, device) = (text(0)?, text(1)?);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        Some(Mount { id, device, root, point })
    };
    Ok(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
}

/// The mount through which a file was opened.
fn mount_of(file: BorrowedFd<'_>) -> io::Result<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    Ok(id.ok_or(io::ErrorKind::NotFound)?.trim().to_owned())
}

/// A path in which white space and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, after @ ..] = rest {
        let octal = after.get(..3).filter(|_| *byte == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        path.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// Opens a directory without following a link on its way.
///
/// # Errors
///
/// The link, if there is one, or what the system says.
pub(crate) fn open_without_links(path: &Path) -> Result<File, Unopened> {
    use std::path::Component;
    let start = if path.is_absolute() { "/" } else { "." };
    let flags = LOOK | OFlags::DIRECTORY;
    let mut dir =
        rustix::fs::open(start, flags, Mode::empty()).map_err(|error| Unopened::Io(error.into()))?;
    let mut walked = PathBuf::new();
    for part in path.components() {
        walked.push(part);
        let name = match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => "..".as_ref(),
            Component::Normal(name) => name,
        };
        dir = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(error) => {
                return Err(match rustix::fs::readlinkat(&dir, name, Vec::new()) {
                    Ok(target) => {
                        Unopened::Link(walked, std::ffi::OsStr::from_bytes(target.as_bytes()).into())
                    }
                    Err(_) => Unopened::Io(error.into()),
                });
            }
        };
    }
    Ok(dir.into())
}

/// Why a directory was not opened.
pub(crate) enum Unopened {
    Io(io::Error),
    /// A link, and where it leads.
    Link(PathBuf, PathBuf),
}
