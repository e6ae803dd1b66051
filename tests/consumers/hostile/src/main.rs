//! A command component that means harm: each of its arguments is an attack, and it prints what became of that.

wit_bindgen::generate!({ path: "../../../wit", world: "consumer" });

use arcella::minisnap::snapshot_store::{Error, SnapshotReader, SnapshotWriter, Store, open};

fn main() {
    let mut args = std::env::args().skip(1);
    while let Some(attack) = args.next() {
        let mut number = || args.next().expect("another argument").parse::<u64>().expect("a number");
        let outcome = match attack.as_str() {
            "create" => {
                let seq = number();
                outcome(store().and_then(|store| store.create("\"mine\"", seq)))
            }
            "restore" => match store().and_then(|store| store.restore()) {
                Ok(None) => "none".to_owned(),
                Ok(Some(snapshot)) => format!("{} {}", snapshot.seq, snapshot.state),
                Err(error) => name(&error).to_owned(),
            },
            // So many bytes, in pieces.
            "stream" => outcome(stream(number())),
            // So many bytes at once.
            "call" => {
                let state = "1".repeat(number() as usize);
                outcome(store().and_then(|store| store.create(&state, u64::MAX)))
            }
            // Writers and readers that are never given back.
            "writers" => count(number(), || store()?.open_writer(u64::MAX).map(std::mem::forget)),
            "readers" => count(number(), || store()?.open_reader().map(std::mem::forget)),
            "stores" => count(number(), || store().map(std::mem::forget)),
            "names" | "dropped-names" => {
                let mut made = 0;
                count(number(), || {
                    made += 1;
                    let store = open(&format!("name-{made}"))?;
                    if attack == "names" {
                        std::mem::forget(store);
                    }
                    Ok(())
                })
            }
            // A store of a name that could lead elsewhere.
            "name" => outcome(open(&args.next().expect("a name")).map(drop)),
            // Streams that were given to nobody.
            "forge-writer" => {
                let number = number() as u32;
                #[expect(unsafe_code, reason = "that is the attack")]
                let writer = unsafe { SnapshotWriter::from_handle(number) };
                outcome(writer.write(b"1"))
            }
            "forge-store" => {
                let number = number() as u32;
                #[expect(unsafe_code, reason = "that is the attack")]
                let store = unsafe { Store::from_handle(number) };
                outcome(store.create("1", 1))
            }
            "forge-reader" => {
                let number = number() as u32;
                #[expect(unsafe_code, reason = "that is the attack")]
                let reader = unsafe { SnapshotReader::from_handle(number) };
                outcome(reader.read(1).map(|_| ()))
            }
            "paths" => paths(),
            // What it was given can be used.
            "own" => {
                let file = format!("{}/own", args.next().expect("a folder"));
                std::fs::write(&file, "own").map_or_else(|error| error.to_string(), |()| "ok".to_owned())
            }
            // How it ends.
            "half" => {
                let writer = store().expect("a store").open_writer(u64::MAX).expect("a writer");
                writer.write(b"[\"half").expect("a piece");
                std::mem::forget(writer);
                "half written".to_owned()
            }
            "trap" => std::process::abort(),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "memory" => {
                let mut taken = Vec::new();
                loop {
                    taken.push(vec![1_u8; 1 << 20]);
                }
            }
            "stack" => deeper(1).to_string(),
            other => panic!("no attack {other}"),
        };
        println!("{attack}: {outcome}");
    }
}

/// Its own store.
fn store() -> Result<Store, Error> {
    open("")
}

fn stream(size: u64) -> Result<(), Error> {
    let writer = store()?.open_writer(u64::MAX)?;
    let piece = vec![b'1'; 1 << 20];
    for _ in 0..size >> 20 {
        writer.write(&piece)?;
    }
    SnapshotWriter::commit(writer)
}

/// How many of so many tries succeeded, and what the last of the others answered.
fn count(tries: u64, mut attack: impl FnMut() -> Result<(), Error>) -> String {
    let (mut succeeded, mut refused) = (0, "nothing");
    for _ in 0..tries {
        match attack() {
            Ok(()) => succeeded += 1,
            Err(error) => refused = name(&error),
        }
    }
    format!("{succeeded} of {tries}, then {refused}")
}

/// Every path that could lead to somebody's snapshots.
fn paths() -> String {
    let tried = [
        "/",
        ".",
        "..",
        "/snapshots",
        "/snapshots/..",
        "/snapshots/../victim",
        "../victim",
        "snapshot.json",
        "/data/..",
        "/data/../victim",
        "/data/../victim/snapshot.json",
        "/data/up",
        "/data/up/victim/snapshot.json",
        "/data/theirs",
        "/data/absolute",
        "/data/absolute/snapshot.json",
    ];
    let found =
        tried.iter().filter(|path| std::fs::metadata(path).is_ok() || std::fs::read_dir(path).is_ok());
    format!("{} of {}", found.count(), tried.len())
}

#[expect(unconditional_recursion, reason = "that is the attack")]
fn deeper(depth: u64) -> u64 {
    std::hint::black_box([depth; 64])[7] + deeper(depth + 1)
}

fn outcome(result: Result<(), Error>) -> String {
    result.map_or_else(|error| name(&error).to_owned(), |()| "ok".to_owned())
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::InvalidName(_) => "invalid-name",
        Error::InvalidState(_) => "invalid-state",
        Error::Stale(_) => "stale",
        Error::TooLarge(_) => "too-large",
        Error::Corrupt(_) => "corrupt",
        Error::NoSpace(_) => "no-space",
        Error::AccessDenied(_) => "access-denied",
        Error::Busy(_) => "busy",
        Error::Io(_) => "io",
        Error::InDoubt(_) => "in-doubt",
    }
}
