//! System calls that fail, or do less than they were asked for, damage, and full disks, under a state with a log.

use minisnap_tests::interrupt::kills;
use minisnap_tests::logged_faults::{Operations, failed_calls, flipped_bits, short_writes};
use minisnap_tests::{Tally, program, rounds, run_mounting};

const NONE: [String; 0] = [];

#[track_caller]
fn nothing_is_wrong(tally: Tally, at_least: usize) {
    println!("{} cases", tally.tried);
    assert_eq!(tally.violations, NONE);
    assert!(tally.tried >= at_least, "only {} cases", tally.tried);
}

#[test]
fn every_failed_system_call_of_a_state_is_reported_and_costs_no_operation() {
    nothing_is_wrong(failed_calls(&["EIO", "ENOSPC"]), 60);
}

#[test]
fn short_writes_of_a_state_lose_nothing() {
    nothing_is_wrong(short_writes(), 6);
}

#[test]
fn no_damaged_bit_of_a_log_is_taken_for_its_end() {
    nothing_is_wrong(flipped_bits(rounds(3, 1)), 1000);
}

#[test]
fn kills_of_a_state_lose_no_operation_that_was_acknowledged() {
    nothing_is_wrong(kills(&Operations, rounds(100, 1000)), 100);
}

#[test]
fn a_full_disk_takes_back_what_was_written_of_a_batch_and_takes_the_next_operation() {
    let dir = tempfile::tempdir().unwrap();
    let act = program("act").display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=128k tmpfs $2; mkdir $2/log; {act} state apply $2 300; wc -c $2/log/*; \
         {act} state batch $2 90000 || echo failed; wc -c $2/log/*; {act} state apply $2 300; wc -l $2/log/*"
    );
    let done = run_mounting(&script, dir.path(), "");
    assert_eq!(done.code, Some(0), "{done:?}");
    let lines: Vec<&str> = done.stdout.lines().collect();
    let [one, before, failed, after, two, lengths] = lines[..] else { panic!("{done:?}") };
    assert_eq!((one, before, failed, two), ("1", after, "failed", "2"), "{done:?}");
    // The header and two records.
    assert!(lengths.trim_start().starts_with("3 "), "{done:?}");
    assert_eq!(done.stderr.matches("No space left on device").count(), 2, "{done:?}");
}
