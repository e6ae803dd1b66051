//! Large snapshots in an object store, which is in memory here: parts of them are put while they are made.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use minisnap_host::{Error, Writer};
use minisnap_tests::nodes::Fleet;

/// As much as makes five parts.
const SIZE: usize = 35 << 20;

/// A state of this size, of which each piece differs.
fn state() -> String {
    let text: String = (0..SIZE / 16).map(|number| format!("{number:015} ")).collect();
    format!("\"{text}\"")
}

fn write(writer: &mut Writer<'_>, state: &str) {
    for chunk in state.as_bytes().chunks(1 << 20) {
        writer.write_chunk(chunk).unwrap();
    }
}

/// Waits until so many requests of a kind were made since the last time.
fn wait_for(fleet: &Fleet, what: &str, least: u64) {
    let (begun, mut count) = (Instant::now(), 0);
    while count < least {
        count += fleet.objects.counts().get(what).copied().unwrap_or(0);
        assert!(begun.elapsed() < Duration::from_secs(60), "{count} of {least} {what}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn most_of_a_large_snapshot_is_put_before_its_commit() {
    let (fleet, state) = (Fleet::new(), state());
    let node = fleet.node("a");
    let mut store = node.open();
    fleet.objects.counts();
    let mut writer = store.open_writer(7).unwrap();
    write(&mut writer, &state);
    wait_for(&fleet, "PART", 4);
    writer.commit().unwrap();
    let counts = fleet.objects.counts();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("COMPLETE", 1), ("PART", 1), ("PUT if match", 1)]);
    let restored = fleet.node("b").reader().restore_text().unwrap();
    assert!(restored.seq == 7 && restored.state == state);
    // Of what is given at once, nothing is put twice.
    store.create_text(&state, 8).unwrap();
    let counts = fleet.objects.counts();
    assert_eq!((counts.get("POST"), counts.get("PART"), counts.get("PUT")), (Some(&1), Some(&5), None));
    assert!(store.restore_text().unwrap().state == state);
}

/// What is not committed leaves nothing: neither an object nor parts.
#[test]
fn a_writer_that_is_dropped_has_the_parts_removed_that_were_put() {
    let (fleet, state) = (Fleet::new(), state());
    let node = fleet.node("a");
    let mut store = node.open();
    let mut writer = store.open_writer(7).unwrap();
    write(&mut writer, &state);
    wait_for(&fleet, "PART", 1);
    drop(writer);
    wait_for(&fleet, "ABORT", 1);
    // Nor does one that is refused at its end, or ends with its store.
    let mut writer = store.open_writer(7).unwrap();
    write(&mut writer, &state);
    wait_for(&fleet, "PART", 1);
    writer.write_chunk(b"]").unwrap_err();
    assert!(matches!(writer.commit(), Err(Error::InvalidState(_))));
    wait_for(&fleet, "ABORT", 1);
    let mut writer = store.open_writer(7).unwrap();
    write(&mut writer, &state);
    wait_for(&fleet, "PART", 1);
    std::mem::forget(writer);
    drop(store);
    // A process may end now.
    assert_eq!(fleet.objects.counts().get("ABORT"), Some(&1));
    assert_eq!(fleet.generations("ledger"), []);
}

#[test]
fn a_snapshot_of_which_no_part_is_taken_ahead_is_put_at_its_commit() {
    let (fleet, state) = (Fleet::new(), state());
    let node = fleet.node("a");
    let mut store = node.open();
    // Either it cannot even be begun, or it stops.
    for (seq, refused, refused_at) in [(7, "POST", 0), (8, "PART", 9 << 20)] {
        let mut writer = store.open_writer(seq).unwrap();
        let (first, rest) = state.split_at(refused_at);
        write(&mut writer, first);
        if refused_at > 0 {
            wait_for(&fleet, "PART", 1);
        }
        fleet.objects.refuse_parts(true);
        write(&mut writer, rest);
        wait_for(&fleet, refused, 1);
        fleet.objects.refuse_parts(false);
        writer.commit().unwrap();
        let mut counts = fleet.objects.counts();
        counts.remove("ABORT");
        // Some may come before it is known that those before them were refused.
        assert!(counts.remove("PART") >= Some(5), "all is put again");
        let again = [("COMPLETE", 1), ("POST", 1), ("PUT if match", 1)];
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), again);
        let restored = fleet.node("b").reader().restore_text().unwrap();
        assert!(restored.seq == seq && restored.state == state);
        fleet.objects.counts();
    }
}

#[test]
fn what_is_put_of_a_large_snapshot_is_what_was_written_whatever_becomes_of_its_file() {
    let (fleet, state) = (Fleet::new(), state());
    let node = fleet.node("a");
    let mut store = node.open();
    let made = node.dir().join(".staging/snapshot_00000000000000000007.json.tmp");
    let mut change = |at: usize| {
        let mut writer = store.open_writer(7).unwrap();
        write(&mut writer, &state);
        wait_for(&fleet, "PART", 4);
        let mut file = fs::read(&made).unwrap();
        file[at] = b'x';
        fs::write(&made, &file).unwrap();
        writer.commit()
    };
    // It was not put yet.
    let lost = change(SIZE - 100).unwrap_err();
    assert!(lost.to_string().contains("is not what was written there"), "{lost}");
    wait_for(&fleet, "ABORT", 1);
    assert_eq!(fleet.generations("ledger"), []);
    // It was.
    change(100).unwrap();
    assert!(fleet.node("b").reader().restore_text().unwrap().state == state);
    assert!(store.restore_text().unwrap().state == state);
}
