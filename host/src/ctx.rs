//! What a consumer component's snapshots need in its host: its store, and the streams that it has open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::{fmt, mem};

use tokio::runtime;
use tokio::sync::oneshot;
use wasmtime::component::ResourceTable;

use crate::blocking::check_may_block;
use crate::calls::{Calls, GRACE, Target};
use crate::clock::Deadline;
use crate::component::{Minisnap, locate};
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::instance::Handle;
use crate::metrics::{Event, Labels};
use crate::store::SnapshotStore;

/// The snapshots of one component, made from a [`SnapshotStore`], or from a grant whose store is opened by the first call.
///
/// It belongs into the data of the component's `wasmtime::Store`. The function that is given to
/// [`add_to_linker_sync`](crate::add_to_linker_sync) or [`add_to_linker_async`](crate::add_to_linker_async) finds it there.
///
/// Dropping it discards what the component was writing, and releases the directory. In a tokio runtime, that happens in
/// another thread if anything is open, for it blocks: a host that opens the directory again at once waits for
/// [`into_store_async`](Self::into_store_async) instead.
pub struct SnapshotCtx {
    store: Place,
    /// Whether nobody waited for the end of the last call, which may have opened a stream that has no owner.
    overdue: bool,
    calls: Arc<Calls>,
    target: Arc<Target>,
    /// The readers and writers that the consumer has open.
    pub(crate) table: ResourceTable,
    names: Names,
}

/// The names of the stores that are open: a handle is the number of its name, so that any number of handles costs nothing.
#[derive(Default)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    /// Each with the number of its handles; those without any are free.
    open: Vec<(Arc<str>, usize)>,
    free: Vec<u32>,
}

/// How many names may be open beyond those of the stores that there may be.
const MAX_UNMADE: usize = 1000;

impl Names {
    /// The number of a name, with one more handle; `None` if `most` others are open.
    fn open(&mut self, name: &str, most: usize) -> Option<u32> {
        if let Some(&number) = self.numbers.get(name) {
            self.open[number as usize].1 += 1;
            return Some(number);
        }
        if self.numbers.len() >= most {
            return None;
        }
        let name = Arc::<str>::from(name);
        let number = match self.free.pop() {
            Some(number) => {
                self.open[number as usize] = (name.clone(), 1);
                number
            }
            None => {
                self.open.push((name.clone(), 1));
                u32::try_from(self.open.len() - 1).ok()?
            }
        };
        self.numbers.insert(name, number);
        Some(number)
    }

    fn close(&mut self, number: u32) {
        let Some((name, handles)) = self.open.get_mut(number as usize).filter(|(_, handles)| *handles > 0)
        else {
            return;
        };
        *handles -= 1;
        if *handles == 0 {
            self.numbers.remove(name);
            self.free.push(number);
        }
    }

    fn get(&self, number: u32) -> Option<Arc<str>> {
        self.open.get(number as usize).filter(|(_, handles)| *handles > 0).map(|(name, _)| name.clone())
    }
}

/// Where the store is.
enum Place {
    /// Opened by the first call.
    Unopened(Box<Unopened>),
    Here(Box<SnapshotStore>),
    /// In a thread that calls it, and will send it back.
    Called(Receiver<Place>),
    /// Given back to the host, or lost in a panic.
    Gone,
}

/// A store that is not open yet.
struct Unopened {
    minisnap: Minisnap,
    grant: Grant,
    target: Arc<Target>,
}

impl SnapshotCtx {
    /// The snapshots that are in `store`.
    pub fn new(store: SnapshotStore) -> Self {
        let (calls, target) = store.calls();
        let (calls, target) = (calls.clone(), target.clone());
        Self::at(Place::Here(Box::new(store)), calls, target)
    }

    /// The snapshots of `grant`, opened by the first call: a component that makes no call takes no directory. If opening
    /// fails, that call fails, and the next one tries again.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the grant's path is relative to a working directory that is not there.
    pub fn lazy(minisnap: &Minisnap, grant: Grant) -> Result<Self> {
        let (grant, target) = locate(grant)?;
        let calls = minisnap.calls().clone();
        let unopened = Unopened { minisnap: minisnap.clone(), grant, target: target.clone() };
        Ok(Self::at(Place::Unopened(Box::new(unopened)), calls, target))
    }

