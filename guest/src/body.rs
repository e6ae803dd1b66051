//! The state within an open file, in pieces: what is read is summed, and the indentation that the state's surroundings
//! gave it is taken away.

use std::io;
use std::mem;

use crate::block::{self, Block};
use crate::dir::{Entry, ReadAt};
use crate::error::{Error, Result};
use crate::files::retry;
use crate::json;
use crate::sum::{Hasher, Sum};

/// A file is read and summed in pieces of this many bytes: what a WASI host gives at most, and what fits
/// into a processor's cache.
const PIECE: usize = 64 * 1024;

/// Where the state lies in its file, in bytes from the file's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where the state starts.
    pub start: u64,
    /// Where it ends.
    pub stop: u64,
    /// Where what is summed ends; it starts with the file. A file that is shorter than this ends it, too.
    pub end: u64,
    /// Whether each line of the state is indented by one level more than it is to be returned with.
    pub indented: bool,
}

impl Extent {
    /// A file that is a state and nothing else.
    pub const WHOLE: Extent = Extent { start: 0, stop: u64::MAX, end: u64::MAX, indented: false };
}

/// What to do with the state while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Keep it, unless it is larger than a limit in bytes.
    Keep {
        /// The limit.
        max_size: u64,
    },
    /// Only sum it.
    Sum,
}

/// What a state turned out to be once all of it was read.
pub struct Scanned {
    /// The sum of what is summed.
    pub sum: Sum,
    /// The size of the state in bytes.
    pub size: u64,
    /// The state, if it was to be kept.
    pub kept: Vec<u8>,
    /// Where it stops being JSON, and why, if that was to be checked.
    pub json: std::result::Result<(), String>,
}

/// A sound snapshot, as far as it was asked for.
pub struct Found<R> {
    /// The sequence number.
    pub seq: u64,
    /// Whether sums vouch for it; otherwise another program wrote it.
    pub verified: bool,
    /// The file of its state.
    pub entry: Option<Entry>,
    /// The state as it was read.
    pub state: Scanned,
    /// The same state, to be read again.
    pub body: Body<R>,
}

/// Why a state was not read to its end.
pub enum Failure {
    /// The file cannot be read.
    Read(io::Error),
    /// It is not to be read, or not now.
    Refused(Error),
}

/// A state that is read from the start of its file.
pub struct Body<R> {
    file: R,
    extent: Extent,
    at: u64,
    hasher: Hasher,
    /// How many more spaces belong to the indentation to be taken away.
    spaces: u8,
    /// What was read of the file's start already.
    start: Vec<u8>,
}

impl<R: ReadAt> Body<R> {
    /// The state that lies in `file` at `extent`. What was read of the file's start already is not read again.
    pub fn new(file: R, extent: Extent, start: Vec<u8>) -> Self {
        Body { file, extent, at: 0, hasher: Hasher::default(), spaces: 0, start }
    }

    /// The same from its start again, all of which is read anew.
    pub fn rewind(self) -> Self {
        Self::new(self.file, self.extent, Vec::new())
    }

    /// The sum of what was read so far.
    pub fn sum(&self) -> Sum {
        self.hasher.sum()
    }

    /// Reads a piece of the file, and appends what of it belongs to the state to `out`, which may be nothing.
    /// Returns false at the end.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let left = usize::try_from(self.extent.end - self.at).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(false);
        }
        let mut bytes = mem::take(&mut self.start);
        if bytes.is_empty() {
            bytes = retry(|| self.file.read_at(self.at, left.min(PIECE)))?;
        }
        bytes.truncate(left);
        self.hasher.update(&bytes);
        let within = |offset: u64| {
            usize::try_from(offset.saturating_sub(self.at)).map_or(bytes.len(), |at| at.min(bytes.len()))
        };
        let state = &bytes[within(self.extent.start)..within(self.extent.stop)];
        if self.extent.indented {
            self.spaces = outdent(state, self.spaces, out);
        } else {
            out.extend_from_slice(state);
        }
        self.at += bytes.len() as u64;
        Ok(!bytes.is_empty())
    }

    /// Reads all of it; checks that it is JSON if `check_json`. `expected` is the size to make room for.
    pub fn scan(
        &mut self,
        state: State,
        expected: u64,
        check_json: bool,
    ) -> std::result::Result<Scanned, Failure> {
        let mut checker = check_json.then(|| {
            let levels = usize::from(self.extent.indented);
            json::Formatter::new(json::Nowhere).nested(levels)
        });
        let mut json = Ok(());
        let mut kept = Vec::new();
        let mut size = 0;
        state.make_room(&mut kept, expected).map_err(Failure::Refused)?;
        loop {
            state.make_room(&mut kept, 0).map_err(Failure::Refused)?;
            let start = kept.len();
            if !self.read(&mut kept).map_err(Failure::Read)? {
                break;
            }
            let new = &kept[start..];
            size += new.len() as u64;
            if json.is_ok()
                && let Some(checker) = &mut checker
            {
                json = checker.push_bytes(new).map_err(problem);
            }
            match state {
                State::Sum => kept.clear(),
                State::Keep { max_size } if size > max_size => {
                    return Err(Failure::Refused(Error::TooLarge(max_size)));
                }
                State::Keep { .. } => {}
            }
        }
        if json.is_ok()
            && let Some(checker) = checker
        {
            json = checker.finish().map(drop).map_err(problem);
        }
        Ok(Scanned { sum: self.sum(), size, kept, json })
    }
}

