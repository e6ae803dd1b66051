//! System calls of `minisnap create` that fail, and limits of the system: the error is reported under its name, the
//! snapshot before is restored, and nothing is left that a later create trips over.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::{Done, RUST_CONSUMER, binary, cli, run, run_mounting};
use tempfile::{TempDir, tempdir};

const LAYOUTS: [&str; 2] = ["pair", "numbered"];

fn create(dir: &Path, seq: &str, layout: &str, state: &str) -> Done {
    run(cli().arg("create").arg(dir).args(["--seq", seq, "--layout", layout]), state)
}

fn restore(dir: &Path) -> Done {
    run(cli().arg("restore").arg(dir), "")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn dir_with_snapshot(layout: &str) -> TempDir {
    let dir = tempdir().unwrap();
    assert_eq!(create(dir.path(), "1", layout, "\"old\"").code, Some(0));
    dir
}

/// Each call of these that a create makes; what else the process does with them fails, too.
const CALLS: [&str; 7] = ["openat2", "mkdirat", "pwrite64", "fsync", "renameat", "unlinkat", "fstat"];

#[cfg(target_os = "linux")]
#[test]
fn every_failed_system_call_of_a_create_is_reported_and_costs_no_data() {
    for layout in LAYOUTS {
        let mut tried = 0;
        for call in CALLS {
            for (error, codes) in [("EIO", &[10][..]), ("ENOSPC", &[7, 10]), ("EINTR", &[10])] {
                for at in 1.. {
                    let dir = dir_with_snapshot(layout);
                    let before = names(dir.path());
                    let log = dir.path().with_extension("strace");
                    let mut strace = Command::new("strace");
                    strace.args(["-f", "-e", &format!("trace={call}")]);
                    strace.args(["-e", &format!("inject={call}:error={error}:when={at}"), "-o"]).arg(&log);
                    strace.arg(binary()).arg("create").arg(dir.path()).args(["--seq", "2"]);
                    let done = run(&mut strace, "\"new\"");
                    let injected = fs::read_to_string(&log).unwrap().contains("(INJECTED)");
                    fs::remove_file(&log).unwrap();
                    if !injected {
                        assert_eq!(done.code, Some(0), "{layout}, {call}: {done:?}");
                        break;
                    }
                    tried += 1;
                    let context = format!("{layout}, {error} at {call} {at}: {done:?}");
                    let restored = restore(dir.path());
                    assert_eq!(restored.code, Some(0), "{context}, {restored:?}");
                    let found = (restored.stdout.as_str(), restored.stderr.as_str());
                    match done.code {
                        Some(0) => assert_eq!(found, ("\"new\"", "seq 2\n"), "{context}"),
                        // The host itself could not start, before it touched anything.
                        Some(11) => assert_eq!(found, ("\"old\"", "seq 1\n"), "{context}"),
                        Some(code) if done.stderr.contains("the new snapshot is in place") => {
                            assert_eq!((code, found), (10, ("\"new\"", "seq 2\n")), "{context}");
                        }
                        Some(code) => {
                            assert!(codes.contains(&code), "{context}");
                            assert_eq!(found, ("\"old\"", "seq 1\n"), "{context}");
                            // What could not be removed, since that failed, is removed later.
                            assert!(call == "unlinkat" || names(dir.path()) == before, "{context}");
                        }
                        None => panic!("{context}"),
                    }
                    assert_eq!(create(dir.path(), "3", layout, "\"next\"").code, Some(0), "{context}");
                    assert_eq!(restore(dir.path()).stdout, "\"next\"", "{context}");
                    let left = names(dir.path());
                    assert!(
                        !left.iter().any(|name| name.contains("tmp") || name.contains("commit")),
                        "{left:?}"
                    );
                }
            }
        }
        println!("{layout}: {tried} faults");
        assert!(tried > 20, "only {tried} faults were injected");
    }
}

#[cfg(target_os = "linux")]
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

#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_inodes_is_full_and_costs_no_data() {
    for layout in LAYOUTS {
        let dir = tempdir().unwrap();
        let script = format!(
            "mount -t tmpfs -o nr_inodes=6 none $2; echo 1 | $1 create $2 --seq 1 --layout {layout}; code=0; \
             touch $2/a $2/b $2/c $2/d 2>/dev/null || true; echo 2 | $1 create $2 --seq 2 || code=$?; \
             rm -f $2/a $2/b $2/c $2/d; $1 restore $2; ls $2 | wc -l; exit $code"
        );
        let full = run_mounting(&script, dir.path(), "");
        let files = if layout == "pair" { 3 } else { 1 };
        assert_eq!((full.code, full.stdout.as_str()), (Some(7), format!("1{files}\n").as_str()), "{full:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn permission_that_is_taken_away_between_two_creates_is_access_denied() {
    for layout in LAYOUTS {
        let dir = tempdir().unwrap();
        // `echo` waits for the end of its input, which comes after the change.
        let script = format!(
            "(until $1 restore $2 >/dev/null 2>&1; do sleep 0.1; done; sleep 0.2; chmod 500 $2) | setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all \
             $1 run '{RUST_CONSUMER}' --grant $2 --layout {layout} -- create 1 1 echo create 2 2 restore"
        );
        let done = run_mounting(&script, dir.path(), "");
        run(Command::new("chmod").arg("700").arg(dir.path()), "");
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "ok\n\naccess-denied\n1 1\n"), "{done:?}");
    }
}
