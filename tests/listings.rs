//! What `info`, `list` and `verify` show of the snapshots in a directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::command_line::{assert_fails, dir_with_snapshot, done, history, restore};
use minisnap_tests::{Done, binary, cli, run};
use tempfile::tempdir;

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
