//! A state whose log, or whose snapshots, lack something.

use std::fs;
use std::path::Path;

use minisnap_client::Snapshot;
use minisnap_client::state::{Error, OpenOptions, Snapshots};
use minisnap_host::SnapshotStore;
use minisnap_tests::logged::{Logged, Note, Seen, dirs, go_on, open, snapshots};
use minisnap_tests::logged_folder::{SIZE, damage_snapshot, folder, is_at, log, segment, segments, with};
use minisnap_tests::{minisnap, names};

#[test]
fn a_log_that_lacks_records_is_an_error_that_says_which() {
    let root = with(&[3, 5], 7);
    // The newest one does without; the older does not.
    fs::remove_file(segment(root.path(), 4)).unwrap();
    is_at(&open(root.path()).unwrap(), 7);
    damage_snapshot(root.path(), 5);
    let missing = open(root.path()).unwrap_err();
    assert!(matches!(missing, Error::Missing { first: 4, last: 5, .. }), "{missing}");
    assert!(missing.to_string().contains("lacks the records 4 to 5"), "{missing}");

    let root = with(&[], 3);
    fs::rename(segment(root.path(), 1), segment(root.path(), 4)).unwrap();
    let missing = open(root.path()).unwrap_err();
    assert!(matches!(missing, Error::Missing { first: 1, last: 3, .. }), "{missing}");
}

fn accepted(root: &Path) -> Result<Logged, Error> {
    OpenOptions::new().accept_lost_log().open(snapshots(minisnap(), root), log(root))
}

/// Removes the last line of a segment.
fn remove_last_line(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let line = text.trim_end().rfind('\n').unwrap() + 1;
    fs::write(path, &text[..line]).unwrap();
}

#[test]
fn a_snapshot_ahead_of_the_log_is_refused_until_that_is_accepted() {
    // The log is lost, whole; or it is an older one; or its newest segment is lost.
    let [lost, old, without_newest] = [with(&[3, 5], 7), with(&[3, 5], 7), with(&[3, 5], 7)];
    for first in segments(lost.path()) {
        fs::remove_file(segment(lost.path(), first)).unwrap();
    }
    fs::remove_file(segment(old.path(), 6)).unwrap();
    remove_last_line(&segment(old.path(), 4));
    fs::remove_file(segment(without_newest.path(), 6)).unwrap();
    for (root, last) in [(&lost, 0), (&old, 4), (&without_newest, 5)] {
        let root = root.path();
        let before = names(&log(root));
        let ahead = open(root).unwrap_err();
        assert!(matches!(ahead, Error::Ahead { snapshot: 5, log, .. } if log == last), "{ahead}");
        // Nor may a replay from an older snapshot hide it, whatever is accepted.
        let older = OpenOptions::new().snapshot(3).accept_lost_log();
        let ahead = older.open::<Seen, Note, _>(snapshots(minisnap(), root), log(root)).unwrap_err();
        assert!(matches!(ahead, Error::Ahead { .. }), "{ahead}");
        assert_eq!(names(&log(root)), before);
        is_at(&accepted(root).unwrap(), 5);
        // It is accepted once.
        let mut state = open(root).unwrap();
        is_at(&state, 5);
        go_on(&mut state, 1, false, SIZE).unwrap();
        drop(state);
        is_at(&open(root).unwrap(), 6);
    }
}

#[test]
fn a_damaged_snapshot_ahead_of_the_log_never_comes_back_once_its_loss_is_accepted() {
    let root = with(&[3, 5], 5);
    let newest = dirs(root.path())[1].join(format!("snapshot_{:020}.json", 5));
    let whole = fs::read(&newest).unwrap();
    damage_snapshot(root.path(), 5);
    fs::remove_file(segment(root.path(), 6)).unwrap();
    remove_last_line(&segment(root.path(), 4));
    // There were records that the log does not have.
    let ahead = open(root.path()).unwrap_err();
    assert!(matches!(ahead, Error::Ahead { snapshot: 5, log: 4, .. }), "{ahead}");
    // No number is used again: the one that was lost stands for what there is.
    for opened in [accepted, open] {
        let mut state = opened(root.path()).unwrap();
        assert_eq!((state.sequence(), state.state()), (5, &Seen::at(4, SIZE)));
        assert_ne!(fs::read(&newest).unwrap(), whole);
        assert_eq!(state.apply_all([]).unwrap(), 5);
    }
}

