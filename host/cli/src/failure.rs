//! Failures of verbs: message, help and exit code.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minisnap_host::{Diagnostic, Error};
use serde_json::{Value, json};
use wasmtime::{Trap, WasmBacktrace};

use crate::server::is_remote;

/// A verb that failed: what to print and what to exit with.
pub struct Failure {
    problem: Problem,
    /// What the message begins with; the problem itself never names it.
    subject: Option<Subject>,
    /// Whether it asked for one of several snapshots.
    has_others: bool,
    /// Whether the verb limits what the directory may hold.
    is_limited: bool,
    /// What to do next, where the verb knows better.
    help: Option<String>,
}

/// That a component was ended because of `--timeout`.
#[derive(Debug, thiserror::Error)]
#[error("it exceeded its timeout of {0:?}; `--timeout` can raise it")]
pub struct TimedOut(pub Duration);

/// What is wrong, and what to do next.
struct Diagnosis {
    what: String,
    help: String,
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
    /// A state that is larger than the limit, with its size as it was given if that is known, or only its indentation
    /// makes it so.
    TooLarge { size: Option<u64>, limit: u64, is_indentation: bool },
    /// What the verb refused, its exit code, and what to do next. Without a subject, `what` names it.
    Refused { code: u8, what: String, help: String },
    /// The reader of the output has gone, so no message is printed.
    ReaderGone,
}

impl Failure {
    fn new(problem: Problem, subject: Option<Subject>) -> Failure {
        Failure { problem, subject, has_others: false, is_limited: false, help: None }
    }

    pub fn about(subject: impl Into<Subject>) -> impl Fn(Error) -> Failure {
        let subject = subject.into();
        move |error| Failure::new(Problem::Error(error), Some(subject.clone()))
    }

    /// The same, for a request that may be of one certain generation.
    pub fn about_one_of(subject: impl Into<Subject>, has_others: bool) -> impl Fn(Error) -> Failure {
        let about = Failure::about(subject);
        move |error| Failure { has_others, ..about(error) }
    }

    /// The same, for a directory of which the verb may limit what it holds.
    pub fn about_limited(subject: impl Into<Subject>, is_limited: bool) -> impl Fn(Error) -> Failure {
        let about = Failure::about(subject);
        move |error| Failure { is_limited, ..about(error) }
    }

    /// The same with other help.
    pub fn with_help(self, help: impl Into<String>) -> Failure {
        Failure { help: Some(help.into()), ..self }
    }

    /// What an object store answered, which names it.
    pub fn remote(error: Error) -> Failure {
        let help = match &error {
            Error::AccessDenied(_) => "check the credentials, and what they may do there",
            Error::DeadlineExceeded(_) => "check whether the server answers, or allow it more time",
            _ => "mend that and retry; nothing that was stored is changed",
        };
        Failure::new(Problem::Error(error), None).with_help(help)
    }

    /// A state that is larger than `limit`: as it was given, in `size` bytes if that is known, or only as it is stored.
    pub fn too_large(
        subject: impl Into<Subject>,
        size: Option<u64>,
        limit: u64,
        is_indentation: bool,
    ) -> Failure {
        Failure::new(Problem::TooLarge { size, limit, is_indentation }, Some(subject.into()))
    }

    /// What is refused before anything is done; `what` names what it is about.
    pub fn refused(code: u8, what: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure::new(Problem::Refused { code, what: what.into(), help: help.into() }, None)
    }

    /// A mistake in a grants file or a manifest.
    pub fn diagnostic(mistake: Diagnostic) -> Failure {
        // With a line, it is shown as compilers show it.
        let what = match mistake.line() {
            Some(_) => mistake.to_string(),
            None => format!("`{}`: {}", mistake.file().display(), mistake.what()),
        };
        Failure::refused(2, what, mistake.help())
    }

    /// A file, other than a snapshot's, that could not be read or written.
    pub fn file(operation: &str, subject: impl Into<Subject>, error: &io::Error) -> Failure {
        let subject = subject.into();
        let what = format!("cannot {operation}: {error}");
        let help = advice_on_file(operation, error, &subject.shell_word());
        Failure::new(Problem::Refused { code: 10, what, help }, Some(subject))
    }

