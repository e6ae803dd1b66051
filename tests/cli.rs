//! The command line: what each verb prints, and every exit code of the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_host::Grant;
use minisnap_tests::{Done, binary, cli, minisnap, run, run_mounting};
use tempfile::{TempDir, tempdir};

fn done(code: i32, stdout: &str, stderr: &str) -> Done {
    Done { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn create(dir: &Path, seq: &str, state: &str) -> Done {
    run(cli().arg("create").arg(dir).args(["--seq", seq]), state)
}

fn restore(dir: &Path) -> Done {
    run(cli().arg("restore").arg(dir), "")
}

fn dir_with_snapshot(state: &str, seq: &str) -> TempDir {
    let dir = tempdir().unwrap();
    assert_eq!(create(dir.path(), seq, state), done(0, "", ""));
    dir
}

/// The exit code is `code`, and the message is one of the form that scripts and people rely on.
#[track_caller]
fn assert_fails(done: &Done, code: i32, message: &str) {
    assert_eq!((done.code, done.stdout.as_str()), (Some(code), ""), "{done:?}");
    assert!(done.stderr.starts_with("error: ") && done.stderr.contains(message), "{}", done.stderr);
}

#[test]
fn restore_prints_the_state_exactly_and_the_number_beside_it() {
    let dir = dir_with_snapshot(" {\"counter\" : 42} \n", "10");
    assert_eq!(restore(dir.path()), done(0, "{\n  \"counter\": 42\n}", "seq 10\n"));
    let json = run(cli().arg("restore").arg(dir.path()).arg("--json"), "");
    assert_eq!(json, done(0, "{\"seq\":10,\"state\":{\n  \"counter\": 42\n}}\n", ""));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["state"]["counter"], 42);
}

#[test]
fn create_reads_a_file_or_standard_input() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("state.json");
    fs::write(&file, "[1]").unwrap();
    let snapshots = dir.path().join("snapshots");
    assert_eq!(run(cli().arg("create").arg(&snapshots).args(["--seq", "1"]).arg(&file), ""), done(0, "", ""));
    assert_eq!(restore(&snapshots).stdout, "[\n  1\n]");
    assert_eq!(run(cli().arg("create").arg(&snapshots).args(["--seq", "2", "-"]), "[2]"), done(0, "", ""));
    assert_eq!(restore(&snapshots), done(0, "[\n  2\n]", "seq 2\n"));
}

#[test]
fn a_create_that_removes_more_than_one_snapshot_says_so() {
    let dir = history(&[1, 2, 3, 4, 5], false);
    let create = |seq, options: &[&str]| {
        run(cli().arg("create").arg(dir.path()).args(["--seq", seq]).args(options), "[]")
    };
    let told =
        format!("warning: 4 older snapshots of `{}` were removed: `--keep` is 2\n", dir.path().display());
    assert_eq!(create("6", &["--keep", "2"]), done(0, "", &told));
    // The one that each create may cost.
    assert_eq!(create("7", &["--keep", "2"]), done(0, "", ""));
    // The temporary of an earlier crash is none.
    fs::write(dir.path().join("snapshot_00000000000000000009.json.tmp"), "{").unwrap();
    assert_eq!(create("8", &["--keep", "2"]), done(0, "", ""));
}

