//! The verbs and their options, as clap parses them.

use std::io;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, Parser, Subcommand};

use crate::commands::{
    clear, completions, component, copy, create, grants, info, list, man, remote, restore, rollback, run,
    settle, status, verify, wit,
};
use crate::failure::Failure;
use crate::habits::Habits;

const EXIT_CODES: &str = "\
Example:
  echo '{\"counter\":42}' | minisnap create ./snapshots --seq 10
  minisnap restore ./snapshots

Exit codes:
   0  done                                   6  the snapshot is damaged
   1  there is no snapshot, or an old one    7  the disk or directory is full
   2  wrong arguments                        8  access is denied
   3  the state is not one JSON value        9  the directory is in use
   4  the sequence number is too low        10  anything else the system said
   5  the state is larger than the limit    11  a component cannot load or traps";

/// Store snapshots of a state, each with the number of the last log record in it
#[derive(Parser)]
#[command(name = "minisnap", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Log progress to standard error, or what RUST_LOG says
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print no warnings, notes or progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Colour errors and help: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto, hide_default_value = true, hide_possible_values = true)]
    color: ColorChoice,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Create(create::Create),
    Restore(restore::Restore),
    List(list::List),
    Info(info::Info),
    Verify(verify::Verify),
    Settle(settle::Settle),
    Rollback(rollback::Rollback),
    Clear(clear::Clear),
    Copy(copy::Copy),
    Run(run::Run),
    Grants(grants::Grants),
    Status(status::StatusOf),
    Remote(remote::Remote),
    Component(component::Component),
    Wit(wit::Wit),
    Completions(completions::Completions),
    Man(man::ManPage),
}

impl Cli {
    /// Logs what `RUST_LOG` says, or with `--verbose` this program's own events, and none of its libraries'.
    pub fn start_logging(&self) -> Result<(), Failure> {
        use tracing_subscriber::filter::{LevelFilter, Targets};
        use tracing_subscriber::prelude::*;

        let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
        let targets = match asked.as_deref().map(str::parse::<Targets>) {
            Some(targets) => targets.map_err(|error| {
                let help = "set it to levels by target, such as minisnap_host=debug, or unset it";
                Failure::refused(2, format!("`RUST_LOG`: {error}"), help)
            })?,
            None if self.verbose => Targets::new().with_target("minisnap", LevelFilter::DEBUG),
            None => return Ok(()),
        };
        let lines = tracing_subscriber::fmt::layer().with_ansi(Habits::get().colors());
        let lines = lines.with_writer(io::stderr).with_filter(targets);
        tracing_subscriber::registry().with(lines).init();
        Ok(())
    }

    /// Runs the verb.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let done = match self.verb {
            // The only one that ends as a component does.
            Verb::Run(verb) => return verb.run(),
            Verb::Create(verb) => verb.run(),
            Verb::Restore(verb) => verb.run(),
            Verb::List(verb) => verb.run(),
            Verb::Info(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Settle(verb) => verb.run(),
            Verb::Rollback(verb) => verb.run(),
            Verb::Clear(verb) => verb.run(),
            Verb::Copy(verb) => verb.run(),
            Verb::Grants(verb) => verb.run(),
            Verb::Status(verb) => verb.run(),
            Verb::Remote(verb) => verb.run(),
            Verb::Component(verb) => verb.run(),
            Verb::Wit(verb) => verb.run(),
            Verb::Completions(verb) => verb.run(Cli::command()),
            Verb::Man(verb) => verb.run(Cli::command()),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}
