//! Native minisnap 0.1.3 as a program: `native create DIR SEQ` with the state on standard input, `native restore DIR`,
//! which prints the number, a space, and the state on one line.

use std::process::ExitCode;

use minisnap::{JsonCodec, SnapStore};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["create", dir, seq] => {
            let state: Value = serde_json::from_reader(std::io::stdin()).expect("JSON on standard input");
            SnapStore::new(dir, JsonCodec).create(state, seq.parse().expect("a sequence number")).await
        }
        ["restore", dir] => SnapStore::new(dir, JsonCodec)
            .restore::<Value>()
            .await
            .map(|(state, seq)| println!("{seq} {state}")),
        _ => panic!("native create DIR SEQ | native restore DIR"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
