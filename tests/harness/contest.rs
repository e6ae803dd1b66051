//! Nodes that fight for one store in an object store, and readers beside them: none may see what must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use minisnap_host::Error;
use minisnap_host::remote::{Bucket, Limits, RemoteStore, TakeOver, Wanted};
use tempfile::{tempdir, tempdir_in};

use crate::random::Random;

/// How nodes fight.
#[derive(Debug, Clone, Copy)]
pub struct Contest {
    /// How long, at least.
    pub time: Duration,
    /// How many creates are acknowledged, at least; within two minutes more.
    pub least: u64,
    /// How many nodes write; as many read.
    pub nodes: usize,
    /// How many generations are kept.
    pub keep: usize,
    /// How long a call may take, at most.
    pub deadline: Duration,
    /// In which time some calls are given up, at any point.
    pub short: Duration,
    /// How long a node lets the others have the store, at most.
    pub pause: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often the store was opened.
    pub opened: u64,
    /// How many creates were acknowledged.
    pub acknowledged: u64,
    /// How many were refused, and so must never be seen.
    pub refused: u64,
    /// Of how many nobody knew.
    pub in_doubt: u64,
    /// How often a generation was read.
    pub read: u64,
    /// How often a call failed, by the case of its error.
    pub failed: BTreeMap<&'static str, u64>,
    /// What must not be.
    pub violations: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { opened, acknowledged, refused, in_doubt, read, failed, violations } = self;
        write!(
            f,
            "{opened} openings, {acknowledged} creates acknowledged, {refused} refused, {in_doubt} in doubt, {read} reads; \
             failed: {failed:?}; {} violations {:?}",
            violations.len(),
            violations.first()
        )
    }
}

/// What all of them know together.
#[derive(Default)]
struct Known {
    outcome: Outcome,
    /// What was acknowledged under each number.
    states: BTreeMap<u64, String>,
    refused: BTreeSet<String>,
    read: BTreeSet<String>,
}

struct Arena<'a> {
    contest: Contest,
    name: &'a str,
    known: Mutex<Known>,
    /// The highest number that was acknowledged, or read.
    least: AtomicU64,
    is_over: AtomicBool,
    folder: &'a Path,
}

/// Has nodes fight for the store of this name, each by a bucket of its own, which may lead to one server or another; at the end, it
/// is opened by `last`, whose requests must not go wrong.
pub fn fight(
    contest: Contest,
    name: &str,
    bucket: impl Fn(usize) -> Arc<Bucket> + Sync,
    last: &Arc<Bucket>,
) -> Outcome {
    let folder = tempdir().expect("a folder can be made");
    let arena = Arena {
        contest,
        name,
        known: Mutex::default(),
        least: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        folder: folder.path(),
    };
    let ends = Instant::now() + contest.time;
    thread::scope(|scope| {
        let (arena, bucket) = (&arena, &bucket);
        let writers: Vec<_> = (0..contest.nodes)
            .map(|node| scope.spawn(move || arena.write(node, bucket(node), ends)))
            .collect();
        for node in 0..contest.nodes {
            scope.spawn(move || arena.read(bucket(node)));
        }
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        arena.is_over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok), "a writer panicked");
    });
    arena.end(last);
    let Known { mut outcome, refused, read, .. } = arena.known.into_inner().expect("nobody panicked");
    outcome
        .violations
        .extend(refused.intersection(&read).map(|state| format!("{state} was refused, and read")));
    outcome
}

