//! The command line `minisnap`: parse, run, exit code.

mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return commands::print_usage(&usage).unwrap_or_else(|failure| failure.report()),
    };
    cli.start_logging();
    survive_file_size_limit();
    cli.run().unwrap_or_else(|failure| failure.report())
}

/// What exceeds a limit on the size of files is to be an error of the write, and not the end of the process.
#[cfg(unix)]
fn survive_file_size_limit() {
    use signal_hook::{consts::SIGXFSZ, flag};
    // Without this it ends the process, which costs no data either.
    let _ = flag::register(SIGXFSZ, std::sync::Arc::default());
}

#[cfg(not(unix))]
fn survive_file_size_limit() {}
