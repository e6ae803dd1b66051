//! The seam to the file system: everything that the store does to its directory goes through [`Dir`].
//!
//! A test's implementation can fail any single operation, or record them; the logic above does not
//! know the difference.

#[cfg(unix)]
use std::fs::{self, File};
use std::io::{self, Write};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How often a directory that changes while it is read is read again.
pub const ATTEMPTS: usize = 100;

/// One directory and what lies in it; a clone is the same directory. Names are relative to it.
///
/// Errors are as the system reports them. That there is no such name is [`NotFound`](io::ErrorKind::NotFound).
pub trait Dir: Clone {
    /// A file being read.
    type Reader: ReadAt;
    /// A file being written.
    type Writer: Sync;

    /// What lies under `name`, links not followed, or `None` if nothing does; the empty name is the directory itself.
    fn entry(&self, name: &str) -> io::Result<Option<Entry>>;
    /// Whether two names lead to one file, links not followed.
    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool>;
    /// Opens a file to read it.
    fn open(&self, name: &str) -> io::Result<Self::Reader>;
    /// Makes a file, to write it; [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is something of that name.
    fn create(&self, name: &str) -> io::Result<Self::Writer>;
    /// Gives the file or directory `from` the name `to`, atomically, in the place of a file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, name: &str) -> io::Result<()>;
    /// The directory `name` inside of this one, links not followed.
    fn dir(&self, name: &str) -> io::Result<Self>;
    /// Makes a directory that did not exist.
    fn make_dir(&self, name: &str) -> io::Result<()>;
    /// What the directory holds; [`ResourceBusy`](io::ErrorKind::ResourceBusy) if it changes faster than it can be listed.
    fn list(&self) -> io::Result<Listing>;
    /// Makes the names in the directory durable. If it fails, nothing may be taken for durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file that is read by offsets.
pub trait ReadAt {
    /// Reads at most `most` bytes at the offset `at`; fewer where the system gives fewer, and none only at the end of the
    /// file.
    fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>>;
    /// The size in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// A file that can be made durable.
pub trait Sync: Write {
    /// Makes the file's contents durable. If it fails, nothing may be taken for durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// What a directory holds, as far as the system told.
#[derive(Debug, Default)]
pub struct Listing {
    /// The names, without the directory's own in front.
    pub names: Vec<String>,
    /// Why an entry came without its name, if one did: some WASI hosts look at each entry, and drop the name of one
    /// that they cannot look at.
    pub nameless: Option<io::Error>,
}

/// What lies under a name. Two that are equal are taken for the same thing, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// File, directory, or something that has no business in a store.
    pub kind: Kind,
    /// The size in bytes, of a file.
    pub size: u64,
    /// The time of the last change, where the file system has one.
    pub modified: Option<SystemTime>,
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link: never followed, since it could lead elsewhere.
    Link,
    /// A device, a pipe, a socket: never opened, since that could block for ever.
    Other,
}

/// A directory of Unix, for what runs natively; the component has its preopened one.
#[cfg(unix)]
#[derive(Debug, Clone)]
pub struct OsDir {
    root: PathBuf,
}

#[cfg(unix)]
impl OsDir {
    /// The directory at `root`, which need not exist yet; only the operations on it will tell.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        OsDir { root: root.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(Path::new(name)) }
    }
}

#[cfg(unix)]
impl Dir for OsDir {
    type Reader = File;
    type Writer = File;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let metadata = match fs::symlink_metadata(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        let kind = match metadata.file_type() {
            file if file.is_file() => Kind::File,
            dir if dir.is_dir() => Kind::Dir,
            link if link.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        Ok(Some(Entry { kind, size: metadata.len(), modified: metadata.modified().ok() }))
    }

    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let identity = |name| fs::symlink_metadata(self.path(name)).map(|file| (file.dev(), file.ino()));
        Ok(identity(name)? == identity(other)?)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        File::create_new(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn dir(&self, name: &str) -> io::Result<Self> {
        let dir = OsDir::new(self.path(name));
        match dir.entry("")?.map(|entry| entry.kind) {
            Some(Kind::Dir) => Ok(dir),
            Some(_) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.path(name))
    }

    fn list(&self) -> io::Result<Listing> {
        let entries = fs::read_dir(&self.root)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        Ok(Listing { names: names.collect::<io::Result<_>>()?, nameless: None })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

#[cfg(unix)]
impl ReadAt for File {
    fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; most];
        let read = FileExt::read_at(self, &mut bytes, at)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

#[cfg(unix)]
impl Sync for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
