//! What lies in a directory whose snapshots are in an object store.

use std::fs;
use std::io;
use std::path::Path;

use crate::directory::entries;
use crate::error::{Error, Result};
use crate::grant::is_store_name;
use crate::names::{LATER, generation_in, is_own};

/// Whether there are snapshots in a directory.
pub(super) fn has_snapshots(dir: &Path) -> Result<bool> {
    let names = names_in(dir)?;
    let is_snapshot =
        |name: &String| is_own(name) && !name.ends_with(".tmp") && !name.ends_with(".new") || name == LATER;
    if names.iter().any(is_snapshot) {
        return Ok(true);
    }
    // In those of named stores, too.
    let mut folders = names.iter().filter(|name| is_store_name(name)).map(|name| dir.join(name));
    Ok(folders.any(|folder| names_in(&folder).is_ok_and(|names| names.iter().any(is_snapshot))))
}

/// Removes the generations that are in a folder, but this one.
pub(super) fn empty(folder: &Path, but: Option<&str>) -> Result<()> {
    for name in names_in(folder)? {
        // What is being made is its writer's.
        let is_generation = generation_in(&name).is_some_and(|(_, end)| end != ".json.tmp");
        if is_generation && but != Some(&name) {
            let path = folder.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    Ok(entries(folder)?.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
