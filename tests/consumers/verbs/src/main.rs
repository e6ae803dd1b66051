//! A command component that keeps its state in snapshots, and does what its arguments say, a line of output a step.

use std::io::Read;

wit_bindgen::generate!({ path: "../../../wit", world: "consumer" });

use arcella::minisnap::snapshot_store::{self as store, Error, SnapshotWriter, Soundness};

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
            "restore-at" => match store::restore_at(next().parse().expect("a sequence number")) {
                Ok(snapshot) => format!("{} {}", snapshot.seq, snapshot.state.replace(['\n', ' '], "")),
                Err(error) => describe(error),
            },
            "list" => match store::list() {
                Ok(infos) => {
                    let infos = infos.iter().map(|info| match &info.soundness {
                        Soundness::Damaged(_) => format!("{} damaged", info.seq),
                        soundness => format!("{} {soundness:?}", info.seq),
                    });
                    infos.collect::<Vec<_>>().join(", ")
                }
                Err(error) => describe(error),
            },
            "oldest-kept" => match store::oldest_kept() {
                Ok(seq) => seq.to_string(),
                Err(error) => describe(error),
            },
            "stream" => {
                let seq = next().parse().expect("a sequence number");
                let size = next().parse().expect("a chunk's size");
                match stream(seq, size, next().as_bytes()) {
                    Ok(()) => "ok".to_owned(),
                    Err(error) => describe(error),
                }
            }
            // A writer that is open keeps every other away, until it is dropped.
            "abandon" => {
                let seq = next().parse().expect("a sequence number");
                let writer = store::open_writer(seq).expect("a writer");
                writer.write(b"[1, 2").expect("a chunk");
                let second = store::open_writer(seq).map(|_| ()).map_err(describe);
                let create = store::create("1", seq).map_err(describe);
                drop(writer);
                format!("{second:?} {create:?}")
            }
            "open-many" => {
                let count = next().parse().expect("a count");
                let mut refused = None;
                let readers: Vec<_> = (0..count)
                    .map_while(|_| store::open_reader().map_err(|error| refused = Some(describe(error))).ok())
                    .collect();
                let state = readers.iter().map(|reader| reader.read(99).expect("a chunk").len());
                format!("{} readers, {} bytes, then {refused:?}", readers.len(), state.sum::<usize>())
            }
            "read-in" => {
                let size = next().parse().expect("a chunk's size");
                match read_in(size) {
                    Ok(read) => read,
                    Err(error) => describe(error),
                }
            }
            // What a reader has open stays while newer ones are made.
            "create-over" => {
                let seq = next().parse().expect("a sequence number");
                let reader = store::open_reader_at(seq).expect("a reader");
                let created: Vec<_> = (1..5).map(|ahead| store::create("0", seq + ahead).is_ok()).collect();
                let kept =
                    store::list().expect("a list").into_iter().map(|info| info.seq).collect::<Vec<_>>();
                let state = reader.read(99).expect("a chunk");
                format!("{created:?} {kept:?} {}", String::from_utf8_lossy(&state))
            }
            "hold" => {
                let writer =
                    store::open_writer(next().parse().expect("a sequence number")).expect("a writer");
                writer.write(b"[").expect("a chunk");
                std::mem::forget(writer);
                "held".to_owned()
            }
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
            // A snapshot for each number, every part of which says that number.
            "count" => {
                let mut number = || next().parse::<u64>().expect("a number");
                let (first, last, size) = (number(), number(), number() as usize);
                for seq in first..=last {
                    let mark = format!("{seq}-");
                    let size = size.saturating_sub(2).max(mark.len());
                    let text: String = mark.chars().cycle().take(size).collect();
                    store::create(&format!("\"{text}\""), seq).expect("the snapshot is stored");
                    println!("{seq}");
                }
                "counted".to_owned()
            }
            // What is restored, again and again, until it is the snapshot of this number.
            "watch" => {
                let last = next().parse().expect("a sequence number");
                let (mut before, mut is_last) = (String::new(), false);
                while !is_last {
                    let line = match store::restore() {
                        Ok(snapshot) => {
                            is_last = snapshot.seq == last;
                            format!("{} {}", snapshot.seq, snapshot.state)
                        }
                        Err(error) => format!("error: {}", describe(error)),
                    };
                    if line != before {
                        println!("{line}");
                        before = line;
                    }
                }
                "watched".to_owned()
            }
            // How it may end.
            "allocate" => format!("{} bytes", vec![1u8; next().parse().expect("a size")].len()),
            "exit" => std::process::exit(next().parse().expect("an exit code")),
            "panic" => panic!("as told"),
            other => panic!("no verb {other}"),
        };
        println!("{line}");
    }
}

fn stream(seq: u64, size: usize, state: &[u8]) -> Result<(), Error> {
    let writer = store::open_writer(seq)?;
    for chunk in state.chunks(size) {
        writer.write(chunk)?;
    }
    SnapshotWriter::commit(writer)
}

fn read_in(size: u64) -> Result<String, Error> {
    let reader = store::open_reader()?;
    let mut state = Vec::new();
    loop {
        let chunk = reader.read(size)?;
        if chunk.is_empty() {
            break;
        }
        assert!(chunk.len() as u64 <= size);
        state.extend(chunk);
    }
    let info = reader.info();
    assert_eq!(info.size, state.len() as u64);
    let state = String::from_utf8(state).expect("UTF-8").replace(['\n', ' '], "");
    Ok(format!("{} {state}, {} skipped", info.seq, reader.skipped().len()))
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
