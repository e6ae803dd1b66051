//! System calls of a create that fail or do less than they should, and limits of the system: the error is reported under
//! its name, the snapshot before is restored, and nothing is left that a later create trips over.

use std::path::Path;
use std::process::Command;

use minisnap_tests::command_line::restore;
use minisnap_tests::failing_calls::{Act, failed_calls, short_writes};
use minisnap_tests::limits::limits;
use minisnap_tests::subject::{NATIVES, OURS, Subject};
use minisnap_tests::{Done, VERBS, binary, cli, in_parallel, names, rounds, run, run_mounting};
use tempfile::{TempDir, tempdir};

const LAYOUTS: [&str; 2] = ["pair", "numbered"];

fn create(dir: &Path, seq: &str, layout: &str, state: &str) -> Done {
    run(cli().arg("create").arg(dir).args(["--seq", seq, "--layout", layout]), state)
}

fn dir_with_snapshot(layout: &str) -> TempDir {
    let dir = tempdir().unwrap();
    assert_eq!(create(dir.path(), "1", layout, "\"old\"").code, Some(0));
    dir
}

/// What a system call may answer: a broken disk, a signal, a full disk.
const ERRORS: [&str; 3] = ["EIO", "EINTR", "ENOSPC"];

const NONE: [String; 0] = [];

#[test]
fn every_failed_system_call_of_a_create_is_reported_and_costs_no_data() {
    let errors = rounds(&ERRORS[..2], &ERRORS[..]);
    let acts = OURS.into_iter().flat_map(|ours| [(ours, Act::First), (ours, Act::Create)]);
    in_parallel(acts.collect(), |(subject, act)| {
        let tally = failed_calls(subject, act, errors);
        println!("{subject:?}, {act:?}: {} faults", tally.tried);
        assert_eq!(tally.violations, NONE, "{subject:?}, {act:?}");
        let enough = 20 * errors.len();
        assert!(tally.tried > enough, "{subject:?}, {act:?}: only {} faults were injected", tally.tried);
    });
}

#[test]
fn a_short_write_is_finished_and_costs_no_data() {
    for subject in OURS {
        let tally = short_writes(subject);
        println!("{subject:?}: {} short writes", tally.tried);
        assert_eq!(tally.violations, NONE, "{subject:?}");
        assert!(tally.tried > 2, "{subject:?}: only {} writes were short", tally.tried);
    }
}

/// The methods must be seen to bite.
#[test]
fn failed_system_calls_of_native_minisnap_are_found_to_cost_data() {
    assert_ne!(failed_calls(Subject::Native013, Act::Create, &["EIO"]).violations, NONE);
}

#[test]
fn every_limit_of_the_system_is_reported_by_its_name_and_costs_no_data() {
    for subject in OURS {
        assert_eq!(limits(subject).violations, NONE, "{subject:?}");
    }
    for subject in NATIVES {
        assert_ne!(limits(subject).violations, NONE, "{subject:?}: the method must be seen to bite");
    }
}

#[test]
fn a_file_size_limit_is_an_error_and_costs_no_data() {
    for layout in LAYOUTS {
        let dir = dir_with_snapshot(layout);
        let before = names(dir.path());
        // In blocks of 512 bytes.
        let script = "ulimit -f 400; exec $0 create $1 --seq 2";
        let mut limited = Command::new("sh");
        limited.args(["-c", script]).arg(binary()).arg(dir.path());
        let refused = run(&mut limited, &format!("\"{}\"", "x".repeat(1_000_000)));
        assert_eq!(refused.code, Some(10), "{refused:?}");
        assert!(refused.stderr.contains("cannot write"), "{refused:?}");
        assert_eq!((names(dir.path()), restore(dir.path()).stdout), (before, "\"old\"".to_owned()));
        assert_eq!(create(dir.path(), "2", layout, "\"new\"").code, Some(0));
    }
}

#[test]
fn permission_that_is_taken_away_between_two_creates_is_access_denied() {
    for layout in LAYOUTS {
        let dir = tempdir().unwrap();
        // `echo` waits for the end of its input, which comes after the change.
        let script = format!(
            "(until $1 restore $2 >/dev/null 2>&1; do sleep 0.1; done; sleep 0.2; chmod 500 $2) | setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all \
             $1 run '{VERBS}' --grant $2 --layout {layout} -- create 1 1 echo create 2 2 restore"
        );
        let done = run_mounting(&script, dir.path(), "");
        run(Command::new("chmod").arg("700").arg(dir.path()), "");
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "ok\n\naccess-denied\n1 1\n"), "{done:?}");
    }
}

/// What leads to a new directory must be durable, too.
#[test]
fn where_the_folder_above_may_not_be_read_its_whole_file_system_is_synced() {
    let dir = tempdir().unwrap();
    let script = "mkdir $2/above; chmod 300 $2/above; \
                  setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all \
                  strace -f -e trace=syncfs -o $2/log $1 create $2/above/store --seq 1; chmod 700 $2/above; cat $2/log";
    let done = run_mounting(script, dir.path(), "1");
    assert!(
        done.code == Some(0) && done.stdout.contains("syncfs(") && done.stdout.contains(" = 0"),
        "{done:?}"
    );
    assert_eq!(restore(&dir.path().join("above/store")).stdout, "1");
}
