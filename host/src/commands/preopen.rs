//! `--dir`: folders of the host that `minisnap run` gives to a component beside its snapshots.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Failure;

/// A folder of the host, and what the component calls it.
#[derive(Clone)]
pub struct Preopen {
    pub host: PathBuf,
    pub guest: String,
}

impl std::str::FromStr for Preopen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("::") {
            Some((host, guest)) if !host.is_empty() && !guest.is_empty() && !goes_up(guest) => {
                Ok(Preopen { host: host.into(), guest: guest.to_owned() })
            }
            _ => Err("give a folder and what the component calls it, such as ./data::/data"),
        }
    }
}

/// Whether a path in the component leaves where it begins.
fn goes_up(guest: &str) -> bool {
    Path::new(guest).components().any(|part| matches!(part, Component::ParentDir | Component::Prefix(_)))
}

/// Checks that each folder exists and that none gives access to what is `protected`: a component that can write there
/// could change others' snapshots, or whom it is taken for.
pub fn check_apart(given: &[Preopen], protected: &[&Path]) -> Result<(), Failure> {
    for Preopen { host, .. } in given {
        let real = fs::canonicalize(host).map_err(|error| Failure::file("open", host, &error))?;
        for path in protected {
            let (path, on_the_way) = way(path);
            let is_held = |place: &PathBuf| place.starts_with(&real);
            if is_held(&path) || on_the_way.iter().any(is_held) || real.starts_with(&path) {
                return Err(Failure::refused(
                    2,
                    format!("--dir {} would give the component `{}`", host.display(), path.display()),
                    "give a folder that neither holds that nor lies in it: only the store may write there",
                ));
            }
        }
    }
    Ok(())
}

/// The most links that are followed on the way to one file, as by Linux.
const MAX_LINKS: usize = 40;

/// Where the path leads, without links as far as it exists; and what decides that: each link on the way, and each folder
/// that a `..` leaves, which a link could replace.
fn way(path: &Path) -> (PathBuf, Vec<PathBuf>) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut left: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
    let (mut on_the_way, mut links, mut real) = (Vec::new(), 0, PathBuf::new());
    while let Some(part) = left.pop_front() {
        if part == ".." {
            on_the_way.push(real.clone());
            real.pop();
            continue;
        }
        let place = real.join(&part);
        match fs::read_link(&place) {
            Ok(target) if links < MAX_LINKS => {
                target.iter().rev().for_each(|part| left.push_front(part.to_owned()));
                on_the_way.push(place);
                links += 1;
            }
            _ => real = place,
        }
    }
    (real, on_the_way)
}
