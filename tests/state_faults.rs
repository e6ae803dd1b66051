//! System calls that fail, or do less than they were asked for, under a state with a log.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::failing_calls::{calls_about, under_strace};
use minisnap_tests::logged::{Step, check, dirs, open};
use minisnap_tests::{Done, SHORT_WRITES, in_parallel, program, run, run_mounting, scratch};
use tempfile::{NamedTempFile, TempDir};

/// The size of the operations in bytes: a batch is longer than a block.
const SIZE: usize = 300;

/// How often a call is made to fail until it is the one that was meant.
const TRIES: usize = 20;

/// Some records behind the newest snapshot, and the number of the last.
fn prepared() -> (TempDir, u64) {
    let root = scratch();
    fs::create_dir(&dirs(root.path())[0]).unwrap();
    let mut state = open(root.path()).unwrap();
    for step in [Step::Apply, Step::Snapshot, Step::Apply, Step::Snapshot, Step::Batch] {
        step.run(&mut state, SIZE).unwrap();
    }
    let last = state.sequence();
    (root, last)
}

fn act(step: Step, root: &Path) -> Command {
    let mut act = Command::new(program("act"));
    act.args(["state", step.name()]).arg(root).arg(SIZE.to_string());
    act
}

/// What may be found after a process ended like this.
fn possible(step: Step, last: u64, done: &Done) -> Vec<u64> {
    let new = last + step.operations();
    let said = &done.stderr;
    match done.code {
        Some(0) => vec![new],
        Some(1) if said.contains("could not be synced") => {
            assert!(said.contains("again: the log in `") && said.contains("must be opened again"), "{said}");
            vec![last, new]
        }
        Some(1 | 2) => vec![last],
        code => panic!("exit code {code:?}: {said}"),
    }
}

#[test]
fn every_failed_system_call_of_a_state_is_reported_and_costs_no_operation() {
    let log = NamedTempFile::new().unwrap();
    let mut cases = Vec::new();
    for step in Step::ALL {
        let (root, _) = prepared();
        let (done, trace) = under_strace(&act(step, root.path()), &[], log.path(), "");
        assert_eq!(done.code, Some(0), "{done:?}");
        for (call, at) in calls_about(&dirs(root.path())[0], &trace) {
            // The lock and its end are no operations on the disk, and a program may look for what is not there.
            if call != "flock" {
                cases.extend(["EIO", "ENOSPC"].map(|error| (step, call.clone(), at, error)));
            }
        }
    }
    assert!(cases.len() > 60, "{} cases", cases.len());
    in_parallel(cases, |(step, call, at, error)| {
        let log = NamedTempFile::new().unwrap();
        let inject = format!("inject={call}:error={error}:when={at}");
        let options = ["-e", &format!("trace={call}"), "-e", &inject];
        let failed = (0..TRIES).find_map(|_| {
            let (root, last) = prepared();
            let (done, trace) = under_strace(&act(step, root.path()), &options, log.path(), "");
            let here = dirs(root.path())[0].to_str().unwrap().to_owned();
            let is_here = |line: &str| line.contains("(INJECTED)") && line.contains(&here);
            trace.lines().any(is_here).then_some((root, last, done))
        });
        let case = format!("{step:?}, {error} at {call} {at}");
        let (root, last, done) = failed.unwrap_or_else(|| panic!("{case}: it could not be made to fail"));
        if done.code != Some(0) {
            // It says which file.
            let path = dirs(root.path())[0].to_str().unwrap().to_owned();
            assert!(done.stderr.contains(&path), "{case}: {}", done.stderr);
        }
        if let Err(problem) = check(root.path(), &possible(step, last, &done), SIZE) {
            panic!("{case}: {done:?}: {problem}");
        }
    });
}

#[test]
fn short_writes_of_a_state_lose_nothing() {
    for step in Step::ALL {
        for which in ["every", "1", "2", "3", "4"] {
            let ((root, last), logs) = (prepared(), scratch());
            let mut act = act(step, root.path());
            act.env("LD_PRELOAD", SHORT_WRITES).env("SHORT_WRITE_LOG", logs.path().join("log"));
            let done = run(act.env("SHORT_WRITE", which), "");
            assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{step:?}, {which}");
            check(root.path(), &[last + step.operations()], SIZE).unwrap();
            let was_short = logs.path().join("log").exists();
            assert!(was_short || which != "every" || step == Step::Open, "{step:?} writes in another way");
        }
    }
}

#[test]
fn a_full_disk_takes_back_what_was_written_of_a_batch_and_takes_the_next_operation() {
    let dir = tempfile::tempdir().unwrap();
    let act = program("act").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=128k tmpfs $2; mkdir $2/log; {act} state apply $2 300; wc -c $2/log/*; \
         {act} state batch $2 90000 || echo failed; wc -c $2/log/*; {act} state apply $2 300; wc -l $2/log/*"
    );
    let done = run_mounting(&script, dir.path(), "");
    assert_eq!(done.code, Some(0), "{done:?}");
    let lines: Vec<&str> = done.stdout.lines().collect();
    // The header and two records.
    let lengths = lines[3].trim_start().starts_with("3 ");
    assert!(lines[0] == lines[2] && lines[1] == "failed" && lengths, "{done:?}");
    assert_eq!(done.stderr.matches("No space left on device").count(), 2, "{done:?}");
}