impl Arena<'_> {
    fn know<R>(&self, learn: impl FnOnce(&mut Known) -> R) -> R {
        learn(&mut self.known.lock().expect("learning does not panic"))
    }

    fn failed(&self, error: &Error) {
        self.know(|known| *known.outcome.failed.entry(error.case()).or_default() += 1);
    }

    fn wrong(&self, what: String) {
        self.know(|known| known.outcome.violations.push(what));
    }

    fn write(&self, node: usize, bucket: Arc<Bucket>, ends: Instant) {
        let mut random = Random::of(node as u64);
        let file = self.folder.join(format!("written-{node}"));
        let mut count = 0;
        while self.goes_on(ends) {
            thread::sleep(random.time(self.contest.pause));
            let mut store = RemoteStore::new(Arc::clone(&bucket), self.name);
            if let Err(error) = store.open(&format!("node-{node}"), TakeOver::Anyone, self.contest.deadline) {
                self.failed(&error);
                continue;
            }
            self.know(|known| known.outcome.opened += 1);
            for _ in 0..=random.below(12) {
                count += 1;
                if !self.create(&mut store, &file, format!("{node}-{count}"), &mut random) {
                    break;
                }
            }
            if random.below(2) == 0
                && let Err(error) = store.release(self.contest.deadline)
            {
                self.failed(&error);
            }
        }
    }

    fn goes_on(&self, ends: Instant) -> bool {
        let now = Instant::now();
        now < ends
            || now < ends + Duration::from_secs(120)
                && self.know(|known| known.outcome.acknowledged) < self.contest.least
    }

    /// Creates a generation; returns whether there may be another.
    fn create(&self, store: &mut RemoteStore, file: &Path, state: String, random: &mut Random) -> bool {
        let seq = store.head().and_then(|head| head.newest()).unwrap_or(0) + 1;
        fs::write(file, &state).expect("a file can be written");
        let keep = NonZeroUsize::new(self.contest.keep).expect("at least one is kept");
        let limits = Limits { keep, max_total: None, damaged: Vec::new() };
        let deadline = match random.below(4) {
            0 => random.time(self.contest.short),
            _ => self.contest.deadline,
        };
        match store.create(file, seq, limits, deadline) {
            Ok(()) => {
                self.least.fetch_max(seq, Ordering::SeqCst);
                let earlier = self.know(|known| {
                    known.outcome.acknowledged += 1;
                    known.states.insert(seq, state.clone())
                });
                if let Some(earlier) = earlier {
                    self.wrong(format!("{seq} was acknowledged for {earlier} and for {state}"));
                }
                true
            }
            Err(error @ Error::InDoubt(_)) => {
                self.failed(&error);
                self.know(|known| known.outcome.in_doubt += 1);
                true
            }
            Err(error) => {
                self.failed(&error);
                self.know(|known| {
                    known.outcome.refused += 1;
                    known.refused.insert(state);
                });
                !matches!(error, Error::Busy(_))
            }
        }
    }

    fn read(&self, bucket: Arc<Bucket>) {
        let store = RemoteStore::new(bucket, self.name);
        while !self.is_over.load(Ordering::SeqCst) {
            if let Err(error) = self.read_once(&store) {
                self.failed(&error);
            }
        }
    }

    fn read_once(&self, store: &RemoteStore) -> Result<(), Error> {
        let least = self.least.load(Ordering::SeqCst);
        let acknowledged = self.know(|known| known.states.get(&least).cloned());
        // A file that is there would not be got.
        let folder = tempdir_in(self.folder).expect("a folder can be made");
        let found = store.restore(Wanted::Newest, folder.path(), self.contest.deadline)?;
        let seq = found.generation.as_ref().map_or(0, |generation| generation.seq);
        if seq < least || !found.skipped.is_empty() {
            self.wrong(format!("{seq} was read after {least}, without {:?}", found.skipped));
        }
        if let Some(generation) = &found.generation {
            let file = folder.path().join(generation.file_name());
            let state = fs::read_to_string(file).expect("it was written");
            self.least.fetch_max(seq, Ordering::SeqCst);
            self.know(|known| {
                known.outcome.read += 1;
                known.read.insert(state.clone());
            });
            // Before it was read: one of that number that was in doubt may be read until another takes its place.
            if let Some(other) = acknowledged.filter(|other| seq == least && *other != state) {
                self.wrong(format!("{seq} was acknowledged for {other}, and read as {state}"));
            }
        }
        Ok(())
    }

    /// What holds at the end: the newest is there, and whoever opens the store leaves nothing that is not needed.
    fn end(&self, bucket: &Arc<Bucket>) {
        let ends = Instant::now() + Duration::from_secs(60);
        let mut store = RemoteStore::new(Arc::clone(bucket), self.name);
        while let Err(problem) = self.end_once(&mut store) {
            // What is late may still come.
            if Instant::now() > ends {
                return self.wrong(problem);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn end_once(&self, store: &mut RemoteStore) -> Result<(), String> {
        let deadline = Duration::from_secs(30);
        let failed = |error: Error| error.to_line();
        store.open("last", TakeOver::Anyone, deadline).map_err(failed)?;
        let head = store.head().cloned().ok_or("it has no head")?;
        store.release(deadline).map_err(failed)?;
        self.read_once(store).map_err(failed)?;
        let mut left = store.keys(deadline).map_err(failed)?;
        left.retain(|key| !head.names(key));
        if left.is_empty() { Ok(()) } else { Err(format!("this is left: {left:?}")) }
    }
}
