//! What a copy does: what is selected, how it compares with what is there, what gives way, and what is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Comparison, sound};
use super::files::Identity;
use super::{Copied, CopyError, Refusal, Result, Selection, Source, Target};
use crate::error::{self, Error};
use crate::snapshot::{Layout, Skipped, Soundness};
use crate::store::SnapshotStore;

/// What is there under a number that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    SameState,
    Damaged,
    OtherState,
}

/// What a copy does.
pub(super) struct Plan {
    pub(super) copied: Copied,
    /// Whether files are copied as they are, from the layout `numbered` to the same.
    pub(super) as_files: bool,
    /// The numbers to copy, newest first.
    pub(super) seqs: Vec<(u64, Found)>,
    /// The files of the generations as they were before they were checked, by number.
    pub(super) files: BTreeMap<u64, Identity>,
    /// The older generations that give way.
    pub(super) older: Vec<u64>,
    /// The lowest number of which a generation gives way, if it is not copied itself.
    pub(super) gone: u64,
}

/// What is planned of: the two stores, and what each holds.
struct Stores<'s> {
    to: &'s mut SnapshotStore,
    from: &'s mut SnapshotStore,
    replace: bool,
    /// The layout of what is copied to.
    layout: Layout,
    /// The numbers that are copied, newest first.
    selected: Vec<u64>,
    /// Those that are there, newest first.
    there: Vec<u64>,
    /// The files of the generations to copy from.
    files: BTreeMap<u64, Identity>,
    skipped: Vec<Skipped>,
    /// The numbers of what is found damaged where it is copied from.
    damaged: Vec<u64>,
    comparison: Comparison,
}

/// A step of a plan; `None` if what it is about was pruned or replaced meanwhile.
type Step<T> = Result<Option<T>>;

impl SnapshotStore {
    /// What is to be done; `None` if it was pruned or replaced meanwhile.
    pub(super) fn plan(
        &mut self,
        from: &mut SnapshotStore,
        selection: Selection,
        replace: bool,
    ) -> Step<Plan> {
        let source = from.layout().map_err(Source)?;
        if self.is_where(from) {
            let place = self.whereabouts();
            return Err(Target(Error::other(format!("`{place}` is where it is copied from"))));
        }
        let layout = match self.layout() {
            Err(Error::NotFound) => self.grant.layout,
            layout => layout.map_err(Target)?,
        };
        let as_files = (source, layout) == (Layout::Numbered, Layout::Numbered);
        let files = match source {
            Layout::Numbered => from.identities().map_err(Source)?,
            Layout::Pair => BTreeMap::new(),
        };
        let (mut selected, skipped) = from.select(selection).map_err(Source)?;
        if layout == Layout::Pair {
            selected.truncate(1);
        }
        let (there, half_undone) = self.what_is_there(layout, replace)?;
        let damaged = skipped.iter().map(|skipped| skipped.seq).collect();
        let comparison = Comparison::new(as_files);
        let stores =
            Stores { to: self, from, replace, layout, selected, there, files, skipped, damaged, comparison };
        stores.plan(as_files, half_undone)
    }

    /// The numbers that are there, newest first, and those of a copy that was interrupted.
    fn what_is_there(&mut self, layout: Layout, replace: bool) -> Result<(Vec<u64>, BTreeSet<u64>)> {
        if layout == Layout::Numbered {
            let ours = self.identities().map_err(Target)?;
            let half_undone = self.half_undone(&ours);
            return Ok((ours.into_keys().rev().collect(), half_undone));
        }
        let there = match self.newest_seq() {
            Err(Error::NotFound) => Vec::new(),
            // Whatever it was, it gives way.
            Err(Error::Corrupt(_)) if replace => Vec::new(),
            seq => vec![seq.map_err(Target)?],
        };
        Ok((there, BTreeSet::new()))
    }

