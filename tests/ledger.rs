//! A ledger, which is a component whose state has a log: whatever is killed or damaged, it replays no more of the log than it
//! must, and its totals are those of a model.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command};
use std::thread;
use std::time::{Duration, Instant};

use minisnap_tests::random::Random;
use minisnap_tests::{Done, LEDGER, cli, finish, names, rounds, run, start};
use tempfile::{TempDir, tempdir};

/// What the transfers are made up from.
const SEED: u64 = 7;

/// How long a ledger goes on after its recovery, at most: some tens of records, and some snapshots.
const LONGEST: Duration = Duration::from_millis(20);

/// A ledger's two directories. Its snapshots are numbered, and three generations are kept.
struct Ledger(TempDir);

impl Ledger {
    fn new() -> Self {
        let ledger = Ledger(tempdir().unwrap());
        fs::create_dir(ledger.0.path().join("log")).unwrap();
        ledger
    }

    /// With so many records.
    fn with(count: u64) -> Self {
        let ledger = Ledger::new();
        let done = ledger.append(count);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        ledger
    }

    fn snapshots(&self) -> PathBuf {
        self.0.path().join("snapshots")
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }

    /// The segments of the log, oldest first, and the lines of each without its header.
    fn segments(&self) -> Vec<(PathBuf, Vec<String>)> {
        let names = names(&self.log()).into_iter().filter(|name| name.ends_with(".jsonl"));
        let read = |name: String| {
            let path = self.log().join(name);
            let text = fs::read_to_string(&path).unwrap();
            (path, text.lines().skip(1).map(str::to_owned).collect())
        };
        names.map(read).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut cli = cli();
        cli.args(["run", LEDGER, "--layout", "numbered", "--keep", "3", "--grant"]).arg(self.snapshots());
        cli.arg("--dir").arg(format!("{}::/log", self.0.path().join("log").display())).arg("--").args(args);
        cli
    }

    fn append(&self, count: u64) -> Done {
        run(&mut self.command(&["append", &count.to_string(), &SEED.to_string()]), "")
    }

    /// What a verb prints, which must succeed.
    #[track_caller]
    fn printed(&self, verb: &str) -> String {
        let done = run(&mut self.command(&[verb]), "");
        assert_eq!(done.code, Some(0), "{verb}: {}", done.stderr);
        done.stdout
    }

    /// The number of the newest generation on the disk, or 0.
    fn newest(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.snapshots()) else { return 0 };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let number = |name: String| name.strip_prefix("snapshot_")?.strip_suffix(".json")?.parse().ok();
        names.filter_map(number).max().unwrap_or(0)
    }

    /// Changes a byte of the state in a generation.
    fn damage(&self, seq: u64) {
        let path = self.snapshots().join(format!("snapshot_{seq:020}.json"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("cash", "cosh", 1)).unwrap();
    }

    /// The names of what a kill has left unfinished.
    fn unfinished(&self) -> Vec<&'static str> {
        let holds = |dir: &Path, end: &str| {
            let mut entries = fs::read_dir(dir).into_iter().flatten();
            entries.any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(end))
        };
        let log = holds(&self.log(), ".tmp").then_some("log");
        log.into_iter().chain(holds(&self.snapshots(), ".tmp").then_some("snapshot")).collect()
    }
}

/// What the transfers up to a number add up to, computed without a ledger.
#[derive(Default)]
struct Model {
    last: u64,
    accounts: BTreeMap<&'static str, i64>,
}

impl Model {
    fn at(number: u64) -> Self {
        let mut model = Model::default();
        model.advance(number);
        model
    }

    fn advance(&mut self, number: u64) {
        const ACCOUNTS: [&str; 5] = ["cash", "rent", "sales", "stock", "wages"];
        while self.last < number {
            self.last += 1;
            let random = splitmix(SEED ^ splitmix(self.last));
            let from = random % 5;
            let to = (from + 1 + random / 5 % 4) % 5;
            let amount = (random >> 32) as i64 % 1000 + 1;
            *self.accounts.entry(ACCOUNTS[from as usize]).or_default() -= amount;
            *self.accounts.entry(ACCOUNTS[to as usize]).or_default() += amount;
        }
    }

    /// As a ledger prints it.
    fn totals(&self) -> String {
        let accounts: Vec<_> = self.accounts.iter().map(|(name, holds)| format!("{name} {holds}")).collect();
        format!("totals at {}: {}", self.last, accounts.join(", "))
    }
}