#[test]
fn restore_output_replaces_a_file_as_a_whole_or_not_at_all() {
    let (dir, outside) = (dir_with_snapshot("[1]", "1"), tempdir().unwrap());
    let output = outside.path().join("out/state.json");
    fs::create_dir(outside.path().join("out")).unwrap();
    fs::write(&output, "what was there").unwrap();
    let restore = |dir: &Path| run(cli().arg("restore").arg(dir).arg("--output").arg(&output), "");
    assert_fails(&restore(&dir.path().join("missing")), 1, "there is no snapshot");
    assert_eq!(fs::read_to_string(&output).unwrap(), "what was there");
    assert_eq!(restore(dir.path()), done(0, "", "seq 1\n"));
    assert_eq!(fs::read_to_string(&output).unwrap(), "[\n  1\n]");
    assert_eq!(fs::read_dir(outside.path().join("out")).unwrap().count(), 1, "a temporary file was left");
    // A link stays, and so does a device.
    let link = outside.path().join("link");
    std::os::unix::fs::symlink(&output, &link).unwrap();
    fs::write(&output, "what was there").unwrap();
    for to in [&link, Path::new("/dev/null")] {
        let done_to = run(cli().arg("restore").arg(dir.path()).arg("--output").arg(to), "");
        assert_eq!(done_to, done(0, "", "seq 1\n"));
    }
    assert!(link.is_symlink() && !Path::new("/dev/null").is_file());
    assert_eq!(fs::read_to_string(&output).unwrap(), "[\n  1\n]");
    let to_stdout = run(cli().arg("restore").arg(dir.path()).args(["--output", "-"]), "");
    assert_eq!(to_stdout, done(0, "[\n  1\n]", "seq 1\n"));
    let into_store = dir.path().join("snapshot.json");
    let refused = run(cli().arg("restore").arg(dir.path()).arg("--output").arg(&into_store), "");
    assert_fails(
        &refused,
        10,
        "is in a directory of snapshots, where only the store writes\n  help: name a file outside",
    );
    let nowhere = run(cli().arg("restore").arg(dir.path()).args(["--output", "/nonexistent/state.json"]), "");
    assert_fails(&nowhere, 10, "`/nonexistent/state.json`: cannot write");
}

/// What a verb prints of `dir`, with the times that it says replaced by `TIME`.
fn printed(verb: &str, dir: &Path, args: &[&str]) -> Done {
    let done = run(cli().arg(verb).arg(dir).args(args), "");
    let is_time = |word: &str| word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
    let mut stdout = done.stdout;
    let times: Vec<String> = stdout
        .split(|c: char| c.is_whitespace() || c == '"')
        .filter(|word| is_time(word))
        .map(str::to_owned)
        .collect();
    assert!(!times.is_empty() || done.code == Some(1), "no time in {stdout}");
    for time in times {
        stdout = stdout.replace(&time, "TIME");
    }
    Done { stdout, ..done }
}

/// A directory with these generations; the last one is damaged if that is asked for.
fn history(seqs: &[u64], damaged: bool) -> TempDir {
    let dir = tempdir().unwrap();
    for seq in seqs {
        let mut create = cli();
        create.arg("create").arg(dir.path()).args(["--seq", &seq.to_string(), "--layout", "numbered"]);
        assert_eq!(run(&mut create, &format!("\"{}\"", "x".repeat(998))), done(0, "", ""));
    }
    if damaged {
        let path = dir.path().join(format!("snapshot_{:020}.json", seqs.last().unwrap()));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("xxxxx\"", "xxyxx\"")).unwrap();
    }
    dir
}

const PROBLEM: &str = "`snapshot_00000000000000000010.json` is not what was written: its sum differs";

#[test]
fn info_shows_layout_generations_number_size_time_and_soundness() {
    let dir = dir_with_snapshot("[1]", "10");
    assert_eq!(
        printed("info", dir.path(), &[]).stdout,
        "layout       pair\ngenerations  1\nseq          10\nsize         7 B (7 bytes)\nwritten      TIME\n\
         soundness    verified\n"
    );
    let expected = "{\"damaged\":0,\"generations\":1,\"layout\":\"pair\",\"modified\":\"TIME\",\"oldest\":10,\
                    \"seq\":10,\"size\":7,\"soundness\":\"verified\"}\n";
    assert_eq!(printed("info", dir.path(), &["--json"]), done(0, expected, ""));
    fs::remove_file(dir.path().join("snapshot.sum")).unwrap();
    assert_eq!(
        printed("info", dir.path(), &["--json"]),
        done(0, &expected.replace("verified", "unverified"), "")
    );

    let dir = history(&[8, 9, 10], true);
    assert_eq!(
        printed("info", dir.path(), &[]).stdout,
        "layout       numbered\ngenerations  3\ndamaged      1\nseq          9\nsize         1000 B (1000 bytes)\n\
         written      TIME\nsoundness    verified\noldest       8\n"
    );
}

