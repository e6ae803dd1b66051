//! What stands between a store's component, which knows files, and the object store in which its snapshots are: a folder with
//! at most one generation of each store. It is where new ones are made, and where those that are read are got to. What counts
//! is the object store alone.

mod writing;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime;

use super::bucket::Bucket;
use super::files::make_private;
use super::folder::{empty, has_snapshots};
use super::grant::{Buckets, Remote};
use super::head::{Generation, Head};
use super::protocol::{Skipped as Unsound, TakeOver, Wanted};
use super::store::{Found, RemoteStore};
use crate::directory::Held;
use crate::error::{Error, Result};
use crate::grant::{Access, Grant, is_store_name};
use crate::snapshot::{Fetched, Layout, Listed, Skipped};

/// The folder in a component's directory, in which no store of that directory sees anything.
const FOLDER: &str = ".staging";

/// How long it may take to let go of a store that is dropped. Nothing depends on that.
const RELEASE: Duration = Duration::from_secs(5);

/// The stores of a component that are in an object store.
pub(crate) struct Staging {
    granted: Grant,
    remote: Remote,
    bucket: Arc<Bucket>,
    folder: PathBuf,
    /// Those that are open for writing, by name.
    open: HashMap<String, RemoteStore>,
    /// By store, the keys of generations that were found damaged or gone: the next create sets them aside.
    damaged: HashMap<String, HashSet<String>>,
    /// The names of the named stores, once they were listed: only their owner makes another.
    names: Option<BTreeSet<String>>,
    /// The folder of a copy's objects, and what was put there so far, while there is one.
    copied: Option<(String, Vec<Generation>)>,
    _held: Option<Held>,
    _temporary: Option<TempDir>,
}

impl Staging {
    /// Opens what is granted in an object store, if it is; for writing, it is taken over.
    pub(crate) fn open(buckets: &Buckets, grant: &Grant) -> Result<Option<Staging>> {
        let Some(remote) = grant.remote.clone().filter(|_| grant.access != Access::None) else {
            return Ok(None);
        };
        let bucket = buckets.get(&remote)?;
        let writes = grant.access == Access::ReadWrite;
        let (held, temporary, folder) = if writes && !grant.dir.as_os_str().is_empty() {
            let here = Grant { remote: None, must_exist: false, ..grant.clone() };
            let held = here.hold()?;
            let folder = here.dir.join(FOLDER);
            (held, None, folder)
        } else {
            let temporary = tempfile::Builder::new().prefix("minisnap-").tempdir();
            let temporary = temporary.map_err(|e| Error::io("make a folder in", &std::env::temp_dir(), e))?;
            let folder = temporary.path().to_owned();
            (None, Some(temporary), folder)
        };
        let mut staging = Staging {
            granted: grant.clone(),
            remote,
            bucket,
            folder,
            open: HashMap::new(),
            damaged: HashMap::new(),
            names: None,
            copied: None,
            _held: held,
            _temporary: temporary,
        };
        staging.make_folder("")?;
        if writes {
            staging.begin()?;
        }
        Ok(Some(staging))
    }

    fn begin(&mut self) -> Result<()> {
        let deadline = self.granted.deadline;
        if fs::symlink_metadata(&self.folder).is_ok_and(|found| !found.is_dir()) {
            let folder = self.folder.display();
            return Err(Error::other(format!("`{folder}` is no directory, or a link: remove it")));
        }
        let url = self.url("");
        if self.granted.must_exist && self.list("", deadline)?.is_empty() {
            return Err(Error::other(format!(
                "`{url}` has no snapshot, and must exist: name the place where it is, or let it be made"
            )));
        }
        let is_empty = self.writer("", deadline)?.generations.is_empty();
        let local = &self.granted.dir;
        if is_empty && self._held.is_some() && has_snapshots(local)? {
            let local = local.display();
            return Err(Error::other(format!(
                "`{url}` has no snapshots, and the directory `{local}` has: copy them there, or move them away"
            )));
        }
        Ok(())
    }

    /// What was granted.
    pub(crate) fn granted(&self) -> &Grant {
        &self.granted
    }

