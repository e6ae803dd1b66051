//! What a copy does: what is selected, how it compares with what is there, what gives way, and what is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::Comparison;
use super::files::{Identity, generations};
use super::{Copied, CopyError, Refusal, Result, Selection, Source, Target};
use crate::error::{self, Error};
use crate::snapshot::{Info, Layout, Skipped, Soundness};
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
}

impl SnapshotStore {
    /// What is to be done; `None` if it was pruned or replaced meanwhile.
    pub(super) fn plan(
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

        let mut comparison = Comparison::new(as_files);
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
            let is_same = match files.contains_key(&seq) {
                true => match comparison.compare(self, from, seq) {
                    Err(Source(Error::Corrupt(_))) => false,
                    found => found? == Some(Found::SameState),
                },
                false => false,
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
}
