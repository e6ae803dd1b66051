//! The directory that a grants file gives to a component, or to each of its instances.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::diagnostic::{Diagnostic, Place, Result};
use crate::grant::is_name;

/// What stands for an instance's name where a file says `directory`.
const INSTANCE: &str = "{instance}";

/// The directory of a component, or those of its instances, below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Directory {
    /// This one; an instance has `PATH.INSTANCE`.
    One(PathBuf),
    /// `PATH/INSTANCE`, and none without an instance.
    Inside(PathBuf),
    /// `PATH.INSTANCE`, and none without an instance.
    Beside(PathBuf),
}

/// A directory, or those of instances, with whose it is, and who said so where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) name: String,
    pub(super) instance: Option<String>,
    pub(super) directory: Directory,
    pub(super) place: Place,
}

impl Owned {
    /// That of a component which the file does not name: of its name.
    pub(super) fn unnamed(name: &str, file: &Path) -> Owned {
        let directory = Directory::One(name.into());
        Owned { name: name.to_owned(), instance: None, directory, place: Place::file(file) }
    }

    /// The directory of an instance.
    pub(super) fn instance(&self, instance: &str) -> Owned {
        let directory = Directory::One(self.directory.of(instance));
        Owned { instance: Some(instance.to_owned()), directory, ..self.clone() }
    }
}

impl Directory {
    /// The directory that `text` names, without `.` and doubled separators.
    pub(super) fn below_root(text: &str, place: &Place) -> Result<Self> {
        let refuse = |what: String, help: &str| Err(Diagnostic::new(place.clone(), what, help));
        let mut path = PathBuf::new();
        for part in Path::new(text).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return refuse(format!("the directory `{text}` may escape the root"), BELOW_ROOT);
                }
            }
        }
        let Some(last) = path.file_name().and_then(|name| name.to_str()) else {
            let what = format!("the directory `{text}` is the root, which holds those of all components");
            return refuse(what, BELOW_ROOT);
        };
        let directory = match last.strip_suffix(INSTANCE) {
            Some("") => Directory::Inside(path.parent().unwrap_or(Path::new("")).to_owned()),
            Some(stem) if stem.len() > 1 && stem.ends_with('.') => {
                Directory::Beside(path.with_file_name(&stem[..stem.len() - 1]))
            }
            Some(_) => return refuse(misplaced(text), WHERE_INSTANCE),
            None => Directory::One(path),
        };
        let path = directory.path();
        if path.as_os_str().is_empty() {
            return refuse(
                format!("each folder in the root would be an instance by `{text}`"),
                WHERE_INSTANCE,
            );
        }
        match path.to_string_lossy().contains(['{', '}']) {
            true => refuse(misplaced(text), WHERE_INSTANCE),
            false => Ok(directory),
        }
    }

    /// The path from which those of the instances are made, too.
    pub(super) fn path(&self) -> &Path {
        let (Directory::One(path) | Directory::Inside(path) | Directory::Beside(path)) = self;
        path
    }

    /// Whether it is one of each instance alone.
    pub(super) fn is_of_instances(&self) -> bool {
        !matches!(self, Directory::One(_))
    }

    /// The directory of the instance.
    pub(super) fn of(&self, instance: &str) -> PathBuf {
        match self {
            Directory::Inside(path) => path.join(instance),
            Directory::One(path) | Directory::Beside(path) => beside(path, instance),
        }
    }

    /// As the file says it.
    pub(super) fn written(&self) -> PathBuf {
        match self {
            Directory::One(path) => path.clone(),
            Directory::Inside(_) | Directory::Beside(_) => self.of(INSTANCE),
        }
    }

    /// The folder in which those of the instances are, and what their names begin with.
    pub(super) fn of_instances(&self) -> (&Path, String) {
        match self {
            Directory::Inside(path) => (path, String::new()),
            Directory::One(path) | Directory::Beside(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                (path.parent().unwrap_or(Path::new("")), format!("{name}."))
            }
        }
    }
}

const BELOW_ROOT: &str = "name a directory below `root`, such as `directory = \"counter\"`";

const WHERE_INSTANCE: &str = "write it once, as the last folder or at its end after a dot: `directory = \"counter/{instance}\"` or \
     \"counter.{instance}\"";

fn misplaced(text: &str) -> String {
    format!("`{text}` has braces elsewhere than in `{INSTANCE}` at its end")
}

/// `PATH.INSTANCE`
pub(super) fn beside(path: &Path, instance: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(instance);
    path.into()
}

/// The directories that there are in folders, each of which is read once.
#[derive(Default)]
pub(super) struct Folders(BTreeMap<PathBuf, Names>);

/// The names of directories, each after its last dot, by what comes before, dot included; sorted.
pub(super) type Names = BTreeMap<String, Vec<String>>;

impl Folders {
    /// The names of the directories in a folder, as far as they can be names of components or instances; none where there is
    /// no such folder. A link is no directory.
    pub(super) fn list(&mut self, folder: &Path) -> io::Result<&Names> {
        let Folders(read) = self;
        Ok(match read.entry(folder.to_owned()) {
            Entry::Occupied(names) => names.into_mut(),
            Entry::Vacant(unread) => unread.insert(names_in(folder)?),
        })
    }
}

fn names_in(folder: &Path) -> io::Result<Names> {
    let mut names = Names::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.file_type()?.is_dir()
        {
            let (prefix, last) = name.split_at(name.rfind('.').map_or(0, |dot| dot + 1));
            if is_name(last) {
                names.entry(prefix.to_owned()).or_default().push(last.to_owned());
            }
        }
    }
    names.values_mut().for_each(|names| names.sort());
    Ok(names)
}

/// The path without links: of what exists, where it is; what does not exist yet has no links.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        // A link that leads nowhere may lead anywhere later.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => Ok(resolve(parent)?.join(name)),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}
