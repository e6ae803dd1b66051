//! The streams of a store's instance, which its readers and writers hold, and those of consumers.

use tracing::Span;
use wasmtime::component::ResourceAny;

use super::{CHUNK, SnapshotStore};
use crate::bindings::export as wit;
use crate::blocking::may_block;
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::instance::{Answer, Handle, Instance, Stream};
use crate::metrics::Event;
use crate::snapshot::{Info, Skipped};

impl SnapshotStore {
    /// Opens a stream to a new snapshot.
    pub(crate) fn stream_to(&mut self, name: &str, seq: u64) -> Result<Handle> {
        self.stream_by(name, seq, false, |instance| {
            let open =
                |guest: &wit::GuestStore<'_>, store: &mut _, this| guest.call_open_writer(store, this, seq);
            instance.call(name, open)
        })
    }

    /// The same to a snapshot with any number, in the component's own store. It is only made in the directory, wherever snapshots
    /// are.
    pub(super) fn stream_of_any_seq(&mut self, seq: u64) -> Result<Handle> {
        self.stream_by("", seq, true, |instance| {
            let maintenance = instance.bindings.arcella_minisnap_snapshot_maintenance();
            maintenance.call_insert(&mut instance.store, instance.this, seq)
        })
    }

    fn stream_by(
        &mut self,
        name: &str,
        seq: u64,
        is_insert: bool,
        open: impl FnOnce(&mut Instance) -> Answer<ResourceAny>,
    ) -> Result<Handle> {
        self.check_granted()?;
        let span = self.span_of_create(name, seq);
        let _within = span.enter();
        self.in_one_turn(|store| {
            let locked = store.lock(name)?;
            match is_insert {
                true => store.make_room()?,
                false => store.prepare(name, seq)?,
            }
            store.settle_first(name)?;
            let open = |instance: &mut Instance| Ok(open(instance)?.map(Some));
            let result = store.open_stream(name, "open-writer", &span, open);
            let handle = store.explain(result)?;
            // It may have made the directory.
            let locked = match locked {
                None => store.lock(name).inspect_err(|_| store.end(handle))?,
                locked => locked,
            };
            store.with_stream(handle, |stream| {
                (stream.locked, stream.seq, stream.is_insert) = (locked, Some(seq), is_insert);
            });
            Ok(handle)
        })
    }

    /// Opens a stream from the newest sound snapshot, or from the generation with the number `seq`; says what is known
    /// of it, and which generations were skipped to find it.
    pub(crate) fn stream_from(
        &mut self,
        name: &str,
        seq: Option<u64>,
    ) -> Result<(Handle, Info, Vec<Skipped>)> {
        let span = self.span_of_restore(name);
        let _within = span.enter();
        self.in_one_turn(|store| {
            let (handle, before) = store.read_sound(name, seq, |store, seq| {
                store.open_stream(name, "open-reader", &span, |instance| {
                    instance.call(name, |guest, store, this| match seq {
                        None => guest.call_open_reader(store, this),
                        Some(seq) => guest.call_open_reader_at(store, this, seq),
                    })
                })
            })?;
            let known = store.call_stream(handle, "info", |instance| {
                let guest = instance.bindings.arcella_minisnap_snapshot_store();
                let reader = guest.snapshot_reader();
                let info = reader.call_info(&mut instance.store, handle)?;
                Ok(Ok((info, reader.call_skipped(&mut instance.store, handle)?)))
            });
            let (info, skipped) = known.inspect_err(|_| store.end(handle))?;
            span.record("seq", info.seq).record("bytes", info.size);
            let skipped = before.into_iter().chain(skipped.into_iter().map(Into::into)).collect::<Vec<_>>();
            store.tell_restored(info.size, &skipped);
            Ok((handle, info.into(), skipped))
        })
    }

    /// Opens a stream, whose span lasts as long as it.
    fn open_stream(
        &mut self,
        name: &str,
        function: &'static str,
        span: &Span,
        open: impl FnOnce(&mut Instance) -> Answer<Option<ResourceAny>>,
    ) -> Result<Handle> {
        let stream = self.with_instance(function, |instance| {
            let opened = open(instance);
            if let Ok(Ok(Some(resource))) = &opened {
                let (name, span) = (name.to_owned(), span.clone());
                instance.streams.push(Stream {
                    resource: *resource,
                    name,
                    locked: None,
                    span,
                    given: 0,
                    seq: None,
                    is_insert: false,
                    ahead: None,
                });
            }
            opened
        })?;
        stream.ok_or(Error::NotFound)
    }

    /// Writes a chunk of any size to a stream.
    pub(crate) fn write(&mut self, handle: Handle, chunk: &[u8]) -> Result<()> {
        self.in_one_turn_or_disown(handle, |store| {
            // An empty chunk, too, learns of an earlier error.
            for at in (0..chunk.len().max(1)).step_by(CHUNK) {
                let piece = &chunk[at..chunk.len().min(at + CHUNK)];
                let result = store.call_stream(handle, "write", |instance| {
                    if let Some(stream) = instance.stream(handle) {
                        stream.given += piece.len() as u64;
                    }
                    let guest = instance.bindings.arcella_minisnap_snapshot_store();
                    guest.snapshot_writer().call_write(&mut instance.store, handle, piece)
                });
                if result.is_err() {
                    store.with_stream(handle, |stream| stream.ahead = None);
                }
                store.explain(result)?;
                store.put_ahead(handle, piece.len());
            }
            Ok(())
        })
    }

