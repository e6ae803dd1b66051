//! `minisnap completions`

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::failure::Failure;
use crate::output::print;

const EXAMPLE: &str = "Example:
  minisnap completions bash > ~/.local/share/bash-completion/completions/minisnap";

/// Print what a shell needs to complete verbs and options
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub struct Completions {
    /// The shell
    shell: Shell,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
}

impl Completions {
    /// For the command line as it is declared.
    pub fn run(self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "minisnap", &mut script);
        print(&script)
    }
}
