//! Copying snapshots from one store to another: what is compared, what is refused, and in which order they come.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::clear::{DAMAGED, UNDONE, end_of_generation};
use super::{CHUNK, SnapshotStore};
use crate::directory::Held;
use crate::error::{self, Error};
use crate::grant::span;
use crate::snapshot::{Info, Layout, Skipped, Soundness};

/// Which snapshots of a store are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The newest sound one.
    Newest,
    /// The generation with this number.
    Seq(u64),
    /// Every sound generation. Where they are copied to a pair, that takes the newest of them.
    All,
}

/// What a copy does, or has done. Numbers are newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The layout of the directory that is copied to.
    pub layout: Layout,
    /// The numbers that are copied.
    pub copied: Vec<u64>,
    /// The numbers that are there already, with the same state.
    pub present: Vec<u64>,
    /// The numbers of what is replaced there: kept as `*.undone`, unless it is a pair.
    pub replaced: Vec<u64>,
    /// The damaged generations that are not copied.
    pub skipped: Vec<Skipped>,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// What is copied cannot be read.
    #[error("cannot copy from there: {0}")]
    From(#[source] Error),
    /// It cannot be written, or not be compared with what is there.
    #[error("cannot copy to there: {0}")]
    To(#[source] Error),
    /// It is refused, because of what is there. Nothing was copied.
    #[error("the snapshot {seq} that is there {refusal}")]
    Refused {
        /// The number of what is there.
        seq: u64,
        /// Why.
        refusal: Refusal,
        /// The damaged generations that would not have been copied.
        skipped: Vec<Skipped>,
    },
}

/// Why a copy is refused because of a snapshot that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is newer than those that are copied.
    Newer,
    /// It has another state than the one of its number that is to be copied from: it was created again, or the two stores are of
    /// different histories.
    OtherState,
    /// The one of its number that is to be copied from is damaged, so that this may be the only sound one.
    OnlySound,
    /// It was to give way to a copy that replaces, and was interrupted.
    HalfUndone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Newer => "is newer than what is copied",
            Refusal::OtherState => "has another state than the one to copy from",
            Refusal::OnlySound => "is damaged where it is copied from, and may be the only sound one",
            Refusal::HalfUndone => "was to give way to a copy that was interrupted",
        })
    }
}

use CopyError::{From as Source, To as Target};

/// The result of a copy, or of a step of one.
type Result<T> = std::result::Result<T, CopyError>;

/// What is there under a number that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    SameState,
    Damaged,
    OtherState,
}

/// What a copy does.
struct Plan {
    copied: Copied,
    /// Whether files are copied as they are, from the layout `numbered` to the same.
    as_files: bool,
    /// The numbers to copy, newest first.
    seqs: Vec<(u64, Found)>,
    /// The files of the generations as they were before they were checked, by number.
    files: BTreeMap<u64, Identity>,
    /// The older generations that give way.
    older: Vec<u64>,
}

/// Which file it is. No file of a generation is changed: it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

/// How often a copy begins anew, when what it is to copy was pruned or replaced since it was found.
const ATTEMPTS: usize = 100;

