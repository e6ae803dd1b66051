//! The seam to the file system: everything that the store does to its directory goes through [`Dir`].
//!
//! A test's implementation can fail any single operation, or record them; the logic above does not
//! know the difference.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One directory and what lies in it; a clone is the same directory. Names are relative to it, with at
/// most one `/`; the empty name is the directory itself.
pub trait Dir: Clone {
    /// A file being read.
    type Reader: Read + Seek;
    /// A file being written.
    type Writer: Sync;

    /// What lies under `name`, links not followed, or `None` if nothing does.
    ///
    /// # Errors
    ///
    /// As the system reports it.
    fn entry(&self, name: &str) -> io::Result<Option<Entry>>;
    /// Whether two names are those of one file.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`NotFound`](io::ErrorKind::NotFound) included.
    fn is_same(&self, one: &str, other: &str) -> io::Result<bool>;
    /// Opens a file to read it from its start.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`NotFound`](io::ErrorKind::NotFound) included.
    fn open(&self, name: &str) -> io::Result<Self::Reader>;
    /// Makes a file that did not exist, to write it.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`AlreadyExists`](io::ErrorKind::AlreadyExists) included.
    fn create(&self, name: &str) -> io::Result<Self::Writer>;
    /// Makes a directory that did not exist.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`AlreadyExists`](io::ErrorKind::AlreadyExists) included.
    fn make_dir(&self, name: &str) -> io::Result<()>;
    /// Gives the file or directory `from` the name `to`, atomically, in the place of a file that had it.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`NotFound`](io::ErrorKind::NotFound) included.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`NotFound`](io::ErrorKind::NotFound) included.
    fn remove_file(&self, name: &str) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`NotFound`](io::ErrorKind::NotFound) included.
    fn remove_dir(&self, name: &str) -> io::Result<()>;
    /// The names in a directory, without its own in front.
    ///
    /// # Errors
    ///
    /// As the system reports it, [`NotFound`](io::ErrorKind::NotFound) included;
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) if it changes faster than it can be listed.
    fn list(&self, name: &str) -> io::Result<Vec<String>>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// As the system reports it; nothing may be taken for durable then.
    fn sync(&self, name: &str) -> io::Result<()>;
}

/// A file that can be made durable.
pub trait Sync: Write {
    /// Makes the file's contents durable.
    ///
    /// # Errors
    ///
    /// As the system reports it; nothing may be taken for durable then.
    fn sync(&mut self) -> io::Result<()>;
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
    /// How many names it has, of a file.
    pub links: u64,
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A link, a device, a pipe: never opened, since that could lead elsewhere or block for ever.
    Other,
}

/// A directory of the operating system, for what runs natively; the component has its preopened one.
#[derive(Debug, Clone)]
pub struct OsDir {
    root: PathBuf,
}

impl OsDir {
    /// The directory at `root`, which need not exist yet; only the operations on it will tell.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        OsDir { root: root.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(Path::new(name)) }
    }
}

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
            _ => Kind::Other,
        };
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Some(Entry { kind, size, modified, links: links(&metadata) }))
    }

    #[cfg(unix)]
    fn is_same(&self, one: &str, other: &str) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let identity = |name| -> io::Result<_> {
            let metadata = fs::symlink_metadata(self.path(name))?;
            Ok((metadata.dev(), metadata.ino()))
        };
        Ok(identity(one)? == identity(other)?)
    }

    #[cfg(not(unix))]
    fn is_same(&self, one: &str, other: &str) -> io::Result<bool> {
        Ok(one == other)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        File::create_new(self.path(name))
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.path(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.path(name))
    }

    fn list(&self, name: &str) -> io::Result<Vec<String>> {
        fs::read_dir(self.path(name))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_all()
    }
}

#[cfg(unix)]
fn links(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// The system does not tell.
#[cfg(not(unix))]
fn links(_: &fs::Metadata) -> u64 {
    1
}

impl Sync for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
