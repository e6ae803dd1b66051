//! Processes that use one directory at the same time: readers beside a writer, and two writers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::subject::{Pair, Subject, is_whole, show, state};
use crate::{Tally, finish, run, scratch, start};

/// Has so many processes restore again and again while another makes the snapshots up to `last`, each of which prunes the
/// one before. A case is a restore that found another snapshot than the one before it; that there are few of them is a
/// violation, too.
pub fn readers(subject: Subject, readers: usize, last: u64) -> Tally {
    let dir = scratch();
    let first = run(&mut subject.create(dir.path(), 1), &state(1, 60));
    assert_eq!(first.code, Some(0), "{first:?}");
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let started: Vec<_> =
            (0..readers).map(|_| start(&mut politely(&subject.watch(dir.path(), last)))).collect();
        let ids: Vec<_> = started.iter().map(|reader| reader.id().to_string()).collect();
        let (reads, reading) = channel();
        let watching: Vec<_> = started
            .into_iter()
            .map(|reader| {
                let reads = reads.clone();
                scope.spawn(|| printed(reader, reads))
            })
            .collect();
        drop(reads);
        // The writer begins when all of them have read the first snapshot, or have ended.
        assert_eq!(reading.iter().count(), 0);
        let writer = run(&mut subject.count(dir.path(), 2, last, 60), "");
        if writer.code != Some(0) {
            tally.violations.push(format!("the writer: {writer:?}"));
            // They would wait for its last snapshot for ever.
            run(Command::new("kill").args(ids), "");
        }
        for (number, reader) in watching.into_iter().enumerate() {
            let text = reader.join().expect("the reader ends");
            let mut newest = 0;
            for line in text.lines().filter(|line| *line != "watched") {
                tally.add(format!("reader {number}"), check(line, &mut newest));
            }
            if newest != last {
                tally.violations.push(format!("reader {number} ended at {newest}"));
            }
        }
    });
    let least = last as usize / 10;
    if tally.tried < least {
        tally.violations.push(format!("only {} reads beside the writer, and not {least}", tally.tried));
    }
    tally
}

/// What a reader prints until it ends; what it `reads` is dropped after its first line.
fn printed(mut reader: Child, reads: Sender<()>) -> String {
    drop(reader.stdin.take());
    let mut output = BufReader::new(reader.stdout.take().expect("it is piped"));
    let mut text = String::new();
    output.read_line(&mut text).expect("programs print UTF-8");
    drop(reads);
    output.read_to_string(&mut text).expect("programs print UTF-8");
    reader.wait().expect("the reader ends");
    text
}

/// The same command, that leaves the processor to others first: so many readers would starve the writer on few cores.
fn politely(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "10"]).arg(command.get_program()).args(command.get_args());
    nice
}

fn check(line: &str, newest: &mut u64) -> Result<(), String> {
    let pair: Option<(u64, &str)> =
        line.split_once(' ').and_then(|(seq, state)| Some((seq.parse().ok()?, state)));
    let Some((seq, state)) = pair else { return Err(line.to_owned()) };
    if !is_whole(state, seq) {
        return Err(format!("a mixed pair: {line}"));
    }
    if seq < *newest {
        return Err(format!("{seq} after {newest}"));
    }
    *newest = seq;
    Ok(())
}

/// Starts two processes at once that make a snapshot each, again and again. The newest that was acknowledged must be
/// restored, whole. Of two processes of this store, one at least makes its snapshot: only one that holds the directory
/// keeps another away.
pub fn writers(subject: Subject, rounds: u64) -> Tally {
    const SIZE: usize = 300_000;
    let dir = scratch();
    let mut tally = Tally::default();
    let mut stored: Pair = None;
    let mut refused = 0;
    for round in 0..rounds {
        let numbers = [2 * round + 1, 2 * round + 2];
        let processes = numbers.map(|seq| (seq, start(&mut subject.create(dir.path(), seq))));
        let done = thread::scope(|scope| {
            let ending = processes.map(|(seq, child)| {
                scope.spawn(move || (seq, finish(child, &state(seq, SIZE)).status.code()))
            });
            ending.map(|process| process.join().expect("the process ends"))
        });
        let acknowledged = done.iter().filter(|(_, code)| *code == Some(0)).map(|(seq, _)| *seq).max();
        refused += done.iter().filter(|(_, code)| *code == Some(9)).count();
        let expected = acknowledged.map_or(stored.clone(), |seq| Some((state(seq, SIZE), seq)));
        let restored = subject.restored(&run(&mut subject.restore(dir.path()), ""));
        let result = match &restored {
            Err(problem) => Err(problem.clone()),
            // This store says why it refused: another holds the directory, or has made a newer one.
            Ok(_) if subject.is_ours() && done.iter().any(|(_, code)| !matches!(code, Some(0 | 4 | 9))) => {
                Err(format!("ended with {done:?}"))
            }
            Ok(_) if subject.is_ours() && acknowledged.is_none() => {
                Err(format!("both were refused: {done:?}"))
            }
            Ok(pair) if *pair == expected => Ok(()),
            Ok(pair) => Err(format!("restored {} after {done:?}", show(pair))),
        };
        tally.add(format!("round {round}"), result);
        stored = restored.unwrap_or_default();
    }
    if subject.is_ours() && refused == 0 {
        tally.add("two writers", Err("never met".to_owned()));
    }
    tally
}
