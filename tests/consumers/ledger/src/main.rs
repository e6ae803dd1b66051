//! An event-sourced ledger: its truth is a log of transfers, in a directory that is granted as `/log`, and its accounts
//! are what these add up to, in snapshots.
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
mod log;

use std::error::Error;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use book::{Book, Transfer};
use log::Log;
use minisnap_client::{Skipped, SnapStore, Soundness};

/// The directory of the log.
const LOG: &str = "/log";

/// At every multiple of this number, a snapshot is made.
const SNAPSHOT_EVERY: u64 = 10;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

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
        ["totals"] => Ledger::recover().map(drop),
        ["recover-all"] => recover_all(),
        _ => Err("see the top of this program's source".into()),
    }
}

fn append(count: u64, seed: u64) -> Result<()> {
    let mut ledger = Ledger::recover()?;
    let last = ledger.log.last();
    for number in last + 1..=last.saturating_add(count) {
        ledger.record(&Transfer::made_up(seed, number))?;
        println!("recorded {number}");
        if number.is_multiple_of(SNAPSHOT_EVERY) {
            ledger.snapshot()?;
        }
    }
    Ok(())
}

fn recover_all() -> Result<()> {
    for generation in SnapStore::new().generations()? {
        match generation.soundness {
            Soundness::Damaged(problem) => println!("{} is damaged: {problem}", generation.seq),
            Soundness::Unreadable(problem) => println!("{} cannot be read: {problem}", generation.seq),
            Soundness::Verified | Soundness::Unverified => drop(Ledger::recover_from(generation.seq)?),
        }
    }
    Ok(())
}

/// The accounts as of the log's last record.
struct Ledger {
    store: SnapStore,
    log: Log,
    book: Book,
}

impl Ledger {
    /// From the newest sound snapshot, or from the first record if there was never one.
    fn recover() -> Result<Self> {
        let store = SnapStore::new();
        let reader = match store.open_reader() {
            Ok(reader) => reader,
            Err(minisnap_client::Error::NotFound) => return Ledger::roll_forward(store, Book::default(), 0),
            Err(error) => return Err(error.into()),
        };
        for Skipped { seq, problem } in reader.skipped() {
            eprintln!("warning: the snapshot {seq} is damaged, and its records are replayed: {problem}");
        }
        let seq = reader.info().seq;
        Ledger::roll_forward(store, serde_json::from_reader(reader)?, seq)
    }

    /// From the generation with this number.
    fn recover_from(seq: u64) -> Result<Self> {
        let store = SnapStore::new();
        let book = store.restore_at(seq)?;
        Ledger::roll_forward(store, book, seq)
    }

    /// Replays the records after `seq`, the last that the accounts contain.
    fn roll_forward(store: SnapStore, mut book: Book, seq: u64) -> Result<Self> {
        let log = Log::open(Path::new(LOG))?;
        let records = log.after(seq)?;
        for record in records {
            book.apply(&record.parse()?)?;
        }
        match records.len() {
            0 => println!("restored {seq}, replayed nothing"),
            _ => println!("restored {seq}, replayed {}..={}", seq + 1, log.last()),
        }
        println!("totals at {}: {book}", log.last());
        Ok(Ledger { store, log, book })
    }

    /// Records a transfer; it is durable when this returns.
    fn record(&mut self, transfer: &Transfer) -> Result<()> {
        self.log.append(transfer.to_string())?;
        self.book.apply(transfer)
    }

    /// Makes a snapshot, and removes the records that no generation needs any more.
    fn snapshot(&mut self) -> Result<()> {
        self.write_book()?;
        let oldest = self.store.oldest_kept()?;
        self.log.remove_up_to(oldest)?;
        println!("snapshot {}, removed ..={oldest}", self.log.last());
        Ok(())
    }

    /// Streams the accounts into a snapshot, as there may be many of them.
    fn write_book(&self) -> minisnap_client::Result<()> {
        let mut pieces = BufWriter::new(self.store.open_writer(self.log.last())?);
        serde_json::to_writer(&mut pieces, &self.book)?;
        pieces.into_inner()?.commit()
    }
}
