//! A snapshot that is read piece by piece.

use std::rc::Rc;

use super::held::Shared;
use super::{Found, Store, name};
use crate::body::{Body, State};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::snapshot::{Info, Skipped};
use crate::sum::Sum;

/// How many readers may be open at a time: each has a file open and a few pieces of it in memory.
const MAX_READERS: usize = 16;

/// How many readers and writers of all stores of a component may be open at a time.
const MAX_STREAMS: usize = 64;

/// The most bytes that one read returns: what is read of a file at a time.
const MOST: usize = 64 << 10;

/// A snapshot that was found sound and is being read.
///
/// ```
/// # use minisnap_component::{dir::OsDir, error::Error, store::Store};
/// # let tmp = tempfile::tempdir().unwrap();
/// # let store = Store::new(OsDir::new(tmp.path()));
/// store.create("[1]", 7)?;
/// let mut reader = store.open_reader(None)?;
/// assert_eq!(reader.info().seq, 7);
/// store.create("[2]", 8)?;
/// assert_eq!(reader.read(4)?, b"[\n  ");
/// assert_eq!(reader.read(99)?, b"1\n]");
/// assert_eq!(reader.read(99)?, b"");
/// # Ok::<(), Error>(())
/// ```
pub struct Reader<D: Dir> {
    info: Info,
    skipped: Vec<Skipped>,
    body: Body<D::Reader>,
    /// The sum when it was found sound.
    sum: Sum,
    /// What was read and not yet returned starts at `returned`.
    ahead: Vec<u8>,
    returned: usize,
    at_end: bool,
    failed: Option<Error>,
    _open: Open,
}

impl<D: Dir> Reader<D> {
    /// What is known of the snapshot.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The newer generations that are damaged, newest first.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Returns the next piece of the state, of at most `max` bytes, and nothing at its end.
    pub fn read(&mut self, max: u64) -> Result<Vec<u8>> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.read_ahead(max).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn read_ahead(&mut self, max: u64) -> Result<Vec<u8>> {
        let wanted = usize::try_from(max).map_or(MOST, |max| max.min(MOST));
        // A byte more than is wanted, so that the last one is returned only once the sum was compared.
        while self.ahead.len() - self.returned <= wanted && !self.at_end {
            self.ahead.drain(..self.returned);
            self.returned = 0;
            self.at_end = !self
                .body
                .read(&mut self.ahead)
                .map_err(|error| Error::io("read", &name(&self.info), &error))?;
            if self.at_end && self.body.sum() != self.sum {
                return Err(Error::Corrupt(format!(
                    "`{}` was changed while it was read: read it again",
                    name(&self.info)
                )));
            }
        }
        let end = self.ahead.len().min(self.returned + wanted);
        let piece = self.ahead[self.returned..end].to_vec();
        self.returned = end;
        Ok(piece)
    }
}

impl<D: Dir> Store<D> {
    /// Opens the newest sound snapshot, or the generation with the number `seq`, to read it piece by piece.
    pub fn open_reader(&self, seq: Option<u64>) -> Result<Reader<D>> {
        if self.shared.reading.borrow().len() >= MAX_READERS {
            return Err(Error::Busy("16 readers of this store are open: drop one first".to_owned()));
        }
        let stream = Stream::new(&self.shared)?;
        let Found { info, skipped, state, body } = self.find(seq, State::Sum)?;
        let open = Open::new(stream, info.seq);
        let (body, ahead, sum) = (body.rewind(), Vec::new(), state.sum);
        Ok(Reader { info, skipped, body, sum, ahead, returned: 0, at_end: false, failed: None, _open: open })
    }
}

/// One of the readers and writers of a component, of which there may be only so many.
pub(super) struct Stream(pub(super) Rc<Shared>);

impl Stream {
    pub(super) fn new(shared: &Rc<Shared>) -> Result<Self> {
        let open = shared.streams.get();
        if open >= MAX_STREAMS {
            return Err(Error::Busy("64 readers and writers are open: drop one first".to_owned()));
        }
        shared.streams.set(open + 1);
        Ok(Stream(shared.clone()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

/// That a generation is being read.
struct Open {
    stream: Stream,
    seq: u64,
}

impl Open {
    fn new(stream: Stream, seq: u64) -> Self {
        stream.0.reading.borrow_mut().push(seq);
        Open { stream, seq }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut reading = self.stream.0.reading.borrow_mut();
        if let Some(at) = reading.iter().position(|&seq| seq == self.seq) {
            reading.swap_remove(at);
        }
    }
}
