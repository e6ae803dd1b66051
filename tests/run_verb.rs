//! `minisnap run`: a consumer component with a store, and with nothing else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use minisnap_host::Grant;
use minisnap_tests::{Done, VERBS, cli, minisnap, names, run, run_mounting, start};
use tempfile::tempdir;

/// Runs the consumer with its snapshots in `dir`.
fn consumer(dir: &Path, options: &[&str], args: &[&str], input: &str) -> Done {
    run(cli().arg("run").arg(VERBS).arg("--grant").arg(dir).args(options).arg("--").args(args), input)
}

#[track_caller]
fn assert_prints(dir: &Path, args: &[&str], lines: &[&str]) {
    let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let done = consumer(dir, &[], args, "");
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
}

#[test]
fn a_component_stores_a_snapshot_and_another_process_restores_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("snapshots");
    assert_prints(&path, &["restore", "exists"], &["none", "false"]);
    assert_prints(&path, &["create", "10", "{\"counter\":42}", "info"], &["ok", "10 19 Soundness::Verified"]);
    assert_prints(&path, &["restore", "exists"], &["10 {\"counter\":42}", "true"]);
    let restored = run(cli().arg("restore").arg(&path), "");
    assert_eq!(restored.stdout, "{\n  \"counter\": 42\n}");
    assert_eq!(names(&path), ["snapshot.json", "snapshot.seq", "snapshot.sum"]);
}

#[test]
fn errors_reach_the_component_as_the_same_cases() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    assert_prints(path, &["restore"], &["none"]);
    assert_prints(
        path,
        &["create", "18446744073709551615", "1", "create", "7", "2", "create", "0", "[", "info"],
        &[
            "ok",
            "stale: 18446744073709551615",
            "stale: 18446744073709551615",
            "18446744073709551615 1 Soundness::Verified",
        ],
    );
    let invalid = tempdir().unwrap();
    assert_prints(
        invalid.path(),
        &["create", "0", "[", "exists"],
        &["invalid-state: line 1 column 2: the text ends where a value or `]` is expected", "false"],
    );
    let limited = consumer(path, &["--max-state", "3"], &["create", "18446744073709551615", "1234"], "");
    assert_eq!(limited.stdout, "too-large: 3\n");
    let reader = consumer(path, &["--read-only"], &["create", "18446744073709551615", "2", "restore"], "");
    assert_eq!(reader.stdout, "access-denied\n18446744073709551615 1\n");
    fs::write(path.join("snapshot.seq"), "x").unwrap();
    let corrupt = consumer(path, &[], &["restore", "create", "1", "1"], "").stdout;
    assert_eq!(
        corrupt.lines().filter(|line| line.starts_with("corrupt: `snapshot.seq`")).count(),
        2,
        "{corrupt}"
    );
    fs::remove_file(path.join("snapshot.seq")).unwrap();
    fs::create_dir(path.join("snapshot.seq")).unwrap();
    assert!(
        consumer(path, &[], &["restore"], "")
            .stdout
            .starts_with("corrupt: `snapshot.seq` is a directory, not a regular file")
    );
    let blocked = tempdir().unwrap();
    for name in ["snapshot.json", "snapshot_00000000000000000001.json"] {
        fs::write(blocked.path().join(name), "").unwrap();
    }
    let io = consumer(blocked.path(), &[], &["create", "1", "1"], "").stdout;
    assert!(io.starts_with("io: the directory holds snapshots in two layouts"), "{io}");
}

#[test]
fn a_full_disk_reaches_the_component_as_no_space() {
    let dir = tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none $2; \
         $1 run '{VERBS}' --grant $2 -- create 1 1 create-large 2 100000 restore create 3 3 restore"
    );
    let done = run_mounting(&script, dir.path(), "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "ok\nno-space\n1 1\nok\n3 3\n"), "{done:?}");
}

#[test]
fn of_two_components_that_may_write_in_a_directory_the_second_is_refused() {
    let (own, other, data) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let give = |perms: &str| format!("{}::/data{perms}", data.path().display());
    // As a native program with a log holds it.
    let held = std::fs::File::open(data.path()).unwrap();
    held.lock().unwrap();
    let busy = consumer(own.path(), &["--dir", &give("")], &["exists"], "");
    assert_eq!((busy.code, busy.stdout.as_str()), (Some(9), ""), "{}", busy.stderr);
    assert!(busy.stderr.contains(&format!("`{}` is in use", data.path().display())), "{}", busy.stderr);
    let reads = consumer(own.path(), &["--dir", &give(":ro")], &["exists"], "");
    assert_eq!(reads.code, Some(0), "{}", reads.stderr);
    held.unlock().unwrap();

    // One component that runs, and another, and the same directory under two names.
    let mut first = cli();
    first.arg("run").arg(VERBS).arg("--grant").arg(own.path()).args(["--dir", &give("")]);
    first.args(["--dir", &give("2")]).args(["--", "count", "1", "1000000000", "10"]);
    let mut first = start(&mut first);
    let mut printed = BufReader::new(first.stdout.take().unwrap());
    printed.read_line(&mut String::new()).unwrap();
    let busy = consumer(other.path(), &["--dir", &give("")], &["exists"], "");
    assert_eq!(busy.code, Some(9), "{}", busy.stderr);
    first.kill().unwrap();
    first.wait().unwrap();
    let free = consumer(other.path(), &["--dir", &give("")], &["exists"], "");
    assert_eq!(free.code, Some(0), "{}", free.stderr);
}

