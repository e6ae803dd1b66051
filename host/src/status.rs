//! How the stores are of all components to which a grants file gives a directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::component::Minisnap;
use crate::diagnostic;
use crate::directory::entries;
use crate::error::{Error, Result};
use crate::grant::{Access, Grant, is_store_name};
use crate::grants::{Found, Grants, Terms};
use crate::locks::Locks;
use crate::names::{UNDONE, generation_in};
use crate::snapshot::{Info, Layout, Listed, Soundness};

/// A store of a component or an instance, and what is known of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Status {
    /// The component's name.
    pub component: String,
    /// The instance's name, if it is one.
    pub instance: Option<String>,
    /// The store's name: empty, but for a named store.
    pub store: String,
    /// Its directory, if it gets one.
    pub dir: Option<PathBuf>,
    /// The URL of its snapshots, if they are in an object store.
    pub url: Option<String>,
    /// Size limit of the directory in bytes, or `None` for no limit.
    pub max_total: Option<u64>,
    /// The process that holds the directory for writing, as far as the system tells.
    pub held_by: Option<u32>,
    /// What is there, or why nobody can tell.
    pub contents: Result<Contents>,
}

/// What is in the directory of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contents {
    /// The snapshot that would be restored, or `None` if there is none; without reading it, the newest one.
    pub newest: Option<Newest>,
    /// The layout of what is there.
    pub layout: Option<Layout>,
    /// How many generations there are, the damaged ones included.
    pub generations: u64,
    /// How many of them are damaged, if they were read.
    pub damaged: Option<u64>,
    /// Why one of them cannot be read now, if they were read and one cannot.
    pub unreadable: Option<String>,
    /// What counts towards `max-total`, in bytes.
    pub size: u64,
}

/// The newest snapshot of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Newest {
    /// Its number.
    pub seq: u64,
    /// When it was written, if the system tells.
    pub modified: Option<SystemTime>,
    /// Its soundness, if it was read.
    pub soundness: Option<Soundness>,
}

impl Grants {
    /// What is known of each store: of each component that the file names, and of everybody who has a directory; by name. A
    /// component's own store is left out where only its named stores or its instances have been used, or it may not have any.
    ///
    /// Nothing is written, and no lock is taken. Unless `verify` says that every byte is to be read, only names and numbers are,
    /// and a state only where nothing else can show which number a pair has after a crash or another program's write; most
    /// damage is not found then.
    ///
    /// Errors: the root cannot be listed. What else is wrong is told of the store that it is about.
    pub fn status(&self, minisnap: &Minisnap, verify: bool) -> diagnostic::Result<Vec<Status>> {
        let locks = Locks::now();
        let found = self.all()?;
        let with_instances: BTreeSet<&str> =
            found.iter().filter(|found| found.instance.is_some()).map(|found| found.name.as_str()).collect();
        let mut all: Vec<Status> = Vec::new();
        // Object stores for which nobody waits again.
        let mut silent = BTreeSet::new();
        for Found { name, instance, entry } in &found {
            let of = |store: &str, grant: Option<&Grant>, contents| {
                let dir = grant.map(|grant| grant.of_store(store).dir);
                let url = grant.and_then(|grant| grant.of_store(store).url());
                // Who holds a component's directory for itself may write in its named stores.
                let parent = grant.map(|grant| grant.dir.clone());
                let held_by = [&dir, &parent].into_iter().flatten().find_map(|dir| locks.writer(dir));
                Status {
                    component: name.clone(),
                    instance: instance.clone(),
                    store: store.to_owned(),
                    held_by,
                    dir,
                    url,
                    max_total: grant.and_then(|grant| grant.max_total),
                    contents,
                }
            };
            let grant = match entry {
                Ok(entry) => &entry.grant,
                Err(mistake) => {
                    all.push(of("", None, Err(Error::other(mistake.to_string()))));
                    continue;
                }
            };
            let named = match grant.stores > 0 && !silent.contains(&grant.server()) {
                true => named_stores(minisnap, grant),
                false => Ok(Vec::new()),
            };
            if let (Err(Error::DeadlineExceeded(_)), true) = (&named, grant.is_remote()) {
                silent.insert(grant.server());
            }
            let named = match named {
                Ok(named) => named,
                Err(error) => {
                    all.push(of("", Some(grant), Err(error)));
                    continue;
                }
            };
            let is_run_as_instances = instance.is_none() && with_instances.contains(name.as_str());
            let has_others = !named.is_empty() || is_run_as_instances && !grant.dir.exists();
            for store in std::iter::once("").chain(named.iter().map(String::as_str)) {
                let read = grant.of_store(store).read_only();
                let contents = match silent.contains(&read.server()) {
                    true => Err(Error::other("its server did not answer for another component")),
                    false if read.is_remote() => contents(minisnap, read.clone(), verify),
                    false => contents(minisnap, read.clone().deadline(Duration::MAX), verify),
                };
                if let (Err(Error::DeadlineExceeded(_)), true) = (&contents, read.is_remote()) {
                    silent.insert(read.server());
                }
                // Who serves others, or runs as instances, may have no snapshot of its own; and who may have none has none.
                let is_unused = contents.as_ref().is_ok_and(|contents| contents.layout.is_none());
                let need_not_be = store.is_empty() && has_others || grant.access == Access::None;
                if !(is_unused && need_not_be) {
                    all.push(of(store, Some(grant), contents));
                }
            }
        }
        // One whose volume is gone has no instance, and is to be seen.
        let names: BTreeSet<&str> = found.iter().map(|found| found.name.as_str()).collect();
        for Terms { name, grant, .. } in self.terms() {
            let is_missing = grant.access != Access::None && !names.contains(name.as_str());
            if is_missing {
                let contents = match grant.must_exist {
                    true => Err(Error::other("no instance has a directory, and one must exist".to_owned())),
                    false => Ok(Contents::default()),
                };
                let (max_total, component) = (grant.max_total, name);
                let (instance, store, dir, url, held_by) = (None, String::new(), None, None, None);
                all.push(Status { component, instance, store, dir, url, max_total, held_by, contents });
            }
        }
        all.sort_by(|one, other| one.component.cmp(&other.component));
        Ok(all)
    }
}

