//! A model of a disk and of a machine on it: what its programs see, what is durable, and what of the rest a power cut may
//! leave.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::rc::Rc;

use minisnap_component::dir::{Dir, Entry, Kind, Sync};

/// A file or a directory, by number; the store's directory is 0.
pub type Node = usize;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disk {
    /// The entries of each directory.
    pub dirs: BTreeMap<Node, BTreeMap<String, Node>>,
    /// The contents of each file.
    pub files: BTreeMap<Node, Vec<u8>>,
}

/// Names, what they lead to, and the contents of those that are files.
pub type Visible = BTreeMap<String, (Node, Option<Vec<u8>>)>;

/// One change of a directory, which its next sync makes durable.
#[derive(Debug, Clone)]
pub struct Edit {
    pub dir: Node,
    pub name: String,
    pub to: Option<Node>,
    /// Of a rename: the name that goes, and its directory.
    pub from: Option<(Node, String)>,
}

impl Disk {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let mut disk = Disk { dirs: [(0, BTreeMap::new())].into(), files: BTreeMap::new() };
        for (node, (name, contents)) in (1..).zip(files) {
            disk.dirs.get_mut(&0).unwrap().insert((*name).to_owned(), node);
            disk.files.insert(node, contents.as_bytes().to_vec());
        }
        disk
    }

    pub fn apply(&mut self, edit: &Edit, leaves_both_names: bool) {
        let mut set = |dir: Node, name: &str, to: Option<Node>| {
            let entries = self.dirs.get_mut(&dir).unwrap();
            match to {
                Some(node) => entries.insert(name.to_owned(), node),
                None => entries.remove(name),
            };
        };
        set(edit.dir, &edit.name, edit.to);
        if let Some((dir, name)) = &edit.from
            && !leaves_both_names
        {
            set(*dir, name, None);
        }
    }

    /// The names that can be reached, with what they lead to: recovery cannot tell disks apart that have them in common.
    pub fn visible(&self) -> Visible {
        let mut visible = BTreeMap::new();
        for (name, node) in &self.dirs[&0] {
            visible.insert(name.clone(), (*node, self.files.get(node).cloned()));
            for (inner, inner_node) in self.dirs.get(node).into_iter().flatten() {
                visible.insert(format!("{name}/{inner}"), (*inner_node, self.files.get(inner_node).cloned()));
            }
        }
        visible
    }

    pub fn find(&self, name: &str) -> Option<Node> {
        if name.is_empty() {
            return Some(0);
        }
        let (dir, name) = self.parent(name)?;
        self.dirs.get(&dir)?.get(name).copied()
    }

    /// The directory that a name is in, and its last part.
    pub fn parent<'n>(&self, name: &'n str) -> Option<(Node, &'n str)> {
        match name.split_once('/') {
            None => Some((0, name)),
            Some((dir, name)) => {
                self.dirs[&0].get(dir).filter(|node| self.dirs.contains_key(node)).map(|&node| (node, name))
            }
        }
    }
}

/// A running system.
#[derive(Clone)]
pub struct Machine {
    /// What its programs see.
    pub now: Disk,
    /// What survives a power cut in any case.
    pub durable: Disk,
    /// What may survive it, oldest first.
    pub pending: Vec<Edit>,
    /// The files whose contents may survive it.
    pub dirty: BTreeSet<Node>,
    pub next: Node,
}

impl Machine {
    pub fn new(disk: Disk) -> Self {
        let next = 1 + disk.dirs.keys().chain(disk.files.keys()).max().unwrap();
        Machine { durable: disk.clone(), now: disk, pending: Vec::new(), dirty: BTreeSet::new(), next }
    }

    pub fn edit(&mut self, edit: Edit) {
        self.now.apply(&edit, false);
        self.pending.push(edit);
    }

