//! The stores of one component: its own, and those of other names, each in a directory of that name inside of its own.

use std::cell::RefCell;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::Store;
use super::held::Shared;
use crate::catalog::{LATER, later};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::files::{self, Place, sync_dir};
use crate::snapshot::Settings;

/// A component's stores.
///
/// ```
/// # use minisnap_component::{dir::OsDir, error::Error, store::{Settings, Stores}};
/// # let tmp = tempfile::tempdir().unwrap();
/// let stores = Stores::new(OsDir::new(tmp.path()), Settings::default(), 2);
/// assert_eq!(stores.existing("agent-7").err(), Some(Error::NotFound));
/// stores.made("agent-7")?.create("[1]", 7)?;
/// assert_eq!(stores.existing("agent-7")?.restore()?.seq, 7);
/// assert_eq!(stores.names()?, ["agent-7"]);
/// # Ok::<(), Error>(())
/// ```
pub struct Stores<D> {
    own: Store<D>,
    /// How many others there may be.
    most: u32,
    /// Of those that were there, what their handles have in common.
    others: RefCell<Vec<(String, Rc<Shared>)>>,
    /// The names of what may be stores, as they were listed last.
    listed: RefCell<Vec<String>>,
}

impl<D: Dir> Stores<D> {
    /// The stores of a component whose own one is in `dir`, and `most` others inside of it, with these settings each.
    pub fn new(dir: D, settings: Settings, most: u32) -> Self {
        let own = Store::new(dir).with_settings(settings);
        Stores { own, most, others: RefCell::default(), listed: RefCell::default() }
    }

    /// Refuses a name that no store can have, and one that the grant does not allow.
    pub fn check(&self, name: &str) -> Result<()> {
        if name.is_empty() || is_valid(name) && self.most > 0 {
            Ok(())
        } else if is_valid(name) {
            Err(Error::AccessDenied(format!(
                "no store is granted but that of the empty name, and not `{name}`"
            )))
        } else {
            Err(Error::InvalidName(
                "a store's name has 1 to 128 letters, digits, `-` and `_`, and does not begin with `snapshot_`"
                    .to_owned(),
            ))
        }
    }

    /// The store of a name that was checked, to read from it.
    pub fn existing(&self, name: &str) -> Result<Store<D>> {
        if name.is_empty() {
            return Ok(self.own.clone());
        }
        let dir = self.open(name)?.ok_or(Error::NotFound)?;
        let shared = self.shared(name);
        if !shared.is_made.get() {
            // Without this sync, a power cut may take the directory and all that is read there.
            files::make_durable(&self.own.dir)?;
        }
        Ok(Store { dir, settings: self.own.settings, shared })
    }

    /// The same, to write to it: it is made if it was not.
    pub fn made(&self, name: &str) -> Result<Store<D>> {
        if name.is_empty() {
            return Ok(self.own.clone());
        }
        let dir = match self.open(name)? {
            Some(dir) => dir,
            None => self.make(name)?,
        };
        let shared = self.shared(name);
        if !shared.is_made.get() {
            // Without this sync, a power cut may take the directory and all that is acknowledged there. One that is there
            // already was made by a process that may have been killed before it.
            sync_dir(&self.own.dir)?;
            shared.is_made.set(true);
        }
        Ok(Store { dir, settings: self.own.settings, shared })
    }

    /// How many generations were pruned in a store since this was called.
    pub fn pruned(&self, name: &str) -> u64 {
        let shared = if name.is_empty() { self.own.shared.clone() } else { self.shared(name) };
        shared.known.pruned.take()
    }

    /// The names of the others, those included whose first create failed.
    pub fn names(&self) -> Result<Vec<String>> {
        if self.most == 0 {
            return Ok(Vec::new());
        }
        // By a heap, which is less code than a sort.
        let mut names = BinaryHeap::new();
        self.list()?;
        for name in self.listed.borrow().iter() {
            if Place::look(&self.own.dir, name.as_str())?.is_dir() {
                names.push(name.clone());
            }
        }
        Ok(names.into_sorted_vec())
    }

