//! What a store knows of its directory between two calls: what it held, and whether that is durable.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use super::Store;
use crate::catalog::{Contents, Layout};
use crate::dir::{ATTEMPTS, Dir, Kind};
use crate::error::{Error, Result};
use crate::files;
use crate::numbered::Known;

/// How many calls may rely on what is remembered of the directory before it is listed again.
const MAX_UNLISTED: u32 = 15;

/// What the clones of a store have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether there is a writer.
    pub(super) writing: Cell<bool>,
    /// Whether all that the directory holds is durable: true from when a commit has ended well until the next writer is
    /// opened. Before the first commit, another store may write there.
    pub(super) durable: Cell<bool>,
    /// What it held after the last commit, or when it was listed since, and the directory's own time then.
    pub(super) held: RefCell<Option<(Rc<Contents>, SystemTime)>>,
    /// How many calls have relied on that since the directory was listed.
    pub(super) unlisted: Cell<u32>,
    /// Whether the directory's own entry is durable, in the one around it: true once a create has seen to it. Before that,
    /// another process may make it.
    pub(super) is_made: Cell<bool>,
    /// The numbers of the generations that readers have open, one for each reader.
    pub(super) reading: RefCell<Vec<u64>>,
    /// How many readers and writers are open, of this store and of the others of its component.
    pub(super) streams: Rc<Cell<usize>>,
    pub(super) known: Known,
}

impl<D: Dir> Store<D> {
    /// Forgets what the directory held.
    pub(super) fn forget(&self) {
        self.shared.held.take();
    }

    /// Remembers what the directory held at this time, after a commit and before the next writer.
    pub(super) fn remember(&self, contents: Rc<Contents>, time: Option<SystemTime>) {
        let is_all = contents.leftovers() == 0 && contents.nameless.is_none();
        *self.shared.held.borrow_mut() = time.filter(|_| is_all).map(|time| (contents, time));
    }

    /// What the directory held, if it has the same time still. Nobody else may write there; what is done there by hand is
    /// seen, if only a few calls later where that happened in the middle of a commit or has the same time as one.
    pub(super) fn remembered(&self) -> Option<Rc<Contents>> {
        let (contents, time) = self.shared.held.borrow().clone()?;
        let unlisted = self.shared.unlisted.get();
        if unlisted < MAX_UNLISTED && self.time()? == time {
            self.shared.unlisted.set(unlisted + 1);
            return Some(contents);
        }
        self.forget();
        None
    }

    /// When a name came or went in the directory, where the file system has that.
    pub(super) fn time(&self) -> Option<SystemTime> {
        self.dir.entry("").ok()??.modified
    }

    /// Looks what the directory holds, and reads. [`NotFound`](Error::NotFound) says that what was listed has gone away: then it is
    /// listed again, until two listings in a row hold the same. What was never listed is not for `read` to call so.
    pub(super) fn look<T>(&self, read: impl Fn(&Contents, Layout) -> Result<T>) -> Result<T> {
        let (mut remembered, mut before) = (self.remembered(), None::<Rc<Contents>>);
        for _ in 0..ATTEMPTS {
            let contents = match remembered.take() {
                Some(contents) => contents,
                None => self.list_stable()?,
            };
            let is_same = before.as_ref().is_some_and(|before| contents.holds_the_same_as(before));
            let layout = contents.layout()?.ok_or(Error::NotFound)?;
            match read(&contents, layout) {
                Err(Error::NotFound) if !is_same => self.forget(),
                found => return found,
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
    pub(super) fn listed(&self, contents: &Contents) {
        self.shared.known.retain(contents);
        self.shared.unlisted.set(0);
    }

    /// Makes durable what was read, where its writer may not have.
    pub(super) fn make_durable(&self) -> Result<()> {
        if self.shared.durable.get() { Ok(()) } else { files::make_durable(&self.dir) }
    }

    /// The same result, but of what failed for want of a directory, it says so.
    pub(super) fn in_dir<T>(&self, result: Result<T>) -> Result<T> {
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