#[test]
fn a_component_is_not_run_while_another_process_holds_its_directory() {
    let dir = tempdir().unwrap();
    let _writer = minisnap().open(Grant::new(dir.path())).unwrap();
    let busy = consumer(dir.path(), &[], &["create", "1", "1"], "");
    assert_eq!((busy.code, busy.stdout.as_str()), (Some(9), ""), "{busy:?}");
    let reader = consumer(dir.path(), &["--read-only"], &["exists"], "");
    assert_eq!((reader.code, reader.stdout.as_str()), (Some(0), "false\n"));
}

#[test]
fn a_component_hands_over_what_the_grant_allows() {
    let dir = tempdir().unwrap();
    let size = 140 << 20;
    assert_prints(
        dir.path(),
        &["create-large", "1", &size.to_string(), "info"],
        &["ok", &format!("1 {} Soundness::Verified", size + 2)],
    );
}

#[test]
fn a_component_gets_arguments_and_standard_streams_and_nothing_else() {
    let dir = tempdir().unwrap();
    let echoed = consumer(dir.path(), &[], &["echo"], "äöü\n");
    assert_eq!((echoed.code, echoed.stdout.as_str()), (Some(0), "äöü\n\n"));
    let told =
        consumer(dir.path(), &[], &["environment", "read", "/", "read", "/snapshots", "read", "."], "")
            .stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "[]", "an environment");
    assert!(lines[1..].iter().all(|line| line.starts_with("Err(")), "files: {lines:?}");
    let connected = consumer(dir.path(), &[], &["connect", "127.0.0.1:1"], "").stdout;
    assert_eq!(connected, "Err(PermissionDenied)\n");
}

#[test]
fn a_component_gets_the_environment_and_the_folders_that_it_is_given() {
    let (dir, data) = (tempdir().unwrap(), tempdir().unwrap());
    let own = std::env::var("PATH").unwrap();
    let told =
        consumer(dir.path(), &["--env", "A=b=c", "--env", "PATH", "--env", "E="], &["environment"], "");
    let expected = [("A", "b=c"), ("PATH", &own), ("E", "")];
    assert_eq!(told.stdout, format!("{expected:?}\n"));
    for wrong in ["=b", "", "NOT_SET_HERE"] {
        let refused = consumer(dir.path(), &["--env", wrong], &["environment"], "");
        assert_eq!(refused.code, Some(2), "{wrong}: {refused:?}");
    }
    let folder = data.path().canonicalize().unwrap();
    let to_write = format!("{}::/data", folder.display());
    let written = consumer(dir.path(), &["--dir", &to_write], &["write", "/data/a"], "").stdout;
    assert_eq!(written, "Ok(())\n");
    let to_read = format!("{to_write}:ro");
    let args = ["read", "/data", "write", "/data/a", "write", "/data/b"];
    let told = consumer(dir.path(), &["--dir", &to_read], &args, "").stdout;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "Ok(())");
    assert!(lines[1..].iter().all(|line| line.starts_with("Err(")), "{told}");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1);
}

#[test]
fn run_exits_with_0_or_1_as_the_component_ends() {
    let dir = tempdir().unwrap();
    for (code, expected) in [(0, 0), (1, 1), (3, 1)] {
        assert_eq!(consumer(dir.path(), &[], &["exit", &code.to_string()], "").code, Some(expected));
    }
}

#[test]
fn a_component_that_traps_is_exit_code_11_and_keeps_its_snapshot() {
    let dir = tempdir().unwrap();
    let trapped = consumer(dir.path(), &[], &["create", "1", "\"kept\"", "panic"], "");
    assert_eq!((trapped.code, trapped.stdout.as_str()), (Some(11), "ok\n"), "{trapped:?}");
    assert!(trapped.stderr.contains("as told") && trapped.stderr.contains("error: "), "{}", trapped.stderr);
    assert_prints(dir.path(), &["restore"], &["1 \"kept\""]);
}

#[test]
fn a_component_cannot_take_more_memory_than_it_is_given() {
    let dir = tempdir().unwrap();
    let args = ["allocate", "100000000"];
    assert_eq!(consumer(dir.path(), &[], &args, "").stdout, "100000000 bytes\n");
    assert_eq!(consumer(dir.path(), &["--component-memory", "64MiB"], &args, "").code, Some(11));
}

#[test]
fn a_file_system_that_becomes_read_only_is_access_denied() {
    let dir = tempdir().unwrap();
    // `echo` waits for the end of its input, which comes after the remount.
    let script = format!(
        "mount -t tmpfs none $2; (until $1 restore $2 >/dev/null 2>&1; do sleep 0.1; done; sleep 0.2; mount -o remount,ro $2) | \
         $1 run '{VERBS}' --grant $2 -- create 1 1 echo create 2 2 restore"
    );
    let done = run_mounting(&script, dir.path(), "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "ok\n\naccess-denied\n1 1\n"), "{done:?}");
}
