//! The import `arcella:minisnap/snapshot-store` for components that keep their state in snapshots: one table of its
//! functions, for components that are called synchronously, and for those that are called asynchronously.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use crate::bindings::{ConsumerReader, ConsumerStore, ConsumerWriter, import as wit};
use crate::ctx::SnapshotCtx;
use crate::error::{Error, Result};
use crate::instance::Handle;
use crate::snapshot::{Info, Skipped};
use crate::store::SnapshotStore;

/// The name of the import.
const INTERFACE: &str = "arcella:minisnap/snapshot-store@0.1.0";

/// Gives the components of `linker`, which wasmtime's synchronous functions call, the import
/// `arcella:minisnap/snapshot-store`, backed by the [`SnapshotCtx`] that `view` finds in their data. A call of it blocks.
///
/// The store component runs in an instance and a `wasmtime::Store` of its own: the two share no memory, no file
/// system and no resources.
///
/// What a component hands over in one call is limited by the hostcall fuel of its own `wasmtime::Store`, 128 MiB by
/// default: a host that allows larger states sets more (`Store::set_hostcall_fuel`), twice the size for components
/// whose strings are UTF-16.
///
/// # Errors
///
/// As wasmtime reports it if the import is defined already.
pub fn add_to_linker_sync<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> &mut SnapshotCtx,
) -> wasmtime::Result<()> {
    Import { functions: linker.instance(INTERFACE)?, view, is_async: false }.define()
}

/// The same as [`add_to_linker_sync`], for components that are instantiated and called by wasmtime's asynchronous functions, in a tokio runtime with
/// its time driver (`enable_time`).
///
/// Calls of the store run in threads of [`Minisnap`](crate::MinisnapBuilder::max_calls), which are not the runtime's. A component
/// whose directory does not answer gets its error after the [deadline](crate::Grant::deadline) of its grant, and `busy`
/// from then on until the hanging call has ended, and with it the readers and writers that were open; other components do
/// not notice. Another store on that directory fails at once meanwhile.
///
/// # Errors
///
/// As wasmtime reports it if the import is defined already.
pub fn add_to_linker_async<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> &mut SnapshotCtx,
) -> wasmtime::Result<()> {
    Import { functions: linker.instance(INTERFACE)?, view, is_async: true }.define()
}

/// The import, as it is being defined.
struct Import<'l, T: 'static> {
    functions: LinkerInstance<'l, T>,
    view: fn(&mut T) -> &mut SnapshotCtx,
    is_async: bool,
}

/// The consumer that makes a call.
struct Consumer<'c> {
    ctx: &'c mut SnapshotCtx,
    is_async: bool,
}

/// What a function of the import will return.
type Returns<'c, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'c>>;

/// An answer, or a trap of the consumer.
type Answered<R> = wasmtime::Result<(std::result::Result<R, wit::Error>,)>;

/// What is open under a consumer's handle of a writer.
struct Writer(Handle);

/// What is open under a consumer's handle of a reader.
struct Reader {
    handle: Handle,
    info: Info,
    skipped: Vec<Skipped>,
}

/// What a method of a store is given, which begins with its handle.
trait Given {
    fn this(&self) -> &Resource<ConsumerStore>;
}

impl Given for (Resource<ConsumerStore>,) {
    fn this(&self) -> &Resource<ConsumerStore> {
        &self.0
    }
}

impl Given for (Resource<ConsumerStore>, u64) {
    fn this(&self) -> &Resource<ConsumerStore> {
        &self.0
    }
}

impl Given for (Resource<ConsumerStore>, String, u64) {
    fn this(&self) -> &Resource<ConsumerStore> {
        &self.0
    }
}

impl<T: Send + 'static> Import<'_, T> {
    fn define(mut self) -> wasmtime::Result<()> {
        self.define_stores()?;
        self.define_writers()?;
        self.define_readers()
    }

