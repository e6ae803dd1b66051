//! What the command line shows where a person looks on, and only there.

use std::path::Path;
use std::process::Command;

use minisnap_tests::{binary, cli, run};
use tempfile::{TempDir, tempdir};

/// What a shell script shows on a terminal. `$1` is the command line's binary, `$2` is `dir`.
fn shown(script: &str, dir: &Path) -> String {
    let script =
        script.replace("$1", &binary().display().to_string()).replace("$2", &dir.display().to_string());
    let shown = run(Command::new("script").args(["-qec", &script, "/dev/null"]).env("COLUMNS", "100"), "");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    shown.stdout.replace('\r', "\n")
}

fn history() -> TempDir {
    let dir = tempdir().unwrap();
    for (seq, state) in [("1", "1".repeat(100)), ("2", "2".repeat(400)), ("3", "3".repeat(200))] {
        let mut create = cli();
        create.arg("create").arg(dir.path()).args(["--seq", seq, "--layout", "numbered"]);
        assert_eq!(run(&mut create, &state).code, Some(0));
    }
    dir
}

#[test]
fn on_a_terminal_list_marks_the_newest_sound_generation_and_shows_bars_of_sizes() {
    let dir = history();
    std::fs::write(dir.path().join("snapshot_00000000000000000003.json"), "3".repeat(200)).unwrap();
    let list = shown("$1 list $2", dir.path());
    let line = |seq: &str| list.lines().find(|line| line.contains(&format!(" {seq}  "))).unwrap().to_owned();
    let bar = |seq: &str| line(seq).chars().filter(|&character| character == '\u{2588}').count();
    assert_eq!([bar("1"), bar("2"), bar("3")], [5, 20, 10], "{list}");
    assert!(line("2").starts_with('*') && !line("1").contains('*') && !line("3").contains('*'), "{list}");

    let piped = run(cli().arg("list").arg(dir.path()), "").stdout;
    assert!(!piped.contains('*') && !piped.contains('\u{2588}'), "{piped}");
}

#[test]
fn on_a_terminal_what_takes_longer_than_a_second_shows_its_progress() {
    let slow = "(echo '['; sleep 1.5; yes 1, | head -n 200000; echo '1]') | $1 create $2 --seq 1";
    let dir = tempdir().unwrap();
    let unknown = shown(slow, dir.path());
    assert!(unknown.contains("storing") && unknown.contains("B/s"), "{unknown}");
    let dir = tempdir().unwrap();
    let large = format!("\"{}\"", "x".repeat(4 << 20));
    assert_eq!(run(cli().arg("create").arg(dir.path()).args(["--seq", "1"]), &large).code, Some(0));
    let known = shown("$1 restore $2 | (sleep 1.5; cat > /dev/null)", dir.path());
    assert!(known.contains("restoring") && known.contains("of 4.00 MiB"), "{known}");
    let dir = tempdir().unwrap();
    assert_eq!(shown("echo 1 | $1 create $2 --seq 1", dir.path()).trim(), "", "a short one");
    let dir = tempdir().unwrap();
    assert_eq!(shown(&format!("{slow} 2>&1 | cat"), dir.path()).trim(), "", "standard error is no terminal");
}
