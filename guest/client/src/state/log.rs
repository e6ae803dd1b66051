//! The log: numbered records in segments, files of lines that are named by the number of their first record.
//!
//! - **A record that was appended is durable**: it is synced before the next is written. So what is torn at the end of the
//!   newest segment was never acknowledged, and opening cuts it off. Any other damage is an error.
//! - **A segment appears whole.** Its header is written to `log.tmp` and synced before that gets the segment's name, and
//!   the directory is synced before a record is written to it.
//! - **Segments go whole, the oldest first**, so that those that stay follow each other. The newest stays.
//! - **Opening makes durable what it found**, so that nobody acts on a record that a power cut takes back.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Doing, Error, Result};
use super::record::HEADER;
use super::segment::{Contents, Found, Segment};

const TEMPORARY: &str = "log.tmp";

fn name(first: u64) -> String {
    format!("log_{first:020}.jsonl")
}

fn number(name: &str) -> Option<u64> {
    let first = name.strip_prefix("log_")?.strip_suffix(".jsonl")?.parse().ok()?;
    (first > 0 && self::name(first) == name).then_some(first)
}

/// The directory of a log, which no other process has open.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    /// What makes names durable. It is locked where the system has locks; for a component, its host locks it.
    file: File,
    /// The first numbers of the segments, in order.
    segments: Vec<u64>,
}

/// What a replay came to.
pub(super) struct Replayed {
    dir: Dir,
    /// The last record, or the number after which the replay began.
    pub(super) last: u64,
    newest: Option<Contents>,
}

impl Dir {
    /// Opens the directory and looks at what is in it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).doing("open the directory", path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: path.to_owned() }),
            // WASI has no locks, nor have some file systems.
            Err(TryLockError::Error(_)) => {}
        }
        let mut segments = Vec::new();
        for entry in fs::read_dir(path).doing("list the directory", path)? {
            let entry = entry.doing("list the directory", path)?;
            segments.extend(entry.file_name().to_str().and_then(number));
        }
        segments.sort_unstable();
        Ok(Dir { path: path.to_owned(), file, segments })
    }

    /// Reads the records after `seq` in order, of what was written together all or nothing, and changes nothing yet.
    pub(super) fn replay(self, seq: u64, mut apply: impl FnMut(Found<'_>) -> Result<()>) -> Result<Replayed> {
        // The records up to `seq` may be in one segment with the next.
        let after = self.segments.partition_point(|&first| first - 1 <= seq);
        let needed = after.saturating_sub(1);
        let mut last = match self.segments.get(needed) {
            Some(&first) => seq.min(first - 1),
            None => 0,
        };
        let mut newest = None;
        for (at, &first) in self.segments.iter().enumerate().skip(needed) {
            let path = self.segment(first);
            if first - 1 > last {
                return Err(Error::Missing { path: self.path.clone(), first: last + 1, last: first - 1 });
            }
            if first - 1 < last {
                let problem = format!("begins with the record {first}, which the segment before has, too");
                return Err(Error::Damaged { path, line: 1, problem });
            }
            let is_newest = at + 1 == self.segments.len();
            let contents = Segment::open(path)?
                .read(first, is_newest, |record| if record.seq > seq { apply(record) } else { Ok(()) })?;
            (last, newest) = (contents.last, Some(contents));
        }
        Ok(Replayed { dir: self, last, newest })
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.path.join(name(first))
    }

    /// Writes an empty segment beside the others. If that fails, nothing has happened.
    fn prepare(&self) -> Result<File> {
        let path = self.path.join(TEMPORARY);
        // A crash may have left one. It is not cut, since it may be a second name of the newest segment.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).doing("remove", &path),
            _ => {}
        }
        let mut file = File::create_new(&path).doing("make", &path)?;
        file.write_all(HEADER.as_bytes()).doing("write", &path)?;
        // Without this, the name may outlive the header.
        file.sync_all().doing("sync", &path)?;
        Ok(file)
    }

    /// Makes it the newest segment. If that fails, it may be that or not.
    fn publish(&mut self, first: u64) -> Result<()> {
        let (from, to) = (self.path.join(TEMPORARY), self.segment(first));
        // Only another process can have made it, and may have been told that what is in it is durable.
        if fs::symlink_metadata(&to).is_ok() {
            return Err(Error::Busy { path: self.path.clone() });
        }
        fs::rename(&from, &to).doing("rename", &from)?;
        // Without this, a power cut may take a segment back with the records in it.
        self.file.sync_all().doing("sync the directory", &self.path)?;
        self.segments.push(first);
        Ok(())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Closing it is not enough where another thread is starting a process, which has it open for a moment.
        let _ = self.file.unlock();
    }
}

impl Replayed {
    pub(super) fn path(&self) -> &Path {
        &self.dir.path
    }

    /// Whether there is a segment for what comes after a snapshot: one was begun before that was made.
    pub(super) fn goes_beyond(&self, snapshot: u64) -> bool {
        self.dir.segments.last().is_some_and(|&first| first > snapshot)
    }

