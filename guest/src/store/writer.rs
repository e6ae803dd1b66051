//! What writes: a snapshot as a whole or piece by piece, what is refused before, and what is removed after.

use std::rc::Rc;

use super::Store;
use super::held::Shared;
use super::reader::Stream;
use crate::catalog::{self, Contents, Layout, Numbered, STATE};
use crate::commit::Draft;
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::files::{Place, sync_dir};
use crate::json::Formatter;
use crate::numbered::Condition;
use crate::retain::{self, Allowance};
use crate::snapshot::Settings;
use crate::{pair, settle};

/// A snapshot that is being made. Dropping it undoes everything.
///
/// ```
/// # use minisnap_component::{dir::OsDir, error::Error, store::Store};
/// # let tmp = tempfile::tempdir().unwrap();
/// # let store = Store::new(OsDir::new(tmp.path()));
/// let mut writer = store.open_writer(7)?;
/// writer.write(br#"{"counter""#)?;
/// writer.write(b":1}")?;
/// assert!(matches!(store.create("2", 8), Err(Error::Busy(_))));
/// writer.commit()?;
/// assert_eq!(store.restore()?.state, "{\n  \"counter\": 1\n}");
/// # Ok::<(), Error>(())
/// ```
pub struct Writer<D: Dir> {
    /// What takes the state, and the right to write, which is dropped last, so that the next writer finds everything undone; or
    /// why a piece was not taken.
    open: Result<(Formatter<Draft<D>>, Alone)>,
    /// How many bytes were given.
    given: u64,
    seq: u64,
    /// What the directory held when the writer was opened.
    contents: Contents,
    /// Whether the commit sets damaged generations aside.
    sets_aside: bool,
    /// Whether newer ones may stay above it.
    is_inserted: bool,
    store: Store<D>,
}

impl<D: Dir> Writer<D> {
    /// Takes the next piece of the state, cut anywhere. An error undoes everything: nothing is taken or committed any more.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.take(piece.len(), |formatter| formatter.push_bytes(piece))
    }

    /// The same for a piece that is known to be UTF-8.
    pub fn write_text(&mut self, piece: &str) -> Result<()> {
        self.take(piece.len(), |formatter| formatter.push(piece))
    }

    fn take(&mut self, size: usize, push: impl FnOnce(&mut Formatter<Draft<D>>) -> Result<()>) -> Result<()> {
        let max_state = self.store.settings.max_state;
        self.given = self.given.saturating_add(size as u64);
        let taken = match &mut self.open {
            Ok((formatter, _)) if self.given <= max_state => push(formatter),
            Ok(_) => Err(Error::TooLarge(max_state)),
            Err(error) => Err(error.clone()),
        };
        taken.inspect_err(|error| self.open = Err(error.clone()))
    }

    /// Makes the snapshot the newest one, durably.
    pub fn commit(self) -> Result<()> {
        if self.open.is_ok() {
            // While it was open, something may have come or gone by hand.
            self.store.shared.known.retain(&self.contents);
        }
        self.commit_at_once().map(drop)
    }

    /// The same, in the call that opened it. Returns what the directory holds then, if that is known.
    pub(super) fn commit_at_once(self) -> Result<Option<Contents>> {
        let Writer { open, seq, mut contents, sets_aside, is_inserted, store, .. } = self;
        let (formatter, _alone) = open?;
        let mut is_known = !sets_aside && !is_inserted;
        match formatter.finish()?.commit()? {
            Layout::Pair => contents.pair = Some(STATE),
            Layout::Numbered if is_inserted => store.shared.known.remove(seq),
            // It is durable, whether or not others can be removed.
            Layout::Numbered => is_known &= store.prune(seq, &mut contents),
        }
        store.shared.durable.set(true);
        Ok(is_known.then_some(contents))
    }
}

impl<D: Dir> Store<D> {
    /// Makes `state` with `seq` the newest snapshot, durably. [`Busy`](Error::Busy) while there is a [`Writer`].
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

    /// Starts a snapshot that is written piece by piece. [`Busy`](Error::Busy) while there is a [`Writer`].
    pub fn open_writer(&self, seq: u64) -> Result<Writer<D>> {
        self.writer(seq, false)
    }

    /// The same for any number: of a pair, it replaces a newer or damaged one, too; newer generations stay, and nothing is pruned.
    pub fn insert(&self, seq: u64) -> Result<Writer<D>> {
        self.writer(seq, true)
    }

    fn writer(&self, seq: u64, is_inserted: bool) -> Result<Writer<D>> {
        let alone = Alone::new(&self.shared)?;
        let contents = self.settle()?;
        let Settings { max_state, max_total, .. } = self.settings;
        let allowance = Allowance { max_state, max_total, room: self.room(&contents)? };
        let mut sets_aside = false;
        let (draft, levels) = match contents.layout()?.unwrap_or(self.settings.layout) {
            Layout::Pair => {
                let newest = match pair::newest(&self.dir) {
                    // Whatever is there gives way.
                    Err(Error::Corrupt(_)) if is_inserted => None,
                    newest => newest?,
                };
                match newest {
                    Some(newest) if seq < newest.seq && !is_inserted => return Err(Error::Stale(newest.seq)),
                    _ => self.shared.durable.set(false),
                }
                if newest.is_some_and(|newest| newest.is_over_ours) {
                    settle::remove_stale_sums(&self.dir)?;
                }
                (Draft::pair(&self.dir, seq, allowance)?, 0)
            }
            Layout::Numbered => {
                let damaged = self.check_not_stale(&contents, seq, is_inserted)?;
                self.shared.durable.set(false);
                sets_aside = !damaged.is_empty();
                (Draft::generation(&self.dir, seq, damaged, allowance)?, 1)
            }
        };
        let head = draft.head();
        let formatter = Formatter::new(draft).after(head.as_bytes()).nested(levels);
        let (open, store) = (Ok((formatter, alone)), self.clone());
        Ok(Writer { open, given: 0, seq, contents, sets_aside, is_inserted, store })
    }