    /// What the component gets: the folder, in which it keeps one generation, and counts no stores.
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            dir: self.folder.clone(),
            layout: Layout::Numbered,
            keep: Some(std::num::NonZeroU32::MIN),
            max_total: None,
            must_exist: false,
            stores: if self.granted.stores > 0 { u32::MAX } else { 0 },
            max_instances: None,
            remote: None,
            ..self.granted.clone()
        }
    }

    /// Whether the snapshots are in the same place.
    pub(crate) fn is_where(&self, other: &Staging) -> bool {
        let place = |staging: &Staging| (staging.remote.location.endpoint.clone(), staging.url(""));
        place(self) == place(other)
    }

    /// Where a store is.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{}", self.bucket.location(), self.remote.name_of(name))
    }

    fn folder_of(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.folder.clone() } else { self.folder.join(name) }
    }

    fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder_of(name);
        make_private(&folder).map_err(|error| Error::io("make the directory", &folder, error))?;
        Ok(folder)
    }

    /// The head of a store that this one may write, which is opened now if it was not yet.
    fn writer(&mut self, name: &str, time: Duration) -> Result<&Head> {
        if !self.open.contains_key(name) {
            let started = Instant::now();
            let left = || time.saturating_sub(started.elapsed());
            let mut store = RemoteStore::new(Arc::clone(&self.bucket), self.remote.name_of(name));
            if name.is_empty() {
                store.open(&self.remote.node, self.remote.take_over, left())?;
            } else {
                self.open.get("").into_iter().for_each(|own| store.put_ahead_beside(own));
                self.check_owner(left())?;
                if store.find(Wanted::Head, Path::new(""), left())?.head.is_none() {
                    self.check_one_more(name, left())?;
                }
                // Whoever has the component has its named stores. Another host that takes it over afterwards finds this claim
                // when it first looks at this store; if it has looked before, the component was not this host's any more.
                store.open(&self.remote.node, TakeOver::Anyone, left())?;
                self.check_owner(left())?;
                self.names.iter_mut().for_each(|names| names.extend([name.to_owned()]));
            }
            self.open.insert(name.to_owned(), store);
        }
        let head = self.open.get(name).and_then(RemoteStore::head);
        head.ok_or_else(|| Error::other(format!("`{}` is not open for writing", self.url(name))))
    }

    /// Refuses if the component was taken over.
    fn check_owner(&self, time: Duration) -> Result<()> {
        self.open.get("").map_or(Ok(()), |own| own.check_owner(time))
    }

    /// Before a store is read that this host may write: nobody else writes it from here on, unless the component was taken over;
    /// and what was in doubt is known.
    fn look(&mut self, name: &str, time: Duration) -> Result<()> {
        let started = Instant::now();
        let is_own = self.granted.access == Access::ReadWrite && !self.open.is_empty();
        if is_own && !self.open.contains_key(name) && self.found(name, Wanted::Head, time)?.head.is_some() {
            match self.writer(name, time.saturating_sub(started.elapsed())) {
                // Who was taken over goes on reading.
                Ok(_) | Err(Error::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let left = time.saturating_sub(started.elapsed());
        self.open.get_mut(name).map_or(Ok(()), |store| store.confirm(left))
    }

    /// Refuses a named store that would be one more than there may be, or of which the name differs from another's in case only.
    fn check_one_more(&mut self, name: &str, time: Duration) -> Result<()> {
        let names = match self.names.take() {
            Some(names) => names,
            None => self.names(time)?.into_iter().collect(),
        };
        let names = &*self.names.insert(names);
        if names.contains(name) {
            return Ok(());
        }
        if let Some(other) = names.iter().find(|other| other.eq_ignore_ascii_case(name)) {
            let what = format!("there is a store `{other}`, from which `{name}` differs in case only");
            return Err(Error::denied(what));
        }
        let most = self.granted.stores as usize;
        if names.len() < most {
            return Ok(());
        }
        Err(Error::denied(format!("no more than {most} named stores are granted, and `{name}` is one more")))
    }

    /// The names of the named stores.
    pub(crate) fn names(&self, time: Duration) -> Result<Vec<String>> {
        if self.granted.stores == 0 {
            return Ok(Vec::new());
        }
        let mut names = self.bucket.folders(&self.remote.folder_of_stores(), time)?;
        names.retain(|name| is_store_name(name));
        Ok(names)
    }

    /// Gets the newest generation that is sound, or that with the number `seq`, into the folder, which has no other then.
    pub(crate) fn fetch(&mut self, name: &str, seq: Option<u64>, time: Duration) -> Result<Option<Fetched>> {
        let started = Instant::now();
        self.look(name, time)?;
        let left = time.saturating_sub(started.elapsed());
        let found = self.found(name, seq.map_or(Wanted::Newest, Wanted::Seq), left);
        let Found { head, generation, skipped } = found.map_err(|error| match error {
            // This machine's disk is full, and not the store.
            Error::NoSpace(problem) => Error::Io(problem),
            error => error,
        })?;
        if !skipped.is_empty() {
            let unsound = skipped.iter().map(|unsound| unsound.generation.key.clone());
            self.damaged.entry(name.to_owned()).or_default().extend(unsound);
        }
        let said = |Unsound { generation, why }: &Unsound| Skipped {
            seq: generation.seq,
            problem: format!("`{}` {why}", generation.file_name()),
        };
        let skipped: Vec<Skipped> = skipped.iter().map(said).collect();
        let Some(generation) = generation else {
            if skipped.is_empty() {
                return Ok(None);
            }
            let problems: Vec<&str> = skipped.iter().map(|skipped| skipped.problem.as_str()).collect();
            return Err(Error::Corrupt(problems.join("; ")));
        };
        empty(&self.folder_of(name), Some(&generation.file_name()))?;
        if let Some(damaged) = self.damaged.get_mut(name) {
            // It was a garbled answer.
            damaged.remove(&generation.key);
        }
        let seqs = head.map(|head| head.generations).unwrap_or_default().into_iter().map(|other| other.seq);
        let older = seqs.filter(|other| *other < generation.seq).collect();
        Ok(Some(Fetched { seq: generation.seq, key: generation.key, older, skipped }))
    }

    /// What the component says that is damaged, although it is what was put.
    pub(crate) fn is_damaged(&mut self, name: &str, key: String) {
        self.damaged.entry(name.to_owned()).or_default().insert(key);
    }

    /// Has the next generation got from the object store, whatever is in the folder.
    pub(crate) fn forget(&mut self, name: &str) -> Result<()> {
        empty(&self.folder_of(name), None)
    }

    /// What there is of a store, newest first: none is read.
    pub(crate) fn list(&mut self, name: &str, time: Duration) -> Result<Vec<Listed>> {
        let started = Instant::now();
        self.look(name, time)?;
        let head = self.found(name, Wanted::Head, time.saturating_sub(started.elapsed()))?.head;
        let listed = |generation: &Generation| Listed {
            seq: generation.seq,
            key: generation.key.clone(),
            size: generation.size,
            modified: Some(generation.time()),
        };
        Ok(head.map(|head| head.generations.iter().map(listed).collect()).unwrap_or_default())
    }

    fn found(&self, name: &str, wanted: Wanted, time: Duration) -> Result<Found> {
        let folder = self.folder_of(name);
        let found = match self.open.get(name) {
            Some(store) => store.find(wanted, &folder, time)?,
            None => {
                let key = self.remote.name_of(name);
                RemoteStore::new(Arc::clone(&self.bucket), key).find(wanted, &folder, time)?
            }
        };
        if found.head.is_none() && name.is_empty() && self.granted.must_exist {
            let url = self.url("");
            return Err(Error::other(format!(
                "`{url}` is not there, and must exist: name the place where it is"
            )));
        }
        Ok(found)
    }

    /// Goes back to a generation of the component's own store; returns the numbers above it.
    pub(crate) fn rollback(&mut self, seq: u64, time: Duration) -> Result<Vec<u64>> {
        let started = Instant::now();
        let head = self.writer("", time)?;
        let undone = head.generations.iter().map(|generation| generation.seq).filter(|other| *other > seq);
        let undone = undone.collect();
        let store = self.open.get_mut("").expect("it is open");
        store.rollback(seq, time.saturating_sub(started.elapsed()))?;
        Ok(undone)
    }

    /// The names of the files of the component's own store, sorted; two may have one.
    pub(crate) fn files(&self, time: Duration) -> Result<Vec<String>> {
        let head = self.found("", Wanted::Head, time)?.head;
        Ok(head.as_ref().map(Head::file_names).unwrap_or_default())
    }

    /// Removes all of the component's own store, and returns the names of its files.
    pub(crate) fn clear(&mut self, time: Duration) -> Result<Vec<String>> {
        let started = Instant::now();
        let erased = self.writer("", time)?.file_names();
        let store = self.open.get_mut("").expect("it is open");
        store.clear(time.saturating_sub(started.elapsed()))?;
        // Nothing that is left there counts.
        let _ = empty(&self.folder, None);
        Ok(erased)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // With it go the named stores.
        let Some(mut own) = self.open.remove("") else { return };
        let time = self.granted.deadline.min(RELEASE);
        let mut release = move || {
            if let Err(error) = own.release(time) {
                // Whoever opens it next takes it over.
                tracing::debug!(error = error.to_line(), "a store was not released");
            }
        };
        // In a task, nothing may block.
        match runtime::Handle::try_current() {
            Ok(_) => drop(thread::Builder::new().name("minisnap-release".to_owned()).spawn(release)),
            Err(_) => release(),
        }
    }
}