#[test]
fn list_shows_every_generation_as_a_table_and_as_json() {
    let dir = history(&[8, 9, 10], true);
    assert_eq!(
        printed("list", dir.path(), &[]).stdout,
        format!(
            "layout numbered, 3 generations, 3.0 KiB\n\
             seq     size  written               soundness\n \
             10  1.1 KiB  TIME  damaged\n  \
             9   1000 B  TIME  verified\n  \
             8   1000 B  TIME  verified\n\
             10: {PROBLEM}\n"
        )
    );
    let generation =
        |seq| format!("{{\"modified\":\"TIME\",\"seq\":{seq},\"size\":1000,\"soundness\":\"verified\"}}");
    assert_eq!(
        printed("list", dir.path(), &["--json"]),
        done(
            0,
            &format!(
                "{{\"generations\":[{{\"modified\":\"TIME\",\"problem\":\"{PROBLEM}\",\"seq\":10,\"size\":1076,\
                 \"soundness\":\"damaged\"}},{},{}],\"layout\":\"numbered\",\"set-aside\":[],\"undone\":[]}}\n",
                generation(9),
                generation(8)
            ),
            ""
        )
    );
    let restored = restore(dir.path());
    assert_eq!((restored.code, restored.stdout.len()), (Some(0), 1000));
    assert_eq!(
        restored.stderr,
        format!("warning: the snapshot 10 is damaged and was skipped: {PROBLEM}\nseq 9\n")
    );
    let [older, damaged, missing] =
        ["8", "10", "7"].map(|seq| run(cli().arg("restore").arg(dir.path()).args(["--seq", seq]), ""));
    assert_eq!((older.code, older.stderr.as_str()), (Some(0), "seq 8\n"));
    assert_fails(&damaged, 6, PROBLEM);
    assert_fails(
        &missing,
        1,
        "there is no snapshot of this number\n  help: see which there are: minisnap list",
    );
}

