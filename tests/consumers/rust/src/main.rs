//! A command component that keeps its state in snapshots, and does what its arguments say, a line of output a step.

use std::io::Read;

wit_bindgen::generate!({ path: "../../../wit", world: "consumer" });

use arcella::minisnap::snapshot_store::{self as store, Error};

fn main() {
    let mut args = std::env::args().skip(1);
    while let Some(verb) = args.next() {
        let mut next = || args.next().expect("another argument");
        let line = match verb.as_str() {
            "create" => {
                let seq = next().parse().expect("a sequence number");
                match store::create(&next(), seq) {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => describe(error),
                }
            }
            "create-large" => {
                let seq = next().parse().expect("a sequence number");
                let size = next().parse().expect("a size");
                match store::create(&format!("\"{}\"", "x".repeat(size)), seq) {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => describe(error),
                }
            }
            "restore" => match store::restore() {
                Ok(snapshot) => format!("{} {}", snapshot.seq, snapshot.state.replace(['\n', ' '], "")),
                Err(error) => describe(error),
            },
            "exists" => match store::exists() {
                Ok(exists) => exists.to_string(),
                Err(error) => describe(error),
            },
            "info" => match store::info() {
                Ok(info) => format!("{} {} {:?} {:?}", info.seq, info.size, info.layout, info.soundness),
                Err(error) => describe(error),
            },
            // What it gets beside the store.
            "echo" => {
                let mut input = String::new();
                std::io::stdin().read_to_string(&mut input).expect("standard input");
                input
            }
            "read" => format!("{:?}", std::fs::read_dir(next()).map(|_| ()).map_err(|error| error.kind())),
            "environment" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
            "connect" => format!(
                "{:?}",
                std::net::TcpStream::connect(next()).map(|_| ()).map_err(|error| error.kind())
            ),
            // How it may end.
            "allocate" => format!("{} bytes", vec![1u8; next().parse().expect("a size")].len()),
            "exit" => std::process::exit(next().parse().expect("an exit code")),
            "panic" => panic!("as told"),
            other => panic!("no verb {other}"),
        };
        println!("{line}");
    }
}

fn describe(error: Error) -> String {
    match error {
        Error::NotFound => "not-found".to_owned(),
        Error::InvalidState(what) => format!("invalid-state: {what}"),
        Error::Stale(newest) => format!("stale: {newest}"),
        Error::TooLarge(limit) => format!("too-large: {limit}"),
        Error::Corrupt(what) => format!("corrupt: {what}"),
        Error::NoSpace => "no-space".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Busy => "busy".to_owned(),
        Error::Io(what) => format!("io: {what}"),
    }
}
