//! Native minisnap 0.1.2 on the same directory, both ways.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::{Done, NATIVE_0_1_2, cli, run};
use tempfile::tempdir;

fn done(stdout: &str) -> Done {
    Done { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() }
}

/// By the times of files, native minisnap is known to have written later than this store.
fn wait_for_the_clock_of_files(dir: &Path) {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let written = modified(&dir.join("snapshot.sum"));
    while written.is_some() && modified(tempfile::NamedTempFile::new_in(dir).unwrap().path()) <= written {
        std::thread::yield_now();
    }
}

fn native_create(dir: &Path, seq: u64, state: &str) -> Done {
    wait_for_the_clock_of_files(dir);
    run(Command::new(NATIVE_0_1_2).arg("create").arg(dir).arg(seq.to_string()), state)
}

fn native_restore(dir: &Path) -> Done {
    run(Command::new(NATIVE_0_1_2).arg("restore").arg(dir), "")
}

fn create(dir: &Path, seq: u64, state: &str) -> Done {
    run(cli().arg("create").arg(dir).args(["--seq", &seq.to_string()]), state)
}

/// The number, the layout's soundness, and the state on one line.
#[track_caller]
fn assert_restores(dir: &Path, seq: u64, soundness: &str, state: &str) {
    let restored = run(cli().arg("restore").arg(dir), "");
    let warning = match soundness {
        "unverified" => format!("warning: another program wrote the snapshot {seq}: no sum verifies it\n"),
        _ => String::new(),
    };
    assert_eq!((restored.code, restored.stderr), (Some(0), format!("{warning}seq {seq}\n")));
    let restored: serde_json::Value = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!(restored.to_string(), state);
    let info = run(cli().arg("info").arg(dir), "").stdout;
    assert!(info.ends_with(&format!("soundness    {soundness}\n")), "{info}");
}

const STATE: &str = r#"{"counter":42,"list":[1,-2.5,"é\n",null,{}],"z":18446744073709551615}"#;

#[test]
fn what_native_0_1_2_writes_is_restored() {
    let dir = tempdir().unwrap();
    assert_eq!(native_create(dir.path(), 7, STATE), done(""));
    assert_restores(dir.path(), 7, "unverified", STATE);
}

#[test]
fn native_0_1_2_restores_what_is_written() {
    let dir = tempdir().unwrap();
    assert_eq!(create(dir.path(), u64::MAX, STATE), done(""));
    assert_eq!(native_restore(dir.path()), done(&format!("{} {STATE}\n", u64::MAX)));
}

#[test]
fn both_write_the_same_bytes() {
    let [ours, native] = [tempdir().unwrap(), tempdir().unwrap()];
    create(ours.path(), 7, STATE);
    native_create(native.path(), 7, STATE);
    for name in ["snapshot.json", "snapshot.seq"] {
        let [ours, native] = [&ours, &native].map(|dir| fs::read(dir.path().join(name)).unwrap());
        assert!(ours == native, "{name}");
    }
}

#[test]
fn both_can_take_turns_in_one_directory() {
    let dir = tempdir().unwrap();
    for turn in 0..4 {
        let (native, ours) = (2 * turn, 2 * turn + 1);
        assert_eq!(native_create(dir.path(), native, &format!("[{native}]")), done(""));
        assert_restores(dir.path(), native, "unverified", &format!("[{native}]"));
        assert_eq!(create(dir.path(), ours, &format!("[{ours}]")), done(""));
        assert_restores(dir.path(), ours, "verified", &format!("[{ours}]"));
        assert_eq!(native_restore(dir.path()), done(&format!("{ours} [{ours}]\n")));
    }
}

/// The crash that native 0.1.2 itself restores as the new state with the old number. Its second rename is made to fail,
/// which leaves exactly what a crash before it leaves.
#[test]
fn a_crash_of_native_0_1_2_between_its_renames_restores_the_new_pair() {
    for over_ours in [true, false] {
        let dir = tempdir().unwrap();
        let path = dir.path();
        if over_ours {
            assert_eq!(create(path, 1, "\"old\""), done(""));
        } else {
            assert_eq!(native_create(path, 1, "\"old\""), done(""));
        }
        let [seq, aside] = ["snapshot.seq", "aside"].map(|name| path.join(name));
        fs::rename(&seq, &aside).unwrap();
        fs::create_dir(&seq).unwrap();
        assert_eq!(native_create(path, 2, "\"new\"").code, Some(1));
        fs::remove_dir(&seq).unwrap();
        fs::rename(&aside, &seq).unwrap();

        assert_eq!(native_restore(path), done("1 \"new\"\n"), "native 0.1.2 has mended this: adapt the test");
        assert_restores(path, 2, "unverified", "\"new\"");
        // A create settles it for good, native minisnap included.
        assert_eq!(create(path, 1, "\"older\"").code, Some(4));
        assert_eq!(native_restore(path), done("2 \"new\"\n"));
        assert_restores(path, 2, "unverified", "\"new\"");
    }
}

#[test]
fn a_longer_temporary_of_native_0_1_2_spoils_nothing() {
    let dir = tempdir().unwrap();
    native_create(dir.path(), 1, "1");
    fs::write(dir.path().join("snapshot.json.tmp"), "\"long, and never committed\"").unwrap();
    fs::write(dir.path().join("snapshot.seq.tmp"), "79999999").unwrap();
    assert_restores(dir.path(), 1, "unverified", "1");
    assert_eq!(create(dir.path(), 7, "7"), done(""));
    assert_restores(dir.path(), 7, "verified", "7");
    assert_eq!(native_restore(dir.path()), done("7 7\n"));
    // Native minisnap, too, is rid of them: it would have written into them without cutting them.
    assert_eq!(native_create(dir.path(), 8, "8"), done(""));
    assert_restores(dir.path(), 8, "unverified", "8");
}

#[test]
fn native_0_1_2_restores_a_state_that_it_would_have_cut() {
    let dir = tempdir().unwrap();
    let state = format!("\"{}\"", "x".repeat(3 << 20));
    assert_eq!(create(dir.path(), 1, &state), done(""));
    assert_eq!(native_restore(dir.path()), done(&format!("1 {state}\n")));
    assert_eq!(native_create(dir.path(), 2, &state), done(""), "native 0.1.2 reports success");
    let cut = run(cli().arg("restore").arg(dir.path()), "");
    assert_eq!((cut.code, cut.stdout.as_str()), (Some(6), ""), "what it cut is damage, and not a snapshot");
}
