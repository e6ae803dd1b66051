//! `minisnap settle`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::output::print;
use crate::server::Writing;
use crate::stores::Wait;

const EXAMPLE: &str = "Example:
  minisnap settle ./snapshots";

/// Finish or remove what a crash left, as the next create would
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Settle {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Print {"settled":N}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    writing: Writing,
}

impl Settle {
    pub fn run(self) -> Result<(), Failure> {
        let about = Failure::about(&self.dir);
        let mut store = self.wait.open_existing(&self.dir, &self.writing)?;
        let settled = store.settle().map_err(&about)?;
        let text = match (self.json, settled) {
            (true, _) => format!("{}\n", json!({"settled": settled})),
            (false, 0) => "there was nothing to settle\n".to_owned(),
            (false, 1) => "1 file of an earlier crash was finished or removed\n".to_owned(),
            (false, _) => format!("{settled} files of an earlier crash were finished or removed\n"),
        };
        print(text.as_bytes())
    }
}
