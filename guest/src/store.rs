//! A store: the verbs that read, in both layouts.

use std::rc::Rc;

mod held;
mod named;
mod reader;
mod rollback;
mod writer;

pub use named::Stores;
pub use reader::Reader;
pub use writer::Writer;

use crate::body::{self, Body, Scanned, State};
use crate::catalog::{self, Contents, STATE};
use crate::dir::{Dir, Entry};
use crate::error::{Error, Result};
use crate::files;
use crate::numbered::{self, Condition, Generation};
use crate::pair::{self, Damage};

pub use crate::catalog::Layout;
pub use crate::snapshot::{Info, Settings, Skipped, Snapshot, Soundness};
use held::Shared;

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

    /// Returns the newest sound snapshot.
    pub fn restore(&self) -> Result<Snapshot> {
        self.restore_any(None)
    }

    /// Returns the generation with the number `seq`.
    pub fn restore_at(&self, seq: u64) -> Result<Snapshot> {
        self.restore_any(Some(seq))
    }

    fn restore_any(&self, seq: Option<u64>) -> Result<Snapshot> {
        let Found { info, skipped, state, .. } =
            self.find(seq, State::Keep { max_size: self.settings.max_state })?;
        let state = String::from_utf8(state.kept).map_err(|error| {
            Error::Corrupt(format!("`{}` is not UTF-8: {}", name(&info), error.utf8_error()))
        })?;
        let Info { seq, modified, soundness, .. } = info;
        Ok(Snapshot { state, seq, modified, soundness, skipped })
    }

    /// The number of the newest snapshot, sound or not, of which the state is not read unless nothing else vouches for the
    /// number.
    pub fn newest_seq(&self) -> Result<u64> {
        let seq = self.look(|contents, layout| match layout {
            Layout::Pair => pair::newest_seq(&self.dir, contents),
            Layout::Numbered => {
                contents.check_named()?;
                let newest = contents.generations.first();
                newest.copied().ok_or_else(|| no_sound_generation(&[], contents))
            }
        })?;
        self.make_durable()?;
        Ok(seq)
    }

    /// The layout of the snapshots that the directory holds.
    pub fn layout(&self) -> Result<Layout> {
        self.look(|_, layout| Ok(layout))
    }

    /// Reads the snapshot that [`restore`](Self::restore) returns and says what is known of it; of the state, only a
    /// piece is in memory at a time.
    pub fn info(&self) -> Result<Info> {
        Ok(self.find(None, State::Sum)?.info)
    }

    /// Reads every generation, and says what is known of each, newest first; [`NotFound`](Error::NotFound) if there is none.
    pub fn list(&self) -> Result<Vec<Info>> {
        self.look(|contents, layout| match layout {
            Layout::Pair => self.list_pair(),
            Layout::Numbered => self.list_numbered(contents),
        })
    }

    fn list_pair(&self) -> Result<Vec<Info>> {
        match pair::examine(&self.dir, State::Sum) {
            Ok(Ok(found)) => self.sound_pair(found).map(|found| vec![found.info]),
            // A number that can be trusted still tells which snapshot it was.
            Ok(Err(Damage { problem, entry, seq: Some(seq) })) => {
                Ok(vec![unsound(Layout::Pair, seq, entry, Soundness::Damaged(problem))])
            }
            Ok(Err(Damage { problem, seq: None, .. })) => Err(Error::Corrupt(problem)),
            // It cannot be read now, and its number can.
            Err(Error::Io(problem)) => match pair::newest(&self.dir) {
                Ok(Some(pair::Newest { seq, .. })) => {
                    let entry = self.dir.entry(STATE).ok().flatten();
                    Ok(vec![unsound(Layout::Pair, seq, entry, Soundness::Unreadable(problem))])
                }
                _ => Err(Error::Io(problem)),
            },
            Err(error) => Err(error),
        }
    }

    fn list_numbered(&self, contents: &Contents) -> Result<Vec<Info>> {
        let mut infos = Vec::new();
        contents.check_named()?;
        for &seq in &contents.generations {
            match numbered::read(&self.dir, seq, State::Sum)? {
                Generation::Sound(found) => infos.push(self.sound_generation(found).info),
                Generation::Damaged(problem, entry) => {
                    self.shared.known.insert_damaged(seq);
                    infos.push(unsound(Layout::Numbered, seq, Some(entry), Soundness::Damaged(problem)));
                }
                Generation::Unreadable(error) => {
                    let entry = self.dir.entry(&catalog::generation(seq)).ok().flatten();
                    let soundness = Soundness::Unreadable(error.to_string());
                    infos.push(unsound(Layout::Numbered, seq, entry, soundness));
                }
                // There are newer ones by now.
                Generation::Gone if infos.is_empty() => return Err(Error::NotFound),
                Generation::Gone => {}
            }
        }
        let is_sound = |info: &&Info| matches!(info.soundness, Soundness::Verified | Soundness::Unverified);
        match infos.iter().find(is_sound) {
            None if infos.is_empty() => Err(no_sound_generation(&[], contents)),
            None => Ok(infos),
            Some(_) => self.make_durable().map(|()| infos),
        }
    }

    /// The number of the oldest sound generation.
    pub fn oldest_kept(&self) -> Result<u64> {
        self.look(|contents, layout| match layout {
            Layout::Pair => Ok(self.sound_pair(pair::snapshot(&self.dir, State::Sum)?)?.info.seq),
            Layout::Numbered => {
                // Without this sync, a power cut could bring back an older generation that was pruned.
                files::make_durable(&self.dir)?;
                contents.check_named()?;
                for &seq in contents.generations.iter().rev() {
                    match self.shared.known.check(&self.dir, seq)? {
                        Condition::Sound => return Ok(seq),
                        Condition::Damaged => {}
                        // If it is sound, it must still find its log records.
                        Condition::Unreadable(error) => return Err(self.unreadable(contents, seq, error)),
                        // Its removal may not be durable.
                        Condition::Gone => return Err(Error::NotFound),
                    }
                }
                // Which says what is wrong with each.
                let found = self.find_numbered(contents, None, State::Sum)?;
                found.map(|found| found.info.seq).ok_or(Error::NotFound)
            }
        })
    }

    /// Reads the newest sound snapshot, or the generation with the number `seq`.
    fn find(&self, seq: Option<u64>, wanted: State) -> Result<Found<D::Reader>> {
        let found = self.look(|contents, layout| match layout {
            Layout::Pair => self.find_pair(seq, wanted),
            Layout::Numbered => self.find_numbered(contents, seq, wanted),
        });
        found?.ok_or(Error::NotFound)
    }

    /// Reads the snapshot of the pair layout, or `None` if it has another number.
    fn find_pair(&self, seq: Option<u64>, wanted: State) -> Result<Option<Found<D::Reader>>> {
        let found = pair::snapshot(&self.dir, wanted)?;
        if seq.is_some_and(|seq| seq != found.seq) {
            return Ok(None);
        }
        self.sound_pair(found).map(Some)
    }

    fn sound_pair<R>(&self, found: body::Found<R>) -> Result<Found<R>> {
        self.make_durable()?;
        Ok(sound(Layout::Pair, found))
    }

    /// Reads a generation of the numbered layout, or `None` if there is none of this number.
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
            match numbered::read(&self.dir, candidate, wanted)? {
                Generation::Sound(found) => {
                    self.make_durable()?;
                    return Ok(Some(Found { skipped, ..self.sound_generation(found) }));
                }
                Generation::Damaged(problem, _) => {
                    self.shared.known.insert_damaged(candidate);
                    skipped.push(Skipped { seq: candidate, problem });
                }
                // An older one in its place could be taken for the newest, and be built on.
                Generation::Unreadable(error) => return Err(self.unreadable(contents, candidate, error)),
                Generation::Gone if seq.is_some() && !contents.has(candidate) => {}
                Generation::Gone => return Err(Error::NotFound),
            }
        }
        match (seq, skipped.first()) {
            (Some(_), None) => Ok(None),
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

    fn sound_generation<R>(&self, found: body::Found<R>) -> Found<R> {
        self.shared.known.insert(found.seq, found.entry, found.verified);
        sound(Layout::Numbered, found)
    }
}

