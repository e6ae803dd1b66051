//! States in chunks: larger than memory, if need be.

use std::io::{self, BufRead};

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::snapshot::{Info, Skipped};
use crate::wit;

/// How many bytes are fetched at a time, at most, for what reads through `std::io`.
const CHUNK: u64 = 64 << 10;

/// A snapshot that is being written, chunk by chunk. [`commit`](Self::commit) finishes it; dropping it discards the snapshot.
///
/// [`io::Write`], too, hands each chunk on at once and without a copy, in one call of the host: what writes small chunks
/// goes through a [`BufWriter`](io::BufWriter).
#[derive(Debug)]
pub struct Writer(wit::SnapshotWriter);

impl Writer {
    pub(crate) fn new(writer: wit::SnapshotWriter) -> Self {
        Writer(writer)
    }

    /// Takes the next chunk of the state: JSON in UTF-8, cut anywhere, inside of a character too.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`], [`Error::TooLarge`], [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`]. After
    /// an error the snapshot is discarded, and every other call returns the same error.
    pub fn write_chunk(&mut self, chunk: &[u8]) -> Result<()> {
        Ok(self.0.write(chunk)?)
    }

    /// Makes what was written the newest snapshot; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// As [`write_chunk`](Self::write_chunk), and [`Error::InDoubt`].
    pub fn commit(self) -> Result<()> {
        Ok(wit::SnapshotWriter::commit(self.0)?)
    }

    /// Discards the snapshot, as dropping the writer does.
    pub fn discard(self) {
        wit::SnapshotWriter::discard(self.0);
    }
}

/// The same as [`write_chunk`](Writer::write_chunk); its errors are those, within.
impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_chunk(bytes)?;
        Ok(bytes.len())
    }

    /// Does nothing, as nothing is held back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sound snapshot that is being read, chunk by chunk. Newer ones may be created meanwhile.
///
/// [`BufRead`] returns the chunks without a copy, [`io::Read`] copies them.
#[derive(Debug)]
pub struct Reader {
    reader: wit::SnapshotReader,
    /// What was fetched for `std::io` and not yet returned starts at `returned`.
    fetched: Vec<u8>,
    returned: usize,
}

impl From<wit::SnapshotReader> for Reader {
    fn from(reader: wit::SnapshotReader) -> Self {
        Reader { reader, fetched: Vec::new(), returned: 0 }
    }
}

impl Reader {
    /// What is known of the snapshot; it is never damaged.
    pub fn info(&self) -> Info {
        self.reader.info().into()
    }

    /// The newer generations that are damaged, newest first.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.reader.skipped().into_iter().map(Into::into).collect()
    }

    /// Returns the next chunk of the state, of at most `max` bytes, and nothing at its end, or if `max` is 0.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the file was changed since it was opened, [`Error::AccessDenied`], [`Error::Io`]. Nothing
    /// of what was read may be used then.
    pub fn read_chunk(&mut self, max: u64) -> Result<Vec<u8>> {
        // What was fetched for `std::io` comes first.
        let left = &self.fetched[self.returned..];
        if left.is_empty() {
            return Ok(self.reader.read(max)?);
        }
        let size = usize::try_from(max).map_or(left.len(), |max| max.min(left.len()));
        let piece = left[..size].to_vec();
        self.consume(size);
        Ok(piece)
    }
}

/// The same as [`read_chunk`](Reader::read_chunk); its errors are those, within.
impl io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// The chunks of [`read_chunk`](Reader::read_chunk); its errors are those, within.
impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.returned == self.fetched.len() {
            self.fetched = self.read_chunk(CHUNK)?;
            self.returned = 0;
        }
        Ok(&self.fetched[self.returned..])
    }

    fn consume(&mut self, amount: usize) {
        self.returned = self.fetched.len().min(self.returned + amount);
    }
}
