//! Going back to an older generation, by the command line and the library, beside others and in a grant.

use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};

use minisnap_host::{Error, Grant, Layout, SnapshotStore};
use minisnap_tests::copies::{assert_done, assert_refused};
use minisnap_tests::subject::Subject;
use minisnap_tests::{Done, VERBS, binary, cli, minisnap, run, scratch};

fn store(dir: &Path) -> SnapshotStore {
    let keep = NonZeroU32::new(9).unwrap();
    minisnap().open(Grant::new(dir).layout(Layout::Numbered).keep(keep)).unwrap()
}

/// Makes these snapshots, whose states are their numbers.
fn create(dir: &Path, seqs: &[u64]) {
    let mut store = store(dir);
    for seq in seqs {
        store.create(seq, *seq).unwrap();
    }
}

fn rollback(dir: &Path, args: &[&str]) -> Done {
    run(cli().arg("rollback").arg(dir).args(args), "")
}

fn names(dir: &Path) -> Vec<String> {
    let short = |name: String| name.replace("snapshot_00000000000000000", "");
    minisnap_tests::names(dir).into_iter().map(short).collect()
}

#[test]
fn a_rollback_makes_an_older_generation_the_newest_and_keeps_those_above_it() {
    let dir = scratch();
    create(dir.path(), &[1, 2, 3, 4]);
    let before = names(dir.path());
    assert_done(
        &rollback(dir.path(), &["--to", "2", "--dry-run"]),
        "would undo 4, 3; 2 would be the newest\n",
    );
    let planned = rollback(dir.path(), &["--to", "2", "--dry-run", "--json"]);
    assert_done(&planned, "{\"newest\":2,\"undone\":[4,3]}\n");
    assert_eq!(names(dir.path()), before);
    assert_done(&rollback(dir.path(), &["--to", "2"]), "undone: 4, 3; 2 is the newest\n");
    assert_eq!(names(dir.path()), ["001.json", "002.json", "003.json.undone", "004.json.undone"]);
    let restored = run(cli().arg("restore").arg(dir.path()), "");
    assert_eq!((restored.stdout.as_str(), restored.stderr.as_str()), ("2", "seq 2\n"));
    // Those that were undone, and set aside, are listed below.
    fs::write(dir.path().join("snapshot_00000000000000000001.json.damaged"), "").unwrap();
    let undone = ["snapshot_00000000000000000003.json.undone", "snapshot_00000000000000000004.json.undone"];
    let damaged = "snapshot_00000000000000000001.json.damaged";
    for verb in ["list", "verify"] {
        let listed = run(cli().arg(verb).arg(dir.path()), "").stdout;
        let below: Vec<&str> = listed.lines().skip(4).collect();
        let undone = undone.map(|name| format!("undone by a rollback: `{name}`"));
        assert_eq!(below, [&format!("set aside as damaged: `{damaged}`"), &undone[0], &undone[1]], "{verb}");
        let listed = run(cli().arg(verb).arg(dir.path()).arg("--json"), "").stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["undone"].as_array().unwrap().len(), 2, "{listed}");
        assert_eq!(listed["set-aside"], serde_json::json!([damaged]), "{listed}");
    }
    fs::remove_file(dir.path().join(damaged)).unwrap();
    assert_done(&rollback(dir.path(), &["--to", "2", "--json"]), "{\"newest\":2,\"undone\":[]}\n");
    assert_done(&rollback(dir.path(), &["--to", "2"]), "2 is the newest already\n");
    // Natively, too, and what comes next is as if nothing had been.
    let native = Subject::Native013;
    let found = native.restored(&run(&mut native.restore(dir.path()), ""));
    assert_eq!(found, Ok(Some(("2".to_owned(), 2))));
    let created = run(cli().arg("create").arg(dir.path()).args(["--seq", "3", "--keep", "2"]), "\"again\"");
    assert_done(&created, "");
    assert_eq!(names(dir.path()), ["002.json", "003.json", "003.json.undone", "004.json.undone"]);
    assert_eq!(store(dir.path()).restore::<String>().unwrap().state, "again");
}

#[test]
fn a_rollback_that_cannot_be_is_refused_and_changes_nothing() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    create(&at("n"), &[1, 2, 3]);
    run(cli().arg("create").arg(at("s")).args(["--seq", "1"]), "1");
    let damaged = at("n").join("snapshot_00000000000000000001.json");
    let text = fs::read_to_string(&damaged).unwrap().replace("\"state\": 1", "\"state\": 2");
    fs::write(&damaged, text).unwrap();
    let before = (names(&at("n")), names(&at("s")));
    for more in [&[][..], &["--dry-run"]] {
        let to = |seq, dir: &str| rollback(&at(dir), &[&["--to", seq][..], more].concat());
        assert_refused(&to("1", "n"), 6, "snapshot_00000000000000000001.json");
        assert_refused(&to("7", "n"), 1, "minisnap list");
        assert_refused(&to("1", "s"), 10, "no older one");
        assert_refused(&to("1", "nothing"), 1, "there is no snapshot");
    }
    assert!(!at("nothing").exists());
    let holder = store(&at("n"));
    assert_refused(&rollback(&at("n"), &["--to", "2"]), 9, "in use");
    drop(holder);
    let mut reader = minisnap().open(Grant::new(at("n")).read_only()).unwrap();
    assert!(matches!(reader.rollback(2), Err(Error::AccessDenied(_))));
    assert!(matches!(minisnap().open(Grant::none()).unwrap().rollback(2), Err(Error::AccessDenied(_))));
    assert_eq!((names(&at("n")), names(&at("s"))), before);
    // A writer that is open may be about to commit.
    let mut busy = store(&at("n"));
    drop(busy.open_writer(4).unwrap());
    assert_eq!(busy.rollback(2).unwrap(), [3]);
    assert!(matches!(busy.rollback(9), Err(Error::NotFound)));
}

/// The message that says that a number is too low says the way out of one that is too high.
#[test]
fn a_number_that_is_too_high_is_undone_as_its_refusal_says() {
    let dir = scratch();
    create(dir.path(), &[1, u64::MAX]);
    let refused = run(cli().arg("create").arg(dir.path()).args(["--seq", "2"]), "2");
    assert_refused(&refused, 4, &format!("if {} is wrong, see minisnap rollback --help", u64::MAX));
    let help = run(cli().args(["rollback", "--help"]), "").stdout;
    // Wherever its lines break.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("a number that is too high") && help.contains("A pair has no older snapshot"),
        "{help}"
    );
    assert_done(&rollback(dir.path(), &["--to", "1"]), &format!("undone: {}; 1 is the newest\n", u64::MAX));
    assert_done(&run(cli().arg("create").arg(dir.path()).args(["--seq", "2"]), "2"), "");
}

/// Who reads beside it finds the one or the other, and nothing between.
#[test]
fn whoever_restores_while_a_rollback_runs_finds_the_old_or_the_older_snapshot() {
    let dir = scratch();
    create(dir.path(), &[1, 2, 3, 4, 5, 6]);
    let mut watch = Command::new(binary());
    watch.arg("run").arg(VERBS).arg("--grant").arg(dir.path()).arg("--read-only");
    let mut watching = watch.args(["--", "watch", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(seen.next().unwrap(), "6 6");
    store(dir.path()).rollback(1).unwrap();
    assert_eq!(seen.collect::<Vec<_>>(), ["1 1", "watched"]);
    assert!(watching.wait().unwrap().success());
}
