//! The preopened directory of WASI 0.2, behind the seam.
//!
//! The standard library could open it too; but its writes go through streams, of which it only tells that they
//! failed: a full disk arrives as an input/output error. WASI's own calls say what happened.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};

use crate::dir::{ATTEMPTS, Dir, Entry, Kind, Listing, ReadAt, Sync};
use crate::error::{Error, Result};

/// The most bytes that one call hands to the host, which copies them.
const PIECE: usize = 1 << 20;

/// How many bytes of a file are written before the disk is to begin with them, while the rest is still to come.
const WRITE_BACK: u64 = 512 << 10;

/// How many entries of a directory may come without their names before its listing is given up.
const MAX_NAMELESS: usize = 1000;

/// A directory that the host has preopened.
#[derive(Clone)]
pub struct Preopen(Rc<Descriptor>);

impl Preopen {
    /// The preopened directory of this name.
    pub fn open(name: &str) -> Result<Self> {
        let preopens = get_directories();
        let names: Vec<String> = preopens.iter().map(|(_, name)| format!("`{name}`")).collect();
        match preopens.into_iter().find(|(_, preopen)| preopen == name) {
            Some((descriptor, _)) => Ok(Preopen(Rc::new(descriptor))),
            None => {
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(Error::Io(format!(
                    "no directory is granted to the snapshot store as `{name}`: preopen one there, \
                     or name one of those that are preopened, which are {names}, in `MINISNAP_DIR`"
                )))
            }
        }
    }

    fn open_at(&self, name: &str, open: OpenFlags, flags: DescriptorFlags) -> io::Result<Descriptor> {
        // No path flag: a link is not followed.
        self.0.open_at(PathFlags::empty(), name, open, flags).map_err(to_io)
    }

    /// What the directory holds, or `None` if some of it went away while it was listed.
    fn list_at_once(&self) -> io::Result<Option<Listing>> {
        let entries = self.0.read_directory().map_err(to_io)?;
        let (mut listing, mut nameless) = (Listing::default(), 0);
        loop {
            match entries.read_directory_entry() {
                Ok(Some(entry)) => listing.names.push(entry.name),
                Ok(None) => return Ok(Some(listing)),
                Err(ErrorCode::NoEntry) => return Ok(None),
                // Its name is not UTF-8, and so none of ours.
                Err(ErrorCode::IllegalByteSequence) => {}
                Err(error) if nameless == MAX_NAMELESS => return Err(to_io(error)),
                Err(error) => {
                    nameless += 1;
                    listing.nameless = Some(to_io(error));
                }
            }
        }
    }
}

impl Dir for Preopen {
    type Reader = Reader;
    type Writer = Writer;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let stat = if name.is_empty() { self.0.stat() } else { self.0.stat_at(PathFlags::empty(), name) };
        match stat {
            Ok(stat) => Ok(Some(entry(&stat))),
            Err(ErrorCode::NoEntry) => Ok(None),
            Err(error) => Err(to_io(error)),
        }
    }

    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool> {
        let hash = |name| self.0.metadata_hash_at(PathFlags::empty(), name).map_err(to_io);
        let (one, other) = (hash(name)?, hash(other)?);
        Ok((one.lower, one.upper) == (other.lower, other.upper))
    }

    fn open(&self, name: &str) -> io::Result<Reader> {
        self.open_at(name, OpenFlags::empty(), DescriptorFlags::READ).map(Reader)
    }

    fn create(&self, name: &str) -> io::Result<Writer> {
        let file = self.open_at(name, OpenFlags::CREATE | OpenFlags::EXCLUSIVE, DescriptorFlags::WRITE)?;
        Ok(Writer { file, at: 0, untold: 0 })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename_at(from, &self.0, to).map_err(to_io)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.0.unlink_file_at(name).map_err(to_io)
    }

    fn dir(&self, name: &str) -> io::Result<Self> {
        let open = |flags| self.open_at(name, OpenFlags::DIRECTORY, flags);
        let opened = open(DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY);
        // Some hosts refuse the second where the grant is for reading only.
        let opened = opened.or_else(|_| open(DescriptorFlags::READ));
        Ok(Preopen(Rc::new(opened?)))
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.0.create_directory_at(name).map_err(to_io)
    }

    fn list(&self) -> io::Result<Listing> {
        // Many a host looks at each entry after it has listed them. One that went away meanwhile may have got another name,
        // which is not in the list then: without it, a directory whose one snapshot was replaced looks empty.
        for _ in 0..ATTEMPTS {
            if let Some(listing) = self.list_at_once()? {
                return Ok(listing);
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync().map_err(to_io)
    }
}

/// A file that is being read.
pub struct Reader(Descriptor);

impl ReadAt for Reader {
    fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let (bytes, is_end) = self.0.read(most as u64, at).map_err(to_io)?;
        // It would be taken for the end, and what is there for damaged.
        if bytes.is_empty() && !is_end && most > 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                Said("the host gave nothing before the end"),
            ));
        }
        Ok(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.stat().map_err(to_io)?.size)
    }
}

