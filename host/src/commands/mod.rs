//! The verbs, a file each, and what they share: arguments, failures, exit codes.

mod component;
mod create;
mod grants;
mod info;
mod list;
mod migrate;
mod preopen;
mod progress;
mod restore;
mod run;
mod table;
mod verify;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use minisnap_host::config::ConfigError;
use minisnap_host::{Error, Grant, Layout, Minisnap, Skipped, Store};
use wasmtime::Config;

const EXIT_CODES: &str = "\
Example:
  echo '{\"counter\":42}' | minisnap create ./snapshots --seq 10 && minisnap restore ./snapshots

Exit codes:
   0  done                                   6  the snapshot is damaged
   1  there is no snapshot                   7  the disk or a quota is full
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
    Migrate(migrate::Migrate),
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
            Verb::Migrate(verb) => verb.run(),
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
    /// How many generations to keep in the layout `numbered`
    #[arg(long, value_name = "N", default_value = "5")]
    keep: NonZeroU32,
    /// The largest state to accept, as given and as stored
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    max_state: u64,
    /// The most that the directory may hold; older generations make room, the newest does not
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_total: Option<u64>,
}

impl Settings {
    fn apply(&self, grant: Grant) -> Grant {
        let grant = grant.layout(self.layout.into()).keep(self.keep).max_state(self.max_state);
        match self.max_total {
            Some(bytes) => grant.max_total(bytes),
            None => grant,
        }
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
            format!("warning: the snapshot {seq} is damaged and was skipped: {problem}\n")
        })
        .collect();
    write_to(&mut io::stderr(), "standard error", warnings.concat().as_bytes())
}

/// A verb that failed: what to print and what to exit with.
pub struct Failure {
    problem: Problem,
    /// What it was about: the snapshot directory, mostly.
    subject: PathBuf,
    /// Whether it asked for one of several snapshots.
    has_others: bool,
}

/// Why a verb failed.
enum Problem {
    /// What the store or the system answered.
    Error(Error),
    /// What the verb itself refused to do, its exit code, and what to do next.
    Refused { code: u8, what: String, help: String },
}

impl Failure {
    fn about(subject: &Path) -> impl Fn(Error) -> Failure + '_ {
        move |error| Failure {
            problem: Problem::Error(error),
            subject: subject.to_owned(),
            has_others: false,
        }
    }

    /// What is refused before anything is done; `what` names what it is about.
    fn refused(code: u8, what: impl Into<String>, help: impl Into<String>) -> Failure {
        let problem = Problem::Refused { code, what: what.into(), help: help.into() };
        Failure { problem, subject: PathBuf::new(), has_others: false }
    }

    /// A mistake in a grants file or a manifest.
    fn config(mistake: ConfigError) -> Failure {
        Failure::refused(2, mistake.to_string(), mistake.help())
    }

    /// A file, other than a snapshot's, that could not be read or written.
    fn file(operation: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::about(path)(Error::Io(format!("cannot {operation}: {error}")))
    }

    /// The design's table, which is the README's and `--help`'s.
    pub fn exit_code(&self) -> ExitCode {
        let error = match &self.problem {
            Problem::Error(error) => error,
            Problem::Refused { code, .. } => return ExitCode::from(*code),
        };
        ExitCode::from(match error {
            Error::NotFound => 1,
            Error::InvalidState(_) => 3,
            Error::Stale(_) => 4,
            Error::TooLarge(_) => 5,
            Error::Corrupt(_) => 6,
            Error::NoSpace => 7,
            Error::AccessDenied => 8,
            Error::Busy { .. } => 9,
            Error::Io(_) | Error::OtherType(_) => 10,
            Error::Component(_) => 11,
        })
    }

    /// What to do next, where the message does not say it already.
    fn advice(&self) -> Option<String> {
        let dir = self.subject.display();
        let error = match &self.problem {
            Problem::Error(error) => error,
            Problem::Refused { help, .. } => return Some(help.clone()),
        };
        Some(match error {
            Error::NotFound if self.has_others => format!("see which there are: minisnap list {dir}"),
            Error::NotFound => format!("make one: minisnap create {dir} --seq 0 state.json"),
            Error::InvalidState(_) => "correct the state there, and create it again".to_owned(),
            Error::Stale(newest) => format!("give --seq {newest} to replace that snapshot, or a higher one"),
            Error::TooLarge(_) => "give --max-state with a larger size".to_owned(),
            Error::NoSpace => {
                "make room on that disk, or give a larger --max-total; what was set aside as *.damaged counts, and \
                 the stored snapshot is unharmed"
                    .to_owned()
            }
            Error::AccessDenied => format!("see who may write what: ls -la {dir}"),
            Error::Busy { holder: Some(pid) } => format!("wait for it, or see what it is: ps -p {pid}"),
            Error::Busy { holder: None } => format!("wait, or see which process it is: fuser -v {dir}"),
            Error::Io(_) => {
                "mend that, and run the same command again; a stored snapshot is unharmed".to_owned()
            }
            Error::Component(_) => {
                "it must be a WebAssembly component for WASI 0.2; what it printed before may say more"
                    .to_owned()
            }
            Error::Corrupt(_) | Error::OtherType(_) => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject.display().to_string();
        let error = match &self.problem {
            Problem::Error(Error::NotFound) if self.has_others => {
                "there is no snapshot of this number".to_owned()
            }
            Problem::Error(error) => error.to_string(),
            Problem::Refused { what, .. } => what.clone(),
        };
        if error.contains(&subject) {
            write!(f, "error: {error}")?;
        } else {
            write!(f, "error: {subject}: {error}")?;
        }
        match self.advice() {
            Some(advice) => write!(f, "\n  help: {advice}"),
            None => Ok(()),
        }
    }
}

/// Writes all of `bytes` to standard output, or to `output`, atomically.
fn write_out(output: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    write_out_with(output, |to| to.write_all(bytes).map_err(Unwritten::Output))
}

/// Why something was not written out.
enum Unwritten {
    /// It could not be written.
    Output(io::Error),
    /// It could not be made.
    Source(Failure),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Unwritten::Output(error)
    }
}

/// Has `write` write to standard output, or to `output`, atomically: if it fails, the file stays what it was.
fn write_out_with(
    output: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Unwritten>,
) -> Result<(), Failure> {
    let (written, path) = match output.filter(|path| *path != Path::new("-")) {
        None => {
            let mut stdout = io::stdout().lock();
            let written = write(&mut stdout).and_then(|()| Ok(stdout.flush()?));
            (written, Path::new("standard output"))
        }
        Some(path) => (replace(path, write), path),
    };
    written.map_err(|problem| match problem {
        Unwritten::Output(error) => Failure::file("write", path, &error),
        Unwritten::Source(failure) => failure,
    })
}

fn write_to(stream: &mut impl Write, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|error| Failure::file("write", Path::new(name), &error))
}

/// Gives `path` the contents that `write` writes so that, whatever happens, it has all of them or what it had before.
///
/// A link stays, and what it leads to is replaced; a device or a pipe is written to.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Unwritten>,
) -> Result<(), Unwritten> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.exists() && !path.is_file() {
        return write(&mut std::fs::OpenOptions::new().write(true).open(path)?);
    }
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // As for any new file, the user's umask decides, not the privacy of temporary files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Its error would name the temporary file, which is nobody's business.
    let mut file =
        builder.prefix(".minisnap-").tempfile_in(dir).map_err(|error| io::Error::from(error.kind()))?;
    write(&mut file)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(std::fs::File::open(dir)?.sync_all()?)
}
