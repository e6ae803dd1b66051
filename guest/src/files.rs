//! How files are opened, made, removed and synced.

use std::io;

use crate::dir::{Dir, Entry, Kind, Listing, ReadAt};
use crate::error::{Error, Result};

/// How the directory itself is called in messages.
pub const WHOLE: &str = ".";

/// Numbers and sums are far shorter than this many bytes.
pub const SMALL: usize = 1024;

/// A name, and what lies there. Two that are equal are taken for the same, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name.
    pub name: String,
    /// What lies there, if anything does.
    pub entry: Option<Entry>,
}

impl Place {
    /// Looks what lies under `name`.
    pub fn look<D: Dir>(dir: &D, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let entry = retry(|| dir.entry(&name)).map_err(|e| Error::io("look at", &name, &e))?;
        Ok(Place { name, entry })
    }

    /// Whether there is a directory.
    pub fn is_dir(&self) -> bool {
        self.entry.is_some_and(|entry| entry.kind == Kind::Dir)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entry.is_none()
    }

    /// Checks that there is a regular file, or nothing: to open anything else could block, or lead elsewhere.
    pub fn check_file(&self) -> Result<()> {
        match self.entry {
            None | Some(Entry { kind: Kind::File, .. }) => Ok(()),
            Some(Entry { kind, .. }) => {
                Err(Error::Corrupt(format!("{}: move it away", not_a_file(&self.name, kind))))
            }
        }
    }

    /// Opens the file, or `None` if there is none.
    pub fn open<D: Dir>(&self, dir: &D) -> Result<Option<D::Reader>> {
        self.check_file()?;
        if self.is_empty() {
            return Ok(None);
        }
        let name = &self.name;
        match retry(|| dir.open(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some).map_err(|e| Error::io("open", name, &e)),
        }
    }

    /// Reads a file that is short by its nature, or too much of one that is not, or `None` if there is none.
    pub fn read_small<D: Dir>(&self, dir: &D) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(dir)? else { return Ok(None) };
        let text = read_whole(&file, 0, SMALL + 1).map_err(|e| Error::io("read", &self.name, &e))?;
        Ok(Some(text))
    }
}

/// What is wrong with a name under which there is no regular file.
pub fn not_a_file(name: &str, kind: Kind) -> String {
    let what = match kind {
        Kind::Link => "is a symbolic link, which is never followed",
        Kind::Dir => "is a directory, not a regular file",
        Kind::File | Kind::Other => "is not a regular file",
    };
    format!("`{name}` {what}")
}

/// Does again what a signal interrupted. Only for what changes nothing.
pub fn retry<T>(operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads as much as there is at the offset `at`, up to `most` bytes.
pub fn read_whole<R: ReadAt>(file: &R, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let more = retry(|| file.read_at(at + bytes.len() as u64, most - bytes.len()))?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// What the store's directory holds.
pub fn list<D: Dir>(dir: &D) -> Result<Listing> {
    retry(|| dir.list()).map_err(|e| Error::io("list", WHOLE, &e))
}

/// Makes the names in the store's directory durable.
pub fn sync_dir<D: Dir>(dir: &D) -> Result<()> {
    dir.sync().map_err(|e| Error::io("sync", WHOLE, &e))
}

/// Makes durable what was read, where its writer may not have: without this sync, a power cut could take back
/// a snapshot that was already returned, and with it the log records that its caller dropped.
///
/// A file system that cannot be written has nothing that is pending, and one that cannot sync a directory, as that of a
/// share may be, has no creates of this store.
pub fn make_durable<D: Dir>(dir: &D) -> Result<()> {
    use io::ErrorKind::{InvalidInput, ReadOnlyFilesystem, Unsupported};
    match retry(|| dir.sync()) {
        Err(error) if matches!(error.kind(), ReadOnlyFilesystem | InvalidInput | Unsupported) => Ok(()),
        result => result.map_err(|e| Error::io("sync", WHOLE, &e)),
    }
}

/// Removes a file.
pub fn remove_file<D: Dir>(dir: &D, name: &str) -> Result<()> {
    dir.remove_file(name).map_err(|e| Error::io("remove", name, &e))
}

/// Makes a file. A host may fail after it has made it, when it looks at what that is: then it is removed again.
pub fn make<D: Dir>(dir: &D, name: &str) -> Result<D::Writer> {
    dir.create(name).map_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = dir.remove_file(name);
        }
        Error::io("make", name, &error)
    })
}

/// Removes what lies under the name of a temporary file. A directory there is nothing of this store's or native
/// minisnap's, and gets another name.
pub fn remove_temporary<D: Dir>(dir: &D, name: &str) -> Result<()> {
    let Err(error) = dir.remove_file(name) else { return Ok(()) };
    match Place::look(dir, name)?.entry {
        Some(Entry { kind: Kind::Dir, .. }) => rename_aside(dir, name, &|count| match count {
            1 => format!("aside.{name}"),
            count => format!("aside-{count}.{name}"),
        }),
        _ => Err(Error::io("remove", name, &error)),
    }
}

/// Gives what lies under `from` the first of the names `to(1)`, `to(2)`, ... that is free.
pub fn rename_aside<D: Dir>(dir: &D, from: &str, to: &dyn Fn(u64) -> String) -> Result<()> {
    let to = free_name(dir, to)?;
    dir.rename(from, &to).map_err(|e| Error::io("set aside", from, &e))
}

/// The first of the names `name(1)`, `name(2)`, ... that is free.
pub fn free_name<D: Dir>(dir: &D, name: &dyn Fn(u64) -> String) -> Result<String> {
    for count in 1.. {
        let name = name(count);
        if Place::look(dir, name.as_str())?.is_empty() {
            return Ok(name);
        }
    }
    Err(Error::Io(format!("every name like `{}` is taken", name(1))))
}
