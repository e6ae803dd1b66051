//! The command line: what its verbs do, and what they print.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::command_line::{assert_fails, dir_with_snapshot, done, history, restore};
use minisnap_tests::{binary, cli, run};
use tempfile::tempdir;

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