    /// Finishes or removes what an earlier crash left, as every create does first, and returns how many names
    /// showed it.
    pub fn settle_leftovers(&self) -> Result<u64> {
        let _alone = Alone::new(&self.shared)?;
        let leftovers = self.count_leftovers()?;
        if leftovers == 0 {
            return Ok(0);
        }
        self.forget();
        self.settle()?;
        Ok(leftovers.saturating_sub(self.count_leftovers()?))
    }

    fn count_leftovers(&self) -> Result<u64> {
        let contents = self.in_dir(Contents::look_alone(&self.dir))?;
        if contents.is_later { Err(catalog::later()) } else { Ok(contents.leftovers()) }
    }

    /// Finishes or removes what an earlier crash left, and says which snapshots the directory holds, durably.
    pub(super) fn settle(&self) -> Result<Contents> {
        let was_durable = self.shared.durable.replace(false);
        let remembered = self.remembered();
        self.forget();
        if let Some(contents) = remembered.and_then(Rc::into_inner) {
            self.shared.durable.set(was_durable);
            return Ok(contents);
        }
        if !was_durable {
            // What follows builds on what a process left that may have been killed before its sync.
            self.in_dir(sync_dir(&self.dir))?;
        }
        let contents = self.in_dir(Contents::look_alone(&self.dir))?;
        self.listed(&contents);
        contents.layout()?;
        settle::settle(&self.dir, &contents)?;
        // Only a commit, of a rollback too, makes it true: whoever may not write has no right to rely on that nobody else does.
        self.shared.durable.set(was_durable);
        Ok(contents)
    }

    /// Refuses a number that is lower than that of the newest sound generation, unless it is inserted; finds the damaged ones
    /// on the way.
    fn check_not_stale(&self, contents: &Contents, seq: u64, is_inserted: bool) -> Result<Vec<u64>> {
        contents.check_named()?;
        let known = &self.shared.known;
        let mut damaged = Vec::new();
        let not_older = contents.generations.iter().take_while(|&&generation| generation >= seq);
        for &generation in not_older.filter(|&&generation| generation == seq || !is_inserted) {
            // One that is replaced is read: what has become of it since must not be lost.
            let condition = match generation == seq {
                true => known.check_anew(&self.dir, generation)?,
                false => known.check(&self.dir, generation)?,
            };
            match condition {
                Condition::Sound if generation > seq => return Err(Error::Stale(generation)),
                Condition::Sound | Condition::Gone => {}
                Condition::Damaged => damaged.push(generation),
                Condition::Unreadable(Error::Io(problem)) => {
                    return Err(Error::Io(format!(
                        "{problem}, which may be newer: try again, or move that file away, or give a higher sequence \
                         number"
                    )));
                }
                Condition::Unreadable(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// How many bytes a new snapshot may add, if older generations make room for it afterwards.
    fn room(&self, contents: &Contents) -> Result<u64> {
        if self.settings.max_total == u64::MAX {
            return Ok(u64::MAX);
        }
        // Nothing removes the newest, nor what is being read; the others can make room.
        let mut stays = self.shared.reading.borrow().clone();
        for &seq in &contents.generations {
            match self.shared.known.glance(&self.dir, seq)? {
                Condition::Sound | Condition::Unreadable(_) => {
                    stays.push(seq);
                    break;
                }
                Condition::Damaged | Condition::Gone => {}
            }
        }
        let held = retain::held(&self.dir, &|file| match file {
            Some(Numbered::Generation(seq)) => stays.contains(&seq),
            // Beside a pair, nothing makes room.
            Some(Numbered::SetAside(..)) => contents.pair.is_some(),
            Some(Numbered::Temporary | Numbered::Undone) | None => true,
        })?;
        Ok(self.settings.max_total.saturating_sub(held))
    }

    /// Removes the oldest generations after the generation `seq` was committed. Returns whether `contents` is what the
    /// directory holds then.
    fn prune(&self, seq: u64, contents: &mut Contents) -> bool {
        contents.generations.retain(|&generation| generation < seq);
        contents.generations.insert(0, seq);
        match Place::look(&self.dir, catalog::generation(seq)) {
            Ok(Place { entry: Some(entry), .. }) => self.shared.known.insert(seq, Some(entry), true),
            _ => self.shared.known.remove(seq),
        }
        let open = self.shared.reading.borrow();
        retain::prune(&self.dir, contents, self.settings, &self.shared.known, &open)
    }
}

/// The right to write, which one has at a time.
pub(super) struct Alone(Stream);

impl Alone {
    pub(super) fn new(shared: &Rc<Shared>) -> Result<Self> {
        if shared.writing.get() {
            return Err(Error::Busy(
                "a writer of this store is open: commit, discard or drop it first".to_owned(),
            ));
        }
        let stream = Stream::new(shared)?;
        shared.writing.set(true);
        Ok(Alone(stream))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let Alone(Stream(shared)) = self;
        shared.writing.set(false);
    }
}
