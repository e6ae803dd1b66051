//! Native ministate 0.1.3 and ministore 0.1.7 on what this project writes, and the other way round.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_client::state::{Mutator, OpenOptions, State};
use minisnap_host::{Grant, SnapshotStore, Soundness};
use minisnap_tests::logged::Note;
use minisnap_tests::{NATIVE_STATE, minisnap, names, run};
use serde::{Deserialize, Serialize};
use tempfile::tempdir;

/// What native ministate prints.
#[track_caller]
fn native(args: &[&str], path: &Path) -> String {
    let done = run(Command::new(NATIVE_STATE).arg(args[0]).arg(path).args(&args[1..]), "");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{args:?}");
    done.stdout
}

/// The state of the native program, and its operation.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: u64,
}

#[derive(Serialize, Deserialize)]
struct Add {
    number: u64,
}

impl Mutator<Sum> for Add {
    fn apply(&self, state: &mut Sum) {
        state.sum += self.number;
    }
}

#[test]
fn a_snapshot_of_native_ministate_is_restored_and_a_log_goes_on_after_it() {
    let (dir, log) = (tempdir().unwrap(), tempdir().unwrap());
    native(&["apply", "4"], dir.path());
    native(&["snapshot"], dir.path());
    let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
    let restored = store.restore::<Sum>().unwrap();
    assert_eq!(
        (restored.state, restored.seq, restored.soundness),
        (Sum { sum: 10 }, 4, Soundness::Unverified)
    );

    // Its log has no numbers; one of ours goes on where the snapshot is.
    let options = OpenOptions::new().accept_lost_log();
    let mut state: State<Sum, Add, SnapshotStore> = options.open(store, log.path()).unwrap();
    assert_eq!(state.apply(Add { number: 5 }).unwrap(), 5);
    state.create_snapshot().unwrap();
    drop(state);
    let store = minisnap().open(Grant::new(dir.path())).unwrap();
    let state: State<Sum, Add, _> = OpenOptions::new().open(store, log.path()).unwrap();
    assert_eq!((state.sequence(), state.state()), (5, &Sum { sum: 15 }));
}

#[test]
fn a_snapshot_of_ours_beside_its_log_makes_native_ministate_replay_only_the_tail() {
    let dir = tempdir().unwrap();
    native(&["apply", "6"], dir.path());
    assert_eq!(native(&["open"], dir.path()), "6 21\n");
    // A state that its log does not come to shows which records were replayed.
    let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
    store.create(&Sum { sum: 1000 }, 4).unwrap();
    drop(store);
    assert_eq!(native(&["open"], dir.path()), "6 1011\n");
    native(&["snapshot"], dir.path());
    let mut store = minisnap().open(Grant::new(dir.path()).read_only()).unwrap();
    assert_eq!(store.restore::<Sum>().unwrap().state, Sum { sum: 1011 });
}

#[test]
fn native_ministore_replays_a_segment_of_ours_as_typed_records() {
    let (dir, log) = (tempdir().unwrap(), tempdir().unwrap());
    let store = minisnap().open(Grant::new(dir.path())).unwrap();
    let mut state: State<Sum, Add, _> = OpenOptions::new().open(store, log.path()).unwrap();
    state.apply(Add { number: 7 }).unwrap();
    state.apply_all([Add { number: 8 }, Add { number: 9 }]).unwrap();
    let [segment] = &names(log.path())[..] else { panic!("one segment") };
    let path = log.path().join(segment);
    let sums: Vec<String> = fs::read_to_string(&path).unwrap().lines().skip(1).map(sum).collect();
    let expected = format!(
        "1 None {{\"number\":7}} {}\n2 Some((2, 3)) {{\"number\":8}} {}\n3 Some((2, 3)) {{\"number\":9}} {}\n",
        sums[0], sums[1], sums[2]
    );
    assert_eq!(native(&["replay"], &path), expected);
}

fn sum(line: &str) -> String {
    line[line.len() - 10..].trim_end_matches("\"}").to_owned()
}

/// What ministore appends to a segment has no number and no sum: it is no record, and not taken for a torn one.
#[test]
fn what_native_ministore_appends_to_a_segment_is_damage() {
    let (dir, log) = (tempdir().unwrap(), tempdir().unwrap());
    let open = || {
        let store = minisnap().open(Grant::new(dir.path())).unwrap();
        OpenOptions::new().open::<minisnap_tests::logged::Seen, Note, _>(store, log.path())
    };
    open().unwrap().apply(Note::new(1, 30)).unwrap();
    let path = log.path().join(&names(log.path())[0]);
    native(&["append"], &path);
    let damaged = open().unwrap_err().to_string();
    assert!(damaged.ends_with("line 3 is not what was written"), "{damaged}");
}
