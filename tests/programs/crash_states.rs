//! Counts the states of the disk that a crash may leave, and what is wrong with them: `crash-states`. See
//! `CRASH_STATES.md`.

use minisnap_tests::crash::{self, Who};
use minisnap_tests::disk::MODELS;

fn main() {
    println!("| who | what | before | state | model | states | violations |");
    println!("|---|---|---|---|---|---|---|");
    let mut wrong = 0;
    for scenario in crash::ours().into_iter().chain(crash::natives()) {
        let recorded = scenario.record();
        for model in MODELS {
            let crashed = recorded.crash(model, true);
            let killed = recorded.kill(model);
            let crash::Scenario { who, act, before, size } = &scenario;
            println!(
                "| {who:?} | {act:?} | {before:?} | {size} bytes | {model:?} | {} | {} |",
                crashed.states + killed.states,
                crashed.violations.len() + killed.violations.len()
            );
            if matches!(who, Who::Component(_)) {
                for violation in crashed.violations.iter().chain(&killed.violations) {
                    eprintln!("{violation}");
                    wrong += 1;
                }
            }
        }
    }
    assert_eq!(wrong, 0, "this store violates its promises");
}