fn splitmix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// What a recovery from a generation prints.
fn recovery(seq: u64, last: u64) -> String {
    let replayed = if seq == last { "nothing".to_owned() } else { format!("{}..={last}", seq + 1) };
    format!("restored {seq}, replayed {replayed}\n{}\n", Model::at(last).totals())
}

/// What must hold of a ledger that is killed again and again.
#[derive(Default)]
struct Watched {
    model: Model,
    /// The last record and the last snapshot that were acknowledged.
    recorded: u64,
    snapshot: u64,
    recoveries: u32,
    /// How many records were found that were durable and not acknowledged.
    unacknowledged: u32,
}

impl Watched {
    /// Takes what a run printed that began with this newest generation.
    fn take(&mut self, newest: u64, printed: &str) {
        // A kill may cut the last line.
        let mut lines = printed.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let (Some(restored), Some(totals)) = (lines.next(), lines.next()) else { return };
        self.recovered(newest, restored, totals);
        for line in lines {
            if let Some(number) = line.strip_prefix("recorded ") {
                self.recorded += 1;
                assert_eq!(number, self.recorded.to_string());
            } else {
                self.snapshot = line.strip_prefix("snapshot ").unwrap().parse().unwrap();
                assert_eq!(self.snapshot, self.recorded);
            }
        }
    }

    fn recovered(&mut self, newest: u64, restored: &str, totals: &str) {
        let (last, _) = totals.strip_prefix("totals at ").unwrap().split_once(':').unwrap();
        let last: u64 = last.parse().unwrap();
        // One may have been synced and not acknowledged for each kill since the last recovery that was seen.
        assert!(last >= self.recorded, "{} was acknowledged, and {last} is the last", self.recorded);
        assert!(last <= self.recorded + 1, "{last} was never recorded");
        assert!(newest >= self.snapshot, "the snapshot {} was acknowledged, and is lost", self.snapshot);
        self.unacknowledged += u32::from(last > self.recorded);
        self.model.advance(last);
        let replayed = if newest == last { "nothing".to_owned() } else { format!("{}..={last}", newest + 1) };
        assert_eq!(restored, format!("restored {newest}, replayed {replayed}"));
        assert_eq!(totals, self.model.totals());
        (self.recorded, self.recoveries) = (last, self.recoveries + 1);
    }
}

#[test]
fn after_each_kill_a_ledger_replays_the_logs_tail_and_its_totals_are_those_of_a_model() {
    // Two ledgers, since starting one takes much longer than it lives.
    thread::scope(|scope| {
        for skipped in [0, 1000] {
            let mut random = Random::default();
            for _ in 0..skipped {
                random.below(1);
            }
            scope.spawn(move || kill_a_ledger(rounds(100, 500), random));
        }
    });
}

fn kill_a_ledger(times: u32, mut random: Random) {
    let ledger = Ledger::new();
    // How long a recovery takes here, once the compiled code is cached.
    ledger.printed("totals");
    let started = Instant::now();
    ledger.printed("totals");
    let whole = started.elapsed();

    let mut watched = Watched::default();
    let mut left = BTreeMap::<_, u32>::new();
    for round in 0..500 {
        if round >= times && left.len() == 2 {
            break;
        }
        let newest = ledger.newest();
        let mut child = start(&mut ledger.command(&["append", "1000000", &SEED.to_string()]));
        let mut printed = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if round % 8 == 0 {
            // It may not have recovered yet from the kill before; the next one does.
            thread::sleep(random.time(whole));
        } else {
            read_recovery(&mut stdout, &mut printed);
            thread::sleep(random.time(LONGEST));
        }
        kill(child);
        stdout.read_to_string(&mut printed).unwrap();
        watched.take(newest, &printed);
        for name in ledger.unfinished() {
            *left.entry(name).or_default() += 1;
        }
    }
    let newest = ledger.newest();
    watched.take(newest, &ledger.printed("totals"));

    let Watched { recorded, recoveries, unacknowledged, .. } = watched;
    println!(
        "after {times} kills {recoveries} recoveries, which found {recorded} records, \
         {unacknowledged} of them not acknowledged; left unfinished: {left:?}"
    );
    assert!(recoveries > times * 7 / 8, "it was killed before it had recovered");
    assert!(recorded > u64::from(times / 5), "it was killed before it had recorded anything");
    assert_eq!(left.len(), 2, "none was killed as it made a snapshot, or truncated its log");
    let generations = ledger.printed("recover-all");
    let recovered = generations.matches(&watched.model.totals()).count();
    // A kill may come between a snapshot and the removal of the oldest.
    assert!(recovered >= 3 && generations.lines().count() == 2 * recovered, "{generations}");
}

