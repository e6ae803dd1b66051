//! States that are written while they are being serialised.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};
use std::time::Instant;

use serde::Serialize;
use tracing::{Dispatch, Span, dispatcher};

use super::Store;
use crate::error::{Error, Result};
use crate::stream::Writer;

/// What is larger, in bytes, is written by a thread.
const LARGE: usize = 128 << 10;

/// How many bytes of that are handed over at a time.
const PIECE: usize = 64 << 10;

/// How many pieces may wait to be written.
const WAITING: usize = 4;

/// A piece of a state, or nothing after its last one.
type Piece = Option<Vec<u8>>;

/// Takes a state as it is serialised. A small one is kept. Of a large one, another thread writes each piece while the next
/// one is being made here: a state need not be one that several threads may use.
struct Pieces<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    /// Until there is a thread.
    store: Option<&'env mut Store>,
    seq: u64,
    text: Vec<u8>,
    /// How much of it is kept until it is handed on.
    most: usize,
    thread: Option<Thread<'scope>>,
}

struct Thread<'scope> {
    pieces: SyncSender<Piece>,
    /// Says at the end whether it has committed the snapshot.
    committed: ScopedJoinHandle<'scope, Result<bool>>,
}

/// Makes a value with `seq` the stored snapshot.
pub(super) fn create<S: Serialize + ?Sized>(store: &mut Store, state: &S, seq: u64) -> Result<()> {
    thread::scope(|scope| {
        let mut pieces =
            Pieces { scope, store: Some(store), seq, text: Vec::new(), most: LARGE, thread: None };
        let serialised = serde_json::to_writer(&mut pieces, state);
        pieces.finish(serialised)
    })
}

impl Pieces<'_, '_> {
    #[cold]
    fn hand_on(&mut self) -> io::Result<()> {
        if let Some(store) = self.store.take() {
            let (pieces, taken) = sync_channel(WAITING);
            let (seq, span, tracing) = (self.seq, Span::current(), dispatcher::get_default(Dispatch::clone));
            let write = move || span.in_scope(|| store.create_from(&taken, seq));
            let thread = Builder::new().name("minisnap-create".to_owned());
            let thread =
                thread.spawn_scoped(self.scope, move || dispatcher::with_default(&tracing, write))?;
            self.thread = Some(Thread { pieces, committed: thread });
            self.most = PIECE;
        }
        let piece = std::mem::replace(&mut self.text, Vec::with_capacity(PIECE + PIECE / 8));
        let sent = self.thread.as_ref().is_some_and(|thread| thread.pieces.send(Some(piece)).is_ok());
        // Why it takes no more, it says at the end.
        if sent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Commits what was serialised, unless that failed.
    fn finish(mut self, serialised: serde_json::Result<()>) -> Result<()> {
        let mut serialised = serialised.map_err(|error| match error.is_io() {
            true => Error::Io(format!("no thread can be started to write the state: {error}; try again")),
            false => Error::InvalidState(error.to_string()),
        });
        if serialised.is_ok() && self.store.is_none() {
            serialised = self.hand_on().map_err(|error| Error::Io(error.to_string()));
        }
        match (self.store, self.thread) {
            (Some(store), _) => {
                serialised?;
                let text = String::from_utf8(self.text);
                store.create_text(&text.map_err(|error| Error::InvalidState(error.to_string()))?, self.seq)
            }
            (None, Some(Thread { pieces, committed })) => {
                if serialised.is_ok() {
                    let _ = pieces.send(None);
                }
                drop(pieces);
                let is_committed = committed.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                serialised?;
                debug_assert!(is_committed, "its end was given");
                Ok(())
            }
            (None, None) => serialised,
        }
    }
}

impl Write for Pieces<'_, '_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    // Which is called for every few bytes.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.extend_from_slice(bytes);
        if self.text.len() > self.most { self.hand_on() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Makes the pieces of a state with `seq` the stored snapshot. Without their end, they are discarded; returns whether it
    /// came.
    fn create_from(&mut self, pieces: &Receiver<Piece>, seq: u64) -> Result<bool> {
        self.in_one_turn(|store| {
            let (until, interrupted) = (store.until, store.interrupted("create"));
            let mut writer = Writer::open(store, "", seq)?;
            loop {
                let piece = pieces.recv();
                // However long the value took, nothing of it is made a snapshot after the deadline.
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Err(interrupted);
                }
                match piece {
                    Ok(Some(piece)) => writer.write_chunk(&piece)?,
                    Ok(None) => return writer.commit().map(|()| true),
                    Err(_) => return Ok(false),
                }
            }
        })
    }
}
