//! The verbs, a file each, and what they share: arguments, failures, exit codes.

mod component;
mod create;
mod failure;
mod grants;
mod info;
mod list;
mod output;
mod preopen;
mod progress;
mod restore;
mod run;
mod table;
mod verify;

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use minisnap_host::{Error, Grant, Layout, Minisnap, Skipped, Store};
use wasmtime::Config;

use failure::{Failure, Subject, plain};
pub use output::print_usage;

const EXIT_CODES: &str = "\
Example:
  echo '{\"counter\":42}' | minisnap create ./snapshots --seq 10 && minisnap restore ./snapshots

Exit codes:
   0  done                                   6  the snapshot is damaged
   1  there is no snapshot                   7  the disk, a quota or the directory is full
   2  wrong arguments                        8  access is denied
   3  the state is not one JSON value        9  the directory is in use
   4  the sequence number is too low        10  anything else that the system said
   5  the state is larger than the limit    11  a component could not be loaded, or trapped";

/// Snapshots of an application's state, each with the number of the last log record it contains
#[derive(Parser)]
#[command(name = "minisnap", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Tell on standard error what happens
    #[arg(short, long, global = true)]
    verbose: bool,
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
    Run(run::Run),
    Grants(grants::Grants),
    Component(component::Component),
}

impl Cli {
    /// With `--verbose`, prints this program's own events, and not those of what it is made of.
    pub fn start_logging(&self) {
        use tracing_subscriber::filter::{LevelFilter, Targets};
        use tracing_subscriber::prelude::*;

        if self.verbose {
            let ours = Targets::new().with_target("minisnap", LevelFilter::DEBUG);
            let lines = tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal());
            let lines = lines.with_writer(io::stderr).with_filter(ours);
            tracing_subscriber::registry().with(lines).init();
        }
    }

    /// Does what the verb says.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.verb {
            Verb::Create(verb) => verb.run(),
            Verb::Restore(verb) => verb.run(),
            Verb::List(verb) => verb.run(),
            Verb::Info(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Grants(verb) => verb.run(),
            Verb::Component(verb) => verb.run(),
        }
    }
}

/// What the verbs that write say of the directory.
#[derive(Args)]
struct Settings {
    /// The layout of a directory that holds no snapshot yet; another keeps the one it has
    #[arg(long, value_enum, default_value = "pair")]
    layout: LayoutName,
    /// How many generations to keep in the layout `numbered`; without it, 5, and all that another program wrote
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroU32>,
    /// Fail if the directory is missing, instead of making it: for a volume that may not be mounted
    #[arg(long)]
    must_exist: bool,
    /// The largest state to accept, as given and as stored
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_state: u64,
    /// The most that the directory may hold; older generations make room, the newest does not
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_total: Option<u64>,
}

impl Settings {
    fn apply(&self, grant: Grant) -> Grant {
        let mut grant = grant.layout(self.layout.into()).max_state(self.max_state);
        if let Some(generations) = self.keep {
            grant = grant.keep(generations);
        }
        if self.must_exist {
            grant = grant.must_exist();
        }
        if let Some(bytes) = self.max_total {
            grant = grant.max_total(bytes);
        }
        grant
    }
}

/// A layout, as it is written on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum LayoutName {
    /// The newest snapshot, as minisnap 0.1.0 to 0.1.2 keep it
    Pair,
    /// The newest generations, a file each, as minisnap 0.1.3 keeps them
    Numbered,
}

impl From<LayoutName> for Layout {
    fn from(layout: LayoutName) -> Self {
        match layout {
            LayoutName::Pair => Layout::Pair,
            LayoutName::Numbered => Layout::Numbered,
        }
    }
}

/// Bytes, as people write them.
fn size(text: &str) -> Result<u64, String> {
    let size = text
        .parse::<ByteSize>()
        .map_err(|_| "give a number of bytes, or one such as 64KiB or 1GiB".to_owned())?;
    Ok(size.as_u64())
}

/// Where compiled code is kept for the next run, unless this user has no home. What lies there is executed.
fn cache_folder() -> Option<PathBuf> {
    directories_next::ProjectDirs::from("", "", "minisnap").map(|dirs| dirs.cache_dir().to_owned())
}

/// The store component, compiled or from the user's cache folder.
fn minisnap() -> Result<Minisnap, Error> {
    let mut config = Config::new();
    // Where in the component's code a trap happened tells nobody anything: without that, the code loads faster.
    config.generate_address_map(false);
    let minisnap = match cache_folder() {
        Some(folder) => Minisnap::with_cache(config, &folder),
        // It only takes longer.
        None => Minisnap::with_config(config),
    }?;
    // The process will end soon, which takes it down faster.
    std::mem::forget(minisnap.clone());
    Ok(minisnap)
}

/// A store that only reads `dir`.
fn reader(dir: &Path) -> Result<Store, Failure> {
    let grant = Grant::new(dir).read_only().deadline(Duration::MAX);
    minisnap().and_then(|minisnap| minisnap.open(grant)).map_err(Failure::about(dir))
}

/// Tells on standard error which generations were damaged.
fn warn_of(skipped: &[Skipped]) -> Result<(), Failure> {
    let warnings: Vec<String> = skipped
        .iter()
        .map(|Skipped { seq, problem }| {
            let problem = plain(problem);
            format!("warning: the snapshot {seq} is damaged and was skipped: {problem}\n")
        })
        .collect();
    output::print_beside(warnings.concat().as_bytes())
}