/// What is wrong with a text that was checked.
fn problem(error: Error) -> String {
    match error {
        Error::InvalidState(problem) => problem,
        // Nothing else is refused on its way to nowhere.
        error => error.to_string(),
    }
}

impl State {
    /// Makes room for `more` bytes of a state that is to be kept, and the piece after them.
    fn make_room(self, kept: &mut Vec<u8>, more: u64) -> Result<()> {
        let more = match self {
            // What is larger is refused when that much of it was read; its indentation does not count.
            State::Keep { max_size } => more.min(max_size),
            // One buffer serves for every piece.
            State::Sum => 0,
        };
        let room = usize::try_from(more).ok().and_then(|more| more.checked_add(PIECE));
        let room = room
            .is_some_and(|room| kept.capacity() - kept.len() >= room || kept.try_reserve_exact(room).is_ok());
        if room {
            return Ok(());
        }
        Err(Error::Io(
            "cannot read the state: it does not fit into the memory that the host allows; \
             a reader returns it in pieces"
                .to_owned(),
        ))
    }
}

/// Appends `text` to `out` without the first two spaces after each line break, of which the first `spaces` of `text`
/// are still to be looked for. Returns how many are after its end.
///
/// In a JSON text, a line break is never a part of a token, so that no token changes.
fn outdent(mut text: &[u8], mut spaces: u8, out: &mut Vec<u8>) -> u8 {
    while spaces > 0 && text.first() == Some(&b' ') {
        spaces -= 1;
        text = &text[1..];
    }
    if spaces > 0 && text.is_empty() {
        return spaces;
    }
    let taken = outdent_blocks(text, out);
    text = &text[taken..];
    // What is left has no whole block, but for what was cut within an indentation.
    while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
        out.extend_from_slice(&text[..=end]);
        text = &text[end + 1..];
        for left in (1..=2).rev() {
            match text.split_first() {
                Some((b' ', rest)) => text = rest,
                Some(_) => break,
                None => return left,
            }
        }
    }
    out.extend_from_slice(text);
    0
}

/// The same for what has whole blocks of `text`, from its start, which is no indentation. Returns how many bytes that
/// is.
fn outdent_blocks(text: &[u8], out: &mut Vec<u8>) -> usize {
    let (mut at, mut filled) = (0, out.len());
    out.resize(filled + text.len(), 0);
    while let Some(block) = Block::load(text, at) {
        // What is written beyond a line break is overwritten by what follows.
        block.store(out, filled);
        let breaks = block.line_breaks();
        if breaks == 0 {
            at += block::SIZE;
            filled += block::SIZE;
            continue;
        }
        let size = breaks.trailing_zeros() as usize + 1;
        match text.get(at + size..at + size + 2) {
            Some(b"  ") => at += size + 2,
            Some([b' ', _]) => at += size + 1,
            Some(_) => at += size,
            // The indentation may go on in the next piece.
            None => break,
        }
        filled += size;
    }
    out.truncate(filled);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spaces_after_each_line_break_go_wherever_the_text_is_cut() {
        let text = b"{\n    \"a\": [\n      1\n    ],\n\n \n  \"b\": \"  \"\n  }";
        let expected = "{\n  \"a\": [\n    1\n  ],\n\n\n\"b\": \"  \"\n}";
        for cut in 0..=text.len() {
            for end in cut..=text.len() {
                let (mut out, mut spaces) = (Vec::new(), 0);
                for piece in [&text[..cut], &text[cut..end], &text[end..]] {
                    spaces = outdent(piece, spaces, &mut out);
                }
                assert_eq!(str::from_utf8(&out), Ok(expected), "cut at {cut} and {end}");
            }
        }
    }
}
