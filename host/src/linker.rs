//! The import `arcella:minisnap/snapshot-store` for components that keep their state in snapshots.

use wasmtime::component::{HasData, Linker, Resource};

use crate::ctx::{SnapshotCtx, SnapshotView};
use crate::error::Error;
use crate::snapshot::{Info, Skipped};
use crate::stream::Handle;
pub(crate) use bindings::arcella::minisnap::snapshot_store as wit;

mod bindings {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "consumer",
        with: {
            "arcella:minisnap/snapshot-store.snapshot-writer": super::ConsumerWriter,
            "arcella:minisnap/snapshot-store.snapshot-reader": super::ConsumerReader,
        },
        imports: { default: trappable },
    });
}

/// A writer that a consumer component has open.
pub struct ConsumerWriter(pub(crate) Handle);

/// A reader that a consumer component has open.
pub struct ConsumerReader {
    pub(crate) handle: Handle,
    pub(crate) info: Info,
    pub(crate) skipped: Vec<Skipped>,
}

/// The name of the import.
pub(crate) const INTERFACE: &str = "arcella:minisnap/snapshot-store@0.1.0";

/// Gives components of `linker` the import `arcella:minisnap/snapshot-store`, backed by the [`SnapshotCtx`] of their data.
///
/// The store's component runs in an instance and a `wasmtime::Store` of its own: the two share no memory, no file
/// system and no resources.
///
/// What a component hands over in one call is limited by the hostcall fuel of its own `wasmtime::Store`, 128 MiB by
/// default: a host that allows larger states sets more (`Store::set_hostcall_fuel`), twice the size for components
/// whose strings are UTF-16.
///
/// # Errors
///
/// As wasmtime reports it if the import is defined already.
pub fn add_to_linker<T: SnapshotView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    struct View;
    impl HasData for View {
        type Data<'a> = &'a mut SnapshotCtx;
    }
    wit::add_to_linker::<T, View>(linker, T::snapshots)
}

/// What a function of the import returns: an answer, or a trap of the consumer.
type Answer<R> = wasmtime::Result<Result<R, wit::Error>>;

fn answer<T, R: From<T>>(result: Result<T, Error>) -> Answer<R> {
    Ok(result.map(Into::into).map_err(Into::into))
}

impl wit::Host for SnapshotCtx {
    fn create(&mut self, state: String, seq: u64) -> Answer<()> {
        answer(self.store().and_then(|store| store.create_text(&state, seq)))
    }

    fn restore(&mut self) -> Answer<wit::Snapshot> {
        answer(self.store().and_then(|store| store.restore_text()))
    }

    fn restore_at(&mut self, seq: u64) -> Answer<wit::Snapshot> {
        answer(self.store().and_then(|store| store.restore_text_at(seq)))
    }

    fn exists(&mut self) -> Answer<bool> {
        answer(self.store().and_then(|store| store.exists()))
    }

    fn info(&mut self) -> Answer<wit::SnapshotInfo> {
        answer(self.store().and_then(|store| store.info()))
    }

    fn list(&mut self) -> Answer<Vec<wit::SnapshotInfo>> {
        let infos = self.store().and_then(|store| store.list());
        answer(infos.map(|infos| infos.into_iter().map(Into::into).collect::<Vec<_>>()))
    }

    fn oldest_kept(&mut self) -> Answer<u64> {
        answer(self.store().and_then(|store| store.oldest_kept()))
    }

