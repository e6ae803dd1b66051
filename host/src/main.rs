//! The command line `minisnap`: parse, run, exit code.

mod commands;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    cli.start_logging();
    match cli.run() {
        Ok(code) => code,
        Err(failure) => {
            // Where standard error is closed or full, the exit code says it alone.
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}
