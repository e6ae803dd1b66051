//! Which directory is whose: none is another's, none lies inside another, and none lies outside of the root.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::directory::{Directory, Folders, Owned, beside, resolve};
use crate::diagnostic::{Diagnostic, Result};
use crate::grant::is_name;
#[cfg(target_os = "linux")]
use crate::location::{Location, Mounts};

/// Directories of which none is another, or lies inside another.
#[derive(Debug, Clone, Default)]
pub(super) struct Apart {
    /// Those of components, and the folders that hold those of instances.
    whole: BTreeMap<PathBuf, Owned>,
    /// What the directories of instances are called before the dot and their names.
    stems: BTreeMap<PathBuf, Owned>,
}

impl Apart {
    /// As the file writes them.
    pub(super) fn written(root: &Path, owned: impl IntoIterator<Item = Owned>) -> Result<Self> {
        let by_path = |owned: Owned| (root.join(owned.directory.path()), owned);
        Apart::of(owned.into_iter().map(by_path).collect())
    }

    fn of(mut paths: Vec<(PathBuf, Owned)>) -> Result<Self> {
        paths
            .sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.place.line().cmp(&other.place.line())));
        let mut apart = Apart::default();
        for (path, owned) in paths {
            apart.check(&path, &owned)?;
            apart.add(path, owned);
        }
        Ok(apart)
    }

    fn add(&mut self, path: PathBuf, owned: Owned) {
        match owned.directory {
            Directory::One(_) | Directory::Inside(_) => self.whole.insert(path, owned),
            Directory::Beside(_) => self.stems.insert(path, owned),
        };
    }

    fn all(&self) -> impl Iterator<Item = &Owned> {
        self.whole.values().chain(self.stems.values())
    }

    /// Checks that a directory under this path would be apart from each other component's.
    fn check(&self, path: &Path, owned: &Owned) -> Result<()> {
        let is_stem = matches!(owned.directory, Directory::Beside(_));
        // Of one component, an instance is apart from the component itself, and inside of the folder of all instances.
        let is_another = |other: &&Owned| {
            other.name != owned.name || other.instance != owned.instance && !other.directory.is_of_instances()
        };
        for outer in path.ancestors().skip(usize::from(is_stem)) {
            let of_instances = stem(outer).and_then(|stem| self.stems.get(&stem));
            let mut found = self.whole.get(outer).into_iter().chain(of_instances);
            if let Some(other) = found.find(is_another) {
                return Err(overlap(outer, other, path, owned));
            }
        }
        if is_stem && let Some(other) = self.stems.get(path).filter(is_another) {
            return Err(overlap(path, other, path, owned));
        }
        // By their parts, paths inside of this one come directly behind it, and those of its instances behind `PATH.`.
        let start = if is_stem { beside(path, "") } else { path.to_owned() };
        let depth = path.components().count();
        for directories in [&self.whole, &self.stems] {
            for (inner, other) in
                directories.range::<Path, _>((Bound::Included(start.as_path()), Bound::Unbounded))
            {
                let outer: PathBuf = inner.components().take(depth).collect();
                let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
                let is_behind =
                    if is_stem { bytes(&outer).starts_with(&bytes(&start)) } else { outer == path };
                if !is_behind {
                    break;
                }
                let is_inside = !is_stem || stem(&outer).is_some_and(|stem| stem == path);
                // `ledger.INSTANCE` is neither `ledger` nor in it.
                let is_beside = outer == *inner && matches!(other.directory, Directory::Beside(_));
                if is_inside && !is_beside && is_another(&other) {
                    return Err(overlap(&outer, owned, inner, other));
                }
            }
        }
        Ok(())
    }
}

/// The name without the dot and an instance's name at its end, if it has them.
fn stem(path: &Path) -> Option<PathBuf> {
    let (stem, instance) = path.file_name()?.to_str()?.rsplit_once('.')?;
    (!stem.is_empty() && is_name(instance)).then(|| path.with_file_name(stem))
}

/// What the directories that a file names lead to now, by links and mounts; each thing is found out once.
pub(super) struct Look<'g> {
    root: &'g Path,
    written: &'g Apart,
    real: OnceCell<Apart>,
    links: OnceCell<Result<()>>,
    #[cfg(target_os = "linux")]
    located: OnceCell<Vec<Located>>,
}

/// A directory of a component, and where it is.
#[cfg(target_os = "linux")]
struct Located {
    path: PathBuf,
    owned: Owned,
    location: Location,
}

