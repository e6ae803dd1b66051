//! `minisnap info`

use std::path::PathBuf;

use clap::Args;
use minisnap_host::{Layout, Soundness};
use serde_json::json;

use super::list::{generations, require_any};
use crate::failure::Failure;
use crate::output::print;
use crate::server::Server;
use crate::stores::reader;
use crate::table;

const EXAMPLE: &str = "Example:
  minisnap info ./snapshots --json";

/// Show layout, number, size and time of what restore would print
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Info {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Print {"layout":"pair"|"numbered", "generations":N, "damaged":N, "oldest":N, "seq":N, "size":BYTES,
    /// "modified":"RFC 3339"|null, "soundness":"verified"|"unverified"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Info {
    pub fn run(self) -> Result<(), Failure> {
        let (layout, infos, _) = generations(&self.dir, &self.server)?;
        let layout = require_any(layout, &self.dir)?;
        let Some(newest) = table::restored(&infos) else {
            // Which says what is wrong, unless somebody has made one since.
            let info = reader(&self.dir, &self.server)?.info().map_err(Failure::about(&self.dir))?;
            return self.show(layout, &info, info.seq, &infos);
        };
        let oldest = infos.iter().rev().find(|info| !matches!(info.soundness, Soundness::Damaged(_)));
        let oldest = match oldest.filter(table::is_sound) {
            Some(oldest) => oldest.seq,
            // Which says why one cannot be read.
            None => reader(&self.dir, &self.server)?.oldest_kept().map_err(Failure::about(&self.dir))?,
        };
        self.show(layout, newest, oldest, &infos)
    }

    fn show(
        &self,
        layout: Layout,
        newest: &minisnap_host::Info,
        oldest: u64,
        infos: &[minisnap_host::Info],
    ) -> Result<(), Failure> {
        let damaged = infos.len() - infos.iter().filter(table::is_sound).count();
        let text = if self.json {
            let mut value = table::json(newest);
            value["layout"] = layout.to_string().into();
            value["generations"] = json!(infos.len());
            value["damaged"] = json!(damaged);
            value["oldest"] = json!(oldest);
            format!("{value}\n")
        } else {
            let mut rows = vec![
                ("layout", layout.to_string()),
                ("generations", infos.len().to_string()),
                ("seq", newest.seq.to_string()),
                ("size", format!("{} ({} bytes)", table::size(newest.size), newest.size)),
                ("written", table::time(newest.modified).unwrap_or_else(|| "unknown".to_owned())),
                ("soundness", table::soundness(&newest.soundness).to_owned()),
            ];
            if damaged > 0 {
                rows.insert(2, ("damaged", damaged.to_string()));
            }
            if oldest != newest.seq {
                rows.push(("oldest", oldest.to_string()));
            }
            let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
            table::aligned(&rows, &[])
        };
        print(text.as_bytes())
    }
}
