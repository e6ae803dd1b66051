//! Native minisnap 0.1.3 on the same directory, both ways.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::{Done, NATIVE_0_1_3, binary, cli, run};
use tempfile::tempdir;

fn done(stdout: &str) -> Done {
    Done { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() }
}

fn native_create(dir: &Path, seq: u64, state: &str) -> Done {
    run(Command::new(NATIVE_0_1_3).arg("create").arg(dir).arg(seq.to_string()), state)
}

fn native_restore(dir: &Path) -> Done {
    run(Command::new(NATIVE_0_1_3).arg("restore").arg(dir), "")
}

fn create(dir: &Path, seq: u64, state: &str) -> Done {
    let seq = seq.to_string();
    run(cli().arg("create").arg(dir).args(["--seq", &seq, "--layout", "numbered", "--keep", "4"]), state)
}

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
    let info: serde_json::Value =
        serde_json::from_str(&run(cli().arg("info").arg(dir).arg("--json"), "").stdout).unwrap();
    assert_eq!((&info["soundness"], &info["layout"]), (&soundness.into(), &"numbered".into()));
}

const STATE: &str = r#"{"counter":42,"list":[1,-2.5,"é\n",null,{}],"z":18446744073709551615}"#;

#[test]
fn what_native_0_1_3_writes_is_restored() {
    let dir = tempdir().unwrap();
    for (seq, state) in [(7, STATE), (8, "[]"), (u64::MAX, "null")] {
        assert_eq!(native_create(dir.path(), seq, state), done(""));
        assert_restores(dir.path(), seq, "unverified", state);
    }
}

#[test]
fn native_0_1_3_restores_what_is_written() {
    let dir = tempdir().unwrap();
    for (seq, state) in [(0, STATE), (8, "[]"), (u64::MAX, "null")] {
        assert_eq!(create(dir.path(), seq, state), done(""));
        assert_eq!(native_restore(dir.path()), done(&format!("{seq} {state}\n")));
    }
}

#[test]
fn both_write_the_same_bytes_but_for_the_sum() {
    let [ours, native] = [tempdir().unwrap(), tempdir().unwrap()];
    create(ours.path(), 7, STATE);
    native_create(native.path(), 7, STATE);
    let [ours, native] = [&ours, &native]
        .map(|dir| fs::read_to_string(dir.path().join("snapshot_00000000000000000007.json")).unwrap());
    let (before_sum, _) = ours.split_once(",\n  \"xxh128\"").unwrap();
    assert_eq!(format!("{before_sum}\n}}"), native);
    // What is restored is what either keeps in a pair.
    let pretty = serde_json::from_str::<serde_json::Value>(STATE).unwrap();
    for text in [ours, native] {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("snapshot_00000000000000000007.json"), text).unwrap();
        let restored = run(cli().arg("restore").arg(dir.path()), "").stdout;
        assert_eq!(restored, serde_json::to_string_pretty(&pretty).unwrap());
    }
}

#[test]
fn both_can_take_turns_in_one_history() {
    let dir = tempdir().unwrap();
    for turn in 0..6 {
        let (native, ours) = (2 * turn, 2 * turn + 1);
        assert_eq!(native_create(dir.path(), native, &format!("[{native}]")), done(""));
        assert_restores(dir.path(), native, "unverified", &format!("[{native}]"));
        let created = create(dir.path(), ours, &format!("[{ours}]"));
        assert_eq!((created.code, created.stdout.as_str()), (Some(0), ""));
        // Each turn adds two of four.
        assert_eq!(created.stderr.starts_with("warning: 2 older snapshots of "), turn >= 2, "{created:?}");
        assert_restores(dir.path(), ours, "verified", &format!("[{ours}]"));
        assert_eq!(native_restore(dir.path()), done(&format!("{ours} [{ours}]\n")));
    }
    let left: Vec<_> = run(cli().arg("list").arg(dir.path()), "").stdout.lines().map(str::to_owned).collect();
    assert_eq!(left.len(), 2 + 4, "native minisnap's generations are pruned too: {left:?}");
}

/// Native 0.1.3 fails on a damaged newest file, and takes any extension for a snapshot's.
#[test]
fn what_makes_native_0_1_3_fail_is_mended_by_the_next_create() {
    let dir = tempdir().unwrap();
    create(dir.path(), 1, "1");
    create(dir.path(), 2, "2");
    fs::write(dir.path().join("snapshot_00000000000000000002.json"), "{").unwrap();
    assert_eq!(native_restore(dir.path()).code, Some(1), "native 0.1.3 has mended this: adapt the test");
    let restored = run(cli().arg("restore").arg(dir.path()), "");
    assert_eq!((restored.code, restored.stdout.as_str()), (Some(0), "1"));
    assert!(restored.stderr.starts_with("warning: the snapshot 2 is damaged"), "{}", restored.stderr);

    assert_eq!(create(dir.path(), 2, "\"again\""), done(""));
    assert_eq!(native_restore(dir.path()), done("2 \"again\"\n"), "what was set aside does not count");
    assert!(dir.path().join("snapshot_00000000000000000002.json.damaged").exists());
    // Neither does what a killed create leaves.
    fs::write(dir.path().join("snapshot_00000000000000000009.json.tmp"), "{").unwrap();
    assert_eq!(native_restore(dir.path()), done("2 \"again\"\n"));
    assert_restores(dir.path(), 2, "verified", "\"again\"");
}

#[test]
fn a_directory_can_go_from_one_native_version_to_the_other() {
    let dir = tempdir().unwrap();
    native_create(dir.path(), 6, "[5]");
    native_create(dir.path(), 7, STATE);
    // As `host/README.md` says, and then by two renames.
    let script = r#""$0" restore "$1" | "$0" create "$2" --seq 7 --layout "$3""#;
    let to = |from: &Path, to: &Path, layout| {
        let mut sh = Command::new("sh");
        run(sh.args(["-c", script]).arg(binary()).args([from, to]).arg(layout), "")
    };
    let (pair, numbered) = (tempdir().unwrap(), tempdir().unwrap());
    assert_eq!(to(dir.path(), pair.path(), "pair").code, Some(0));
    let native_0_1_2 = run(Command::new(minisnap_tests::NATIVE_0_1_2).arg("restore").arg(pair.path()), "");
    assert_eq!(native_0_1_2, done(&format!("7 {STATE}\n")));
    assert_eq!(to(pair.path(), numbered.path(), "numbered").code, Some(0));
    assert_eq!(native_restore(numbered.path()), done(&format!("7 {STATE}\n")));
    assert_eq!(fs::read_dir(numbered.path()).unwrap().count(), 1);
}
