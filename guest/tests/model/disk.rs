//! A model of a disk and of a machine on it: what its programs see, what is durable, and what of the rest a power cut may
//! leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// A file or a directory, by number; the root is 0.
pub type Node = usize;

/// Names, what they lead to, and the contents of those that are files.
pub type Visible = BTreeMap<String, (Node, Option<Rc<Vec<u8>>>)>;

/// What a power cut may do to what was not synced. In each, of the contents of a file, nothing, half, zeros or all may
/// survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// Edits of directories survive up to one of them, in the order in which they were made, and any sync keeps all
    /// before it: a journal, as ext4, xfs and btrfs have it.
    Ordered,
    /// Each edit of a directory survives or not, until that directory is synced.
    Subset,
    /// The same, and a rename may leave both names; its old one stays in doubt until its own directory is synced.
    Torn,
}

/// The models, from the kindest on.
pub const MODELS: [Model; 3] = [Model::Ordered, Model::Subset, Model::Torn];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disk {
    /// The entries of each directory.
    pub dirs: BTreeMap<Node, BTreeMap<String, Node>>,
    /// The contents of each file.
    pub files: BTreeMap<Node, Rc<Vec<u8>>>,
}

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
    /// A disk with these files in its root.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let mut disk = Disk { dirs: [(0, BTreeMap::new())].into(), files: BTreeMap::new() };
        for (node, (name, contents)) in (1..).zip(files) {
            disk.dirs.get_mut(&0).unwrap().insert((*name).to_owned(), node);
            disk.files.insert(node, Rc::new(contents.as_bytes().to_vec()));
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
        self.walk(0, "", &mut Vec::new(), &mut visible);
        visible
    }

    fn walk(&self, dir: Node, path: &str, above: &mut Vec<Node>, visible: &mut Visible) {
        above.push(dir);
        for (name, &node) in &self.dirs[&dir] {
            let path = format!("{path}{name}");
            visible.insert(path.clone(), (node, self.files.get(&node).cloned()));
            if self.dirs.contains_key(&node) && !above.contains(&node) {
                self.walk(node, &format!("{path}/"), above, visible);
            }
        }
        above.pop();
    }

    /// What a name leads to; the empty name is the root.
    pub fn find(&self, name: &str) -> Option<Node> {
        name.split('/')
            .filter(|part| !part.is_empty())
            .try_fold(0, |dir, part| self.dirs.get(&dir)?.get(part).copied())
    }

    /// The directory that a name is in, and its last part.
    pub fn parent<'n>(&self, name: &'n str) -> Option<(Node, &'n str)> {
        let (dir, name) = name.rsplit_once('/').unwrap_or(("", name));
        self.find(dir).filter(|node| self.dirs.contains_key(node)).map(|node| (node, name))
    }
}

/// A running system.
#[derive(Clone)]
pub struct Machine {
    pub model: Model,
    /// What its programs see.
    pub now: Disk,
    /// What survives a power cut in any case.
    pub durable: Disk,
    /// What may survive it, oldest first.
    pub pending: Vec<Edit>,
    /// The files whose contents may survive it.
    pub dirty: BTreeSet<Node>,
    /// Those of them that were emptied first, so that nothing of what was there has to survive.
    pub emptied: BTreeSet<Node>,
    pub next: Node,
}

impl Machine {
    /// A system that has just started, under the worst model.
    pub fn new(disk: Disk) -> Self {
        Self::with_model(disk, Model::Torn)
    }

    pub fn with_model(disk: Disk, model: Model) -> Self {
        let next = 1 + disk.dirs.keys().chain(disk.files.keys()).max().unwrap();
        let durable = disk.clone();
        let (dirty, emptied) = Default::default();
        Machine { model, now: disk, durable, pending: Vec::new(), dirty, emptied, next }
    }

    fn edit(&mut self, edit: Edit) {
        self.now.apply(&edit, false);
        self.pending.push(edit);
    }

    /// Gives `name`, which leads to nothing yet, something new.
    fn make(&mut self, name: &str) -> io::Result<Node> {
        if self.now.find(name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (dir, name) = self.now.parent(name).ok_or(ErrorKind::NotFound)?;
        let (name, node) = (name.to_owned(), self.next);
        self.next += 1;
        for disk in [&mut self.now, &mut self.durable] {
            // Until something leads there, it cannot be reached.
            disk.dirs.insert(node, BTreeMap::new());
        }
        self.edit(Edit { dir, name, to: Some(node), from: None });
        Ok(node)
    }

    pub fn make_dir(&mut self, name: &str) -> io::Result<()> {
        self.make(name).map(|_| ())
    }

    pub fn create(&mut self, name: &str) -> io::Result<Node> {
        let node = self.make(name)?;
        for disk in [&mut self.now, &mut self.durable] {
            disk.dirs.remove(&node);
            disk.files.insert(node, Rc::default());
        }
        Ok(node)
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = self.now.find(from).ok_or(ErrorKind::NotFound)?;
        let (from_dir, from) = self.now.parent(from).ok_or(ErrorKind::NotFound)?;
        let (dir, name) = self.now.parent(to).ok_or(ErrorKind::NotFound)?;
        if let Some(replaced) = self.now.find(to) {
            // Two names of one file: a rename does nothing, as POSIX has it.
            if replaced == node {
                return Ok(());
            }
            if self.now.dirs.contains_key(&replaced) {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
        }
        let from = Some((from_dir, from.to_owned()));
        self.edit(Edit { dir, name: name.to_owned(), to: Some(node), from });
        Ok(())
    }

    /// Gives a file one more name.
    #[allow(dead_code, reason = "only a host makes links")]
    pub fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = self.now.find(from).ok_or(ErrorKind::NotFound)?;
        if self.now.find(to).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let (dir, name) = self.now.parent(to).ok_or(ErrorKind::NotFound)?;
        self.edit(Edit { dir, name: name.to_owned(), to: Some(node), from: None });
        Ok(())
    }

    /// Removes a file or an empty directory.
    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        let node = self.now.find(name).ok_or(ErrorKind::NotFound)?;
        if self.now.dirs.get(&node).is_some_and(|entries| !entries.is_empty()) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = self.now.parent(name).ok_or(ErrorKind::NotFound)?;
        self.edit(Edit { dir, name: name.to_owned(), to: None, from: None });
        Ok(())
    }

