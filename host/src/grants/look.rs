//! What the directories that a grants file names lead to now, by links and mounts.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::apart::{Apart, overlap};
use super::directory::{Directory, Folders, Owned, resolve};
use crate::diagnostic::{Diagnostic, Place, Result};
use crate::grant::is_name;
use crate::location::{Location, Mounts};

/// What is found out of the directories, each thing once.
pub(super) struct Look<'g> {
    file: &'g Path,
    root: &'g Path,
    written: &'g Apart,
    real: OnceCell<Apart>,
    links: OnceCell<Result<()>>,
    located: OnceCell<(Vec<Located>, Option<Diagnostic>)>,
}

/// Who has a directory.
#[derive(Default)]
pub(super) struct Everybody {
    pub(super) all: Vec<Owned>,
    /// Components whose instances are not known, for their folder could not be listed.
    pub(super) unlisted: Vec<(String, Diagnostic)>,
    /// Why the root could not be listed, if so.
    pub(super) root: Option<Diagnostic>,
}

/// A directory of a component, and where it is.
struct Located {
    path: PathBuf,
    owned: Owned,
    location: Location,
}

impl<'g> Look<'g> {
    pub(super) fn new(file: &'g Path, root: &'g Path, written: &'g Apart) -> Self {
        Look { file, root, written, real: OnceCell::new(), links: OnceCell::new(), located: OnceCell::new() }
    }

    /// Checks that no two of all directories overlap, as links lead now, and that none leaves the root.
    pub(super) fn check_links(&self) -> Result<()> {
        let real = |owned: &Owned| Ok((real_below(self.root, owned)?, owned.clone()));
        let check = || Apart::of(self.written.all().map(real).collect::<Result<_>>()?).map(drop);
        self.links.get_or_init(check).clone()
    }

    /// Checks a directory that the file names, or that of an instance of which it does, as links lead now.
    ///
    /// Where none is on the way, no other directory that is written elsewhere is the same or inside, unless a link is on the
    /// way to that one.
    pub(super) fn check_written(&self, named: &Owned, owned: &Owned) -> Result<()> {
        if is_linked(self.root, named)? {
            self.check_links()?;
        }
        match named != owned && self.root.join(owned.directory.path()).is_symlink() {
            true => Err(linked(self.root, owned)),
            false => Ok(()),
        }
    }

    /// Whether a directory that the file does not name is apart from all that it does, as they are written.
    pub(super) fn is_free(&self, owned: &Owned) -> bool {
        self.written.check(&self.root.join(owned.directory.path()), owned).is_ok()
    }

    /// Each component that the file names and has a directory of its own, and everybody who has one that there is, by name.
    /// Links are left out, and folders in which there are directories of components.
    pub(super) fn everybody(&self) -> Everybody {
        let mut folders = Folders::default();
        let mut everybody = Everybody::default();
        let all = &mut everybody.all;
        for owned in self.written.all() {
            let is_of_instances = owned.directory.is_of_instances();
            if !is_of_instances {
                all.push(owned.clone());
            }
            let (folder, prefix) = owned.directory.of_instances();
            let folder = self.root.join(folder);
            match folders.list(&folder) {
                Ok(names) => {
                    let instances = names.get(&prefix).into_iter().flatten().map(|name| owned.instance(name));
                    // What is called so by chance is the directory of another.
                    all.extend(instances.filter(|instance| is_of_instances || self.is_free(instance)));
                }
                Err(error) => {
                    let why = unlisted(&folder, owned.place.clone(), &error);
                    everybody.unlisted.push((owned.name.clone(), why));
                }
            }
        }
        let named: HashSet<&str> = self.written.all().map(|owned| owned.name.as_str()).collect();
        match folders.list(self.root) {
            Ok(names) => {
                for (prefix, names) in names {
                    for last in names {
                        let name = prefix.strip_suffix('.').unwrap_or(last);
                        let owned = Owned::unnamed(name, self.file);
                        let is_unnamed = is_name(name) && !named.contains(name) && self.is_free(&owned);
                        let owned = if prefix.is_empty() { owned } else { owned.instance(last) };
                        if is_unnamed && self.is_free(&owned) {
                            all.push(owned);
                        }
                    }
                }
            }
            Err(error) => everybody.root = Some(unlisted(self.root, Place::file(self.file), &error)),
        }
        all.sort_by(|one, other| (&one.name, &one.instance).cmp(&(&other.name, &other.instance)));
        everybody
    }

