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
