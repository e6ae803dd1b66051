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
use minisnap_tests::scenarios::{Act, SYNCS, Scenario, Who, scenarios};
use minisnap_tests::subject::{NATIVES, OURS, Subject};
use minisnap_tests::{Tally, minisnap};

/// A row of the table: what is tried, and how; native minisnap is not tried in all ways.
type Row = (&'static str, Box<dyn Fn(Subject) -> Option<Tally>>);

/// Rows in which even long rounds find no native version wrong.
const TOOTHLESS: [&str; 2] = ["a second crash, in the recovery or after a kill", "short writes"];

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |name, method: Box<dyn Fn(Subject) -> Option<Tally>>| rows.push((name, method));
    for (name, model) in [
        ("crash states, ordered", Model::Ordered),
        ("crash states, any subset", Model::Subset),
        ("crash states, torn renames", Model::Torn),
    ] {
        row(name, Box::new(move |subject| Some(crash_states(subject, model))));
    }
    row("a second crash, in the recovery or after a kill", Box::new(second_crashes));
    for (name, (_, mkfs)) in ["power cuts, ext4", "power cuts, xfs"].into_iter().zip(FILE_SYSTEMS) {
        row(name, Box::new(move |subject| Some(power_cuts(subject, mkfs, 200))));
    }
    row("`kill -9` in a loop", Box::new(|subject| Some(kills(subject, 500))));
    row("failed system calls", Box::new(|subject| Some(all_failed_calls(subject))));
    row("short writes", Box::new(|subject| Some(short_writes(subject))));
    row("limits of the system", Box::new(|subject| Some(limits(subject))));
    row("bits flipped, files cut, zeroed, swapped", Box::new(|subject| Some(damage(subject))));
    row("8 readers of 10,000 snapshots", Box::new(|subject| Some(readers(subject, 8, 10_000))));
    row("two writers at once", Box::new(|subject| Some(writers(subject, 100))));
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
        "| violations of cases | this store, pair | this store, numbered | native 0.1.2 | native 0.1.3 |"
    );
    println!("|---|---|---|---|---|");
    let (mut rows_run, mut wrong) = (0, 0);
    for (name, method) in rows().iter().filter(|(name, _)| name.contains(&wanted)) {
        let started = Instant::now();
        let (mut cells, mut native) = (Vec::new(), 0);
        for subject in OURS.into_iter().chain(NATIVES) {
            let Some(tally) = method(subject) else {
                cells.push("".to_owned());
                continue;
            };
            cells.push(format!("{} of {}", number(tally.violations.len()), number(tally.tried)));
            if tally.tried == 0 {
                wrong += 1;
                eprintln!("{subject:?}: nothing was tried");
            }
            if subject.is_ours() {
                wrong += tally.violations.len();
                tally.violations.iter().for_each(|violation| eprintln!("{subject:?}: {violation}"));
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

fn crash_states(subject: Subject, model: Model) -> Tally {
    let mut tally = Tally::default();
    tally.extend(scenarios(subject).iter().map(|scenario| scenario.record().crash(model)));
    tally
}

fn second_crashes(subject: Subject) -> Option<Tally> {
    let mut tally = Tally::default();
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
    Some(tally)
}

fn all_failed_calls(subject: Subject) -> Tally {
    let failed = |act| failed_calls(subject, act, &["EIO", "ENOSPC", "EINTR"]);
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
