//! A store whose snapshots are in an object store: what is done before and after the component's calls. Where they are in the
//! directory, nothing is.

use super::SnapshotStore;
use crate::error::{Error, Result};
use crate::instance::{Handle, Instance, Stream};
use crate::snapshot::{Fetched, Info, Listed, Skipped, Soundness};
use crate::staged::{Ahead, Staging};

/// After so many bytes, a writer looks what of a snapshot can be put ahead.
const AHEAD: u64 = 1 << 20;

impl SnapshotStore {
    /// Where the snapshots are.
    pub(super) fn whereabouts(&self) -> String {
        match &self.staging {
            Some(staging) => staging.url(""),
            None => self.grant.dir.display().to_string(),
        }
    }

    /// Whether those of another store are in the same place.
    pub(super) fn is_where(&self, other: &SnapshotStore) -> bool {
        match (&self.staging, &other.staging) {
            (Some(one), Some(other)) => one.is_where(other),
            (None, None) => matches!((self.dir(), other.dir()), (Ok(one), Ok(other)) if one == other),
            _ => false,
        }
    }

    /// Lets the component create this number: there is no newer one.
    pub(super) fn prepare(&mut self, name: &str, seq: u64) -> Result<()> {
        let time = self.time_left();
        self.staging.as_mut().map_or(Ok(()), |staging| staging.prepare(name, seq, time))
    }

    /// Lets the component make a generation of any number, which is not to count yet.
    pub(super) fn make_room(&mut self) -> Result<()> {
        self.staging.as_ref().map_or(Ok(()), |staging| staging.make_room(""))
    }

    /// Puts what the component has created where it counts.
    pub(super) fn ship(&mut self, name: &str, seq: u64, ahead: Option<Ahead>) -> Result<()> {
        let time = self.time_left();
        self.staging.as_mut().map_or(Ok(()), |staging| staging.ship(name, seq, ahead, time))
    }

    /// Puts what the component has made of a snapshot ahead of its commit, now that so many bytes more were written.
    pub(super) fn put_ahead(&mut self, handle: Handle, more: usize) {
        let Some(staging) = &mut self.staging else { return };
        self.instance.look(|instance| match instance.stream(handle) {
            Some(Stream { name, given, seq: Some(seq), is_insert: false, ahead, .. })
                if *given % AHEAD < more as u64 =>
            {
                staging.put_ahead(name, *seq, ahead);
            }
            _ => {}
        });
    }

    /// Reads the newest sound generation, or that with the number `seq`, by `read`, which is told the number where it is known;
    /// returns which were skipped before that, too.
    pub(super) fn read_sound<R>(
        &mut self,
        name: &str,
        seq: Option<u64>,
        read: impl Fn(&mut Self, Option<u64>) -> Result<R>,
    ) -> Result<(R, Vec<Skipped>)> {
        if self.staging.is_none() {
            return Ok((read(self, seq)?, Vec::new()));
        }
        self.in_one_turn(|store| {
            let mut fetched = store.fetch(name, seq)?.ok_or(Error::NotFound)?;
            let mut skipped = std::mem::take(&mut fetched.skipped);
            let mut older = std::mem::take(&mut fetched.older).into_iter();
            loop {
                let problem = match read(store, Some(fetched.seq)) {
                    // It is what was put, which was damaged already.
                    Err(Error::Corrupt(problem)) if seq.is_none() => problem,
                    // Which is no first start.
                    Err(Error::NotFound) => {
                        let what = format!("the file of the snapshot {} is gone: try again", fetched.seq);
                        return Err(Error::other(what));
                    }
                    read => return Ok((read?, skipped)),
                };
                if let Some(staging) = &mut store.staging {
                    staging.is_damaged(name, fetched.key);
                }
                skipped.push(Skipped { seq: fetched.seq, problem });
                fetched = store.fetch_next(name, &mut older, &mut skipped)?;
            }
        })
    }

