//! Puts this store and native minisnap to the proof by every method, and prints the table of `tests/README.md`:
//! `prove [ROW]`, where `ROW` is a part of a method's name, or of "syncs left out"; `prove --list` prints those names.
//!
//! Fails if anything of this store is wrong, if a method tried nothing, or if one that is known to find native minisnap
//! wrong does not. `tests/prove` installs what it needs.

use std::process::ExitCode;
use std::time::Instant;

use minisnap_tests::contention::{readers, writers};
use minisnap_tests::damaging::damage;
use minisnap_tests::disk::{MODELS, Model};
use minisnap_tests::failing_calls::{self, failed_calls, short_writes};
use minisnap_tests::interrupt::{FILE_SYSTEMS, kills, power_cuts};
use minisnap_tests::limits::limits;
use minisnap_tests::logged;
use minisnap_tests::logged_faults::{self, Operations};
use minisnap_tests::scenarios::{Act, SYNCS, Scenario, Who, scenarios};
use minisnap_tests::subject::{NATIVES, OURS, Subject};
use minisnap_tests::{Tally, minisnap};

/// Who is tried.
#[derive(Debug, Clone, Copy)]
enum Tried {
    Snapshots(Subject),
    /// A log, with snapshots in the layout `numbered`.
    Log,
}

