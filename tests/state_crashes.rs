//! Every state of the disk that a crash may leave of a log and its snapshots, by the traces of real programs.
//! `CRASH_STATES.md` explains the method.

use minisnap_tests::disk::{MODELS, Model};
use minisnap_tests::logged::{Scenario, Step, scenarios};
use minisnap_tests::{Tally, in_parallel, rounds};

const NONE: [String; 0] = [];

#[test]
fn no_crash_state_of_a_log_and_its_snapshots_loses_an_operation_or_adds_one() {
    in_parallel(scenarios(), |scenario| {
        let recorded = scenario.record();
        for model in MODELS {
            let check = |tally: Tally| {
                println!("{scenario:?}, {model:?}: {} states", tally.tried);
                assert_eq!(tally.violations, NONE, "{scenario:?}, {model:?}");
            };
            check(recorded.crash(model));
            let (is_worst, is_small) = (model == Model::Torn, scenario.size == 30);
            if rounds(is_worst && is_small, is_worst || is_small) {
                check(recorded.crash_twice(model));
            }
        }
    });
}

#[test]
fn no_crash_state_after_a_kill_loses_an_operation_that_was_found() {
    let small = scenarios().into_iter().filter(|scenario| rounds(scenario.size == 30, true));
    in_parallel(small.collect(), |scenario| {
        for next in [Step::Open, Step::Apply] {
            let tally = scenario.record().kill(Model::Torn, next, None);
            println!("{scenario:?}, {next:?}: {} states", tally.tried);
            assert_eq!(tally.violations, NONE, "{scenario:?}, {next:?}");
        }
    });
}

fn scenario(before: &[Step], step: Step) -> Scenario {
    Scenario { before: before.to_vec(), step, size: 1500 }
}

/// The method must be seen to bite.
#[test]
fn without_any_one_of_the_syncs_of_a_log_a_crash_state_is_wrong() {
    use Step::{Apply, Batch, Open, Snapshot};
    // Of what opens a log that is there, the first two are for what another process left that was killed.
    for (before, step, first) in [
        // The header of the first segment, its name, and the operation.
        (&[][..], Apply, 0),
        (&[Open], Batch, 2),
        // The header of the next segment, and its name.
        (&[Apply], Snapshot, 2),
    ] {
        let scenario = scenario(before, step);
        let recorded = scenario.record();
        for sync in first..recorded.syncs() {
            let recorded = recorded.without(sync);
            let violations: usize = MODELS.iter().map(|&model| recorded.crash(model).violations.len()).sum();
            assert_ne!(violations, 0, "{scenario:?}, without sync {sync}");
        }
    }
    // What was found in the newest segment, and its name.
    for (step, next, sync) in [(Apply, Open, 0), (Snapshot, Apply, 1)] {
        let tally = scenario(&[Apply], step).record().kill(Model::Torn, next, Some(sync));
        assert_ne!(tally.violations, NONE, "{next:?} after {step:?} was killed, without sync {sync}");
    }
}
