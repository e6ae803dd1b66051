//! `minisnap verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Error, Info};

use super::list::{generations, require_any};
use super::output::print;
use super::{Failure, table};

const EXAMPLE: &str = "Example:
  minisnap verify ./snapshots && echo sound";

/// Read every byte of every generation, compare the sums, and fail if any is damaged
///
/// A snapshot that another program wrote has no sum: its number and its JSON are checked, and it is unverified.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Verify {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Print what `minisnap list --json` prints
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let infos = generations(&self.dir)?;
        if self.json {
            print(table::json_list(&infos).as_bytes())?;
        }
        require_any(&infos, &self.dir)?;
        if !self.json {
            print(table::list(&infos, false).as_bytes())?;
        }
        let problems: Vec<&str> = infos.iter().filter_map(table::problem).collect();
        if problems.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let restored = infos.iter().find(table::is_sound);
        let rest = match restored {
            Some(Info { seq, .. }) => format!("; `restore` returns the snapshot {seq}"),
            None => String::new(),
        };
        Err(Failure::about(&self.dir)(Error::Corrupt(format!("{}{rest}", problems.join("; ")))))
    }
}
