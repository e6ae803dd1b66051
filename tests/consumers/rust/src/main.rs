//! The script that the consumers in every language do, a line of output a step.

wit_bindgen::generate!({ path: "../../../wit", world: "consumer" });

use arcella::minisnap::snapshot_store::{self, Error, Snapshot, SnapshotWriter, Soundness, Store};

/// Non-ASCII text, plain and escaped, and every other escape.
const TEXT: &str = r#"{"é":"日本語 \u00e9 \ud83d\ude00 \"\\\/\b\f\n\r\t","😀":"𝄞"}"#;
/// Numbers that a 64-bit floating-point number does not hold.
const NUMBERS: &str =
    r#"{"big":123456789012345678901234567890,"above 2^53":9007199254740993,"float":1.0e400}"#;
/// A state in pieces that are cut inside a character.
const PIECES: [&[u8]; 3] = [b"[\"caf\xc3", b"\xa9\",", b" 1]"];

fn main() {
    println!("open ../x: {}", done(snapshot_store::open("../x")));
    println!("open agent-7: {}", done(snapshot_store::open("agent-7")));
    println!("names: {}", snapshot_store::names().map_or_else(describe, |names| names.len().to_string()));
    let store = snapshot_store::open("").expect("a store");
    println!("newest-seq: {}", number(store.newest_seq()));
    println!("restore: {}", restored(store.restore()));
    println!("create 7: {}", done(store.create(r#"{"counter":1}"#, 7)));
    println!("restore: {}", restored(store.restore()));
    println!("newest-seq: {}", number(store.newest_seq()));

    println!("create 6: {}", done(store.create("{}", 6)));
    println!("create 8, not JSON: {}", done(store.create(r#"{"counter":}"#, 8)));
    println!("create 8, text: {}", done(store.create(TEXT, 8)));
    println!("restore: {}", restored(store.restore()));
    println!("create 9, numbers: {}", done(store.create(NUMBERS, 9)));
    println!("restore: {}", restored(store.restore()));

    let large = format!("\"{}\"", "é".repeat(2_621_439));
    println!("create 10, {} bytes: {}", large.len(), done(store.create(&large, 10)));
    println!("restore: {}", same(store.restore(), &large));

    println!("stream 11: {}", done(stream(&store, 11)));
    println!("restore: {}", restored(store.restore()));
    let writer = store.open_writer(12).expect("a writer");
    writer.write(PIECES[0]).expect("a piece");
    println!("create 12, beside a writer: {}", done(store.create("{}", 12)));
    drop(writer);
    println!("restore, after the writer was dropped: {}", restored(store.restore()));
    println!("discard 12: {}", done(discard(&store, 12)));
    println!("read in pieces: {}", read_in_pieces(&store).unwrap_or_else(describe));

    println!("create {}: {}", u64::MAX, done(store.create("null", u64::MAX)));
    println!("restore: {}", restored(store.restore()));
    println!("create {}: {}", u64::MAX - 1, done(store.create("null", u64::MAX - 1)));
    println!("generations: {}", generations(&store).unwrap_or_else(describe));
    println!("restore-at 10: {}", same(store.restore_at(10), &large));
    println!("restore-at 7: {}", restored(store.restore_at(7)));
    println!("oldest-kept: {}", number(store.oldest_kept()));
}

fn done<T>(result: Result<T, Error>) -> String {
    result.map_or_else(describe, |_| "ok".to_owned())
}

fn number(result: Result<Option<u64>, Error>) -> String {
    some(result, |seq| seq.to_string())
}

fn restored(result: Result<Option<Snapshot>, Error>) -> String {
    some(result, |Snapshot { seq, soundness, state, .. }| {
        format!("{seq} {} {}", describe_soundness(soundness), one_line(&state))
    })
}

/// As [`restored`], of a state that is too large to be printed.
fn same(result: Result<Option<Snapshot>, Error>, state: &str) -> String {
    some(result, |snapshot| {
        let as_created = if snapshot.state == state { "as created" } else { "changed" };
        format!("{} {as_created}", snapshot.seq)
    })
}

fn some<T>(result: Result<Option<T>, Error>, describe_some: impl FnOnce(T) -> String) -> String {
    result.map_or_else(describe, |answer| answer.map_or_else(|| "none".to_owned(), describe_some))
}

fn stream(store: &Store, seq: u64) -> Result<(), Error> {
    let writer = store.open_writer(seq)?;
    for piece in PIECES {
        writer.write(piece)?;
    }
    SnapshotWriter::commit(writer)
}

/// Discards two writers: the second would be `busy` if the first were still open.
fn discard(store: &Store, seq: u64) -> Result<(), Error> {
    for _ in 0..2 {
        let writer = store.open_writer(seq)?;
        writer.write(PIECES[0])?;
        SnapshotWriter::discard(writer);
    }
    Ok(())
}

fn read_in_pieces(store: &Store) -> Result<String, Error> {
    let Some(reader) = store.open_reader()? else { return Ok("none".to_owned()) };
    let info = reader.info();
    let (mut state, mut pieces) = (Vec::new(), 0);
    loop {
        let piece = reader.read(5)?;
        if piece.is_empty() {
            let state = String::from_utf8(state).expect("a state is UTF-8");
            return Ok(format!("{} of {} bytes in {pieces}: {}", info.seq, info.size, one_line(&state)));
        }
        state.extend(piece);
        pieces += 1;
    }
}

fn generations(store: &Store) -> Result<String, Error> {
    let generations = store
        .generations()?
        .into_iter()
        .map(|info| format!("{} {} bytes {}", info.seq, info.size, describe_soundness(info.soundness)));
    Ok(generations.collect::<Vec<_>>().join(", "))
}

fn describe_soundness(soundness: Soundness) -> String {
    match soundness {
        Soundness::Verified => "verified".to_owned(),
        Soundness::Unverified => "unverified".to_owned(),
        Soundness::Damaged(problem) => format!("damaged: {problem}"),
        Soundness::Unreadable(problem) => format!("unreadable: {problem}"),
    }
}

fn one_line(state: &str) -> String {
    state.replace('\n', "|")
}

fn describe(error: Error) -> String {
    match error {
        Error::InvalidName(problem) => format!("invalid-name: {problem}"),
        Error::InvalidState(problem) => format!("invalid-state: {problem}"),
        Error::Stale(newest) => format!("stale: {newest}"),
        Error::TooLarge(limit) => format!("too-large: {limit}"),
        Error::Corrupt(problem) => format!("corrupt: {problem}"),
        Error::NoSpace(problem) => format!("no-space: {problem}"),
        Error::AccessDenied(problem) => format!("access-denied: {problem}"),
        Error::Busy(problem) => format!("busy: {problem}"),
        Error::Io(problem) => format!("io: {problem}"),
        Error::InDoubt(problem) => format!("in-doubt: {problem}"),
    }
}
