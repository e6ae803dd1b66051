//! System calls that fail, or do less than they were asked for: each that a create makes in its directory, in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::subject::{Pair, Subject, show, state};
use crate::{Done, SHORT_WRITES, Tally, run, scratch};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Makes a snapshot, and the directory first.
    First,
    /// Makes the third, of which the first is pruned where two are kept.
    Create,
}

/// The size of the states: more than one call writes.
const SIZE: usize = 100_000;

fn pair(seq: u64) -> Pair {
    Some((state(seq, SIZE), seq))
}

/// A folder, in which a process finds the directory with the first two snapshots, or makes it.
struct Template(TempDir);

impl Template {
    fn new(subject: Subject, act: Act) -> Self {
        let folder = scratch();
        for seq in [1, 2].into_iter().filter(|_| act != Act::First) {
            let done = run(&mut subject.create(&inside(&folder), seq), &state(seq, SIZE));
            assert_eq!(done.code, Some(0), "{done:?}");
        }
        Template(folder)
    }

    fn copy(&self) -> TempDir {
        let copy = scratch();
        let [from, to] = [&self.0, &copy].map(inside);
        for name in names(&from) {
            fs::create_dir_all(&to).expect("the scratch folder can be written");
            fs::copy(from.join(&name), to.join(name)).expect("the scratch folder can be written");
        }
        copy
    }
}

fn inside(folder: &TempDir) -> PathBuf {
    folder.path().join("snapshots")
}

/// What is done under strace, with these options before the program.
pub fn under_strace(command: &Command, options: &[&str], log: &Path, input: &str) -> (Done, String) {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0"]).args(options).arg("-o").arg(log);
    if options.iter().any(|option| option.starts_with("trace=")) {
        // The program stops at those calls alone, where the system can do that.
        strace.arg("--seccomp-bpf");
    }
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let done = run(&mut strace, input);
    (done, fs::read_to_string(log).expect("strace writes a trace"))
}

/// The calls that a process makes about `dir`: the name of each, and the how manieth of its name in its thread it is.
pub fn calls_about(dir: &Path, trace: &str) -> BTreeSet<(String, usize)> {
    let dir = dir.to_str().expect("the scratch folder's name is UTF-8");
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    let mut calls = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        // A program that is not started does nothing, and closing a file does not fail on these systems.
        if call.contains(dir) && !["execve", "close"].contains(&name) {
            calls.insert((name.to_owned(), *count));
        }
    }
    calls
}

/// The how manieth of its name in its thread the first call is in whose line stands `part`.
///
/// # Panics
///
/// If the program makes no such call.
pub fn first_call(command: &Command, name: &str, part: &str) -> usize {
    let log = tempfile::NamedTempFile::new().expect("a file for the trace");
    let (_, trace) = under_strace(command, &["-s", "100", "-e", &format!("trace={name}")], log.path(), "");
    let first = trace.lines().position(|line| line.contains(part)).expect("the program makes such a call");
    let thread = |line: &str| line.split(' ').next().map(str::to_owned);
    let lines: Vec<&str> = trace.lines().take(first + 1).collect();
    let begins = format!("{name}(");
    lines.iter().filter(|line| thread(line) == thread(lines[first]) && line.contains(&begins)).count()
}

/// Fails each call about the directory, and the folder that it lies in, with each of these errors, and judges what is left.
pub fn failed_calls(subject: Subject, act: Act, errors: &[&str]) -> Tally {
    let mut tally = Tally::default();
    let log = tempfile::NamedTempFile::new().expect("a file for the trace");
    let template = Template::new(subject, act);
    let folder = template.copy();
    let input = state(3, SIZE);
    let (done, trace) = under_strace(&subject.create(&inside(&folder), 3), &[], log.path(), &input);
    assert_eq!(done.code, Some(0), "{done:?}");
    for (call, at) in calls_about(folder.path(), &trace) {
        for error in errors {
            let inject = format!("inject={call}:error={error}:when={at}");
            let options = ["-e", &format!("trace={call}"), "-e", &inject];
            // Threads may come in another order; what failed elsewhere is no case.
            let failed = (0..TRIES).find_map(|_| {
                let folder = template.copy();
                let before = names(&inside(&folder));
                let command = subject.create(&inside(&folder), 3);
                let (done, trace) = under_strace(&command, &options, log.path(), &input);
                let path = folder.path().to_str().expect("UTF-8");
                // The directory is opened by its descriptor as well, which a failed call does not show.
                let is_here = |line: &str| {
                    line.contains("(INJECTED)") && (line.contains(path) || line.contains("\"/proc/self/fd/"))
                };
                trace.lines().any(is_here).then_some((folder, before, done))
            });
            let result = match &failed {
                Some((folder, before, done)) => {
                    let fault = Fault { call: &call, error, before };
                    judge(subject, act, &inside(folder), done, Some(&fault))
                }
                None => Err("it could not be made to fail".to_owned()),
            };
            tally.add(format!("{act:?}, {error} at {call} {at}"), result);
        }
    }
    tally
}