    /// What the handles of a store have in common, whose directory is there.
    fn shared(&self, name: &str) -> Rc<Shared> {
        let mut others = self.others.borrow_mut();
        if let Some((_, shared)) = others.iter().find(|(other, _)| other == name) {
            return shared.clone();
        }
        let shared = Rc::new(Shared { streams: self.own.shared.streams.clone(), ..Shared::default() });
        others.push((name.to_owned(), shared.clone()));
        shared
    }

    /// The directory of a store, if it is there.
    fn open(&self, name: &str) -> Result<Option<D>> {
        let place = Place::look(&self.own.dir, name)?;
        if place.is_empty() {
            self.check_not_later()?;
            // What was known is not of the next directory of this name.
            self.others.borrow_mut().retain(|(other, _)| other != name);
            return Ok(None);
        }
        if !place.is_dir() {
            // Opening one could block for ever.
            return Err(Error::Io(format!("`{name}` is no directory: move it away")));
        }
        let failed = |error| Error::io("open", name, &error);
        let dir = files::retry(|| self.own.dir.dir(name)).map_err(failed)?;
        if !self.listed.borrow().iter().any(|other| other == name) {
            self.list()?;
        }
        // A file system that does not tell the two apart has opened the other one.
        self.check_case(name)?;
        Ok(Some(dir))
    }

    fn make(&self, name: &str) -> Result<D> {
        // Since they were listed, one may have been removed: what is refused is looked at anew.
        if self.listed.borrow().is_empty() || self.check_new(name).is_err() {
            self.list()?;
            self.check_new(name)?;
        }
        let failed = |error| Error::io("make the directory", name, &error);
        self.own.dir.make_dir(name).map_err(failed)?;
        self.listed.borrow_mut().push(name.to_owned());
        self.own.dir.dir(name).map_err(failed)
    }

    /// Refuses a name of which no store may be made.
    fn check_new(&self, name: &str) -> Result<()> {
        let most = self.most as usize;
        // Not each of those that are listed must be a store.
        if self.listed.borrow().len() >= most && self.names()?.len() >= most {
            return Err(Error::AccessDenied(format!(
                "no store `{name}` can be made: {most} are granted, and there are as many"
            )));
        }
        self.check_case(name)
    }

    /// Refuses a name that differs from that of another store in case only.
    fn check_case(&self, name: &str) -> Result<()> {
        for other in self.listed.borrow().iter() {
            let is_other = other.eq_ignore_ascii_case(name) && other != name;
            if is_other && Place::look(&self.own.dir, other.as_str())?.is_dir() {
                return Err(Error::AccessDenied(format!(
                    "there is a store `{other}`, which some file systems cannot tell from `{name}`"
                )));
            }
        }
        Ok(())
    }

    /// Refuses a directory that a later version wrote, which may have its stores elsewhere.
    fn check_not_later(&self) -> Result<()> {
        if Place::look(&self.own.dir, LATER)?.is_empty() { Ok(()) } else { Err(later()) }
    }

    /// Lists what may be stores, by their names.
    fn list(&self) -> Result<()> {
        let listing = files::list(&self.own.dir)?;
        if let Some(error) = listing.nameless {
            return Err(Error::io("list", ".", &error));
        }
        self.check_not_later()?;
        let mut names = listing.names;
        names.retain(|name| is_valid(name));
        *self.listed.borrow_mut() = names;
        Ok(())
    }
}

/// Whether a store can have this name: as a component's, and none that looks like a file of a store.
fn is_valid(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_ours = |name: &[u8]| name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"snapshot_"));
    (1..=128).contains(&name.len()) && name.bytes().all(is_allowed) && !is_ours(name.as_bytes())
}
