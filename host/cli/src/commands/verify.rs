//! `minisnap verify`

use std::path::PathBuf;

use clap::Args;
use minisnap_host::{Error, Info, Soundness};

use super::list::{generations, require_any};
use crate::failure::Failure;
use crate::output::print;
use crate::server::Server;
use crate::table;

const EXAMPLE: &str = "Example:
  minisnap verify ./snapshots && echo sound";

/// Read and check every generation; fail if any is not sound
///
/// A snapshot of another program has no sum: only its number and its JSON are checked, and it counts as unverified.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Verify {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Print what `minisnap list --json` prints
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Verify {
    pub fn run(self) -> Result<(), Failure> {
        let (layout, infos, beside) = generations(&self.dir, &self.server)?;
        if self.json {
            print(table::json_list(layout, &infos, &beside).as_bytes())?;
        }
        let layout = require_any(layout, &self.dir)?;
        if !self.json {
            print(table::list(layout, &infos, &beside, false).as_bytes())?;
        }
        let problems: Vec<&str> = infos.iter().filter_map(table::problem).collect();
        if problems.is_empty() {
            return Ok(());
        }
        let rest = match table::restored(&infos) {
            Some(Info { seq, .. }) => format!("; `restore` returns the snapshot {seq}"),
            None => "; `restore` fails".to_owned(),
        };
        let problem = format!("{}{rest}", problems.join("; "));
        let is_damaged = |info: &Info| matches!(info.soundness, Soundness::Damaged(_));
        let error = match infos.iter().any(is_damaged) {
            true => Error::Corrupt(problem),
            false => Error::Io(problem.into()),
        };
        Err(Failure::about(&self.dir)(error))
    }
}
