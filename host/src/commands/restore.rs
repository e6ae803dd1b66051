//! `minisnap restore`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use minisnap_host::Grant;

use super::{Failure, Limit, minisnap, write_out};

const EXAMPLE: &str = "Examples:
  minisnap restore ./snapshots > state.json
  minisnap restore ./snapshots --json | jq .seq";

/// Print the stored state, exactly as stored, and its sequence number on standard error
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Restore {
    /// The directory of the snapshot
    dir: PathBuf,
    /// Write to this file, all of it or nothing, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print {"seq":N,"state":...} instead, and nothing on standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
}

impl Restore {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let about_dir = Failure::about(&self.dir);
        let minisnap = minisnap().map_err(&about_dir)?;
        let grant = self.limit.apply(Grant::new(&self.dir).read_only());
        let (state, seq) =
            minisnap.open(grant).and_then(|mut store| store.restore_text()).map_err(&about_dir)?;
        if self.json {
            let json = format!("{{\"seq\":{seq},\"state\":{state}}}\n");
            write_out(self.output.as_deref(), json.as_bytes())?;
        } else {
            write_out(self.output.as_deref(), state.as_bytes())?;
            eprintln!("seq {seq}");
        }
        Ok(ExitCode::SUCCESS)
    }
}