/// A store on which nothing can be created.
#[derive(Debug)]
struct Full(SnapshotStore);

impl Snapshots for Full {
    fn newest(&mut self) -> minisnap_client::Result<Option<Snapshot>> {
        self.0.newest()
    }

    fn newest_seq(&mut self) -> minisnap_client::Result<Option<u64>> {
        Snapshots::newest_seq(&mut self.0)
    }

    fn at(&mut self, seq: u64) -> minisnap_client::Result<Option<Snapshot>> {
        self.0.at(seq)
    }

    fn create(&mut self, _: &str, _: u64) -> minisnap_client::Result<()> {
        Err(minisnap_client::Error::NoSpace("it is full".to_owned()))
    }

    fn oldest_kept(&mut self) -> minisnap_client::Result<Option<u64>> {
        Snapshots::oldest_kept(&mut self.0)
    }
}

#[test]
fn a_loss_whose_acceptance_fails_can_be_accepted_again() {
    let root = with(&[3, 5], 5);
    damage_snapshot(root.path(), 5);
    fs::remove_file(segment(root.path(), 6)).unwrap();
    remove_last_line(&segment(root.path(), 4));
    let before = names(&log(root.path()));
    let full = Full(snapshots(minisnap(), root.path()));
    let options = OpenOptions::new().accept_lost_log();
    let failed = options.open::<Seen, Note, _>(full, log(root.path())).unwrap_err();
    assert!(failed.to_string().contains("it is full"), "{failed}");
    assert_eq!(names(&log(root.path())), before);
    let ahead = open(root.path()).unwrap_err();
    assert!(matches!(ahead, Error::Ahead { snapshot: 5, log: 4, .. }), "{ahead}");
    assert_eq!(accepted(root.path()).unwrap().sequence(), 5);
}

#[test]
fn where_no_snapshot_is_sound_a_log_that_is_whole_is_replayed_from_its_beginning() {
    let root = folder();
    let mut state = open(root.path()).unwrap();
    go_on(&mut state, 3, false, SIZE).unwrap();
    let kept = fs::read(segment(root.path(), 1)).unwrap();
    state.create_snapshot().unwrap();
    go_on(&mut state, 1, false, SIZE).unwrap();
    drop(state);
    fs::write(segment(root.path(), 1), kept).unwrap();
    damage_snapshot(root.path(), 3);
    let corrupt = open(root.path()).unwrap_err();
    assert!(matches!(corrupt, Error::Snapshot(minisnap_client::Error::Corrupt(_))), "{corrupt}");
    let options = OpenOptions::new().snapshot(0);
    let mut state: Logged = options.open(snapshots(minisnap(), root.path()), log(root.path())).unwrap();
    is_at(&state, 4);
    state.create_snapshot().unwrap();
    drop(state);
    is_at(&open(root.path()).unwrap(), 4);
}

#[test]
fn a_snapshot_of_the_number_0_is_one() {
    let root = folder();
    let mut store = snapshots(minisnap(), root.path());
    store.create(&Seen { count: 7, ..Seen::default() }, 0).unwrap();
    drop(store);
    drop(accepted(root.path()).unwrap());
    let options = OpenOptions::new().snapshot(0);
    let state: Logged = options.open(snapshots(minisnap(), root.path()), log(root.path())).unwrap();
    assert_eq!((state.recovery().snapshot, state.state().count), (Some(0), 7));
}

#[test]
fn there_is_no_operation_after_the_last_number() {
    let root = folder();
    let mut store = snapshots(minisnap(), root.path());
    store.create(&Seen::default(), u64::MAX - 2).unwrap();
    drop(store);
    let mut state = accepted(root.path()).unwrap();
    assert_eq!(state.apply(Note::new(1, SIZE)).unwrap(), u64::MAX - 1);
    assert!(state.apply(Note::new(2, SIZE)).unwrap_err().to_string().contains("no higher numbers"));
    drop(state);
    assert_eq!(open(root.path()).unwrap().sequence(), u64::MAX - 1);
}
