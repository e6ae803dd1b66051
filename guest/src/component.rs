//! The component's edge: bindings, settings and conversion, nothing else.

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::store::{Info, Layout, Reader, Settings, Skipped, Snapshot, Soundness, Store, Writer};
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
    type SnapshotWriter = OpenWriter;
    type SnapshotReader = OpenReader;

    fn create(state: String, seq: u64) -> Result<(), wit::Error> {
        answer(|store| store.create(&state, seq))
    }

    fn restore() -> Result<wit::Snapshot, wit::Error> {
        answer(|store| store.restore())
    }

    fn restore_at(seq: u64) -> Result<wit::Snapshot, wit::Error> {
        answer(|store| store.restore_at(seq))
    }

    fn exists() -> Result<bool, wit::Error> {
        answer(|store| store.exists())
    }

    fn info() -> Result<wit::SnapshotInfo, wit::Error> {
        answer(|store| store.info())
    }

    fn list() -> Result<Vec<wit::SnapshotInfo>, wit::Error> {
        answer(|store| Ok(store.list()?.into_iter().map(Into::into).collect::<Vec<_>>()))
    }

    fn oldest_kept() -> Result<u64, wit::Error> {
        answer(|store| store.oldest_kept())
    }

    fn open_writer(seq: u64) -> Result<wit::SnapshotWriter, wit::Error> {
        answer(|store| Ok(wit::SnapshotWriter::new(OpenWriter(RefCell::new(Ok(store.open_writer(seq)?))))))
    }

    fn open_reader() -> Result<wit::SnapshotReader, wit::Error> {
        answer(|store| open_reader(store, None))
    }

    fn open_reader_at(seq: u64) -> Result<wit::SnapshotReader, wit::Error> {
        answer(|store| open_reader(store, Some(seq)))
    }
}

fn open_reader(store: &Store<Preopen>, seq: Option<u64>) -> Result<wit::SnapshotReader, Error> {
    Ok(wit::SnapshotReader::new(OpenReader(RefCell::new(store.open_reader(seq)?))))
}

impl maintenance::Guest for Component {
    fn settle() -> Result<u64, wit::Error> {
        answer(|store| store.settle_leftovers())
    }
}

/// A writer, or the error after which there is none any more.
struct OpenWriter(RefCell<Result<Writer<Preopen>, Error>>);

impl wit::GuestSnapshotWriter for OpenWriter {
    fn write(&self, chunk: Vec<u8>) -> Result<(), wit::Error> {
        let writer = &mut *self.0.borrow_mut();
        let written = match writer {
            Ok(writer) => writer.write(&chunk),
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = &written {
            *writer = Err(error.clone());
        }
        Ok(written?)
    }

    fn commit(writer: wit::SnapshotWriter) -> Result<(), wit::Error> {
        let OpenWriter(writer) = writer.into_inner();
        Ok(writer.into_inner()?.commit()?)
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

/// What the store that the host's settings describe, the same for all calls, answers.
fn answer<T, W: From<T>>(call: impl FnOnce(&Store<Preopen>) -> Result<T, Error>) -> Result<W, wit::Error> {
    match store().and_then(|store| call(&store)) {
        Ok(answer) => Ok(answer.into()),
        Err(error) => Err(error.into()),
    }
}

fn store() -> Result<Store<Preopen>, Error> {
    thread_local! {
        static STORE: OnceCell<Store<Preopen>> = const { OnceCell::new() };
    }
    STORE.with(|made| match made.get() {
        Some(store) => Ok(store.clone()),
        None => {
            let store = open()?;
            Ok(made.get_or_init(|| store).clone())
        }
    })
}

fn open() -> Result<Store<Preopen>, Error> {
    let dir = setting("MINISNAP_DIR")?.unwrap_or_else(|| "/snapshots".to_owned());
    let default = Settings::default();
    let layout = match setting("MINISNAP_LAYOUT")?.as_deref() {
        None => default.layout,
        Some("pair") => Layout::Pair,
        Some("numbered") => Layout::Numbered,
        Some(other) => {
            return Err(Error::Io(format!("`MINISNAP_LAYOUT` is `{other}`: set it to `pair` or `numbered`")));
        }
    };
    let settings = Settings {
        layout,
        keep: number("MINISNAP_KEEP", 1, KEEP)?
            .and_then(|keep| NonZeroU32::new(u32::try_from(keep).unwrap_or(u32::MAX))),
        max_state: number("MINISNAP_MAX_STATE", 0, BYTES)?.unwrap_or(default.max_state),
        max_total: number("MINISNAP_MAX_TOTAL", 0, BYTES)?.unwrap_or(default.max_total),
    };
    Ok(Store::new(Preopen::open(&dir)?).with_settings(settings))
}

const KEEP: &str = "a number of generations, 1 at least";
const BYTES: &str = "a number of bytes";

fn number(name: &str, least: u64, what: &str) -> Result<Option<u64>, Error> {
    let Some(text) = setting(name)? else { return Ok(None) };
    match text.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(Error::Io(format!("`{name}` is `{text}`: set it to {what}, or not at all"))),
    }
}

fn setting(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::Io(format!("`{name}` is not UTF-8"))),
    }
}

impl From<Error> for wit::Error {
    // Once in the component, and not in each of its functions.
    #[cold]
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => wit::Error::NotFound,
            Error::InvalidState(what) => wit::Error::InvalidState(what),
            Error::Stale(newest) => wit::Error::Stale(newest),
            Error::TooLarge(limit) => wit::Error::TooLarge(limit),
            Error::Corrupt(what) => wit::Error::Corrupt(what),
            Error::NoSpace => wit::Error::NoSpace,
            Error::AccessDenied => wit::Error::AccessDenied,
            Error::Busy => wit::Error::Busy,
            Error::Io(what) => wit::Error::Io(what),
        }
    }
}

impl From<Skipped> for wit::SkippedSnapshot {
    fn from(Skipped { seq, problem }: Skipped) -> Self {
        wit::SkippedSnapshot { seq, problem }
    }
}

impl From<Snapshot> for wit::Snapshot {
    fn from(Snapshot { state, seq, skipped }: Snapshot) -> Self {
        wit::Snapshot { state, seq, skipped: skipped.into_iter().map(Into::into).collect() }
    }
}

impl From<Layout> for wit::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Pair => wit::Layout::Pair,
            Layout::Numbered => wit::Layout::Numbered,
        }
    }
}

impl From<Info> for wit::SnapshotInfo {
    #[inline(never)]
    fn from(Info { seq, size, modified, layout, soundness }: Info) -> Self {
        let layout = layout.into();
        let soundness = match soundness {
            Soundness::Verified => wit::Soundness::Verified,
            Soundness::Unverified => wit::Soundness::Unverified,
            Soundness::Damaged(problem) => wit::Soundness::Damaged(problem),
            Soundness::Unreadable(problem) => wit::Soundness::Unreadable(problem),
        };
        wit::SnapshotInfo { seq, size, modified: modified.and_then(milliseconds), layout, soundness }
    }
}

/// Since the epoch.
fn milliseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
