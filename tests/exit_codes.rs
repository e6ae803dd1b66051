//! The exit codes of the command line: when a verb ends with each, and which message it prints.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use minisnap_tests::command_line::{assert_fails, create, dir_with_snapshot, done, history, restore};
use minisnap_tests::{binary, cli, run, run_mounting};
use tempfile::tempdir;

#[test]
fn exit_code_1_there_is_no_snapshot() {
    let dir = tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing")] {
        for verb in ["restore", "list", "info", "verify"] {
            assert_fails(&run(cli().arg(verb).arg(&path), ""), 1, "there is no snapshot yet");
        }
    }
}

#[test]
fn exit_code_2_wrong_arguments() {
    let dir = tempdir().unwrap();
    for args in
        [&["create"][..], &["create", "d"], &["destroy"], &["restore", "d", "--max-state", "much"], &[]]
    {
        assert_eq!(run(cli().args(args).current_dir(dir.path()), "1").code, Some(2), "{args:?}");
    }
    let much = run(cli().args(["restore", "d", "--max-state", "much"]), "");
    assert_fails(&much, 2, "give a number of bytes");
    for args in [["--keep", "0"], ["--layout", "triple"], ["--max-total", "much"]] {
        let refused = run(cli().args(["create", "d", "--seq", "1"]).args(args).current_dir(dir.path()), "1");
        assert_fails(&refused, 2, args[0]);
    }
    for seq in ["-1", "1.5", "18446744073709551616", ""] {
        assert_fails(&create(dir.path(), seq, "1"), 2, "--seq");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn exit_code_3_the_state_is_not_one_json_value() {
    let dir = dir_with_snapshot("1", "1");
    assert_fails(&create(dir.path(), "2", "{\"a\":\n tru}"), 3, "line 2 column 5: `}` where");
    assert_fails(&create(dir.path(), "2", ""), 3, "line 1 column 1: the text ends");
    let file = dir.path().join("latin1.json");
    fs::write(&file, b"[1,\n\"\xE9\"]").unwrap();
    let refused = run(cli().arg("create").arg(dir.path()).args(["--seq", "2"]).arg(&file), "");
    assert_fails(
        &refused,
        3,
        "latin1.json`: the state is not one JSON value: line 2 column 2: a byte is not UTF-8",
    );
    assert_eq!(restore(dir.path()), done(0, "1", "seq 1\n"));
    assert_fails(
        &create(&dir.path().join("new"), "1", "\u{feff}1"),
        3,
        "line 1 column 1: a byte order mark (BOM) where a value is expected",
    );
    assert_eq!(restore(&dir.path().join("new")).code, Some(1));
}

#[test]
fn exit_code_5_the_state_is_larger_than_the_limit() {
    let dir = dir_with_snapshot("[1,2]", "1");
    let with_limit =
        |verb: &[&str]| run(cli().args(verb).arg(dir.path()).args(["--max-state", "10"]), "[10,20,30]");
    assert_fails(&with_limit(&["restore"]), 5, "larger than the limit of 10 bytes");
    assert_fails(&with_limit(&["create", "--seq", "2"]), 5, "larger than the limit of 10 bytes");
    assert_eq!(restore(dir.path()), done(0, "[\n  1,\n  2\n]", "seq 1\n"));
    let larger = run(cli().arg("restore").arg(dir.path()).args(["--max-state", "1KiB"]), "");
    assert_eq!(larger.code, Some(0));
}

#[test]
fn exit_code_6_the_snapshot_is_damaged() {
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        let dir = dir_with_snapshot("1", "10");
        fs::write(dir.path().join(name), "").unwrap();
        for verb in ["restore", "info"] {
            assert_fails(&run(cli().arg(verb).arg(dir.path()), ""), 6, &format!("`{name}`"));
        }
        let verified = run(cli().arg("verify").arg(dir.path()), "");
        assert_eq!(verified.code, Some(6));
        assert!(verified.stderr.contains(&format!("`{name}`")), "{}", verified.stderr);
    }
}

#[test]
fn exit_code_7_the_disk_is_full() {
    for (layout, files) in [
        ("pair", "snapshot.json\nsnapshot.seq\nsnapshot.sum\n"),
        ("numbered", "snapshot_00000000000000000001.json\n"),
    ] {
        let dir = tempdir().unwrap();
        // The command line streams; 1000 KB fill the disk in the middle of the stream.
        let script = format!(
            "mount -t tmpfs -o size=600k none $2; echo 1 | $1 create $2 --seq 1 --layout {layout}; code=0; \
             $1 create $2 --seq 2 || code=$?; $1 restore $2; ls $2; exit $code"
        );
        let full = run_mounting(&script, dir.path(), &format!("\"{}\"", "x".repeat(1_000_000)));
        assert_eq!(full.code, Some(7), "{full:?}");
        assert!(
            full.stderr.contains("error: ") && full.stderr.contains("No space left on device"),
            "{full:?}"
        );
        // The snapshot before is there, and nothing else.
        assert_eq!(full.stdout, format!("1{files}"));
    }
}

#[test]
fn exit_code_7_the_directory_may_hold_no_more() {
    let dir = history(&[1, 2, 3], false);
    let create = |size: usize| {
        let mut create = cli();
        create.arg("create").arg(dir.path()).args(["--seq", "4", "--max-total", "4000"]);
        run(&mut create, &format!("\"{}\"", "x".repeat(size)))
    };
    assert_fails(&create(3000), 7, "the directory may hold 4000 bytes, of which ");
    assert_eq!(restore(dir.path()).stderr, "seq 3\n");
    let made_room = create(2000);
    assert_eq!((made_room.code, made_room.stdout.as_str()), (Some(0), ""));
    assert!(
        made_room.stderr.ends_with(
            " were removed: 5 are kept without `--keep`, and no more than fit into `--max-total`\n"
        ),
        "{made_room:?}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn exit_code_8_access_is_denied() {
    let dir = tempdir().unwrap();
    let script = "mount -t tmpfs none $2; echo 1 | $1 create $2 --seq 1; mount -o remount,ro $2; \
                  $1 restore $2; $1 create $2 --seq 2";
    let denied = run_mounting(script, dir.path(), "2");
    assert_eq!((denied.code, denied.stdout.as_str()), (Some(8), "1"), "{denied:?}");
    assert!(denied.stderr.contains("Read-only file system"), "{denied:?}");
}

/// Root may do anything, unless it gives that up.
#[test]
fn no_permission_is_access_denied() {
    let drop_power = "exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all";
    for (protect, verb) in [
        ("chmod 000 $2", "restore $2"),
        ("chmod 500 $2", "create $2 --seq 2"),
        ("chmod 500 $2", "create $2/new --seq 2"),
        ("chmod 000 $2/snapshot.json", "restore $2"),
        ("chmod 000 $2/snapshot.seq", "create $2 --seq 2"),
    ] {
        let dir = dir_with_snapshot("1", "1");
        let script = format!("{protect}; {drop_power} $1 {verb}");
        let denied = run_mounting(&script, dir.path(), "2");
        run(Command::new("chmod").args(["-R", "u+rwX"]).arg(dir.path()), "");
        assert_fails(&denied, 8, "Permission denied");
        assert_eq!(restore(dir.path()), done(0, "1", "seq 1\n"), "{protect}, {verb}");
    }
}

#[test]
fn every_verb_refuses_a_directory_that_holds_both_layouts_and_leaves_it_as_it_is() {
    let (dir, pair) = (history(&[8, 9], false), dir_with_snapshot("[1]", "10"));
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        fs::copy(pair.path().join(name), dir.path().join(name)).unwrap();
    }
    let contents = || {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (fs::read(&path).unwrap(), path)).collect::<BTreeSet<_>>()
    };
    let before = contents();
    let verbs = [
        &["create", "--seq", "11", "--layout", "pair"][..],
        &["create", "--seq", "11", "--layout", "numbered"],
        &["restore"],
        &["restore", "--seq", "9"],
        &["list"],
        &["info"],
        &["verify"],
    ];
    for args in verbs {
        let refused = run(cli().args(args).arg(dir.path()), "[2]");
        assert_fails(
            &refused,
            10,
            "the directory holds snapshots in two layouts, `snapshot.json` and \
             `snapshot_00000000000000000009.json`: move the files of one of them away",
        );
        assert_eq!(contents(), before, "{args:?}");
    }
}

