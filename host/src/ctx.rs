//! What a consumer component's snapshots need in its host: its store, and the streams that it has open.

use std::fmt;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use wasmtime::component::ResourceTable;

use crate::error::{Error, Result};
use crate::store::Store;

/// How much longer than its deadline a call may take before its caller is told, so that one that can be interrupted says
/// itself what happened.
const GRACE: Duration = Duration::from_millis(500);

/// The snapshots of one consumer, made from a [`Store`], which was opened by a grant.
///
/// It belongs into the data of the consumer's `wasmtime::Store`, where [`SnapshotView`] finds it.
pub struct SnapshotCtx {
    store: Place,
    /// The readers and writers that the consumer has open.
    pub(crate) table: ResourceTable,
}

/// Where the store is.
enum Place {
    Here(Box<Store>),
    /// In a thread that calls it, and will send it back.
    Called(Receiver<Box<Store>>),
}

/// What a linker's data must give: the snapshots of its component.
pub trait SnapshotView {
    /// The component's snapshots.
    fn snapshots(&mut self) -> &mut SnapshotCtx;
}

impl SnapshotCtx {
    /// The snapshots that are in `store`.
    pub fn new(store: Store) -> Self {
        SnapshotCtx { store: Place::Here(Box::new(store)), table: ResourceTable::new() }
    }

    /// The store, for the host's own calls.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while a call of the component is running, because a system call of it hangs; [`Error::Io`] if one
    /// has panicked.
    pub fn store(&mut self) -> Result<&mut Store> {
        if let Place::Called(returning) = &self.store {
            self.store = match returning.try_recv() {
                Ok(store) => Place::Here(store),
                Err(TryRecvError::Empty) => return Err(Error::Busy { holder: Some(std::process::id()) }),
                Err(TryRecvError::Disconnected) => return Err(panicked()),
            };
        }
        match &mut self.store {
            Place::Here(store) => Ok(store),
            Place::Called(_) => Err(panicked()),
        }
    }

    /// Ends the readers and writers that the component has left open, and gives the store back, for another component.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn into_store(mut self) -> Result<Store> {
        self.store()?.end_streams();
        match self.store {
            Place::Here(store) => Ok(*store),
            Place::Called(_) => Err(panicked()),
        }
    }

    /// Calls the store in a thread for what blocks, so that neither a slow disk nor one that does not answer holds up
    /// anybody else.
    pub(crate) async fn call<R: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut Store) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let deadline = self.store()?.grant().deadline_of_a_call();
        let (back, returning) = channel();
        let Place::Here(mut store) = std::mem::replace(&mut self.store, Place::Called(returning)) else {
            return Err(panicked());
        };
        let called = tokio::task::spawn_blocking(move || {
            let result = call(&mut store);
            // Where nobody waits for it any more, it ends here.
            let _ = back.send(store);
            result
        });
        match tokio::time::timeout(deadline.saturating_add(GRACE), called).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(panicked()),
            Err(_) => Err(Error::Io(format!(
                "the call has not ended after {deadline:?}, since the file system does not answer; it may end yet: \
                 restore the snapshot to see"
            ))),
        }
    }
}

fn panicked() -> Error {
    Error::Io("a call of the snapshot store panicked: open the store again".to_owned())
}

impl fmt::Debug for SnapshotCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = match &self.store {
            Place::Here(store) => Some(store),
            Place::Called(_) => None,
        };
        f.debug_struct("SnapshotCtx").field("store", &store).finish_non_exhaustive()
    }
}
