//! The native state with a log, as its users call it.
//!
//! - `native-state open DIR`: prints the number of the last operation and the state
//! - `native-state apply DIR COUNT`: applies so many operations, which add their own numbers
//! - `native-state snapshot DIR`: makes a snapshot
//! - `native-state replay FILE`: prints each record of a segment of this project's log, as ministore reads it
//! - `native-state append FILE COUNT SIZE`: prints how many seconds as many records take, each of about this size

use std::env;
use std::error::Error;
use std::time::Instant;

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

/// An operation of the benchmark.
#[derive(Serialize)]
struct Note {
    number: u64,
    text: String,
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
        ["append", file, count, size] => {
            let mut store = MiniStore::open(file).await?;
            let text = "x".repeat(size.parse()?);
            let started = Instant::now();
            for number in 0..count.parse()? {
                store.append(&Note { number, text: text.clone() }).await?;
            }
            println!("{}", started.elapsed().as_secs_f64());
        }
        _ => return Err("see the top of this program's source".into()),
    }
    Ok(())
}

async fn open(dir: &str) -> Result<StateManager<Sum, Add>, Box<dyn Error>> {
    Ok(StateManager::open(dir, JOURNAL).await?)
}
