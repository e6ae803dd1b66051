//! A directory whose operations are recorded, and any of which can be made to fail.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use minisnap_component::dir::{Dir, Entry, Listing, OsDir, ReadAt, Sync};
use tempfile::TempDir;

/// Which operations fail, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: the operations are only recorded.
    None,
    /// One, with this error; the program goes on.
    Once(usize, io::ErrorKind),
    /// This one and every later one: the program was killed there, as far as the disk can tell.
    Crash(usize),
    /// Each that looks at or opens this file.
    Broken(&'static str),
    /// The same, and a listing has the file without its name, as many a WASI host gives it.
    Nameless(&'static str),
}

/// A look at the directory's own time, after a commit. Where it fails, the next call lists the directory.
pub const DIR_TIME: &str = "look at ";

/// A real directory behind the seam.
#[derive(Clone)]
pub struct FaultyDir {
    dir: OsDir,
    /// Its path in the one that was opened first, with a slash at its end.
    path: String,
    inner: Rc<Inner>,
}

struct Inner {
    fault: Fault,
    count: Cell<usize>,
    log: RefCell<Vec<String>>,
}

impl FaultyDir {
    pub fn new(path: &Path, fault: Fault) -> Self {
        let log = RefCell::new(Vec::new());
        let inner = Rc::new(Inner { fault, count: Cell::new(0), log });
        FaultyDir { dir: OsDir::new(path), path: String::new(), inner }
    }

    /// What was done, an operation a line.
    pub fn log(&self) -> Vec<String> {
        self.inner.log.borrow().clone()
    }

    /// Whether the fault was met.
    pub fn has_failed(&self) -> bool {
        match self.inner.fault {
            Fault::None => false,
            Fault::Once(at, _) | Fault::Crash(at) => self.inner.count.get() > at,
            Fault::Broken(_) | Fault::Nameless(_) => true,
        }
    }

    fn step(&self, what: String) -> io::Result<()> {
        let at = self.inner.count.get();
        self.inner.count.set(at + 1);
        self.inner.log.borrow_mut().push(what);
        match self.inner.fault {
            Fault::Once(fails, kind) if fails == at => Err(kind.into()),
            Fault::Crash(from) if from <= at => Err(io::Error::other("killed")),
            Fault::Broken(name) | Fault::Nameless(name)
                if [format!("look at {name}"), format!("open {name}")]
                    .contains(&self.inner.log.borrow()[at]) =>
            {
                Err(io::Error::other("the file system is damaged"))
            }
            _ => Ok(()),
        }
    }
}

impl Dir for FaultyDir {
    type Reader = FaultyFile;
    type Writer = FaultyFile;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        self.step(format!("look at {}{name}", self.path))?;
        self.dir.entry(name)
    }

    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool> {
        self.step(format!("look at {}{name}", self.path))?;
        self.dir.is_same_file(name, other)
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        self.step(format!("open {}{name}", self.path))?;
        Ok(FaultyFile { file: self.dir.open(name)?, name: format!("{}{name}", self.path), dir: self.clone() })
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        self.step(format!("create {}{name}", self.path))?;
        Ok(FaultyFile {
            file: self.dir.create(name)?,
            name: format!("{}{name}", self.path),
            dir: self.clone(),
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(format!("rename {0}{from} {0}{to}", self.path))?;
        self.dir.rename(from, to)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.step(format!("remove {}{name}", self.path))?;
        self.dir.remove_file(name)
    }

    fn dir(&self, name: &str) -> io::Result<Self> {
        self.step(format!("open {}{name}/", self.path))?;
        let path = format!("{}{name}/", self.path);
        Ok(FaultyDir { dir: self.dir.dir(name)?, path, inner: self.inner.clone() })
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.step(format!("make {}{name}/", self.path))?;
        self.dir.make_dir(name)
    }

    fn list(&self) -> io::Result<Listing> {
        self.step(format!("list /{}", self.path))?;
        let mut listing = self.dir.list()?;
        if let Fault::Nameless(nameless) = self.inner.fault
            && let Some(at) = listing.names.iter().position(|name| name == nameless)
        {
            listing.names.remove(at);
            listing.nameless = Some(io::Error::other("the file system is damaged"));
        }
        Ok(listing)
    }

    fn sync(&self) -> io::Result<()> {
        self.step(format!("sync /{}", self.path))?;
        self.dir.sync()
    }
}

pub struct FaultyFile {
    file: File,
    name: String,
    dir: FaultyDir,
}

impl ReadAt for FaultyFile {
    fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        self.dir.step(format!("read {}", self.name))?;
        let mut bytes = self.file.read_at(at, most)?;
        // Short, so that whoever does not read the rest is found out; but where only operations are counted.
        if !matches!(self.dir.inner.fault, Fault::None) {
            bytes.truncate(bytes.len().div_ceil(2));
        }
        Ok(bytes)
    }

    fn size(&self) -> io::Result<u64> {
        self.dir.step(format!("read {}", self.name))?;
        self.file.size()
    }
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dir.step(format!("write {}", self.name))?;
        // Short, so that whoever does not write the rest is found out.
        self.file.write(&bytes[..bytes.len().div_ceil(2)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sync for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.dir.step(format!("sync {}", self.name))?;
        self.file.sync_all()
    }
}

/// Changes what a file holds, and not its time: as rot does, and who does not write it.
pub fn rot(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, contents).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

/// Writes a pair as native minisnap 0.1.2 does, later than what is there.
pub fn write_native(dir: &Path, state: &str, seq: &str) {
    for (name, contents) in [("snapshot.json", state), ("snapshot.seq", seq)] {
        write_later(dir, name, contents);
    }
}

/// Writes a file, later than the sums that are there: the clock of files may not have ticked since.
pub fn write_later(dir: &Path, name: &str, contents: &str) {
    fs::write(dir.join(name), contents).unwrap();
    if let Ok(written) = fs::metadata(dir.join("snapshot.sum")).and_then(|sums| sums.modified()) {
        let file = File::options().write(true).open(dir.join(name)).unwrap();
        file.set_modified(written + Duration::from_millis(10)).unwrap();
    }
}

/// A folder in memory, if the system has one: no test here cuts its power.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
    made.unwrap()
}

/// A copy of a directory of files and directories of files.
pub fn copy_of(path: &Path) -> TempDir {
    let copy = scratch();
    fn copy_into(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let (from, to) = {
                let entry = entry.unwrap();
                (entry.path(), to.join(entry.file_name()))
            };
            if from.is_dir() {
                fs::create_dir(&to).unwrap();
                copy_into(&from, &to);
            } else {
                fs::copy(&from, &to).unwrap();
                let modified = fs::metadata(from).unwrap().modified().unwrap();
                File::options().write(true).open(to).unwrap().set_modified(modified).unwrap();
            }
        }
    }
    copy_into(path, copy.path());
    copy
}