/// Reads the two lines that a recovery prints.
fn read_recovery(stdout: &mut BufReader<ChildStdout>, printed: &mut String) {
    for _ in 0..2 {
        stdout.read_line(printed).unwrap();
    }
}

/// Kills a ledger, which must not have ended by itself.
fn kill(mut child: Child) {
    child.kill().unwrap();
    let done = finish(child, "");
    assert_eq!(done.status.code(), None, "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_ledger_that_truncated_its_log_recovers_from_every_generation_that_is_kept() {
    let ledger = Ledger::new();
    for last in (0..100).step_by(7).skip(1) {
        assert_eq!(ledger.append(7).code, Some(0));
        let newest = last / 10 * 10;
        let kept: Vec<u64> = (1..=newest / 10).rev().take(3).map(|tens| tens * 10).collect();
        let expected: String = kept.iter().map(|&seq| recovery(seq, last)).collect();
        assert_eq!(ledger.printed("recover-all"), expected);
        assert_eq!(ledger.printed("totals"), recovery(newest, last));

        // No more is in the log than the oldest generation needs.
        let oldest = kept.last().copied().unwrap_or(0);
        let records: Vec<String> = ledger.segments().into_iter().flat_map(|(_, records)| records).collect();
        let number =
            |record: &String| record[r#"{"seq":"#.len()..].split(',').next().unwrap().parse().unwrap();
        assert_eq!(records.iter().map(number).collect::<Vec<u64>>(), (oldest + 1..=last).collect::<Vec<_>>());
    }
}

#[test]
fn damage_to_the_newest_generations_costs_a_ledger_only_a_longer_replay() {
    let ledger = Ledger::with(47);
    assert_eq!(ledger.printed("totals"), recovery(40, 47));
    ledger.damage(40);
    let recovered = run(&mut ledger.command(&["totals"]), "");
    assert_eq!((recovered.code, recovered.stdout), (Some(0), recovery(30, 47)));
    assert!(recovered.stderr.starts_with("warning: the snapshot 40 is damaged, "), "{}", recovered.stderr);
    ledger.damage(30);
    assert_eq!(ledger.printed("totals"), recovery(20, 47));
    let all = ledger.printed("recover-all");
    assert!(all.starts_with("40 is damaged: ") && all.contains("\n30 is damaged: "), "{all}");
    assert!(all.ends_with(&recovery(20, 47)), "{all}");

    // It goes on, and truncates its log no further than the sound ones allow.
    assert_eq!(ledger.append(8).code, Some(0));
    // So far it is from the snapshot that was restored that the next one is due at once.
    assert_eq!(ledger.printed("recover-all"), recovery(48, 55) + &recovery(20, 55));
    ledger.damage(48);
    assert_eq!(ledger.printed("totals"), recovery(20, 55));
}

#[test]
fn a_ledger_cuts_off_a_torn_record_and_refuses_a_log_with_any_other_damage() {
    let ledger = Ledger::with(27);
    let (path, records) = ledger.segments().pop().unwrap();
    let log = fs::read_to_string(&path).unwrap();
    let last = log.len() - records.last().unwrap().len() - 1;
    for end in last..log.len() {
        fs::write(&path, &log[..end]).unwrap();
        assert_eq!(ledger.printed("totals"), recovery(20, 26), "cut at {end}");
        assert_eq!(fs::read_to_string(&path).unwrap(), log[..last]);
    }
    assert_eq!(ledger.append(1).code, Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), log);

    let damaged = log.replacen(r#"{"seq":25,"#, r#"{"seq":95,"#, 1);
    fs::write(&path, &damaged).unwrap();
    let done = run(&mut ledger.command(&["totals"]), "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{damaged}");
    let name = path.file_name().unwrap().to_str().unwrap();
    let expected = format!("error: `/log/{name}` is damaged: line 6 is not what was written\n");
    assert_eq!(done.stderr, expected);
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "it is left as it is");
}
