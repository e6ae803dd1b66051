//! Copying snapshots from one store to another: what is compared, what is refused, and in which order they come.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::clear::{DAMAGED, UNDONE, end_of_generation};
use super::{CHUNK, SnapshotStore};
use crate::directory::Held;
use crate::error::{Error, Result};
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
    /// The numbers of what was there beside them, and is replaced: kept as `*.undone`, unless it is a pair.
    pub replaced: Vec<u64>,
    /// The damaged generations that are not copied.
    pub skipped: Vec<Skipped>,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// What is copied cannot be read. Nothing that is there was replaced by it.
    #[error("cannot copy from there: {0}")]
    From(#[source] Error),
    /// It cannot be written, or not be compared with what is there. [`Error::Stale`] if something newer is there.
    #[error("cannot copy to there: {0}")]
    To(#[source] Error),
    /// Another state is there under this number: the two stores are of different histories.
    #[error("another state is there under the number {0}")]
    OtherState(u64),
}

use CopyError::{From as Source, To as Target};

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
    /// The inodes of the generations that were checked, by number.
    inodes: BTreeMap<u64, u64>,
    /// The generations that give way, below all that are copied, or between them.
    older: Vec<u64>,
}

/// How often a copy begins anew, when what it is to copy was pruned since it was found.
const ATTEMPTS: usize = 100;

impl SnapshotStore {
    /// Copies snapshots from another store to this one, durably, each with its time, and says which. In the layout
    /// `numbered`, files are copied byte for byte; where the layout changes, or another program wrote a pair, the copy gets its
    /// own sums. Every snapshot is checked before it is copied, and again once it is written; those that are there with the same
    /// state are not written again, and those that are damaged there are replaced and set aside. Nothing is pruned.
    ///
    /// Other stores may write in the directory of `from` meanwhile, of which nothing is locked. Whoever restores from this one
    /// meanwhile, or after a crash, finds the snapshot that was newest, or the newest of those that are copied. After an error,
    /// another call goes on where this one stopped.
    ///
    /// It is refused if this store holds a newer snapshot than those that are copied, or another state under one of their
    /// numbers, unless it is to `replace`: then it holds them and nothing else. What else it held is kept as `*.undone`; what a
    /// pair held is gone.
    ///
    /// `progress` is told how many bytes were written. It blocks, and only each of its calls of a component has a deadline.
    ///
    /// # Errors
    ///
    /// [`CopyError`], with [`Error::Busy`] if what is to be copied is pruned faster than it can be read.
    pub fn copy_from(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
        mut progress: impl FnMut(u64),
    ) -> std::result::Result<Copied, CopyError> {
        self.check_granted().map_err(Target)?;
        let _span = span!("copy", self.grant, self.grant.dir, from = %from.grant.dir.display()).entered();
        if self.has_streams() {
            return Err(Target(Error::Busy("a reader or writer is open: drop it first".to_owned())));
        }
        self.settle().map_err(Target)?;
        for _ in 0..ATTEMPTS {
            // An instance may remember what the directory held.
            self.end_streams();
            let plan = self.plan(from, selection, replace)?;
            let copied = self.carry_out(from, plan, &mut progress);
            self.end_streams();
            if let Some(copied) = copied? {
                return Ok(copied);
            }
        }
        Err(pruned())
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
    ) -> std::result::Result<Copied, CopyError> {
        self.plan(from, selection, replace).map(|plan| plan.copied)
    }

