//! Real disks and the model: traced calls are done on it, folders are read into it, and written from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::disk::{Disk, Machine, Node};
use crate::trace::Call;

/// Does on the model what a program did.
///
/// # Panics
///
/// If the model does not allow it: then it differs from the disk.
pub(crate) fn apply(machine: &mut Machine, call: &Call) {
    let node = |machine: &Machine, path: &str| machine.now.find(path).unwrap_or_else(|| panic!("{call:?}"));
    match call {
        Call::MakeDir(path) => machine.make_dir(path).unwrap_or_else(|e| panic!("{call:?}: {e}")),
        Call::Open { path, truncate } => match machine.now.find(path) {
            None => drop(machine.create(path).unwrap_or_else(|e| panic!("{call:?}: {e}"))),
            Some(node) if *truncate => machine.truncate(node, 0),
            Some(_) => {}
        },
        Call::Write { path, offset, bytes } => {
            let node = node(machine, path);
            machine.write(node, *offset, bytes);
        }
        Call::Truncate(path, size) => {
            let node = node(machine, path);
            machine.truncate(node, *size);
        }
        Call::Sync(path) => {
            let node = node(machine, path);
            machine.sync(node);
        }
        Call::Link(from, to) => machine.link(from, to).unwrap_or_else(|e| panic!("{call:?}: {e}")),
        Call::Rename(from, to) => machine.rename(from, to).unwrap_or_else(|e| panic!("{call:?}: {e}")),
        Call::Remove(path) => machine.remove(path).unwrap_or_else(|e| panic!("{call:?}: {e}")),
    }
}

/// The number of the folder that a call is in, and the call within it.
pub(crate) fn below_first(mut call: Call) -> (usize, Call) {
    let paths = match &mut call {
        Call::Link(from, to) | Call::Rename(from, to) => [Some(from), Some(to)],
        Call::MakeDir(path)
        | Call::Sync(path)
        | Call::Remove(path)
        | Call::Truncate(path, _)
        | Call::Open { path, .. }
        | Call::Write { path, .. } => [Some(path), None],
    };
    let mut folder = 0;
    for path in paths.into_iter().flatten() {
        let (number, rest) = path.split_once('/').unwrap_or((path.as_str(), ""));
        folder = number.parse().expect("a numbered folder");
        *path = rest.to_owned();
    }
    (folder, call)
}

/// Reads a folder into the model.
pub(crate) fn read(folder: &Path) -> Disk {
    fn add(disk: &mut Disk, node: Node, folder: &Path) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let new = disk.dirs.len() + disk.files.len();
            disk.dirs.get_mut(&node).unwrap().insert(name, new);
            if path.is_dir() {
                disk.dirs.insert(new, BTreeMap::new());
                add(disk, new, &path);
            } else {
                disk.files.insert(new, Rc::new(fs::read(path).unwrap()));
            }
        }
    }
    let mut disk = Disk::with(&[]);
    add(&mut disk, 0, folder);
    disk
}

/// Writes a directory of the model into a folder. Two names of a file are two names of it there.
pub(crate) fn write(disk: &Disk, dir: Node, folder: &Path) {
    let mut written = BTreeMap::new();
    write_into(disk, dir, folder, &mut written);

    fn write_into(disk: &Disk, dir: Node, folder: &Path, written: &mut BTreeMap<Node, PathBuf>) {
        for (name, node) in &disk.dirs[&dir] {
            let path = folder.join(name);
            match (disk.files.get(node), written.get(node)) {
                (Some(_), Some(first)) => fs::hard_link(first, &path).unwrap(),
                (Some(contents), None) => {
                    fs::write(&path, contents.as_slice()).unwrap();
                    written.insert(*node, path);
                }
                (None, _) => {
                    fs::create_dir(&path).unwrap();
                    write_into(disk, *node, &path, written);
                }
            }
        }
    }
}

/// Names and contents, whatever the numbers.
pub(crate) fn contents(disk: &Disk) -> BTreeMap<String, Option<Rc<Vec<u8>>>> {
    disk.visible().into_iter().map(|(name, (_, contents))| (name, contents)).collect()
}

/// The names on a disk, with the sizes of the files.
pub(crate) fn names(disk: &Disk) -> Vec<String> {
    let contents = contents(disk).into_iter();
    let named = contents.map(|(name, contents)| match contents {
        Some(contents) => format!("{name} ({})", contents.len()),
        None => format!("{name}/"),
    });
    named.collect()
}
