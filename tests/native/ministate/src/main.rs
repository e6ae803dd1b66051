//! The native state with a log, as its users call it.
//!
//! - `native-state open DIR`: prints the number of the last operation and the state
//! - `native-state apply DIR COUNT`: applies so many operations, which add their own numbers
//! - `native-state snapshot DIR`: makes a snapshot
//! - `native-state replay FILE`: prints each record of a segment of this project's log, as ministore reads it
//! - `native-state append FILE`: appends a record that has no number
//! - `native-state bench FILE`: appends a record, or replays all, as each line of its standard input says, `append` or
//!   `replay`, and prints how many nanoseconds that took

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;
use std::{env, io};

use ministate::{Mutator, StateManager};
use ministore::MiniStore;
use serde::{Deserialize, Serialize};

/// The log's name.
const JOURNAL: &str = "numbers.wal.jsonl";

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Sum {
    sum: u64,
}

#[derive(Serialize, Deserialize)]
struct Add {
    number: u64,
}

impl Mutator<Sum> for Add {
    fn apply(&self, state: &mut Sum) {
        state.sum += self.number;
    }
}

/// A record of this project's log.
#[derive(Deserialize)]
struct Record {
    seq: u64,
    batch: Option<(u64, u64)>,
    op: serde_json::Value,
    sum: String,
}

/// An operation of the benchmark, of some hundred bytes.
#[derive(Serialize, Deserialize)]
struct Note {
    number: u64,
    text: String,
}

impl Note {
    fn new(number: u64) -> Self {
        Note { number, text: "x".repeat(60) }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["open", dir] => {
            let state = open(dir).await?;
            println!("{} {}", state.sequence(), state.snapshot().await.sum);
        }
        ["apply", dir, count] => {
            let state = open(dir).await?;
            for _ in 0..count.parse()? {
                state.apply(Add { number: state.sequence() + 1 }).await?;
            }
        }
        ["snapshot", dir] => open(dir).await?.create_snapshot().await?,
        ["replay", file] => {
            for Record { seq, batch, op, sum } in MiniStore::replay(file).await? {
                println!("{seq} {batch:?} {op} {sum}");
            }
        }
        ["append", file] => MiniStore::open(file).await?.append(&Note::new(0)).await?,
        ["bench", file] => {
            let mut store = MiniStore::open(file).await?;
            for (number, line) in (0..).zip(io::stdin().lines()) {
                let note = Note::new(number);
                let started = Instant::now();
                match line?.as_str() {
                    "append" => store.append(&note).await?,
                    _ => drop(black_box(MiniStore::replay::<Note, _>(file).await?)),
                }
                println!("{}", started.elapsed().as_nanos());
            }
        }
        _ => return Err("see the top of this program's source".into()),
    }
    Ok(())
}

async fn open(dir: &str) -> Result<StateManager<Sum, Add>, Box<dyn Error>> {
    Ok(StateManager::open(dir, JOURNAL).await?)
}
