//! `minisnap restore`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use minisnap_host::Error;

use super::{Failure, Limit, reader, write_out, write_to};

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
        self.check_output()?;
        let about_dir = Failure::about(&self.dir);
        let (state, seq) = reader(&self.dir, Some(&self.limit))?.restore_text().map_err(about_dir)?;
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

    /// What is written into the store's own directory could replace a file of the snapshot.
    fn check_output(&self) -> Result<(), Failure> {
        let Some(output) = &self.output else { return Ok(()) };
        let folder =
            output.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        match (folder.and_then(|folder| folder.canonicalize().ok()), self.dir.canonicalize()) {
            (Some(folder), Ok(dir)) if folder.starts_with(&dir) => Err(Failure::about(output)(Error::Io(
                "this is in the directory of the snapshot: name a file outside of it".to_owned(),
            ))),
            _ => Ok(()),
        }
    }
}
