//! `minisnap restore`

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Error, Reader};

use super::progress::Progress;
use super::{Failure, Unwritten, reader, size, warn_of, write_out, write_out_with, write_to};

const EXAMPLE: &str = "Examples:
  minisnap restore ./snapshots > state.json
  minisnap restore ./snapshots --json | jq .seq";

/// The state is read and written in chunks of this many bytes.
const CHUNK: u64 = 64 << 10;

/// Print the newest sound state, and its sequence number on standard error
///
/// Every byte is checked before the first one is printed. Damaged generations that are newer are named on standard
/// error.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Restore {
    /// The directory of the snapshots
    dir: PathBuf,
    /// The generation to restore, instead of the newest sound one
    #[arg(long, value_name = "N")]
    seq: Option<u64>,
    /// Write to this file, all of it or nothing, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print {"seq":N,"state":...} instead, and the number not on standard error
    #[arg(long)]
    json: bool,
    /// Refuse a state that is larger than this
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_state: Option<u64>,
}

impl Restore {
    pub fn run(self) -> Result<ExitCode, Failure> {
        self.check_output()?;
        let about_dir =
            |error| Failure { has_others: self.seq.is_some(), ..Failure::about(&self.dir)(error) };
        let mut store = reader(&self.dir)?;
        let checking = Progress::waiting("checking");
        let mut reader = match self.seq {
            None => store.open_reader(),
            Some(seq) => store.open_reader_at(seq),
        }
        .map_err(about_dir)?;
        drop(checking);
        warn_of(reader.skipped())?;
        let (seq, size) = (reader.info().seq, reader.info().size);
        if let Some(max_state) = self.max_state.filter(|&max_state| size > max_state) {
            return Err(about_dir(Error::TooLarge(max_state)));
        }

        let output = self.output.as_deref();
        let to_terminal = self.output.is_none() && io::stdout().is_terminal();
        write_out_with(output, |to| {
            if self.json {
                write!(to, "{{\"seq\":{seq},\"state\":")?;
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
