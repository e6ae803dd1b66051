//! The rules that hold in every layout: what is refused, and what is checked.

use crate::dir::{Dir, Kind};
use crate::error::{Error, Result};
use crate::files::{self, STATE};
use crate::json::{self, Formatter};
use crate::pair::{self, Draft};
use crate::read;

/// A directory with at most one snapshot.
///
/// ```
/// use minisnap_component::{dir::OsDir, error::Error, store::Store};
///
/// # let tmp = tempfile::tempdir().unwrap();
/// # let path = tmp.path();
/// let store = Store::new(OsDir::new(path));
/// store.create(r#"{"counter":1}"#, 7)?;
///
/// let snapshot = store.restore()?;
/// assert_eq!(snapshot.state, "{\n  \"counter\": 1\n}");
/// assert_eq!(snapshot.seq, 7);
/// assert_eq!(store.create("{}", 6), Err(Error::Stale(7)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Store<D> {
    dir: D,
    limits: Limits,
}

/// What the grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest state in bytes, as given and as stored.
    pub max_state: u64,
}

impl Default for Limits {
    /// No limit but the memory.
    fn default() -> Self {
        Limits { max_state: u64::MAX }
    }
}

/// One committed pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The state: one JSON value.
    pub state: String,
    /// The number of the last log record that the state contains.
    pub seq: u64,
}

/// What is known of a snapshot without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The sequence number.
    pub seq: u64,
    /// The size of the state on the disk in bytes.
    pub size: u64,
    /// The layout of the directory.
    pub layout: Layout,
    /// What the sums said.
    pub soundness: Soundness,
}

/// How a snapshot is laid out on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The files of minisnap 0.1.0 to 0.1.2, with their sums.
    Pair,
}

/// What the sums said of a snapshot that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// Every byte is as this store wrote it.
    Verified,
    /// Another program wrote it, and there is no sum to check it by.
    Unverified,
}

impl<D: Dir> Store<D> {
    /// A store on `dir`, with no limits.
    pub fn new(dir: D) -> Self {
        Store { dir, limits: Limits::default() }
    }

    /// The same store, within `limits`.
    pub fn with_limits(self, limits: Limits) -> Self {
        Store { limits, ..self }
    }

    /// Makes `state` with `seq` the stored snapshot, durably.
    ///
    /// # Errors
    ///
    /// Any but [`NotFound`](Error::NotFound) and [`Busy`](Error::Busy); the WIT says what each means.
    pub fn create(&self, state: &str, seq: u64) -> Result<()> {
        let max_state = self.limits.max_state;
        if state.len() as u64 > max_state {
            return Err(Error::TooLarge(max_state));
        }
        self.check_dir()?;
        pair::settle(&self.dir)?;
        match read::newest_seq(&self.dir)? {
            Some(newest) if seq < newest => return Err(Error::Stale(newest)),
            _ => {}
        }
        let mut formatter = Formatter::new(Draft::begin(&self.dir, max_state)?);
        formatter.push(state)?;
        formatter.finish()?.commit(seq)
    }

    /// Returns the stored snapshot.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`TooLarge`](Error::TooLarge),
    /// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn restore(&self) -> Result<Snapshot> {
        self.check_dir()?;
        let found = read::snapshot(&self.dir, read::State::Keep { max_size: self.limits.max_state })?;
        let state = String::from_utf8(found.state)
            .map_err(|error| Error::Corrupt(format!("`{STATE}` is not UTF-8: {}", error.utf8_error())))?;
        Ok(Snapshot { state, seq: found.seq })
    }

    /// Whether there is a snapshot, sound or not.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn exists(&self) -> Result<bool> {
        self.check_dir()?;
        read::exists(&self.dir)
    }

    /// Reads the stored snapshot whole and says what is known of it; of the state, only a piece is in
    /// memory at a time.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn info(&self) -> Result<Info> {
        self.check_dir()?;
        let found = read::snapshot(&self.dir, read::State::Sum)?;
        let soundness = if found.verified { Soundness::Verified } else { Soundness::Unverified };
        Ok(Info { seq: found.seq, size: found.size, layout: Layout::Pair, soundness })
    }

    /// A missing directory must not be taken for an empty one: a host that forgot to grant it would
    /// lose every snapshot silently.
    fn check_dir(&self) -> Result<()> {
        match self.dir.entry("") {
            Ok(Some(entry)) if entry.kind == Kind::Dir => Ok(()),
            Ok(_) => Err(Error::Io(
                "no directory is granted to the snapshot store: preopen one at `/snapshots`, \
                 or at the path that `MINISNAP_DIR` names"
                    .to_owned(),
            )),
            Err(error) => Err(Error::io("look at", files::WHOLE, &error)),
        }
    }
}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Self {
        match error {
            json::Error::Invalid(invalid) => Error::InvalidState(invalid.to_string()),
            // The draft's own refusals pass through the writer's interface.
            json::Error::Write(error) => match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => Error::io("write", STATE, &error),
            },
        }
    }
}
