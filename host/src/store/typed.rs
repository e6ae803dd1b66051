//! States that are written while they are being serialised.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

use serde::Serialize;
use tokio::runtime::Handle;
use tracing::{Dispatch, Span, dispatcher};

use super::SnapshotStore;
use crate::blocking::check_may_block;
use crate::error::{Error, Result};

/// What is larger, in bytes, is written by a thread.
const LARGE: usize = 128 << 10;

/// How many bytes of that are handed over at a time, or more where serde hands over more.
const PIECE: usize = 64 << 10;

/// How many pieces may wait to be written.
const WAITING: usize = 4;

/// A piece of a state, or nothing after its last one.
type Piece = Option<Vec<u8>>;

/// Takes a state as it is serialised. A small one is kept. Of a large one, another thread writes each piece while the next
/// one is being made here: a state need not be one that several threads may use.
struct Pieces<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    /// Until a thread has it.
    store: Option<&'env mut SnapshotStore>,
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
    /// Whether it took no more.
    has_failed: bool,
}

/// Makes a value with `seq` the stored snapshot.
pub(super) fn create<S: Serialize + ?Sized>(store: &mut SnapshotStore, state: &S, seq: u64) -> Result<()> {
    // A large one is made by another thread, for which this one waits.
    check_may_block()?;
    thread::scope(|scope| {
        let mut pieces =
            Pieces { scope, store: Some(store), seq, text: Vec::new(), most: LARGE, thread: None };
        let serialised = serde_json::to_writer(&mut pieces, state);
        pieces.finish(serialised)
    })
}

impl<'env> Pieces<'_, 'env> {
    #[cold]
    fn hand_on(&mut self) -> io::Result<()> {
        if let Some(store) = self.store.take() {
            self.start(store);
        }
        let Some(thread) = &mut self.thread else { return Ok(()) };
        let piece = std::mem::replace(&mut self.text, Vec::with_capacity(PIECE + PIECE / 8));
        thread.has_failed |= thread.pieces.send(Some(piece)).is_err();
        // Why it takes no more, it says at the end.
        if thread.has_failed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn start(&mut self, store: &'env mut SnapshotStore) {
        let (give, given) = sync_channel::<&mut SnapshotStore>(1);
        let (pieces, taken) = sync_channel(WAITING);
        let seq = self.seq;
        let (span, tracing, runtime) =
            (Span::current(), dispatcher::get_default(Dispatch::clone), Handle::try_current().ok());
        let write = move || {
            let _runtime = runtime.as_ref().map(Handle::enter);
            let Ok(store) = given.recv() else { return Ok(false) };
            dispatcher::with_default(&tracing, || span.in_scope(|| store.create_from(&taken, seq)))
        };
        match Builder::new().name("minisnap-create".to_owned()).spawn_scoped(self.scope, write) {
            Ok(committed) => {
                // It waits for it.
                let _ = give.send(store);
                self.thread = Some(Thread { pieces, committed, has_failed: false });
                self.most = PIECE;
            }
            // Where no thread can be started, the state is kept until its end.
            Err(_) => (self.store, self.most) = (Some(store), usize::MAX),
        }
    }

    /// Commits what was serialised, unless that failed.
    fn finish(mut self, serialised: serde_json::Result<()>) -> Result<()> {
        let invalid = |error: serde_json::Error| Error::InvalidState(error.to_string());
        if let Some(store) = self.store {
            serialised.map_err(invalid)?;
            let text =
                String::from_utf8(self.text).map_err(|error| Error::InvalidState(error.to_string()))?;
            return store.create_text(&text, self.seq);
        }
        if serialised.is_ok() {
            let _ = self.hand_on();
        }
        let not_whole = Error::other("the state was not written to its end: create it again");
        let Some(Thread { pieces, committed, has_failed }) = self.thread else { return Err(not_whole) };
        if serialised.is_ok() && !has_failed {
            let _ = pieces.send(None);
        }
        drop(pieces);
        let written = committed.join().unwrap_or_else(|panic| resume_unwind(panic));
        match (serialised, written) {
            // Of its own, before it was cut off.
            (Err(error), _) if !has_failed => Err(invalid(error)),
            (_, Ok(true)) => Ok(()),
            (_, Ok(false)) => Err(not_whole),
            (_, Err(error)) => Err(error),
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

impl SnapshotStore {
    /// Makes the pieces of a state with `seq` the stored snapshot. Without their end, they are discarded; returns whether it
    /// came.
    fn create_from(&mut self, pieces: &Receiver<Piece>, seq: u64) -> Result<bool> {
        self.in_one_turn(|store| {
            let late = Error::interrupted("create", store.grant.deadline);
            let deadline = store.deadline;
            store.create_by("", seq, |store, handle| {
                loop {
                    match pieces.recv_timeout(deadline.left()) {
                        // What comes late is not taken, even if there is enough of it.
                        Err(RecvTimeoutError::Timeout) => return Err(late),
                        Ok(_) if deadline.late().is_some() => return Err(late),
                        Ok(Some(piece)) => store.write(handle, &piece)?,
                        Ok(None) => return Ok(true),
                        Err(RecvTimeoutError::Disconnected) => return Ok(false),
                    }
                }
            })
        })
    }
}