    /// How many bytes of a torn write are at the end.
    pub(super) fn torn(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.torn)
    }

    /// Cuts off what is torn, makes the rest durable, and opens the log for what comes after `seq`: in the newest segment,
    /// unless there is none, or a new one is to begin since records were lost.
    pub(super) fn settle(self, seq: u64, begins_segment: bool) -> Result<Log> {
        let Replayed { mut dir, newest, .. } = self;
        let mut settled = None;
        if let Some(Contents { path, last_write, torn, .. }) = newest {
            let mut file = OpenOptions::new().read(true).write(true).open(&path).doing("open", &path)?;
            if torn > 0 {
                file.set_len(last_write.end).doing("cut", &path)?;
            }
            // A disk may be too full for it, of which WASI may not tell.
            match write_again(&mut file, &last_write) {
                Err(error) if !is_full(&error) => return Err(error).doing("write again", &path),
                _ => {}
            }
            file.seek(SeekFrom::Start(last_write.end)).doing("read", &path)?;
            // Whoever wrote it may have been killed before its own syncs, of the file and of its name.
            file.sync_all().doing("sync", &path)?;
            dir.file.sync_all().doing("sync the directory", &dir.path)?;
            settled = Some((file, path, last_write.end));
        }
        let (file, path, end) = match settled {
            Some(settled) if !begins_segment => settled,
            _ => {
                let file = dir.prepare()?;
                dir.publish(seq + 1)?;
                (file, dir.segment(seq + 1), HEADER.len() as u64)
            }
        };
        Ok(Log { dir, file, path, end, last: seq, refused: None })
    }
}

/// Writes some bytes of a file over themselves.
///
/// Whoever wrote them may have been told that they could not be synced. The system may then have forgotten that they are
/// not on the disk, and a sync alone would do nothing.
fn write_again(file: &mut File, bytes: &Range<u64>) -> io::Result<()> {
    let mut written = vec![0; (bytes.end - bytes.start) as usize];
    file.seek(SeekFrom::Start(bytes.start))?;
    file.read_exact(&mut written)?;
    file.seek(SeekFrom::Start(bytes.start))?;
    file.write_all(&written)
}

fn is_full(error: &io::Error) -> bool {
    cfg!(target_family = "wasm") || matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A log that is open at its end.
#[derive(Debug)]
pub(super) struct Log {
    dir: Dir,
    /// The newest segment, and how long it is.
    file: File,
    path: PathBuf,
    end: u64,
    /// The number of the last record.
    last: u64,
    /// Why it must be opened again: the error that leaves its end in doubt.
    refused: Option<String>,
}

impl Log {
    pub(super) fn path(&self) -> &Path {
        &self.dir.path
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// That no earlier call left the end in doubt.
    pub(super) fn check(&self) -> Result<()> {
        match &self.refused {
            None => Ok(()),
            Some(reason) => Err(Error::Reopen { path: self.dir.path.clone(), reason: reason.clone() }),
        }
    }

    /// Allows no call any more, for this reason, or all of them again.
    pub(super) fn refuse_all(&mut self, reason: Option<&str>) {
        self.refused = reason.map(str::to_owned);
    }

    /// Remembers an error that leaves the end in doubt.
    fn refuse<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.refused = Some(error.to_string());
        }
        result
    }

    /// Appends the lines of the next records up to `last`, which are durable when this returns.
    pub(super) fn append(&mut self, lines: &str, last: u64) -> Result<()> {
        // Where the system has no locks, this shows most of what another process does.
        let size = self.file.metadata().doing("look at", &self.path)?.len();
        if size != self.end {
            return self.refuse(Err(Error::Busy { path: self.dir.path.clone() }));
        }
        if let Err(source) = self.file.write_all(lines.as_bytes()) {
            let cut = self.cut_back();
            // The error that the caller needs is the first.
            let _ = self.refuse(cut.doing("cut", &self.path.clone()));
            return Err(source).doing("write", &self.path);
        }
        if let Err(source) = self.file.sync_data() {
            return self.refuse(Err(Error::InDoubt { path: self.path.clone(), source }));
        }
        self.end += lines.len() as u64;
        self.last = last;
        Ok(())
    }

    /// Removes what was written of a record, so that the next one is not written over the rest of it.
    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.sync_all()
    }

    /// Begins a new segment, unless nothing is in the newest one.
    pub(super) fn start_segment(&mut self) -> Result<()> {
        let first = self.last + 1;
        if self.dir.segments.last() == Some(&first) {
            return Ok(());
        }
        let file = self.dir.prepare()?;
        let published = self.dir.publish(first);
        self.refuse(published)?;
        (self.file, self.path, self.end) = (file, self.dir.segment(first), HEADER.len() as u64);
        Ok(())
    }

    /// Removes the segments whose records all come at or before `oldest`. The newest stays: its name tells where the log
    /// ends.
    pub(super) fn remove_up_to(&mut self, oldest: u64) -> Result<()> {
        let segments = &self.dir.segments;
        let count = segments.iter().skip(1).take_while(|&&next| next - 1 <= oldest).count();
        for at in 0..count {
            let path = self.dir.segment(self.dir.segments[at]);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    self.dir.segments.drain(..at);
                    return Err(error).doing("remove", &path);
                }
                _ => {}
            }
        }
        self.dir.segments.drain(..count);
        Ok(())
    }
}
