//! The rules that hold in every layout: what is refused, what is checked, and what a call returns.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::SystemTime;

mod named;
mod reader;
mod writer;

pub use named::Stores;
pub use reader::{MAX_READERS, Reader};
pub use writer::Writer;

use crate::body::{Body, Scanned, State};
use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files::{self, STATE};
use crate::json;
use crate::layout::{ATTEMPTS, Contents};
use crate::numbered::read::Generation;
use crate::numbered::{self, Condition, Known};
use crate::pair;
use crate::pair::read::Damage;

pub use crate::layout::Layout;

/// A directory of snapshots. Clones are the same store: they share its one writer.
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
#[derive(Debug, Clone)]
pub struct Store<D> {
    dir: D,
    settings: Settings,
    shared: Rc<Shared>,
}

/// What the grant says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The layout of a directory that holds no snapshot; another keeps the one it has.
    pub layout: Layout,
    /// How many generations to keep in the numbered layout, the newest included; [`KEEP`](Self::KEEP) if the host does
    /// not say, and then only of this store's own.
    pub keep: Option<NonZeroU32>,
    /// The largest state in bytes, as given and as stored.
    pub max_state: u64,
    /// The most that the directory may hold in bytes.
    ///
    /// A new snapshot must fit beside the newest one; older generations are removed once it is durable. Until then,
    /// the directory may hold those as well.
    pub max_total: u64,
}

impl Settings {
    /// How many generations are kept if the host does not say.
    pub const KEEP: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");
}

impl Default for Settings {
    /// The pair layout, five generations of the other, and no limit but the memory and the disk.
    fn default() -> Self {
        Settings { layout: Layout::Pair, keep: None, max_state: u64::MAX, max_total: u64::MAX }
    }
}

/// How many calls may rely on what is remembered of the directory before it is listed again.
const MAX_UNLISTED: u32 = 15;

/// What the clones of a store have in common.
#[derive(Debug, Default)]
struct Shared {
    /// Whether there is a writer.
    writing: Cell<bool>,
    /// Whether all that the directory holds is durable: true from when a commit has ended well until the next writer is
    /// opened. Before the first commit, another store may write there.
    durable: Cell<bool>,
    /// What it held after the last commit, or when it was listed since, and the directory's own time then.
    held: RefCell<Option<(Rc<Contents>, SystemTime)>>,
    /// How many calls have relied on that since the directory was listed.
    unlisted: Cell<u32>,
    /// Whether the directory's own entry is durable, in the one around it: true once a create has seen to it. Before that,
    /// another process may make it.
    is_made: Cell<bool>,
    /// The numbers of the generations that readers have open, one for each reader.
    reading: RefCell<Vec<u64>>,
    /// How many readers and writers are open, of this store and of the others of its component.
    streams: Rc<Cell<usize>>,
    known: Known,
}

/// One committed pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The state: one JSON value.
    pub state: String,
    /// The number of the last log record that the state contains.
    pub seq: u64,
    /// When it was written, where the file system has that.
    pub modified: Option<SystemTime>,
    /// What its sums said.
    pub soundness: Soundness,
    /// The newer generations that are damaged, newest first.
    pub skipped: Vec<Skipped>,
}

/// A generation that could not be returned, since it is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its sequence number.
    pub seq: u64,
    /// What is wrong, with the name of the file.
    pub problem: String,
}

/// What is known of a snapshot without its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The sequence number.
    pub seq: u64,
    /// The size in bytes of the state, as it is restored; of the file, if it is damaged.
    pub size: u64,
    /// When it was written, where the file system has that.
    pub modified: Option<SystemTime>,
    /// The layout of the directory.
    pub layout: Layout,
    /// What the sums said.
    pub soundness: Soundness,
}

/// What is known of the contents of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// Every byte is as this store wrote it.
    Verified,
    /// Another program wrote it, and there is no sum to check it by.
    Unverified,
    /// It cannot be restored; what is wrong, with the name of the file.
    Damaged(String),
    /// It cannot be read now; what the system said, with the name of the file.
    Unreadable(String),
}

/// A snapshot that was read whole and is sound.
struct Found<R> {
    info: Info,
    skipped: Vec<Skipped>,
    state: Scanned,
    body: Body<R>,
}

