//! Every state of the disk that a crash may leave, by the traces of real programs. `CRASH_STATES.md` explains the method.

use minisnap_tests::disk::{MODELS, Model};
use minisnap_tests::scenarios::{Act, SYNCS, Scenario, Who, natives, ours};
use minisnap_tests::subject::{OURS, Subject};
use minisnap_tests::{Tally, in_parallel, rounds};

const NONE: [String; 0] = [];

#[test]
fn no_crash_state_of_this_store_is_wrong() {
    in_parallel(ours(), |scenario| {
        let recorded = scenario.record();
        for model in MODELS {
            let check = |tally: Tally| {
                println!("{scenario:?}, {model:?}: {} states", tally.tried);
                assert_eq!(tally.violations, NONE, "{scenario:?}, {model:?}");
                assert!(tally.tried >= 5, "{scenario:?}, {model:?}: only {} states", tally.tried);
            };
            // Where that is wrong already, a second crash has too many states to be tried.
            check(recorded.crash(model));
            if rounds(model == Model::Torn && scenario.size == 60, true) {
                let [_, second] = recorded.crash_twice(model);
                check(second);
            }
        }
    });
}

#[test]
fn no_crash_state_after_a_kill_of_this_store_is_wrong() {
    let small = ours().into_iter().filter(|scenario| scenario.size == 60);
    in_parallel(small.collect(), |scenario| {
        let tally = scenario.record().kill(Model::Torn);
        println!("{scenario:?}: {} states", tally.tried);
        assert_eq!(tally.violations, NONE, "{scenario:?}");
        assert!(tally.tried >= 10, "{scenario:?}: only {} states", tally.tried);
    });
}

/// The method must be seen to bite.
#[test]
fn crash_states_of_native_minisnap_are_wrong() {
    for scenario in natives() {
        let recorded = scenario.record();
        let violations: Vec<usize> =
            MODELS.iter().map(|&model| recorded.crash(model).violations.len()).collect();
        println!("{scenario:?}: {violations:?} violations");
        match scenario.who {
            Who::Whole(Subject::Native012) => {
                assert!(violations.iter().all(|&count| count > 0), "{scenario:?}: {violations:?}")
            }
            // It does not sync the directory that a new one is in.
            _ if scenario.before.is_empty() => assert!(violations[1] > 0, "{scenario:?}: {violations:?}"),
            _ => {}
        }
    }
}

#[test]
fn without_any_one_of_its_syncs_a_crash_state_of_this_store_is_wrong() {
    for (subject, syncs) in OURS.into_iter().zip(SYNCS) {
        let layout = subject.layout();
        for sync in 1..=syncs + 1 {
            let who = Who::Unsynced(layout, sync);
            let scenario = Scenario { who, act: Act::Create, before: vec![(subject, 1, 1)], size: 60 };
            let recorded = scenario.record();
            let violations: usize = MODELS.iter().map(|&model| recorded.crash(model).violations.len()).sum();
            assert_eq!(
                violations > 0,
                sync <= syncs,
                "{layout:?}, without sync {sync}: {violations} violations"
            );
        }
    }
}
