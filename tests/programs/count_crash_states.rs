//! Counts the states of the disk that a crash may leave, and what is wrong with them: `count-crash-states`. See
//! `CRASH_STATES.md`.

use minisnap_tests::Tally;
use minisnap_tests::disk::MODELS;
use minisnap_tests::scenarios::{Scenario, Who, natives, ours};
use minisnap_tests::subject::Subject;

fn main() {
    println!("| who | what | before | state | model | states | violations |");
    println!("|---|---|---|---|---|---|---|");
    let mut wrong = 0;
    for scenario in ours().into_iter().chain(natives()) {
        let recorded = scenario.record();
        for model in MODELS {
            let mut tally = Tally::default();
            tally.extend(recorded.crash_twice(model));
            tally.extend([recorded.kill(model)]);
            let Scenario { who, act, before, size } = &scenario;
            println!(
                "| {who:?} | {act:?} | {before:?} | {size} bytes | {model:?} | {} | {} |",
                tally.tried,
                tally.violations.len()
            );
            if matches!(who, Who::Whole(Subject::Ours(_))) {
                for violation in &tally.violations {
                    eprintln!("{violation}");
                    wrong += 1;
                }
            }
        }
    }
    assert_eq!(wrong, 0, "this store violates its promises");
}
