//! The protocol of a remote store, in every order of its requests and of what goes wrong with them, within bounds.

use minisnap_tests::remote_model::{Bounds, Explored, Mutant, explore};
use minisnap_tests::rounds;

const TWO: Bounds = Bounds { writers: 2, creates: 2, openings: 1, readers: 0, faults: 2, keep: 1 };

#[track_caller]
fn nothing_is_wrong(bounds: Bounds, at_least: usize) {
    let Explored { states, violation } = explore(bounds, Mutant::None);
    println!("{states} states of {bounds:?}");
    assert_eq!(violation, None);
    assert!(states >= at_least, "only {states} states");
}

#[test]
fn two_writers_of_a_remote_store_lose_nothing_that_was_acknowledged() {
    nothing_is_wrong(TWO, 100_000);
    nothing_is_wrong(Bounds { keep: 2, faults: 1, ..TWO }, 10_000);
}

#[test]
fn in_long_runs_two_writers_that_open_a_remote_store_twice_lose_nothing_that_was_acknowledged() {
    nothing_is_wrong(Bounds { openings: 2, faults: 1, ..TWO }, 300_000);
    nothing_is_wrong(Bounds { openings: 2, creates: 1, ..TWO }, 700_000);
}

#[test]
fn three_writers_of_a_remote_store_lose_nothing_that_was_acknowledged() {
    nothing_is_wrong(Bounds { writers: 3, creates: 1, faults: rounds(0, 1), ..TWO }, 20_000);
}

#[test]
fn a_reader_beside_two_writers_of_a_remote_store_never_goes_back() {
    nothing_is_wrong(Bounds { readers: 1, creates: 1, faults: rounds(1, 2), ..TWO }, 20_000);
}

#[test]
fn every_mutant_of_the_remote_protocol_is_found() {
    for mutant in [
        Mutant::CleansUpAfterATimeout,
        Mutant::BelievesTheAnswer,
        Mutant::TakesOverWithoutACondition,
        Mutant::IgnoresConditions,
        Mutant::PutsTheHeadFirst,
        Mutant::DeletesBeforeTheCommit,
        Mutant::SweepsWhatIsNamed,
        Mutant::DiscardsWhatIsNamed,
    ] {
        let Explored { states, violation } = explore(TWO, mutant);
        println!("{mutant:?}: {states} states, {:.90}", violation.as_deref().unwrap_or("nothing"));
        assert!(violation.is_some(), "{mutant:?}");
    }
}
