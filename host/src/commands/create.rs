//! `minisnap create`

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{Error, Grant};

use super::{Failure, Limit, minisnap};

const EXAMPLE: &str = "Example:
  echo '{\"counter\":42}' | minisnap create ./snapshots --seq 10";

/// Make a state the stored snapshot, durably
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Create {
    /// The directory of the snapshot; it is made if it does not exist
    dir: PathBuf,
    /// The number of the last log record that the state contains
    #[arg(long, value_name = "N")]
    seq: u64,
    /// The file that holds the state, as JSON; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    limit: Limit,
}

impl Create {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let about_dir = Failure::about(&self.dir);
        // The state first: what cannot be read shows before a directory is made.
        let state = self.read_state()?;
        let minisnap = minisnap().map_err(&about_dir)?;
        let mut store = minisnap.open(self.limit.apply(Grant::new(&self.dir))).map_err(&about_dir)?;
        store.create_text(&state, self.seq).map_err(|error| match error {
            Error::InvalidState(_) => Failure::about(self.source())(error),
            error => about_dir(error),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn read_state(&self) -> Result<String, Failure> {
        let failed = |error: &io::Error| Failure::file("read", self.source(), error);
        let limit = self.limit.max_state;
        let mut bytes = Vec::new();
        let read = if self.is_stdin() {
            io::stdin().lock().take(limit.saturating_add(1)).read_to_end(&mut bytes)
        } else {
            let file = fs::File::open(&self.file).map_err(|error| failed(&error))?;
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)
        };
        read.map_err(|error| failed(&error))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::about(self.source())(Error::TooLarge(limit)));
        }
        String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
            let problem = format!("line {line} column {column}: a byte is not UTF-8");
            Failure::about(self.source())(Error::InvalidState(problem))
        })
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn source(&self) -> &Path {
        if self.is_stdin() { Path::new("standard input") } else { &self.file }
    }
}