/// How often a call is made to fail until it is one about the directory.
const TRIES: usize = 20;

/// How many writes are made short in turn; native 0.1.2 writes each token by itself.
const MOST_WRITES: usize = 50;

/// Makes every write to a file short, and then one at a time.
pub fn short_writes(subject: Subject) -> Tally {
    let mut tally = Tally::default();
    let template = Template::new(subject, Act::Create);
    for which in std::iter::once("every".to_owned()).chain((1..=MOST_WRITES).map(|which| which.to_string())) {
        let (folder, logs) = (template.copy(), scratch());
        let (dir, log) = (inside(&folder), logs.path().join("log"));
        let mut create = subject.create(&dir, 3);
        create.env("LD_PRELOAD", SHORT_WRITES).env("SHORT_WRITE_LOG", &log).env("SHORT_WRITE", &which);
        let done = run(&mut create, &state(3, SIZE));
        if !log.exists() {
            assert_ne!(which, "every", "{subject:?} writes in a way that cannot be made short");
            break;
        }
        tally.add(format!("write {which}"), judge(subject, Act::Create, &dir, &done, None));
    }
    tally
}

/// An error that was injected.
struct Fault<'f> {
    call: &'f str,
    error: &'f str,
    /// What was in the directory.
    before: &'f BTreeSet<String>,
}

impl Fault<'_> {
    /// Whether this store may report it with this exit code.
    fn allows(&self, code: i32) -> bool {
        let takes_space = ["openat", "mkdir", "mkdirat", "pwrite64", "renameat"].contains(&self.call);
        match code {
            7 => self.error == "ENOSPC",
            // What needs no space may still be told to be out of it.
            10 => self.error != "ENOSPC" || !takes_space,
            _ => false,
        }
    }
}

/// Says what is wrong after a process ended like this.
fn judge(
    subject: Subject,
    act: Act,
    dir: &Path,
    done: &Done,
    fault: Option<&Fault<'_>>,
) -> Result<(), String> {
    let (old, new) = match act {
        Act::First => (None, pair(3)),
        Act::Create => (pair(2), pair(3)),
    };
    let mut store = subject.open(dir)?;
    let restored = store.restore()?;
    let said = done.stderr.trim();
    if done.code == Some(0) {
        if restored != new {
            return Err(format!("reported success and restored {}", show(&restored)));
        }
        // The standard library repeats what was interrupted.
        if let Some(Fault { call: "fsync" | "fdatasync" | "syncfs", error, .. }) = fault
            && *error != "EINTR"
        {
            return Err("a sync failed, and success was reported".to_owned());
        }
    } else if restored != old && restored != new {
        return Err(format!("restored {} after {:?}: {said}", show(&restored), done.code));
    }
    if let (true, Some(fault)) = (subject.is_ours(), fault) {
        match done.code {
            Some(0) => {}
            Some(10) if restored == new && said.contains("the new snapshot is in place") => {}
            Some(code) if restored != new && fault.allows(code) => {
                // What could not be removed, since that failed, is removed later.
                let left = names(dir);
                if fault.call != "unlinkat" && left != *fault.before {
                    return Err(format!("left behind {left:?}"));
                }
            }
            code => return Err(format!("exit code {code:?}, {}: {said}", show(&restored))),
        }
    }
    store.create(&state(4, SIZE), 4).map_err(|problem| format!("the next create: {problem}"))?;
    let restored = store.restore()?;
    if restored != pair(4) {
        return Err(format!("restored {} after the next create", show(&restored)));
    }
    let left = names(dir);
    let is_left = |name: &String| [".tmp", ".new"].iter().any(|part| name.contains(part));
    if subject.is_ours() && left.iter().any(is_left) {
        return Err(format!("left for ever: {left:?}"));
    }
    Ok(())
}

fn names(dir: &Path) -> BTreeSet<String> {
    // None, if it is not there.
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}