/// The name of the file that holds the state.
fn name(info: &Info) -> String {
    match info.layout {
        Layout::Pair => STATE.to_owned(),
        Layout::Numbered => catalog::generation(info.seq),
    }
}

/// A snapshot with what is known of it.
fn sound<R>(layout: Layout, found: body::Found<R>) -> Found<R> {
    let soundness = if found.verified { Soundness::Verified } else { Soundness::Unverified };
    let modified = found.entry.and_then(|entry| entry.modified);
    let info = Info { seq: found.seq, size: found.state.size, modified, layout, soundness };
    Found { info, skipped: Vec::new(), state: found.state, body: found.body }
}

/// A snapshot of which nothing is known but its file.
fn unsound(layout: Layout, seq: u64, entry: Option<Entry>, soundness: Soundness) -> Info {
    let (size, modified) = entry.map_or((0, None), |entry| (entry.size, entry.modified));
    Info { seq, size, modified, layout, soundness }
}

/// How many damaged generations an error describes.
const MAX_PROBLEMS: usize = 20;

/// Says what is wrong with the generations, of which none is sound.
fn no_sound_generation(skipped: &[Skipped], contents: &Contents) -> Error {
    let damaged = skipped.iter().map(|skipped| skipped.problem.clone());
    let set_aside = contents.set_aside.iter();
    let set_aside = set_aside
        .map(|&(seq, count)| format!("`{}` was set aside as damaged", catalog::set_aside(seq, count)));
    // The others are only counted.
    let problems: Vec<String> = damaged.chain(set_aside).take(MAX_PROBLEMS).collect();
    let more = (skipped.len() + contents.set_aside.len()).saturating_sub(MAX_PROBLEMS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Error::Corrupt(format!(
        "{}{more}; no generation is sound: take one from a backup, or move all of them away to start with none",
        problems.join("; ")
    ))
}
