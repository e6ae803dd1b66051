//! An append-only log of numbered records, in one file of lines:
//!
//! ```text
//! after 30 7badca12
//! 31 cash rent 250 a1fe6dd7
//! 32 sales cash 17 0b049f55
//! ```
//!
//! Each line ends with the CRC-32 of what comes before it; the first says which records were removed.
//!
//! - **A record that was appended is durable.** It is synced before the next is written, so what a crash leaves behind
//!   the last whole record was never acknowledged: opening cuts it off. Any other damage is an error.
//! - **The removal of records is one rename.** What stays is written to `log.tmp` and synced before that, so a crash
//!   leaves the old file or the new one, whole.
//! - **Opening makes durable what it found**, so that nobody acts on a record that a power cut takes back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "log";
const TEMPORARY: &str = "log.tmp";

/// The log in a directory. After an error of a call it must be opened again, which finds out what that left.
pub struct Log {
    dir: PathBuf,
    /// Open at its end.
    file: File,
    /// The number of the last record that was removed.
    removed: u64,
    /// Those after it. They are few, as they are removed when no snapshot needs them.
    records: Vec<String>,
}

impl Log {
    /// Opens the log, or makes one that nothing was appended to.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        if !path.try_exists()? {
            let file = replace(dir, 0, &[])?;
            return Ok(Log { dir: dir.to_owned(), file, removed: 0, records: Vec::new() });
        }
        let contents = fs::read(&path)?;
        let (removed, records, whole) = parse(&contents)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        if whole < contents.len() {
            file.set_len(whole as u64)?;
        }
        // Whoever wrote it may have been killed before its own syncs.
        file.sync_all()?;
        sync(dir)?;
        Ok(Log { dir: dir.to_owned(), file, removed, records })
    }

    /// The number of the last record.
    pub fn last(&self) -> u64 {
        self.removed + self.records.len() as u64
    }

    /// The records after the one with this number, in order. They must be there: a gap is an error.
    pub fn after(&self, number: u64) -> io::Result<&[String]> {
        let at = number.checked_sub(self.removed).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.records.get(at..)).ok_or_else(|| {
            let (removed, last) = (self.removed, self.last());
            damaged(format!(
                "it holds what comes after {removed} up to {last}, and {number} is where to start"
            ))
        })
    }

    /// Appends a record, a line of text; it is durable when this returns.
    pub fn append(&mut self, record: String) -> io::Result<()> {
        self.file.write_all(line(self.last() + 1, &record).as_bytes())?;
        self.file.sync_all()?;
        self.records.push(record);
        Ok(())
    }

    /// Removes the records up to the one with this number.
    pub fn remove_up_to(&mut self, number: u64) -> io::Result<()> {
        if number > self.removed {
            let kept = self.after(number)?.to_vec();
            self.file = replace(&self.dir, number, &kept)?;
            self.removed = number;
            self.records = kept;
        }
        Ok(())
    }
}

/// Puts a new file into the log's place, atomically and durably, and leaves it open at its end.
fn replace(dir: &Path, removed: u64, records: &[String]) -> io::Result<File> {
    let temporary = dir.join(TEMPORARY);
    let mut text = summed(format!("after {removed}"));
    for (number, record) in (removed + 1..).zip(records) {
        text += &line(number, record);
    }
    // A crash may have left one: it is cut.
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    // Without this, the rename may outlive the contents.
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    // Without this, what is appended from now on may go to a file that a power cut takes back.
    sync(dir)?;
    Ok(file)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn line(number: u64, record: &str) -> String {
    summed(format!("{number} {record}"))
}

fn summed(text: String) -> String {
    let sum = crc32fast::hash(text.as_bytes());
    format!("{text} {sum:08x}\n")
}

/// Which records were removed, the others, and how many bytes of the file those and the first line take.
fn parse(contents: &[u8]) -> io::Result<(u64, Vec<String>, usize)> {
    let mut lines = contents.split_inclusive(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let removed = whole(first)
        .and_then(|text| text.strip_prefix("after ")?.parse().ok())
        .ok_or_else(|| damaged("its first line is not what was written".to_owned()))?;

    let (mut records, mut end) = (Vec::new(), first.len());
    for line in lines.by_ref() {
        let expected = removed + 1 + records.len() as u64;
        match whole(line).and_then(|text| text.split_once(' ')) {
            Some((number, record)) if number.parse() == Ok(expected) => records.push(record.to_owned()),
            Some((number, _)) => {
                return Err(damaged(format!("it has {number} where {expected} belongs")));
            }
            None => break,
        }
        end += line.len();
    }
    // Only the last record can be torn.
    if lines.any(|line| whole(line).is_some()) {
        let torn = removed + 1 + records.len() as u64;
        return Err(damaged(format!("its record {torn} is not what was written, and others follow")));
    }
    Ok((removed, records, end))
}

/// A line without its sum, if that is right.
fn whole(line: &[u8]) -> Option<&str> {
    let (text, _) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    (summed(text.to_owned()).as_bytes() == line).then_some(text)
}

fn damaged(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the log is damaged: {problem}"))
}