#[test]
fn verify_reads_every_byte_of_every_generation() {
    let dir = history(&[8, 9, 10], false);
    let sound = printed("verify", dir.path(), &[]);
    assert_eq!((sound.code, &sound.stdout), (Some(0), &printed("list", dir.path(), &[]).stdout));
    let dir = history(&[8, 9, 10], true);
    let damaged = printed("verify", dir.path(), &["--json"]);
    assert_eq!(damaged.code, Some(6));
    assert_eq!(damaged.stdout, printed("list", dir.path(), &["--json"]).stdout);
    assert!(
        damaged.stderr.contains(&format!("{PROBLEM}; `restore` returns the snapshot 9")),
        "{}",
        damaged.stderr
    );

    let dir = dir_with_snapshot("[1]", "10");
    fs::write(dir.path().join("snapshot.json"), "[\n  2\n]").unwrap();
    let damaged = printed("verify", dir.path(), &[]);
    assert!(damaged.code == Some(6) && damaged.stderr.contains("`snapshot.json` is not what was written"));
    fs::remove_file(dir.path().join("snapshot.sum")).unwrap();
    let unverified = printed("verify", dir.path(), &[]);
    assert!(unverified.code == Some(0) && unverified.stdout.ends_with("unverified\n"), "{unverified:?}");
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
fn xxh128sum_checks_a_pair() {
    let dir = tempdir().unwrap();
    let check = || run(Command::new("xxh128sum").args(["-c", "snapshot.sum"]).current_dir(dir.path()), "");
    // XXH128 takes another way for each of these lengths.
    for (seq, length) in
        (0..).zip([1, 3, 8, 16, 17, 128, 129, 240, 241, 256, 257, 1024, 1025, 64 << 10, 1 << 20])
    {
        let state = "1".repeat(length);
        let created = run(cli().arg("create").arg(dir.path()).args(["--seq", &format!("{seq}")]), &state);
        assert_eq!(created.code, Some(0), "{created:?}");
        assert_eq!(check(), done(0, "snapshot.json: OK\nsnapshot.seq: OK\n", ""), "{length}");
    }
    fs::write(dir.path().join("snapshot.seq"), "11").unwrap();
    let found = check();
    assert!(found.code == Some(1) && found.stdout.contains("snapshot.seq: FAILED"), "{found:?}");
}

#[test]
fn component_writes_the_component_that_is_embedded() {
    let output = Command::new(binary()).arg("component").output().unwrap();
    assert!(output.stdout == minisnap_host::COMPONENT);
    let dir = tempdir().unwrap();
    let file = dir.path().join("minisnap.wasm");
    assert_eq!(run(cli().arg("component").arg("--output").arg(&file), ""), done(0, "", ""));
    assert!(fs::read(file).unwrap() == minisnap_host::COMPONENT);
}

#[test]
fn every_verb_shows_an_example_and_help_lists_the_exit_codes() {
    for verb in
        ["create", "restore", "list", "info", "verify", "settle", "rollback", "clear", "run", "component"]
    {
        let help = run(cli().args([verb, "--help"]), "");
        assert_eq!(help.code, Some(0));
        assert!(
            help.stdout.contains("Example") && help.stdout.contains(&format!("minisnap {verb}")),
            "{verb}"
        );
    }
    assert!(run(cli().arg("--version"), "").stdout.starts_with("minisnap "));
    let help = run(cli().arg("--help"), "").stdout;
    assert!(help.contains("Example"));
    for code in 0..=11 {
        assert!(help.contains(&format!(" {code}  ")), "{code}: {help}");
    }
}

#[test]
fn settle_finishes_or_removes_what_a_crash_left() {
    let dir = dir_with_snapshot("1", "1");
    let settle = |args: &[&str]| run(cli().arg("settle").arg(dir.path()).args(args), "");
    assert_eq!(settle(&[]), done(0, "there was nothing to settle\n", ""));
    let left = |names: &[&str]| names.iter().for_each(|name| fs::write(dir.path().join(name), "x").unwrap());
    left(&["snapshot.json.new"]);
    assert_eq!(settle(&[]), done(0, "1 file of an earlier crash was finished or removed\n", ""));
    left(&["snapshot.json.new", "snapshot.seq.new"]);
    assert_eq!(settle(&["--json"]), done(0, "{\"settled\":2}\n", ""));
    assert!(!dir.path().join("snapshot.json.new").exists());
    assert_eq!(run(cli().arg("restore").arg(dir.path()), ""), done(0, "1", "seq 1\n"));
    let missing = run(cli().arg("settle").arg(dir.path().join("missing")), "");
    assert!(missing.code == Some(1) && !dir.path().join("missing").exists(), "{missing:?}");
}

#[test]
fn the_help_fits_one_screen_and_every_verb_has_a_manual_page_and_is_completed() {
    let help = run(cli().arg("--help").env("COLUMNS", "80"), "").stdout;
    assert!(help.lines().count() <= 42, "{help}");
    let is_narrow = |help: &str| help.lines().all(|line| line.chars().count() <= 80);
    assert!(is_narrow(&help), "{help}");
    let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let is_verb = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let verbs: Vec<&str> =
        commands.lines().filter(is_verb).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(verbs.len() > 12 && verbs.contains(&"status"), "{verbs:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(cli().args(["completions", shell]), "");
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""));
        for what in verbs.iter().chain(&["instance", "max-age"]) {
            assert!(script.stdout.contains(what), "{shell}: {what}");
        }
    }
    let page = run(cli().arg("man"), "");
    assert!(page.code == Some(0) && page.stdout.contains(".TH minisnap 1"), "{page:?}");
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        let args = if *verb == "grants" { vec![*verb, "check", "--help"] } else { vec![*verb, "--help"] };
        let help = run(cli().args(args).env("COLUMNS", "80"), "").stdout;
        assert!(is_narrow(&help), "{help}");
        let page = run(cli().args(["man", verb]), "");
        assert!(
            page.code == Some(0) && page.stdout.contains(&format!("minisnap\\-{verb}")),
            "{verb}: {page:?}"
        );
    }
    assert_fails(&run(cli().args(["man", "mum"]), ""), 2, "`mum` is no verb");
}

