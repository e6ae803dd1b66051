//! `minisnap restore`

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use minisnap_host::Grant;

use super::{Failure, Limit, minisnap, write_out, write_to};

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
            // Where a person looks on, the number gets a line of its own; a file or a pipe gets the exact bytes.
            if self.output.is_none() && io::stdout().is_terminal() {
                write_out(None, b"\n")?;
            }
            write_to(&mut io::stderr(), "standard error", format!("seq {seq}\n").as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
