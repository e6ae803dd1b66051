//! Checks and re-indents a state as it streams by.
//!
//! One pass, no tree, no recursion, and no token is ever rewritten: tokens are copied byte for byte,
//! only the white space between them is laid out anew, as serde_json pretty-prints. The memory used is
//! one buffer, whatever the size of the state.

mod ends;
mod sink;
mod state;
mod token;
mod whole;

pub use sink::{Nowhere, Sink};
use state::{Containers, State};
use token::{Problem, Step, Token, plain_run};

use crate::error::{Error, Result};

/// The deepest nesting of arrays and objects that is accepted.
///
/// serde_json refuses the 128th level by default, so that nothing deeper could be restored by it, and
/// a deeply nested input of a few kilobytes would indent into gigabytes. Of a [nested](Formatter::nested)
/// text, what it is nested in counts.
pub const MAX_DEPTH: usize = 127;

/// Text is handed on in pieces of this many bytes, each at a multiple of it: whole pages of a file.
const PIECE: usize = 64 * 1024;

/// Text is collected in so many bytes: a piece, and what comes with its last token.
const BUFFER: usize = PIECE + 4096;

/// A comma, a line break, and the indentation of the deepest level and more, in whole blocks.
const LINE: [u8; 288] = {
    let mut line = [b' '; 288];
    line[0] = b',';
    line[1] = b'\n';
    line
};

/// Takes a JSON text in pieces and writes it on, formatted; of what arrives as bytes, it checks that they are UTF-8.
///
/// ```
/// # use minisnap_component::json::Formatter;
/// let mut formatter = Formatter::new(Vec::new());
/// formatter.push(r#"{"big":123456789012"#)?;
/// formatter.push(r#"34567890,"list":[]}"#)?;
/// assert_eq!(
///     formatter.finish()?,
///     b"{\n  \"big\": 12345678901234567890,\n  \"list\": []\n}"
/// );
/// # Ok::<(), minisnap_component::error::Error>(())
/// ```
pub struct Formatter<W> {
    out: W,
    core: Core,
    /// The start of a character whose other bytes are still to come.
    begun: Vec<u8>,
}

/// The formatter without its sink, so that one program serves for every kind of sink: it is asked to write a few
/// times a megabyte.
struct Core {
    buffer: Vec<u8>,
    /// How many bytes of the buffer wait to be handed on.
    filled: usize,
    state: State,
    /// The open arrays and objects.
    open: Containers,
    /// How many levels the whole text is nested in something else.
    outer: usize,
    /// Whether the string being read, or just read, is a member's name.
    is_name: bool,
    /// Bytes of earlier pieces.
    consumed: u64,
    /// The line being read, from 1, and where it starts, as a number of bytes from the start.
    line: u64,
    line_start: u64,
}

impl<W: Sink> Formatter<W> {
    /// A formatter at the start of a text, which writes to `out` in large pieces.
    pub fn new(out: W) -> Self {
        let core = Core {
            buffer: vec![0; BUFFER],
            filled: 0,
            state: State::Value,
            open: Containers { objects: [false; MAX_DEPTH + 1], depth: 0 },
            outer: 0,
            is_name: false,
            consumed: 0,
            line: 1,
            line_start: 0,
        };
        Formatter { out, core, begun: Vec::with_capacity(4) }
    }

    /// The same formatter, which writes `start` before the text, as it is.
    ///
    /// # Panics
    ///
    /// If that is longer than a piece, of 64 KiB.
    pub fn after(mut self, start: &[u8]) -> Self {
        assert!(start.len() <= PIECE, "{} bytes before a text", start.len());
        self.core.collect(start);
        self
    }

    /// The same formatter for a text that is to stand inside of `levels` arrays or objects: each of its lines but the
    /// first is indented as much more.
    pub fn nested(mut self, levels: usize) -> Self {
        self.core.outer = levels.min(MAX_DEPTH);
        self
    }

    /// Takes the next piece of the text; a token may go on in the next one. It is refused as soon as the text cannot become
    /// one JSON value any more; after an error, the formatter is of no more use.
    pub fn push(&mut self, piece: &str) -> Result<()> {
        if !self.begun.is_empty() {
            return self.push_bytes(piece.as_bytes());
        }
        self.core.push(&mut self.out, piece.as_bytes())
    }