    fn at(store: Place, calls: Arc<Calls>, target: Arc<Target>) -> Self {
        SnapshotCtx {
            calls,
            target,
            store,
            overdue: false,
            table: ResourceTable::new(),
            names: Names::default(),
        }
    }

    /// The store, for the host's own calls, which block: not for a task of an asynchronous runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while a call of the component is running, because a system call of it hangs; [`Error::Io`] if one
    /// has panicked; and as [`Minisnap::open`] if it is [opened](Self::lazy) now.
    pub fn store(&mut self) -> Result<&mut SnapshotStore> {
        self.look()?;
        if let Place::Unopened(unopened) = &self.store {
            check_may_block()?;
            let Unopened { minisnap, grant, .. } = &**unopened;
            self.store = Place::Here(Box::new(minisnap.open(grant.clone())?));
        }
        let overdue = mem::take(&mut self.overdue);
        let Place::Here(store) = &mut self.store else { return Err(panicked()) };
        if overdue {
            store.end_streams();
        }
        Ok(store)
    }

    /// Opens the store of this name: the number of its handle.
    pub(crate) fn open_name(&mut self, name: &str) -> Result<u32> {
        self.look()?;
        let grant = self.store.grant()?;
        grant.check_name(name)?;
        let most = (grant.stores as usize).saturating_add(MAX_UNMADE);
        let opened = self.names.open(name, most);
        opened.ok_or_else(|| Error::Busy(format!("{most} stores are open: drop one first")))
    }

    /// Ends a handle.
    pub(crate) fn close_name(&mut self, number: u32) {
        self.names.close(number);
    }

    /// The name of this number.
    pub(crate) fn name_of(&self, number: u32) -> wasmtime::Result<Arc<str>> {
        self.names.get(number).ok_or_else(|| wasmtime::Error::msg("there is no such store"))
    }

    /// Drops the readers and writers that the component has left open, and gives the store back, for another component.
    /// It blocks, as [`store`](Self::store).
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn into_store(mut self) -> Result<SnapshotStore> {
        self.store()?.end_streams();
        self.take_store()
    }

    /// The same in a tokio runtime with its time driver.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), and [`Error::DeadlineExceeded`] if the file system does not answer.
    pub async fn into_store_async(mut self) -> Result<SnapshotStore> {
        self.call(|store| {
            store.end_streams();
            Ok(())
        })
        .await?;
        self.take_store()
    }

    fn take_store(&mut self) -> Result<SnapshotStore> {
        match mem::replace(&mut self.store, Place::Gone) {
            Place::Here(store) => Ok(*store),
            _ => Err(panicked()),
        }
    }

    /// Looks whether the store has come back from a call that nobody waited for.
    fn look(&mut self) -> Result<()> {
        if let Place::Called(returning) = &self.store {
            self.store = match returning.try_recv() {
                Ok(place) => place,
                Err(TryRecvError::Empty) => {
                    return Err(Error::Busy(
                        "a call before this one has not ended: its file system hangs".to_owned(),
                    ));
                }
                Err(TryRecvError::Disconnected) => return Err(panicked()),
            };
            self.overdue = true;
        }
        Ok(())
    }

