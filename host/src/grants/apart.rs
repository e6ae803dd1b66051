//! Directories of components, of which none is another's or lies inside another, by their paths.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::directory::{Directory, Owned};
use crate::diagnostic::{Diagnostic, Result};
use crate::grant::is_name;

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

    pub(super) fn of(mut paths: Vec<(PathBuf, Owned)>) -> Result<Self> {
        paths
            .sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.place.line().cmp(&other.place.line())));
        let mut apart = Apart::default();
        for (path, owned) in paths {
            apart.check(&path, &owned)?;
            apart.add(path, owned);
        }
        Ok(apart)
    }

    pub(super) fn add(&mut self, path: PathBuf, owned: Owned) {
        match owned.directory {
            Directory::One(_) | Directory::Inside(_) => self.whole.insert(path, owned),
            Directory::Beside(_) => self.stems.insert(path, owned),
        };
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Owned> {
        self.whole.values().chain(self.stems.values())
    }

    /// Checks that a directory under this path would be apart from each other component's.
    pub(super) fn check(&self, path: &Path, owned: &Owned) -> Result<()> {
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
        // By their parts, paths inside of this one come directly behind it. Those of instances are added in that order.
        for directories in [&self.whole, &self.stems] {
            let behind = directories.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
            let mut inside = behind.take_while(|(inner, _)| !is_stem && inner.starts_with(path));
            // `ledger.INSTANCE` is not in `ledger`.
            let is_inside = |inner: &Path, other: &Owned| {
                inner != path || !matches!(other.directory, Directory::Beside(_))
            };
            if let Some((inner, other)) =
                inside.find(|(inner, other)| is_inside(inner, other) && is_another(other))
            {
                return Err(overlap(path, owned, inner, other));
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

/// That one has the outer directory, and the other the inner, or the same.
pub(super) fn overlap(outer: &Path, one: &Owned, inner: &Path, other: &Owned) -> Diagnostic {
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
