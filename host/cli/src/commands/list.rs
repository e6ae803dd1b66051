//! `minisnap list`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Error, Info, Layout};

use crate::failure::Failure;
use crate::output::print;
use crate::progress::Progress;
use crate::stores::reader;
use crate::table;

const EXAMPLE: &str = "Examples:
  minisnap list ./history
  minisnap list ./history --json | jq '.generations[].seq'";

/// List the generations, newest first, with size, time and soundness
///
/// Reads every byte of each. On a terminal, `*` marks the one that restore would print.
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
        let (layout, infos) = generations(&self.dir)?;
        let text = if self.json {
            table::json_list(layout, &infos)
        } else {
            table::list(require_any(layout, &self.dir)?, &infos, io::stdout().is_terminal())
        };
        print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The layout, and what is known of each generation, newest first; nothing where there is no snapshot yet.
pub fn generations(dir: &Path) -> Result<(Option<Layout>, Vec<Info>), Failure> {
    let mut store = reader(dir)?;
    let _checking = Progress::waiting("checking");
    let infos = store.generations().map_err(Failure::about(dir))?;
    let layout = if infos.is_empty() { None } else { Some(store.layout().map_err(Failure::about(dir))?) };
    Ok((layout, infos))
}

/// Fails where there is no generation.
pub fn require_any(layout: Option<Layout>, dir: &Path) -> Result<Layout, Failure> {
    layout.ok_or_else(|| Failure::about(dir)(Error::NotFound))
}
