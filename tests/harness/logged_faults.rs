//! What else than crashes happens to a state with a log: calls that fail or do less, damage, kills.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use minisnap_client::state::Error;
use tempfile::{NamedTempFile, TempDir};

use crate::failing_calls::{calls_about, under_strace};
use crate::interrupt::Loop;
use crate::logged::{Step, check, dirs, open};
use crate::{Done, SHORT_WRITES, Tally, in_parallel, names, program, run, scratch};

/// The size of the operations in bytes: a batch is longer than a block.
const SIZE: usize = 300;

/// How often a call is made to fail until it is the one that was meant.
const TRIES: usize = 20;

/// Some records behind the newest snapshot, and the number of the last.
fn prepared() -> (TempDir, u64) {
    let root = scratch();
    fs::create_dir(&dirs(root.path())[0]).expect("the scratch folder can be written");
    let mut state = open(root.path()).expect("it opens");
    for step in [Step::Apply, Step::Snapshot, Step::Apply, Step::Snapshot, Step::Batch] {
        step.run(&mut state, SIZE).expect("it works");
    }
    let last = state.sequence();
    (root, last)
}

fn act(step: Step, root: &Path) -> Command {
    let mut act = Command::new(program("act"));
    act.args(["state", step.name()]).arg(root).arg(SIZE.to_string());
    act
}

/// Says what is wrong after a process ended like this.
fn judge(step: Step, root: &Path, last: u64, done: &Done) -> Result<(), String> {
    let new = last + step.operations();
    let said = done.stderr.trim();
    let possible = match done.code {
        Some(0) => vec![new],
        Some(1 | 2) if !said.contains(&*root.to_string_lossy()) => {
            return Err(format!("names no file: {said}"));
        }
        Some(1) if said.contains("could not be synced") && !said.contains("must be opened again") => {
            return Err(format!("goes on in doubt: {said}"));
        }
        Some(1) if said.contains("could not be synced") => vec![last, new],
        Some(1 | 2) => vec![last],
        code => return Err(format!("exit code {code:?}: {said}")),
    };
    check(root, &possible, SIZE).map(drop).map_err(|problem| format!("{done:?}: {problem}"))
}