    /// An output that could not be written.
    pub fn unwritten(subject: Subject, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Problem::ReaderGone, Some(subject)),
            _ => Failure::file("write", subject, error),
        }
    }

    /// Whether it is only that the reader of the output has gone.
    pub fn is_reader_gone(&self) -> bool {
        matches!(self.problem, Problem::ReaderGone)
    }

    /// The table of `host/README.md` and `--help`.
    pub fn exit_code(&self) -> u8 {
        let error = match &self.problem {
            Problem::Error(error) => error,
            Problem::TooLarge { .. } => return 5,
            Problem::Refused { code, .. } => return *code,
            Problem::ReaderGone => return 10,
        };
        match error {
            Error::NotFound => 1,
            Error::InvalidName(_) => 2,
            Error::InvalidState(_) => 3,
            Error::Stale(_) => 4,
            Error::TooLarge(_) => 5,
            Error::Corrupt(_) => 6,
            Error::NoSpace(_) => 7,
            Error::AccessDenied(_) => 8,
            Error::Busy(_) => 9,
            Error::Component(_) => 11,
            // With those that another version of the library may have.
            _ => 10,
        }
    }

    /// {"error":{"case":NAME,"message":TEXT,"help":TEXT,"exit-code":N}}, with "newest" or "limit" where there is one.
    pub fn json(&self) -> Value {
        let Diagnosis { what, help } = self.diagnosis();
        let message = self.subject.as_ref().map(|subject| format!("{subject}: {what}")).unwrap_or(what);
        let help = self.help.as_ref().unwrap_or(&help);
        let code = self.exit_code();
        let mut error = json!({"message": message, "help": help, "exit-code": code});
        error["case"] = match &self.problem {
            Problem::Error(error) => error.case(),
            Problem::TooLarge { .. } => "too-large",
            // What a verb refuses has the case that has its exit code.
            Problem::Refused { .. } | Problem::ReaderGone => match code {
                1 => "not-found",
                2 => "usage",
                4 => "stale",
                6 => "corrupt",
                7 => "no-space",
                8 => "access-denied",
                9 => "busy",
                _ => "io",
            },
        }
        .into();
        match &self.problem {
            Problem::Error(Error::Stale(newest)) => error["newest"] = (*newest).into(),
            Problem::Error(Error::TooLarge(limit)) | Problem::TooLarge { limit, .. } => {
                error["limit"] = (*limit).into();
            }
            _ => {}
        }
        json!({ "error": error })
    }

    /// What is wrong, and what to do next.
    fn diagnosis(&self) -> Diagnosis {
        let path = self.subject.as_ref().map(Subject::shell_word).unwrap_or_default();
        let error = match &self.problem {
            Problem::Error(error) => error,
            &Problem::TooLarge { size, limit, is_indentation } => {
                let size = size.map(|size| format!(" of {size} bytes")).unwrap_or_default();
                let stored = if is_indentation { " as it is stored, with its indentation" } else { "" };
                let what = format!("the state{size} is larger than the limit of {limit} bytes{stored}");
                return Diagnosis { what, help: "give --max-state with a larger size".to_owned() };
            }
            Problem::Refused { what, help, .. } => {
                return Diagnosis { what: what.clone(), help: help.clone() };
            }
            Problem::ReaderGone => {
                let (what, help) = ("its reader has gone".to_owned(), "keep it open".to_owned());
                return Diagnosis { what, help };
            }
        };
        let is_there = matches!(&self.subject, Some(Subject::Path(path)) if is_remote(path));
        let help = match (error, &self.subject) {
            (Error::NotFound, _) if self.has_others => {
                let help = format!("see which there are: minisnap list {path}");
                return Diagnosis { what: "there is no snapshot of this number".to_owned(), help };
            }
            (Error::Component(error), _) => {
                let what = format!("the component failed: {}", without_backtrace(error));
                let is_store = matches!(&self.subject, Some(Subject::Path(subject)) if !subject.is_file());
                let help = match is_store && error.downcast_ref::<io::Error>().is_none() {
                    true => {
                        "see the limits of this process: ulimit -a; a stored snapshot is unharmed".to_owned()
                    }
                    false => advice_on_component(error, &path),
                };
                return Diagnosis { what, help };
            }
            (Error::NotFound, _) => format!("make one: minisnap create {path} --seq 0 state.json"),
            (Error::InvalidState(_), _) => "correct the state and retry".to_owned(),
            (Error::Stale(newest), _) => format!(
                "give --seq {newest} to replace that snapshot, or a higher one; if {newest} is wrong, see minisnap rollback --help"
            ),
            (Error::TooLarge(_), _) => "give --max-state with a larger size".to_owned(),
            (Error::Corrupt(_), _) if is_there => format!("see what each generation is: minisnap verify {path}"),
            (Error::NoSpace(_), _) if is_there => {
                "keep fewer, or give a larger --max-total; a stored snapshot is unharmed".to_owned()
            }
            (Error::AccessDenied(_), _) if is_there => {
                "check the credentials, and what they may do there".to_owned()
            }
            (Error::Busy(_), _) if is_there => {
                "wait until it is released; --take-over writes nevertheless, and the node that has it can write no more"
                    .to_owned()
            }
            (Error::DeadlineExceeded(_), _) if is_there => {
                "check whether the server answers, or give it more time; a stored snapshot is unharmed".to_owned()
            }
            (Error::Corrupt(_), _) => format!("copy the directory before you change it: cp -a {path} COPY"),
            (Error::NoSpace(_), _) if self.is_limited => format!(
                "free space on that disk: df -h {path}; or give a larger --max-total, or move files away, of which \
                 *.damaged count: ls -la {path}; a stored snapshot is unharmed"
            ),
            (Error::NoSpace(_), _) => {
                format!("free space on that disk: df -h {path}; a stored snapshot is unharmed")
            }
            (Error::AccessDenied(_), _) => {
                format!("see who may read and write: namei -l {path}; ls -la {path}")
            }
            (Error::Busy(_), _) => format!("wait, or see which process it is: fuser -v {path}"),
            (Error::InvalidName(_), _) => "give another name".to_owned(),
            (Error::InDoubt(_), _) => {
                format!("see whether it is in place, and retry: minisnap restore {path}")
            }
            (Error::OtherType(_), _) => "restore it as the type that it has, or as text".to_owned(),
            _ => "fix the cause and retry; a stored snapshot is unharmed".to_owned(),
        };
        Diagnosis { what: error.to_line(), help }
    }
}