/// A file that is written from its start.
pub struct Writer {
    file: Descriptor,
    at: u64,
    /// Where what the disk was not told of yet begins.
    untold: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let written = self.file.write(piece, self.at).map_err(to_io)?;
        self.at += written;
        let untold = self.at - self.untold;
        if untold >= WRITE_BACK {
            // Linux begins to write back what is not needed, so that the sync waits for less. It is a hint: nothing relies on it.
            let _ = self.file.advise(self.untold, untold, Advice::DontNeed);
            self.untold = self.at;
        }
        usize::try_from(written).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sync for Writer {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync().map_err(to_io)
    }
}

fn entry(stat: &DescriptorStat) -> Entry {
    let kind = match stat.type_ {
        DescriptorType::RegularFile => Kind::File,
        DescriptorType::Directory => Kind::Dir,
        DescriptorType::SymbolicLink => Kind::Link,
        _ => Kind::Other,
    };
    let modified = stat.data_modification_timestamp;
    let modified =
        modified.and_then(|time| UNIX_EPOCH.checked_add(Duration::new(time.seconds, time.nanoseconds)));
    Entry { kind, size: stat.size, modified }
}

/// What WASI says, as the kind that the logic knows and in words for people; what is rare, by its name there.
#[cold]
fn to_io(error: ErrorCode) -> io::Error {
    let (kind, what) = match error {
        ErrorCode::Access | ErrorCode::NotPermitted => (ErrorKind::PermissionDenied, "Permission denied"),
        ErrorCode::ReadOnly => (ErrorKind::ReadOnlyFilesystem, "Read-only file system"),
        ErrorCode::Invalid => (ErrorKind::InvalidInput, "Invalid argument"),
        ErrorCode::InsufficientSpace => (ErrorKind::StorageFull, "No space left on device"),
        ErrorCode::Quota => (ErrorKind::QuotaExceeded, "Storage quota exceeded"),
        ErrorCode::Exist => (ErrorKind::AlreadyExists, "File exists"),
        ErrorCode::NoEntry => (ErrorKind::NotFound, "No such file or directory"),
        ErrorCode::Interrupted => (ErrorKind::Interrupted, "Interrupted"),
        ErrorCode::NotDirectory => (ErrorKind::NotADirectory, "Not a directory"),
        ErrorCode::IsDirectory => (ErrorKind::IsADirectory, "Is a directory"),
        ErrorCode::NotEmpty => (ErrorKind::DirectoryNotEmpty, "Directory not empty"),
        ErrorCode::FileTooLarge => (ErrorKind::FileTooLarge, "File too large"),
        ErrorCode::InsufficientMemory => (ErrorKind::OutOfMemory, "Not enough memory"),
        ErrorCode::WouldBlock => (ErrorKind::WouldBlock, "It would block"),
        ErrorCode::Unsupported => (ErrorKind::Unsupported, "Not supported"),
        ErrorCode::Io => (ErrorKind::Other, "Input/output error"),
        ErrorCode::Loop => (ErrorKind::Other, "Too many levels of symbolic links"),
        other => (ErrorKind::Other, other.name()),
    };
    io::Error::new(kind, Said(what))
}

/// What WASI said.
struct Said(&'static str);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Said {}
