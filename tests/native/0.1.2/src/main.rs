//! Native minisnap 0.1.2 as a program:
//!
//! - `native create DIR SEQ`, with the state on standard input
//! - `native restore DIR` prints the number, a space, and the state on one line
//! - `native count DIR FIRST LAST SIZE` makes a snapshot for each number, and prints that once it is acknowledged
//! - `native watch DIR LAST` restores until it finds the snapshot `LAST`, and prints each that is another than the one
//!   before, or `error: ` and what was said
//! - `native bench DIR` creates or restores as each line of its standard input says, `create SIZE SEQ` or `restore`, and
//!   prints how many nanoseconds that took

#[allow(missing_docs, reason = "this is a program")]
#[path = "../../../harness/records.rs"]
mod records;

use std::hint::black_box;
use std::io::stdin;
use std::process::ExitCode;
use std::time::Instant;

use minisnap::SnapStore;
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let dir = args.get(1).expect("a directory");
    let store = SnapStore::new(dir);
    let result = match args[..] {
        ["create", _, seq] => {
            let state: Value = serde_json::from_reader(std::io::stdin()).expect("JSON on standard input");
            store.create(&state, number(seq)).await
        }
        ["restore", _] => store.restore::<Value>().await.map(|(state, seq)| println!("{seq} {state}")),
        ["count", _, first, last, size] => {
            let mut result = Ok(());
            for seq in number(first)..=number(last) {
                let mark = format!("{seq}-");
                let size = (number(size) as usize).saturating_sub(2).max(mark.len());
                let state = Value::String(mark.chars().cycle().take(size).collect());
                result = store.create(&state, seq).await;
                if result.is_err() {
                    break;
                }
                println!("{seq}");
            }
            result
        }
        ["watch", _, last] => {
            let (mut before, mut errors) = (String::new(), 0);
            while errors < 1000 {
                let restored = store.restore::<Value>().await;
                let (line, is_last) = match restored {
                    Ok((state, seq)) => (format!("{seq} {state}"), seq == number(last)),
                    Err(error) => (format!("error: {error}"), false),
                };
                errors = if line.starts_with("error") { errors + 1 } else { 0 };
                if line != before {
                    println!("{line}");
                    before = line;
                }
                if is_last {
                    break;
                }
            }
            Ok(())
        }
        ["bench", _] => {
            let (mut size, mut state) = (0, Vec::new());
            for line in stdin().lines() {
                let line = line.expect("standard input is text");
                let words: Vec<&str> = line.split(' ').collect();
                let time = match words[..] {
                    ["create", bytes, seq] => {
                        if size != number(bytes) {
                            size = number(bytes);
                            state = records::state(size as usize);
                        }
                        let started = Instant::now();
                        store.create(&state, number(seq)).await.expect("stored");
                        started.elapsed()
                    }
                    ["restore"] => {
                        let started = Instant::now();
                        let restored = store.restore::<Vec<records::Record>>().await.expect("restored");
                        let time = started.elapsed();
                        drop(restored);
                        // The allocator joins what is free when it is next asked for much: outside of the time, too.
                        drop(black_box(Vec::<u8>::with_capacity(4 << 10)));
                        time
                    }
                    _ => panic!("not to be done: {line}"),
                };
                println!("{}", time.as_nanos());
            }
            Ok(())
        }
        _ => panic!("see the top of this program's source"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}
