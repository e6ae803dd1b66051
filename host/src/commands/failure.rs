//! Failures of verbs: message, help and exit code.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minisnap_host::Error;
use minisnap_host::config::ConfigError;
use wasmtime::{Trap, WasmBacktrace};

use super::output;

/// A verb that failed: what to print and what to exit with.
pub struct Failure {
    problem: Problem,
    /// What the message begins with; the problem itself never names it.
    subject: Option<Subject>,
    /// Whether it asked for one of several snapshots.
    has_others: bool,
}

/// What a failure is about.
#[derive(Clone)]
pub enum Subject {
    /// A directory of snapshots, mostly; or a file.
    Path(PathBuf),
    /// A standard stream, by its name.
    Stream(&'static str),
}

/// Why a verb failed.
enum Problem {
    /// What the store or the system answered.
    Error(Error),
    /// What the verb refused, its exit code, and what to do next. `what` names its subject.
    Refused { code: u8, what: String, help: String },
    /// The reader of the output has gone, so no message is printed.
    ReaderGone,
}

impl Failure {
    pub fn about(subject: impl Into<Subject>) -> impl Fn(Error) -> Failure {
        let subject = subject.into();
        move |error| Failure {
            problem: Problem::Error(error),
            subject: Some(subject.clone()),
            has_others: false,
        }
    }

    /// The same, for a request of one certain generation.
    pub fn about_one_of(subject: impl Into<Subject>) -> impl Fn(Error) -> Failure {
        let about = Failure::about(subject);
        move |error| Failure { has_others: true, ..about(error) }
    }

    /// What is refused before anything is done; `what` names what it is about.
    pub fn refused(code: u8, what: impl Into<String>, help: impl Into<String>) -> Failure {
        let problem = Problem::Refused { code, what: what.into(), help: help.into() };
        Failure { problem, subject: None, has_others: false }
    }

    /// A mistake in a grants file or a manifest.
    pub fn config(mistake: ConfigError) -> Failure {
        Failure::refused(2, mistake.to_string(), mistake.help())
    }

    /// A file, other than a snapshot's, that could not be read or written.
    pub fn file(operation: &str, subject: impl Into<Subject>, error: &io::Error) -> Failure {
        Failure::about(subject)(Error::Io(format!("cannot {operation}: {error}")))
    }

    /// An output that could not be written.
    pub fn unwritten(subject: Subject, error: &io::Error) -> Failure {
        let failure = Failure::file("write", subject, error);
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure { problem: Problem::ReaderGone, ..failure },
            _ => failure,
        }
    }

    /// Prints the message and returns the exit code.
    pub fn report(self) -> ExitCode {
        if let Problem::ReaderGone = self.problem {
            output::end_without_reader();
        }
        // If standard error is closed or full, only the exit code tells.
        let _ = output::print_beside(format!("{self}\n").as_bytes());
        self.exit_code()
    }

    /// The design's table, which is the README's and `--help`'s.
    fn exit_code(&self) -> ExitCode {
        let error = match &self.problem {
            Problem::Error(error) => error,
            Problem::Refused { code, .. } => return ExitCode::from(*code),
            Problem::ReaderGone => return ExitCode::from(10),
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

    /// What is wrong.
    fn what(&self) -> String {
        match &self.problem {
            Problem::Error(Error::NotFound) if self.has_others => {
                "there is no snapshot of this number".to_owned()
            }
            // A backtrace has several lines.
            Problem::Error(error @ Error::Component(_)) => {
                error.to_string().lines().map(plain).collect::<Vec<_>>().join("\n")
            }
            Problem::Error(error) => plain(&error.to_string()).into_owned(),
            Problem::Refused { what, .. } => plain(what).into_owned(),
            Problem::ReaderGone => "its reader has gone".to_owned(),
        }
    }

    /// What to do next, where the message does not say it already.
    fn advice(&self) -> Option<String> {
        let path = match &self.subject {
            Some(Subject::Path(path)) => shell_word(path),
            Some(Subject::Stream(_)) | None => String::new(),
        };
        let error = match &self.problem {
            Problem::Error(error) => error,
            Problem::Refused { help, .. } => return Some(plain(help).into_owned()),
            Problem::ReaderGone => return None,
        };
        Some(match error {
            Error::NotFound if self.has_others => format!("see which there are: minisnap list {path}"),
            Error::NotFound => format!("make one: minisnap create {path} --seq 0 state.json"),
            Error::InvalidState(_) => "correct the state and retry".to_owned(),
            Error::Stale(newest) => format!("give --seq {newest} to replace that snapshot, or a higher one"),
            Error::TooLarge(_) => "give --max-state with a larger size".to_owned(),
            Error::NoSpace => "free space on that disk, or give a larger --max-total; files set aside as \
                               *.damaged count, and the stored snapshot is unharmed"
                .to_owned(),
            Error::AccessDenied => format!("see who may read and write: ls -la {path}"),
            Error::Busy { holder: Some(pid) } => format!("wait for it, or see what it is: ps -p {pid}"),
            Error::Busy { holder: None } => format!("wait, or see which process it is: fuser -v {path}"),
            Error::Io(_) => "fix the cause and retry; a stored snapshot is unharmed".to_owned(),
            Error::Component(error) => advice_on_component(error, &path),
            Error::Corrupt(_) | Error::OtherType(_) => return None,
        })
    }
}

/// Help on a component that could not be read, is not a component, or trapped.
fn advice_on_component(error: &wasmtime::Error, path: &str) -> String {
    if error.is::<Trap>() || error.is::<WasmBacktrace>() {
        return "see what it printed before; a stored snapshot is unharmed".to_owned();
    }
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => "check the path and retry".to_owned(),
        Some(io::ErrorKind::PermissionDenied) => format!("see who may read it: ls -l {path}"),
        Some(_) => "fix the cause and retry".to_owned(),
        None => "give a WebAssembly component for WASI 0.2; `wasm-tools component new` makes one of a module"
            .to_owned(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: ")?;
        if let Some(subject) = &self.subject {
            write!(f, "{subject}: ")?;
        }
        write!(f, "{}", self.what())?;
        match self.advice() {
            Some(advice) => write!(f, "\n  help: {advice}"),
            None => Ok(()),
        }
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Subject {
    fn from(path: &P) -> Self {
        Subject::Path(path.as_ref().to_owned())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Path(path) => write!(f, "`{}`", plain(&path.to_string_lossy())),
            Subject::Stream(name) => f.write_str(name),
        }
    }
}

/// Escapes control characters, which could forge lines or drive a terminal.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Quotes a path for a shell, if it needs that.
pub fn shell_word(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = if path.starts_with('-') { format!("./{path}").into() } else { path };
    let is_safe = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !path.is_empty() && path.chars().all(is_safe) {
        return path.into_owned();
    }
    plain(&format!("'{}'", path.replace('\'', r"'\''"))).into_owned()
}