    fn open_writer(&mut self, seq: u64) -> Answer<Resource<ConsumerWriter>> {
        match self.store().and_then(|store| store.stream_to(seq)) {
            Ok(handle) => Ok(Ok(self.table.push(ConsumerWriter(handle))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn open_reader(&mut self) -> Answer<Resource<ConsumerReader>> {
        self.reader_for_consumer(None)
    }

    fn open_reader_at(&mut self, seq: u64) -> Answer<Resource<ConsumerReader>> {
        self.reader_for_consumer(Some(seq))
    }
}

impl SnapshotCtx {
    fn reader_for_consumer(&mut self, seq: Option<u64>) -> Answer<Resource<ConsumerReader>> {
        match self.store().and_then(|store| store.stream_from(seq)) {
            Ok((handle, info, skipped)) => {
                Ok(Ok(self.table.push(ConsumerReader { handle, info, skipped })?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl wit::HostSnapshotWriter for SnapshotCtx {
    fn write(&mut self, writer: Resource<ConsumerWriter>, chunk: Vec<u8>) -> Answer<()> {
        let ConsumerWriter(handle) = *self.table.get(&writer)?;
        answer(self.store().and_then(|store| store.write(handle, &chunk)))
    }

    fn commit(&mut self, writer: Resource<ConsumerWriter>) -> Answer<()> {
        let ConsumerWriter(handle) = self.table.delete(writer)?;
        answer(self.store().and_then(|store| store.commit(handle)))
    }

    fn drop(&mut self, writer: Resource<ConsumerWriter>) -> wasmtime::Result<()> {
        let ConsumerWriter(handle) = self.table.delete(writer)?;
        if let Ok(store) = self.store() {
            store.end(handle);
        }
        Ok(())
    }
}

impl wit::HostSnapshotReader for SnapshotCtx {
    fn info(&mut self, reader: Resource<ConsumerReader>) -> wasmtime::Result<wit::SnapshotInfo> {
        let ConsumerReader { info, .. } = self.table.get(&reader)?;
        Ok(info.clone().into())
    }

    fn skipped(&mut self, reader: Resource<ConsumerReader>) -> wasmtime::Result<Vec<wit::SkippedSnapshot>> {
        let ConsumerReader { skipped, .. } = self.table.get(&reader)?;
        Ok(skipped.iter().cloned().map(Into::into).collect())
    }

    fn read(&mut self, reader: Resource<ConsumerReader>, max: u64) -> Answer<Vec<u8>> {
        let ConsumerReader { handle, .. } = *self.table.get(&reader)?;
        answer(self.store().and_then(|store| store.read(handle, max)))
    }

    fn drop(&mut self, reader: Resource<ConsumerReader>) -> wasmtime::Result<()> {
        let ConsumerReader { handle, .. } = self.table.delete(reader)?;
        if let Ok(store) = self.store() {
            store.end(handle);
        }
        Ok(())
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => wit::Error::NotFound,
            Error::InvalidState(what) => wit::Error::InvalidState(what),
            Error::Stale(newest) => wit::Error::Stale(newest),
            Error::TooLarge(limit) => wit::Error::TooLarge(limit),
            Error::Corrupt(what) => wit::Error::Corrupt(what),
            Error::NoSpace => wit::Error::NoSpace,
            Error::AccessDenied => wit::Error::AccessDenied,
            Error::Busy { holder: _ } => wit::Error::Busy,
            Error::Io(what) => wit::Error::Io(without_host_path(&what)),
            Error::OtherType(_) => wit::Error::Io("the stored state is of another type".to_owned()),
            Error::Component(error) => {
                // Its backtrace is the host's business.
                tracing::debug!(error = format_args!("{error:#}"), "the store component failed");
                wit::Error::Io("the snapshot store failed; its host can say why".to_owned())
            }
        }
    }
}

/// A message without the path of the host that it names, if it does: where the directory is, a component need not know.
fn without_host_path(what: &str) -> String {
    let is_path = |(at, _): &(usize, &str)| std::path::Path::new(&what[at + 1..]).is_absolute();
    let first = what.match_indices('`').find(is_path).map(|(at, _)| at);
    match (first, what.rfind('`')) {
        // A path may have such a quote in it.
        (Some(first), Some(last)) if first < last => {
            let before = what[..first].strip_suffix("the directory ").unwrap_or(&what[..first]);
            format!("{before}the snapshot directory{}", &what[last + 1..])
        }
        _ => what.to_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_no_path_of_the_host() {
        for (what, told) in [
            ("the directory `/srv/a` is gone: put it back", "the snapshot directory is gone: put it back"),
            ("cannot open `/srv/a`b/c`: no such file", "cannot open the snapshot directory: no such file"),
            ("cannot read `snapshot.json`: it is a link", "cannot read `snapshot.json`: it is a link"),
            ("the disk is too slow", "the disk is too slow"),
        ] {
            assert_eq!(without_host_path(what), told);
        }
    }
}
