//! `minisnap component`

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use minisnap_host::COMPONENT;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Output, Unwritten, print};

const EXAMPLE: &str = "Example:
  minisnap component --output minisnap.wasm";

/// Print the store component, for other hosts
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Component {
    /// Write to this file atomically, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print {"output":FILE,"size":BYTES} once FILE is written, and errors as JSON
    #[arg(long, requires = "output")]
    json: bool,
}

impl Component {
    pub fn run(self) -> Result<(), Failure> {
        if self.output.is_none() && io::stdout().is_terminal() {
            let what = "standard output is a terminal, and the component is binary";
            return Err(Failure::refused(10, what, "give --output FILE, or redirect it"));
        }
        let output = Output::find(self.output.as_deref(), None)?;
        output.write(|to| to.write_all(COMPONENT).map_err(Unwritten::Output))?;
        if let Some(file) = self.output.filter(|_| self.json) {
            let told = json!({"output": file.to_string_lossy(), "size": COMPONENT.len()});
            print(format!("{told}\n").as_bytes())?;
        }
        Ok(())
    }
}
