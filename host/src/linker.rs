//! The import `arcella:minisnap/snapshot-store` for components that keep their state in snapshots.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource};

use crate::ctx::{SnapshotCtx, SnapshotView};
use crate::error::Error;
use crate::snapshot::{Info, Skipped};
use crate::store::Store;
use crate::stream::Handle;
pub(crate) use bindings::arcella::minisnap::snapshot_store as wit;

mod bindings {
    #![allow(missing_docs, reason = "the WIT documents what is generated from it")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "consumer",
        with: {
            "arcella:minisnap/snapshot-store.store": super::ConsumerStore,
            "arcella:minisnap/snapshot-store.snapshot-writer": super::ConsumerWriter,
            "arcella:minisnap/snapshot-store.snapshot-reader": super::ConsumerReader,
        },
        imports: { default: trappable },
    });
}

/// What a consumer component's handle of a store is of; it is the number of a name.
pub enum ConsumerStore {}

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

/// The same of what there may not be.
fn some<T, R: From<T>>(result: Result<T, Error>) -> Answer<Option<R>> {
    Ok(none_is_no_error(result).map(|found| found.map(Into::into)).map_err(Into::into))
}

/// That there is no snapshot is no error to a component.
pub(crate) fn none_is_no_error<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

impl wit::Host for SnapshotCtx {
    fn open(&mut self, name: String) -> Answer<Resource<ConsumerStore>> {
        answer(self.open_name(&name).map(Resource::new_own))
    }

    fn names(&mut self) -> Answer<Vec<String>> {
        answer(self.store().and_then(|store| store.names()))
    }
}

impl wit::HostStore for SnapshotCtx {
    fn create(&mut self, this: Resource<ConsumerStore>, state: String, seq: u64) -> Answer<()> {
        answer(self.opened(&this)?.and_then(|(store, name)| store.create_in(&name, &state, seq)))
    }

    fn restore(&mut self, this: Resource<ConsumerStore>) -> Answer<Option<wit::Snapshot>> {
        some(self.opened(&this)?.and_then(|(store, name)| store.restore_in(&name, None)))
    }

    fn restore_at(&mut self, this: Resource<ConsumerStore>, seq: u64) -> Answer<Option<wit::Snapshot>> {
        some(self.opened(&this)?.and_then(|(store, name)| store.restore_in(&name, Some(seq))))
    }

    fn newest_seq(&mut self, this: Resource<ConsumerStore>) -> Answer<Option<u64>> {
        some(self.opened(&this)?.and_then(|(store, name)| store.newest_seq_in(&name)))
    }

    fn info(&mut self, this: Resource<ConsumerStore>) -> Answer<Option<wit::SnapshotInfo>> {
        some(self.opened(&this)?.and_then(|(store, name)| store.info_in(&name)))
    }

    fn generations(&mut self, this: Resource<ConsumerStore>) -> Answer<Vec<wit::SnapshotInfo>> {
        let infos = self.opened(&this)?.and_then(|(store, name)| store.generations_in(&name));
        answer(infos.map(|infos| infos.into_iter().map(Into::into).collect::<Vec<_>>()))
    }

    fn oldest_kept(&mut self, this: Resource<ConsumerStore>) -> Answer<Option<u64>> {
        some(self.opened(&this)?.and_then(|(store, name)| store.oldest_kept_in(&name)))
    }

    fn open_writer(&mut self, this: Resource<ConsumerStore>, seq: u64) -> Answer<Resource<ConsumerWriter>> {
        match self.opened(&this)?.and_then(|(store, name)| store.stream_to(&name, seq)) {
            Ok(handle) => Ok(Ok(self.table.push(ConsumerWriter(handle))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn open_reader(&mut self, this: Resource<ConsumerStore>) -> Answer<Option<Resource<ConsumerReader>>> {
        self.reader_for_consumer(&this, None)
    }

    fn open_reader_at(
        &mut self,
        this: Resource<ConsumerStore>,
        seq: u64,
    ) -> Answer<Option<Resource<ConsumerReader>>> {
        self.reader_for_consumer(&this, Some(seq))
    }

    fn drop(&mut self, this: Resource<ConsumerStore>) -> wasmtime::Result<()> {
        self.close_name(this.rep());
        Ok(())
    }
}

impl SnapshotCtx {
    /// The store, and the name of the one in it that a consumer has opened.
    fn opened(
        &mut self,
        this: &Resource<ConsumerStore>,
    ) -> wasmtime::Result<Result<(&mut Store, Arc<str>), Error>> {
        let name = self.name_of(this.rep())?;
        Ok(self.store().map(|store| (store, name)))
    }

    fn reader_for_consumer(
        &mut self,
        this: &Resource<ConsumerStore>,
        seq: Option<u64>,
    ) -> Answer<Option<Resource<ConsumerReader>>> {
        let opened = self.opened(this)?.and_then(|(store, name)| store.stream_from(&name, seq));
        match none_is_no_error(opened) {
            Ok(Some((handle, info, skipped))) => {
                Ok(Ok(Some(self.table.push(ConsumerReader { handle, info, skipped })?)))
            }
            Ok(None) => Ok(Ok(None)),
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

    fn discard(&mut self, writer: Resource<ConsumerWriter>) -> wasmtime::Result<()> {
        wit::HostSnapshotWriter::drop(self, writer)
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
            Error::InvalidName(what) => wit::Error::InvalidName(what),
            Error::InvalidState(what) => wit::Error::InvalidState(what),
            Error::Stale(newest) => wit::Error::Stale(newest),
            Error::TooLarge(limit) => wit::Error::TooLarge(limit),
            Error::Corrupt(what) => wit::Error::Corrupt(what),
            Error::NoSpace(what) => wit::Error::NoSpace(without_host_path(&what)),
            Error::AccessDenied(what) => wit::Error::AccessDenied(without_host_path(&what)),
            Error::Busy(what) => wit::Error::Busy(without_host_path(&what)),
            Error::Io(what) => wit::Error::Io(without_host_path(&what)),
            Error::InDoubt(what) => wit::Error::InDoubt(without_host_path(&what)),
            // Which is an answer of its own wherever it can be one.
            Error::NotFound => wit::Error::Io("there is no snapshot".to_owned()),
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

#[cfg(test)]
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
