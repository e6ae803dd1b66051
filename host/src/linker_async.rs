//! The import `arcella:minisnap/snapshot-store` for components that are called asynchronously.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use crate::ctx::{SnapshotCtx, SnapshotView};
use crate::error::{Error, Result};
use crate::linker::{ConsumerReader, ConsumerStore, ConsumerWriter, INTERFACE, none_is_no_error, wit};
use crate::store::Store;
use crate::stream::Handle;

/// The same as [`add_to_linker`](crate::add_to_linker), for components that are instantiated and called by wasmtime's
/// asynchronous functions, in a tokio runtime with its time driver (`enable_time`).
///
/// Calls of the store run in threads of [`Minisnap`](crate::Minisnap::max_calls), which are not the runtime's. A component
/// whose directory does not answer gets its error after the [deadline](crate::Grant::deadline) of its grant, and `busy`
/// from then on until the hanging call has ended, and with it the readers and writers that were open; other components do
/// not notice. Another store on that directory fails at once meanwhile.
///
/// # Errors
///
/// As wasmtime reports it if the import is defined already.
pub fn add_to_linker_async<T: SnapshotView + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut import = linker.instance(INTERFACE)?;
    let import = &mut import;
    add_stores(import)?;
    add_writers(import)?;
    add_readers(import)
}

/// What a function of the import returns: an answer, or a trap of the consumer.
type Answer<R> = wasmtime::Result<(std::result::Result<R, wit::Error>,)>;

fn answer<R>(result: Result<R>) -> Answer<R> {
    answer_of_create(result.map_err(|error| match error {
        // A call that has not ended, and commits nothing.
        Error::InDoubt(what) => Error::Io(what),
        error => error,
    }))
}

fn answer_of_create<R>(result: Result<R>) -> Answer<R> {
    Ok((result.map_err(Into::into),))
}

/// A handle of a consumer's store.
type This = Resource<ConsumerStore>;

fn add_stores<T: SnapshotView + Send + 'static>(import: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    let store = ResourceType::host::<ConsumerStore>();
    import.resource("store", store, |mut cx, number| {
        cx.data_mut().snapshots().close_name(number);
        Ok(())
    })?;
    import.func_wrap("open", |mut cx: StoreContextMut<'_, T>, (name,): (String,)| {
        let opened = cx.data_mut().snapshots().open_name(&name);
        answer(opened.map(Resource::<ConsumerStore>::new_own))
    })?;
    import.func_wrap_async("names", |mut cx: StoreContextMut<'_, T>, ()| {
        Box::new(async move { answer(cx.data_mut().snapshots().call(|store| store.names()).await) })
    })?;
    add(import, "create", |store, name, (_, state, seq): (This, String, u64)| {
        store.create_in(name, &state, seq)
    })?;
    add(import, "restore", |store, name, (_,): (This,)| {
        none_is_no_error(store.restore_in(name, None).map(wit::Snapshot::from))
    })?;
    add(import, "restore-at", |store, name, (_, seq): (This, u64)| {
        none_is_no_error(store.restore_in(name, Some(seq)).map(wit::Snapshot::from))
    })?;
    add(import, "newest-seq", |store, name, (_,): (This,)| none_is_no_error(store.newest_seq_in(name)))?;
    add(import, "info", |store, name, (_,): (This,)| {
        none_is_no_error(store.info_in(name).map(wit::SnapshotInfo::from))
    })?;
    add(import, "generations", |store, name, (_,): (This,)| {
        let infos = store.generations_in(name)?;
        Ok(infos.into_iter().map(wit::SnapshotInfo::from).collect::<Vec<_>>())
    })?;
    add(import, "oldest-kept", |store, name, (_,): (This,)| none_is_no_error(store.oldest_kept_in(name)))
}

/// What a method of a store is given, which begins with its handle.
trait Given {
    fn this(&self) -> &This;
}

impl Given for (This,) {
    fn this(&self) -> &This {
        &self.0
    }
}

impl Given for (This, u64) {
    fn this(&self) -> &This {
        &self.0
    }
}

impl Given for (This, String, u64) {
    fn this(&self) -> &This {
        &self.0
    }
}

/// Defines a method of the store, which calls it.
fn add<T, P, R>(
    import: &mut LinkerInstance<'_, T>,
    name: &str,
    call: impl Fn(&mut Store, &str, P) -> Result<R> + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    T: SnapshotView + Send + 'static,
    P: Given + ComponentNamedList + Lift + Send + 'static,
    R: Send + 'static,
    (std::result::Result<R, wit::Error>,): ComponentNamedList + Lower,
{
    let is_create = name == "create";
    import.func_wrap_async(
        &format!("[method]store.{name}"),
        move |mut cx: StoreContextMut<'_, T>, params: P| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let name = ctx.name_of(params.this().rep())?;
                let result = ctx.call(move |store| call(store, &name, params)).await;
                if is_create { answer_of_create(result) } else { answer(result) }
            })
        },
    )
}

