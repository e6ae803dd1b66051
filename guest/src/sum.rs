//! The sums of a snapshot's files, and how they are read.
//!
//! `snapshot.sum` has a line for each of the two files in the format of `b3sum`, so that
//! `b3sum -c snapshot.sum` checks a snapshot without this program.

use std::io::{self, Write};

pub use blake3::Hash;

use crate::files::{SEQ, STATE};

/// The sum of some bytes.
pub fn of(bytes: &[u8]) -> Hash {
    blake3::hash(bytes)
}

/// The sums of the two files of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// That of the state.
    pub state: Hash,
    /// That of the number.
    pub seq: Hash,
}

impl Sums {
    /// The contents of the sums' file.
    pub fn to_text(self) -> String {
        format!("{}  {STATE}\n{}  {SEQ}\n", self.state.to_hex(), self.seq.to_hex())
    }

    /// Reads the contents of the sums' file, or `None` if they are not exactly what
    /// [`to_text`](Self::to_text) makes.
    pub fn parse(text: &[u8]) -> Option<Sums> {
        let text = str::from_utf8(text).ok()?;
        let (state, seq) = text.split_once('\n')?;
        let sums = Sums {
            state: Hash::from_hex(state.split_once(' ')?.0).ok()?,
            seq: Hash::from_hex(seq.split_once(' ')?.0).ok()?,
        };
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
    Unreadable,
}

/// Reads the sums' file, if there is one, against the sums of the two files as they are; `is_older` says that both were
/// written after it.
pub fn judge(text: Option<&[u8]>, is_older: bool, found: Sums) -> Verdict {
    let Some(text) = text else { return Verdict::Unverified };
    let Some(written) = Sums::parse(text) else { return Verdict::Unreadable };
    match (written.state == found.state, written.seq == found.seq) {
        (true, true) => Verdict::Verified,
        _ if is_older => Verdict::Unverified,
        (false, false) => Verdict::BothDiffer,
        (false, true) => Verdict::StateDiffers,
        (true, false) => Verdict::SeqDiffers,
    }
}

/// A writer that sums and counts what passes through it.
#[derive(Debug)]
pub struct Summing<W> {
    inner: W,
    hasher: blake3::Hasher,
    size: u64,
}

impl<W> Summing<W> {
    /// Passes everything on to `inner`.
    pub fn new(inner: W) -> Self {
        Summing { inner, hasher: blake3::Hasher::new(), size: 0 }
    }

    /// How many bytes have passed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The sum of what has passed.
    pub fn sum(&self) -> Hash {
        self.hasher.finalize()
    }

    /// The writer below.
    pub fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Sums = Sums { state: Hash::from_bytes([1; 32]), seq: Hash::from_bytes([2; 32]) };

    #[test]
    fn only_a_pair_of_which_both_files_are_newer_than_the_sums_is_another_programs() {
        let other = of(b"other");
        let text = PAIR.to_text();
        let judge = |found| judge(Some(text.as_bytes()), false, found);
        assert_eq!(judge(PAIR), Verdict::Verified);
        assert_eq!(judge(Sums { state: other, ..PAIR }), Verdict::StateDiffers);
        assert_eq!(judge(Sums { seq: other, ..PAIR }), Verdict::SeqDiffers);
        assert_eq!(judge(Sums { state: other, seq: other }), Verdict::BothDiffer);
        for found in
            [Sums { state: other, ..PAIR }, Sums { seq: other, ..PAIR }, Sums { state: other, seq: other }]
        {
            assert_eq!(super::judge(Some(text.as_bytes()), true, found), Verdict::Unverified);
        }
        assert_eq!(super::judge(Some(text.as_bytes()), true, PAIR), Verdict::Verified);
        assert_eq!(super::judge(None, false, PAIR), Verdict::Unverified);
    }

    #[test]
    fn every_flipped_bit_of_the_sums_is_noticed() {
        let text = PAIR.to_text().into_bytes();
        for bit in 0..8 * text.len() {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let verdict = judge(Some(&damaged), false, PAIR);
            assert!(
                matches!(verdict, Verdict::StateDiffers | Verdict::SeqDiffers | Verdict::Unreadable),
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