    fn define_stores(&mut self) -> wasmtime::Result<()> {
        self.resource::<ConsumerStore>("store", |consumer, number| {
            consumer.ctx.close_name(number);
            Box::pin(async { Ok(()) })
        })?;
        self.function("open", |consumer, (name,): (String,)| {
            let opened = consumer.ctx.open_name(&name).map(Resource::<ConsumerStore>::new_own);
            Box::pin(async { answer(opened) })
        })?;
        self.function("names", |mut consumer, (): ()| {
            Box::pin(async move { answer(consumer.call(|store| store.names()).await) })
        })?;
        self.method("create", answer_of_create, |store, name, (_, state, seq): (_, String, u64)| {
            store.create_in(name, &state, seq)
        })?;
        self.method("restore", answer, |store, name, (_,): (_,)| {
            none_is_no_error(store.restore_in(name, None).map(wit::Snapshot::from))
        })?;
        self.method("restore-at", answer, |store, name, (_, seq): (_, u64)| {
            none_is_no_error(store.restore_in(name, Some(seq)).map(wit::Snapshot::from))
        })?;
        self.method("newest-seq", answer, |store, name, (_,): (_,)| {
            none_is_no_error(store.newest_seq_in(name))
        })?;
        self.method("info", answer, |store, name, (_,): (_,)| {
            none_is_no_error(store.info_in(name).map(wit::SnapshotInfo::from))
        })?;
        self.method("generations", answer, |store, name, (_,): (_,)| {
            let infos = store.generations_in(name)?;
            Ok(infos.into_iter().map(wit::SnapshotInfo::from).collect::<Vec<_>>())
        })?;
        self.method("oldest-kept", answer, |store, name, (_,): (_,)| {
            none_is_no_error(store.oldest_kept_in(name))
        })
    }

    fn define_writers(&mut self) -> wasmtime::Result<()> {
        type This = Resource<ConsumerWriter>;
        self.resource::<ConsumerWriter>("snapshot-writer", |consumer, number| {
            Box::pin(consumer.end_writer(Resource::new_own(number)))
        })?;
        self.function(
            "[method]store.open-writer",
            |mut consumer, (store, seq): (Resource<ConsumerStore>, u64)| {
                Box::pin(async move {
                    let name = consumer.ctx.name_of(store.rep())?;
                    match consumer.call(move |store| store.stream_to(&name, seq)).await {
                        Ok(handle) => answer(Ok(consumer.add_writer(handle)?)),
                        Err(error) => answer(Err(error)),
                    }
                })
            },
        )?;
        self.function("[method]snapshot-writer.write", |mut consumer, (this, chunk): (This, Vec<u8>)| {
            Box::pin(async move {
                let Writer(handle) = *consumer.ctx.table.get(&of(&this))?;
                answer(consumer.call_on(handle, move |store| store.write(handle, &chunk)).await)
            })
        })?;
        self.function("[static]snapshot-writer.commit", |mut consumer, (this,): (This,)| {
            Box::pin(async move {
                let Writer(handle) = consumer.ctx.table.delete(of(&this))?;
                answer_of_create(consumer.call_on(handle, move |store| store.commit(handle)).await)
            })
        })?;
        self.function("[static]snapshot-writer.discard", |consumer, (this,): (This,)| {
            Box::pin(consumer.end_writer(this))
        })
    }

    fn define_readers(&mut self) -> wasmtime::Result<()> {
        type This = Resource<ConsumerReader>;
        self.resource::<ConsumerReader>("snapshot-reader", |mut consumer, number| {
            Box::pin(async move {
                let Reader { handle, .. } = consumer.ctx.table.delete(Resource::new_own(number))?;
                consumer.end(handle).await;
                Ok(())
            })
        })?;
        self.function("[method]store.open-reader", |consumer, (store,): (Resource<ConsumerStore>,)| {
            Box::pin(consumer.open_reader(store, None))
        })?;
        self.function(
            "[method]store.open-reader-at",
            |consumer, (store, seq): (Resource<ConsumerStore>, u64)| {
                Box::pin(consumer.open_reader(store, Some(seq)))
            },
        )?;
        self.function("[method]snapshot-reader.info", |consumer, (this,): (This,)| {
            Box::pin(async move {
                let Reader { info, .. } = consumer.ctx.table.get(&of(&this))?;
                Ok((wit::SnapshotInfo::from(info.clone()),))
            })
        })?;
        self.function("[method]snapshot-reader.skipped", |consumer, (this,): (This,)| {
            Box::pin(async move {
                let Reader { skipped, .. } = consumer.ctx.table.get(&of(&this))?;
                Ok((skipped.iter().cloned().map(wit::SkippedSnapshot::from).collect::<Vec<_>>(),))
            })
        })?;
        self.function("[method]snapshot-reader.read", |mut consumer, (this, max): (This, u64)| {
            Box::pin(async move {
                let Reader { handle, .. } = *consumer.ctx.table.get(&of(&this))?;
                answer(consumer.call(move |store| store.read(handle, max)).await)
            })
        })
    }