fn add_writers<T: SnapshotView + Send + 'static>(import: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    let writer = ResourceType::host::<ConsumerWriter>();
    import.resource_async("snapshot-writer", writer, |mut cx, writer| {
        Box::new(async move {
            let ctx = cx.data_mut().snapshots();
            let ConsumerWriter(handle) = ctx.table.delete(Resource::new_own(writer))?;
            end(ctx, handle).await
        })
    })?;
    import.func_wrap_async(
        "[method]store.open-writer",
        |mut cx: StoreContextMut<'_, T>, (this, seq): (This, u64)| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let name = ctx.name_of(this.rep())?;
                let opened = ctx.call(move |store| store.stream_to(&name, seq)).await;
                let opened = opened.map(|handle| ctx.table.push(ConsumerWriter(handle)));
                answer(transpose(opened)?)
            })
        },
    )?;
    import.func_wrap_async(
        "[static]snapshot-writer.discard",
        |mut cx: StoreContextMut<'_, T>, (writer,): (Resource<ConsumerWriter>,)| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let ConsumerWriter(handle) = ctx.table.delete(writer)?;
                end(ctx, handle).await
            })
        },
    )?;
    type Chunk = (Resource<ConsumerWriter>, Vec<u8>);
    import.func_wrap_async(
        "[method]snapshot-writer.write",
        |mut cx: StoreContextMut<'_, T>, (writer, chunk): Chunk| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let ConsumerWriter(handle) = *ctx.table.get(&writer)?;
                answer(ctx.call_on(handle, move |store| store.write(handle, &chunk)).await)
            })
        },
    )?;
    import.func_wrap_async(
        "[static]snapshot-writer.commit",
        |mut cx: StoreContextMut<'_, T>, (writer,): (Resource<ConsumerWriter>,)| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let ConsumerWriter(handle) = ctx.table.delete(writer)?;
                answer_of_create(ctx.call_on(handle, move |store| store.commit(handle)).await)
            })
        },
    )
}

fn add_readers<T: SnapshotView + Send + 'static>(import: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    let reader = ResourceType::host::<ConsumerReader>();
    import.resource_async("snapshot-reader", reader, |mut cx, reader| {
        Box::new(async move {
            let ctx = cx.data_mut().snapshots();
            let ConsumerReader { handle, .. } = ctx.table.delete(Resource::new_own(reader))?;
            end(ctx, handle).await
        })
    })?;
    import.func_wrap_async(
        "[method]store.open-reader",
        |mut cx: StoreContextMut<'_, T>, (this,): (This,)| {
            Box::new(async move { open_reader(cx.data_mut().snapshots(), &this, None).await })
        },
    )?;
    import.func_wrap_async(
        "[method]store.open-reader-at",
        |mut cx: StoreContextMut<'_, T>, (this, seq): (This, u64)| {
            Box::new(async move { open_reader(cx.data_mut().snapshots(), &this, Some(seq)).await })
        },
    )?;
    type Reader = (Resource<ConsumerReader>,);
    import.func_wrap(
        "[method]snapshot-reader.info",
        |mut cx: StoreContextMut<'_, T>, (reader,): Reader| {
            let reader = cx.data_mut().snapshots().table.get(&reader)?;
            Ok((wit::SnapshotInfo::from(reader.info.clone()),))
        },
    )?;
    import.func_wrap(
        "[method]snapshot-reader.skipped",
        |mut cx: StoreContextMut<'_, T>, (reader,): Reader| {
            let reader = cx.data_mut().snapshots().table.get(&reader)?;
            let skipped = reader.skipped.iter().cloned().map(wit::SkippedSnapshot::from);
            Ok((skipped.collect::<Vec<_>>(),))
        },
    )?;
    import.func_wrap_async(
        "[method]snapshot-reader.read",
        |mut cx: StoreContextMut<'_, T>, (reader, max): (Resource<ConsumerReader>, u64)| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let handle = ctx.table.get(&reader)?.handle;
                answer(ctx.call(move |store| store.read(handle, max)).await)
            })
        },
    )
}

async fn open_reader(
    ctx: &mut SnapshotCtx,
    this: &This,
    seq: Option<u64>,
) -> Answer<Option<Resource<ConsumerReader>>> {
    let name = ctx.name_of(this.rep())?;
    let opened = none_is_no_error(ctx.call(move |store| store.stream_from(&name, seq)).await);
    let opened = opened.map(|found| {
        let push = |(handle, info, skipped)| ctx.table.push(ConsumerReader { handle, info, skipped });
        found.map(push).transpose()
    });
    answer(transpose(opened)?)
}

/// Ends a stream; whatever becomes of that, the consumer goes on.
async fn end(ctx: &mut SnapshotCtx, handle: Handle) -> wasmtime::Result<()> {
    let ended = ctx.call_on(handle, move |store| {
        store.end(handle);
        Ok(())
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a stream was not ended");
    }
    Ok(())
}

/// A handle that could not be made is a trap.
fn transpose<R, E: Into<wasmtime::Error>>(
    opened: Result<std::result::Result<R, E>>,
) -> wasmtime::Result<Result<R>> {
    match opened {
        Ok(Ok(handle)) => Ok(Ok(handle)),
        Ok(Err(trap)) => Err(trap.into()),
        Err(error) => Ok(Err(error)),
    }
}