    /// Calls the store in another thread, so that a slow or hanging disk does not block the task: for the host's own calls
    /// in a tokio runtime with its time driver.
    ///
    /// ```no_run
    /// # async fn restored(ctx: &mut minisnap_host::SnapshotCtx) -> minisnap_host::Result<String> {
    /// let snapshot = ctx.call(|store| store.restore_text()).await?;
    /// # Ok(snapshot.state)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `call`; [`Error::DeadlineExceeded`] if it does not begin before the [deadline](crate::Grant::deadline), and [`Error::InDoubt`] if
    /// it does not end.
    pub async fn call<R: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut SnapshotStore) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        self.begin(call).await?
    }

    /// The same for a stream. If the call does not begin, the stream has no owner any more, and is ended before the next call.
    pub(crate) async fn call_on<R: Send + 'static>(
        &mut self,
        handle: Handle,
        call: impl FnOnce(&mut SnapshotStore) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let result = self.begin(call).await;
        if result.is_err()
            && let Place::Here(store) = &mut self.store
        {
            store.disown(handle);
        }
        result?
    }

    /// What a call returns, or why it has not begun.
    async fn begin<R: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut SnapshotStore) -> Result<R> + Send + 'static,
    ) -> Result<Result<R>> {
        self.look()?;
        let overdue = self.overdue;
        let grant = self.store.grant()?;
        let (deadline, labels) = (grant.deadline, Labels::of(grant));
        let failed = |error: Error| {
            labels.count(Event::Failed(&error));
            error
        };
        // What is ended first has its own time.
        let ends_streams = overdue || self.store.has_ownerless();
        let time = if ends_streams { deadline.saturating_mul(2) } else { deadline };
        let until = Deadline::after(time);
        if let Place::Here(store) = &self.store {
            // A call may have found out on which file system it is.
            self.target = store.calls().1.clone();
        }
        let (back, returning) = channel();
        let mut place = mem::replace(&mut self.store, Place::Called(returning));
        let (answer, mut answered) = oneshot::channel();
        let not_begun = labels.clone();
        let submitted = self.calls.submit(&self.target, until, move |turn| {
            let turn = turn.inspect_err(|error| not_begun.count(Event::Failed(error)));
            let result = turn.map(|()| {
                let store = place.opened()?;
                match overdue {
                    true => store.end_streams(),
                    false => store.end_ownerless(),
                }
                store.in_turn(Deadline::after(deadline).or(until), call)
            });
            // Where nobody waits for it any more, it ends here.
            let _ = back.send(place);
            let _ = answer.send(result);
        });
        let result = match tokio::time::timeout(time.saturating_add(GRACE), &mut answered).await {
            Ok(result) => result,
            Err(_) if submitted.withdraw() => answered.await,
            Err(_) => {
                return Ok(Err(failed(Error::InDoubt(format!(
                    "the call has not ended after {deadline:?}, and may still complete: restore the snapshot to find out, \
                     and open readers and writers again"
                )))));
            }
        };
        let Ok(result) = result else {
            // It may have committed before.
            return Ok(Err(failed(Error::InDoubt(
                "a call of the snapshot store panicked: open the store again, and restore the snapshot to see".to_owned(),
            ))));
        };
        self.look()?;
        self.overdue = overdue && result.is_err();
        result
    }
}

impl Drop for SnapshotCtx {
    fn drop(&mut self) {
        let place = mem::replace(&mut self.store, Place::Gone);
        let may_block = match &place {
            Place::Here(store) => store.blocks_at_its_end(),
            // It may have come back just now, or comes back to nobody.
            Place::Called(_) => true,
            Place::Unopened(_) | Place::Gone => false,
        };
        if !may_block || runtime::Handle::try_current().is_err() {
            return;
        }
        let end = move |turn: Result<()>| match turn {
            Ok(()) => drop(place),
            Err(_) => place.abandon(),
        };
        self.calls.submit(&self.target, Deadline::NEVER, end).detach();
    }
}

impl Place {
    /// What was granted, while no call is running.
    fn grant(&self) -> Result<&Grant> {
        match self {
            Place::Unopened(unopened) => Ok(&unopened.grant),
            Place::Here(store) => Ok(store.grant()),
            Place::Called(_) | Place::Gone => Err(panicked()),
        }
    }

    /// The store, opened now if it was not yet.
    fn opened(&mut self) -> Result<&mut SnapshotStore> {
        if let Place::Unopened(unopened) = self {
            let Unopened { minisnap, grant, target } = &**unopened;
            *self = Place::Here(Box::new(minisnap.open_lazily(grant.clone(), target.clone())?));
        }
        match self {
            Place::Here(store) => Ok(store),
            _ => Err(panicked()),
        }
    }

    fn has_ownerless(&self) -> bool {
        matches!(self, Place::Here(store) if store.has_ownerless())
    }

    /// Throws the store away in a way that does not block.
    fn abandon(self) {
        match self {
            Place::Here(mut store) => store.abandon_streams(),
            Place::Called(returning) => {
                if let Ok(place) = returning.try_recv() {
                    place.abandon();
                }
            }
            Place::Unopened(_) | Place::Gone => {}
        }
    }
}

fn panicked() -> Error {
    Error::other("a call of the snapshot store panicked: open the store again")
}

impl fmt::Debug for SnapshotCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotCtx").field("grant", &self.store.grant().ok()).finish_non_exhaustive()
    }
}