impl<D: Dir> Store<D> {
    /// A store on `dir`, with the default settings.
    pub fn new(dir: D) -> Self {
        Store { dir, settings: Settings::default(), shared: Rc::default() }
    }

    /// The same store, with these settings.
    pub fn with_settings(self, settings: Settings) -> Self {
        Store { settings, ..self }
    }

    /// Makes `state` with `seq` the newest snapshot, durably.
    ///
    /// # Errors
    ///
    /// Any but [`NotFound`](Error::NotFound); the WIT says what each means. [`Busy`](Error::Busy) while there is a
    /// [`Writer`].
    pub fn create(&self, state: &str, seq: u64) -> Result<()> {
        if state.len() as u64 > self.settings.max_state {
            return Err(Error::TooLarge(self.settings.max_state));
        }
        let mut writer = self.open_writer(seq)?;
        writer.write_text(state)?;
        if let Some(contents) = writer.commit_at_once()? {
            self.remember(Rc::new(contents), self.time());
        }
        Ok(())
    }

    /// Returns the newest sound snapshot.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`TooLarge`](Error::TooLarge),
    /// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn restore(&self) -> Result<Snapshot> {
        self.restore_any(None)
    }

    /// Returns the generation with the number `seq`.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub fn restore_at(&self, seq: u64) -> Result<Snapshot> {
        self.restore_any(Some(seq))
    }

    fn restore_any(&self, seq: Option<u64>) -> Result<Snapshot> {
        let Found { info, skipped, state, .. } =
            self.find(seq, State::Keep { max_size: self.settings.max_state })?;
        let state = String::from_utf8(state.kept).map_err(|error| {
            let name = match info.layout {
                Layout::Pair => STATE.to_owned(),
                Layout::Numbered => files::generation(info.seq),
            };
            Error::Corrupt(format!("`{name}` is not UTF-8: {}", error.utf8_error()))
        })?;
        let Info { seq, modified, soundness, .. } = info;
        Ok(Snapshot { state, seq, modified, soundness, skipped })
    }

    /// The number of the newest snapshot, sound or not, of which the state is not read unless nothing else vouches for the
    /// number.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn newest_seq(&self) -> Result<u64> {
        let seq = self.look(|contents, layout| match layout {
            None => Err(Error::NotFound),
            Some(Layout::Pair) => match pair::read::newest_seq(&self.dir, contents) {
                Err(Error::NotFound) => Ok(None),
                seq => seq.map(Some),
            },
            Some(Layout::Numbered) => {
                contents.check_named()?;
                match contents.generations.first() {
                    Some(&seq) => Ok(Some(seq)),
                    None => Err(no_sound_generation(&[], contents)),
                }
            }
        })?;
        self.make_durable()?;
        Ok(seq)
    }

    /// The layout of the snapshots that the directory holds.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn layout(&self) -> Result<Layout> {
        self.look(|_, layout| layout.map(Some).ok_or(Error::NotFound))
    }

    /// Reads the snapshot that [`restore`](Self::restore) returns and says what is known of it; of the state, only a
    /// piece is in memory at a time.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn info(&self) -> Result<Info> {
        Ok(self.find(None, State::Sum)?.info)
    }

    /// Reads every generation, and says what is known of each, newest first.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt) if a damaged pair has no number that can be trusted,
    /// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn list(&self) -> Result<Vec<Info>> {
        let infos = self.look(|contents, layout| match layout {
            None => Err(Error::NotFound),
            Some(Layout::Pair) => self.list_pair(),
            Some(Layout::Numbered) => self.list_numbered(contents),
        });
        match infos {
            Err(Error::NotFound) => Ok(Vec::new()),
            infos => infos,
        }
    }

    fn list_pair(&self) -> Result<Option<Vec<Info>>> {
        match pair::read::examine(&self.dir, State::Sum) {
            Ok(Ok(found)) => self.sound_pair(found).map(|found| Some(vec![found.info])),
            // A number that can be trusted still tells which snapshot it was.
            Ok(Err(Damage { problem, entry, seq: Some(seq) })) => {
                Ok(Some(vec![unsound(Layout::Pair, seq, entry, Soundness::Damaged(problem))]))
            }
            Ok(Err(Damage { problem, seq: None, .. })) => Err(Error::Corrupt(problem)),
            Err(Error::NotFound) => Ok(None),
            // It cannot be read now, and its number can.
            Err(Error::Io(problem)) => match pair::read::newest(&self.dir) {
                Ok(Some(pair::read::Newest { seq, .. })) => {
                    let entry = self.dir.entry(STATE).ok().flatten();
                    Ok(Some(vec![unsound(Layout::Pair, seq, entry, Soundness::Unreadable(problem))]))
                }
                _ => Err(Error::Io(problem)),
            },
            Err(error) => Err(error),
        }
    }

    fn list_numbered(&self, contents: &Contents) -> Result<Option<Vec<Info>>> {
        let mut infos = Vec::new();
        contents.check_named()?;
        for &seq in &contents.generations {
            match numbered::read::read(&self.dir, seq, State::Sum)? {
                Generation::Sound(found) => infos.push(self.sound(found).info),
                Generation::Damaged(numbered::read::Damage { problem, entry }) => {
                    self.shared.known.insert_damaged(seq);
                    infos.push(unsound(Layout::Numbered, seq, Some(entry), Soundness::Damaged(problem)));
                }
                Generation::Unreadable(error) => {
                    let name = files::generation(seq);
                    let entry = self.dir.entry(&name).ok().flatten();
                    let problem = match error {
                        Error::Io(problem) => problem,
                        denied => format!("cannot read `{name}`: {denied}"),
                    };
                    infos.push(unsound(Layout::Numbered, seq, entry, Soundness::Unreadable(problem)));
                }
                // There are newer ones by now.
                Generation::Gone if infos.is_empty() => return Ok(None),
                Generation::Gone => {}
            }
        }
        let is_sound = |info: &&Info| matches!(info.soundness, Soundness::Verified | Soundness::Unverified);
        match infos.iter().find(is_sound) {
            None if infos.is_empty() => Err(no_sound_generation(&[], contents)),
            None => Ok(Some(infos)),
            Some(_) => {
                self.make_durable()?;
                Ok(Some(infos))
            }
        }
    }

    /// The number of the oldest sound generation.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn oldest_kept(&self) -> Result<u64> {
        self.look(|contents, layout| match layout {
            None => Err(Error::NotFound),
            Some(Layout::Pair) => {
                let found = self.find_pair(None, State::Sum)?;
                Ok(found.map(|found| found.info.seq))
            }
            Some(Layout::Numbered) => {
                // Without this sync, a power cut could bring back an older generation that was pruned.
                files::make_durable(&self.dir)?;
                contents.check_named()?;
                for &seq in contents.generations.iter().rev() {
                    match self.shared.known.check(&self.dir, seq)? {
                        Condition::Sound => return Ok(Some(seq)),
                        Condition::Damaged => {}
                        // If it is sound, it must still find its log records.
                        Condition::Unreadable(error) => return Err(self.unreadable(contents, seq, error)),
                        // Its removal may not be durable.
                        Condition::Gone => return Ok(None),
                    }
                }
                // Which says what is wrong with each.
                self.find_numbered(contents, None, State::Sum).map(|found| found.map(|found| found.info.seq))
            }
        })
    }

    /// Starts a snapshot that is written piece by piece.
    ///
    /// # Errors
    ///
    /// [`Stale`](Error::Stale), [`NoSpace`](Error::NoSpace), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy), [`Corrupt`](Error::Corrupt) or [`Io`](Error::Io).
    pub fn open_writer(&self, seq: u64) -> Result<Writer<D>> {
        Writer::open(self, seq)
    }

    /// Opens the newest sound snapshot, or the generation with the number `seq`, to read it piece by piece.
    ///
    /// # Errors
    ///
    /// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`AccessDenied`](Error::AccessDenied),
    /// [`Busy`](Error::Busy) or [`Io`](Error::Io).
    pub fn open_reader(&self, seq: Option<u64>) -> Result<Reader<D>> {
        Reader::open(self, seq)
    }

    /// Reads the newest sound snapshot, or the generation with the number `seq`.
    fn find(&self, seq: Option<u64>, wanted: State) -> Result<Found<D::Reader>> {
        self.look(|contents, layout| match layout {
            None => Err(Error::NotFound),
            Some(Layout::Pair) => self.find_pair(seq, wanted),
            Some(Layout::Numbered) => self.find_numbered(contents, seq, wanted),
        })
    }

    /// Remembers what the directory held at this time, after a commit and before the next writer.
    fn remember(&self, contents: Rc<Contents>, time: Option<SystemTime>) {
        let is_all = !contents.has_leftovers() && contents.nameless.is_none();
        *self.shared.held.borrow_mut() = time.filter(|_| is_all).map(|time| (contents, time));
    }

    /// What the directory held, if it has the same time still. Nobody else may write there; what is done there by hand is
    /// seen, if only a few calls later where that happened in the middle of a commit or has the same time as one.
    fn remembered(&self) -> Option<Rc<Contents>> {
        let (contents, time) = self.shared.held.borrow().clone()?;
        let unlisted = self.shared.unlisted.get();
        if unlisted < MAX_UNLISTED && self.time()? == time {
            self.shared.unlisted.set(unlisted + 1);
            return Some(contents);
        }
        self.shared.held.take();
        None
    }

    /// When a name came or went in the directory, where the file system has that.
    fn time(&self) -> Option<SystemTime> {
        self.dir.entry("").ok()??.modified
    }

    /// Looks what the directory holds until `read` finds in it what was seen.
    fn look<T>(&self, read: impl Fn(&Contents, Option<Layout>) -> Result<Option<T>>) -> Result<T> {
        let (mut remembered, mut before) = (self.remembered(), None::<Rc<Contents>>);
        for _ in 0..ATTEMPTS {
            let contents = match remembered.take() {
                Some(contents) => contents,
                None => self.list_stable()?,
            };
            let is_same = before.as_ref().is_some_and(|before| contents.holds_the_same_as(before));
            match read(&contents, contents.layout()?) {
                Ok(Some(found)) => return Ok(found),
                // What was listed is not there, and still listed.
                Ok(None) if is_same => return Err(Error::NotFound),
                Ok(None) => drop(self.shared.held.take()),
                Err(error) => return Err(error),
            }
            before = Some(contents);
        }
        Err(Error::rewritten())
    }

    /// What a directory holds that others may write, unless this store has committed and nobody else may.
    fn list_stable(&self) -> Result<Rc<Contents>> {
        // Before it is listed: what changes meanwhile shows in the next one.
        let time = self.shared.durable.get().then(|| self.time()).flatten();
        let contents = Rc::new(self.in_dir(Contents::look(&self.dir))?);
        self.listed(&contents);
        self.remember(contents.clone(), time);
        Ok(contents)
    }

    /// Learns from what was listed just now.
    fn listed(&self, contents: &Contents) {
        self.shared.known.retain(contents);
        self.shared.unlisted.set(0);
    }

    /// Reads the snapshot of the pair layout, or `None` if it has gone away.
    fn find_pair(&self, seq: Option<u64>, wanted: State) -> Result<Option<Found<D::Reader>>> {
        let found = match pair::read::snapshot(&self.dir, wanted) {
            Err(Error::NotFound) => return Ok(None),
            found => found?,
        };
        if seq.is_some_and(|seq| seq != found.seq) {
            return Err(Error::NotFound);
        }
        self.sound_pair(found).map(Some)
    }

    fn sound_pair<R>(&self, found: pair::read::Found<R>) -> Result<Found<R>> {
        self.make_durable()?;
        let info = Info {
            seq: found.seq,
            size: found.state.size,
            modified: found.modified,
            layout: Layout::Pair,
            soundness: soundness(found.verified),
        };
        Ok(Found { info, skipped: Vec::new(), state: found.state, body: found.body })
    }

    /// Reads a generation of the numbered layout, or `None` if it has gone away.
    fn find_numbered(
        &self,
        contents: &Contents,
        seq: Option<u64>,
        wanted: State,
    ) -> Result<Option<Found<D::Reader>>> {
        let wanted_one = seq.as_slice();
        let candidates = match seq {
            // By its number, one is found whether or not it was listed.
            Some(_) => wanted_one,
            None => {
                contents.check_named()?;
                &contents.generations
            }
        };
        let mut skipped = Vec::new();
        for &candidate in candidates {
            match numbered::read::read(&self.dir, candidate, wanted)? {
                Generation::Sound(found) => {
                    self.make_durable()?;
                    return Ok(Some(Found { skipped, ..self.sound(found) }));
                }
                Generation::Damaged(damage) => {
                    self.shared.known.insert_damaged(candidate);
                    skipped.push(Skipped { seq: candidate, problem: damage.problem });
                }
                // An older one in its place could be taken for the newest, and be built on.
                Generation::Unreadable(error) => return Err(self.unreadable(contents, candidate, error)),
                Generation::Gone if seq.is_some() && !contents.has(candidate) => {}
                Generation::Gone => return Ok(None),
            }
        }
        match (seq, skipped.first()) {
            (Some(_), None) => Err(Error::NotFound),
            (Some(_), Some(Skipped { problem, .. })) => Err(Error::Corrupt(format!(
                "{problem}: take it from a backup, or restore another generation"
            ))),
            (None, _) => Err(no_sound_generation(&skipped, contents)),
        }
    }

    /// What to do about the generation `seq`, which cannot be read now.
    fn unreadable(&self, contents: &Contents, seq: u64, error: Error) -> Error {
        let Error::Io(problem) = error else { return error };
        let older = contents.generations.iter().find(|&&generation| generation < seq);
        let is_sound =
            |older: &&u64| matches!(self.shared.known.check(&self.dir, **older), Ok(Condition::Sound));
        let older = older.filter(is_sound);
        let older = older.map(|older| format!("restore the snapshot {older} by its number, or "));
        Error::Io(format!(
            "{problem}; try again, or {}move that file away to do without it",
            older.unwrap_or_default()
        ))
    }

    fn sound<R>(&self, found: numbered::read::Found<R>) -> Found<R> {
        self.shared.known.insert(found.seq, found.entry, found.verified);
        let info = Info {
            seq: found.seq,
            size: found.state.size,
            modified: found.entry.modified,
            layout: Layout::Numbered,
            soundness: soundness(found.verified),
        };
        Found { info, skipped: Vec::new(), state: found.state, body: found.body }
    }

    /// Makes durable what was read, where its writer may not have.
    fn make_durable(&self) -> Result<()> {
        if self.shared.durable.get() { Ok(()) } else { files::make_durable(&self.dir) }
    }

    /// The same result, but of what failed for want of a directory, it says so.
    fn in_dir<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match files::retry(|| self.dir.entry("")) {
            Ok(Some(entry)) if entry.kind == Kind::Dir => error,
            Ok(_) => Error::Io(
                "no directory is granted to the snapshot store: preopen one at `/snapshots`, \
                 or at the path that `MINISNAP_DIR` names"
                    .to_owned(),
            ),
            Err(_) => error,
        })
    }
}

