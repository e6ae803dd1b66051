//! `minisnap info`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Layout, Soundness};
use serde_json::json;

use super::{Failure, reader, write_out};

const EXAMPLE: &str = "Example:
  minisnap info ./snapshots --json";

/// Show the stored snapshot's number, size, layout and soundness
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Info {
    /// The directory of the snapshot
    dir: PathBuf,
    /// Print {"layout":"pair","seq":N,"size":BYTES,"soundness":"verified"|"unverified"}
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let info = reader(&self.dir, None)?.info().map_err(Failure::about(&self.dir))?;
        let (layout, soundness) = (layout(info.layout), soundness(info.soundness));
        let text = if self.json {
            json!({ "layout": layout, "seq": info.seq, "size": info.size, "soundness": soundness })
                .to_string()
        } else {
            format!(
                "layout     {layout}\nseq        {}\nsize       {} bytes\nsoundness  {soundness}",
                info.seq, info.size
            )
        };
        write_out(None, format!("{text}\n").as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Pair => "pair",
    }
}

fn soundness(soundness: Soundness) -> &'static str {
    match soundness {
        Soundness::Verified => "verified",
        Soundness::Unverified => "unverified",
    }
}
