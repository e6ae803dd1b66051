//! The command line `minisnap`: parse, run, exit code.

mod commands;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    cli.start_logging();
    survive_file_size_limit();
    match cli.run() {
        Ok(code) => code,
        Err(failure) => {
            // Where standard error is closed or full, the exit code says it alone.
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
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
