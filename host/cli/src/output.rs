//! Where verbs write: standard output, standard error, or the file that `--output` names.

mod streams;
mod target;
mod temporary;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::pipe::ClosedOutputStream;

use crate::failure::{Failure, Subject, plain};
use crate::habits::Habits;
pub use streams::Stream;
use target::Target;

pub const STDOUT: Subject = Subject::Stream("standard output");
const STDERR: Subject = Subject::Stream("standard error");

/// Prints on standard output.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    Stream::stdout().write_all(bytes).map_err(|error| Failure::unwritten(STDOUT, &error))
}

/// Prints a warning or a note on standard error, unless it is to be quiet.
pub fn note(text: &str) -> Result<(), Failure> {
    if Habits::get().is_quiet {
        return Ok(());
    }
    let text = if Habits::get().colors() { text.replace("warning: ", YELLOW) } else { text.to_owned() };
    Stream::stderr().write_all(text.as_bytes()).map_err(|error| Failure::unwritten(STDERR, &error))
}

/// Why an output was not written.
pub enum Unwritten {
    /// Writing it failed.
    Output(io::Error),
    /// Producing it failed.
    Source(Failure),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Unwritten::Output(error)
    }
}

const YELLOW: &str = "\u{1b}[1;33mwarning:\u{1b}[0m ";
const RED: &str = "\u{1b}[1;31merror:\u{1b}[0m ";

/// Prints the help, the version or a usage error, and returns the exit code.
pub fn print_usage(usage: &clap::Error) -> Result<ExitCode, Failure> {
    let code = ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
    if usage.use_stderr() {
        // It repeats arguments, which may hold what a terminal obeys.
        let is_plain =
            std::env::args_os().all(|arg| !arg.to_string_lossy().contains(|c: char| c.is_control()));
        // If standard error is closed or full, only the exit code tells.
        let _ = if Habits::get().json {
            let shown = usage.render().to_string();
            let message = shown.split("\n\n").next().unwrap_or_default();
            let failure = Failure::refused(2, message.trim_start_matches("error: "), "see --help");
            print_error(&failure).is_ok()
        } else if is_plain {
            usage.print().is_ok()
        } else {
            let shown = usage.render().to_string();
            let lines: String = shown.lines().map(|line| format!("{}\n", plain(line))).collect();
            Stream::stderr().write_all(lines.as_bytes()).is_ok()
        };
        return Ok(code);
    }
    let printed = Stream::stdout().check().and_then(|()| usage.print()).and_then(|()| io::stdout().flush());
    printed.map(|()| code).map_err(|error| Failure::unwritten(STDOUT, &error))
}

/// Gives a component the standard streams of this process. Writes to one that is not open for writing fail.
pub fn inherit_streams(wasi: &mut WasiCtxBuilder) {
    wasi.inherit_stdio();
    if Stream::stdout().check().is_err() {
        wasi.stdout(ClosedOutputStream);
    }
    if Stream::stderr().check().is_err() {
        wasi.stderr(ClosedOutputStream);
    }
}

/// Prints why a verb failed, and returns the exit code.
pub fn report(failure: &Failure) -> ExitCode {
    if failure.is_reader_gone() {
        end_without_reader();
    }
    // If standard error is closed or full, only the exit code tells.
    let _ = print_error(failure);
    ExitCode::from(failure.exit_code())
}

fn print_error(failure: &Failure) -> io::Result<()> {
    let text = match Habits::get() {
        Habits { json: true, .. } => failure.json().to_string(),
        habits if habits.colors() => failure.to_string().replacen("error: ", RED, 1),
        _ => failure.to_string(),
    };
    Stream::stderr().write_all(format!("{text}\n").as_bytes())
}

/// Ends this process by SIGPIPE, as other programs end when the reader of a pipe has gone.
///
/// Rust's runtime ignores SIGPIPE, and it stays ignored until every store is closed: a component under `minisnap run`
/// gets an error from its write instead.
fn end_without_reader() {
    let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
}

/// The destination of a result. It is resolved and checked once, before any work.
pub struct Output {
    to: Target,
    subject: Subject,
}

impl Output {
    /// Resolves `path`; none, or `-`, is standard output.
    ///
    /// Refuses a destination in a directory of snapshots: in `store`, or in a folder with files of another store.
    pub fn find(path: Option<&Path>, store: Option<&Path>) -> Result<Output, Failure> {
        let (subject, found) = match path.filter(|path| *path != Path::new("-")) {
            None => (STDOUT, Ok(Target::Stdout)),
            Some(path) => (Subject::from(path), Target::find(path)),
        };
        let lies_in_snapshots = |to: Target| Ok(if to.lies_in_snapshots(store)? { None } else { Some(to) });
        match found.and_then(lies_in_snapshots) {
            Ok(Some(to)) => Ok(Output { to, subject }),
            Ok(None) => {
                let what = format!("{subject} is in a directory of snapshots, where only the store writes");
                Err(Failure::refused(10, what, "name a file outside of it"))
            }
            Err(error) => Err(Failure::unwritten(subject, &error)),
        }
    }

    /// Has `write` write there. A file ends up with all of it, or as it was.
    pub fn write(self, write: impl FnOnce(&mut dyn Write) -> Result<(), Unwritten>) -> Result<(), Failure> {
        let Output { to, subject } = self;
        to.write(write).map_err(|problem| match problem {
            Unwritten::Output(error) => Failure::unwritten(subject, &error),
            Unwritten::Source(failure) => failure,
        })
    }
}
