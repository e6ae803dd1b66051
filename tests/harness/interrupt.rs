//! Programs that snapshot, or apply operations, in a loop and are stopped at random moments: killed, or with the power of their file system cut.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::random::Random;
use crate::subject::{Subject, is_whole, show};
use crate::{Tally, run};

/// The size of the states in bytes.
const SIZE: usize = 20_000;

/// How long a program goes on after its first acknowledgement, at most: some snapshots.
const LONGEST: Duration = Duration::from_millis(30);

/// How long one goes on that is stopped at any moment from its start on, at most: until it has recovered and made some.
const LONGEST_FROM_START: Duration = Duration::from_millis(200);

/// When a program is stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// At any moment from its start on, which includes its recovery.
    Starting,
    /// At any moment from its first acknowledgement on.
    Working,
    /// When it has ended by itself, after three snapshots.
    Ended,
}

/// What is stopped: programs that work in a loop, on a directory.
pub trait Loop {
    /// A program that goes on from the number `first` to `last`, and prints each once it is acknowledged.
    fn count(&self, dir: &Path, first: u64, last: u64) -> Command;

    /// The number that is found, by another program, after `acknowledged` was acknowledged.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check(&self, dir: &Path, acknowledged: u64) -> Result<u64, String>;
}

/// Snapshots.
impl Loop for Subject {
    fn count(&self, dir: &Path, first: u64, last: u64) -> Command {
        Subject::count(*self, dir, first, last, SIZE)
    }

    fn check(&self, dir: &Path, acknowledged: u64) -> Result<u64, String> {
        let restored = self.restored(&run(&mut self.restore(dir), ""))?;
        match &restored {
            Some((state, seq)) if is_whole(state, *seq) && *seq >= acknowledged => Ok(*seq),
            _ => Err(format!("restored {} where {acknowledged} was acknowledged", show(&restored))),
        }
    }
}

/// Has a program work in a loop from `first` on, and stops it.
/// Returns the numbers that were acknowledged last before the moment, and at all.
fn stop(
    subject: &impl Loop,
    dir: &Path,
    first: u64,
    when: When,
    random: &mut Random,
    stop: impl FnOnce(&mut Child),
) -> Result<(u64, u64), String> {
    let last = if when == When::Ended { first + 2 } else { u64::MAX };
    let mut command = subject.count(dir, first, last);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{command:?}: {e}"))?;
    let lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
    let acknowledged = AtomicU64::new(first - 1);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // After the last number, it may say that it has ended.
            for seq in lines.map_while(|line| line.ok()?.parse().ok()) {
                acknowledged.store(seq, Ordering::SeqCst);
            }
        });
        loop {
            let ended = reader.is_finished();
            match (when, acknowledged.load(Ordering::SeqCst)) {
                (When::Starting, _) => break,
                (When::Working, seq) if seq >= first => break,
                (When::Ended, seq) if seq >= last => break,
                _ if ended => return Err(format!("it ended too early: {:?}", child.wait())),
                _ => thread::sleep(Duration::from_millis(1)),
            }
        }
        match when {
            When::Starting => thread::sleep(random.time(LONGEST_FROM_START)),
            When::Working => thread::sleep(random.time(LONGEST)),
            When::Ended => {}
        }
        let before = acknowledged.load(Ordering::SeqCst);
        stop(&mut child);
        // It may have ended by itself, with an error.
        let _ = child.kill();
        child.wait().expect("the child can be waited for");
        reader.join().expect("its output was read");
        Ok((before, acknowledged.load(Ordering::SeqCst)))
    })
}

/// In how many directories programs are killed at once. Mostly, they are waited for.
const AT_ONCE: usize = 3;

/// Kills a program again and again, every second time at any moment from its start on, and restores after each time.
pub fn kills(subject: &(impl Loop + Sync), rounds: usize) -> Tally {
    let mut all = Tally::default();
    thread::scope(|scope| {
        let started: Vec<_> = (0..AT_ONCE)
            .map(|one| {
                let rounds = (rounds + one) / AT_ONCE;
                scope.spawn(move || kills_in_one(subject, rounds, Random::of(one as u64)))
            })
            .collect();
        all.extend(started.into_iter().map(|tally| tally.join().expect("it does not panic")));
    });
    all
}

fn kills_in_one(subject: &impl Loop, rounds: usize, mut random: Random) -> Tally {
    let mut tally = Tally::default();
    let dir = tempdir().expect("a folder");
    let mut stored = 0;
    for round in 0..rounds {
        let when = if stored > 0 && round % 2 == 1 { When::Starting } else { When::Working };
        let result = stop(subject, dir.path(), stored + 1, when, &mut random, |_| {}).and_then(|(_, all)| {
            stored = all;
            subject.check(dir.path(), all)
        });
        tally.add(format!("round {round}"), result.map(|seq| stored = seq));
    }
    tally
}

/// What makes the file systems whose power can be cut.
pub const FILE_SYSTEMS: [(&str, &[&str]); 2] =
    [("ext4", &["mkfs.ext4", "-q", "-F"]), ("xfs", &["mkfs.xfs", "-q", "-f"])];

/// Cuts the power of a file system, one of [`FILE_SYSTEMS`], again and again, every fourth time of one that nobody uses
/// any more, and restores after each time. Only what was acknowledged before the cut counts.
///
/// # Panics
///
/// If it cannot be mounted here, which needs root and loop devices.
pub fn power_cuts(subject: &impl Loop, mkfs: &[&str], rounds: usize) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random::default();
    let tmp = tempdir().expect("a folder");
    let (image, mounted) = (tmp.path().join("image"), tmp.path().join("mounted"));
    fs::create_dir(&mounted).expect("the folder can be written");
    fs::File::create(&image).and_then(|image| image.set_len(400 << 20)).expect("the folder can be written");
    must(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
    let dir = mounted.join("snapshots");
    let mut stored = 0;
    for round in 0..rounds {
        let mount = || must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        let umount = || {
            must(Command::new("umount").arg(&mounted));
            wait_until_detached(&image);
        };
        mount();
        // Nothing more is synced after the end: a store that acknowledges too early has lost its last snapshot.
        let when = if round % 4 == 3 { When::Ended } else { When::Working };
        let stopped = stop(subject, &dir, stored + 1, when, &mut random, |_| cut_power(&mounted));
        umount();
        mount();
        let result = stopped.and_then(|(before, all)| {
            let checked = subject.check(&dir, before);
            stored = all;
            checked
        });
        umount();
        tally.add(format!("round {round}"), result.map(|seq| stored = seq));
    }
    tally
}

/// Stops a file system at once, with nothing written any more that is not on the disk already: FS_IOC_SHUTDOWN with
/// FS_SHUTDOWN_FLAGS_NOLOGFLUSH, as Linux's `fs.h` and xfs's `xfs_fs.h` have them.
fn cut_power(mounted: &Path) {
    let ioctl = r#"open my $dir, "<", $ARGV[0] or die $!; my $flags = pack("I", 2); ioctl $dir, 0x8004587d, $flags or die $!"#;
    must(Command::new("perl").args(["-e", ioctl]).arg(mounted));
}

/// A mount namespace that another program has made meanwhile may keep a file system mounted, which would be found as it was cut.
fn wait_until_detached(image: &Path) {
    let started = Instant::now();
    while !run(Command::new("losetup").arg("-j").arg(image), "").stdout.is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "another program keeps {} mounted",
            image.display()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

fn must(command: &mut Command) {
    let done = run(command, "");
    assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
}
