//! The store component, and stores that are opened with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use minisnap_host::{Error, Grant, Minisnap, MinisnapBuilder, SnapshotStore};
use wasmtime::Config;

use crate::failure::Failure;

/// Where compiled code is kept for the next run, unless this user has no home. What lies there is executed.
pub fn cache_folder() -> Option<PathBuf> {
    directories_next::ProjectDirs::from("", "", "minisnap").map(|dirs| dirs.cache_dir().to_owned())
}

/// The store component, compiled or from the user's cache folder.
pub fn minisnap() -> Result<Minisnap, Error> {
    let mut config = Config::new();
    // Where in the component's code a trap happened tells nobody anything: without that, the code loads faster.
    config.generate_address_map(false);
    // Without a folder, it only takes longer.
    let minisnap =
        cache_folder().into_iter().fold(Minisnap::builder().config(config), MinisnapBuilder::cache);
    let minisnap = minisnap.build()?;
    // The process will end soon, which takes it down faster.
    std::mem::forget(minisnap.clone());
    Ok(minisnap)
}

/// A store that only reads `dir`.
pub fn reader(dir: &Path) -> Result<SnapshotStore, Failure> {
    let grant = Grant::new(dir).read_only().deadline(Duration::MAX);
    minisnap().and_then(|minisnap| minisnap.open(grant)).map_err(Failure::about(dir))
}