/// A snapshot of which nothing is known but its file.
fn unsound(layout: Layout, seq: u64, entry: Option<Entry>, soundness: Soundness) -> Info {
    let (size, modified) = entry.map_or((0, None), |entry| (entry.size, entry.modified));
    Info { seq, size, modified, layout, soundness }
}

fn soundness(verified: bool) -> Soundness {
    if verified { Soundness::Verified } else { Soundness::Unverified }
}

/// How many damaged generations an error describes.
const MAX_PROBLEMS: usize = 20;

/// Says what is wrong with the generations, of which none is sound.
fn no_sound_generation(skipped: &[Skipped], contents: &Contents) -> Error {
    let damaged = skipped.iter().map(|skipped| skipped.problem.clone());
    let set_aside = contents.set_aside.iter();
    let set_aside =
        set_aside.map(|&(seq, count)| format!("`{}` was set aside as damaged", files::set_aside(seq, count)));
    // The others are only counted.
    let problems: Vec<String> = damaged.chain(set_aside).take(MAX_PROBLEMS).collect();
    let more = (skipped.len() + contents.set_aside.len()).saturating_sub(MAX_PROBLEMS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Error::Corrupt(format!(
        "{}{more}; no generation is sound: take one from a backup, or move all of them away to start with none",
        problems.join("; ")
    ))
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
