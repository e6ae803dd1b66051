//! Many grants in one process: `cargo bench -p minisnap-host --bench grants`, on the disk of TMPDIR.
//!
//! Prints the memory of an idle grant, snapshots a second, and how long quiet components wait beside a noisy one.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::{Grant, Minisnap, SnapshotStore};

const GRANTS: usize = 1_000;
/// A state of about 1 KiB.
const SMALL: usize = 1_000;
/// A state of about 8 MiB, of a noisy component.
const LARGE: usize = 8 << 20;
/// How long each rate is measured.
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

fn main() {
    let root = tempfile::tempdir().expect("a folder");
    memory(root.path());
    rates(root.path());
    fairness(root.path());
}

/// A JSON text of about so many bytes.
fn state(size: usize) -> String {
    format!("[{}0]", "1234567,".repeat(size / 8))
}

fn open(minisnap: &Minisnap, root: &Path, number: usize) -> SnapshotStore {
    minisnap.open(Grant::new(root.join(number.to_string()))).expect("a store")
}

/// The memory of this process in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("KiB") << 10
}

fn memory(root: &Path) {
    let state = state(SMALL);
    for (what, most) in [("without its instance", 0), ("with its instance", GRANTS)] {
        let minisnap = Minisnap::builder().max_idle(most).build().expect("the component compiles");
        // What is allocated once.
        open(&minisnap, root, GRANTS).create_text(&state, 1).expect("stored");
        let before = resident();
        let mut stores: Vec<_> = (0..GRANTS).map(|number| open(&minisnap, root, number)).collect();
        for store in &mut stores {
            store.create_text(&state, 1).expect("stored");
        }
        let each = resident().saturating_sub(before) / GRANTS;
        println!("memory of an idle grant {what}: {:.1} KiB, of {GRANTS}", each as f64 / 1024.0);
    }
}

/// Creates snapshots in some stores in turn until the time is over; returns how many.
fn create_in_turn(stores: &mut [SnapshotStore], first: u64) -> u64 {
    let (state, started, mut seq) = (state(SMALL), Instant::now(), first);
    loop {
        for store in &mut *stores {
            store.create_text(&state, seq).expect("stored");
            seq += 1;
            if started.elapsed() > TIME {
                return seq - first;
            }
        }
    }
}

/// Snapshots a second by as many threads as there are groups of stores.
fn rate(groups: &mut [Vec<SnapshotStore>], first: u64) -> f64 {
    let started = Instant::now();
    let made: u64 = thread::scope(|scope| {
        let threads: Vec<_> =
            groups.iter_mut().map(|stores| scope.spawn(move || create_in_turn(stores, first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    made as f64 / started.elapsed().as_secs_f64()
}

fn rates(root: &Path) {
    let minisnap = Minisnap::new().expect("the component compiles");
    let group = |numbers: std::ops::Range<usize>| -> Vec<SnapshotStore> {
        numbers.map(|number| open(&minisnap, root, number)).collect()
    };
    let mut settings = [
        ("1 busy grant", vec![group(0..1)]),
        ("2 busy grants, 2 threads", vec![group(1..2), group(2..3)]),
        ("997 grants in turn, 2 threads", vec![group(3..500), group(500..GRANTS)]),
    ];
    let mut measured = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS as u64 {
        for ((_, groups), rates) in settings.iter_mut().zip(&mut measured) {
            rates.push(rate(groups, round << 32));
        }
    }
    let one = median(&mut measured[0].clone());
    for ((what, _), mut rates) in settings.iter().zip(measured) {
        let median = median(&mut rates);
        let (least, most) = (rates[0], rates[rates.len() - 1]);
        println!(
            "{what}: {median:.0} snapshots/s ({least:.0} to {most:.0}), {:.2} times that of one",
            median / one
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long each create of the quiet stores takes, in milliseconds, sorted.
fn waits(stores: &mut [SnapshotStore], first: u64) -> Vec<f64> {
    let state = state(SMALL);
    let mut waits: Vec<f64> = (first..)
        .zip(stores)
        .map(|(seq, store)| {
            let started = Instant::now();
            store.create_text(&state, seq).expect("stored");
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    waits
}

fn fairness(root: &Path) {
    // Each has its instance: what is measured is the wait for others.
    let minisnap = Minisnap::builder().max_idle(GRANTS).build().expect("the component compiles");
    let mut noisy = open(&minisnap, root, 0);
    let mut quiet: Vec<_> = (1..GRANTS).map(|number| open(&minisnap, root, number)).collect();
    waits(&mut quiet, 1 << 40);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        alone.extend(waits(&mut quiet, (2 + 2 * round) << 40));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let state = state(LARGE);
                let mut seq = (round + 1) << 40;
                while !ended.load(Ordering::Relaxed) {
                    noisy.create_text(&state, seq).expect("stored");
                    seq += 1;
                }
            });
            beside.extend(waits(&mut quiet, (3 + 2 * round) << 40));
            ended.store(true, Ordering::Relaxed);
        });
    }
    for (what, waits) in [("alone", &mut alone), ("beside one that creates 8 MiB in a loop", &mut beside)] {
        waits.sort_by(f64::total_cmp);
        let at = |share: usize| waits[(waits.len() - 1) * share / 100];
        println!(
            "a create of one of 999 quiet grants, {what}: median {:.2} ms, 99 % below {:.2} ms, longest {:.2} ms",
            at(50),
            at(99),
            at(100)
        );
    }
}