    /// The same for a piece that may be cut inside of a character, and may not be UTF-8.
    pub fn push_bytes(&mut self, mut piece: &[u8]) -> Result<()> {
        while !self.begun.is_empty()
            && let Some((&byte, rest)) = piece.split_first()
        {
            piece = rest;
            self.begun.push(byte);
            match str::from_utf8(&self.begun) {
                Ok(character) => {
                    self.core.push(&mut self.out, character.as_bytes())?;
                    self.begun.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.not_utf8()),
            }
        }
        let Err(error) = str::from_utf8(piece) else { return self.core.push(&mut self.out, piece) };
        let (text, rest) = piece.split_at(error.valid_up_to());
        self.core.push(&mut self.out, text)?;
        match rest {
            _ if error.error_len().is_none() => self.begun.extend_from_slice(rest),
            // In UTF-8, no byte is either of them.
            [0xFE | 0xFF, ..] if self.core.consumed == 0 => {
                return Err(self.core.invalid(0, "the text starts as UTF-16, and not as UTF-8".to_owned()));
            }
            _ => return Err(self.not_utf8()),
        }
        Ok(())
    }

    /// Takes the end of the text, and returns the sink once it has everything.
    pub fn finish(mut self) -> Result<W> {
        if !self.begun.is_empty() {
            return Err(self.not_utf8());
        }
        self.core.finish(&mut self.out)?;
        Ok(self.out)
    }

    /// What was taken last is not UTF-8, or not all of it.
    fn not_utf8(&self) -> Error {
        self.core.invalid(0, "a byte is not UTF-8".to_owned())
    }
}

impl Core {
    fn push(&mut self, out: &mut dyn Sink, text: &[u8]) -> Result<()> {
        let mut at = 0;
        while at < text.len() {
            // What lies whole in the piece goes fast; what is left here is one token, or what is wrong.
            at = self.whole_tokens(out, text, at)?;
            at = match self.state {
                State::Token(token) => self.copy(out, token, text, at, at)?,
                _ => match self.skip_white_space(text, at) {
                    at if at < text.len() => self.structure(out, text, at)?,
                    end => end,
                },
            };
        }
        self.consumed += text.len() as u64;
        Ok(())
    }

    fn finish(&self, out: &mut dyn Sink) -> Result<()> {
        if let Some(expected) = self.expected() {
            return Err(self.invalid(0, format!("the text ends where {expected} is expected")));
        }
        out.take(&self.buffer[..self.filled])
    }

