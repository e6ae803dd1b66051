//! Snapshots of which a file was changed: every single bit, every cut, zeros from any byte on, a file of another snapshot
//! in its place, two files swapped. An older generation that is sound must then be restored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::{Error, Layout};

use crate::damaged_logs::files;
use crate::subject::{Access, Pair, Subject, show, state};
use crate::{Tally, scratch};

/// The number of the snapshot whose files are changed.
const SEQ: u64 = 19;

/// Opens a store. A program that another test starts holds a directory that was just let go of, for a moment.
fn open(subject: Subject, dir: &Path) -> Result<Access, String> {
    let started = Instant::now();
    loop {
        match subject.open(dir) {
            Err(_) if started.elapsed() < Duration::from_secs(10) => thread::sleep(Duration::from_millis(1)),
            opened => return opened,
        }
    }
}

/// Changes the files of a snapshot in every way, and restores it each time. A layout that keeps generations is tried
/// with an older one beside it, too.
pub fn damage(subject: Subject) -> Tally {
    let mut tally = Tally::default();
    let with_older: &[bool] = if subject.layout() == Layout::Pair { &[false] } else { &[false, true] };
    for &with_older in with_older {
        let before = if with_older { &[18, SEQ][..] } else { &[SEQ] };
        let dir = scratch();
        let other = scratch();
        for (dir, before) in [(&dir, before), (&other, &[SEQ + 1])] {
            for &seq in before {
                let created =
                    open(subject, dir.path()).and_then(|mut store| store.create(&state(seq, 40), seq));
                created.expect("a whole directory takes a snapshot");
            }
        }
        let mut damaged = Damaged {
            dir: dir.path(),
            whole: files(dir.path()),
            store: open(subject, dir.path()).expect("the store opens"),
            with_older,
            tally: &mut tally,
        };
        damaged.all(&files(other.path()));
    }
    tally
}

struct Damaged<'d> {
    dir: &'d Path,
    /// The files as they were.
    whole: BTreeMap<String, Vec<u8>>,
    store: Access,
    with_older: bool,
    tally: &'d mut Tally,
}

impl Damaged<'_> {
    fn all(&mut self, other: &BTreeMap<String, Vec<u8>>) {
        let newest: Vec<(String, Vec<u8>)> = self
            .whole
            .iter()
            .filter(|(name, _)| !name.contains(&older_number()))
            .map(|(name, contents)| (name.clone(), contents.clone()))
            .collect();
        for (name, contents) in &newest {
            for bit in 0..8 * contents.len() {
                let mut changed = contents.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                self.case(&format!("bit {bit} of {name}"), &[(name, &changed)]);
            }
            for size in 0..contents.len() {
                self.case(&format!("{name} cut at {size}"), &[(name, &contents[..size])]);
                let mut zeroed = contents.clone();
                zeroed[size..].fill(0);
                self.case(&format!("{name} zeroed from {size}"), &[(name, &zeroed)]);
            }
            // The numbered layout has its number in the name.
            for contents in other.iter().filter(|(other, _)| *other == name || other.contains('_')) {
                self.case(&format!("{name} of another snapshot"), &[(name, contents.1)]);
            }
        }
        let names: Vec<String> = self.whole.keys().cloned().collect();
        for (at, first) in names.iter().enumerate() {
            for second in &names[at + 1..] {
                let [one, two] = [first, second].map(|name| self.whole[name].clone());
                self.case(&format!("{first} and {second} swapped"), &[(first, &two), (second, &one)]);
            }
        }
    }

    /// Puts this into the files, restores, and puts back what was there.
    fn case(&mut self, what: &str, changes: &[(&String, &[u8])]) {
        for (name, contents) in changes {
            rot(&self.dir.join(name), contents);
        }
        let names: Vec<&str> = changes.iter().map(|(name, _)| name.as_str()).collect();
        let result = self.judge(&names);
        self.tally.add(what, result);
        for (name, _) in changes {
            rot(&self.dir.join(name), &self.whole[*name]);
        }
    }

    fn judge(&mut self, changed: &[&str]) -> Result<(), String> {
        let right: Pair = Some((state(SEQ, 40), SEQ));
        let older: Pair = Some((state(SEQ - 1, 40), SEQ - 1));
        // Where it is sound, it must be restored, and exactly the newest be said to be skipped.
        let older_is_sound = self.with_older && !changed.iter().any(|name| name.contains(&older_number()));
        let restored = match &mut self.store {
            Access::Ours(store) => {
                // Whoever only looks must not trap, either.
                let looks = [
                    store.info().err(),
                    store.generations().err(),
                    store.newest_seq().err(),
                    store.layout().err(),
                ];
                for error in looks.into_iter().flatten() {
                    if let Error::Component(trap) = error {
                        return Err(format!("a trap: {trap:#}"));
                    }
                }
                match store.restore_text() {
                    Ok(snapshot) => {
                        let restored = Some((snapshot.state, snapshot.seq));
                        let is_right = match &snapshot.skipped[..] {
                            [] => restored == right,
                            [only] => {
                                let is_named = only.seq == SEQ && is_blamed(changed[0], &only.problem);
                                older_is_sound && is_named && restored == older
                            }
                            _ => false,
                        };
                        if is_right {
                            return Ok(());
                        }
                        let skipped = &snapshot.skipped;
                        return Err(format!("restored {}, and skipped {skipped:?}", show(&restored)));
                    }
                    Err(Error::NotFound) => None,
                    Err(Error::Corrupt(text)) if changed.iter().any(|name| is_blamed(name, &text)) => {
                        if !older_is_sound {
                            return Ok(());
                        }
                        return Err(format!("an older generation is sound: {text}"));
                    }
                    Err(error) => return Err(format!("not said to be corrupt, or not where: {error}")),
                }
            }
            native => match native.restore() {
                Ok(restored) => restored,
                // It says that it failed, and did not panic.
                Err(error) if error.contains("exit code Some(1)") => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        if restored == right { Ok(()) } else { Err(format!("restored {}", show(&restored))) }
    }
}

/// How the number of the older generation is written in its file's name.
fn older_number() -> String {
    format!("{:020}", SEQ - 1)
}

/// Whether an error says that this file is damaged, which it names first. Where a sum is another than that of its file,
/// either may be damaged: it names the file first, and then its sums.
fn is_blamed(name: &str, problem: &str) -> bool {
    problem.split('`').nth(1) == Some(name) || name == "snapshot.sum" && problem.contains(name)
}

/// Changes what a file holds, and not its time, by which nobody could tell.
fn rot(path: &Path, contents: &[u8]) {
    let rot = || {
        let modified = fs::metadata(path)?.modified()?;
        fs::write(path, contents)?;
        fs::File::options().write(true).open(path)?.set_modified(modified)
    };
    rot().expect("the scratch folder can be written");
}
