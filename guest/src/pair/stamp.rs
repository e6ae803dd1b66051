//! What a directory holds of a pair but the states, at one moment.

use std::io;

use super::sums::Sums;
use crate::catalog::{NATIVE_SEQ_TMP, NATIVE_STATE_TMP, NEW_SEQ, NEW_STATE, NEW_SUMS, SEQ, STATE, SUMS};
use crate::dir::{Dir, Kind};
use crate::error::{Error, Result};
use crate::files::{Place, SMALL};
use crate::sum::Sum;

/// A short file that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Small {
    pub(super) place: Place,
    pub(super) text: Vec<u8>,
}

impl Small {
    pub(super) fn look<D: Dir>(dir: &D, name: &'static str) -> Result<Option<Self>> {
        Self::read(dir, Place::look(dir, name)?)
    }

    fn read<D: Dir>(dir: &D, place: Place) -> Result<Option<Self>> {
        Ok(place.read_small(dir)?.map(|text| Small { place, text }))
    }

    /// Reads the contents of a number's file: decimal digits, with white space around them.
    pub(super) fn parse(&self) -> Result<u64> {
        let whole = if self.text.len() <= SMALL { &self.text[..] } else { &[] };
        let digits = str::from_utf8(whole).map(str::trim).unwrap_or_default();
        let seq = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse());
        let Some(Ok(seq)) = seq else {
            return Err(Error::Corrupt(format!(
                "`{}` does not hold a decimal number below 2^64: write the number of the last log record \
                 that `{STATE}` contains into it, or take both files from a backup",
                self.place.name
            )));
        };
        Ok(seq)
    }
}

/// What lies under a temporary name: what is not a file is no leftover of this store or native minisnap.
fn temporary<D: Dir>(dir: &D, name: &'static str) -> Result<Place> {
    let mut place = Place::look(dir, name)?;
    place.entry = place.entry.filter(|entry| entry.kind == Kind::File);
    Ok(place)
}

/// All that a directory holds of a snapshot but the states: equal before and after something was read, it did not change
/// meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) state: Place,
    pub(super) seq: Option<Small>,
    pub(super) sums: Option<Small>,
    pub(super) new_state: Place,
    pub(super) new_seq: Option<Small>,
    pub(super) new_sums: Option<Small>,
    /// The number that native minisnap left when it crashed between its renames.
    pub(super) native_seq: Option<Small>,
}

impl Stamp {
    pub(super) fn take<D: Dir>(dir: &D) -> Result<Self> {
        let native_seq = match Place::look(dir, NATIVE_STATE_TMP)?.is_empty() {
            true => Small::read(dir, temporary(dir, NATIVE_SEQ_TMP)?)?,
            false => None,
        };
        // What a commit renames is looked for where it comes from first.
        let new_state = temporary(dir, NEW_STATE)?;
        let new_seq = Small::read(dir, temporary(dir, NEW_SEQ)?)?;
        let new_sums = Small::read(dir, temporary(dir, NEW_SUMS)?)?;
        Ok(Stamp {
            new_state,
            new_seq,
            new_sums,
            native_seq,
            state: Place::look(dir, STATE)?,
            seq: Small::look(dir, SEQ)?,
            sums: Small::look(dir, SUMS)?,
        })
    }

    pub(super) fn anything(&self) -> bool {
        !self.state.is_empty() || self.seq.is_some() || self.sums.is_some()
    }

    /// The number that native minisnap wrote last.
    pub(super) fn in_place(&self) -> Option<&Small> {
        self.native_seq.as_ref().or(self.seq.as_ref())
    }

    /// Whether native minisnap wrote the state in place, and the number `seq`, after the sums.
    pub(super) fn is_newer_than_sums(&self, seq: &Small) -> bool {
        self.sums.as_ref().is_some_and(|sums| are_newer(&[&self.state, &seq.place], &sums.place))
    }

    /// The number for which these sums vouch.
    pub(super) fn seq_of(&self, sums: &Sums) -> Option<&Small> {
        let mut numbers = [&self.seq, &self.new_seq, &self.native_seq].into_iter().flatten();
        numbers.find(|seq| Sum::of(&seq.text) == sums.seq)
    }

    /// The number for which the sums in place vouch, so that they tell of the state, too.
    pub(super) fn vouched_seq(&self) -> Option<&Small> {
        self.seq_of(&Sums::parse(&self.sums.as_ref()?.text)?)
    }

    /// Whether a file in place, of those that the new sums vouch for, was renamed: then its new name is gone, or, as a
    /// torn rename leaves it, leads to the same file. A file of the snapshot before may have the same contents.
    pub(super) fn shows_a_rename<D: Dir>(&self, dir: &D, state: &Place, seq: &Small) -> Result<bool> {
        let is_same = |name, new| match dir.is_same_file(name, new) {
            // One went away, which is seen when all is looked at again; or the host cannot tell, so that nothing shows.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) => Ok(false),
            is_same => is_same.map_err(|e| Error::io("look at", name, &e)),
        };
        Ok((state.name == STATE && (self.new_state.is_empty() || is_same(STATE, NEW_STATE)?))
            || (seq.place.name == SEQ && (self.new_seq.is_none() || is_same(SEQ, NEW_SEQ)?)))
    }
}

/// Whether all of these were written after the sums. Native minisnap always writes state and number, and never the sums;
/// what is damaged, or torn by a copy that keeps the times, is as old as it was.
pub(super) fn are_newer(places: &[&Place], sums: &Place) -> bool {
    let written = |place: &Place| place.entry.and_then(|entry| entry.modified);
    places.iter().all(|place| written(sums).is_some_and(|sums| written(place) > Some(sums)))
}
