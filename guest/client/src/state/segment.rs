//! Reads a segment of the log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Doing, Error, Result};
use super::record::{self, HEADER, Record};

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
            let next = last + 1 + held.len() as u64;
            let Some(Record { seq, batch: of, op }) = record::read(&self.text) else {
                self.is_torn(next, is_newest)?;
                break;
            };
            if held.is_empty() {
                batch = (next, of.1);
            }
            if (seq, of) != (next, batch) {
                return Err(self.damaged(format!("holds the record {seq}, where {next} belongs")));
            }
            if seq < batch.1 {
                held.push(op.to_owned());
                continue;
            }
            let line = self.line - held.len() as u64;
            for (at, op) in (0..).zip(held.drain(..).chain([op.to_owned()])) {
                apply(Found { path: &self.path, line: line + at, seq: batch.0 + at, op: &op })?;
            }
            last_write = last_write.end..self.start + self.text.len() as u64;
            last = seq;
        }
        if !held.is_empty() && !is_newest {
            return Err(self.damaged(format!("is not there: {} to {} belong together", batch.0, batch.1)));
        }
        let torn = self.start + self.text.len() as u64 - last_write.end;
        Ok(Contents { path: self.path, last, last_write, torn })
    }

    /// Reads the rest, from the line of the record `next` on, which is not whole. It is an error if that, or a part of
    /// it, was ever acknowledged.
    fn is_torn(&mut self, next: u64, may_be: bool) -> Result<()> {
        let damaged = self.damaged("is not what was written");
        let start = self.start;
        let mut left = Vec::new();
        loop {
            left.extend_from_slice(&self.text);
            if !may_be || !self.advance()? {
                break;
            }
            // What was written later proves that the record was durable, and what was written with it does not.
            if record::read(&self.text)
                .is_some_and(|Record { batch, .. }| !(batch.0..=batch.1).contains(&next))
            {
                return Err(damaged);
            }
        }
        if may_be && record::is_torn(&left, start) { Ok(()) } else { Err(damaged) }
    }
}
