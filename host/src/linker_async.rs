//! The import `arcella:minisnap/snapshot-store` for components that are called asynchronously.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use crate::ctx::{SnapshotCtx, SnapshotView};
use crate::error::Result;
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
    Ok((result.map_err(Into::into),))
}

/// A handle of a consumer's store.
type This = Resource<ConsumerStore>;

fn add_stores<T: SnapshotView + Send + 'static>(import: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    let store = ResourceType::host::<ConsumerStore>();
    import.resource("store", store, |mut cx, store| {
        cx.data_mut().snapshots().table.delete(Resource::<ConsumerStore>::new_own(store))?;
        Ok(())
    })?;
    import.func_wrap_async("open", |mut cx: StoreContextMut<'_, T>, (name,): (String,)| {
        Box::new(async move {
            let ctx = cx.data_mut().snapshots();
            let opened = ctx.call(move |store| store.open_name(&name)).await;
            let opened = opened.map(|()| ctx.table.push(ConsumerStore));
            answer(transpose(opened)?)
        })
    })?;
    import.func_wrap_async("names", |mut cx: StoreContextMut<'_, T>, ()| {
        Box::new(async move { answer(cx.data_mut().snapshots().call(|store| store.names()).await) })
    })?;
    add(import, "create", |store, (_, state, seq): (This, String, u64)| store.create_text(&state, seq))?;
    add(import, "restore", |store, (_,): (This,)| {
        none_is_no_error(store.restore_text().map(wit::Snapshot::from))
    })?;
    add(import, "restore-at", |store, (_, seq): (This, u64)| {
        none_is_no_error(store.restore_text_at(seq).map(wit::Snapshot::from))
    })?;
    add(import, "newest-seq", |store, (_,): (This,)| none_is_no_error(store.newest_seq()))?;
    add(import, "info", |store, (_,): (This,)| none_is_no_error(store.info().map(wit::SnapshotInfo::from)))?;
    add(import, "generations", |store, (_,): (This,)| {
        Ok(store.generations()?.into_iter().map(wit::SnapshotInfo::from).collect::<Vec<_>>())
    })?;
    add(import, "oldest-kept", |store, (_,): (This,)| none_is_no_error(store.oldest_kept()))
}

/// Defines a method of the store, which calls it.
fn add<T, P, R>(
    import: &mut LinkerInstance<'_, T>,
    name: &str,
    call: impl Fn(&mut Store, P) -> Result<R> + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    T: SnapshotView + Send + 'static,
    P: ComponentNamedList + Lift + Send + 'static,
    R: Send + 'static,
    (std::result::Result<R, wit::Error>,): ComponentNamedList + Lower,
{
    import.func_wrap_async(
        &format!("[method]store.{name}"),
        move |mut cx: StoreContextMut<'_, T>, params: P| {
            Box::new(
                async move { answer(cx.data_mut().snapshots().call(move |store| call(store, params)).await) },
            )
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
        |mut cx: StoreContextMut<'_, T>, (_, seq): (This, u64)| {
            Box::new(async move {
                let ctx = cx.data_mut().snapshots();
                let opened = ctx.call(move |store| store.stream_to(seq)).await;
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
                answer(ctx.call_on(handle, move |store| store.commit(handle)).await)
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
        |mut cx: StoreContextMut<'_, T>, (_,): (This,)| {
            Box::new(async move { open_reader(cx.data_mut().snapshots(), None).await })
        },
    )?;
    import.func_wrap_async(
        "[method]store.open-reader-at",
        |mut cx: StoreContextMut<'_, T>, (_, seq): (This, u64)| {
            Box::new(async move { open_reader(cx.data_mut().snapshots(), Some(seq)).await })
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

async fn open_reader(ctx: &mut SnapshotCtx, seq: Option<u64>) -> Answer<Option<Resource<ConsumerReader>>> {
    let opened = none_is_no_error(ctx.call(move |store| store.stream_from(seq)).await);
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
