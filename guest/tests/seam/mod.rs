//! A directory whose operations are recorded, and any of which can be made to fail.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;

use minisnap_component::dir::{Dir, Entry, OsDir, Sync};

/// Which operations fail, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: the operations are only recorded.
    None,
    /// One, with this error; the program goes on.
    Once(usize, io::ErrorKind),
    /// This one and every later one: the program was killed there, as far as the disk can tell.
    Crash(usize),
}

/// A real directory behind the seam.
#[derive(Clone)]
pub struct FaultyDir(Rc<Inner>);

struct Inner {
    dir: OsDir,
    fault: Fault,
    count: Cell<usize>,
    log: RefCell<Vec<String>>,
}

impl FaultyDir {
    pub fn new(path: &Path, fault: Fault) -> Self {
        let log = RefCell::new(Vec::new());
        FaultyDir(Rc::new(Inner { dir: OsDir::new(path), fault, count: Cell::new(0), log }))
    }

    /// What was done, an operation a line.
    pub fn log(&self) -> Vec<String> {
        self.0.log.borrow().clone()
    }

    /// Whether the fault was met.
    pub fn has_failed(&self) -> bool {
        match self.0.fault {
            Fault::None => false,
            Fault::Once(at, _) | Fault::Crash(at) => self.0.count.get() > at,
        }
    }

    fn step(&self, what: String) -> io::Result<()> {
        let at = self.0.count.get();
        self.0.count.set(at + 1);
        self.0.log.borrow_mut().push(what);
        match self.0.fault {
            Fault::Once(fails, kind) if fails == at => Err(kind.into()),
            Fault::Crash(from) if from <= at => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }
}

impl Dir for FaultyDir {
    type Reader = FaultyFile;
    type Writer = FaultyFile;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        self.step(format!("look at {name}"))?;
        self.0.dir.entry(name)
    }

    fn is_same(&self, one: &str, other: &str) -> io::Result<bool> {
        self.step(format!("compare {one} {other}"))?;
        self.0.dir.is_same(one, other)
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        self.step(format!("open {name}"))?;
        Ok(FaultyFile { file: self.0.dir.open(name)?, name: name.to_owned(), dir: self.clone() })
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        self.step(format!("create {name}"))?;
        Ok(FaultyFile { file: self.0.dir.create(name)?, name: name.to_owned(), dir: self.clone() })
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.step(format!("make {name}/"))?;
        self.0.dir.make_dir(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(format!("rename {from} {to}"))?;
        self.0.dir.rename(from, to)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.step(format!("remove {name}"))?;
        self.0.dir.remove_file(name)
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.step(format!("remove {name}/"))?;
        self.0.dir.remove_dir(name)
    }

    fn list(&self, name: &str) -> io::Result<Vec<String>> {
        self.step(format!("list {name}/"))?;
        self.0.dir.list(name)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.step(format!("sync {name}/"))?;
        self.0.dir.sync(name)
    }
}

pub struct FaultyFile {
    file: File,
    name: String,
    dir: FaultyDir,
}

impl Read for FaultyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.dir.step(format!("read {}", self.name))?;
        self.file.read(buffer)
    }
}

impl Seek for FaultyFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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

/// A copy of a directory of files and directories of files.
pub fn copy_of(path: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
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
                fs::copy(from, to).unwrap();
            }
        }
    }
    copy_into(path, copy.path());
    copy
}
