//! The sums of a snapshot's files, and how they are read.
//!
//! `snapshot.sum` has a line for each of the two files in the format of `xxh128sum`, so that
//! `xxh128sum -c snapshot.sum` checks a snapshot without this program.

use crate::catalog::{SEQ, STATE};
use crate::sum::Sum;

/// The sums of the two files of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// That of the state.
    pub state: Sum,
    /// That of the number.
    pub seq: Sum,
}

impl Sums {
    /// The contents of the sums' file.
    pub fn to_text(self) -> String {
        format!("{}  {STATE}\n{}  {SEQ}\n", self.state, self.seq)
    }

    /// Reads the contents of the sums' file, or `None` if they are not exactly what
    /// [`to_text`](Self::to_text) makes.
    pub fn parse(text: &[u8]) -> Option<Sums> {
        let text = str::from_utf8(text).ok()?;
        let (state, seq) = text.split_once('\n')?;
        let sums =
            Sums { state: Sum::parse(state.split_once(' ')?.0)?, seq: Sum::parse(seq.split_once(' ')?.0)? };
        // What is not written the same way again is not ours: upper case, another name, more lines.
        (sums.to_text() == text).then_some(sums)
    }
}

/// What the sums say of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both files are as they were written.
    Verified,
    /// There are no sums, or both files were written after them: another program wrote the pair.
    Unverified,
    /// The state is not the one that was written with this number.
    StateDiffers,
    /// The number is not the one that was written with this state.
    SeqDiffers,
    /// Neither is what was written.
    BothDiffer,
    /// The sums' file is damaged itself.
    SumsDamaged,
}

impl Verdict {
    /// Reads the sums' file, if there is one, against the sums of the two files as they are; `are_newer` says that both
    /// were written after it.
    pub fn of(text: Option<&[u8]>, are_newer: bool, found: Sums) -> Self {
        let Some(text) = text else { return Verdict::Unverified };
        let Some(written) = Sums::parse(text) else { return Verdict::SumsDamaged };
        match (written.state == found.state, written.seq == found.seq) {
            (true, true) => Verdict::Verified,
            _ if are_newer => Verdict::Unverified,
            (false, false) => Verdict::BothDiffer,
            (false, true) => Verdict::StateDiffers,
            (true, false) => Verdict::SeqDiffers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Sums = Sums { state: Sum(u128::MAX / 15), seq: Sum(2) };

    #[test]
    fn only_a_pair_of_which_both_files_are_newer_than_the_sums_is_another_programs() {
        let other = Sum::of(b"other");
        let text = PAIR.to_text();
        let judge = |found| Verdict::of(Some(text.as_bytes()), false, found);
        assert_eq!(judge(PAIR), Verdict::Verified);
        assert_eq!(judge(Sums { state: other, ..PAIR }), Verdict::StateDiffers);
        assert_eq!(judge(Sums { seq: other, ..PAIR }), Verdict::SeqDiffers);
        assert_eq!(judge(Sums { state: other, seq: other }), Verdict::BothDiffer);
        for found in
            [Sums { state: other, ..PAIR }, Sums { seq: other, ..PAIR }, Sums { state: other, seq: other }]
        {
            assert_eq!(Verdict::of(Some(text.as_bytes()), true, found), Verdict::Unverified);
        }
        assert_eq!(Verdict::of(Some(text.as_bytes()), true, PAIR), Verdict::Verified);
        assert_eq!(Verdict::of(None, false, PAIR), Verdict::Unverified);
    }

    #[test]
    fn every_flipped_bit_of_the_sums_is_noticed() {
        let text = PAIR.to_text().into_bytes();
        for bit in 0..8 * text.len() {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let verdict = Verdict::of(Some(&damaged), false, PAIR);
            assert!(
                matches!(verdict, Verdict::StateDiffers | Verdict::SeqDiffers | Verdict::SumsDamaged),
                "bit {bit}: {verdict:?}"
            );
        }
    }

    #[test]
    fn sums_that_are_not_exactly_ours_do_not_parse() {
        let text = PAIR.to_text();
        assert_eq!(Sums::parse(text.as_bytes()), Some(PAIR));
        for other in [
            String::new(),
            text[..text.len() - 1].to_owned(),
            text.to_uppercase(),
            format!("{text}\n"),
            format!("{text}{text}"),
            text.replace("snapshot.seq", "snapshot.json"),
            text.lines().rev().map(|line| format!("{line}\n")).collect(),
        ] {
            assert_eq!(Sums::parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