impl SnapshotStore {
    /// Copies snapshots from another store to this one, durably, each with its time, and says which. In the layout
    /// `numbered`, files are copied byte for byte; where the layout changes, or another program wrote a pair, the copy gets its
    /// own sums. Every snapshot is checked before it is copied, and again once it is there; those that are there with the same
    /// state are not written again, and those that are damaged there are replaced and set aside. Nothing is pruned.
    ///
    /// Other stores may write in the directory of `from` meanwhile, of which nothing is locked. Whoever restores from this one
    /// meanwhile, or after a crash, finds the snapshot that was newest, or the newest of those that are copied. After an error,
    /// another call goes on where this one stopped.
    ///
    /// It is [refused](CopyError::Refused) if this store holds a newer snapshot than those that are copied, or if the two stores
    /// have different states under one number: under one of those that are copied, or under the newest other one that both have.
    /// With `replace`, those give way, and so does whatever is above the newest number that both have with the same state. It is
    /// kept as `*.undone`; what a pair held is gone.
    ///
    /// The limits of this store's grant are for creates: a copy may exceed `max_total` until the next one, and `max_state`.
    ///
    /// `progress` is told how many bytes were written. It blocks, and only each of its calls of a component has a deadline.
    ///
    /// # Errors
    ///
    /// [`CopyError`], with [`Error::Busy`] if what is to be copied is pruned faster than it can be read, and [`Error::InDoubt`]
    /// if a part of it is there.
    pub fn copy_from(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
        mut progress: impl FnMut(u64),
    ) -> Result<Copied> {
        self.check_granted().map_err(Target)?;
        let _span = span!("copy", self.grant, self.grant.dir, from = %from.grant.dir.display()).entered();
        if self.has_streams() {
            return Err(Target(Error::Busy("a reader or writer is open: drop it first".to_owned())));
        }
        self.settle().map_err(Target)?;
        self.uncounted(from, |to, from| {
            for _ in 0..ATTEMPTS {
                // An instance may remember what the directory held.
                to.end_streams();
                let Some(plan) = to.plan(from, selection, replace)? else { continue };
                let copied = to.carry_out(from, plan, &mut progress);
                to.end_streams();
                if let Some(copied) = copied? {
                    return Ok(copied);
                }
            }
            Err(overtaken())
        })
    }

    /// What [`copy_from`](Self::copy_from) would do, as the two stores are now; nothing is changed, and reading suffices.
    ///
    /// # Errors
    ///
    /// As `copy_from`.
    pub fn plan_copy(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
    ) -> Result<Copied> {
        self.uncounted(from, |to, from| {
            for _ in 0..ATTEMPTS {
                if let Some(plan) = to.plan(from, selection, replace)? {
                    return Ok(plan.copied);
                }
            }
            Err(overtaken())
        })
    }

    /// Does something of which the calls of the two stores are no restores and creates of their users.
    fn uncounted<R>(
        &mut self,
        from: &mut SnapshotStore,
        act: impl FnOnce(&mut SnapshotStore, &mut SnapshotStore) -> R,
    ) -> R {
        (self.is_uncounted, from.is_uncounted) = (true, true);
        let done = act(self, from);
        (self.is_uncounted, from.is_uncounted) = (false, false);
        done
    }

