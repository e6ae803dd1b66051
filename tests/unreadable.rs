//! Entries of a directory that the system cannot look at or read, on real file systems: what is none of the store's never
//! matters, and an older generation never stands in for one that cannot be read now.

use std::path::Path;
use std::process::Command;

use minisnap_tests::{Done, cli, run, run_mounting};
use tempfile::{TempDir, tempdir};

/// Mounts a file system on a file, and lets it die: every look at that file is an error from then on.
const KILL: &str = "
import ctypes, os, sys
fuse = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={fuse},rootmode=100000,user_id=0,group_id=0'.encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'dead', sys.argv[1].encode(), b'fuse', 0, options):
    sys.exit('cannot mount: ' + os.strerror(ctypes.get_errno()))
";

const NEWEST: &str = "snapshot_00000000000000000003.json";

/// Whether a file can be made so, which needs FUSE and namespaces; continuous integration has both.
fn is_possible() -> bool {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let done = with_dead("file", dir.path(), "! stat \"$2/file\" 2>&1");
    if done.code == Some(0) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "continuous integration has FUSE: {done:?}");
    println!("IGNORED: no file system of a program can be mounted here: {}", done.stderr);
    false
}

/// Runs a script where a file of `dir` cannot be looked at; `$1` is the command line's binary, `$2` is `dir`.
fn with_dead(file: &str, dir: &Path, script: &str) -> Done {
    run_mounting(&format!("python3 -c \"{KILL}\" \"$2/{file}\"\n{script}"), dir, "")
}

/// Three snapshots of their numbers, and a file of somebody's.
fn dir_with(layout: &str) -> TempDir {
    let dir = tempdir().unwrap();
    for seq in ["1", "2", "3"] {
        let mut create = cli();
        create.arg("create").arg(dir.path()).args(["--seq", seq, "--layout", layout]);
        assert_eq!(run(&mut create, seq).code, Some(0));
    }
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    dir
}

#[test]
fn what_is_none_of_the_stores_and_cannot_be_looked_at_does_not_matter() {
    if !is_possible() {
        return;
    }
    for layout in ["pair", "numbered"] {
        let dir = dir_with(layout);
        let script = "\"$1\" restore \"$2\"; echo; echo 4 | \"$1\" create \"$2\" --seq 4; \"$1\" verify \"$2\" >&2; \
                      \"$1\" restore \"$2\"";
        let done = with_dead("notes.txt", dir.path(), script);
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "3\n4"), "{layout}: {done:?}");
    }
}

#[test]
fn a_newest_generation_that_cannot_be_looked_at_is_named_and_older_ones_stay_within_reach() {
    if !is_possible() {
        return;
    }
    let dir = dir_with("numbered");
    let done = with_dead(NEWEST, dir.path(), "\"$1\" restore \"$2\"");
    assert_eq!((done.code, done.stdout.as_str()), (Some(10), ""), "{done:?}");
    for part in [NEWEST, "try again, or restore the snapshot 2 by its number, or move that file away"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let done = with_dead(NEWEST, dir.path(), "\"$1\" restore \"$2\" --seq 2");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "2"), "{done:?}");
    // It is replaced by nothing, and listed.
    for seq in [2, 3] {
        let done = with_dead(NEWEST, dir.path(), &format!("echo 9 | \"$1\" create \"$2\" --seq {seq}"));
        assert_eq!(done.code, Some(10), "{done:?}");
    }
    let done = with_dead(NEWEST, dir.path(), "\"$1\" verify \"$2\"");
    assert_eq!(done.code, Some(10), "{done:?}");
    assert!(done.stdout.contains("  unreadable\n") && done.stdout.contains("3: cannot read"), "{done:?}");
    assert!(done.stderr.contains("; `restore` fails\n"), "{done:?}");
    // Nor does what tells of the newest tell of an older one.
    let done = with_dead(NEWEST, dir.path(), "\"$1\" info \"$2\" --json");
    assert_eq!((done.code, done.stdout.as_str()), (Some(10), ""), "{done:?}");
    let restored = run(cli().arg("restore").arg(dir.path()), "");
    assert_eq!((restored.code, restored.stdout.as_str()), (Some(0), "3"), "nothing was lost");
}

/// With so few descriptors that the newest generation cannot be opened, as in a busy host.
#[test]
fn want_of_descriptors_never_makes_an_older_generation_the_newest() {
    let dir = dir_with("numbered");
    let (mut failed, mut restored) = (0, 0);
    for limit in 3..40 {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n $0; exec \"$@\"", &limit.to_string()]).arg(cli().get_program());
        let done = run(limited.arg("restore").arg(dir.path()), "");
        match done.code {
            Some(0) => {
                assert_eq!(done.stdout, "3", "{limit}: {done:?}");
                restored += 1;
            }
            _ => failed += 1,
        }
    }
    assert!(failed > 3 && restored > 3, "{failed} failed, {restored} did not");
}
