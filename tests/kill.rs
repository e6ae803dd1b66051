//! Processes that are killed at random, or stopped in the middle of a streamed create, never leave a mixed or unreadable
//! store.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use minisnap_host::Grant;
use minisnap_tests::interrupt::kills;
use minisnap_tests::random::Random;
use minisnap_tests::subject::{OURS, Subject};
use minisnap_tests::{cli, finish, in_parallel, minisnap, names, rounds, run, start};
use tempfile::tempdir;

/// How many numbers a state has: more than the command line reads before it begins to write.
const NUMBERS: usize = 400_000;

/// A state whose every part says which snapshot it belongs to: of a length that takes some writing.
fn state(seq: u64) -> String {
    format!("[{}{seq}]", format!("{seq},").repeat(NUMBERS - 1))
}

#[test]
fn kills_of_a_component_that_snapshots_lose_nothing_that_was_acknowledged() {
    let rounds = rounds(40, 500);
    in_parallel(OURS.to_vec(), |subject| {
        let tally = kills(&subject, rounds);
        assert_eq!((tally.tried, tally.violations), (rounds, Vec::new()), "{subject:?}");
    });
}

/// The method must be seen to bite.
#[test]
fn kills_of_native_0_1_2_mix_pairs() {
    let mixes = (0..10).any(|_| !kills(&Subject::Native012, 50).violations.is_empty());
    assert!(mixes, "native 0.1.2 has mended this: adapt the test");
}

#[test]
fn random_kills_never_leave_a_mixed_or_unreadable_store() {
    kill("pair", "snapshot.json.new");
}

#[test]
fn random_kills_never_leave_a_history_without_its_newest_generation() {
    kill("numbered", ".json.tmp");
}

/// Kills creates in this layout; of a kill in the middle of the writing, a name with this end is left.
fn kill(layout: &str, temporary: &str) {
    let dir = tempdir().unwrap();
    let create = |seq: u64| {
        let mut cli = cli();
        cli.arg("create").arg(dir.path()).args(["--seq", &seq.to_string(), "--layout", layout]);
        cli
    };
    assert_eq!(run(&mut create(0), &state(0)).code, Some(0));
    // How long a whole create takes here, once the compiled code is cached.
    let started = Instant::now();
    assert_eq!(run(&mut create(0), &state(0)).code, Some(0));
    let mut whole = started.elapsed();

    let mut random = Random::default();
    let (mut stored, mut killed, mut left) = (0, 0_u64, BTreeSet::new());
    let rounds = rounds(40, 200);
    let is_left =
        |left: &BTreeSet<OsString>| left.iter().any(|name| name.to_string_lossy().ends_with(temporary));
    for seq in 1.. {
        // Until one was killed in the middle of its writing, which takes little of the time.
        if seq > rounds && (is_left(&left) || seq > 10 * rounds) {
            break;
        }
        let patience = random.time(whole * 11 / 10);
        let child = start(&mut create(seq));
        let pid = child.id().to_string();
        let done = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(patience);
                // The program may be done before.
                std::process::Command::new("sh")
                    .args(["-c", "kill -9 $0 2>/dev/null", &pid])
                    .status()
                    .unwrap();
            });
            finish(child, &state(seq))
        });
        killed += u64::from(!done.status.success());
        // What else runs here may come and go: some must end by themselves, so that the others are killed anywhere.
        whole = if done.status.success() { whole * 9 / 10 } else { whole * 21 / 20 };
        left.extend(fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()));

        let restored = minisnap().open(Grant::new(dir.path()).read_only()).unwrap().restore_text();
        let found = restored.as_ref().map(|restored| restored.seq);
        let found = found.unwrap_or_else(|error| panic!("after the kill at {seq}: {error}"));
        let allowed = if done.status.success() { vec![seq] } else { vec![stored, seq] };
        assert!(allowed.contains(&found), "{found} is restored where {allowed:?} may be");
        let whole = format!("[\n{}  {found}\n]", format!("  {found},\n").repeat(NUMBERS - 1));
        assert!(restored.unwrap().state == whole, "the state is not that of {found}");
        stored = found;
    }
    println!("after {rounds} or more, {killed} were killed before their end; seen on the disk: {left:?}");
    assert!(killed > rounds / 4, "only {killed} were killed before their end");
    assert!(is_left(&left), "none was killed in the middle of its writing");
}

/// The half of a state is there, and then comes the end of the input, or a signal.
#[test]
fn a_streamed_create_that_is_stopped_in_the_middle_leaves_the_snapshot_before() {
    for subject in OURS {
        for signal in ["none", "INT", "TERM", "HUP", "KILL"] {
            let dir = tempdir().unwrap();
            assert_eq!(run(&mut subject.create(dir.path(), 1), "\"old\"").code, Some(0));
            let before = names(dir.path());
            let create = subject.create(dir.path(), 2);
            // Whoever started the tests may ignore these signals, which a program inherits.
            let mut env = Command::new("env");
            env.arg("--default-signal").arg(create.get_program()).args(create.get_args());
            let started = Instant::now();
            let mut child = start(&mut env);
            let state = state(2);
            let half = &state[..state.len() / 2];
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(half.as_bytes()).unwrap();
            // It has begun to write the new one.
            while names(dir.path()) == before {
                assert_eq!(child.try_wait().unwrap(), None, "it ended before it wrote anything");
                assert!(started.elapsed() < Duration::from_secs(60), "it writes nothing of so long a half");
                thread::sleep(Duration::from_millis(1));
            }
            if signal != "none" {
                let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
                assert!(sent.unwrap().success());
                // The signal comes before the end of the input.
                assert!(!child.wait().unwrap().success());
            }
            drop(stdin);
            let done = child.wait_with_output().unwrap();
            if signal == "none" {
                assert_eq!(done.status.code(), Some(3), "{done:?}");
                assert_eq!(names(dir.path()), before, "undone at once");
            }
            let restored = run(&mut subject.restore(dir.path()), "");
            assert_eq!((restored.stdout.as_str(), restored.stderr.as_str()), ("\"old\"", "seq 1\n"));
            assert_eq!(run(&mut subject.create(dir.path(), 2), "\"new\"").code, Some(0), "{signal}");
            assert_eq!(run(&mut subject.restore(dir.path()), "").stdout, "\"new\"");
            let left = names(dir.path());
            assert!(!left.iter().any(|name| name.contains("tmp")), "{signal}: {left:?}");
        }
    }
}