    /// What is to be done; `None` if it was pruned or replaced meanwhile.
    fn plan(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
    ) -> Result<Option<Plan>> {
        let source = from.layout().map_err(Source)?;
        if matches!((from.dir(), self.dir()), (Ok(one), Ok(other)) if one == other) {
            let dir = self.grant.dir.display();
            return Err(Target(Error::other(format!("`{dir}` is the directory that is copied from"))));
        }
        let layout = match self.layout() {
            Err(Error::NotFound) => self.grant.layout,
            layout => layout.map_err(Target)?,
        };
        let as_files = (source, layout) == (Layout::Numbered, Layout::Numbered);
        let files = match source {
            Layout::Numbered => generations(&from.grant.dir).map_err(Source)?,
            Layout::Pair => BTreeMap::new(),
        };
        let (mut selected, skipped) = from.select(selection).map_err(Source)?;
        if layout == Layout::Pair {
            selected.truncate(1);
        }
        let mut half_undone = BTreeSet::new();
        let there: Vec<u64> = match layout {
            Layout::Numbered => {
                let ours = generations(&self.grant.dir).map_err(Target)?;
                half_undone = self.half_undone(&ours);
                ours.into_keys().rev().collect()
            }
            Layout::Pair => match self.newest_seq() {
                Err(Error::NotFound) => Vec::new(),
                // Whatever it was, it gives way.
                Err(Error::Corrupt(_)) if replace => Vec::new(),
                seq => vec![seq.map_err(Target)?],
            },
        };
        let newest = selected.first().copied().ok_or(Source(Error::NotFound))?;
        let is_there = |seq: &u64| there.binary_search_by(|other| seq.cmp(other)).is_ok();
        let refused = |seq, refusal| Err(CopyError::Refused { seq, refusal, skipped: skipped.clone() });
        match there.first() {
            Some(&newer) if newer > newest && !replace => return refused(newer, Refusal::Newer),
            _ => {}
        }

        let mut comparison = Comparison { as_files, from: None, to: None };
        let mut damaged: Vec<u64> = skipped.iter().map(|skipped| skipped.seq).collect();
        let mut seqs = Vec::new();
        for &seq in &selected {
            let found = match is_there(&seq) {
                true => comparison.compare(self, from, seq)?,
                false => Some(Found::Nothing),
            };
            match found {
                None => return Ok(None),
                Some(Found::OtherState) if !replace => return refused(seq, Refusal::OtherState),
                Some(found) => seqs.push((seq, found)),
            }
        }
        // Up to here, the two stores are of one history.
        let mut common = seqs.iter().find(|(_, found)| *found == Found::SameState).map(|&(seq, _)| seq);
        if common.is_none() {
            let is_other =
                |seq: &u64| *seq < newest && selected.binary_search_by(|other| seq.cmp(other)).is_err();
            for seq in files.keys().copied().rev().filter(is_other).filter(is_there) {
                match comparison.compare(self, from, seq) {
                    Ok(Some(Found::SameState)) => {
                        common = Some(seq);
                        break;
                    }
                    Ok(Some(Found::OtherState)) if !replace => return refused(seq, Refusal::OtherState),
                    Ok(None) => return Ok(None),
                    Ok(Some(_)) => {}
                    Err(Source(Error::Corrupt(_))) => damaged.push(seq),
                    Err(error) => return Err(error),
                }
            }
        }
        // Which may be of a copy that was given up: what is there with the same state stays.
        let mut interrupted = BTreeSet::new();
        for seq in half_undone {
            let is_same = match (files.contains_key(&seq), comparison.compare(self, from, seq)) {
                (true, Ok(found)) => found == Some(Found::SameState),
                _ => false,
            };
            if !is_same && !selected.contains(&seq) {
                interrupted.insert(seq);
            }
        }
        match interrupted.last() {
            Some(&seq) if !replace => return refused(seq, Refusal::HalfUndone),
            _ => {}
        }

        let gives_way = |seq: &u64| match seqs.binary_search_by(|(other, _)| seq.cmp(other)) {
            Ok(at) => seqs[at].1 == Found::OtherState,
            Err(_) => {
                let is_above = *seq > newest || Some(*seq) > common;
                layout == Layout::Pair || replace && (is_above || interrupted.contains(seq))
            }
        };
        let replaced: Vec<u64> = there.iter().copied().filter(gives_way).collect();
        // A newer pair stands in for an older one in any case.
        let needs_it = |seq: &&u64| damaged.contains(seq) && (layout == Layout::Numbered || **seq > newest);
        if let Some(&seq) = replaced.iter().find(needs_it)
            && comparison.is_sound(self, seq)?
        {
            return refused(seq, Refusal::OnlySound);
        }
        let is_selected = |seq: &u64| selected.binary_search_by(|other| seq.cmp(other)).is_ok();
        let is_older = |seq: &u64| layout == Layout::Numbered && *seq < newest && !is_selected(seq);
        let older = replaced.iter().copied().filter(is_older).collect();
        let (present, copied): (Vec<_>, Vec<_>) =
            seqs.iter().copied().partition(|(_, found)| *found == Found::SameState);
        let numbers = |seqs: Vec<(u64, Found)>| seqs.into_iter().map(|(seq, _)| seq).collect();
        let copied = Copied { layout, copied: numbers(copied), present: numbers(present), replaced, skipped };
        Ok(Some(Plan { copied, as_files, seqs, files, older }))
    }

    /// The numbers of what is to be copied from this store, newest first, all of it checked, and what is damaged.
    fn select(&mut self, selection: Selection) -> error::Result<(Vec<u64>, Vec<Skipped>)> {
        let seq = match selection {
            Selection::Newest => None,
            Selection::Seq(seq) => Some(seq),
            Selection::All => {
                let (mut sound, mut skipped) = (Vec::new(), Vec::new());
                for Info { seq, soundness, .. } in self.generations()? {
                    match soundness {
                        Soundness::Verified | Soundness::Unverified => sound.push(seq),
                        Soundness::Damaged(problem) => skipped.push(Skipped { seq, problem }),
                        Soundness::Unreadable(problem) => return Err(Error::other(problem)),
                    }
                }
                match (sound.is_empty(), skipped.first()) {
                    (true, Some(Skipped { problem, .. })) => return Err(Error::Corrupt(problem.clone())),
                    _ => return Ok((sound, skipped)),
                }
            }
        };
        let (handle, info, skipped) = self.stream_from("", seq)?;
        self.end(handle);
        Ok((vec![info.seq], skipped))
    }

