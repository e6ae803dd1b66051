//! Works that are timed side by side: all of them in each round, each first in turn.

use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// How many rounds do not count: as many as there are generations.
const WARM_UP: usize = 5;

/// Works with a name each, which take part in the same rounds.
pub struct Contest<'c> {
    entrants: Vec<Entrant<'c>>,
}

/// What is timed: given the number of the round, from 1, it returns how many seconds it took.
type Work<'c> = Box<dyn FnMut(u64) -> f64 + 'c>;

struct Entrant<'c> {
    name: &'static str,
    work: Work<'c>,
}

/// The seconds that each work took, in the order of the rounds.
pub struct Times(HashMap<&'static str, Vec<f64>>);

/// Three quarters of the rounds were above `low`, a half above `median`, a quarter above `high`.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl<'c> Contest<'c> {
    pub fn new() -> Self {
        Contest { entrants: Vec::new() }
    }

    /// Adds a work that times itself.
    pub fn add(&mut self, name: &'static str, work: impl FnMut(u64) -> f64 + 'c) {
        self.entrants.push(Entrant { name, work: Box::new(work) });
    }

    /// Adds a work that is timed from without.
    pub fn add_timed<R>(&mut self, name: &'static str, mut work: impl FnMut(u64) -> R + 'c) {
        self.add(name, move |round| timed(|| work(round)));
    }

    /// Times everything in each of so many rounds, after some that do not count: from then on, each snapshot removes one.
    /// Before each work, what the one before has left to the file system of `dir` is settled.
    pub fn run(mut self, dir: &Path, rounds: usize) -> Times {
        let mut times: HashMap<_, Vec<f64>> = HashMap::new();
        for round in 0..WARM_UP + rounds {
            let first = round % self.entrants.len().max(1);
            self.entrants.rotate_left(first);
            for Entrant { name, work } in &mut self.entrants {
                settle(dir);
                let time = work(round as u64 + 1);
                if round >= WARM_UP {
                    times.entry(*name).or_default().push(time);
                }
            }
            self.entrants.rotate_right(first);
        }
        Times(times)
    }
}

impl Times {
    /// How long a work took, in seconds.
    pub fn of(&self, name: &str) -> Spread {
        Spread::of(self.0[name].clone())
    }

    /// How many times as long one took as the other, round by round.
    pub fn ratio(&self, name: &str, other: &str) -> Spread {
        Spread::of(self.0[name].iter().zip(&self.0[other]).map(|(one, other)| one / other).collect())
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let [low, median, high] = [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4]);
        Spread { low, median, high }
    }
}

/// How many seconds something takes. What it makes is used, and dropped outside of that time.
pub fn timed<R>(work: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    let made = black_box(work());
    let time = start.elapsed().as_secs_f64();
    drop(made);
    // The allocator joins what is free when it is next asked for much.
    drop(black_box(Vec::<u8>::with_capacity(4 << 10)));
    time
}

/// Has the file system commit what it was told to do, files that were removed included.
fn settle(dir: &Path) {
    let path = dir.join("settle");
    let file = File::create(&path).expect("a file");
    file.sync_all().expect("synced");
    drop(file);
    std::fs::remove_file(path).expect("removed");
}
