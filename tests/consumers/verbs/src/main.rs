//! A command component that keeps its state in snapshots, and does what its arguments say, a line of output a step.

use std::hint::black_box;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

wit_bindgen::generate!({ path: "../../../wit", world: "consumer" });

use arcella::minisnap::snapshot_store::{
    Error, Snapshot, SnapshotReader, SnapshotWriter, Soundness, Store, names, open,
};

/// Whether all is printed that an error says.
static TEXTS: AtomicBool = AtomicBool::new(false);

/// The name of the store that is used.
static NAME: Mutex<String> = Mutex::new(String::new());

fn main() {
    let mut args = std::env::args().skip(1);
    while let Some(verb) = args.next() {
        let mut next = || args.next().expect("another argument");
        let line = match verb.as_str() {
            "create" => {
                let seq = next().parse().expect("a sequence number");
                let state = next();
                done(store().and_then(|store| store.create(&state, seq)))
            }
            "create-large" => {
                let seq = next().parse().expect("a sequence number");
                let size = next().parse().expect("a size");
                let state = format!("\"{}\"", "x".repeat(size));
                done(store().and_then(|store| store.create(&state, seq)))
            }
            "restore" => restored(store().and_then(|store| store.restore())),
            "restore-at" => {
                let seq = next().parse().expect("a sequence number");
                restored(store().and_then(|store| store.restore_at(seq)))
            }
            // From here on, all that an error says.
            "texts" => {
                TEXTS.store(true, Ordering::Relaxed);
                continue;
            }
            // From here on, the store of this name.
            "in" => {
                *NAME.lock().expect("no panic") = next();
                continue;
            }
            // A snapshot in each of so many stores, every part of which says the number.
            "create-in-each" => {
                let (stores, seq) =
                    (next().parse::<u32>().expect("a count"), next().parse().expect("a number"));
                for store in 0..stores {
                    let name = format!("agent-{store}");
                    let store = open(&name).expect("a store");
                    store.create(&format!("[{seq}, {seq}]"), seq).expect("the snapshot is stored");
                    println!("{name} {seq}");
                }
                "created".to_owned()
            }
            "restore-each" => {
                for name in names().expect("the names") {
                    *NAME.lock().expect("no panic") = name.clone();
                    println!("{name} {}", restored(store().and_then(|store| store.restore())));
                }
                "restored".to_owned()
            }
            "open" => done(open(&next()).map(drop)),
            "names" => match names() {
                Ok(names) => names.join(", "),
                Err(error) => describe(error),
            },
            "list" => match store().and_then(|store| store.generations()) {
                Ok(infos) => {
                    let infos = infos.iter().map(|info| match &info.soundness {
                        Soundness::Damaged(_) => format!("{} damaged", info.seq),
                        soundness => format!("{} {soundness:?}", info.seq),
                    });
                    infos.collect::<Vec<_>>().join(", ")
                }
                Err(error) => describe(error),
            },
            "oldest-kept" => number(store().and_then(|store| store.oldest_kept())),
            "newest-seq" => number(store().and_then(|store| store.newest_seq())),
            "stream" => {
                let seq = next().parse().expect("a sequence number");
                let size = next().parse().expect("a chunk's size");
                done(stream(seq, size, next().as_bytes()))
            }
            // A writer that is open keeps every other away, until it is dropped or discarded.
            "abandon" | "discard" => {
                let seq = next().parse().expect("a sequence number");
                let store = store().expect("a store");
                let writer = store.open_writer(seq).expect("a writer");
                writer.write(b"[1, 2").expect("a chunk");
                let second = store.open_writer(seq).map(|_| ()).map_err(describe);
                let create = store.create("1", seq).map_err(describe);
                if verb == "discard" {
                    SnapshotWriter::discard(writer);
                }
                format!("{second:?} {create:?}")
            }
            "open-many" => {
                let count = next().parse().expect("a count");
                let mut refused = None;
                let readers: Vec<_> = (0..count)
                    .map_while(|_| reader().map_err(|error| refused = Some(describe(error))).ok())
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
                let store = store().expect("a store");
                let reader = store.open_reader_at(seq).expect("an answer").expect("a reader");
                let created: Vec<_> = (1..5).map(|ahead| store.create("0", seq + ahead).is_ok()).collect();
                let generations = store.generations().expect("a list");
                let kept = generations.into_iter().map(|info| info.seq).collect::<Vec<_>>();
                let state = reader.read(99).expect("a chunk");
                format!("{created:?} {kept:?} {}", String::from_utf8_lossy(&state))
            }
            "hold" => {
                let seq = next().parse().expect("a sequence number");
                let writer = store().expect("a store").open_writer(seq).expect("a writer");
                writer.write(b"[").expect("a chunk");
                std::mem::forget(writer);
                "held".to_owned()
            }
            "exists" => match store().and_then(|store| store.newest_seq()) {
                Ok(newest) => newest.is_some().to_string(),
                Err(error) => describe(error),
            },
            "info" => match store().and_then(|store| store.info()) {
                Ok(Some(info)) => format!("{} {} {:?}", info.seq, info.size, info.soundness),
                Ok(None) => "none".to_owned(),
                Err(error) => describe(error),
            },
            // What it gets beside the store.
            "echo" => {
                let mut input = String::new();
                std::io::stdin().read_to_string(&mut input).expect("standard input");
                input
            }
            "read" => format!("{:?}", std::fs::read_dir(next()).map(|_| ()).map_err(|error| error.kind())),
            "write" => format!("{:?}", std::fs::write(next(), "1").map_err(|error| error.kind())),
            "environment" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
            "connect" => format!(
                "{:?}",
                std::net::TcpStream::connect(next()).map(|_| ()).map_err(|error| error.kind())
            ),
            // A snapshot for each number, every part of which says that number.
            "count" => {
                let mut number = || next().parse::<u64>().expect("a number");
                let (first, last, size) = (number(), number(), number() as usize);
                let store = store().expect("a store");
                for seq in first..=last {
                    let mark = format!("{seq}-");
                    let size = size.saturating_sub(2).max(mark.len());
                    let text: String = mark.chars().cycle().take(size).collect();
                    store.create(&format!("\"{text}\""), seq).expect("the snapshot is stored");
                    println!("{seq}");
                }
                "counted".to_owned()
            }
            // What is restored, again and again, until it is the snapshot of this number.
            "watch" => {
                let last = next().parse().expect("a sequence number");
                let store = store().expect("a store");
                let (mut before, mut is_last) = (String::new(), false);
                while !is_last {
                    let line = match store.restore() {
                        Ok(Some(snapshot)) => {
                            is_last = snapshot.seq == last;
                            format!("{} {}", snapshot.seq, snapshot.state)
                        }
                        Ok(None) => "none".to_owned(),
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
            "allocate" => format!("{} bytes", black_box(vec![1u8; next().parse().expect("a size")]).len()),
            "exit" => std::process::exit(next().parse().expect("an exit code")),
            "panic" => panic!("as told"),
            other => panic!("no verb {other}"),
        };
        println!("{line}");
    }
}

fn store() -> Result<Store, Error> {
    open(&NAME.lock().expect("no panic"))
}

fn reader() -> Result<SnapshotReader, Error> {
    store()?.open_reader().map(|reader| reader.expect("a snapshot"))
}

fn done(result: Result<(), Error>) -> String {
    result.map_or_else(describe, |()| "ok".to_owned())
}

fn restored(result: Result<Option<Snapshot>, Error>) -> String {
    match result {
        Ok(Some(snapshot)) => format!("{} {}", snapshot.seq, snapshot.state.replace(['\n', ' '], "")),
        Ok(None) => "none".to_owned(),
        Err(error) => describe(error),
    }
}

fn number(result: Result<Option<u64>, Error>) -> String {
    result.map_or_else(describe, |seq| seq.map_or("none".to_owned(), |seq| seq.to_string()))
}

fn stream(seq: u64, size: usize, state: &[u8]) -> Result<(), Error> {
    let writer = store()?.open_writer(seq)?;
    for chunk in state.chunks(size) {
        writer.write(chunk)?;
    }
    SnapshotWriter::commit(writer)
}

fn read_in(size: u64) -> Result<String, Error> {
    let Some(reader) = store()?.open_reader()? else { return Ok("none".to_owned()) };
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
        Error::InvalidName(what) => format!("invalid-name: {what}"),
        Error::InvalidState(what) => format!("invalid-state: {what}"),
        Error::Stale(newest) => format!("stale: {newest}"),
        Error::TooLarge(limit) => format!("too-large: {limit}"),
        Error::Corrupt(what) => format!("corrupt: {what}"),
        Error::NoSpace(what) if TEXTS.load(Ordering::Relaxed) => format!("no-space: {what}"),
        Error::AccessDenied(what) if TEXTS.load(Ordering::Relaxed) => format!("access-denied: {what}"),
        Error::Busy(what) if TEXTS.load(Ordering::Relaxed) => format!("busy: {what}"),
        // What they say depends on the machine.
        Error::NoSpace(_) => "no-space".to_owned(),
        Error::AccessDenied(_) => "access-denied".to_owned(),
        Error::Busy(_) => "busy".to_owned(),
        Error::Io(what) => format!("io: {what}"),
        Error::InDoubt(what) => format!("in-doubt: {what}"),
    }
}