#[test]
fn exit_code_10_anything_else_that_the_system_said() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "1").unwrap();
    for verb in ["restore", "info", "verify"] {
        assert_fails(&run(cli().arg(verb).arg(&file), ""), 10, "is not a directory");
    }
    assert_fails(&create(&file, "1", "1"), 10, "is not a directory");
    assert_fails(&create(&file.join("below"), "1", "1"), 10, "is not a directory");
    let missing = run(cli().arg("create").arg(dir.path()).args(["--seq", "1", "no-such-file.json"]), "");
    assert_fails(&missing, 10, "`no-such-file.json`: cannot read");
}

#[test]
fn a_stream_that_is_full_is_an_error_and_no_panic() {
    let dir = dir_with_snapshot("1", "1");
    let sh =
        |script: &str| run(Command::new("sh").args(["-c", script, "sh"]).arg(binary()).arg(dir.path()), "");
    assert_eq!(sh("$1 restore $2 2>/dev/full").code, Some(10));
    assert_fails(&sh("$1 restore $2 >/dev/full"), 10, "standard output: cannot write");
    assert_eq!(sh("$1 create $2 --seq 0 2>/dev/full </dev/null").code, Some(4));
}

#[test]
fn exit_code_11_a_component_could_not_be_loaded() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("not-a-component.wasm");
    fs::write(&file, "no WebAssembly").unwrap();
    for component in [&file, &dir.path().join("missing.wasm")] {
        let grant = dir.path().join("snapshots");
        let failed = run(cli().arg("run").arg(component).arg("--grant").arg(&grant), "");
        assert_fails(&failed, 11, component.file_name().unwrap().to_str().unwrap());
        assert!(!grant.exists(), "a component that cannot run was granted a directory");
    }
}
