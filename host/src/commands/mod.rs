//! The verbs, a file each, and what they share: arguments, failures, exit codes.

mod component;
mod create;
mod info;
mod restore;
mod run;
mod verify;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use minisnap_host::{Error, Grant, MAX_STATE_CEILING, Minisnap, Store};
use wasmtime::{Cache, CacheConfig, Config, Engine};

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
    Info(info::Info),
    Verify(verify::Verify),
    Run(run::Run),
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
            Verb::Info(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Component(verb) => verb.run(),
        }
    }
}

/// The limit that several verbs take.
#[derive(Args)]
struct Limit {
    /// The largest state to accept, as given and as stored
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = max_state)]
    max_state: u64,
}

impl Limit {
    fn apply(&self, grant: Grant) -> Grant {
        grant.max_state(self.max_state)
    }
}

/// Bytes, as people write them.
fn size(text: &str) -> Result<u64, String> {
    let size = text
        .parse::<ByteSize>()
        .map_err(|_| "give a number of bytes, or one such as 64KiB or 1GiB".to_owned())?;
    Ok(size.as_u64())
}

fn max_state(text: &str) -> Result<u64, String> {
    match size(text)? {
        size if size > MAX_STATE_CEILING => Err(format!("the most is {MAX_STATE_CEILING} bytes")),
        size => Ok(size),
    }
}

/// An engine whose compiled code is kept in the user's cache folder, so that only the first run compiles.
fn engine() -> Result<Engine, Error> {
    let mut config = Config::new();
    match Cache::new(CacheConfig::new()) {
        Ok(cache) => {
            config.cache(Some(cache));
        }
        // Without a home, say. It only takes longer.
        Err(error) => tracing::debug!("compiled code is not cached: {error:#}"),
    }
    Engine::new(&config).map_err(Error::Component)
}

/// The store component, compiled or from the cache.
fn minisnap() -> Result<Minisnap, Error> {
    Minisnap::with_engine(&engine()?)
}

/// A store that only reads `dir`.
fn reader(dir: &Path, limit: Option<&Limit>) -> Result<Store, Failure> {
    let grant = Grant::new(dir).read_only();
    let grant = limit.map_or(grant.clone(), |limit| limit.apply(grant));
    minisnap().and_then(|minisnap| minisnap.open(grant)).map_err(Failure::about(dir))
}

/// A verb that failed: what to print and what to exit with.
pub struct Failure {
    error: Error,
    /// What it was about: the snapshot directory, mostly.
    subject: PathBuf,
}

impl Failure {
    fn about(subject: &Path) -> impl Fn(Error) -> Failure + '_ {
        move |error| Failure { error, subject: subject.to_owned() }
    }

    /// A file, other than a snapshot's, that could not be read or written.
    fn file(operation: &str, path: &Path, error: &io::Error) -> Failure {
        Failure { error: Error::Io(format!("cannot {operation}: {error}")), subject: path.to_owned() }
    }

    /// The design's table, which is the README's and `--help`'s.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match &self.error {
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
        Some(match &self.error {
            Error::NotFound => format!("make one: minisnap create {dir} --seq 0 state.json"),
            Error::InvalidState(_) => "correct the state there, and create it again".to_owned(),
            Error::Stale(newest) => format!("give --seq {newest} to replace that snapshot, or a higher one"),
            Error::TooLarge(_) => "give --max-state with a larger size".to_owned(),
            Error::NoSpace => {
                "make room on that disk, and create it again; the stored snapshot is unharmed".to_owned()
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
        let (subject, error) = (self.subject.display().to_string(), self.error.to_string());
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
    match output.filter(|path| *path != Path::new("-")) {
        None => write_to(&mut io::stdout().lock(), "standard output", bytes),
        Some(path) => replace(path, bytes).map_err(|error| Failure::file("write", path, &error)),
    }
}

fn write_to(stream: &mut impl Write, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|error| Failure::file("write", Path::new(name), &error))
}

/// Gives `path` the contents `bytes` so that, whatever happens, it has all of them or what it had before.
///
/// A link stays, and what it leads to is replaced; a device or a pipe is written to.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.exists() && !path.is_file() {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
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
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(dir)?.sync_all()
}
