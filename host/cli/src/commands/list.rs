//! `minisnap list`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use minisnap_host::{Error, Info, Layout};

use crate::failure::Failure;
use crate::output::print;
use crate::progress::Progress;
use crate::server::Server;
use crate::stores::reader;
use crate::table::{self, Beside};

const EXAMPLE: &str = "Examples:
  minisnap list ./history
  minisnap list ./history --json | jq '.generations[].seq'";

/// List the generations, newest first, with size, time and soundness
///
/// Reads every byte of each. On a terminal, `*` marks the one that restore would print. Below stand the files of those that
/// were set aside as damaged, or undone by a rollback.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct List {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Print {"layout":"pair"|"numbered"|null, "generations":[...], "set-aside":[FILE,...], "undone":[FILE,...]}, where
    /// each generation is {"seq":N, "size":BYTES, "modified":"RFC 3339"|null,
    /// "soundness":"verified"|"unverified"|"damaged"|"unreadable"}, with "problem" for the last two; the layout is null
    /// and the list is empty where there is no snapshot yet
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl List {
    pub fn run(self) -> Result<(), Failure> {
        let (layout, infos, beside) = generations(&self.dir, &self.server)?;
        let text = if self.json {
            table::json_list(layout, &infos, &beside)
        } else {
            table::list(require_any(layout, &self.dir)?, &infos, &beside, io::stdout().is_terminal())
        };
        print(text.as_bytes())
    }
}

/// The layout, what is known of each generation, newest first, and what was one; nothing where there is no snapshot yet.
pub fn generations(dir: &Path, server: &Server) -> Result<(Option<Layout>, Vec<Info>, Beside), Failure> {
    let mut store = reader(dir, server)?;
    let _checking = Progress::waiting("checking");
    let infos = store.generations().map_err(Failure::about(dir))?;
    let layout = if infos.is_empty() { None } else { Some(store.layout().map_err(Failure::about(dir))?) };
    let own = match store.files() {
        Ok(files) => files.own,
        // A directory with such a name is nothing that was a generation.
        Err(Error::NotFound | Error::Io(_)) => Vec::new(),
        Err(error) => return Err(Failure::about(dir)(error)),
    };
    let named = |what: &str| own.iter().filter(|name| name.contains(what)).cloned().collect();
    let beside = Beside { set_aside: named(".damaged"), undone: named(".undone") };
    Ok((layout, infos, beside))
}

/// Fails where there is no generation.
pub fn require_any(layout: Option<Layout>, dir: &Path) -> Result<Layout, Failure> {
    layout.ok_or_else(|| Failure::about(dir)(Error::NotFound))
}