    /// The directory and the name of what is to be made.
    pub fn free(&self, name: &str) -> io::Result<(Node, String)> {
        match self.now.find(name) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => match self.now.parent(name) {
                Some((dir, name)) => Ok((dir, name.to_owned())),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// Every disk that a power cut may leave now.
    pub fn after_power_cut(&self) -> Vec<Disk> {
        let mut disks = vec![self.durable.clone()];
        for edit in &self.pending {
            for disk in disks.clone() {
                for leaves_both_names in [false, true] {
                    if edit.from.is_some() || !leaves_both_names {
                        let mut disk = disk.clone();
                        disk.apply(edit, leaves_both_names);
                        disks.push(disk);
                    }
                }
            }
            disks.sort();
            disks.dedup();
        }
        for node in &self.dirty {
            let whole = &self.now.files[node];
            let survivals =
                [Vec::new(), whole[..whole.len() / 2].to_vec(), vec![0; whole.len()], whole.clone()];
            disks = disks
                .into_iter()
                .flat_map(|disk| {
                    survivals.clone().map(|contents| {
                        let mut disk = disk.clone();
                        disk.files.insert(*node, contents);
                        disk
                    })
                })
                .collect();
        }
        disks
    }
}

/// The model behind the seam.
#[derive(Clone)]
pub struct ModelDir {
    pub machine: Rc<RefCell<Machine>>,
    /// Sees the machine after every change.
    pub look: Rc<dyn Fn(&Machine)>,
    /// The sync of this number, counted from 0, does nothing.
    pub without_sync: Option<usize>,
    pub syncs: Rc<Cell<usize>>,
    /// The change of this number, and every later one, is not made: the program was killed.
    pub killed_at: Option<usize>,
    pub changes: Rc<Cell<usize>>,
}

impl ModelDir {
    pub fn new(machine: Machine, look: Rc<dyn Fn(&Machine)>) -> Self {
        let (syncs, changes) = (Rc::default(), Rc::default());
        ModelDir {
            machine: Rc::new(RefCell::new(machine)),
            look,
            without_sync: None,
            syncs,
            killed_at: None,
            changes,
        }
    }

    /// A directory that nobody looks on.
    pub fn plain(disk: &Disk) -> Self {
        Self::new(Machine::new(disk.clone()), Rc::new(|_| {}))
    }

    pub fn change(&self, change: impl FnOnce(&mut Machine) -> io::Result<()>) -> io::Result<()> {
        let number = self.changes.replace(self.changes.get() + 1);
        if self.killed_at.is_some_and(|at| at <= number) {
            return Err(io::Error::other("killed"));
        }
        let changed = change(&mut self.machine.borrow_mut());
        (self.look)(&self.machine.borrow());
        changed
    }

    pub fn sync_counted(&self, sync: impl FnOnce(&mut Machine) -> io::Result<()>) -> io::Result<()> {
        let number = self.syncs.replace(self.syncs.get() + 1);
        self.change(|machine| if self.without_sync == Some(number) { Ok(()) } else { sync(machine) })
    }
}

impl Dir for ModelDir {
    type Reader = io::Cursor<Vec<u8>>;
    type Writer = ModelFile;

    fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        let disk = &self.machine.borrow().now;
        Ok(disk.find(name).map(|node| match disk.files.get(&node) {
            Some(contents) => Entry { kind: Kind::File, size: contents.len() as u64, modified: None },
            None => Entry { kind: Kind::Dir, size: 0, modified: None },
        }))
    }

    fn open(&self, name: &str) -> io::Result<Self::Reader> {
        let disk = &self.machine.borrow().now;
        let contents = disk.find(name).and_then(|node| disk.files.get(&node));
        contents.cloned().map(io::Cursor::new).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        let mut node = 0;
        self.change(|machine| {
            let (dir, name) = machine.free(name)?;
            node = machine.next;
            machine.next += 1;
            machine.now.files.insert(node, Vec::new());
            machine.durable.files.insert(node, Vec::new());
            machine.edit(Edit { dir, name, to: Some(node), from: None });
            Ok(())
        })?;
        Ok(ModelFile { node, dir: self.clone() })
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.change(|machine| {
            let (dir, name) = machine.free(name)?;
            let node = machine.next;
            machine.next += 1;
            machine.now.dirs.insert(node, BTreeMap::new());
            machine.durable.dirs.insert(node, BTreeMap::new());
            machine.edit(Edit { dir, name, to: Some(node), from: None });
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|machine| {
            let node = machine.now.find(from).ok_or(io::ErrorKind::NotFound)?;
            let (from_dir, from) = machine.now.parent(from).ok_or(io::ErrorKind::NotFound)?;
            let (dir, name) = machine.now.parent(to).ok_or(io::ErrorKind::NotFound)?;
            if let Some(replaced) = machine.now.find(to) {
                // Two names of one file: a rename does nothing, as POSIX has it.
                if replaced == node {
                    return Ok(());
                }
                if machine.now.dirs.contains_key(&replaced) {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
            machine.edit(Edit {
                dir,
                name: name.to_owned(),
                to: Some(node),
                from: Some((from_dir, from.to_owned())),
            });
            Ok(())
        })
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.change(|machine| {
            let node = machine.now.find(name).ok_or(io::ErrorKind::NotFound)?;
            if machine.now.dirs.get(&node).is_some_and(|entries| !entries.is_empty()) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (dir, name) = machine.now.parent(name).ok_or(io::ErrorKind::NotFound)?;
            machine.edit(Edit { dir, name: name.to_owned(), to: None, from: None });
            Ok(())
        })
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.remove_file(name)
    }

    fn list(&self, name: &str) -> io::Result<Vec<String>> {
        let disk = &self.machine.borrow().now;
        let entries = disk.find(name).and_then(|node| disk.dirs.get(&node));
        entries.map(|entries| entries.keys().cloned().collect()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.sync_counted(|machine| {
            let dir = machine.now.find(name).ok_or(io::ErrorKind::NotFound)?;
            let mut kept = Vec::new();
            for edit in machine.pending.drain(..) {
                if edit.dir != dir {
                    kept.push(edit);
                    continue;
                }
                match &edit.from {
                    // The old name of a rename is an entry of the other directory, which is not synced.
                    Some((from, name)) if *from != dir => {
                        machine.durable.apply(&edit, true);
                        kept.push(Edit { dir: *from, name: name.clone(), to: None, from: None });
                    }
                    _ => machine.durable.apply(&edit, false),
                }
            }
            machine.pending = kept;
            Ok(())
        })
    }
}

pub struct ModelFile {
    pub node: Node,
    pub dir: ModelDir,
}

impl Write for ModelFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dir.change(|machine| {
            machine.now.files.get_mut(&self.node).unwrap().extend_from_slice(bytes);
            machine.dirty.insert(self.node);
            Ok(())
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sync for ModelFile {
    fn sync(&mut self) -> io::Result<()> {
        self.dir.sync_counted(|machine| {
            let contents = machine.now.files[&self.node].clone();
            machine.durable.files.insert(self.node, contents);
            machine.dirty.remove(&self.node);
            Ok(())
        })
    }
}