    /// Checks a directory that the file does not name.
    pub(super) fn check_unwritten(&self, owned: &Owned) -> Result<()> {
        self.written.check(&self.root.join(owned.directory.path()), owned)?;
        // It may be that of any other.
        if is_linked(self.root, owned)? {
            return Err(linked(self.root, owned));
        }
        let real = self.real.get_or_init(|| {
            let mut real = Apart::default();
            for other in self.written.all() {
                // A link that leads nowhere, or to another's, is a mistake of that component alone.
                if let Ok(path) = real_below(self.root, other) {
                    real.add(path, other.clone());
                }
            }
            real
        });
        real.check(&real_below(self.root, owned)?, owned)
    }

    /// Where the log of a component or an instance is, if no link is on its way below the folder of all, and no bind mount
    /// makes it another's.
    pub(super) fn log(&self, owned: &Owned) -> Result<PathBuf> {
        self.check_no_link(owned)?;
        self.check_mounts(owned)?;
        Ok(resolve_at(self.root, owned)?.join(owned.directory.path()))
    }

    /// Checks the logs that the file names.
    pub(super) fn check_logs(&self) -> Result<()> {
        self.written.all().try_for_each(|owned| self.check_no_link(owned))?;
        self.check_all_mounts()
    }

    /// Checks that no link is on the way to a log: components write in those what they like.
    fn check_no_link(&self, owned: &Owned) -> Result<()> {
        let mut path = self.root.to_owned();
        for part in owned.directory.path() {
            path.push(part);
            if path.is_symlink() {
                let what =
                    format!("the log of the component `{}` is at a link, `{}`", owned.name, path.display());
                let help = "remove the link, which a component may have made; `logs` itself may be one";
                return Err(Diagnostic::new(owned.place.clone(), what, help));
            }
        }
        Ok(())
    }

    /// Checks that no bind mount makes this directory another's, or puts one into the other.
    pub(super) fn check_mounts(&self, owned: &Owned) -> Result<()> {
        let mounts = Mounts::now();
        if resolve(self.root).is_ok_and(|root| !mounts.may_be_below(&root)) {
            return Ok(());
        }
        let path = real_below(self.root, owned)?;
        let location = located(&mounts, &path, owned)?;
        let here = Located { path, owned: owned.clone(), location };
        let (all, unlisted) = self.located.get_or_init(|| self.locate(&mounts));
        // Whoever cannot be listed cannot be compared: then only those that the file names get their directories.
        let is_named = self.written.all().any(|named| named == owned);
        if let (false, Some(unlisted)) = (is_named, unlisted) {
            return Err(unlisted.clone());
        }
        all.iter().try_for_each(|there| check_pair(there, &here))
    }

    /// Checks that no two of the directories that the file names overlap where they really are.
    pub(super) fn check_all_mounts(&self) -> Result<()> {
        let mounts = Mounts::now();
        if resolve(self.root).is_ok_and(|root| !mounts.may_be_below(&root)) {
            return Ok(());
        }
        let mut all: Vec<Located> = Vec::new();
        for owned in self.written.all() {
            let path = real_below(self.root, owned)?;
            let location = located(&mounts, &path, owned)?;
            let here = Located { path, owned: owned.clone(), location };
            if !matches!(owned.directory, Directory::Beside(_)) {
                all.iter().try_for_each(|there| check_pair(there, &here))?;
                all.push(here);
            }
        }
        Ok(())
    }

    /// Where all directories are, of whomever, and why some are not known, if so.
    fn locate(&self, mounts: &Mounts) -> (Vec<Located>, Option<Diagnostic>) {
        let Everybody { all: everybody, unlisted, root } = self.everybody();
        let folders = self.written.all().filter(|owned| matches!(owned.directory, Directory::Inside(_)));
        let mut all = Vec::new();
        for owned in everybody.into_iter().chain(folders.cloned()) {
            // A link, or what cannot be found, is a mistake of that component alone.
            if let Ok(path) = real_below(self.root, &owned)
                && let Ok(location) = located(mounts, &path, &owned)
            {
                all.push(Located { path, owned, location });
            }
        }
        (all, root.or_else(|| Some(unlisted.into_iter().next()?.1)))
    }
}

fn located(mounts: &Mounts, path: &Path, owned: &Owned) -> Result<Location> {
    mounts.find(path).map_err(|error| {
        Diagnostic::new(
            owned.place.clone(),
            format!("cannot find out where `{}` is: {error}", path.display()),
            "let this user look at every folder of the path",
        )
    })
}

fn check_pair(there: &Located, here: &Located) -> Result<()> {
    let (one, other) = (&there.owned, &here.owned);
    // Nor is an instance anything but inside of the folder of all.
    let is_folder = |owned: &Owned| matches!(owned.directory, Directory::Inside(_));
    if one.name == other.name && (one.instance == other.instance || is_folder(one) || is_folder(other)) {
        Ok(())
    } else if there.location.is_same(&here.location) {
        Err(overlap(&there.path, one, &there.path, other))
    } else if there.location.holds(&here.location) {
        Err(overlap(&there.path, one, &here.path, other))
    } else if here.location.holds(&there.location) {
        Err(overlap(&here.path, other, &there.path, one))
    } else {
        Ok(())
    }
}

