//! A ledger: its accounts are what a log of transfers adds up to, in a directory that is granted as `/log`, and are kept in
//! snapshots.
//!
//! - `ledger append COUNT SEED` records so many transfers, made up from the seed and their numbers. It prints the number
//!   of each once it is durable, and makes a snapshot at every tenth.
//! - `ledger totals` does no more than recover.
//! - `ledger recover-all` recovers from each generation that is kept, the newest first.
//!
//! Each begins by recovering: it restores a snapshot, replays the records after it, and prints which those were and what
//! the accounts are then. `restored 0` says that there is no snapshot yet.

#![forbid(unsafe_code)]

mod book;

use std::process::ExitCode;
use std::time::Duration;

use book::{Book, Transfer};
use minisnap_client::state::{OpenOptions, State};
use minisnap_client::{Skipped, SnapStore, SnapshotPolicy, Soundness};

/// The directory of the log.
const LOG: &str = "/log";

/// When a snapshot is made.
const POLICY: SnapshotPolicy = SnapshotPolicy::every(10);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        ["append", count, seed] => append(count.parse()?, seed.parse()?),
        ["totals"] => {
            tell(&State::open(LOG)?);
            Ok(())
        }
        ["recover-all"] => recover_all(),
        _ => Err("see the top of this program's source".into()),
    }
}

fn append(count: u64, seed: u64) -> Result<()> {
    let mut ledger = State::<Book, Transfer>::open(LOG)?;
    tell(&ledger);
    for _ in 0..count {
        let transfer = Transfer::made_up(seed, ledger.sequence() + 1);
        let number = ledger.apply(transfer)?;
        println!("recorded {number}");
        if POLICY.due(ledger.since_snapshot(), Duration::ZERO) {
            ledger.create_snapshot()?;
            println!("snapshot {number}");
        }
    }
    Ok(())
}

fn recover_all() -> Result<()> {
    for generation in SnapStore::new().generations()? {
        match generation.soundness {
            Soundness::Damaged(problem) => println!("{} is damaged: {problem}", generation.seq),
            Soundness::Unreadable(problem) => println!("{} cannot be read: {problem}", generation.seq),
            Soundness::Verified | Soundness::Unverified => {
                tell(&OpenOptions::new().snapshot(generation.seq).open(SnapStore::new(), LOG)?);
            }
        }
    }
    Ok(())
}

/// Says how the ledger was found.
fn tell(ledger: &State<Book, Transfer>) {
    let (recovery, last) = (ledger.recovery(), ledger.sequence());
    for Skipped { seq, problem } in &recovery.skipped {
        eprintln!("warning: the snapshot {seq} is damaged, and its records are replayed: {problem}");
    }
    let restored = recovery.snapshot.unwrap_or(0);
    match recovery.replayed {
        0 => println!("restored {restored}, replayed nothing"),
        _ => println!("restored {restored}, replayed {}..={last}", restored + 1),
    }
    println!("totals at {last}: {}", ledger.state());
}
