//! A state with a log: what it writes, what it finds when it is opened again, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minisnap_client::state::{Error, Mutator, OpenOptions, Recovery, Snapshots, State};
use minisnap_client::{Snapshot, SnapshotPolicy};
use minisnap_host::{SnapshotStore, Soundness};
use minisnap_tests::logged::{Logged, Note, Seen, check, dirs, go_on, open, snapshots};
use minisnap_tests::random::Random;
use minisnap_tests::{minisnap, names, rounds, scratch};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tempfile::TempDir;

/// The size of the operations in bytes.
const SIZE: usize = 30;

/// A folder with an empty directory for the log.
fn folder() -> TempDir {
    let root = scratch();
    fs::create_dir(log(root.path())).unwrap();
    root
}

fn log(root: &Path) -> PathBuf {
    dirs(root)[0].clone()
}

fn segment(root: &Path, first: u64) -> PathBuf {
    log(root).join(format!("log_{first:020}.jsonl"))
}

fn segments(root: &Path) -> Vec<u64> {
    let number = |name: &String| name.strip_prefix("log_")?.strip_suffix(".jsonl")?.parse().ok();
    names(&log(root)).iter().filter_map(number).collect()
}

/// With snapshots of these numbers, and operations up to `last`.
fn with(snapshots: &[u64], last: u64) -> TempDir {
    let root = folder();
    let mut state = open(root.path()).unwrap();
    for &seq in snapshots {
        let count = seq - state.sequence();
        go_on(&mut state, count, false, SIZE).unwrap();
        state.create_snapshot().unwrap();
    }
    let count = last - state.sequence();
    go_on(&mut state, count, false, SIZE).unwrap();
    root
}

