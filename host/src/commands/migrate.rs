//! `minisnap migrate`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use minisnap_host::{Error, Grant, Migration};

use super::output::print;
use super::progress::Progress;
use super::{Failure, LayoutName, minisnap, size, table, warn_of};

const EXAMPLE: &str = "Example:
  minisnap migrate ./snapshots --to numbered";

/// Rewrite the newest sound snapshot in another layout
///
/// There is no moment in which a crash loses it: the next create finishes what was begun, or undoes it. Older
/// generations have no place in the layout `pair`, and are removed.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Migrate {
    /// The directory of the snapshots
    dir: PathBuf,
    /// The layout to have
    #[arg(long, value_enum)]
    to: LayoutName,
    /// The most that the directory may hold, both layouts together
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_total: Option<u64>,
}

impl Migrate {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let about_dir = Failure::about_limited(&self.dir, self.max_total);
        // A wrong name must not make a directory.
        if let Ok(false) = self.dir.try_exists() {
            return Err(about_dir(Error::NotFound));
        }
        let mut grant = Grant::new(&self.dir).deadline(Duration::MAX);
        if let Some(bytes) = self.max_total {
            grant = grant.max_total(bytes);
        }
        let mut store = minisnap().and_then(|minisnap| minisnap.open(grant)).map_err(&about_dir)?;
        let migrating = Progress::waiting("migrating");
        let to = self.to.into();
        let Migration { seq, from, removed, skipped } = store.migrate(to).map_err(&about_dir)?;
        drop(migrating);
        warn_of(&skipped)?;
        let (from, to) = (table::layout(from), table::layout(to));
        let done = match removed {
            _ if from == to => format!("seq {seq}, in the layout {to} already\n"),
            0 => format!("seq {seq}, from {from} to {to}\n"),
            1 => format!("seq {seq}, from {from} to {to}; 1 older generation was removed\n"),
            removed => format!("seq {seq}, from {from} to {to}; {removed} older generations were removed\n"),
        };
        print(done.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
