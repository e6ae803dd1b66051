//! Hosts that fight for one store in an object store, and readers beside them: none may see what must not be.

pub mod field;
pub mod fighter;
pub mod history;
pub mod host;
mod network;
mod proxy;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::Error;
use minisnap_host::remote::{Bucket, RemoteStore, TakeOver};
use tempfile::tempdir;

use crate::cached_builder;
use crate::random::Random;

pub use fighter::{Fighter, Rules};
pub use history::{Event, Outcome, What, acknowledged};

/// How hosts fight that are threads of this process.
#[derive(Debug, Clone, Copy)]
pub struct Contest {
    /// How long, at least.
    pub time: Duration,
    /// How many creates are acknowledged, at least; within two minutes more.
    pub least: u64,
    /// How many hosts there are: each writes and reads.
    pub hosts: usize,
    /// What they do.
    pub rules: Rules,
}

/// Has hosts fight for the store of this name, each by a bucket of its own; at the end, it is opened by `last`, whose requests must
/// not go wrong.
pub fn fight(
    contest: Contest,
    store: &str,
    bucket: impl Fn(usize) -> Bucket,
    last: impl Fn() -> Bucket,
) -> Outcome {
    let folder = tempdir().expect("a folder can be made");
    let fighter = |number: usize, bucket: Bucket| Fighter {
        name: format!("host-{number}"),
        location: bucket.location().clone(),
        minisnap: cached_builder().bucket(bucket).build().expect("the component compiles"),
        store: store.to_owned(),
        dir: folder.path().join(number.to_string()),
        start: 0,
        rules: contest.rules,
    };
    let fighters: Vec<_> = (0..contest.hosts).map(|number| fighter(number, bucket(number))).collect();
    let history = Mutex::new(Vec::new());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let tell = |event| history.lock().expect("pushing does not panic").push(event);
        let goes_on = || !is_over.load(Ordering::SeqCst);
        for (number, fighter) in fighters.iter().enumerate() {
            scope.spawn(move || fighter.write(Random::of(number as u64), goes_on, tell));
            scope.spawn(move || fighter.read(goes_on, tell));
        }
        let began = Instant::now();
        let is_enough = || {
            began.elapsed() > contest.time + Duration::from_secs(120)
                || began.elapsed() > contest.time
                    && acknowledged(&history.lock().expect("nobody panics")) >= contest.least
        };
        while !is_enough() {
            thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Ordering::SeqCst);
    });
    let mut history = history.into_inner().expect("nobody panicked");
    let rules = Rules { deadline: Duration::from_secs(30), ..contest.rules };
    let reader = Fighter { name: "last".to_owned(), rules, ..fighter(contest.hosts, last()) };
    let swept = end(&reader, &Arc::new(last()), &mut history);
    let mut outcome = Outcome::of(&history);
    outcome.violations.extend(swept.err());
    outcome
}

/// What holds at the end: the newest is there, and whoever opens the store leaves nothing that is not needed.
///
/// # Errors
///
/// What is left.
pub fn end(last: &Fighter, bucket: &Arc<Bucket>, history: &mut Vec<Event>) -> Result<(), String> {
    // A disk that is busy with what was built may sync for a minute.
    let ends = Instant::now() + Duration::from_secs(180);
    loop {
        let problem = match end_once(last, bucket, history) {
            Ok(ended) => return ended,
            Err(problem) => problem,
        };
        // What is late may still come.
        if Instant::now() > ends {
            return Err(problem);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What must not be, or else what may still mend itself.
fn end_once(
    last: &Fighter,
    bucket: &Arc<Bucket>,
    history: &mut Vec<Event>,
) -> Result<Result<(), String>, String> {
    let deadline = last.rules.deadline;
    let failed = |error: Error| error.to_line();
    let mut store = RemoteStore::new(Arc::clone(bucket), &last.store);
    store.open(&last.name, TakeOver::Anyone, deadline).map_err(failed)?;
    let head = store.head().cloned().ok_or("it has no head")?;
    store.release(deadline).map_err(failed)?;
    let read = last.read_once(&mut last.open_for_reading().map_err(failed)?);
    history.push(read.clone());
    match read.what {
        What::Failed { case, why } if case == "corrupt" => return Ok(Err(why)),
        What::Failed { why, .. } => return Err(why),
        _ => {}
    }
    let numbers: Vec<u64> = head.generations.iter().map(|generation| generation.seq).collect();
    if numbers.windows(2).any(|two| two[0] != two[1] + 1) {
        return Ok(Err(format!("one between the generations {numbers:?} was lost")));
    }
    let mut left = store.keys(deadline).map_err(failed)?;
    left.retain(|key| !head.names(key));
    if left.is_empty() { Ok(Ok(())) } else { Err(format!("this is left: {left:?}")) }
}
