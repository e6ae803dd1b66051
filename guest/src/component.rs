//! The component's edge: bindings, settings and conversion, nothing else.

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use wasip2::cli::environment::get_environment;

use crate::error::Error;
use crate::store::{Info, Layout, Reader, Settings, Skipped, Snapshot, Soundness, Store, Stores, Writer};
use crate::wasi::Preopen;

mod bindings {
    #![expect(unsafe_code, reason = "the generated code lifts and lowers what crosses the component's edge")]
    wit_bindgen::generate!({ path: "../wit", world: "store" });
    use super::Component;
    export!(Component);
}

use bindings::exports::arcella::minisnap::snapshot_maintenance as maintenance;
use bindings::exports::arcella::minisnap::snapshot_store as wit;

struct Component;

impl wit::Guest for Component {
    type Store = OpenStore;
    type SnapshotWriter = OpenWriter;
    type SnapshotReader = OpenReader;

    fn open(name: String) -> Result<wit::Store, wit::Error> {
        let stores = stores()?;
        stores.check(&name)?;
        Ok(wit::Store::new(OpenStore { stores, name }))
    }

    fn names() -> Result<Vec<String>, wit::Error> {
        Ok(stores()?.names()?)
    }
}

/// A handle of a store, which may not have been made yet.
struct OpenStore {
    stores: Rc<Stores<Preopen>>,
    name: String,
}

impl OpenStore {
    /// To read from it.
    fn existing(&self) -> Result<Store<Preopen>, Error> {
        self.stores.existing(&self.name)
    }

    /// To write to it.
    fn made(&self) -> Result<Store<Preopen>, Error> {
        self.stores.made(&self.name)
    }

    /// A writer, opened in one of two ways.
    #[inline(never)]
    fn writer(
        &self,
        seq: u64,
        open: fn(&Store<Preopen>, u64) -> Result<Writer<Preopen>, Error>,
    ) -> Result<wit::SnapshotWriter, wit::Error> {
        let writer = open(&self.made()?, seq)?;
        Ok(wit::SnapshotWriter::new(OpenWriter(RefCell::new(writer))))
    }
}

impl wit::GuestStore for OpenStore {
    fn create(&self, state: String, seq: u64) -> Result<(), wit::Error> {
        Ok(self.made()?.create(&state, seq)?)
    }

    fn restore(&self) -> Result<Option<wit::Snapshot>, wit::Error> {
        some(self.existing().and_then(|store| store.restore()))
    }

    fn restore_at(&self, seq: u64) -> Result<Option<wit::Snapshot>, wit::Error> {
        some(self.existing().and_then(|store| store.restore_at(seq)))
    }

    fn newest_seq(&self) -> Result<Option<u64>, wit::Error> {
        some(self.existing().and_then(|store| store.newest_seq()))
    }

    fn info(&self) -> Result<Option<wit::SnapshotInfo>, wit::Error> {
        some(self.existing().and_then(|store| store.info()))
    }

    fn generations(&self) -> Result<Vec<wit::SnapshotInfo>, wit::Error> {
        let infos = some::<Vec<_>, Vec<_>>(self.existing().and_then(|store| store.list()))?;
        Ok(infos.into_iter().flatten().map(Into::into).collect())
    }

    fn oldest_kept(&self) -> Result<Option<u64>, wit::Error> {
        some(self.existing().and_then(|store| store.oldest_kept()))
    }

    fn open_writer(&self, seq: u64) -> Result<wit::SnapshotWriter, wit::Error> {
        self.writer(seq, Store::open_writer)
    }

    fn open_reader(&self) -> Result<Option<wit::SnapshotReader>, wit::Error> {
        some(self.existing().and_then(|store| store.open_reader(None)))
    }

    fn open_reader_at(&self, seq: u64) -> Result<Option<wit::SnapshotReader>, wit::Error> {
        some(self.existing().and_then(|store| store.open_reader(Some(seq))))
    }
}

impl maintenance::Guest for Component {
    fn layout_of(store: wit::StoreBorrow<'_>) -> Result<Option<maintenance::Layout>, wit::Error> {
        some(store.get::<OpenStore>().existing().and_then(|store| store.layout()))
    }

    fn settle(store: wit::StoreBorrow<'_>) -> Result<u64, wit::Error> {
        let settled = store.get::<OpenStore>().existing().and_then(|store| store.settle_leftovers());
        Ok(some(settled)?.unwrap_or_default())
    }

    fn pruned(store: wit::StoreBorrow<'_>) -> u64 {
        let OpenStore { stores, name } = store.get();
        stores.pruned(name)
    }

    fn insert(store: wit::StoreBorrow<'_>, seq: u64) -> Result<wit::SnapshotWriter, wit::Error> {
        store.get::<OpenStore>().writer(seq, Store::insert)
    }

    fn rollback(store: wit::StoreBorrow<'_>, seq: u64) -> Result<Option<Vec<u64>>, wit::Error> {
        some(store.get::<OpenStore>().existing().and_then(|store| store.rollback(seq)))
    }
}

