//! `minisnap rollback`

use std::path::PathBuf;

use clap::Args;
use minisnap_host::{Error, Layout, Soundness};
use serde_json::json;

use super::list::generations;
use crate::failure::Failure;
use crate::output::print;
use crate::server::Writing;
use crate::stores::Wait;

const EXAMPLE: &str = "Examples:
  minisnap list ./history
  minisnap rollback ./history --to 41 --dry-run
  minisnap rollback ./history --to 41";

/// Go back to an older generation: make it the newest one
///
/// Undoes the newer generations: renames them to *.undone. Whoever restores meanwhile finds the snapshot that was newest, or this
/// generation. Nothing but clear counts or removes *.undone. The next create may take any number that is not lower: so this is
/// also the way out of a number that is too high.
///
/// The log still holds the records of what was undone: start the component without those. To bring a generation back, give it
/// its name again, with mv -n. A pair has no older snapshot: to give it a lower number, restore it, and create it again in an
/// empty directory.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Rollback {
    /// The directory of the snapshots, in the layout `numbered`; a pair keeps no older snapshot
    dir: PathBuf,
    /// Sequence number of the generation to go back to
    #[arg(long, value_name = "N")]
    to: u64,
    /// Print what would be done, and change nothing; whether you may do it is not checked
    #[arg(long)]
    dry_run: bool,
    /// Print {"newest":N,"undone":[N,...]}, newest first
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    writing: Writing,
}

impl Rollback {
    pub fn run(self) -> Result<(), Failure> {
        let undone = if self.dry_run { self.planned()? } else { self.done()? };
        let text = if self.json {
            format!("{}\n", json!({"newest": self.to, "undone": undone}))
        } else {
            self.text(&undone)
        };
        print(text.as_bytes())
    }

    fn done(&self) -> Result<Vec<u64>, Failure> {
        let about = Failure::about_one_of(&self.dir, true);
        let mut store = self.wait.open_existing(&self.dir, &self.writing)?;
        store.rollback(self.to).map_err(&about)
    }

    fn planned(&self) -> Result<Vec<u64>, Failure> {
        let (layout, infos, _) = generations(&self.dir, &self.writing.server)?;
        let about = Failure::about_one_of(&self.dir, true);
        if layout == Some(Layout::Pair) {
            let what = "it holds one snapshot, and no older one to go back to";
            return Err(about(Error::Io(what.to_owned().into())));
        }
        let target = infos.iter().find(|info| info.seq == self.to).ok_or_else(|| about(Error::NotFound))?;
        match &target.soundness {
            Soundness::Damaged(problem) => return Err(about(Error::Corrupt(problem.clone()))),
            Soundness::Unreadable(problem) => return Err(about(Error::Io(problem.clone().into()))),
            Soundness::Verified | Soundness::Unverified => {}
        }
        Ok(infos.iter().map(|info| info.seq).take_while(|&seq| seq > self.to).collect())
    }

    fn text(&self, undone: &[u64]) -> String {
        if undone.is_empty() {
            return format!("{} is the newest already\n", self.to);
        }
        let list = undone.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match self.dry_run {
            true => format!("would undo {list}; {} would be the newest\n", self.to),
            false => format!("undone: {list}; {} is the newest\n", self.to),
        }
    }
}