    /// Defines a method of the store, which makes one call of it, and whose result `answer` converts.
    fn method<P, R>(
        &mut self,
        name: &str,
        answer: fn(Result<R>) -> Answered<R>,
        call: impl Fn(&mut SnapshotStore, &str, P) -> Result<R> + Copy + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        P: Given + ComponentNamedList + Lift + Send + 'static,
        R: Send + 'static,
        (std::result::Result<R, wit::Error>,): ComponentNamedList + Lower,
    {
        self.function(&format!("[method]store.{name}"), move |mut consumer, given: P| {
            Box::pin(async move {
                let name = consumer.ctx.name_of(given.this().rep())?;
                let result = consumer.call(move |store| call(store, &name, given)).await;
                answer(result)
            })
        })
    }

    fn function<P, R>(
        &mut self,
        name: &str,
        call: impl for<'c> Fn(Consumer<'c>, P) -> Returns<'c, R> + Copy + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + Send + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        let Import { functions, view, is_async } = self;
        let (view, is_async) = (*view, *is_async);
        if is_async {
            functions.func_wrap_async(name, move |mut cx: StoreContextMut<'_, T>, params: P| {
                Box::new(async move { call(Consumer { ctx: view(cx.data_mut()), is_async }, params).await })
            })
        } else {
            functions.func_wrap(name, move |mut cx: StoreContextMut<'_, T>, params: P| {
                at_once(call(Consumer { ctx: view(cx.data_mut()), is_async }, params))
            })
        }
    }

    fn resource<R: 'static>(
        &mut self,
        name: &str,
        drop: impl for<'c> Fn(Consumer<'c>, u32) -> Returns<'c, ()> + Copy + Send + Sync + 'static,
    ) -> wasmtime::Result<()> {
        let Import { functions, view, is_async } = self;
        let (view, is_async) = (*view, *is_async);
        let resource = ResourceType::host::<R>();
        if is_async {
            functions.resource_async(name, resource, move |mut cx, number| {
                Box::new(async move { drop(Consumer { ctx: view(cx.data_mut()), is_async }, number).await })
            })
        } else {
            functions.resource(name, resource, move |mut cx, number| {
                at_once(drop(Consumer { ctx: view(cx.data_mut()), is_async }, number))
            })
        }
    }
}

impl Consumer<'_> {
    /// Makes a call of its store: here, or in another thread if it must not block.
    async fn call<R: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut SnapshotStore) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        if self.is_async { self.ctx.call(call).await } else { call(self.ctx.store()?) }
    }

    /// The same for one of its streams.
    async fn call_on<R: Send + 'static>(
        &mut self,
        handle: Handle,
        call: impl FnOnce(&mut SnapshotStore) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        if self.is_async { self.ctx.call_on(handle, call).await } else { call(self.ctx.store()?) }
    }

    fn add_writer(&mut self, handle: Handle) -> wasmtime::Result<Resource<ConsumerWriter>> {
        Ok(Resource::new_own(self.ctx.table.push(Writer(handle))?.rep()))
    }

    async fn open_reader(
        mut self,
        store: Resource<ConsumerStore>,
        seq: Option<u64>,
    ) -> Answered<Option<Resource<ConsumerReader>>> {
        let name = self.ctx.name_of(store.rep())?;
        let opened = self.call(move |store| store.stream_from(&name, seq)).await;
        answer(match none_is_no_error(opened) {
            Ok(Some((handle, info, skipped))) => {
                let reader = self.ctx.table.push(Reader { handle, info, skipped })?;
                Ok(Some(Resource::new_own(reader.rep())))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        })
    }

    async fn end_writer(mut self, writer: Resource<ConsumerWriter>) -> wasmtime::Result<()> {
        let Writer(handle) = self.ctx.table.delete(of(&writer))?;
        self.end(handle).await;
        Ok(())
    }

    /// Ends a stream; whatever becomes of that, the consumer goes on.
    async fn end(&mut self, handle: Handle) {
        let ended = self.call_on(handle, move |store| {
            store.end(handle);
            Ok(())
        });
        if let Err(error) = ended.await {
            tracing::debug!(error = error.to_line(), "a stream was not ended");
        }
    }
}

/// What is open under a consumer's handle.
fn of<C: 'static, O: 'static>(handle: &Resource<C>) -> Resource<O> {
    Resource::new_own(handle.rep())
}

/// What a function returns that waits for nothing.
fn at_once<R>(mut returns: Returns<'_, R>) -> wasmtime::Result<R> {
    match returns.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(returned) => returned,
        Poll::Pending => Err(wasmtime::Error::msg("a call that blocks is never pending")),
    }
}

fn answer<R>(result: Result<R>) -> Answered<R> {
    answer_of_create(result.map_err(|error| match error {
        // A call that has not ended, and commits nothing.
        Error::InDoubt(what) => Error::DeadlineExceeded(what),
        error => error,
    }))
}

fn answer_of_create<R>(result: Result<R>) -> Answered<R> {
    Ok((result.map_err(Into::into),))
}

/// That there is no snapshot is no error to a component.
fn none_is_no_error<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
