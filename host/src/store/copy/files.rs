//! How one snapshot is copied, and under which names its files and those that give way lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::compare::{is_same, next_chunk};
use super::plan::Found;
use super::{CHUNK, Result, Source, Target};
use crate::directory::{Held, entries};
use crate::error::{self, Error};
use crate::names::{DAMAGED, UNDONE, generation_in};
use crate::snapshot::Layout;
use crate::store::SnapshotStore;

/// Which file or object it is. None of a generation is changed: it is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified: Option<SystemTime>,
    },
    /// Its key.
    Object(String),
}

/// The file of a generation that is copied.
pub(super) struct Original {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) modified: Option<SystemTime>,
}

impl SnapshotStore {
    /// The generations of this store, by their numbers.
    pub(super) fn identities(&mut self) -> error::Result<BTreeMap<u64, Identity>> {
        match self.listed("")? {
            Some(listed) => Ok(listed.into_iter().map(|it| (it.seq, Identity::Object(it.key))).collect()),
            None => generations(&self.grant.dir),
        }
    }

    /// The file of a generation, and which it is. Of one that is in an object store, it is got into a directory of this machine;
    /// `None` if it is not there any more.
    pub(super) fn file_of(&mut self, seq: u64) -> error::Result<Option<(PathBuf, Option<Identity>)>> {
        match self.away(|staging, time| staging.file_of(seq, time))? {
            None => Ok(Some((self.grant.dir.join(generation(seq)), None))),
            Some(fetched) => Ok(fetched.map(|(path, key)| (path, Some(Identity::Object(key))))),
        }
    }

    /// Opens the file of a generation, if it is there still as it was when it was checked.
    pub(super) fn original(
        &mut self,
        seq: u64,
        checked: Option<&Identity>,
    ) -> error::Result<Option<Original>> {
        let Some((path, object)) = self.file_of(seq)? else { return Ok(None) };
        let file = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| Error::io("open", &path, error))?,
        };
        let metadata = file.metadata().map_err(|error| Error::io("look at", &path, error))?;
        let is_as_checked = Some(&object.unwrap_or_else(|| Identity::of(&metadata))) == checked;
        Ok(is_as_checked.then(|| Original { file, path, modified: metadata.modified().ok() }))
    }

    /// Copies the file of a generation. Returns whether it is there still, as it was.
    pub(super) fn copy_file(
        &mut self,
        from: &mut SnapshotStore,
        seq: u64,
        found: Found,
        checked: Option<&Identity>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let Some(Original { file: source, path, modified }) = from.original(seq, checked).map_err(Source)?
        else {
            return Ok(false);
        };
        self.check_replaceable("").map_err(Target)?;
        self.dir().map_err(Target)?;
        let temporary = format!("{}.tmp", generation(seq));
        let written = self.write_file(&source, &path, &temporary, modified, progress);
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
        loop {
            let chunk = next_chunk(source).map_err(read)?;
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
        let reread = |error| Target(Error::io("read", &to, error));
        (&mut &*source).rewind().map_err(read)?;
        file.rewind().map_err(reread)?;
        let is_same = is_same(|| next_chunk(source).map_err(read), || next_chunk(&file).map_err(reread))?;
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
        if found == Found::Damaged {
            let is_free =
                |name: &String| matches!(statat(held, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
            let aside = names_beside(seq, DAMAGED).find(is_free).ok_or(Error::NotFound)?;
            self.rename(&name, &aside)?;
            // Without this sync, a power cut may keep the next rename, and lose the name of what was there.
            self.sync()?;
        }
        self.rename(temporary, &name)
    }

    /// Copies a state by the store's own create. Returns whether it was there still.
    pub(super) fn copy_state(
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
    pub(super) fn link_undone(&self, seq: u64) -> error::Result<Option<(String, String)>> {
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

    pub(super) fn inode(&self, name: &str) -> Option<(u64, u64)> {
        let metadata = fs::symlink_metadata(self.grant.dir.join(name)).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// The generations that have the name of one that was undone beside their own: of a copy that was interrupted.
    pub(super) fn half_undone(&self, generations: &BTreeMap<u64, Identity>) -> BTreeSet<u64> {
        let mut half_undone = BTreeSet::new();
        // A directory that is not there holds none.
        for name in self.files_here().map(|files| files.own).unwrap_or_default() {
            if let Some((seq, end)) = generation_in(&name)
                && end.starts_with(UNDONE)
                && let Some(&Identity::File { device, inode, .. }) = generations.get(&seq)
                && self.inode(&name) == Some((device, inode))
            {
                half_undone.insert(seq);
            }
        }
        half_undone
    }

    pub(in crate::store) fn rename(&self, from: &str, to: &str) -> error::Result<()> {
        let held = self.held()?;
        renameat(held, from, held, to).map_err(|e| Error::io("rename", &self.grant.dir.join(from), e.into()))
    }

    pub(in crate::store) fn remove(&self, name: &str) -> error::Result<()> {
        match unlinkat(self.held()?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io("remove", &self.grant.dir.join(name), error.into())),
        }
    }

    pub(in crate::store) fn sync(&self) -> error::Result<()> {
        fsync(self.held()?).map_err(|e| Error::io("sync", &self.grant.dir, e.into()))
    }

    /// The directory that is held, without which there is nothing to write in.
    fn held(&self) -> error::Result<&Held> {
        self.check_access()?;
        self.held.as_ref().ok_or(Error::NotFound)
    }
}

pub(in crate::store) fn generation(seq: u64) -> String {
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
        Identity::File { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), modified }
    }
}

/// The generations in a directory, by their numbers; none where it is not there.
fn generations(dir: &Path) -> error::Result<BTreeMap<u64, Identity>> {
    let mut generations = BTreeMap::new();
    for entry in entries(dir)? {
        if let Some((seq, ".json")) = generation_in(&entry.file_name().to_string_lossy()) {
            // One that was pruned meanwhile is left out.
            match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                metadata => {
                    let metadata = metadata.map_err(|error| Error::io("look at", &entry.path(), error))?;
                    generations.insert(seq, Identity::of(&metadata));
                }
            }
        }
    }
    Ok(generations)
}

/// Opens a file for reading, and nothing else.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}
