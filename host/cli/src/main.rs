//! The command line `minisnap`: parse, run, exit code.

mod archive;
mod cli;
mod commands;
mod failure;
mod habits;
mod output;
mod preopen;
mod progress;
mod server;
mod settings;
mod signals;
mod stores;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

fn main() -> ExitCode {
    let command = cli::Cli::command().color(habits::Habits::get().color);
    let matches = command.try_get_matches_from(habits::arguments());
    let ran = match matches.and_then(|matches| cli::Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            survive_file_size_limit();
            cli.start_logging().and_then(|()| cli.run())
        }
        Err(usage) => output::print_usage(&usage),
    };
    ran.unwrap_or_else(|failure| output::report(&failure))
}

/// What exceeds a limit on the size of files is to be an error of the write, and not the end of the process.
fn survive_file_size_limit() {
    use signal_hook::{consts::SIGXFSZ, flag};
    // Without this it ends the process, which costs no data either.
    let _ = flag::register(SIGXFSZ, std::sync::Arc::default());
}