/// Help on a file that could not be read or written.
fn advice_on_file(operation: &str, error: &io::Error, path: &str) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path and retry".to_owned(),
        io::ErrorKind::PermissionDenied => format!("see who may {operation} it: ls -l {path}"),
        _ => "fix the cause and retry; a stored snapshot is unharmed".to_owned(),
    }
}

/// Help on a component that could not be read, is not a component, or trapped.
fn advice_on_component(error: &wasmtime::Error, path: &str) -> String {
    if error.is::<Trap>() || error.is::<WasmBacktrace>() {
        return "see what it printed before; -v shows where it was; a stored snapshot is unharmed".to_owned();
    }
    if error.is::<TimedOut>() {
        return "give a longer --timeout; a stored snapshot is unharmed".to_owned();
    }
    match error.downcast_ref::<io::Error>() {
        Some(error) => advice_on_file("read", error, path),
        None => "give a WebAssembly component for WASI 0.2; `wasm-tools component new` makes one of a module"
            .to_owned(),
    }
}

/// What is wrong with a component, on one line.
fn without_backtrace(error: &wasmtime::Error) -> String {
    let mut what = format!("{error:#}");
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        what = what.replace(&format!("{backtrace}: "), "");
    }
    what.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: ")?;
        if let Some(subject) = &self.subject {
            write!(f, "{subject}: ")?;
        }
        let Diagnosis { what, help } = self.diagnosis();
        let help = self.help.as_ref().unwrap_or(&help);
        write!(f, "{}\n  help: {}", plain(&what), plain(help))
    }
}

impl Subject {
    /// A path as it is written in a command.
    fn shell_word(&self) -> String {
        match self {
            Subject::Path(path) => shell_word(path),
            Subject::Stream(_) => String::new(),
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