/// A row of the table: what is tried, and how; not all are tried in all ways.
type Row = (&'static str, Box<dyn Fn(Tried) -> Option<Tally>>);

/// Rows in which even long rounds find no native version wrong.
const TOOTHLESS: [&str; 2] = ["a second crash, in the recovery or after a kill", "short writes"];

fn rows() -> Vec<Row> {
    use Tried::{Log, Snapshots};
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |name, method: Box<dyn Fn(Tried) -> Option<Tally>>| rows.push((name, method));
    for (name, model) in [
        ("crash states, ordered", Model::Ordered),
        ("crash states, any subset", Model::Subset),
        ("crash states, torn renames", Model::Torn),
    ] {
        row(name, Box::new(move |tried| Some(crash_states(tried, model))));
    }
    row("a second crash, in the recovery or after a kill", Box::new(second_crashes));
    for (name, (_, mkfs)) in ["power cuts, ext4", "power cuts, xfs"].into_iter().zip(FILE_SYSTEMS) {
        row(
            name,
            Box::new(move |tried| {
                Some(match tried {
                    Snapshots(subject) => power_cuts(&subject, mkfs, 200),
                    Log => power_cuts(&Operations, mkfs, 200),
                })
            }),
        );
    }
    row(
        "`kill -9` in a loop",
        Box::new(|tried| {
            Some(match tried {
                Snapshots(subject) => kills(&subject, 500),
                Log => kills(&Operations, 1000),
            })
        }),
    );
    row("failed system calls", Box::new(|tried| Some(all_failed_calls(tried))));
    row(
        "short writes",
        Box::new(|tried| {
            Some(match tried {
                Snapshots(subject) => short_writes(subject),
                Log => logged_faults::short_writes(),
            })
        }),
    );
    let of_snapshots = |method: fn(Subject) -> Tally| -> Box<dyn Fn(Tried) -> Option<Tally>> {
        Box::new(move |tried| match tried {
            Snapshots(subject) => Some(method(subject)),
            Log => None,
        })
    };
    row("limits of the system", of_snapshots(limits));
    row(
        "bits flipped, files cut, zeroed, swapped",
        Box::new(|tried| {
            Some(match tried {
                Snapshots(subject) => damage(subject),
                Log => logged_faults::flipped_bits(1),
            })
        }),
    );
    row("8 readers of 10,000 snapshots", of_snapshots(|subject| readers(subject, 8, 10_000)));
    row("two writers at once", of_snapshots(|subject| writers(subject, 100)));
    rows
}

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if wanted == "--list" {
        rows().iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    // Compiled once, before anything is timed or killed.
    minisnap();
    println!(
        "| violations of cases | this store, pair | this store, numbered | with a log | native 0.1.2 | native 0.1.3 |"
    );
    println!("|---|---|---|---|---|---|");
    let (mut rows_run, mut wrong) = (0, 0);
    for (name, method) in rows().iter().filter(|(name, _)| name.contains(&wanted)) {
        let started = Instant::now();
        let (mut cells, mut native) = (Vec::new(), 0);
        let ours = OURS.map(Tried::Snapshots).into_iter().chain([Tried::Log]);
        for tried in ours.chain(NATIVES.map(Tried::Snapshots)) {
            let Some(tally) = method(tried) else {
                cells.push("".to_owned());
                continue;
            };
            cells.push(format!("{} of {}", number(tally.violations.len()), number(tally.tried)));
            if tally.tried == 0 {
                wrong += 1;
                eprintln!("{tried:?}: nothing was tried");
            }
            let is_ours = match tried {
                Tried::Snapshots(subject) => subject.is_ours(),
                Tried::Log => true,
            };
            if is_ours {
                wrong += tally.violations.len();
                tally.violations.iter().for_each(|violation| eprintln!("{tried:?}: {violation}"));
            } else {
                native += tally.violations.len();
            }
        }
        if native == 0 && !TOOTHLESS.contains(name) {
            wrong += 1;
            eprintln!("{name}: native minisnap was not found to be wrong");
        }
        rows_run += 1;
        println!("| {name} | {} |", cells.join(" | "));
        eprintln!("{name}: {} s", started.elapsed().as_secs());
    }
    if "syncs left out".contains(&wanted) {
        let (found, of) = syncs_left_out();
        println!(
            "\nOf {of} syncs left out of a create, one at a time, {found} are found to lose or mix a snapshot."
        );
        wrong += of - found;
        rows_run += 1;
    }
    if rows_run == 0 {
        eprintln!("no method is called {wanted}: `prove --list` names them");
        return ExitCode::FAILURE;
    }
    if wrong > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn crash_states(tried: Tried, model: Model) -> Tally {
    let mut tally = Tally::default();
    match tried {
        Tried::Snapshots(subject) => {
            tally.extend(scenarios(subject).iter().map(|scenario| scenario.record().crash(model)));
        }
        Tried::Log => tally.extend(logged::scenarios().iter().map(|scenario| scenario.record().crash(model))),
    }
    tally
}

fn second_crashes(tried: Tried) -> Option<Tally> {
    let mut tally = Tally::default();
    match tried {
        Tried::Snapshots(subject) => {
            for scenario in subject.is_ours().then(|| scenarios(subject))? {
                let recorded = scenario.record();
                for model in MODELS {
                    let [_, second] = recorded.crash_twice(model);
                    tally.extend([second]);
                    // What a kill leaves does not depend on the size.
                    if scenario.size == 60 {
                        tally.extend([recorded.kill(model)]);
                    }
                }
            }
        }
        Tried::Log => {
            for scenario in logged::scenarios() {
                let recorded = scenario.record();
                for model in MODELS {
                    tally.extend([recorded.crash_twice(model)]);
                    for next in [logged::Step::Open, logged::Step::Apply] {
                        tally.extend([recorded.kill(model, next, None)]);
                    }
                }
            }
        }
    }
    Some(tally)
}

fn all_failed_calls(tried: Tried) -> Tally {
    const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EINTR"];
    let Tried::Snapshots(subject) = tried else {
        // The standard library repeats what was interrupted.
        return logged_faults::failed_calls(&ERRORS[..2]);
    };
    let failed = |act| failed_calls(subject, act, &ERRORS);
    let mut tally = failed(failing_calls::Act::Create);
    if subject.is_ours() {
        tally.extend([failed(failing_calls::Act::First)]);
    }
    tally
}

/// How many of the syncs of a create are found to be missing when they are left out, and of how many.
fn syncs_left_out() -> (usize, usize) {
    let (mut found, mut of) = (0, 0);
    for (subject, syncs) in OURS.into_iter().zip(SYNCS) {
        for sync in 1..=syncs {
            let who = Who::Unsynced(subject.layout(), sync);
            let scenario = Scenario { who, act: Act::Create, before: vec![(subject, 1, 1)], size: 60 };
            let recorded = scenario.record();
            let is_found = MODELS.iter().any(|&model| !recorded.crash(model).violations.is_empty());
            found += usize::from(is_found);
            of += 1;
        }
    }
    (found, of)
}

/// A number with its thousands set off.
fn number(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
