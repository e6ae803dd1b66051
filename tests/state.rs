//! A state with a log: what it writes, what it finds when it is opened again, and what it refuses.

use std::fs;
use std::time::Duration;

use minisnap_client::SnapshotPolicy;
use minisnap_client::state::{Error, OpenOptions, Recovery};
use minisnap_host::Soundness;
use minisnap_tests::logged::{Logged, Note, Seen, check, dirs, go_on, open, snapshots};
use minisnap_tests::logged_folder::{SIZE, damage_snapshot, folder, is_at, log, segment, segments, with};
use minisnap_tests::random::Random;
use minisnap_tests::{minisnap, rounds, scratch};

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
fn a_log_of_a_later_version_is_refused_and_stays_as_it_is() {
    let root = with(&[2, 4], 6);
    let path = segment(root.path(), 5);
    let text = fs::read_to_string(&path).unwrap();
    for (version, is_later) in
        [("2", true), ("10", true), ("0", false), ("2 ", false), ("+2", false), ("02", false)]
    {
        let written = text.replacen("log v1", &format!("log v{version}"), 1);
        fs::write(&path, &written).unwrap();
        let error = open(root.path()).unwrap_err();
        assert_eq!(matches!(&error, Error::Later { path: named } if *named == path), is_later, "{error}");
        assert_eq!(matches!(&error, Error::Damaged { line: 1, .. }), !is_later, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
    }
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
