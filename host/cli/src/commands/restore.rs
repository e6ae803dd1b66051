//! `minisnap restore`

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use minisnap_host::{Error, Reader, Skipped, Soundness};

use crate::failure::{Failure, plain};
use crate::output::{Output, Unwritten, note, print};
use crate::progress::Progress;
use crate::server::Server;
use crate::settings::size;
use crate::stores::reader;

const EXAMPLE: &str = "Examples:
  minisnap restore ./snapshots > state.json
  minisnap restore ./snapshots --json | jq .seq";

/// The state is read and written in chunks of this many bytes.
const CHUNK: u64 = 64 << 10;

/// Print the newest sound state, and its number to standard error
///
/// Every byte is checked before the first one is printed. Warnings on standard error name newer generations that are
/// damaged, and a snapshot that cannot be verified because another program wrote it.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Restore {
    /// The directory of the snapshots
    dir: PathBuf,
    /// Restore this generation instead of the newest sound one
    #[arg(long, value_name = "N")]
    seq: Option<u64>,
    /// Write to this file atomically, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print {"seq":N,"state":...}, and nothing to standard error
    #[arg(long)]
    json: bool,
    /// Size limit of the state
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_state: Option<u64>,
    #[command(flatten)]
    server: Server,
}

impl Restore {
    pub fn run(self) -> Result<(), Failure> {
        let output = Output::find(self.output.as_deref(), Some(&self.dir))?;
        let about_dir = &Failure::about_one_of(&self.dir, self.seq.is_some());
        let mut store = reader(&self.dir, &self.server)?;
        let checking = Progress::waiting("checking");
        let mut reader = match self.seq {
            None => store.open_reader(),
            Some(seq) => store.open_reader_at(seq),
        }
        .map_err(about_dir)?;
        drop(checking);
        warn_of(reader.skipped())?;
        let (seq, size) = (reader.info().seq, reader.info().size);
        if reader.info().soundness == Soundness::Unverified {
            let warning = format!("warning: another program wrote the snapshot {seq}: no sum verifies it\n");
            note(&warning)?;
        }
        if let Some(max_state) = self.max_state.filter(|&max_state| size > max_state) {
            return Err(Failure::too_large(&self.dir, Some(size), max_state, false));
        }

        let to_terminal = self.output.is_none() && io::stdout().is_terminal();
        output.write(|to| {
            if self.json {
                to.write_all(format!("{{\"seq\":{seq},\"state\":").as_bytes())?;
            }
            let progress =
                if to_terminal { Progress::none() } else { Progress::new("restoring", Some(size)) };
            copy(&mut reader, to, &progress, about_dir)?;
            if self.json {
                to.write_all(b"}\n")?;
            }
            Ok(())
        })?;
        if !self.json {
            // Where a person looks on, the number gets a line of its own; a file or a pipe gets the exact bytes.
            if to_terminal {
                print(b"\n")?;
            }
            note(&format!("seq {seq}\n"))?;
        }
        Ok(())
    }
}

fn copy(
    reader: &mut Reader<'_>,
    to: &mut dyn Write,
    progress: &Progress,
    about_dir: impl Fn(Error) -> Failure,
) -> Result<(), Unwritten> {
    loop {
        let chunk = reader.read_chunk(CHUNK).map_err(|error| Unwritten::Source(about_dir(error)))?;
        if chunk.is_empty() {
            return Ok(());
        }
        to.write_all(&chunk)?;
        progress.advance(chunk.len() as u64);
    }
}

/// Tells on standard error which generations were damaged.
pub fn warn_of(skipped: &[Skipped]) -> Result<(), Failure> {
    let warnings: Vec<String> = skipped
        .iter()
        .map(|Skipped { seq, problem }| {
            let problem = plain(problem);
            format!("warning: the snapshot {seq} is damaged and was skipped: {problem}\n")
        })
        .collect();
    note(&warnings.concat())
}
