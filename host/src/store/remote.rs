//! A store whose snapshots are in an object store: what is done before and after the component's calls. Where they are in the
//! directory, nothing is.

use super::SnapshotStore;
use crate::error::{Error, Result};
use crate::metrics::Event;
use crate::snapshot::{Fetched, Info, Listed, Skipped, Soundness};
use crate::staged::Staging;

impl SnapshotStore {
    /// Lets the component create this number: there is no newer one.
    pub(super) fn prepare(&mut self, name: &str, seq: u64) -> Result<()> {
        let time = self.time_left();
        self.staging.as_mut().map_or(Ok(()), |staging| staging.prepare(name, seq, time))
    }

    /// Puts what the component has created where it counts.
    pub(super) fn ship(&mut self, name: &str, seq: u64) -> Result<()> {
        let time = self.time_left();
        self.staging.as_mut().map_or(Ok(()), |staging| staging.ship(name, seq, time))
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
            let (mut wanted, mut skipped) = (seq, Vec::new());
            loop {
                let fetched = store.fetch(name, wanted)?.ok_or_else(|| match skipped.is_empty() {
                    true => Error::NotFound,
                    // It was the next one a moment ago.
                    false => {
                        Error::Busy("the snapshots were replaced while they were read: try again".to_owned())
                    }
                })?;
                let Fetched { seq: found, older, skipped: before } = fetched;
                skipped.extend(before);
                match read(store, Some(found)) {
                    // It is what was put, which was damaged already.
                    Err(Error::Corrupt(problem)) if seq.is_none() => {
                        if let Some(staging) = &mut store.staging {
                            staging.is_damaged(name, found);
                        }
                        if older.is_none() {
                            return Err(Error::Corrupt(problem));
                        }
                        skipped.push(Skipped { seq: found, problem });
                        wanted = older;
                    }
                    // Which is no first start.
                    Err(Error::NotFound) => {
                        return Err(Error::other(format!(
                            "the file of the snapshot {found} is gone: try again"
                        )));
                    }
                    read => return Ok((read?, skipped)),
                }
            }
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

    /// The names of the named stores that are elsewhere.
    pub(super) fn names_away(&mut self) -> Result<Option<Vec<String>>> {
        self.away(|staging, time| staging.names(time))
    }

    fn away<R>(
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
            for &Listed { seq, size, modified } in listed.iter().rev() {
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
        let (handle, ..) = self.stream_from("", Some(seq))?;
        self.end(handle);
        self.away(|staging, time| staging.rollback(seq, time))
    }

    /// The names of the files that are elsewhere.
    pub(super) fn files_away(&mut self) -> Result<Option<Vec<String>>> {
        self.away(|staging, time| staging.files(time))
    }

    /// Removes what is elsewhere; returns the names of its files.
    pub(super) fn clear_away(&mut self) -> Result<Option<Vec<String>>> {
        self.away(Staging::clear)
    }

    /// Whether dropping it waits for something.
    pub(crate) fn blocks_at_its_end(&self) -> bool {
        self.has_streams() || self.staging.is_some()
    }

    /// Counts what was made, once it is where it counts.
    pub(super) fn created(&mut self, name: &str, seq: u64, bytes: u64) -> Result<()> {
        self.ship(name, seq)?;
        self.count(Event::Created(bytes));
        Ok(())
    }
}
