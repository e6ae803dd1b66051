//! Reads a segment of the log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Doing, Error, Result};
use super::record::{self, HEADER, Place, Record};

/// A segment that is being read.
pub(super) struct Segment {
    path: PathBuf,
    file: BufReader<File>,
    /// The line that was read last, with its end, where it begins, and its number.
    text: Vec<u8>,
    start: u64,
    line: u64,
}

/// A record of a segment, and where it is.
pub(super) struct Found<'s> {
    pub(super) path: &'s Path,
    pub(super) line: u64,
    pub(super) seq: u64,
    pub(super) op: &'s str,
}

/// What a segment holds.
pub(super) struct Contents {
    pub(super) path: PathBuf,
    /// Its last record, or the one before its first.
    pub(super) last: u64,
    /// Where what was written last is, of what is whole.
    pub(super) last_write: Range<u64>,
    /// How many bytes of a write that is not whole follow it.
    pub(super) torn: u64,
}

impl Segment {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let file = BufReader::with_capacity(64 << 10, File::open(&path).doing("open", &path)?);
        let mut segment = Segment { path, file, text: Vec::new(), start: 0, line: 0 };
        segment.advance()?;
        if record::is_later(&segment.text) {
            return Err(Error::Later { path: segment.path });
        }
        if segment.text != HEADER.as_bytes() {
            return Err(segment.damaged(format!("is not `{}`", HEADER.trim_end())));
        }
        Ok(segment)
    }

    /// Reads the next line, and says whether there is one.
    fn advance(&mut self) -> Result<bool> {
        self.start += self.text.len() as u64;
        self.line += 1;
        self.text.clear();
        let read = self.file.read_until(b'\n', &mut self.text).doing("read", &self.path)?;
        Ok(read > 0)
    }

    fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), line: self.line, problem: problem.into() }
    }

    /// Reads the records, of which the first has the number `first`. Each is given to `apply` once all that were written
    /// with it were found. Only in the newest segment may the end be torn.
    pub(super) fn read(
        mut self,
        first: u64,
        is_newest: bool,
        mut apply: impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<Contents> {
        // What was written last and is whole, and the record after it.
        let header = self.text.len() as u64;
        let (mut last_write, mut last) = (header..header, first - 1);
        // Those that were written together with others that are not read yet.
        let mut held: Vec<String> = Vec::new();
        let mut batch = (first, first);
        while self.advance()? {
            let next = last.saturating_add(1 + held.len() as u64);
            let Some(Record { seq, batch: of, op }) = record::read(&self.text) else {
                let damaged = self.damaged("is not what was written");
                let place = Place { seq: next, start: self.start, write: last_write.end };
                if !(is_newest && self.is_torn(place)?) {
                    return Err(damaged);
                }
                break;
            };
            if held.is_empty() {
                batch = (next, of.1);
            }
            if (seq, of) != (next, batch) {
                let problem = match seq == next {
                    true => {
                        format!("holds the record {seq}, which was not written together with those before it")
                    }
                    false => format!("holds the record {seq}, where {next} belongs"),
                };
                return Err(self.damaged(problem));
            }
            if seq < batch.1 {
                held.push(op.to_owned());
                continue;
            }
            let first_line = self.line - held.len() as u64;
            for (line, (seq, op)) in (first_line..).zip((batch.0..).zip(held.drain(..))) {
                apply(Found { path: &self.path, line, seq, op: &op })?;
            }
            apply(Found { path: &self.path, line: self.line, seq, op })?;
            last_write = last_write.end..self.start + self.text.len() as u64;
            last = seq;
        }
        if !held.is_empty() && !is_newest {
            return Err(self.damaged(format!(
                "is missing: the records {} to {} were written together",
                batch.0, batch.1
            )));
        }
        let torn = self.start + self.text.len() as u64 - last_write.end;
        Ok(Contents { path: self.path, last, last_write, torn })
    }

    /// Reads the rest, from the line of a record on that is not whole, and says whether nobody can have been told that this
    /// is durable.
    fn is_torn(&mut self, place: Place) -> Result<bool> {
        let mut left = std::mem::take(&mut self.text);
        self.start += left.len() as u64;
        if record::is_damaged(&left) {
            return Ok(false);
        }
        while self.advance()? {
            // What was written later proves that the record was durable, and what was written with it does not.
            let later = record::read(&self.text);
            if later.is_some_and(|Record { batch, .. }| !(batch.0..=batch.1).contains(&place.seq)) {
                return Ok(false);
            }
            left.extend_from_slice(&self.text);
        }
        Ok(record::is_torn(&left, place))
    }
}