    /// Writes `bytes` at `offset`, with zeros before it where there is nothing.
    pub fn write(&mut self, node: Node, offset: usize, bytes: &[u8]) {
        let contents = Rc::make_mut(self.now.files.get_mut(&node).unwrap());
        let end = offset + bytes.len();
        contents.resize(contents.len().max(end), 0);
        contents[offset..end].copy_from_slice(bytes);
        self.dirty.insert(node);
    }

    /// Cuts a file, or lengthens it with zeros.
    pub fn truncate(&mut self, node: Node, size: usize) {
        Rc::make_mut(self.now.files.get_mut(&node).unwrap()).resize(size, 0);
        self.dirty.insert(node);
        if size == 0 {
            self.emptied.insert(node);
        }
    }

    /// Makes a file or a directory durable.
    pub fn sync(&mut self, node: Node) {
        if let Some(contents) = self.now.files.get(&node) {
            self.durable.files.insert(node, contents.clone());
            self.dirty.remove(&node);
            self.emptied.remove(&node);
        }
        let mut kept = Vec::new();
        for edit in std::mem::take(&mut self.pending) {
            match &edit.from {
                _ if self.model == Model::Ordered => self.durable.apply(&edit, false),
                _ if edit.dir != node => kept.push(edit),
                // The old name is an entry of the other directory, which is not synced.
                Some((from, name)) if *from != node && self.model == Model::Torn => {
                    self.durable.apply(&edit, true);
                    kept.push(Edit { dir: *from, name: name.clone(), to: None, from: None });
                }
                _ => self.durable.apply(&edit, false),
            }
        }
        self.pending = kept;
    }

    /// Every disk that a power cut may leave now.
    pub fn after_power_cut(&self) -> Vec<Disk> {
        let mut disks = vec![self.durable.clone()];
        for edit in &self.pending {
            if self.model == Model::Ordered {
                let mut disk = disks.last().unwrap().clone();
                disk.apply(edit, false);
                disks.push(disk);
                continue;
            }
            for disk in disks.clone() {
                for leaves_both_names in [false, true] {
                    let can_tear = edit.from.is_some() && self.model == Model::Torn;
                    if !leaves_both_names || can_tear {
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
            let (before, now) = (&self.durable.files[node], &self.now.files[node]);
            let goes_on = !before.is_empty() && !self.emptied.contains(node);
            let survivals = if goes_on && (now.starts_with(before) || before.starts_with(now)) {
                parts(before, now)
            } else {
                let half = now[..now.len() / 2].to_vec();
                vec![before.clone(), Rc::new(half), Rc::new(vec![0; now.len()]), now.clone()]
            };
            disks = disks
                .into_iter()
                .flat_map(|disk| {
                    survivals.iter().map(move |contents| {
                        let mut disk = disk.clone();
                        disk.files.insert(*node, contents.clone());
                        disk
                    })
                })
                .collect();
        }
        disks
    }
}

/// The blocks that a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

/// What may be left of a file that was appended to, or cut, and not synced: what was there before, and of what came, a part,
/// or zeros where any of its sectors was not written.
fn parts(before: &Rc<Vec<u8>>, now: &Rc<Vec<u8>>) -> Vec<Rc<Vec<u8>>> {
    let mut parts = vec![before.clone(), now.clone()];
    if before.len() < now.len() {
        parts.push(Rc::new(now[..(before.len() + now.len()) / 2].to_vec()));
        let first = before.len() / SECTOR + 1;
        let sectors = (first..=now.len() / SECTOR).map(|sector| sector * SECTOR);
        let edges: Vec<usize> = std::iter::once(before.len()).chain(sectors).chain([now.len()]).collect();
        let whole = (before.len(), now.len());
        for (from, to) in edges.windows(2).map(|edges| (edges[0], edges[1])).chain([whole]) {
            let mut left = now.to_vec();
            left[from..to].fill(0);
            parts.push(Rc::new(left));
        }
    }
    parts.sort();
    parts.dedup();
    parts
}
