//! The model of the disk behind the seam.

#![allow(dead_code, reason = "the tests and each fuzz target use a part of it")]

pub mod disk;

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use minisnap_component::dir::{Dir, Entry, Kind, Listing, ReadAt, Sync};

pub use disk::{Disk, Machine, Node};

/// A directory of a model's disk: its root, or one inside.
#[derive(Clone)]
pub struct ModelDir {
    /// Its path, with a slash at its end.
    pub path: String,
    pub machine: Rc<RefCell<Machine>>,
    /// Sees the machine after every change.
    pub look: Rc<dyn Fn(&Machine)>,
    /// The sync of this number, counted from 0, does nothing.
    pub without_sync: Option<usize>,
    pub syncs: Rc<Cell<usize>>,
    /// The change of this number, and every later one, is not made: the program was killed.
    pub killed_at: Option<usize>,
    pub changes: Rc<Cell<usize>>,
    /// The change of this number fails, and is made or not.
    pub fails: Option<(usize, bool)>,
}

impl ModelDir {
    pub fn new(machine: Machine, look: Rc<dyn Fn(&Machine)>) -> Self {
        let (syncs, changes) = (Rc::default(), Rc::default());
        ModelDir {
            path: String::new(),
            machine: Rc::new(RefCell::new(machine)),
            look,
            without_sync: None,
            syncs,
            killed_at: None,
            changes,
            fails: None,
        }
    }

    /// A directory that nobody looks on.
    pub fn plain(disk: &Disk) -> Self {
        Self::new(Machine::new(disk.clone()), Rc::new(|_| {}))
    }

    fn at(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Machine) -> io::Result<T>) -> io::Result<T> {
        let number = self.changes.replace(self.changes.get() + 1);
        if self.killed_at.is_some_and(|at| at <= number) {
            return Err(io::Error::other("killed"));
        }
        let fails = self.fails.filter(|(at, _)| *at == number);
        if let Some((_, false)) = fails {
            return Err(io::Error::other("failed"));
        }
        let changed = change(&mut self.machine.borrow_mut());
        (self.look)(&self.machine.borrow());
        if fails.is_some() { Err(io::Error::other("failed, and was done")) } else { changed }
    }

    fn sync_node(&self, node: Node) -> io::Result<()> {
        let number = self.syncs.replace(self.syncs.get() + 1);
        self.change(|machine| {
            if self.without_sync != Some(number) {
                machine.sync(node);
            }
            Ok(())
        })
    }
}

impl Dir for ModelDir {
    type Reader = ReadFile;
    type Writer = ModelFile;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let disk = &self.machine.borrow().now;
        Ok(disk.find(&self.at(name)).map(|node| {
            // What is made later has a higher number, and is written at once.
            let modified = UNIX_EPOCH.checked_add(Duration::from_secs(node as u64));
            match disk.files.get(&node) {
                Some(contents) => Entry { kind: Kind::File, size: contents.len() as u64, modified },
                None => Entry { kind: Kind::Dir, size: 0, modified },
            }
        }))
    }

    fn is_same_file(&self, name: &str, other: &str) -> io::Result<bool> {
        let disk = &self.machine.borrow().now;
        Ok(disk.find(&self.at(name)).ok_or(ErrorKind::NotFound)?
            == disk.find(&self.at(other)).ok_or(ErrorKind::NotFound)?)
    }

    fn open(&self, name: &str) -> io::Result<Self::Reader> {
        let disk = &self.machine.borrow().now;
        let contents =
            disk.find(&self.at(name)).and_then(|node| disk.files.get(&node)).ok_or(ErrorKind::NotFound)?;
        Ok(ReadFile(contents.to_vec()))
    }

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        let node = self.change(|machine| machine.create(&self.at(name)))?;
        Ok(ModelFile { node, written: 0, dir: self.clone() })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|machine| machine.rename(&self.at(from), &self.at(to)))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.change(|machine| machine.remove(&self.at(name)))
    }

    fn dir(&self, name: &str) -> io::Result<Self> {
        match self.entry(name)?.map(|entry| entry.kind) {
            Some(Kind::Dir) => Ok(ModelDir { path: format!("{}{name}/", self.path), ..self.clone() }),
            Some(_) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.change(|machine| machine.make_dir(&self.at(name)))
    }

    fn list(&self) -> io::Result<Listing> {
        let disk = &self.machine.borrow().now;
        let node = disk.find(&self.path).ok_or(ErrorKind::NotFound)?;
        Ok(Listing { names: disk.dirs[&node].keys().cloned().collect(), nameless: None })
    }

    fn sync(&self) -> io::Result<()> {
        let node = self.machine.borrow().now.find(&self.path).ok_or(ErrorKind::NotFound)?;
        self.sync_node(node)
    }
}

pub struct ReadFile(Vec<u8>);

impl ReadAt for ReadFile {
    fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let rest = self.0.get(at as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(most)].to_vec())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

pub struct ModelFile {
    node: Node,
    written: usize,
    dir: ModelDir,
}

impl Write for ModelFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dir.change(|machine| {
            machine.write(self.node, self.written, bytes);
            Ok(())
        })?;
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sync for ModelFile {
    fn sync(&mut self) -> io::Result<()> {
        self.dir.sync_node(self.node)
    }
}