/// An answer, or none where there is no snapshot.
fn some<T, W: From<T>>(answer: Result<T, Error>) -> Result<Option<W>, wit::Error> {
    match answer {
        Ok(answer) => Ok(Some(answer.into())),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

struct OpenWriter(RefCell<Writer<Preopen>>);

impl wit::GuestSnapshotWriter for OpenWriter {
    fn write(&self, chunk: Vec<u8>) -> Result<(), wit::Error> {
        Ok(self.0.borrow_mut().write(&chunk)?)
    }

    fn commit(writer: wit::SnapshotWriter) -> Result<(), wit::Error> {
        let OpenWriter(writer) = writer.into_inner();
        Ok(writer.into_inner().commit()?)
    }

    fn discard(writer: wit::SnapshotWriter) {
        drop(writer);
    }
}

struct OpenReader(RefCell<Reader<Preopen>>);

impl wit::GuestSnapshotReader for OpenReader {
    fn info(&self) -> wit::SnapshotInfo {
        self.0.borrow().info().clone().into()
    }

    fn skipped(&self) -> Vec<wit::SkippedSnapshot> {
        self.0.borrow().skipped().iter().cloned().map(Into::into).collect()
    }

    fn read(&self, max: u64) -> Result<Vec<u8>, wit::Error> {
        Ok(self.0.borrow_mut().read(max)?)
    }
}

impl From<Reader<Preopen>> for wit::SnapshotReader {
    fn from(reader: Reader<Preopen>) -> Self {
        wit::SnapshotReader::new(OpenReader(RefCell::new(reader)))
    }
}

/// The stores that the host's settings describe, the same for all handles.
fn stores() -> Result<Rc<Stores<Preopen>>, Error> {
    thread_local! {
        static STORES: OnceCell<Rc<Stores<Preopen>>> = const { OnceCell::new() };
    }
    STORES.with(|made| match made.get() {
        Some(stores) => Ok(stores.clone()),
        None => {
            let stores = Rc::new(granted()?);
            Ok(made.get_or_init(|| stores).clone())
        }
    })
}

fn granted() -> Result<Stores<Preopen>, Error> {
    let environment = Environment(get_environment());
    let default = Settings::default();
    let layout = match environment.get("MINISNAP_LAYOUT") {
        None => default.layout,
        Some("pair") => Layout::Pair,
        Some("numbered") => Layout::Numbered,
        Some(other) => {
            return Err(Error::Io(format!("`MINISNAP_LAYOUT` is `{other}`: set it to `pair` or `numbered`")));
        }
    };
    let at_most = |number| u32::try_from(number).unwrap_or(u32::MAX);
    let settings = Settings {
        layout,
        keep: environment.number("MINISNAP_KEEP", 1, KEEP)?.and_then(|keep| NonZeroU32::new(at_most(keep))),
        max_state: environment.number("MINISNAP_MAX_STATE", 0, BYTES)?.unwrap_or(default.max_state),
        max_total: environment.number("MINISNAP_MAX_TOTAL", 0, BYTES)?.unwrap_or(default.max_total),
    };
    let stores = environment.number("MINISNAP_STORES", 0, "a number of stores")?.map_or(0, at_most);
    let dir = environment.get("MINISNAP_DIR").unwrap_or("/snapshots");
    Ok(Stores::new(Preopen::open(dir)?, settings, stores))
}

const KEEP: &str = "a number of generations, 1 at least";
const BYTES: &str = "a number of bytes";

/// What the host has set.
struct Environment(Vec<(String, String)>);

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, least: u64, what: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(Error::Io(format!("`{name}` is `{text}`: set it to {what}, or not at all"))),
        }
    }
}

impl From<Error> for wit::Error {
    // Once in the component, and not in each of its functions.
    #[cold]
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidName(what) => wit::Error::InvalidName(what),
            // Which every function answers in another way.
            Error::NotFound => wit::Error::Io("there is no snapshot".to_owned()),
            Error::InvalidState(what) => wit::Error::InvalidState(what),
            Error::Stale(newest) => wit::Error::Stale(newest),
            Error::TooLarge(limit) => wit::Error::TooLarge(limit),
            Error::Corrupt(what) => wit::Error::Corrupt(what),
            Error::NoSpace(what) => wit::Error::NoSpace(what),
            Error::AccessDenied(what) => wit::Error::AccessDenied(what),
            Error::Busy(what) => wit::Error::Busy(what),
            Error::Io(what) => wit::Error::Io(what),
            Error::InDoubt(what) => wit::Error::InDoubt(what),
        }
    }
}

impl From<Skipped> for wit::SkippedSnapshot {
    fn from(Skipped { seq, problem }: Skipped) -> Self {
        wit::SkippedSnapshot { seq, problem }
    }
}

impl From<Snapshot> for wit::Snapshot {
    fn from(Snapshot { state, seq, modified, soundness, skipped }: Snapshot) -> Self {
        let skipped = skipped.into_iter().map(Into::into).collect();
        let modified = modified.and_then(milliseconds);
        wit::Snapshot { state, seq, modified, soundness: soundness.into(), skipped }
    }
}

impl From<Soundness> for wit::Soundness {
    fn from(soundness: Soundness) -> Self {
        match soundness {
            Soundness::Verified => wit::Soundness::Verified,
            Soundness::Unverified => wit::Soundness::Unverified,
            Soundness::Damaged(problem) => wit::Soundness::Damaged(problem),
            Soundness::Unreadable(problem) => wit::Soundness::Unreadable(problem),
        }
    }
}

impl From<Layout> for maintenance::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Pair => maintenance::Layout::Pair,
            Layout::Numbered => maintenance::Layout::Numbered,
        }
    }
}

impl From<Info> for wit::SnapshotInfo {
    #[inline(never)]
    fn from(Info { seq, size, modified, soundness, .. }: Info) -> Self {
        wit::SnapshotInfo {
            seq,
            size,
            modified: modified.and_then(milliseconds),
            soundness: soundness.into(),
        }
    }
}

/// Since the epoch.
fn milliseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
