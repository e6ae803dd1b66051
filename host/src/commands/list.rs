//! `minisnap list`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Error, Info};

use super::output::print;
use super::progress::Progress;
use super::{Failure, reader, table};

const EXAMPLE: &str = "Examples:
  minisnap list ./history
  minisnap list ./history --json | jq '.generations[].seq'";

/// List the generations, newest first, with size, time and soundness
///
/// Every byte of each is read. On a terminal, `*` marks the one that restore would print.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct List {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Print {"layout":"pair"|"numbered"|null,"generations":[...]}, of which each is {"seq":N,"size":BYTES,
    /// "modified":"RFC 3339"|null,"soundness":"verified"|"unverified"|"damaged"|"unreadable"}, with "problem" for
    /// the last two; the layout is null and the list is empty where there is no snapshot yet
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let infos = generations(&self.dir)?;
        let text = if self.json {
            table::json_list(&infos)
        } else {
            require_any(&infos, &self.dir)?;
            table::list(&infos, io::stdout().is_terminal())
        };
        print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What is known of each generation, newest first; nothing where there is no directory yet.
pub fn generations(dir: &Path) -> Result<Vec<Info>, Failure> {
    let mut store = reader(dir)?;
    let _checking = Progress::waiting("checking");
    store.list().map_err(Failure::about(dir))
}

/// Fails where there is no generation.
pub fn require_any(infos: &[Info], dir: &Path) -> Result<(), Failure> {
    if infos.is_empty() { Err(Failure::about(dir)(Error::NotFound)) } else { Ok(()) }
}
