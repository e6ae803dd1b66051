//! Who is put to the proof: this store, in both layouts, and native minisnap, by the same methods.

use std::path::{Path, PathBuf};
use std::process::Command;

use minisnap_host::{Error, Grant, Layout, SnapshotStore};

use crate::{Done, NATIVE_0_1_2, NATIVE_0_1_3, VERBS, binary, cli, minisnap, run};

/// A state and its number, or that there is no snapshot.
pub type Pair = Option<(String, u64)>;

/// A store of snapshots, as programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// This store, in one of its layouts.
    Ours(Layout),
    /// Native minisnap 0.1.2.
    Native012,
    /// Native minisnap 0.1.3.
    Native013,
}

/// This store, in both layouts.
pub const OURS: [Subject; 2] = [Subject::Ours(Layout::Pair), Subject::Ours(Layout::Numbered)];

/// Native minisnap, in the versions whose files this store keeps.
pub const NATIVES: [Subject; 2] = [Subject::Native012, Subject::Native013];

/// A state of about `size` bytes, every part of which says which snapshot it belongs to. It is one token, so that
/// everybody lays it out in the same way.
pub fn state(seq: u64, size: usize) -> String {
    let mark = format!("{seq}-");
    let len = size.saturating_sub(2).max(mark.len());
    let mut text = mark.repeat(len.div_ceil(mark.len()));
    text.truncate(len);
    format!("\"{text}\"")
}

/// Whether `text` is the state of the snapshot `seq`, all of it, whatever its size.
pub fn is_whole(text: &str, seq: u64) -> bool {
    text == state(seq, text.len())
}

impl Subject {
    /// The layout of its directory.
    pub fn layout(self) -> Layout {
        match self {
            Subject::Ours(layout) => layout,
            Subject::Native012 => Layout::Pair,
            Subject::Native013 => Layout::Numbered,
        }
    }