    /// What must come next, or `None` if the text may end here.
    fn expected(&self) -> Option<&'static str> {
        match self.state {
            State::Value => Some("a value"),
            State::FirstElement => Some("a value or `]`"),
            State::FirstName => Some("a name or `}`"),
            State::Name => Some("a name"),
            State::Colon => Some("`:`"),
            State::Token(token) if token.missing().is_some() => token.missing(),
            State::Token(_) | State::AfterValue if self.open.in_object() => Some("`,` or `}`"),
            State::Token(_) | State::AfterValue if self.open.in_array() => Some("`,` or `]`"),
            State::Token(_) | State::AfterValue => None,
        }
    }

    fn skip_white_space(&mut self, text: &[u8], mut at: usize) -> usize {
        while let Some(&byte) = text.get(at) {
            match byte {
                b' ' | b'\t' | b'\r' => {}
                // A raw line break is white space wherever it is allowed: lines are counted where that is taken.
                b'\n' => {
                    self.line += 1;
                    self.line_start = self.consumed + at as u64 + 1;
                }
                _ => break,
            }
            at += 1;
        }
        at
    }

    /// Takes the byte at `at`, which starts a token or is a token of its own.
    fn structure(&mut self, out: &mut dyn Sink, text: &[u8], at: usize) -> Result<usize> {
        let byte = text[at];
        match (self.state, byte) {
            (State::FirstElement, b']') | (State::FirstName, b'}') => {
                self.open.pop();
                self.state = State::AfterValue;
                self.emit(out, &[byte])?;
            }
            (State::FirstName | State::Name, b'"') => {
                if self.state == State::FirstName {
                    self.line_break(out)?;
                }
                self.is_name = true;
                return self.copy(out, Token::String, text, at, at + 1);
            }
            (State::Value | State::FirstElement, _) => return self.value(out, text, at),
            (State::Colon, b':') => {
                self.state = State::Value;
                self.emit(out, b": ")?;
            }
            (State::AfterValue, b',') if self.open.depth > 0 => {
                self.state = if self.open.in_object() { State::Name } else { State::Value };
                self.emit(out, b",")?;
                self.line_break(out)?;
            }
            (State::AfterValue, b']') if self.open.in_array() => self.close(out, byte)?,
            (State::AfterValue, b'}') if self.open.in_object() => self.close(out, byte)?,
            _ => return Err(self.unexpected(text, at)),
        }
        Ok(at + 1)
    }

    /// Takes the first byte of a value.
    fn value(&mut self, out: &mut dyn Sink, text: &[u8], at: usize) -> Result<usize> {
        let byte = text[at];
        if let Some(token) = Token::start(byte) {
            self.first_element(out)?;
            self.is_name = false;
            return self.copy(out, token, text, at, at + 1);
        }
        if !matches!(byte, b'[' | b'{') {
            return Err(self.unexpected(text, at));
        }
        let deepest = MAX_DEPTH - self.outer;
        if self.open.depth == deepest {
            let problem = format!("arrays and objects are nested deeper than {deepest}");
            return Err(self.invalid(at, problem));
        }
        self.first_element(out)?;
        self.open.push(byte == b'{');
        self.state = if byte == b'{' { State::FirstName } else { State::FirstElement };
        self.emit(out, &[byte])?;
        Ok(at + 1)
    }

    /// Starts the line of the first element of an array.
    fn first_element(&mut self, out: &mut dyn Sink) -> Result<()> {
        if self.state == State::FirstElement { self.line_break(out) } else { Ok(()) }
    }

    fn close(&mut self, out: &mut dyn Sink, bracket: u8) -> Result<()> {
        self.open.pop();
        self.line_break(out)?;
        self.emit(out, &[bracket])
    }

    fn line_break(&mut self, out: &mut dyn Sink) -> Result<()> {
        self.emit(out, &LINE[1..][..1 + 2 * (self.outer + self.open.depth)])
    }

    /// Goes on with `token` at `at`, until it or the piece ends, and hands on what lies from `start`.
    fn copy(
        &mut self,
        out: &mut dyn Sink,
        mut token: Token,
        text: &[u8],
        start: usize,
        mut at: usize,
    ) -> Result<usize> {
        loop {
            if token == Token::String {
                at += plain_run(&text[at..]);
            }
            let Some(&byte) = text.get(at) else {
                self.state = State::Token(token);
                break;
            };
            let step = token.step(byte).map_err(|problem| match problem {
                Problem::Expected(expected) => self.found_instead(text, at, expected),
                Problem::NotEscaped => self.invalid(at, self.found(text, at) + " is not escaped"),
                Problem::Other(problem) => self.invalid(at, problem.to_owned()),
            })?;
            match step {
                Step::Within(next) => token = next,
                Step::Last => {
                    at += 1;
                    self.state = if self.is_name { State::Colon } else { State::AfterValue };
                    break;
                }
                Step::Ended => {
                    self.state = State::AfterValue;
                    break;
                }
            }
            at += 1;
        }
        self.emit(out, &text[start..at])?;
        Ok(at)
    }

    fn emit(&mut self, out: &mut dyn Sink, mut bytes: &[u8]) -> Result<()> {
        while self.filled + bytes.len() > BUFFER {
            if self.filled == 0 {
                // What is longer than the buffer goes around it.
                let (pieces, rest) = bytes.split_at(bytes.len() / PIECE * PIECE);
                out.take(pieces)?;
                bytes = rest;
            } else {
                let (first, rest) = bytes.split_at(PIECE.saturating_sub(self.filled));
                self.collect(first);
                self.hand_on(out)?;
                bytes = rest;
            }
        }
        self.collect(bytes);
        Ok(())
    }

    fn collect(&mut self, bytes: &[u8]) {
        self.buffer[self.filled..][..bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// Hands the piece on that is full.
    fn hand_on(&mut self, out: &mut dyn Sink) -> Result<()> {
        out.take(&self.buffer[..PIECE])?;
        self.buffer.copy_within(PIECE..self.filled, 0);
        self.filled -= PIECE;
        Ok(())
    }

    /// An error at the byte `at` of the piece being read.
    fn invalid(&self, at: usize, problem: String) -> Error {
        let column = self.consumed + at as u64 - self.line_start + 1;
        Error::InvalidState(format!("line {} column {column}: {problem}", self.line))
    }

    fn unexpected(&self, text: &[u8], at: usize) -> Error {
        self.found_instead(text, at, self.expected().unwrap_or("nothing more after the value"))
    }

    #[cold]
    fn found_instead(&self, text: &[u8], at: usize, expected: &str) -> Error {
        let mut problem = self.found(text, at) + " where " + expected + " is expected";
        if matches!(text[at], b'N' | b'I') && (expected.starts_with("a value") || expected == "a digit") {
            problem += "; JSON has neither `NaN` nor `Infinity`";
        }
        self.invalid(at, problem)
    }

    /// What is found at `at`. It is told by the first byte, so that it does not matter where the text is cut.
    #[cold]
    fn found(&self, text: &[u8], at: usize) -> String {
        let found = match text[at] {
            0 => "a NUL byte, as in UTF-16,",
            0x1F if self.consumed + at as u64 == 0 => "0x1f, the first byte of gzip data,",
            byte @ (..0x20 | 0x7F) => return format!("the control character {byte:#04x}"),
            byte @ ..0x80 => return format!("`{}`", char::from(byte)),
            _ if text[at..].starts_with("\u{FEFF}".as_bytes()) => "a byte order mark (BOM)",
            _ => "a character beyond ASCII",
        };
        found.to_owned()
    }
}