/// Checks that the folder of all logs is apart from that of all snapshots, and does not hold the grants file, as links and
/// mounts lead now.
pub(super) fn check_trees(file: &Path, root: &Path, logs: &Path, place: &Place) -> Result<()> {
    let find = |path: &Path| resolve(path).map_err(|error| unknown(path, place, &error));
    let (file, real_root, real_logs) = (find(file)?, find(root)?, find(logs)?);
    let holds = |outer, inner| holds(outer, inner).map_err(|error| unknown(inner, place, &error));
    let logs = logs.display();
    let (what, help) = if holds(&real_logs, &real_root)? || holds(&real_root, &real_logs)? {
        let what =
            format!("the logs, in `{logs}`, and the snapshots, in `{}`, are not apart", root.display());
        (what, "name two folders side by side: `root = \"snapshots\"` and `logs = \"logs\"`")
    } else if holds(&real_logs, &file)? {
        let what = format!("`{logs}`, which holds the logs, holds this file");
        (what, "name a folder for the logs alone: `logs = \"logs\"`")
    } else {
        return Ok(());
    };
    Err(Diagnostic::new(place.clone(), what, help))
}

fn holds(outer: &Path, inner: &Path) -> io::Result<bool> {
    let mounts = Mounts::now();
    Ok(mounts.find(outer)?.holds(&mounts.find(inner)?))
}

/// Whether a link below the root is on the way to the directory, which does not leave the root.
fn is_linked(root: &Path, owned: &Owned) -> Result<bool> {
    let real = real_below(root, owned)?;
    Ok(!resolve(root).is_ok_and(|root| real == root.join(owned.directory.path())))
}

/// The directory of a component or an instance that the file does not name may be that of any other.
fn linked(root: &Path, Owned { name, instance, directory, place }: &Owned) -> Diagnostic {
    let path = root.join(directory.path());
    let (of, what) = match instance {
        Some(instance) => {
            (format!("of the instance `{instance}` "), "as `directory = \"FOLDER/{instance}\"`")
        }
        None => (String::new(), "with its `directory`"),
    };
    Diagnostic::new(
        place.clone(),
        format!("the directory {of}of the component `{name}` is a link, `{}`", path.display()),
        format!("remove the link, or name where it leads here: `[components.{name}]`, {what}"),
    )
}

/// Where the directory really is, which is below where the root really is. Where it is one of each instance, without the
/// instance's name.
fn real_below(root: &Path, owned: &Owned) -> Result<PathBuf> {
    let written = owned.directory.path();
    // Instances have no directory of the name itself, but in the folder around it.
    if matches!(owned.directory, Directory::Beside(_)) {
        let folder = written.parent().unwrap_or(Path::new(""));
        let name = written.file_name().unwrap_or_default();
        return Ok(match folder.as_os_str().is_empty() {
            true => resolve_at(root, owned)?.join(name),
            false => below(root, folder, owned)?.join(name),
        });
    }
    below(root, written, owned)
}

fn below(root: &Path, written: &Path, owned: &Owned) -> Result<PathBuf> {
    let path = root.join(written);
    let refuse = |what: String, help: String| Err(Diagnostic::new(owned.place.clone(), what, help));
    let real_root = resolve_at(root, owned)?;
    let real = resolve_at(&path, owned)?;
    if real == real_root {
        return refuse(
            format!("the directory `{}` is a link to the root", written.display()),
            format!("remove the link `{}`", path.display()),
        );
    }
    if !real.starts_with(&real_root) {
        return refuse(
            format!(
                "the directory `{}` escapes the root by a link, to `{}`",
                written.display(),
                real.display()
            ),
            format!("remove the link in `{}`, or move `root` to where the directories are", path.display()),
        );
    }
    Ok(real)
}

fn resolve_at(path: &Path, owned: &Owned) -> Result<PathBuf> {
    resolve(path).map_err(|error| unknown(path, &owned.place, &error))
}

fn unknown(path: &Path, place: &Place, error: &io::Error) -> Diagnostic {
    Diagnostic::new(
        place.clone(),
        format!("cannot find out where `{}` is: {error}", path.display()),
        "remove a link that leads nowhere, or a file where a folder is to be, and let this user look at every folder of the path",
    )
}

fn unlisted(folder: &Path, place: Place, error: &io::Error) -> Diagnostic {
    let what = format!("cannot list the folder `{}`: {error}", folder.display());
    Diagnostic::new(place, what, "let this user read it")
}
