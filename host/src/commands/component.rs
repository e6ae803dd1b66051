//! `minisnap component`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use minisnap_host::{COMPONENT, Error};

use super::{Failure, write_out};

const EXAMPLE: &str = "Example:
  minisnap component --output minisnap.wasm";

/// Write the store component, to compose it with others or to run it in another host
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Component {
    /// Write to this file, all of it or nothing, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Component {
    pub fn run(self) -> Result<ExitCode, Failure> {
        if self.output.is_none() && io::stdout().is_terminal() {
            let problem = "the component is binary: give --output FILE, or redirect it".to_owned();
            return Err(Failure::about(Path::new("standard output"))(Error::Io(problem)));
        }
        write_out(self.output.as_deref(), COMPONENT)?;
        Ok(ExitCode::SUCCESS)
    }
}
