//! Where a piece is read and where the text that is laid out is written, and the steps of both: a token, or what stands
//! between two.
//!
//! A step that says no has taken nothing that counts: its caller goes back to where it began.

use super::{BUFFER, LINE, PIECE};
use crate::block::{self, Block};

/// So many bytes of the piece must be there for a token to be begun: what is looked at without looking for the end.
pub(super) const AHEAD: usize = 2 * block::SIZE;

/// What is written for a token, a string aside, with the comma and the line break after it, and what a block writes
/// beyond its end, takes fewer bytes than this.
const ROOM: usize = 512;
/// A string that ends where it must, a colon, a number, a comma and a line break, and the rest of a block.
const _: () =
    assert!(block::SIZE + 2 + AHEAD + LINE.len() + block::SIZE <= ROOM && 4 * ROOM < BUFFER - PIECE);

/// Where the reading and the writing are, while tokens are taken.
pub(super) struct Ends<'b> {
    pub(super) text: &'b [u8],
    pub(super) at: usize,
    /// Where the last token may begin.
    pub(super) last: usize,
    pub(super) buffer: &'b mut [u8; BUFFER],
    pub(super) filled: usize,
    /// The line being read, from 1, and where it starts in the text, which may be before it.
    pub(super) line: u64,
    pub(super) line_start: i64,
}

impl Ends<'_> {
    /// The next byte; none that means anything where the text ends.
    #[inline(always)]
    pub(super) fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Whether a token may begin.
    #[inline(always)]
    pub(super) fn is_room(&self) -> bool {
        self.at <= self.last && self.filled < PIECE
    }

    /// The next block of the text, if there is a whole one.
    #[inline(always)]
    pub(super) fn block(&self, skip: usize) -> Option<Block> {
        Block::load(self.text, self.at + skip)
    }

    /// Writes a block, of which the first bytes count.
    #[inline(always)]
    pub(super) fn store(&mut self, skip: usize, block: Block) -> bool {
        block.store(self.buffer, self.filled + skip)
    }

    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if self.filled <= BUFFER - N {
            self.buffer[self.filled..][..N].copy_from_slice(&bytes);
        }
        self.filled += N;
    }

    /// Writes a line break and the indentation of so many levels.
    #[inline(always)]
    pub(super) fn line_break(&mut self, levels: usize) {
        self.put_line(1, levels);
    }

    /// Writes a line break and the indentation of so many levels, without the first bytes that [`LINE`] has before it.
    #[inline(always)]
    pub(super) fn put_line(&mut self, skip: usize, levels: usize) {
        let size = 2 + 2 * levels - skip;
        // A loop costs a look at the clock, and seldom is one needed.
        self.store_line(skip, 0);
        if size > block::SIZE {
            let mut written = block::SIZE;
            while written < size {
                self.store_line(skip, written);
                written += block::SIZE;
            }
        }
        self.filled += size;
    }

    #[inline(always)]
    pub(super) fn store_line(&mut self, skip: usize, written: usize) {
        if let Some(block) = Block::load(&LINE, skip + written) {
            self.store(written, block);
        }
    }

    /// Takes a byte as it is.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) {
        self.at += 1;
        self.put([byte]);
    }

    /// Takes a colon, and the space that mostly follows in what is laid out already.
    #[inline(always)]
    pub(super) fn colon(&mut self) {
        self.at += 1;
        self.put(*b": ");
        self.at += usize::from(self.byte() == b' ');
    }

    /// Takes a comma, and begins the next line.
    #[inline(always)]
    pub(super) fn comma(&mut self, levels: usize) {
        self.at += 1;
        self.put_line(0, levels);
    }

    /// Takes the white space after a comma, as it is where `depth` arrays or objects are open: none, a space, or a line
    /// break with indentation. Others are taken as far as they lie in one block; false if that is not all of it.
    ///
    /// That the size is expected, and not looked for, lets a processor go on before it has read it.
    #[inline(always)]
    pub(super) fn white_space_of_line(&mut self, depth: usize) -> bool {
        let byte = self.byte();
        if byte > b' ' {
            return true;
        }
        if byte == b' ' && self.text.get(self.at + 1).is_some_and(|&next| next > b' ') {
            self.at += 1;
            return true;
        }
        let size = 1 + 2 * depth;
        if size < block::SIZE
            && let Some(block) = self.block(0)
        {
            let looked_at = (2 << size) - 1;
            if block.white() & looked_at == looked_at >> 1 && block.line_breaks() & looked_at == 1 {
                self.line += 1;
                self.line_start = self.at as i64 + 1;
                self.at += size;
                return true;
            }
        }
        self.white_space() && self.byte() > b' '
    }

    /// Takes white space, as much as is in one block, or says that there is none.
    #[inline(always)]
    pub(super) fn white_space(&mut self) -> bool {
        let Some(block) = self.block(0) else { return false };
        let size = (!block.white()).trailing_zeros();
        let line_breaks = block.line_breaks() & ((1 << size) - 1);
        if line_breaks != 0 {
            self.line += u64::from(line_breaks.count_ones());
            self.line_start = self.at as i64 + i64::from(u32::BITS - line_breaks.leading_zeros());
        }
        self.at += size as usize;
        size > 0
    }

    /// Takes a value that is no container, or says that it cannot be taken here.
    #[inline(always)]
    pub(super) fn scalar(&mut self) -> bool {
        match self.byte() {
            b'"' => self.string(),
            b'0'..=b'9' | b'-' => self.number(),
            b't' => self.literal(*b"true"),
            b'n' => self.literal(*b"null"),
            b'f' => self.literal(*b"false"),
            _ => false,
        }
    }

    /// Takes a string, or says that it cannot be taken here.
    #[inline(always)]
    pub(super) fn string(&mut self) -> bool {
        // A loop costs a look at the clock, and most strings are shorter than a block.
        let Some(block) = self.block(0) else { return false };
        if !self.store(0, block) {
            return false;
        }
        // The first byte is the quote that opens it.
        let special = block.special() & !1;
        if special != 0 {
            let size = special.trailing_zeros() as usize;
            if self.text.get(self.at + size) == Some(&b'"') {
                self.at += size + 1;
                self.filled += size + 1;
                return true;
            }
        }
        match long_string(self.text, self.at + 1, self.buffer, self.filled + 1) {
            Some((at, filled)) => {
                (self.at, self.filled) = (at, filled);
                true
            }
            None => false,
        }
    }

    /// Takes a number that has fewer bytes than two blocks.
    #[inline(always)]
    pub(super) fn number(&mut self) -> bool {
        let first = self.byte();
        let Some(block) = self.block(0) else { return false };
        let digits = block.digits();
        let integer = (!digits).trailing_zeros();
        let mut size = integer as usize;
        if integer == 0
            || integer as usize == block::SIZE
            || (integer > 1 && first == b'0')
            || matches!(self.text.get(self.at + size), Some(b'.' | b'e' | b'E'))
        {
            let Some(second) = self.block(block::SIZE) else { return false };
            let digits = digits | second.digits() << block::SIZE;
            let Some(long) = long_number(self.text, self.at, digits) else { return false };
            size = long as usize;
            if size > block::SIZE && !self.store(block::SIZE, second) {
                return false;
            }
        }
        let stored = self.store(0, block);
        self.at += size;
        self.filled += size;
        stored
    }

    /// Takes a literal, if it is all there.
    #[inline(always)]
    pub(super) fn literal<const N: usize>(&mut self, literal: [u8; N]) -> bool {
        let taken = self.text.get(self.at..).and_then(|text| text.first_chunk()) == Some(&literal);
        if taken {
            self.at += N;
            self.put(literal);
        }
        taken
    }
}