    fn plan(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
    ) -> std::result::Result<Plan, CopyError> {
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
        // Before they are checked: a file of this inode is the one that was.
        let inodes = if as_files { generations(&from.grant.dir).map_err(Source)? } else { BTreeMap::new() };
        let (mut selected, skipped) = from.select(selection).map_err(Source)?;
        if layout == Layout::Pair {
            selected.truncate(1);
        }
        let there = match layout {
            Layout::Numbered => generations(&self.grant.dir).map_err(Target)?.into_keys().rev().collect(),
            Layout::Pair => match self.newest_seq() {
                Err(Error::NotFound) => Vec::new(),
                seq => vec![seq.map_err(Target)?],
            },
        };
        let newest = selected.first().copied().ok_or(Source(Error::NotFound))?;
        match there.first() {
            Some(&newer) if newer > newest && !replace => return Err(Target(Error::Stale(newer))),
            _ => {}
        }
        let mut seqs = Vec::new();
        for seq in selected {
            let is_there = there.binary_search_by(|other| seq.cmp(other)).is_ok();
            let found = if is_there { self.compare(from, seq, as_files)? } else { Found::Nothing };
            if found == Found::OtherState && !replace {
                return Err(CopyError::OtherState(seq));
            }
            seqs.push((seq, found));
        }
        let with = |wanted: &dyn Fn(Found) -> bool| {
            seqs.iter().filter(|(_, found)| wanted(*found)).map(|&(seq, _)| seq).collect::<Vec<_>>()
        };
        let gives_way = |seq: &u64| match seqs.binary_search_by(|(other, _)| seq.cmp(other)) {
            Ok(at) => seqs[at].1 == Found::OtherState,
            Err(_) => replace,
        };
        let replaced: Vec<u64> = there.into_iter().filter(gives_way).collect();
        let is_older = |seq: &u64| *seq < newest && seqs.iter().all(|(other, _)| other != seq);
        let older = match layout {
            Layout::Numbered => replaced.iter().copied().filter(is_older).collect(),
            Layout::Pair => Vec::new(),
        };
        let copied = with(&|found| found != Found::SameState);
        let present = with(&|found| found == Found::SameState);
        let copied = Copied { layout, copied, present, replaced, skipped };
        Ok(Plan { copied, as_files, seqs, inodes, older })
    }

    /// The numbers of what is to be copied from this store, newest first, all of it checked, and what is damaged.
    fn select(&mut self, selection: Selection) -> Result<(Vec<u64>, Vec<Skipped>)> {
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

    /// Compares the snapshot of this number with the one that is to be copied.
    fn compare(
        &mut self,
        from: &mut SnapshotStore,
        seq: u64,
        as_files: bool,
    ) -> std::result::Result<Found, CopyError> {
        if as_files && self.has_the_same_file(from, seq) {
            return Ok(Found::SameState);
        }
        let mut here = match self.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(Found::Nothing),
            Err(Error::Corrupt(_)) => return Ok(Found::Damaged),
            here => here.map_err(Target)?,
        };
        let mut there = match from.open_reader_at(seq) {
            Err(Error::NotFound) => return Err(pruned()),
            there => there.map_err(Source)?,
        };
        let is_same = is_same(
            || there.read_chunk(CHUNK as u64).map_err(Source),
            || here.read_chunk(CHUNK as u64).map_err(Target),
        )?;
        Ok(if is_same { Found::SameState } else { Found::OtherState })
    }

    /// Whether the files of a generation are the same, byte for byte; not, if one cannot be read.
    fn has_the_same_file(&self, other: &SnapshotStore, seq: u64) -> bool {
        let open = |store: &SnapshotStore| open(&store.grant.dir.join(generation(seq)));
        let (Ok(one), Ok(other)) = (open(self), open(other)) else { return false };
        let (mut one, mut other) = (Chunks::of(&one), Chunks::of(&other));
        is_same(|| one.next(), || other.next()).unwrap_or_default()
    }

    /// Copies the newest first: whoever restores meanwhile finds what was newest, or this. `None` if it was pruned.
    fn carry_out(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        progress: &mut dyn FnMut(u64),
    ) -> std::result::Result<Option<Copied>, CopyError> {
        let Plan { mut copied, as_files, seqs, inodes, older } = plan;
        let newest = seqs.first().map(|&(seq, _)| seq);
        for (seq, found) in seqs {
            let is_newest = Some(seq) == newest;
            let is_done = match found {
                Found::SameState => true,
                _ if as_files => self.copy_file(from, seq, found, inodes.get(&seq), progress)?,
                _ => self.copy_state(from, seq, found, copied.layout, progress)?,
            };
            match is_done {
                false if is_newest => return Ok(None),
                // It is not there any more, as if it had been pruned before.
                false => copied.copied.retain(|&other| other != seq),
                true if is_newest => {
                    self.sync().map_err(Target)?;
                    if copied.layout == Layout::Numbered && copied.replaced.iter().any(|&other| other > seq) {
                        self.end_streams();
                        self.rollback(seq).map_err(Target)?;
                    }
                }
                true => {}
            }
        }
        self.give_way(&older).map_err(Target)?;
        Ok(Some(copied))
    }

