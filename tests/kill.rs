//! `minisnap create`, killed at random, never leaves a mixed or unreadable store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use std::{fs, thread};

use minisnap_tests::{cli, finish, run, start};
use tempfile::tempdir;

/// A state whose every part says which snapshot it belongs to: of a length that takes some writing.
fn state(seq: u64) -> String {
    serde_json::to_string(&vec![seq; 100_000]).unwrap()
}

#[test]
fn two_hundred_random_kills_never_leave_a_mixed_or_unreadable_store() {
    kill("pair", "snapshot.tmp");
}

#[test]
fn two_hundred_random_kills_never_leave_a_history_without_its_newest_generation() {
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
    let whole = started.elapsed();

    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let (mut stored, mut killed, mut left) = (0, 0, BTreeSet::new());
    for seq in 1..=200 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let patience = Duration::from_nanos(random % (whole.as_nanos() as u64 * 11 / 10));
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
        killed += u32::from(!done.status.success());
        left.extend(fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()));

        let restored = run(cli().arg("restore").arg(dir.path()), "");
        assert_eq!(restored.code, Some(0), "after the kill at {seq}: {restored:?}");
        let found: u64 = restored.stderr.trim().strip_prefix("seq ").unwrap().parse().unwrap();
        let allowed = if done.status.success() { vec![seq] } else { vec![stored, seq] };
        assert!(allowed.contains(&found), "{found} is restored where {allowed:?} may be");
        let parts: Vec<u64> = serde_json::from_str(&restored.stdout).unwrap();
        assert!(parts == vec![found; 100_000], "the state is not that of {found}");
        stored = found;
    }
    println!("{killed} of 200 were killed before their end; seen on the disk: {left:?}");
    assert!(killed > 50, "only {killed} of 200 were killed before their end");
    assert!(
        left.iter().any(|name| name.to_string_lossy().ends_with(temporary)),
        "none was killed in the middle of its writing"
    );
}