/// Fails each call about the log with each of these errors, and judges what is left.
///
/// # Panics
///
/// If nothing can be traced.
pub fn failed_calls(errors: &[&'static str]) -> Tally {
    let log = NamedTempFile::new().expect("a file for the trace");
    let mut cases = Vec::new();
    for step in Step::ALL {
        let (root, _) = prepared();
        let (done, trace) = under_strace(&act(step, root.path()), &[], log.path(), "");
        assert_eq!(done.code, Some(0), "{done:?}");
        for (call, at) in calls_about(&dirs(root.path())[0], &trace) {
            // The snapshots are locked in a thread of their own, and a failure there comes first.
            if call == "flock" {
                continue;
            }
            cases.extend(errors.iter().map(|&error| (step, call.clone(), at, error)));
        }
    }
    let tally = Mutex::new(Tally::default());
    in_parallel(cases, |(step, call, at, error)| {
        let log = NamedTempFile::new().expect("a file for the trace");
        let inject = format!("inject={call}:error={error}:when={at}");
        let options = ["-e", &format!("trace={call}"), "-e", &inject];
        let failed = (0..TRIES).find_map(|_| {
            let (root, last) = prepared();
            let (done, trace) = under_strace(&act(step, root.path()), &options, log.path(), "");
            let here = dirs(root.path())[0].display().to_string();
            let is_here = |line: &str| line.contains("(INJECTED)") && line.contains(&here);
            trace.lines().any(is_here).then_some((root, last, done))
        });
        let result = match failed {
            Some((root, last, done)) => judge(step, root.path(), last, &done),
            None => Err("it could not be made to fail".to_owned()),
        };
        tally.lock().expect("no case panics").add(format!("{step:?}, {error} at {call} {at}"), result);
    });
    tally.into_inner().expect("no case panics")
}

/// Makes every write short, and then one at a time.
///
/// # Panics
///
/// If no write can be made short.
pub fn short_writes() -> Tally {
    let mut tally = Tally::default();
    for step in [Step::Apply, Step::Batch, Step::Snapshot] {
        for which in std::iter::once("every".to_owned()).chain((1..).map(|which: usize| which.to_string())) {
            let ((root, last), logs) = (prepared(), scratch());
            let log = logs.path().join("log");
            let mut act = act(step, root.path());
            act.env("LD_PRELOAD", SHORT_WRITES).env("SHORT_WRITE_LOG", &log).env("SHORT_WRITE", &which);
            let done = run(&mut act, "");
            if !log.exists() {
                assert_ne!(which, "every", "{step:?} writes in a way that cannot be made short");
                break;
            }
            tally.add(format!("{step:?}, write {which}"), judge(step, root.path(), last, &done));
        }
    }
    tally
}

/// Flips every bit of a log all of which is needed, or every one in so many: each is an error that names file and line, and
/// changes nothing.
///
/// # Panics
///
/// If the state cannot be made.
pub fn flipped_bits(one_in: usize) -> Tally {
    let root = scratch();
    let [log, snapshots] = dirs(root.path());
    fs::create_dir(&log).expect("the scratch folder can be written");
    let mut state = open(root.path()).expect("it opens");
    for step in [Step::Apply, Step::Snapshot, Step::Apply, Step::Snapshot, Step::Apply, Step::Batch] {
        step.run(&mut state, 30).expect("it works");
    }
    drop(state);
    // The newest snapshot is damaged, so that more than the newest segment is read.
    let newest = snapshots.join(format!("snapshot_{:020}.json", 2));
    let text = fs::read_to_string(&newest).expect("it is there");
    fs::write(&newest, text.replacen("count", "cound", 1)).expect("it can be written");
    let contents = || -> Vec<(String, Vec<u8>)> {
        let read = |name: String| (name.clone(), fs::read(log.join(name)).expect("it is there"));
        names(&log).into_iter().map(read).collect()
    };

    let mut tally = Tally::default();
    let mut read = BTreeSet::new();
    for (name, whole) in contents() {
        let path = log.join(&name);
        for bit in (0..whole.len() * 8).step_by(one_in) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &damaged).expect("it can be written");
            let before = contents();
            let expected = whole[..bit / 8].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
            let result = match open(root.path()).map(|state| state.sequence()) {
                Err(Error::Damaged { path: named, line, .. }) if (&named, line) == (&path, expected) => {
                    Ok(())
                }
                // The number of its format became a higher one.
                Err(Error::Later { path: named }) if (&named, 1) == (&path, expected) => Ok(()),
                other => Err(format!("{other:?}")),
            };
            let is_changed = contents() != before;
            let result = if is_changed { Err("something was changed".to_owned()) } else { result };
            tally.add(format!("bit {bit} of {name}"), result);
            read.insert(name.clone());
        }
        fs::write(&path, &whole).expect("it can be written");
    }
    assert_eq!(read.len(), 2, "{read:?}");
    tally
}

/// Operations, batches and snapshots in a loop.
#[derive(Debug, Clone, Copy)]
pub struct Operations;

impl Loop for Operations {
    fn count(&self, dir: &Path, _: u64, last: u64) -> Command {
        let mut count = Command::new(program("act"));
        count.arg("state-loop").arg(dir).arg(last.to_string()).arg(SIZE.to_string());
        count
    }

    fn check(&self, dir: &Path, acknowledged: u64) -> Result<u64, String> {
        let done = run(&mut act(Step::Open, dir), "");
        match done.stdout.trim().parse() {
            Ok(found) if found >= acknowledged => Ok(found),
            _ => Err(format!("found {done:?} where {acknowledged} was acknowledged")),
        }
    }
}