/// Copies what follows the quote that opens a string, up to the one that closes it; returns where both ends are then.
///
/// Apart from [`Ends`], so that those can be kept in registers.
#[inline(never)]
fn long_string(
    text: &[u8],
    mut at: usize,
    buffer: &mut [u8; BUFFER],
    mut filled: usize,
) -> Option<(usize, usize)> {
    loop {
        let block = Block::load(text, at)?;
        if filled > BUFFER - ROOM || !block.store(buffer, filled) {
            return None;
        }
        let special = block.special();
        if special == 0 {
            at += block::SIZE;
            filled += block::SIZE;
            continue;
        }
        // The special byte was written with the block.
        let plain = special.trailing_zeros() as usize;
        at += plain;
        filled += plain;
        match text.get(at) {
            Some(b'"') => return Some((at + 1, filled + 1)),
            Some(b'\\') => {
                let size = escape(text, at)?;
                if !Block::load(text, at)?.store(buffer, filled) {
                    return None;
                }
                at += size;
                filled += size;
            }
            _ => return None,
        }
    }
}

/// The size of the escape at `at`, if it is a right one.
fn escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match (code_unit(text, at)?, code_unit(text, at + 6)) {
            (0xD800..=0xDBFF, Some(0xDC00..=0xDFFF)) => Some(12),
            (0xD800..=0xDFFF, _) => None,
            _ => Some(6),
        },
        _ => None,
    }
}

/// The code unit that is escaped as `\uXXXX` at `at`.
fn code_unit(text: &[u8], at: usize) -> Option<u32> {
    let escape: &[u8; 6] = text.get(at..)?.first_chunk()?;
    if !escape.starts_with(b"\\u") {
        return None;
    }
    escape[2..].iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// The size of the number at `at`, given which of the bytes from there on are digits, if it is a right one.
#[inline(never)]
fn long_number(text: &[u8], start: usize, digits: u32) -> Option<u32> {
    let run = |from: u32| (!(digits >> from)).trailing_zeros();
    let byte = |at: u32| text.get(start + at as usize).copied().unwrap_or(0);
    // A number may not go on beyond what `digits` tells of.
    let within = |at: u32| (at < AHEAD as u32).then_some(at);

    let mut at = u32::from(byte(0) == b'-');
    let integer = run(at);
    if integer == 0 || (integer > 1 && byte(at) == b'0') {
        return None;
    }
    at = within(at + integer)?;
    if byte(at) == b'.' {
        let fraction = run(within(at + 1)?);
        if fraction == 0 {
            return None;
        }
        at = within(at + 1 + fraction)?;
    }
    if matches!(byte(at), b'e' | b'E') {
        at = within(at + 1 + u32::from(matches!(byte(at + 1), b'+' | b'-')))?;
        let exponent = run(at);
        if exponent == 0 {
            return None;
        }
        at = within(at + exponent)?;
    }
    Some(at)
}