    /// How this store's command line calls that layout.
    pub fn layout_name(self) -> &'static str {
        match self.layout() {
            Layout::Pair => "pair",
            Layout::Numbered => "numbered",
        }
    }

    /// Whether it is this store.
    pub fn is_ours(self) -> bool {
        matches!(self, Subject::Ours(_))
    }

    /// The program of native minisnap.
    fn native(self) -> Option<&'static str> {
        match self {
            Subject::Ours(_) => None,
            Subject::Native012 => Some(NATIVE_0_1_2),
            Subject::Native013 => Some(NATIVE_0_1_3),
        }
    }

    /// The file of its newest snapshot's state, `seq`.
    pub fn state_file(self, seq: u64) -> String {
        match self.layout() {
            Layout::Pair => "snapshot.json".to_owned(),
            Layout::Numbered => format!("snapshot_{seq:020}.json"),
        }
    }

    /// A process that makes the snapshot `seq` of the state on its standard input, and keeps two generations.
    pub fn create(self, dir: &Path, seq: u64) -> Command {
        let seq = seq.to_string();
        match self.native() {
            None => {
                let mut ours = cli();
                let keep = ["--layout", self.layout_name(), "--keep", "2"];
                ours.arg("create").arg(dir).args(["--seq", &seq]).args(keep);
                ours
            }
            Some(program) => native(program, "create", dir, &[&seq]),
        }
    }

    /// A process that restores, and prints that.
    pub fn restore(self, dir: &Path) -> Command {
        match self.native() {
            None => {
                let mut ours = cli();
                ours.arg("restore").arg(dir);
                ours
            }
            Some(program) => native(program, "restore", dir, &[]),
        }
    }

    /// What a process that restores has found.
    ///
    /// # Errors
    ///
    /// What it said.
    pub fn restored(self, done: &Done) -> Result<Pair, String> {
        let said = || format!("exit code {:?}: {}", done.code, done.stderr.trim());
        match self.native() {
            None => match done.code {
                Some(0) => {
                    let seq = done.stderr.trim().strip_prefix("seq ").and_then(|seq| seq.parse().ok());
                    Ok(Some((done.stdout.clone(), seq.ok_or_else(said)?)))
                }
                Some(1) => Ok(None),
                _ => Err(said()),
            },
            Some(_) => match done.stdout.trim_end().split_once(' ') {
                Some((seq, state)) => Ok(Some((state.to_owned(), seq.parse().map_err(|_| said())?))),
                // It has no one name for this.
                None if done.stderr.contains("not found") || done.stderr.contains("(os error 2)") => Ok(None),
                None => Err(said()),
            },
        }
    }

    /// A process that makes the snapshots from `first` to `last`, each with the [`state`] of this size, says each
    /// number once it is acknowledged, and keeps one generation.
    pub fn count(self, dir: &Path, first: u64, last: u64, size: usize) -> Command {
        let numbers = [first.to_string(), last.to_string(), size.to_string()];
        let numbers = numbers.each_ref().map(String::as_str);
        match self.native() {
            None => {
                let mut ours = self.consumer(dir, &["--keep", "1"]);
                ours.args(["--", "count"]).args(numbers);
                ours
            }
            Some(program) => native(program, "count", dir, &numbers),
        }
    }

    /// A process that restores again and again until it finds the snapshot `last`, and prints each that is another than
    /// the one before: its number, a space, and its state; or `error: ` and what was said.
    pub fn watch(self, dir: &Path, last: u64) -> Command {
        let last = last.to_string();
        match self.native() {
            None => {
                let mut ours = self.consumer(dir, &["--read-only"]);
                ours.args(["--", "watch", &last]);
                ours
            }
            Some(program) => native(program, "watch", dir, &[&last]),
        }
    }

    fn consumer(self, dir: &Path, options: &[&str]) -> Command {
        let mut ours = Command::new(binary());
        ours.arg("run").arg(VERBS).arg("--grant").arg(dir);
        ours.args(["--layout", self.layout_name()]).args(options);
        ours
    }

    /// Opens it for this process: this store by its library, native minisnap as programs.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub fn open(self, dir: &Path) -> Result<Access, String> {
        match self {
            Subject::Ours(layout) => {
                let store = minisnap().open(Grant::new(dir).layout(layout));
                Ok(Access::Ours(Box::new(store.map_err(|error| error.to_string())?)))
            }
            native => Ok(Access::Native(native, dir.to_owned())),
        }
    }
}

fn native(program: &str, verb: &str, dir: &Path, args: &[&str]) -> Command {
    let mut native = Command::new(program);
    native.arg(verb).arg(dir).args(args);
    native
}

/// A store that was opened.
pub enum Access {
    /// This store.
    Ours(Box<SnapshotStore>),
    /// Native minisnap, by a process each time.
    Native(Subject, PathBuf),
}

impl Access {
    /// What is restored.
    ///
    /// # Errors
    ///
    /// What the store says. A trap of this one begins with `the component failed`.
    pub fn restore(&mut self) -> Result<Pair, String> {
        match self {
            Access::Ours(store) => match store.restore_text() {
                Ok(snapshot) => Ok(Some((snapshot.state, snapshot.seq))),
                Err(Error::NotFound) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Access::Native(subject, dir) => subject.restored(&run(&mut subject.restore(dir), "")),
        }
    }

    /// Makes a snapshot.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub fn create(&mut self, state: &str, seq: u64) -> Result<(), String> {
        match self {
            Access::Ours(store) => store.create_text(state, seq).map_err(|error| error.to_string()),
            Access::Native(subject, dir) => {
                let done = run(&mut subject.create(dir, seq), state);
                if done.code == Some(0) { Ok(()) } else { Err(done.stderr) }
            }
        }
    }
}

/// Shows a pair without all of its state.
pub fn show(pair: &Pair) -> String {
    match pair {
        Some((state, seq)) => {
            let start: String = state.chars().take(12).collect();
            format!("{seq} with {start} ({} bytes)", state.len())
        }
        None => "nothing".to_owned(),
    }
}