impl<'g> Look<'g> {
    pub(super) fn new(root: &'g Path, written: &'g Apart) -> Self {
        Look {
            root,
            written,
            real: OnceCell::new(),
            links: OnceCell::new(),
            #[cfg(target_os = "linux")]
            located: OnceCell::new(),
        }
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

    /// Checks that no bind mount makes this directory another's, or puts one into the other.
    #[cfg(target_os = "linux")]
    pub(super) fn check_mounts(&self, owned: &Owned) -> Result<()> {
        let mounts = Mounts::now();
        if resolve(self.root).is_ok_and(|root| !mounts.may_be_below(&root)) {
            return Ok(());
        }
        let path = real_below(self.root, owned)?;
        let location = located(&mounts, &path, owned)?;
        let here = Located { path, owned: owned.clone(), location };
        self.located(&mounts).iter().try_for_each(|there| check_pair(there, &here))
    }

    /// Checks that no two of all directories overlap where they really are.
    #[cfg(target_os = "linux")]
    pub(super) fn check_all_mounts(&self) -> Result<()> {
        let mounts = Mounts::now();
        if resolve(self.root).is_ok_and(|root| !mounts.may_be_below(&root)) {
            return Ok(());
        }
        // Which says why, where one cannot be found.
        for owned in self.written.all() {
            located(&mounts, &real_below(self.root, owned)?, owned)?;
        }
        let all = self.located(&mounts);
        for (at, here) in all.iter().enumerate() {
            all[..at].iter().try_for_each(|there| check_pair(there, here))?;
        }
        Ok(())
    }

    /// Where all directories are that the file names, and those of their instances that there are.
    #[cfg(target_os = "linux")]
    fn located(&self, mounts: &Mounts) -> &[Located] {
        self.located.get_or_init(|| {
            let mut folders = Folders::default();
            let mut all = Vec::new();
            let mut add = |owned: Owned| {
                // A link, or what cannot be found, is a mistake of that component alone.
                if let Ok(path) = real_below(self.root, &owned)
                    && let Ok(location) = located(mounts, &path, &owned)
                {
                    all.push(Located { path, owned, location });
                }
            };
            for owned in self.written.all() {
                let (folder, prefix) = owned.directory.of_instances();
                let folder = self.root.join(folder);
                let names = folders.list(&folder).ok().and_then(|names| names.get(&prefix));
                let instances = names.into_iter().flatten().map(|instance| owned.instance(instance));
                // What is called so by chance is the directory of another.
                let is_of_instances = owned.directory.is_of_instances();
                instances.filter(|instance| is_of_instances || self.is_free(instance)).for_each(&mut add);
                if !matches!(owned.directory, Directory::Beside(_)) {
                    add(owned.clone());
                }
            }
            all
        })
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "on Linux, they are compared")]
    pub(super) fn check_mounts(&self, _: &Owned) -> Result<()> {
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "on Linux, they are compared")]
    pub(super) fn check_all_mounts(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn located(mounts: &Mounts, path: &Path, owned: &Owned) -> Result<Location> {
    mounts.find(path).map_err(|error| {
        Diagnostic::new(
            owned.place.clone(),
            format!("cannot find out where `{}` is: {error}", path.display()),
            "let this user look at every folder of the path",
        )
    })
}

#[cfg(target_os = "linux")]
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
    resolve(path).map_err(|error| {
        Diagnostic::new(
            owned.place.clone(),
            format!("cannot find out where `{}` is: {error}", path.display()),
            "remove a link that leads nowhere, and let this user look at every folder of the path",
        )
    })
}

/// That one has the outer directory, and the other the inner, or the same.
fn overlap(outer: &Path, one: &Owned, inner: &Path, other: &Owned) -> Diagnostic {
    // Of one directory, in the order of the file, and one that it does not name first.
    let order = |owned: &Owned| (owned.place.line(), owned.instance.clone());
    let (one, other) = if outer == inner && order(one) > order(other) { (other, one) } else { (one, other) };
    let whose = |owned: &Owned| match &owned.instance {
        Some(instance) => format!("the instance `{instance}` of the component `{}`", owned.name),
        None if owned.directory.is_of_instances() => {
            format!("the instances of the component `{}`", owned.name)
        }
        None => format!("the component `{}`", owned.name),
    };
    let line = one.place.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let is_plain = |owned: &Owned| owned.instance.is_none() && !owned.directory.is_of_instances();
    let what = if outer != inner {
        format!(
            "the directory `{}` of {} lies inside the directory `{}` of {}{line}",
            inner.display(),
            whose(other),
            outer.display(),
            whose(one)
        )
    } else if is_plain(one) && is_plain(other) {
        format!(
            "the components `{}` and `{}` have one directory, `{}`",
            one.name,
            other.name,
            outer.display()
        )
    } else {
        format!("{} and {} have one directory, `{}`", whose(one), whose(other), outer.display())
    };
    // One that the file does not name has no line.
    let place = if other.place.line().is_some() { &other.place } else { &one.place };
    let help = match one.name == other.name {
        true => format!("give the instances of `{}` directories of their own, side by side", one.name),
        false => format!("give `{}` and `{}` directories of their own, side by side", one.name, other.name),
    };
    Diagnostic::new(place.clone(), what, help)
}