/// The named stores of a component, sorted; of a directory that cannot be listed, none.
fn named_stores(minisnap: &Minisnap, grant: &Grant) -> Result<Vec<String>> {
    if grant.is_remote() {
        return minisnap.open(grant.clone().read_only())?.names();
    }
    let entries = fs::read_dir(&grant.dir).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_store_name(name)).collect();
    names.sort();
    Ok(names)
}

fn contents(minisnap: &Minisnap, grant: Grant, verify: bool) -> Result<Contents> {
    let dir = grant.dir.clone();
    let mut store = minisnap.open(grant)?;
    if let Some(listed) = store.listed("")? {
        let newest = listed.first();
        let mut contents = Contents {
            newest: newest.map(|&Listed { seq, modified, .. }| Newest { seq, modified, soundness: None }),
            layout: newest.map(|_| Layout::Numbered),
            generations: listed.len() as u64,
            size: listed.iter().map(|generation| generation.size).sum(),
            ..Contents::default()
        };
        if verify && newest.is_some() {
            contents.verified(&store.generations()?);
        }
        return Ok(contents);
    }
    let layout = match store.layout() {
        Err(Error::NotFound) => None,
        layout => Some(layout?),
    };
    let Usage { size, generations } = Usage::of(&dir)?;
    let generations = if layout == Some(Layout::Pair) { 1 } else { generations };
    let mut contents = Contents { layout, generations, size, ..Contents::default() };
    if layout.is_some() && verify {
        contents.verified(&store.generations()?);
    } else if let Some(layout) = layout {
        contents.newest = match store.newest_seq() {
            Err(Error::NotFound) => None,
            seq => {
                seq.map(|seq| Some(Newest { seq, modified: modified(&dir, layout, seq), soundness: None }))?
            }
        };
    }
    Ok(contents)
}

impl Contents {
    /// Adds what was found when every byte was read.
    fn verified(&mut self, infos: &[Info]) {
        let is_damaged = |info: &&Info| matches!(info.soundness, Soundness::Damaged(_));
        self.generations = infos.len() as u64;
        self.damaged = Some(infos.iter().filter(is_damaged).count() as u64);
        self.unreadable = infos.iter().find_map(|info| match &info.soundness {
            Soundness::Unreadable(problem) => Some(problem.clone()),
            _ => None,
        });
        let newest = infos.iter().find(|info| !is_damaged(info)).cloned();
        self.newest = newest.map(|Info { seq, modified, soundness, .. }| Newest {
            seq,
            modified,
            soundness: Some(soundness),
        });
    }
}

/// When the snapshot of this number was written, by its file.
fn modified(dir: &Path, layout: Layout, seq: u64) -> Option<SystemTime> {
    let modified = |name: &str| fs::metadata(dir.join(name)).and_then(|metadata| metadata.modified()).ok();
    match layout {
        Layout::Numbered => modified(&format!("snapshot_{seq:020}.json")),
        // What is made under the other name may never be committed; where only that is left, it was.
        Layout::Pair => modified("snapshot.json").or_else(|| modified("snapshot.json.new")),
    }
}

/// What the files in a directory come to, by their names.
#[derive(Debug, Default)]
struct Usage {
    /// What counts towards `max-total`, in bytes: all but what was undone, and named stores.
    size: u64,
    /// How many have the name of a generation in the layout `numbered`.
    generations: u64,
}

impl Usage {
    /// Of a directory that is not there, nothing.
    fn of(dir: &Path) -> Result<Self> {
        let mut usage = Usage::default();
        for entry in entries(dir)? {
            let name = entry.file_name();
            let end = name.to_str().and_then(generation_in).map(|(_, end)| end);
            usage.generations += u64::from(end == Some(".json"));
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() || end.is_some_and(|end| end.starts_with(UNDONE)) => {}
                Ok(metadata) => usage.size += metadata.len(),
                // It was removed since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", &entry.path(), error)),
            }
        }
        Ok(usage)
    }
}