    /// Commits what was written to a stream, which ends it.
    pub(crate) fn commit(&mut self, handle: Handle) -> Result<()> {
        self.in_one_turn_or_disown(handle, |store| {
            let of_stream = |stream: &mut Stream| {
                stream.span.record("bytes", stream.given);
                let ahead = stream.ahead.take();
                (stream.name.clone(), stream.locked.take(), stream.given, stream.seq, stream.is_insert, ahead)
            };
            // Until the end, it is locked.
            let (name, locked, given, seq, is_insert, ahead) =
                store.with_stream(handle, of_stream).unwrap_or_default();
            // What was written lies in the directory that the instance has open.
            let checked = store.dir().and_then(|_| {
                store.check_named(&name, locked.as_ref())?;
                store.check_replaceable(&name)
            });
            checked.inspect_err(|_| store.end(handle))?;
            let result = store.call_stream(handle, "commit", |instance| {
                instance.streams.retain(|stream| stream.resource != handle);
                let guest = instance.bindings.arcella_minisnap_snapshot_store();
                let committed = guest.snapshot_writer().call_commit(&mut instance.store, handle)?;
                instance.count_pruned(&name);
                Ok(committed)
            });
            store.explain(result)?;
            if !is_insert {
                store.ship(&name, seq.unwrap_or(0), ahead)?;
            }
            store.count(Event::Created(given));
            Ok(())
        })
    }

    /// Makes a call on a writer. If it does not begin, the writer is disowned: the state would lack a chunk.
    fn in_one_turn_or_disown(
        &mut self,
        handle: Handle,
        call: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut has_begun = false;
        let result = self.in_one_turn(|store| {
            has_begun = true;
            call(store)
        });
        if !has_begun {
            self.disown(handle);
        }
        result
    }

    /// Makes a snapshot of what `write` writes to a stream, if that says so at its end.
    pub(super) fn create_by(
        &mut self,
        name: &str,
        seq: u64,
        write: impl FnOnce(&mut Self, Handle) -> Result<bool>,
    ) -> Result<bool> {
        let handle = self.stream_to(name, seq)?;
        self.write_by(handle, write)
    }

    /// The same on a stream that is open.
    pub(super) fn write_by(
        &mut self,
        handle: Handle,
        write: impl FnOnce(&mut Self, Handle) -> Result<bool>,
    ) -> Result<bool> {
        /// Ends the stream unless it is committed, also where the call panics.
        struct Open<'s>(&'s mut SnapshotStore, Option<Handle>);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                if let Some(handle) = self.1.take() {
                    self.0.end(handle);
                }
            }
        }
        let mut open = Open(self, Some(handle));
        let is_whole = write(open.0, handle)?;
        if is_whole {
            open.1 = None;
            open.0.commit(handle)?;
        }
        Ok(is_whole)
    }

    fn with_stream<R>(&self, handle: Handle, look: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        self.instance.look(|instance| instance.stream(handle).map(look)).flatten()
    }

    /// Takes a stream from its owner. It is ended before the next call, since that may block now, or its directory not answer.
    pub(crate) fn disown(&mut self, handle: Handle) {
        self.with_stream(handle, |stream| stream.ahead = None);
        self.ownerless.push(handle);
    }

    /// Reads the next chunk from a stream.
    pub(crate) fn read(&mut self, handle: Handle, max: u64) -> Result<Vec<u8>> {
        self.call_stream(handle, "read", |instance| {
            let guest = instance.bindings.arcella_minisnap_snapshot_store();
            guest.snapshot_reader().call_read(&mut instance.store, handle, max)
        })
    }

    /// Ends a stream: one that was written to is undone.
    pub(crate) fn end(&mut self, handle: Handle) {
        if !may_block() {
            return self.disown(handle);
        }
        // Undoing has its own time: it follows on what took too long, too.
        let deadline = std::mem::replace(&mut self.deadline, Deadline::NEVER);
        // It waits for nobody: a stream that stays open is in the way of the next one.
        let has_turn = std::mem::replace(&mut self.has_turn, true);
        let ended = self.call_stream(handle, "end", |instance| {
            instance.streams.retain(|stream| stream.resource != handle);
            handle.resource_drop(&mut instance.store).map(Ok)
        });
        (self.deadline, self.has_turn) = (deadline, has_turn);
        if let Err(error) = ended {
            tracing::debug!(error = error.to_line(), "a stream ended after its instance");
        }
    }

    fn call_stream<R>(
        &mut self,
        handle: Handle,
        name: &'static str,
        call: impl FnOnce(&mut Instance) -> Answer<R>,
    ) -> Result<R> {
        self.in_one_turn(|store| match store.instance.take() {
            // The handle says in which instance it is.
            Some(mut instance) if instance.has_stream(handle) => {
                let span = instance.stream(handle).map(|stream| stream.span.clone());
                let _span = span.map(Span::entered);
                store.call_on(instance, name, call)
            }
            other => {
                if let Some(instance) = other {
                    store.put_back(instance);
                }
                Err(Error::StreamEnded(
                    "the stream has ended: its directory was replaced, or the store's component trapped; \
                         open it again"
                        .to_owned(),
                ))
            }
        })
    }
}
