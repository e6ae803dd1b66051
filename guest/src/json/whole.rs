//! The tokens that lie whole in a piece, which is all but a few: sixteen bytes at a time.
//!
//! Only what is certainly right is taken here. Whatever is wrong, long, or not all there is left, from its first byte on,
//! to the step-by-step reading of [`Token`](super::token::Token), which also knows what to say of it.

use super::ends::{AHEAD, Ends};
use super::{BUFFER, Core, MAX_DEPTH, PIECE, Sink, State};
use crate::block;
use crate::error::Result;

impl Core {
    /// Takes tokens from `at` on, as many as lie whole in `text`, and returns where the first one starts that does not,
    /// or cannot be taken here.
    pub(super) fn whole_tokens(&mut self, out: &mut dyn Sink, text: &[u8], mut at: usize) -> Result<usize> {
        loop {
            if matches!(self.state, State::Token(_)) || text.len() - at < AHEAD {
                return Ok(at);
            }
            if self.filled >= PIECE {
                self.hand_on(out)?;
            }
            let taken = self.fill(text, at);
            if taken == at {
                return Ok(at);
            }
            at = taken;
        }
    }

    /// The same until a piece is full.
    fn fill(&mut self, text: &[u8], at: usize) -> usize {
        let Ok(buffer) = self.buffer.as_mut_slice().try_into() else { return at };
        let mut ends = Ends {
            text,
            at,
            last: text.len() - AHEAD,
            buffer,
            filled: self.filled,
            line: self.line,
            line_start: self.line_start.wrapping_sub(self.consumed).cast_signed(),
        };
        let (mut state, open) = (self.state, &mut self.open);
        let outer = self.outer;
        'tokens: while ends.is_room() {
            if ends.byte() <= b' ' {
                if ends.white_space() { continue } else { break }
            }
            let byte = ends.byte();
            let levels = outer + open.depth;
            let mut begun = (ends.at, ends.filled);
            match state {
                State::FirstElement | State::FirstName
                    if byte == if open.in_object() { b'}' } else { b']' } =>
                {
                    open.pop();
                    ends.take(byte);
                    state = State::AfterValue;
                }
                State::Colon if byte == b':' => {
                    ends.colon();
                    state = State::Value;
                }
                State::Value | State::FirstElement if matches!(byte, b'[' | b'{') => {
                    if levels == MAX_DEPTH {
                        break;
                    }
                    if state == State::FirstElement {
                        ends.line_break(levels);
                    }
                    open.push(byte == b'{');
                    ends.take(byte);
                    state = if byte == b'{' { State::FirstName } else { State::FirstElement };
                }
                State::FirstName | State::Name | State::FirstElement | State::Value => {
                    if matches!(state, State::FirstName | State::FirstElement) {
                        ends.line_break(levels);
                    }
                    // One after the other, as long as they are no containers.
                    loop {
                        if matches!(state, State::FirstName | State::Name) {
                            if ends.byte() != b'"' || !ends.string() {
                                (ends.at, ends.filled) = begun;
                                break 'tokens;
                            }
                            state = State::Colon;
                            if ends.byte() != b':' {
                                continue 'tokens;
                            }
                            ends.colon();
                            state = State::Value;
                            begun = (ends.at, ends.filled);
                        }
                        if !ends.scalar() {
                            (ends.at, ends.filled) = begun;
                            break;
                        }
                        state = State::AfterValue;
                        if ends.byte() != b',' || open.depth == 0 {
                            continue 'tokens;
                        }
                        ends.comma(levels);
                        state = if open.in_object() { State::Name } else { State::Value };
                        if !ends.white_space_of_line(open.depth) || !ends.is_room() {
                            continue 'tokens;
                        }
                        begun = (ends.at, ends.filled);
                    }
                    // White space or a container is next, or nothing that can be taken here.
                    if !matches!(ends.byte(), b' ' | b'\t' | b'\n' | b'\r' | b'[' | b'{') {
                        break;
                    }
                }
                State::AfterValue if open.depth > 0 && byte == b',' => {
                    ends.comma(levels);
                    state = if open.in_object() { State::Name } else { State::Value };
                }
                State::AfterValue if open.depth > 0 && byte == if open.in_object() { b'}' } else { b']' } => {
                    open.pop();
                    ends.line_break(levels - 1);
                    ends.take(byte);
                }
                _ => break,
            }
        }
        // Whatever did not fit was not written: then, this is more.
        assert!(ends.filled <= BUFFER - block::SIZE, "there is room for what was taken");
        (self.filled, self.state) = (ends.filled, state);
        (self.line, self.line_start) = (ends.line, self.consumed.wrapping_add_signed(ends.line_start));
        ends.at
    }
}
