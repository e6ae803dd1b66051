//! States in chunks: larger than memory, if need be.

use std::fmt;
use std::io;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::instance::Handle;
use crate::snapshot::{Info, Skipped};
use crate::store::SnapshotStore;

/// How many bytes are handed on or fetched at a time, at most, by what reads and writes streams.
const CHUNK: usize = 64 << 10;

impl SnapshotStore {
    /// Starts a snapshot with the number `seq` that is written in chunks.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::Corrupt`] if the stored number cannot be trusted, [`Error::NoSpace`],
    /// [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`], [`Error::Component`].
    pub fn open_writer(&mut self, seq: u64) -> Result<Writer<'_>> {
        let handle = self.stream_to("", seq)?;
        Ok(Writer { store: self, handle, committed: false, buffer: Vec::new() })
    }

    /// Opens the newest sound snapshot, all of it checked, to read it in chunks.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if no generation is sound, [`Error::AccessDenied`], [`Error::Busy`],
    /// [`Error::Io`], [`Error::Component`].
    pub fn open_reader(&mut self) -> Result<Reader<'_>> {
        self.open_any(None)
    }

    /// Opens the generation with the number `seq`, as [`open_reader`](Self::open_reader) does.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none, and as [`open_reader`](Self::open_reader).
    pub fn open_reader_at(&mut self, seq: u64) -> Result<Reader<'_>> {
        self.open_any(Some(seq))
    }

    fn open_any(&mut self, seq: Option<u64>) -> Result<Reader<'_>> {
        let (handle, info, skipped) = self.stream_from("", seq)?;
        Ok(Reader { store: self, handle, info, skipped, fetched: Vec::new(), returned: 0 })
    }
}

/// A snapshot that is being written, chunk by chunk. [`commit`](Self::commit) finishes it; dropping it discards the snapshot.
///
/// Where its directory was replaced, or a call has trapped or was interrupted, calls are [`Error::StreamEnded`].
pub struct Writer<'s> {
    store: &'s mut SnapshotStore,
    handle: Handle,
    committed: bool,
    /// What was written through [`io::Write`] and not handed on yet.
    buffer: Vec<u8>,
}

impl Writer<'_> {
    /// Takes the next chunk of the state: JSON in UTF-8, cut anywhere, inside of a character too.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidState`], [`Error::TooLarge`], [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`],
    /// [`Error::Component`]. After an error the snapshot is discarded, and every other call fails.
    pub fn write_chunk(&mut self, chunk: &[u8]) -> Result<()> {
        self.hand_on()?;
        self.store.write(self.handle, chunk)
    }

    fn hand_on(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() { Ok(()) } else { self.store.write(self.handle, &buffer) }
    }

    /// Makes what was written the newest snapshot; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// As [`write_chunk`](Self::write_chunk), and [`Error::InDoubt`].
    pub fn commit(mut self) -> Result<()> {
        self.hand_on()?;
        self.committed = true;
        self.store.commit(self.handle)
    }
}

/// The same as [`write_chunk`](Writer::write_chunk), buffered, for what writes to a stream; its errors are those, within.
impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.hand_on().map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on().map_err(io::Error::other)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.store.end(self.handle);
        }
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A sound snapshot that is being read, chunk by chunk. Calls are [`Error::StreamEnded`] as those of a [`Writer`].
pub struct Reader<'s> {
    store: &'s mut SnapshotStore,
    handle: Handle,
    info: Info,
    skipped: Vec<Skipped>,
    /// What was fetched for [`io::Read`] and not yet returned starts at `returned`.
    fetched: Vec<u8>,
    returned: usize,
}

impl Reader<'_> {
    /// What is known of the snapshot; it is never damaged.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The newer generations that are damaged, newest first.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Returns the next chunk of the state, of at most `max` bytes, and nothing at its end, or if `max` is 0.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the file was changed since it was opened, [`Error::AccessDenied`], [`Error::Io`],
    /// [`Error::Component`]. Nothing of what was read may be used then.
    pub fn read_chunk(&mut self, max: u64) -> Result<Vec<u8>> {
        // What was fetched for `io::Read` comes first.
        if self.returned < self.fetched.len() {
            let fetched = self.fetched.len() - self.returned;
            let size = usize::try_from(max).map_or(fetched, |max| max.min(fetched));
            self.returned += size;
            return Ok(self.fetched[self.returned - size..self.returned].to_vec());
        }
        self.store.read(self.handle, max)
    }
}

/// The same as [`read_chunk`](Reader::read_chunk), for what reads from a stream; its errors are those, within.
impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.returned == self.fetched.len() {
            self.fetched = self.read_chunk(CHUNK as u64).map_err(io::Error::other)?;
            self.returned = 0;
        }
        let left = &self.fetched[self.returned..];
        let read = left.len().min(buffer.len());
        buffer[..read].copy_from_slice(&left[..read]);
        self.returned += read;
        Ok(read)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.store.end(self.handle);
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("info", &self.info).finish_non_exhaustive()
    }
}