    /// The numbers of what is to be copied from this store, newest first, all of it checked, and what is damaged.
    fn select(&mut self, selection: Selection) -> error::Result<(Vec<u64>, Vec<Skipped>)> {
        let seq = match selection {
            Selection::Newest => None,
            Selection::Seq(seq) => Some(seq),
            Selection::All => {
                let (mut sound, mut skipped) = (Vec::new(), Vec::new());
                for (seq, soundness) in self.all_read()? {
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

    /// Every generation, newest first, and how sound it is. Each that is in an object store is got in a call of its own.
    fn all_read(&mut self) -> error::Result<Vec<(u64, Soundness)>> {
        if self.staging.is_none() {
            return Ok(self.generations()?.into_iter().map(|info| (info.seq, info.soundness)).collect());
        }
        let mut all = Vec::new();
        for seq in self.identities()?.into_keys().rev() {
            // One that was pruned meanwhile is left out.
            all.extend(sound(&mut None, self, seq)?.map(|soundness| (seq, soundness)));
        }
        Ok(all)
    }
}

impl Stores<'_> {
    fn plan(mut self, as_files: bool, half_undone: BTreeSet<u64>) -> Step<Plan> {
        let newest = self.selected.first().copied().ok_or(Source(Error::NotFound))?;
        if let Some(&newer) = self.there.first()
            && newer > newest
        {
            self.check(newer, Refusal::Newer)?;
        }
        let Some(seqs) = self.compare_selected()? else { return Ok(None) };
        // Up to here, the two stores are of one history.
        let common = match seqs.iter().find(|(_, found)| *found == Found::SameState) {
            Some(&(seq, _)) => Some(seq),
            None => match self.find_common(newest)? {
                Some(common) => common,
                None => return Ok(None),
            },
        };
        let interrupted = self.interrupted(half_undone)?;
        if let Some(&seq) = interrupted.last() {
            self.check(seq, Refusal::HalfUndone)?;
        }

        let gives_way = |seq: &u64| match seqs.binary_search_by(|(other, _)| seq.cmp(other)) {
            Ok(at) => seqs[at].1 == Found::OtherState,
            Err(_) => {
                let is_above = *seq > newest || Some(*seq) > common;
                self.layout == Layout::Pair || self.replace && (is_above || interrupted.contains(seq))
            }
        };
        let replaced: Vec<u64> = self.there.iter().copied().filter(gives_way).collect();
        self.check_no_only_sound_one(&replaced, newest)?;
        let gone = match replaced.is_empty() {
            true => newest.saturating_add(1),
            false => common.map_or(0, |common| common.saturating_add(1)),
        };
        let is_older =
            |seq: &u64| self.layout == Layout::Numbered && *seq < newest && !holds(&self.selected, *seq);
        let older = replaced.iter().copied().filter(is_older).collect();
        let (present, copied): (Vec<_>, Vec<_>) =
            seqs.iter().copied().partition(|(_, found)| *found == Found::SameState);
        let numbers = |seqs: Vec<(u64, Found)>| seqs.into_iter().map(|(seq, _)| seq).collect();
        let Stores { layout, skipped, files, .. } = self;
        let copied = Copied { layout, copied: numbers(copied), present: numbers(present), replaced, skipped };
        Ok(Some(Plan { copied, as_files, seqs, files, older, gone }))
    }

    fn refused(&self, seq: u64, refusal: Refusal) -> CopyError {
        CopyError::Refused { seq, refusal, skipped: self.skipped.clone() }
    }

    /// Refuses the copy because of a snapshot that is there, unless it may be replaced.
    fn check(&self, seq: u64, refusal: Refusal) -> Result<()> {
        if self.replace { Ok(()) } else { Err(self.refused(seq, refusal)) }
    }

    fn compare(&mut self, seq: u64) -> Step<Found> {
        self.comparison.compare(self.to, self.from, seq)
    }

    /// What is there under each number that is copied.
    fn compare_selected(&mut self) -> Step<Vec<(u64, Found)>> {
        let mut seqs = Vec::new();
        for seq in self.selected.clone() {
            let found = match holds(&self.there, seq) {
                true => self.compare(seq)?,
                false => Some(Found::Nothing),
            };
            let Some(found) = found else { return Ok(None) };
            if found == Found::OtherState {
                self.check(seq, Refusal::OtherState)?;
            }
            seqs.push((seq, found));
        }
        Ok(Some(seqs))
    }

    /// The newest of the older numbers that both stores have with the same state, if there is any.
    fn find_common(&mut self, newest: u64) -> Step<Option<u64>> {
        let is_other = |seq: &u64| *seq < newest && !holds(&self.selected, *seq) && holds(&self.there, *seq);
        let others: Vec<u64> = self.files.keys().copied().rev().filter(is_other).collect();
        for seq in others {
            match self.compare(seq) {
                Ok(Some(Found::SameState)) => return Ok(Some(Some(seq))),
                Ok(Some(Found::OtherState)) => self.check(seq, Refusal::OtherState)?,
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Source(Error::Corrupt(_))) => self.damaged.push(seq),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(None))
    }

    /// Which of the numbers of a copy that was interrupted are left of it. It may have been given up: what is there with the
    /// same state stays.
    fn interrupted(&mut self, half_undone: BTreeSet<u64>) -> Result<BTreeSet<u64>> {
        let mut interrupted = BTreeSet::new();
        for seq in half_undone {
            let is_same = self.files.contains_key(&seq)
                && match self.compare(seq) {
                    Err(Source(Error::Corrupt(_))) => false,
                    found => found? == Some(Found::SameState),
                };
            if !is_same && !self.selected.contains(&seq) {
                interrupted.insert(seq);
            }
        }
        Ok(interrupted)
    }

    /// Refuses to replace what may be the only sound snapshot of its number.
    fn check_no_only_sound_one(&mut self, replaced: &[u64], newest: u64) -> Result<()> {
        // A newer pair stands in for an older one in any case.
        let needs_it =
            |seq: &&u64| self.damaged.contains(seq) && (self.layout == Layout::Numbered || **seq > newest);
        for &seq in replaced.iter().filter(needs_it) {
            if self.comparison.is_sound(self.to, seq)? {
                return Err(self.refused(seq, Refusal::OnlySound));
            }
        }
        Ok(())
    }
}

/// Whether a number is among these, of which the newest is the first.
fn holds(seqs: &[u64], seq: u64) -> bool {
    seqs.binary_search_by(|other| seq.cmp(other)).is_ok()
}