    /// Copies the newest first: whoever restores meanwhile finds what was newest, or this. `None` if it is not there any more.
    fn carry_out(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Copied>> {
        let mut links = Vec::new();
        let carried = self.carry_out_with(from, plan, &mut links, progress);
        if !matches!(carried, Ok(Some(_)) | Err(Target(Error::InDoubt(_)))) {
            // Nothing gives way.
            for (name, beside) in links {
                if self.inode(&name).is_some() && self.inode(&name) == self.inode(&beside) {
                    let _ = self.remove(&beside);
                }
            }
        }
        carried
    }

    fn carry_out_with(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        links: &mut Vec<(String, String)>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Copied>> {
        let Plan { mut copied, as_files, seqs, files, older } = plan;
        // What gives way has its other name before anything is in its place: if this is interrupted, that tells who goes on.
        let other = seqs.iter().filter(|(_, found)| *found == Found::OtherState).map(|(seq, _)| seq);
        let mut kept = other.filter(|_| copied.layout == Layout::Numbered).chain(&older).peekable();
        if kept.peek().is_some() {
            let linked = kept.try_for_each(|&seq| self.link_undone(seq).map(|link| links.extend(link)));
            linked.and_then(|()| self.sync()).map_err(Target)?;
        }
        let mut gone = BTreeSet::new();
        let mut is_newest = true;
        for (seq, found) in seqs {
            let is_done = match found {
                Found::SameState => Ok(true),
                _ if as_files => self.copy_file(from, seq, found, files.get(&seq), progress),
                _ => self.copy_state(from, seq, copied.layout, progress),
            };
            let is_done = if is_newest { is_done? } else { is_done.map_err(in_doubt)? };
            if is_newest && is_done {
                self.sync().map_err(|error| in_doubt(Target(error)))?;
                if copied.layout == Layout::Numbered && copied.replaced.iter().any(|&other| other > seq) {
                    self.end_streams();
                    self.rollback(seq).map_err(|error| in_doubt(Target(error)))?;
                }
            } else if is_newest {
                return Ok(None);
            } else if !is_done {
                // As if it had been pruned before.
                gone.insert(seq);
            }
            is_newest = false;
        }
        copied.copied.retain(|seq| !gone.contains(seq));
        let undone = older.iter().try_for_each(|&seq| self.remove(&generation(seq)));
        undone.and_then(|()| self.sync()).map_err(|error| in_doubt(Target(error)))?;
        match self.check_copied(&copied.copied) {
            Ok(()) => Ok(Some(copied)),
            Err(damaged @ Error::Corrupt(_)) => Err(Target(damaged)),
            Err(error) => Err(in_doubt(Target(error))),
        }
    }

    /// Reads what was copied.
    fn check_copied(&mut self, copied: &[u64]) -> error::Result<()> {
        self.end_streams();
        match *copied {
            [] => Ok(()),
            [seq] => {
                let (handle, ..) = self.stream_from("", Some(seq))?;
                self.end(handle);
                Ok(())
            }
            _ => {
                let mut all = None;
                for &seq in copied {
                    match sound(&mut all, self, seq)? {
                        Some(Soundness::Damaged(problem)) => return Err(Error::Corrupt(problem.clone())),
                        None => return Err(Error::NotFound),
                        Some(_) => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Copies the file of a generation. Returns whether it is there still, as it was.
    fn copy_file(
        &mut self,
        from: &SnapshotStore,
        seq: u64,
        found: Found,
        checked: Option<&Identity>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let name = generation(seq);
        let path = from.grant.dir.join(&name);
        let source = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            source => source.map_err(|e| Source(Error::io("open", &path, e)))?,
        };
        let metadata = source.metadata().map_err(|e| Source(Error::io("look at", &path, e)))?;
        if Some(&Identity::of(&metadata)) != checked {
            return Ok(false);
        }
        self.check_replaceable("").map_err(Target)?;
        self.dir().map_err(Target)?;
        let temporary = format!("{name}.tmp");
        let written = self.write_file(&source, &path, &temporary, metadata.modified().ok(), progress);
        let placed = written.and_then(|()| self.place(&temporary, seq, found).map_err(Target));
        placed.inspect_err(|_| drop(self.remove(&temporary)))?;
        Ok(true)
    }

    /// Writes what is in `source` to a file of this name, with this time, durably, and reads both again to compare them.
    fn write_file(
        &self,
        source: &File,
        path: &Path,
        name: &str,
        modified: Option<SystemTime>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let to = self.grant.dir.join(name);
        let read = |error| Source(Error::io("read", path, error));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(self.held().map_err(Target)?, name, flags, Mode::from_raw_mode(0o666));
        let mut file: File = opened.map_err(|e| Target(Error::io("make", &to, e.into())))?.into();
        let mut chunks = Chunks::of(source);
        loop {
            let chunk = chunks.next().map_err(read)?;
            if chunk.is_empty() {
                break;
            }
            file.write_all(&chunk).map_err(|e| Target(Error::io("write", &to, e)))?;
            progress(chunk.len() as u64);
        }
        if let Some(modified) = modified {
            // A file system may keep no times.
            let _ = file.set_times(FileTimes::new().set_modified(modified));
        }
        file.sync_all().map_err(|e| Target(Error::io("sync", &to, e)))?;
        let (mut given, mut written) = (Chunks::of(source), Chunks::of(&file));
        let is_same = is_same(
            || given.next().map_err(read),
            || written.next().map_err(|e| Target(Error::io("read", &to, e))),
        )?;
        if !is_same {
            let to = to.display();
            return Err(Target(Error::other(format!(
                "`{to}` is not what was written: copy to another disk"
            ))));
        }
        Ok(())
    }

    /// Gives a file that was written the place of a generation.
    fn place(&self, temporary: &str, seq: u64, found: Found) -> error::Result<()> {
        let (held, name) = (self.held()?, generation(seq));
        let rename = |from: &str, to: &str| {
            renameat(held, from, held, to)
                .map_err(|e| Error::io("rename", &self.grant.dir.join(from), e.into()))
        };
        if found == Found::Damaged {
            let is_free =
                |name: &String| matches!(statat(held, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
            let aside = names_beside(seq, DAMAGED).find(is_free).ok_or(Error::NotFound)?;
            rename(&name, &aside)?;
            // Without this sync, a power cut may keep the next rename, and lose the name of what was there.
            self.sync()?;
        }
        rename(temporary, &name)
    }

    /// Copies a state by the store's own create. Returns whether it was there still.
    fn copy_state(
        &mut self,
        from: &mut SnapshotStore,
        seq: u64,
        layout: Layout,
        progress: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let mut reader = match from.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(false),
            reader => reader.map_err(Source)?,
        };
        let modified = reader.info().modified;
        let handle = self.stream_of_any_seq(seq).map_err(Target)?;
        let mut unread = None;
        let written = self.write_by(handle, |store, handle| {
            loop {
                match reader.read_chunk(CHUNK as u64) {
                    Ok(chunk) if chunk.is_empty() => return Ok(true),
                    Ok(chunk) => {
                        store.write(handle, &chunk)?;
                        progress(chunk.len() as u64);
                    }
                    Err(error) => {
                        unread = Some(error);
                        return Ok(false);
                    }
                }
            }
        });
        written.map_err(Target)?;
        if let Some(error) = unread {
            return Err(Source(error));
        }
        if let Some(modified) = modified {
            self.set_times(seq, layout, modified);
        }
        Ok(true)
    }

    /// Gives the files of a snapshot their time, if that can be.
    fn set_times(&self, seq: u64, layout: Layout, modified: SystemTime) {
        let names = match layout {
            Layout::Pair => ["snapshot.json", "snapshot.seq", "snapshot.sum"].map(str::to_owned).to_vec(),
            Layout::Numbered => vec![generation(seq)],
        };
        for name in names {
            let file = File::options().write(true).open(self.grant.dir.join(name));
            let _ = file.and_then(|file| file.set_times(FileTimes::new().set_modified(modified)));
        }
    }

    /// Gives a generation the name of one that was undone beside its own, and returns both, unless it has one.
    fn link_undone(&self, seq: u64) -> error::Result<Option<(String, String)>> {
        let (held, name) = (self.held()?, generation(seq));
        for beside in names_beside(seq, UNDONE) {
            match linkat(held, &name, held, &beside, AtFlags::empty()) {
                Ok(()) => return Ok(Some((name, beside))),
                Err(Errno::EXIST) if self.inode(&beside) == self.inode(&name) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(error) => {
                    return Err(Error::io("make a hard link of", &self.grant.dir.join(name), error.into()));
                }
            }
        }
        Ok(None)
    }

    fn inode(&self, name: &str) -> Option<(u64, u64)> {
        let metadata = fs::symlink_metadata(self.grant.dir.join(name)).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// The generations that have the name of one that was undone beside their own: of a copy that was interrupted.
    fn half_undone(&self, generations: &BTreeMap<u64, Identity>) -> BTreeSet<u64> {
        let mut half_undone = BTreeSet::new();
        // A directory that is not there holds none.
        for name in self.files().map(|files| files.own).unwrap_or_default() {
            let is_undone = end_of_generation(&name).is_some_and(|end| end.starts_with(UNDONE));
            if let Some(Ok(seq)) = name.get(9..29).map(str::parse::<u64>)
                && is_undone
                && let Some(generation) = generations.get(&seq)
                && self.inode(&name) == Some((generation.device, generation.inode))
            {
                half_undone.insert(seq);
            }
        }
        half_undone
    }

    fn remove(&self, name: &str) -> error::Result<()> {
        match unlinkat(self.held()?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io("remove", &self.grant.dir.join(name), error.into())),
        }
    }

    fn sync(&self) -> error::Result<()> {
        fsync(self.held()?).map_err(|e| Error::io("sync", &self.grant.dir, e.into()))
    }

    /// The directory that is held, without which there is nothing to write in.
    fn held(&self) -> error::Result<&Held> {
        self.check_access()?;
        self.held.as_ref().ok_or(Error::NotFound)
    }
}

/// How what is there compares with what is to be copied.
struct Comparison {
    as_files: bool,
    /// How sound the generations of each store are, once it was asked for: all are read at once, which lists a directory once.
    from: Option<BTreeMap<u64, Soundness>>,
    to: Option<BTreeMap<u64, Soundness>>,
}

impl Comparison {
    /// Compares the snapshots of this number; `None` if the one to copy is not there any more.
    fn compare(
        &mut self,
        to: &mut SnapshotStore,
        from: &mut SnapshotStore,
        seq: u64,
    ) -> Result<Option<Found>> {
        if self.as_files {
            match has_same_file(to, from, seq) {
                Some(true) => return Ok(Some(Found::SameState)),
                Some(false) => {}
                None => return Ok(None),
            }
            let ours = sound(&mut self.to, to, seq).map_err(Target)?;
            let theirs = sound(&mut self.from, from, seq).map_err(Source)?;
            match (ours, theirs) {
                (Some(Soundness::Damaged(_)), _) => return Ok(Some(Found::Damaged)),
                (_, Some(Soundness::Damaged(problem))) => {
                    return Err(Source(Error::Corrupt(problem.clone())));
                }
                // Of one state, this store makes one file.
                (Some(Soundness::Verified), Some(Soundness::Verified)) => return Ok(Some(Found::OtherState)),
                _ => {}
            }
        }
        let mut here = match to.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(Some(Found::Nothing)),
            Err(Error::Corrupt(_)) => return Ok(Some(Found::Damaged)),
            here => here.map_err(Target)?,
        };
        let mut there = match from.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(None),
            there => there.map_err(Source)?,
        };
        let is_same = is_same(
            || there.read_chunk(CHUNK as u64).map_err(Source),
            || here.read_chunk(CHUNK as u64).map_err(Target),
        )?;
        Ok(Some(if is_same { Found::SameState } else { Found::OtherState }))
    }

    /// Whether a generation that is there is sound.
    fn is_sound(&mut self, to: &mut SnapshotStore, seq: u64) -> Result<bool> {
        let sound = sound(&mut self.to, to, seq).map_err(Target)?;
        Ok(matches!(sound, Some(Soundness::Verified | Soundness::Unverified)))
    }
}

/// How sound a generation of a store is.
fn sound<'a>(
    known: &'a mut Option<BTreeMap<u64, Soundness>>,
    store: &mut SnapshotStore,
    seq: u64,
) -> error::Result<Option<&'a Soundness>> {
    let all = match known.take() {
        Some(all) => all,
        None => store.generations()?.into_iter().map(|info| (info.seq, info.soundness)).collect(),
    };
    match known.insert(all).get(&seq) {
        Some(Soundness::Unreadable(problem)) => Err(Error::other(problem.clone())),
        sound => Ok(sound),
    }
}

/// Whether the files of a generation are the same, byte for byte; `None` if that of the other store is not there any more.
fn has_same_file(one: &SnapshotStore, other: &SnapshotStore, seq: u64) -> Option<bool> {
    let open = |store: &SnapshotStore| open(&store.grant.dir.join(generation(seq)));
    let other = match open(other) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        other => other,
    };
    // What cannot be read is not the same; why, the components say.
    let (Ok(one), Ok(other)) = (open(one), other) else { return Some(false) };
    let (mut one, mut other) = (Chunks::of(&one), Chunks::of(&other));
    Some(is_same(|| one.next(), || other.next()).unwrap_or_default())
}

fn overtaken() -> CopyError {
    let what = "the snapshots were replaced faster than they could be copied: try again";
    Source(Error::Busy(what.to_owned()))
}

/// What failed after the newest snapshot was copied.
fn in_doubt(error: CopyError) -> CopyError {
    let (Source(cause) | Target(cause)) = error else { return error };
    let what = format!("{}; a part of it may be copied: copy again", cause.to_line());
    Target(Error::InDoubt(what))
}

fn generation(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

/// The names of what was the generation `seq`, without end.
fn names_beside(seq: u64, end: &str) -> impl Iterator<Item = String> {
    (1_u64..).map(move |count| match count {
        1 => format!("snapshot_{seq:020}{end}"),
        count => format!("snapshot_{seq:020}{end}-{count}"),
    })
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        Identity { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), modified }
    }
}

/// The generations in a directory, by their numbers; none where it is not there.
fn generations(dir: &Path) -> error::Result<BTreeMap<u64, Identity>> {
    let failed = |error| Error::io("list", dir, error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(failed)?,
    };
    let mut generations = BTreeMap::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if end_of_generation(&name) == Some(".json")
            && let Some(Ok(seq)) = name.get(9..29).map(str::parse)
        {
            // One that was pruned meanwhile is left out.
            match fs::symlink_metadata(dir.join(&*name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                metadata => drop(generations.insert(seq, Identity::of(&metadata.map_err(failed)?))),
            }
        }
    }
    Ok(generations)
}

/// Opens a file for reading, and nothing else.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// A file from its start on, in chunks.
struct Chunks<'f> {
    file: &'f File,
    at: u64,
}

impl<'f> Chunks<'f> {
    fn of(file: &'f File) -> Self {
        Chunks { file, at: 0 }
    }

    /// The next one, of no bytes at the end.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; CHUNK];
        let size = loop {
            match self.file.read_at(&mut chunk, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                size => break size?,
            }
        };
        chunk.truncate(size);
        self.at += size as u64;
        Ok(chunk)
    }
}

/// Whether two sources give the same bytes, in whatever chunks, until each gives an empty one.
fn is_same<E>(
    mut one: impl FnMut() -> std::result::Result<Vec<u8>, E>,
    mut other: impl FnMut() -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<bool, E> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        if left.is_empty() {
            left = one()?;
        }
        if right.is_empty() {
            right = other()?;
        }
        let size = left.len().min(right.len());
        if size == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..size] != right[..size] {
            return Ok(false);
        }
        left.drain(..size);
        right.drain(..size);
    }
}
