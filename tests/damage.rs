//! Damaged files: no change of any bit, cut, zeros, or file of another snapshot makes a wrong pair, a trap or a panic.

use minisnap_tests::damaging::damage;
use minisnap_tests::subject::{NATIVES, OURS};

#[test]
fn every_change_of_a_file_is_found_and_named_and_a_sound_older_generation_is_restored() {
    for subject in OURS {
        let tally = damage(subject);
        assert_eq!(tally.violations, Vec::<String>::new(), "{subject:?}");
        assert!(tally.tried > 1000, "{subject:?}: only {} changes were tried", tally.tried);
    }
}

/// The method must be seen to bite.
#[test]
fn changed_files_of_native_minisnap_are_returned_as_snapshots() {
    for subject in NATIVES {
        let wrong = damage(subject).violations.len();
        assert!(wrong > 100, "{subject:?}: only {wrong} wrong pairs");
    }
}