#[test]
fn verbose_tells_what_happens_and_not_the_state() {
    let dir = dir_with_snapshot("\"secret\"", "1");
    let told = run(cli().arg("-v").arg("info").arg(dir.path()), "");
    assert_eq!(told.code, Some(0));
    assert!(told.stderr.contains("minisnap_host") && told.stderr.contains("generations"), "{}", told.stderr);
    assert!(!told.stderr.contains("secret") && !told.stderr.contains('\x1b'));
}

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
fn exit_code_4_the_sequence_number_is_too_low() {
    let dir = dir_with_snapshot("1", "10");
    assert_fails(&create(dir.path(), "9", "2"), 4, "lower than the stored snapshot's, which is 10");
    assert_eq!(restore(dir.path()), done(0, "1", "seq 10\n"));
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

#[cfg(target_os = "linux")]
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
fn exit_code_10_two_layouts_in_one_directory() {
    let dir = history(&[1], false);
    fs::write(dir.path().join("snapshot.json"), "1").unwrap();
    for verb in [&["restore"][..], &["list"], &["info"], &["verify"], &["create", "--seq", "2"]] {
        let refused = run(cli().args(verb).arg(dir.path()), "1");
        assert_fails(&refused, 10, "`snapshot.json` and `snapshot_00000000000000000001.json`");
    }
}

/// Root may do anything, unless it gives that up.
#[cfg(target_os = "linux")]
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
fn a_stream_that_is_full_is_an_error_and_no_panic() {
    let dir = dir_with_snapshot("1", "1");
    let sh =
        |script: &str| run(Command::new("sh").args(["-c", script, "sh"]).arg(binary()).arg(dir.path()), "");
    assert_eq!(sh("$1 restore $2 2>/dev/full").code, Some(10));
    assert_fails(&sh("$1 restore $2 >/dev/full"), 10, "standard output: cannot write");
    assert_eq!(sh("$1 create $2 --seq 0 2>/dev/full </dev/null").code, Some(4));
}

#[cfg(target_os = "linux")]
#[test]
fn exit_code_8_access_is_denied() {
    let dir = tempdir().unwrap();
    let script = "mount -t tmpfs none $2; echo 1 | $1 create $2 --seq 1; mount -o remount,ro $2; \
                  $1 restore $2; $1 create $2 --seq 2";
    let denied = run_mounting(script, dir.path(), "2");
    assert_eq!((denied.code, denied.stdout.as_str()), (Some(8), "1"), "{denied:?}");
    assert!(denied.stderr.contains("Read-only file system"), "{denied:?}");
}

#[test]
fn exit_code_9_the_directory_is_in_use() {
    let dir = dir_with_snapshot("1", "1");
    let writer = minisnap().open(Grant::new(dir.path())).unwrap();
    let busy = create(dir.path(), "2", "2");
    assert_fails(&busy, 9, "is in use");
    if cfg!(target_os = "linux") {
        assert!(busy.stderr.contains(&format!("process {}", std::process::id())), "{}", busy.stderr);
    }
    assert_eq!(restore(dir.path()), done(0, "1", "seq 1\n"));
    drop(writer);
    assert_eq!(create(dir.path(), "2", "2"), done(0, "", ""));
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

/// A history may be large.
#[test]
fn info_list_and_verify_read_each_generation_once() {
    let dir = tempdir().unwrap();
    for seq in 1..=3 {
        let created = run(
            cli().args(["create", "--layout", "numbered"]).arg(dir.path()).args(["--seq", &seq.to_string()]),
            "1",
        );
        assert_eq!(created, done(0, "", ""));
    }
    for verb in ["info", "list", "verify"] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=openat,openat2", "-o"]).arg(log.path()).arg(binary());
        assert_eq!(run(strace.arg(verb).arg(dir.path()), "").code, Some(0), "{verb}");
        let log = fs::read_to_string(log.path()).unwrap();
        for seq in 1..=3 {
            let name = format!("\"snapshot_{seq:020}.json\"");
            assert_eq!(log.matches(&name).count(), 1, "{verb} {name}: {log}");
        }
    }
}