fn damage_snapshot(root: &Path, seq: u64) {
    let path = dirs(root)[1].join(format!("snapshot_{seq:020}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("count", "cound", 1)).unwrap();
}

#[track_caller]
fn is_at(state: &Logged, seq: u64) {
    assert_eq!((state.sequence(), state.state()), (seq, &Seen::at(seq, SIZE)));
}

#[test]
fn the_log_is_lines_of_json_that_anybody_can_read() {
    let root = folder();
    let mut state = open(root.path()).unwrap();
    assert_eq!(state.apply(Note { number: 1, text: "one".into() }).unwrap(), 1);
    let batch = [2, 3].map(|number| Note { number, text: String::new() });
    assert_eq!(state.apply_all(batch).unwrap(), 3);
    assert_eq!(state.apply_all([]).unwrap(), 3);
    let text = fs::read_to_string(segment(root.path(), 1)).unwrap();
    let expected = [
        "// MINISTORE JOURNAL v0.1.4, minisnap log v1",
        r#"{"seq":1,"op":{"number":1,"text":"one"},"sum":"e77b0961"}"#,
        r#"{"seq":2,"batch":[2,3],"op":{"number":2,"text":""},"sum":"29cff9f1"}"#,
        r#"{"seq":3,"batch":[2,3],"op":{"number":3,"text":""},"sum":"f5794365"}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_state_is_what_its_operations_come_to_after_any_number_of_starts() {
    let root = folder();
    for start in 0..10 {
        let mut state = open(root.path()).unwrap();
        is_at(&state, 2 * start);
        assert_eq!(state.recovery().torn, 0);
        go_on(&mut state, 2, start % 2 == 0, SIZE).unwrap();
        if start % 3 == 2 {
            assert_eq!(state.since_snapshot(), 6);
            assert!(SnapshotPolicy::every(6).due(state.since_snapshot(), Duration::ZERO));
            state.create_snapshot().unwrap();
            assert_eq!(state.since_snapshot(), 0);
        }
    }
    let state = open(root.path()).unwrap();
    is_at(&state, 20);
    let Recovery { snapshot, replayed, torn, .. } = state.recovery();
    assert_eq!((*snapshot, *replayed, *torn), (Some(18), 2, 0));
}

#[test]
fn records_go_when_no_snapshot_needs_them_and_from_each_snapshot_the_state_is_the_same() {
    let root = with(&[3, 5, 9], 12);
    // Two snapshots are kept: those after 5 need the log from 6 on.
    assert_eq!(segments(root.path()), [6, 10]);
    for (seq, replayed) in [(5, 7), (9, 3)] {
        let [log, _] = dirs(root.path());
        let store = snapshots(minisnap(), root.path());
        let state: Logged = OpenOptions::new().snapshot(seq).open(store, log).unwrap();
        is_at(&state, 12);
        assert_eq!((state.recovery().snapshot, state.recovery().replayed), (Some(seq), replayed));
        assert_eq!(state.since_snapshot(), 12 - seq);
    }
}

#[test]
fn a_damaged_snapshot_costs_a_longer_replay_and_keeps_the_records_that_an_older_one_needs() {
    let root = with(&[3, 5], 7);
    damage_snapshot(root.path(), 5);
    let mut state = open(root.path()).unwrap();
    is_at(&state, 7);
    let Recovery { snapshot, replayed, skipped, .. } = state.recovery();
    assert_eq!((*snapshot, *replayed, skipped[0].seq), (Some(3), 4, 5));
    assert_eq!(state.since_snapshot(), 4);
    state.create_snapshot().unwrap();
    assert_eq!(segments(root.path())[0], 4);
    drop(state);
    check(root.path(), &[7], SIZE).unwrap();
}

#[test]
fn what_could_not_be_removed_goes_next_time() {
    let root = with(&[3, 5], 5);
    // A directory of that name cannot be removed as a file.
    let mut state = open(root.path()).unwrap();
    let (needless, kept) = (segment(root.path(), 4), fs::read(segment(root.path(), 4)).unwrap());
    fs::remove_file(&needless).unwrap();
    fs::create_dir(&needless).unwrap();
    go_on(&mut state, 1, false, SIZE).unwrap();
    state.create_snapshot().unwrap();
    let refused = state.compact().unwrap_err();
    assert!(refused.to_string().contains(needless.to_str().unwrap()), "{refused}");
    fs::remove_dir(&needless).unwrap();
    fs::write(&needless, kept).unwrap();
    go_on(&mut state, 1, false, SIZE).unwrap();
    state.create_snapshot().unwrap();
    assert_eq!(segments(root.path()), [7, 8]);
    state.compact().unwrap();
    is_at(&state, 7);
}

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
fn a_torn_record_is_cut_off_and_of_a_batch_all_is_there_or_nothing() {
    let root = with(&[2], 3);
    let whole = fs::read(segment(root.path(), 3)).unwrap();
    for together in [false, true] {
        let mut state = open(root.path()).unwrap();
        go_on(&mut state, if together { 3 } else { 1 }, together, SIZE).unwrap();
        drop(state);
        let longer = fs::read(segment(root.path(), 3)).unwrap();
        for end in whole.len()..longer.len() {
            fs::write(segment(root.path(), 3), &longer[..end]).unwrap();
            // What a new segment was about to be does not count.
            fs::write(log(root.path()).join("log.tmp"), "// MINI").unwrap();
            let state = open(root.path()).unwrap();
            is_at(&state, 3);
            assert_eq!(state.recovery().torn, (end - whole.len()) as u64, "cut at {end}");
            assert_eq!(fs::read(segment(root.path(), 3)).unwrap(), whole, "cut at {end}");
        }
        check(root.path(), &[3], SIZE).unwrap();
        fs::remove_dir_all(root.path()).unwrap();
        fs::create_dir_all(log(root.path())).unwrap();
        let mut state = open(root.path()).unwrap();
        go_on(&mut state, 2, false, SIZE).unwrap();
        state.create_snapshot().unwrap();
        go_on(&mut state, 1, false, SIZE).unwrap();
    }
}

#[test]
fn damage_before_the_last_segment_is_never_torn() {
    let root = with(&[2, 4], 6);
    damage_snapshot(root.path(), 4);
    let path = segment(root.path(), 3);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let damaged = open(root.path()).unwrap_err();
    assert!(matches!(damaged, Error::Damaged { line: 3, .. }), "{damaged}");

    // Nor may a segment begin with what another one has.
    fs::write(&path, &whole).unwrap();
    fs::copy(segment(root.path(), 5), segment(root.path(), 4)).unwrap();
    let damaged = open(root.path()).unwrap_err();
    assert!(matches!(damaged, Error::Damaged { line: 1, .. }), "{damaged}");
}

#[test]
fn only_one_process_has_a_log_open() {
    let root = folder();
    let state = open(root.path()).unwrap();
    let [log, _] = dirs(root.path());
    let other = scratch();
    let busy =
        OpenOptions::new().open::<Seen, Note, _>(snapshots(minisnap(), other.path()), &log).unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    drop(state);

    // Where the system has no locks, a log that has grown is seen before anything is written to it.
    let mut state = open(root.path()).unwrap();
    go_on(&mut state, 1, false, SIZE).unwrap();
    let path = segment(root.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().last().unwrap();
    fs::write(&path, format!("{text}{line}\n")).unwrap();
    let busy = go_on(&mut state, 1, false, SIZE).unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    let refused = state.create_snapshot().unwrap_err();
    assert!(matches!(refused, Error::Reopen { .. }), "{refused}");
    assert!(refused.to_string().contains("another process"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}{line}\n"));
}

/// A number that may be none, and what is set to it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Level(f64);

#[derive(Debug, Serialize, Deserialize)]
enum Change {
    To(f64),
    Divide(f64),
    Raw(Box<RawValue>),
}

impl Mutator<Level> for Change {
    fn apply(&self, level: &mut Level) {
        match self {
            Change::To(to) => level.0 = *to,
            Change::Divide(by) => level.0 /= by,
            Change::Raw(_) => {}
        }
    }
}

#[test]
fn what_would_not_read_back_is_refused_before_it_is_written() {
    let root = folder();
    let open = || -> State<Level, Change, SnapshotStore> {
        OpenOptions::new().open(snapshots(minisnap(), root.path()), log(root.path())).unwrap()
    };
    let mut state = open();
    state.apply(Change::To(1.5)).unwrap();
    let raw = RawValue::from_string("{\n}".to_owned()).unwrap();
    for change in [Change::To(f64::NAN), Change::Raw(raw)] {
        let refused = state.apply(change).unwrap_err();
        assert!(matches!(refused, Error::Type(_)), "{refused}");
    }
    // Of several, none is applied.
    assert!(state.apply_all([Change::To(2.5), Change::To(f64::INFINITY)]).is_err());
    assert_eq!((state.sequence(), state.state()), (1, &Level(1.5)));
    state.create_snapshot().unwrap();

    // A state that would not read back stays in the log, and never takes the place of the snapshot.
    state.apply(Change::Divide(0.0)).unwrap();
    let refused = state.create_snapshot().unwrap_err();
    assert!(matches!(refused, Error::Type(_)), "{refused}");
    drop(state);
    let state = open();
    assert_eq!((state.recovery().snapshot, state.state()), (Some(1), &Level(f64::INFINITY)));
}

/// What panics in the middle of a batch.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Fragile(u64);

#[derive(Serialize, Deserialize)]
struct Bump(bool);

impl Mutator<Fragile> for Bump {
    fn apply(&self, fragile: &mut Fragile) {
        assert!(!self.0, "it breaks");
        fragile.0 += 1;
    }
}

#[test]
fn after_a_panic_of_an_operation_the_state_is_never_stored() {
    let root = folder();
    let store = snapshots(minisnap(), root.path());
    let mut state: State<Fragile, Bump, _> = OpenOptions::new().open(store, log(root.path())).unwrap();
    let batch = [false, true, false].map(Bump);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| state.apply_all(batch)));
    panicked.unwrap_err();
    let refused = state.create_snapshot().unwrap_err();
    assert!(refused.to_string().ends_with("an operation panicked"), "{refused}");
}

#[test]
fn a_number_is_read_back_as_it_was_written() {
    let root = folder();
    let open = || -> State<Level, Change, SnapshotStore> {
        OpenOptions::new().open(snapshots(minisnap(), root.path()), log(root.path())).unwrap()
    };
    let mut random = Random::default();
    let mut state = open();
    for _ in 0..rounds(50, 500) {
        state.apply(Change::To(random.below(u64::MAX) as f64)).unwrap();
        state.apply(Change::Divide(random.below(1 << 40) as f64 + 1.0)).unwrap();
        let level = state.state().0;
        state.create_snapshot().unwrap();
        drop(state);
        state = open();
        assert_eq!((state.recovery().replayed, state.state().0.to_bits()), (0, level.to_bits()));
    }
}

#[test]
fn a_segment_that_is_there_already_is_not_replaced() {
    let root = with(&[], 2);
    let mut state = open(root.path()).unwrap();
    // As another process would have made it, where the system has no locks.
    fs::write(segment(root.path(), 3), "of another").unwrap();
    let busy = state.create_snapshot().unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "{busy}");
    let refused = go_on(&mut state, 1, false, SIZE).unwrap_err();
    assert!(matches!(refused, Error::Reopen { .. }), "{refused}");
    assert_eq!(fs::read_to_string(segment(root.path(), 3)).unwrap(), "of another");
}

#[test]
fn a_segment_that_cannot_be_begun_is_an_error_of_the_snapshot() {
    let root = with(&[], 2);
    let mut state = open(root.path()).unwrap();
    fs::create_dir(log(root.path()).join("log.tmp")).unwrap();
    let failed = state.create_snapshot().unwrap_err();
    assert!(failed.to_string().contains("log.tmp"), "{failed}");
    // No snapshot was made, and the log goes on.
    go_on(&mut state, 1, false, SIZE).unwrap();
    drop(state);
    fs::remove_dir(log(root.path()).join("log.tmp")).unwrap();
    let state = open(root.path()).unwrap();
    is_at(&state, 3);
    assert_eq!(state.recovery().snapshot, None);
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

#[test]
fn a_record_of_another_type_is_an_error_that_names_its_line() {
    let root = with(&[], 2);
    let other = OpenOptions::new()
        .open::<Level, Change, _>(snapshots(minisnap(), root.path()), log(root.path()))
        .unwrap_err();
    assert!(matches!(other, Error::RecordType { line: 2, .. }), "{other}");
    is_at(&open(root.path()).unwrap(), 2);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_and_is_not_made() {
    let root = scratch();
    let missing = open(root.path()).unwrap_err();
    assert!(missing.to_string().contains(log(root.path()).to_str().unwrap()), "{missing}");
    assert!(!log(root.path()).exists());
}

/// Any sequence of operations, batches, snapshots, damage and starts, beside a model that is a number.
#[test]
fn any_sequence_of_calls_damage_and_starts_leaves_what_was_acknowledged() {
    let mut random = Random::default();
    for round in 0..rounds(40, 400) {
        let root = folder();
        let mut last = 0;
        let mut told = Vec::new();
        let mut state = Some(open(root.path()).unwrap());
        for _ in 0..30 {
            let what = random.below(10);
            told.push(what);
            let open_state = state.get_or_insert_with(|| {
                open(root.path()).unwrap_or_else(|e| panic!("{round}: {told:?}: {e}"))
            });
            assert_eq!(
                (open_state.sequence(), open_state.state()),
                (last, &Seen::at(last, SIZE)),
                "{round}: {told:?}"
            );
            match what {
                0..=3 => {
                    go_on(open_state, 1, false, SIZE).unwrap();
                    last += 1;
                }
                4 => {
                    let count = 1 + random.below(5);
                    go_on(open_state, count, true, SIZE).unwrap();
                    last += count;
                }
                5 | 6 => open_state.create_snapshot().unwrap(),
                7 => drop(state.take()),
                // A crash within a write leaves a part of a line.
                8 => {
                    drop(state.take());
                    let newest = segment(root.path(), *segments(root.path()).last().unwrap());
                    let mut text = fs::read(&newest).unwrap();
                    let line = format!(r#"{{"seq":{},"op":{{"number":7,"text":"#, last + 1);
                    text.extend(&line.as_bytes()[..1 + random.below(line.len() as u64) as usize]);
                    fs::write(&newest, text).unwrap();
                }
                // The newest snapshot is damaged, if there is another to begin with.
                _ => {
                    drop(state.take());
                    let generations = snapshots(minisnap(), root.path()).generations().unwrap();
                    let sound = generations.iter().filter(|info| info.soundness == Soundness::Verified);
                    if sound.count() == 2 && generations[0].soundness == Soundness::Verified {
                        damage_snapshot(root.path(), generations[0].seq);
                    }
                }
            }
        }
        drop(state);
        check(root.path(), &[last], SIZE).unwrap_or_else(|problem| panic!("{round}: {told:?}: {problem}"));
    }
}
