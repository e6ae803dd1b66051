//! Processes that use one directory at the same time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use minisnap_host::{Grant, Layout};
use minisnap_tests::contention::{readers, writers};
use minisnap_tests::failing_calls::first_call;
use minisnap_tests::subject::{OURS, Subject, is_whole, state};
use minisnap_tests::{VERBS, binary, minisnap, rounds, run, scratch};
use tempfile::tempdir;

const NONE: [String; 0] = [];

#[test]
fn processes_that_read_beside_a_writer_see_whole_snapshots_that_never_go_back() {
    for subject in OURS {
        let tally = readers(subject, 8, rounds(1_000, 10_000));
        println!("{subject:?}: {} different snapshots were read", tally.tried);
        assert_eq!(tally.violations, NONE, "{subject:?}");
    }
}

#[test]
fn of_two_processes_that_create_at_once_one_succeeds_and_none_destroys_what_the_other_has_made() {
    for subject in OURS {
        assert_eq!(writers(subject, 50).violations, NONE, "{subject:?}");
    }
}

#[test]
fn a_store_that_was_dropped_is_free_also_while_this_process_starts_others() {
    let dir = tempdir().unwrap();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    run(&mut Command::new("true"), "");
                }
            });
        }
        let opened =
            (0..rounds(3_000, 20_000)).try_for_each(|_| minisnap().open(Grant::new(dir.path())).map(drop));
        ended.store(true, Ordering::SeqCst);
        opened.unwrap();
    });
}

/// The methods must be seen to bite.
#[test]
fn readers_and_writers_beside_native_0_1_2_are_found_to_mix_pairs() {
    assert_ne!(readers(Subject::Native012, 8, 10_000).violations, NONE);
    assert_ne!(writers(Subject::Native012, 50).violations, NONE);
}

/// A host looks at each entry after it has listed them. Here, it takes so long over that in its first two listings that a
/// writer gets ahead of it: the one entry goes away, and what replaced it was not listed.
#[test]
fn a_listing_that_a_writer_overtakes_is_not_taken_for_an_empty_directory() {
    let dir = scratch();
    let subject = OURS[1];
    let grant = Grant::new(dir.path()).layout(Layout::Numbered).keep(std::num::NonZeroU32::MIN);
    let mut writer = minisnap().open(grant).unwrap();
    writer.create_text(&state(1, 60), 1).unwrap();
    let looks = first_call(&subject.restore(dir.path()), "statx", "\"snapshot_");
    let is_done = AtomicBool::new(false);
    let found: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 2.. {
                thread::sleep(Duration::from_millis(20));
                writer.create_text(&state(seq, 60), seq).unwrap();
                if is_done.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let restores = (0..10).map(|_| {
            // The standard library makes a call of its own after the first that fails.
            let delay = format!("inject=statx:delay_enter=50000:when={looks}..{}", looks + 2);
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-e", "trace=statx", "-e", &delay, "-o", "/dev/null"]);
            let restore = subject.restore(dir.path());
            run(strace.arg(restore.get_program()).args(restore.get_args()), "")
        });
        let found = restores.collect();
        is_done.store(true, Ordering::SeqCst);
        found
    });
    for done in found {
        let (state, seq) = subject.restored(&done).unwrap().expect("there is always a snapshot");
        assert!(is_whole(&state, seq), "{seq} with {state}");
    }
}

/// One that does not wait is told at once, and one that waits goes on as soon as it can.
#[test]
fn a_verb_that_waits_for_a_directory_in_use_goes_on_once_it_is_free() {
    for (verb, args) in [
        ("create", &["--seq", "2"][..]),
        ("settle", &[]),
        ("rollback", &["--to", "1"]),
        ("clear", &["--yes"]),
        ("run", &["--", "create", "2", "2"]),
    ] {
        let dir = tempdir().unwrap();
        let grant = Grant::new(dir.path()).layout(Layout::Numbered);
        let mut holder = minisnap().open(grant).unwrap();
        holder.create(&1, 1).unwrap();
        let command = |wait: &str| {
            let mut command = Command::new(binary());
            command.args(["-v", verb]);
            match verb {
                "run" => command.arg(VERBS).arg("--grant").arg(dir.path()),
                _ => command.arg(dir.path()),
            };
            command.args(["--wait", wait]).args(args).stdin(Stdio::null());
            command
        };
        let busy = run(&mut command("1ms"), "2");
        assert!(busy.code == Some(9) && busy.stderr.contains("in use"), "{verb}: {busy:?}");
        let mut waiting = command("10min");
        let waiting = waiting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut waiting = waiting.spawn().unwrap();
        waiting.stdin.take().unwrap().write_all(b"2").unwrap();
        let mut told = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(told.any(|line| line.contains("waiting")), "{verb}");
        drop(holder);
        let rest: Vec<_> = told.collect();
        assert!(waiting.wait().unwrap().success(), "{verb}: {rest:?}");
    }
}
