//! States and operations that are not what their types promise.

use minisnap_client::state::{Error, Mutator, OpenOptions, State};
use minisnap_host::SnapshotStore;
use minisnap_tests::logged::{open, snapshots};
use minisnap_tests::logged_folder::{folder, is_at, log, with};
use minisnap_tests::random::Random;
use minisnap_tests::{minisnap, rounds};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
fn a_record_of_another_type_is_an_error_that_names_its_line() {
    let root = with(&[], 2);
    let other = OpenOptions::new()
        .open::<Level, Change, _>(snapshots(minisnap(), root.path()), log(root.path()))
        .unwrap_err();
    assert!(matches!(other, Error::RecordType { line: 2, .. }), "{other}");
    is_at(&open(root.path()).unwrap(), 2);
}
