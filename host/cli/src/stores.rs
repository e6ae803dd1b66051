//! The store component, and stores that are opened with it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use minisnap_host::{Error, Grant, Minisnap, MinisnapBuilder, SnapshotStore};
use tracing::debug;
use wasmtime::Config;

use crate::failure::Failure;
use crate::server::{Server, Writing, is_remote};

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

/// How often it is tried again to open a directory that is in use.
const PAUSE: Duration = Duration::from_millis(20);

/// An option of the verbs that hold a directory for writing.
#[derive(Args)]
pub struct Wait {
    /// Wait this long for a directory that is in use [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

impl Wait {
    /// Opens a store, once nobody else holds its directory.
    pub fn open(&self, minisnap: &Minisnap, grant: &Grant) -> Result<SnapshotStore, Error> {
        self.for_its_end(|| minisnap.open(grant.clone()))
    }

    /// Opens what somebody else may hold, again and again.
    pub fn for_its_end<T>(&self, open: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let started = Instant::now();
        loop {
            match open() {
                Err(Error::Busy(who)) if self.wait.is_some_and(|wait| started.elapsed() < wait) => {
                    debug!(who, "waiting");
                    thread::sleep(PAUSE);
                }
                opened => return opened,
            }
        }
    }

    /// Opens a store on `dir`, which is not made.
    pub fn open_existing(&self, dir: &Path, writing: &Writing) -> Result<SnapshotStore, Failure> {
        let grant = writing.grant(dir)?;
        let open = || {
            let minisnap = minisnap()?;
            let is_there = match is_remote(dir) {
                true => !minisnap.open(grant.clone().read_only())?.files()?.own.is_empty(),
                false => dir.try_exists().unwrap_or(true),
            };
            if is_there { self.open(&minisnap, &grant.clone().must_exist()) } else { Err(Error::NotFound) }
        };
        open().map_err(Failure::about(dir))
    }
}

/// A store that only reads `dir`.
pub fn reader(dir: &Path, server: &Server) -> Result<SnapshotStore, Failure> {
    let grant = server.grant(dir)?.read_only();
    minisnap().and_then(|minisnap| minisnap.open(grant)).map_err(Failure::about(dir))
}
