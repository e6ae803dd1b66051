//! How a generation that lies in the folder, or elsewhere on this machine, gets to where it counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::Staging;
use crate::error::{Error, Result};
use crate::grant::Grant;
use crate::remote::files::{Sum, lost, sum_of_made};
use crate::remote::folder::empty;
use crate::remote::head::{Copying, Generation, Limits};
use crate::remote::upload::Ahead;

impl Staging {
    /// Makes room for a new generation: the store is open for writing, its newest number is not higher, and no generation is in
    /// the folder.
    pub(crate) fn prepare(&mut self, name: &str, seq: u64, time: Duration) -> Result<()> {
        let started = Instant::now();
        self.writer(name, time)?;
        if self.newest(name).is_some_and(|newest| newest > seq) {
            // It may be damaged, which nobody has found yet.
            match self.fetch(name, None, time.saturating_sub(started.elapsed())) {
                Ok(_) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
            if let Some(newest) = self.newest(name).filter(|newest| *newest > seq) {
                return Err(Error::Stale(newest));
            }
        }
        self.make_room(name)
    }

    /// Has no generation in the folder.
    pub(crate) fn make_room(&self, name: &str) -> Result<()> {
        empty(&self.make_folder(name)?, None)
    }

    /// The newest number of a store that is open for writing, but for those that are known to be damaged.
    fn newest(&self, name: &str) -> Option<u64> {
        let damaged = self.damaged.get(name);
        let is_sound = |generation: &&Generation| damaged.is_none_or(|keys| !keys.contains(&generation.key));
        self.open.get(name)?.head()?.generations.iter().find(is_sound).map(|newest| newest.seq)
    }

    /// Puts what there is of a generation that the component is making in the folder, ahead of its end.
    pub(crate) fn put_ahead(&mut self, name: &str, seq: u64, ahead: &mut Option<Ahead>) {
        if ahead.is_none() {
            let made = self.folder_of(name).join(format!("snapshot_{seq:020}.json.tmp"));
            *ahead = self.open.get_mut(name).and_then(|store| store.put_ahead(&made, seq));
        }
        ahead.iter().for_each(Ahead::grown);
    }

    /// Puts the generation that is in the folder now, of which parts may have been put.
    pub(crate) fn ship(&mut self, name: &str, seq: u64, ahead: Option<Ahead>, time: Duration) -> Result<()> {
        let generations = self.granted.keep.unwrap_or(Grant::KEEP);
        let limits = Limits {
            keep: generations.try_into().unwrap_or(std::num::NonZeroUsize::MAX),
            max_total: self.granted.max_total,
            damaged: self.damaged.get(name).into_iter().flatten().cloned().collect(),
        };
        let started = Instant::now();
        let ahead = ahead.map(|ahead| self.bucket.end_ahead(ahead, time)).transpose()?.flatten();
        let put = ahead.as_ref().map(|(_, upload)| upload.sum.clone()).unwrap_or_default();
        let (file, size, sum) = self.made_from(name, seq, &put)?;
        let Some(store) = self.open.get_mut(name) else {
            return Err(Error::other(format!("`{}` is not open for writing", self.url(name))));
        };
        let left = time.saturating_sub(started.elapsed());
        let shipped = store.create_of((&file, size, sum), seq, limits, ahead, left);
        if shipped.is_ok() {
            self.damaged.remove(name);
        } else {
            // If it is there, it is got from there.
            let _ = fs::remove_file(file);
        }
        if let (Err(Error::Busy(_)), false) = (&shipped, name.is_empty()) {
            // Whose the component is decides whose this is: the next call finds out.
            self.open.remove(name);
        }
        shipped
    }

    /// The file of the generation that the component has made, its size and its sum, if it is what was written.
    pub(crate) fn made(&self, name: &str, seq: u64) -> Result<(PathBuf, u64, String)> {
        self.made_from(name, seq, &Sum::default())
    }

    /// The same if so much of it was summed.
    fn made_from(&self, name: &str, seq: u64, summed: &Sum) -> Result<(PathBuf, u64, String)> {
        let file = self.folder_of(name).join(format!("snapshot_{seq:020}.json"));
        if let Some((size, sum)) =
            sum_of_made(&file, summed).map_err(|error| Error::io("read", &file, error))?
        {
            return Ok((file, size, sum));
        }
        let problem = lost(&file);
        let _ = fs::remove_file(&file);
        Err(Error::other(problem))
    }

    /// The file of a generation, which is got into the folder, and what it is called where it counts.
    pub(crate) fn file_of(&mut self, seq: u64, time: Duration) -> Result<Option<(PathBuf, String)>> {
        let fetched = self.fetch("", Some(seq), time)?;
        let path = self.folder.join(format!("snapshot_{seq:020}.json"));
        Ok(fetched.map(|fetched| (path, fetched.key)))
    }

    /// Begins a copy, to which the generations from the number `gone` on give way. Nothing of it counts before its
    /// [end](Self::end_copy).
    pub(crate) fn begin_copy(&mut self, gone: u64, time: Duration) -> Result<()> {
        self.writer("", time)?;
        self.give_up_copy();
        let folder = self.open.get_mut("").map(|store| store.begin_copy(gone, time)).transpose()?;
        self.copied = folder.map(|folder| (folder, Vec::new()));
        Ok(())
    }

    /// Puts a file for the copy.
    pub(crate) fn put(
        &mut self,
        file: (&File, &Path),
        seq: u64,
        written: Option<SystemTime>,
        time: Duration,
    ) -> Result<()> {
        let (Some(store), Some((folder, copied))) = (self.open.get_mut(""), &mut self.copied) else {
            return Err(Error::other("no copy was begun".to_owned()));
        };
        copied.push(store.put(folder, file, seq, written, time)?);
        Ok(())
    }

    /// Makes what was put count, in one commit, with the generations that are undone for it, or found damaged.
    pub(crate) fn end_copy(&mut self, undone: &[u64], damaged: &[u64], time: Duration) -> Result<()> {
        let (Some(store), Some((_, added))) = (self.open.get_mut(""), self.copied.take()) else {
            return Err(Error::other("no copy was begun".to_owned()));
        };
        if added.is_empty() && undone.is_empty() && damaged.is_empty() {
            return Ok(());
        }
        let (undone, damaged) = (undone.iter().copied().collect(), damaged.iter().copied().collect());
        store.copy(Copying { added, undone, damaged }, time)
    }

    /// Removes what was put for a copy that does not end, if there is one.
    pub(crate) fn give_up_copy(&mut self) {
        if let (Some(store), Some((_, copied))) = (self.open.get_mut(""), self.copied.take()) {
            store.abandon(copied);
        }
    }
}