    /// Undoes generations that are older than the newest, and makes durable what was done before.
    fn give_way(&self, older: &[u64]) -> Result<()> {
        older.iter().try_for_each(|&seq| self.keep_beside(seq, UNDONE))?;
        self.sync()?;
        older.iter().try_for_each(|&seq| self.remove(&generation(seq)))?;
        if older.is_empty() { Ok(()) } else { self.sync() }
    }

    /// Copies the file of a generation. Returns whether it was there still.
    fn copy_file(
        &mut self,
        from: &SnapshotStore,
        seq: u64,
        found: Found,
        inode: Option<&u64>,
        progress: &mut dyn FnMut(u64),
    ) -> std::result::Result<bool, CopyError> {
        let name = generation(seq);
        let path = from.grant.dir.join(&name);
        let source = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            source => source.map_err(|e| Source(Error::io("open", &path, e)))?,
        };
        let metadata = source.metadata().map_err(|e| Source(Error::io("look at", &path, e)))?;
        if Some(&metadata.ino()) != inode {
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
    ) -> std::result::Result<(), CopyError> {
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
    fn place(&self, temporary: &str, seq: u64, found: Found) -> Result<()> {
        match found {
            Found::Nothing | Found::SameState => {}
            Found::Damaged => self.keep_durably(seq, DAMAGED)?,
            Found::OtherState => self.keep_durably(seq, UNDONE)?,
        }
        let (held, name) = (self.held()?, generation(seq));
        renameat(held, temporary, held, &name)
            .map_err(|e| Error::io("rename", &self.grant.dir.join(temporary), e.into()))
    }

    /// Copies a state by the store's own create. Returns whether it was there still.
    fn copy_state(
        &mut self,
        from: &mut SnapshotStore,
        seq: u64,
        found: Found,
        layout: Layout,
        progress: &mut dyn FnMut(u64),
    ) -> std::result::Result<bool, CopyError> {
        let mut reader = match from.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(false),
            reader => reader.map_err(Source)?,
        };
        let modified = reader.info().modified;
        if layout == Layout::Numbered && found == Found::OtherState {
            self.keep_durably(seq, UNDONE).map_err(Target)?;
        }
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
        let (handle, info, _) = self.stream_from("", Some(seq)).map_err(Target)?;
        self.end(handle);
        match info.soundness {
            Soundness::Verified => Ok(true),
            _ => Err(Target(Error::other(format!("the snapshot {seq} is not what was written")))),
        }
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

    /// Gives a generation one more name, under which it is kept.
    fn keep_beside(&self, seq: u64, end: &str) -> Result<()> {
        let (held, name) = (self.held()?, generation(seq));
        for count in 1_u64.. {
            let beside = match count {
                1 => format!("snapshot_{seq:020}{end}"),
                count => format!("snapshot_{seq:020}{end}-{count}"),
            };
            match linkat(held, &name, held, &beside, AtFlags::empty()) {
                Err(Errno::EXIST) => {}
                Ok(()) => return Ok(()),
                Err(error) => return Err(Error::io("link", &self.grant.dir.join(name), error.into())),
            }
        }
        Ok(())
    }

    /// The same; without its sync, a power cut may keep what comes after this, and lose the name.
    fn keep_durably(&self, seq: u64, end: &str) -> Result<()> {
        self.keep_beside(seq, end)?;
        self.sync()
    }

    fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(self.held()?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io("remove", &self.grant.dir.join(name), error.into())),
        }
    }

    fn sync(&self) -> Result<()> {
        fsync(self.held()?).map_err(|e| Error::io("sync", &self.grant.dir, e.into()))
    }

    /// The directory that is held, without which there is nothing to write in.
    fn held(&self) -> Result<&Held> {
        self.check_access()?;
        self.held.as_ref().ok_or(Error::NotFound)
    }
}

fn pruned() -> CopyError {
    Source(Error::Busy("the snapshots were replaced faster than they could be copied: try again".to_owned()))
}

fn generation(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

/// The generations in a directory, by their numbers, with their inodes; none where it is not there.
fn generations(dir: &Path) -> Result<BTreeMap<u64, u64>> {
    let failed = |error| Error::io("list", dir, error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(failed)?,
    };
    let mut generations = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if end_of_generation(&name) == Some(".json")
            && let Some(Ok(seq)) = name.get(9..29).map(str::parse)
        {
            generations.insert(seq, entry.ino());
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
