//! Which directory is whose: none is another's, none lies inside another, and none lies outside of the root.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::diagnostic::{Diagnostic, Place, Result};
#[cfg(target_os = "linux")]
use crate::location::{Location, Mounts};

/// A component's directory, and who said so where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) name: String,
    /// As it was written, below the root.
    pub(super) path: PathBuf,
    pub(super) place: Place,
}

/// The path below the root that `text` names, without `.` and doubled separators.
pub(super) fn below_root(text: &str, place: &Place) -> Result<PathBuf> {
    let refuse = |what: String| {
        Err(Diagnostic::new(
            place.clone(),
            what,
            "name a directory below `root`, such as `directory = \"counter\"`",
        ))
    };
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return refuse(format!("the directory `{text}` may escape the root"));
            }
        }
    }
    if path.as_os_str().is_empty() {
        return refuse(format!("the directory `{text}` is the root, which holds those of all components"));
    }
    Ok(path)
}

/// Checks that no two of these directories overlap, as they are written and as links lead, and that none leaves `root`.
pub(super) fn check_all(root: &Path, owned: &[&Owned]) -> Result<()> {
    check_written(root, owned)?;
    let real =
        owned.iter().map(|owned| Ok((real_below(root, owned)?, *owned))).collect::<Result<Vec<_>>>()?;
    check_apart(real.clone())?;
    check_located(root, &real)
}

/// Checks that no bind mount makes this directory one of the others, or puts one into the other.
pub(super) fn check_mounts(root: &Path, owned: &Owned, others: &[&Owned]) -> Result<()> {
    let real = real_below(root, owned)?;
    #[cfg(target_os = "linux")]
    {
        let mounts = Mounts::now();
        if resolve(root).is_ok_and(|root| !mounts.may_be_below(&root)) {
            return Ok(());
        }
        let here = located(&mounts, &real, owned)?;
        for other in others.iter().filter(|other| other.name != owned.name) {
            // A link, or what cannot be found, is a mistake of that component alone.
            if is_linked(root, other).is_ok_and(|is_linked| !is_linked)
                && let Ok(path) = real_below(root, other)
                && let Ok(there) = located(&mounts, &path, other)
            {
                check_pair((&path, other, &there), (&real, owned, &here))?;
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (real, others);
    Ok(())
}

/// Checks that no two of these directories, which are apart by their paths, overlap where they really are.
#[cfg(target_os = "linux")]
fn check_located(root: &Path, real: &[(PathBuf, &Owned)]) -> Result<()> {
    let mounts = Mounts::now();
    if resolve(root).is_ok_and(|root| !mounts.may_be_below(&root)) {
        return Ok(());
    }
    let mut found: Vec<(&PathBuf, &Owned, Location)> = Vec::new();
    for (path, owned) in real {
        let here = located(&mounts, path, owned)?;
        for (other_path, other, there) in &found {
            check_pair((other_path, other, there), (path, owned, &here))?;
        }
        found.push((path, owned, here));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux, they are compared")]
fn check_located(_: &Path, _: &[(PathBuf, &Owned)]) -> Result<()> {
    Ok(())
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
fn check_pair(
    (path, owned, here): (&Path, &Owned, &Location),
    (other_path, other, there): (&Path, &Owned, &Location),
) -> Result<()> {
    if here.is_same(there) {
        Err(overlap(path, owned, path, other))
    } else if here.holds(there) {
        Err(overlap(path, owned, other_path, other))
    } else if there.holds(here) {
        Err(overlap(other_path, other, path, owned))
    } else {
        Ok(())
    }
}

/// Checks that no two of these directories overlap, as they are written.
pub(super) fn check_written(root: &Path, owned: &[&Owned]) -> Result<()> {
    check_apart(owned.iter().map(|owned| (root.join(&owned.path), *owned)).collect())
}

/// Whether a link below the root is on the way to the directory, which does not leave the root.
///
/// Where none is, no other directory that is written elsewhere is the same or inside, unless a link is on the way to that
/// one.
pub(super) fn is_linked(root: &Path, owned: &Owned) -> Result<bool> {
    let real = real_below(root, owned)?;
    Ok(!resolve(root).is_ok_and(|root| real == root.join(&owned.path)))
}

/// Checks that no link leads from one of the `others` to this directory, into it, or to what it is inside of.
pub(super) fn check_links_to(root: &Path, owned: &Owned, others: &[&Owned]) -> Result<()> {
    let real = real_below(root, owned)?;
    for other in others {
        // A link that leads nowhere is a mistake of that component alone.
        if let Ok(others) = real_below(root, other) {
            check_apart(vec![(others, other), (real.clone(), owned)])?;
        }
    }
    Ok(())
}

/// Where the directory really is, which is below where the root really is.
fn real_below(root: &Path, owned: &Owned) -> Result<PathBuf> {
    let path = root.join(&owned.path);
    let refuse = |what: String, help: String| Err(Diagnostic::new(owned.place.clone(), what, help));
    let unknown = |path: &Path, error: io::Error| {
        Diagnostic::new(
            owned.place.clone(),
            format!("cannot find out where `{}` is: {error}", path.display()),
            "remove a link that leads nowhere, and let this user look at every folder of the path",
        )
    };
    let real_root = resolve(root).map_err(|error| unknown(root, error))?;
    let real = resolve(&path).map_err(|error| unknown(&path, error))?;
    if real == real_root {
        return refuse(
            format!("the directory `{}` is a link to the root", owned.path.display()),
            format!("remove the link `{}`", path.display()),
        );
    }
    if !real.starts_with(&real_root) {
        return refuse(
            format!(
                "the directory `{}` escapes the root by a link, to `{}`",
                owned.path.display(),
                real.display()
            ),
            format!("remove the link in `{}`, or move `root` to where the directories are", path.display()),
        );
    }
    Ok(real)
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

/// Checks that no path is another or lies inside another.
///
/// Sorted by its parts, a path comes directly before one inside of it, if there is any.
fn check_apart(mut paths: Vec<(PathBuf, &Owned)>) -> Result<()> {
    paths.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.place.line().cmp(&other.place.line())));
    for pair in paths.windows(2) {
        if let [(outer, one), (inner, other)] = pair
            && inner.starts_with(outer)
        {
            return Err(overlap(outer, one, inner, other));
        }
    }
    Ok(())
}

fn overlap(outer: &Path, one: &Owned, inner: &Path, other: &Owned) -> Diagnostic {
    let of_one = match one.place.line() {
        Some(line) => format!("of the component `{}` (line {line})", one.name),
        None => format!("of the component `{}`", one.name),
    };
    let what = if outer == inner {
        format!(
            "the components `{}` and `{}` have one directory, `{}`",
            one.name,
            other.name,
            outer.display()
        )
    } else {
        format!(
            "the directory `{}` of the component `{}` lies inside the directory `{}` {of_one}",
            inner.display(),
            other.name,
            outer.display()
        )
    };
    // One that the file does not name has no line.
    let place = if other.place.line().is_some() { &other.place } else { &one.place };
    Diagnostic::new(
        place.clone(),
        what,
        format!("give `{}` and `{}` directories of their own, side by side", one.name, other.name),
    )
}
