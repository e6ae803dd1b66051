//! `minisnap clear`

use std::path::PathBuf;

use clap::Args;
use minisnap_host::Files;
use serde_json::json;

use crate::failure::{Failure, plain};
use crate::output::print;
use crate::server::Writing;
use crate::stores::{Wait, reader};

const EXAMPLE: &str = "Examples:
  minisnap clear ./snapshots
  minisnap clear ./snapshots --yes";

/// Erase every file of a store, for good
///
/// Its snapshots, those that were set aside (*.damaged) or undone (*.undone), and what is left of a crash. Whoever restores
/// meanwhile, or after a crash, finds the newest snapshot or none, never an older one. The directory stays, and so does whatever
/// else is in it, which is listed: named stores, which have directories of their own, and files of other
/// programs. Where one of these looks like a snapshot, no create begins until it is moved away.
///
/// It does not reach the log, copies, backups, or blocks that the disk has not used again.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Clear {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Erase. Without this option, print what would be erased, and exit with 2; whether you may erase it is not checked
    #[arg(long)]
    yes: bool,
    /// Print {"erased":true|false,"files":[NAME,...],"left":[NAME,...]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    writing: Writing,
}

impl Clear {
    pub fn run(self) -> Result<(), Failure> {
        let Files { own, others } = if self.yes { self.erased()? } else { self.planned()? };
        let text = if self.json {
            format!("{}\n", json!({"erased": self.yes, "files": own, "left": others}))
        } else {
            let (erased, left) = if self.yes { ("erased", "left") } else { ("would erase", "would leave") };
            let lines = own.iter().map(|name| format!("{erased} {}\n", plain(name)));
            lines.chain(others.iter().map(|name| format!("{left} {}\n", plain(name)))).collect()
        };
        print(text.as_bytes())?;
        if self.yes || own.is_empty() {
            return Ok(());
        }
        let what = format!("`{}`: nothing was erased", self.dir.display());
        Err(Failure::refused(2, what, "give --yes to erase these files for good"))
    }

    fn planned(&self) -> Result<Files, Failure> {
        reader(&self.dir, &self.writing.server)?.files().map_err(Failure::about(&self.dir))
    }

    fn erased(&self) -> Result<Files, Failure> {
        let about = Failure::about(&self.dir);
        let mut store = self.wait.open_existing(&self.dir, &self.writing)?;
        let own = store.clear().map_err(&about)?;
        Ok(Files { own, others: store.files().map_err(&about)?.others })
    }
}
