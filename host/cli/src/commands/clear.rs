//! `minisnap clear`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use minisnap_host::{Error, Files, Grant};
use serde_json::json;

use crate::failure::Failure;
use crate::output::print;
use crate::stores::{minisnap, reader};

const EXAMPLE: &str = "Examples:
  minisnap clear ./snapshots
  minisnap clear ./snapshots --yes";

/// Erase every file of a store: its snapshots, those set aside or undone, and what is left of a crash
///
/// Whoever restores meanwhile, or after a crash, finds the newest snapshot or none, never an older one. The directory stays,
/// and whatever else is in it: stores of a name, and what other programs put there, are listed. Copies and backups, and the
/// blocks of the disk, are not reached.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Clear {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Erase; without this, what would be erased is printed, and the exit code is 2
    #[arg(long)]
    yes: bool,
    /// Print {"erased":true|false,"files":[NAME,...],"left":[NAME,...]}
    #[arg(long)]
    json: bool,
}

impl Clear {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Files { own, others } = if self.yes { self.erased()? } else { self.planned()? };
        let text = if self.json {
            format!("{}\n", json!({"erased": self.yes, "files": own, "left": others}))
        } else {
            let (erased, left) = if self.yes { ("erased", "left") } else { ("would erase", "would leave") };
            let lines = own.iter().map(|name| format!("{erased} {name}\n"));
            lines.chain(others.iter().map(|name| format!("{left} {name}\n"))).collect()
        };
        print(text.as_bytes())?;
        if self.yes {
            return Ok(ExitCode::SUCCESS);
        }
        let what = format!("`{}`: nothing was erased", self.dir.display());
        Err(Failure::refused(2, what, "give --yes to erase these files for good"))
    }

    fn planned(&self) -> Result<Files, Failure> {
        reader(&self.dir)?.files().map_err(Failure::about(&self.dir))
    }

    fn erased(&self) -> Result<Files, Failure> {
        let about = Failure::about(&self.dir);
        // Nor is one made.
        if let Ok(false) = self.dir.try_exists() {
            return Err(about(Error::NotFound));
        }
        let grant = Grant::new(&self.dir).must_exist().deadline(Duration::MAX);
        let mut store = minisnap().and_then(|minisnap| minisnap.open(grant)).map_err(&about)?;
        let own = store.clear().map_err(&about)?;
        Ok(Files { own, others: store.files().map_err(&about)?.others })
    }
}