    /// Gets the next of these that can be had, and says why those before it cannot.
    fn fetch_next(
        &mut self,
        name: &str,
        older: &mut impl Iterator<Item = u64>,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Fetched> {
        for seq in older {
            match self.fetch(name, Some(seq)) {
                Ok(Some(fetched)) => return Ok(fetched),
                Ok(None) => {
                    let what = "the snapshots were replaced while they were read: try again";
                    return Err(Error::Busy(what.to_owned()));
                }
                Err(Error::Corrupt(problem)) => skipped.push(Skipped { seq, problem }),
                Err(error) => return Err(error),
            }
        }
        let problems: Vec<&str> = skipped.iter().map(|skipped| skipped.problem.as_str()).collect();
        Err(Error::Corrupt(problems.join("; ")))
    }

    /// The number of the oldest generation, if any is sound, or `None` if only the component can tell.
    pub(super) fn oldest_away(&mut self, name: &str) -> Result<Option<u64>> {
        if self.staging.is_none() {
            return Ok(None);
        }
        self.in_one_turn(|store| {
            let Fetched { seq, older, .. } = store.fetch(name, None)?.ok_or(Error::NotFound)?;
            Ok(Some(older.last().copied().unwrap_or(seq)))
        })
    }

    fn fetch(&mut self, name: &str, seq: Option<u64>) -> Result<Option<Fetched>> {
        let time = self.time_left();
        self.staging.as_mut().map_or(Ok(None), |staging| staging.fetch(name, seq, time))
    }

    /// What is there, newest first, or `None` if only the component can tell.
    pub(crate) fn listed(&mut self, name: &str) -> Result<Option<Vec<Listed>>> {
        self.away(|staging, time| staging.list(name, time))
    }

    /// Asks where the snapshots are, unless that is the directory.
    pub(super) fn away<R>(
        &mut self,
        ask: impl FnOnce(&mut Staging, std::time::Duration) -> Result<R>,
    ) -> Result<Option<R>> {
        if self.staging.is_none() {
            return Ok(None);
        }
        self.in_one_turn(|store| {
            let time = store.time_left();
            store.staging.as_mut().map(|staging| ask(staging, time)).transpose()
        })
    }

    /// What is known of each generation, newest first: each is got, and read.
    pub(super) fn read_all(&mut self, name: &str, listed: &[Listed]) -> Result<Vec<Info>> {
        self.in_one_turn(|store| {
            let mut infos = Vec::new();
            // The newest one last, since that is kept.
            for &Listed { seq, size, modified, .. } in listed.iter().rev() {
                let damaged = |problem| Info { seq, size, modified, soundness: Soundness::Damaged(problem) };
                if let Some(staging) = &mut store.staging {
                    staging.forget(name)?;
                }
                match store.fetch(name, Some(seq)) {
                    Ok(Some(_)) => infos.extend(store.generations_here(name)?),
                    // It was pruned meanwhile.
                    Ok(None) => {}
                    Err(Error::Corrupt(problem)) => infos.push(damaged(problem)),
                    Err(error) => return Err(error),
                }
            }
            infos.reverse();
            Ok(infos)
        })
    }

    /// Goes back to a generation that is elsewhere, if it is sound.
    pub(super) fn rollback_away(&mut self, seq: u64) -> Result<Option<Vec<u64>>> {
        if self.staging.is_none() {
            return Ok(None);
        }
        let is_writer = |instance: &mut Instance| {
            instance.streams.iter().any(|stream| stream.name.is_empty() && stream.seq.is_some())
        };
        if self.instance.look(is_writer).unwrap_or_default() {
            return Err(Error::Busy("a writer is open: drop it first".to_owned()));
        }
        let (handle, ..) = self.stream_from("", Some(seq))?;
        self.end(handle);
        self.away(|staging, time| staging.rollback(seq, time))
    }

    /// Whether dropping it waits for something.
    pub(crate) fn blocks_at_its_end(&self) -> bool {
        self.has_streams() || self.staging.is_some()
    }
}
