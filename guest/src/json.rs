//! Checks and re-indents a state as it streams by.
//!
//! One pass, no tree, no recursion, and no token is ever rewritten: tokens are copied byte for byte,
//! only the white space between them is laid out anew, as serde_json pretty-prints. The memory used is
//! one buffer, whatever the size of the state.

use std::fmt;
use std::io::{self, Write};

/// The deepest nesting of arrays and objects that is accepted.
///
/// serde_json refuses the 128th level by default, so that nothing deeper could be restored by it, and
/// a deeply nested input of a few kilobytes would indent into gigabytes.
pub const MAX_DEPTH: usize = 127;

/// Text is collected up to this many bytes before it is handed on; longer tokens go around the buffer.
const BUFFER: usize = 256 * 1024;

/// A line break and the indentation of the deepest level.
const LINE: [u8; 1 + 2 * MAX_DEPTH] = {
    let mut line = [b' '; 1 + 2 * MAX_DEPTH];
    line[0] = b'\n';
    line
};

/// Why a text was not taken.
#[derive(Debug)]
pub enum Error {
    /// It is not one JSON value.
    Invalid(Invalid),
    /// The formatted text could not be handed on.
    Write(io::Error),
}

/// Where a text stops being JSON, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The line, from 1.
    pub line: u64,
    /// The byte in that line, from 1.
    pub column: u64,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Invalid { line, column, problem } = self;
        write!(f, "line {line} column {column}: {problem}")
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Write(error)
    }
}

/// Takes a JSON text in pieces and writes it on, formatted.
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
/// # Ok::<(), minisnap_component::json::Error>(())
/// ```
pub struct Formatter<W> {
    out: W,
    buffer: Vec<u8>,
    state: State,
    /// The open arrays and objects.
    open: Containers,
    /// Whether the string being read, or just read, is a member's name.
    is_name: bool,
    /// Bytes of earlier pieces.
    consumed: u64,
    /// The line being read, from 1, and where it starts, as a number of bytes from the start.
    line: u64,
    line_start: u64,
}

/// A [`Formatter`] that takes bytes, and checks that they are UTF-8, wherever the pieces are cut.
pub struct Bytes<W> {
    formatter: Formatter<W>,
    /// The start of a character whose other bytes are still to come.
    begun: Vec<u8>,
}

impl<W: Write> Bytes<W> {
    /// As [`Formatter::new`].
    pub fn new(out: W) -> Self {
        Bytes { formatter: Formatter::new(out), begun: Vec::with_capacity(4) }
    }

    /// Takes the next piece of the text.
    ///
    /// # Errors
    ///
    /// As [`Formatter::push`], and [`Error::Invalid`] for bytes that are not UTF-8.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Error> {
        while !self.begun.is_empty()
            && let Some((&byte, rest)) = piece.split_first()
        {
            piece = rest;
            self.begun.push(byte);
            match str::from_utf8(&self.begun) {
                Ok(character) => {
                    self.formatter.push(character)?;
                    self.begun.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.not_utf8()),
            }
        }
        match str::from_utf8(piece) {
            Ok(text) => self.formatter.push(text),
            Err(error) => {
                let (text, rest) = piece.split_at(error.valid_up_to());
                self.formatter.push(str::from_utf8(text).unwrap_or_default())?;
                if error.error_len().is_some() {
                    return Err(self.not_utf8());
                }
                self.begun.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    /// Takes the end of the text.
    ///
    /// # Errors
    ///
    /// As [`Formatter::finish`], and [`Error::Invalid`] if the text ends within a character.
    pub fn finish(self) -> Result<W, Error> {
        if self.begun.is_empty() { self.formatter.finish() } else { Err(self.not_utf8()) }
    }

    /// What was taken last is not UTF-8, or not all of it.
    fn not_utf8(&self) -> Error {
        self.formatter.invalid(0, "a byte is not UTF-8".to_owned())
    }
}

/// What the next byte may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value.
    Value,
    /// A value or `]`, just after `[`.
    FirstElement,
    /// A name or `}`, just after `{`.
    FirstName,
    /// A name, after a comma in an object.
    Name,
    /// `:`, after a name.
    Colon,
    /// `,` or the closing bracket, or nothing more after the outermost value.
    AfterValue,
    /// Inside a token; everything is copied until it ends.
    Token(Token),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    String,
    /// After a backslash.
    Escape,
    /// In `\uXXXX`: how many of the four digits have been read, and their value.
    Unicode {
        digits: u8,
        value: u16,
    },
    /// After the escape of a leading surrogate: `\`, then `u`, then the digits of a trailing one.
    TrailingBackslash,
    TrailingU,
    TrailingUnicode {
        digits: u8,
        value: u16,
    },
    /// After `-`.
    Minus,
    /// After a leading 0: no further digit.
    Zero,
    Integer,
    /// After the decimal point: at least one digit.
    Point,
    Fraction,
    /// After `e`: a sign or a digit.
    Exponent,
    /// After the sign of an exponent: at least one digit.
    ExponentSign,
    ExponentDigits,
    /// The bytes of `true`, `false` or `null` that are still to come.
    Literal(&'static [u8]),
}

/// The kinds of the open arrays and objects, outermost first: a bit each, so that no input can make it
/// grow.
#[derive(Clone, Copy, Default)]
struct Containers {
    /// The bit of the innermost container is the lowest: 1 is an object.
    kinds: u128,
    depth: usize,
}

impl Containers {
    fn push(&mut self, object: bool) {
        self.kinds = self.kinds << 1 | u128::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.kinds & 1 == 1
    }

    fn in_array(&self) -> bool {
        self.depth > 0 && self.kinds & 1 == 0
    }
}

impl<W: Write> Formatter<W> {
    /// A formatter at the start of a text, which writes to `out` in large pieces.
    pub fn new(out: W) -> Self {
        Formatter {
            out,
            buffer: Vec::with_capacity(BUFFER),
            state: State::Value,
            open: Containers::default(),
            is_name: false,
            consumed: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// Takes the next piece of the text; a token may go on in the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as soon as the text cannot become one JSON value any more, and
    /// [`Error::Write`] as the writer reports it. After an error the formatter is of no more use.
    pub fn push(&mut self, piece: &str) -> Result<(), Error> {
        let text = piece.as_bytes();
        let mut at = 0;
        while at < text.len() {
            at = match self.state {
                State::Token(token) => self.token(token, text, at)?,
                _ => match self.skip_white_space(text, at) {
                    at if at < text.len() => self.structure(text, at)?,
                    end => end,
                },
            };
        }
        self.consumed += text.len() as u64;
        Ok(())
    }

    /// Takes the end of the text, and returns the writer once it has everything.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the value is not complete, [`Error::Write`] as the writer reports it.
    pub fn finish(mut self) -> Result<W, Error> {
        if let State::Token(Token::Zero | Token::Integer | Token::Fraction | Token::ExponentDigits) =
            self.state
        {
            self.state = State::AfterValue;
        }
        if self.open.depth > 0 || self.state != State::AfterValue {
            let expected = match self.state {
                State::Token(Token::Literal(_)) => "the rest of a literal",
                State::Token(token) if is_string(token) => "the rest of a string",
                State::Token(_) => "a digit",
                State::Value => "a value",
                State::FirstElement => "a value or `]`",
                State::FirstName => "a name or `}`",
                State::Name => "a name",
                State::Colon => "`:`",
                State::AfterValue if self.open.in_object() => "`,` or `}`",
                State::AfterValue => "`,` or `]`",
            };
            return Err(self.invalid(0, format!("the text ends where {expected} is expected")));
        }
        self.flush()?;
        Ok(self.out)
    }

    fn skip_white_space(&mut self, text: &[u8], mut at: usize) -> usize {
        while let Some(&byte) = text.get(at) {
            match byte {
                b' ' | b'\t' | b'\r' => {}
                // A raw line break is white space wherever it is allowed, so lines are counted here only.
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
    fn structure(&mut self, text: &[u8], at: usize) -> Result<usize, Error> {
        let byte = text[at];
        match (self.state, byte) {
            (State::FirstElement, b']') | (State::FirstName, b'}') => {
                self.open.pop();
                self.state = State::AfterValue;
                self.emit(&[byte])?;
            }
            (State::FirstName | State::Name, b'"') => {
                if self.state == State::FirstName {
                    self.line_break()?;
                }
                self.is_name = true;
                return self.copy(Token::String, text, at, at + 1);
            }
            (State::Value | State::FirstElement, _) => return self.value(text, at),
            (State::Colon, b':') => {
                self.state = State::Value;
                self.emit(b": ")?;
            }
            (State::AfterValue, b',') if self.open.depth > 0 => {
                self.state = if self.open.in_object() { State::Name } else { State::Value };
                self.emit(b",")?;
                self.line_break()?;
            }
            (State::AfterValue, b']') if self.open.in_array() => self.close(byte)?,
            (State::AfterValue, b'}') if self.open.in_object() => self.close(byte)?,
            (State::FirstName, _) => return Err(self.unexpected(text, at, "a name or `}`")),
            (State::Name, _) => return Err(self.unexpected(text, at, "a name")),
            (State::Colon, _) => return Err(self.unexpected(text, at, "`:`")),
            (State::AfterValue, _) if self.open.in_object() => {
                return Err(self.unexpected(text, at, "`,` or `}`"));
            }
            (State::AfterValue, _) if self.open.in_array() => {
                return Err(self.unexpected(text, at, "`,` or `]`"));
            }
            (State::AfterValue, _) => {
                return Err(self.unexpected(text, at, "nothing more after the value"));
            }
            (State::Token(token), _) => return self.token(token, text, at),
        }
        Ok(at + 1)
    }

    /// Takes the first byte of a value.
    fn value(&mut self, text: &[u8], at: usize) -> Result<usize, Error> {
        let byte = text[at];
        let token = match byte {
            b'"' => Token::String,
            b'-' => Token::Minus,
            b'0' => Token::Zero,
            b'1'..=b'9' => Token::Integer,
            b't' => Token::Literal(b"rue"),
            b'f' => Token::Literal(b"alse"),
            b'n' => Token::Literal(b"ull"),
            b'[' | b'{' => {
                if self.open.depth == MAX_DEPTH {
                    let problem = format!("arrays and objects are nested deeper than {MAX_DEPTH}");
                    return Err(self.invalid(at, problem));
                }
                self.first_element()?;
                self.open.push(byte == b'{');
                self.state = if byte == b'{' { State::FirstName } else { State::FirstElement };
                self.emit(&[byte])?;
                return Ok(at + 1);
            }
            _ if self.state == State::FirstElement => {
                return Err(self.unexpected(text, at, "a value or `]`"));
            }
            _ => return Err(self.unexpected(text, at, "a value")),
        };
        self.first_element()?;
        self.is_name = false;
        self.copy(token, text, at, at + 1)
    }

    /// Starts the line of the first element of an array.
    fn first_element(&mut self) -> Result<(), Error> {
        if self.state == State::FirstElement { self.line_break() } else { Ok(()) }
    }

    fn close(&mut self, bracket: u8) -> Result<(), Error> {
        self.open.pop();
        self.line_break()?;
        self.emit(&[bracket])
    }

    fn line_break(&mut self) -> Result<(), Error> {
        self.emit(&LINE[..1 + 2 * self.open.depth])
    }

    fn token(&mut self, token: Token, text: &[u8], at: usize) -> Result<usize, Error> {
        self.copy(token, text, at, at)
    }

    /// Goes on with `token` at `at`, until it or the piece ends, and hands on what lies from `start`.
    fn copy(&mut self, mut token: Token, text: &[u8], start: usize, mut at: usize) -> Result<usize, Error> {
        loop {
            if token == Token::String {
                at += plain_run(&text[at..]);
            }
            let Some(&byte) = text.get(at) else {
                self.state = State::Token(token);
                break;
            };
            match self.step(token, byte, text, at)? {
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
        self.emit(&text[start..at])?;
        Ok(at)
    }

    /// What `byte`, the one at `at`, makes of `token`.
    #[inline]
    fn step(&self, token: Token, byte: u8, text: &[u8], at: usize) -> Result<Step, Error> {
        use Step::{Ended, Last, Within};
        use Token::*;
        Ok(match (token, byte) {
            (String, b'"') => Last,
            (String, b'\\') => Within(Escape),
            (String, 0..0x20) => {
                return Err(self.invalid(at, format!("the control character {byte:#04x} is not escaped")));
            }
            (String, _) => Within(String),
            (Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Within(String),
            (Escape, b'u') => Within(Unicode { digits: 0, value: 0 }),
            (Escape, _) => return Err(self.unexpected(text, at, "one of `\"\\/bfnrtu` after a backslash")),
            (Unicode { digits, value }, _) => {
                let value = value << 4 | self.hex_digit(byte, text, at)?;
                match (digits, value) {
                    (0..3, _) => Within(Unicode { digits: digits + 1, value }),
                    (_, 0xD800..=0xDBFF) => Within(TrailingBackslash),
                    (_, 0xDC00..=0xDFFF) => {
                        return Err(self.invalid(at, unpaired(value)));
                    }
                    _ => Within(String),
                }
            }
            (TrailingBackslash, b'\\') => Within(TrailingU),
            (TrailingU, b'u') => Within(TrailingUnicode { digits: 0, value: 0 }),
            (TrailingBackslash | TrailingU, _) => {
                return Err(self.unexpected(text, at, "the escape of the trailing half of a surrogate pair"));
            }
            (TrailingUnicode { digits, value }, _) => {
                let value = value << 4 | self.hex_digit(byte, text, at)?;
                match (digits, value) {
                    (0..3, _) => Within(TrailingUnicode { digits: digits + 1, value }),
                    (_, 0xDC00..=0xDFFF) => Within(String),
                    _ => return Err(self.invalid(at, unpaired(value))),
                }
            }
            (Minus, b'0') => Within(Zero),
            (Minus, b'1'..=b'9') => Within(Integer),
            (Integer, b'0'..=b'9') => Within(Integer),
            (Zero, b'0'..=b'9') => return Err(self.invalid(at, "a number has a leading zero".to_owned())),
            (Zero | Integer, b'.') => Within(Point),
            (Point | Fraction, b'0'..=b'9') => Within(Fraction),
            (Zero | Integer | Fraction, b'e' | b'E') => Within(Exponent),
            (Exponent, b'+' | b'-') => Within(ExponentSign),
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => Within(ExponentDigits),
            (Zero | Integer | Fraction | ExponentDigits, _) => Ended,
            (Minus | Point | Exponent | ExponentSign, _) => return Err(self.unexpected(text, at, "a digit")),
            (Literal(&[next]), _) if byte == next => Last,
            (Literal(&[next, ref rest @ ..]), _) if byte == next => Within(Literal(rest)),
            (Literal(_), _) => return Err(self.unexpected(text, at, "`true`, `false` or `null`")),
        })
    }

    fn hex_digit(&self, byte: u8, text: &[u8], at: usize) -> Result<u16, Error> {
        match char::from(byte).to_digit(16) {
            Some(digit) => Ok(digit as u16),
            None => Err(self.unexpected(text, at, "a hexadecimal digit")),
        }
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > BUFFER - self.buffer.len() {
            self.flush()?;
            if bytes.len() >= BUFFER {
                return Ok(self.out.write_all(bytes)?);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// An error at the byte `at` of the piece being read.
    fn invalid(&self, at: usize, problem: String) -> Error {
        let column = self.consumed + at as u64 - self.line_start + 1;
        Error::Invalid(Invalid { line: self.line, column, problem })
    }

    fn unexpected(&self, text: &[u8], at: usize, expected: &str) -> Error {
        let found = match text[at] {
            byte @ (0..0x20 | 0x7F) => format!("the control character {byte:#04x}"),
            byte @ ..0x80 => format!("`{}`", char::from(byte)),
            _ => "a character beyond ASCII".to_owned(),
        };
        self.invalid(at, format!("{found} where {expected} is expected"))
    }
}

/// What a byte makes of the token it belongs to, or follows.
enum Step {
    /// The token goes on after this byte.
    Within(Token),
    /// This byte is the token's last.
    Last,
    /// The token ended before this byte.
    Ended,
}

fn is_string(token: Token) -> bool {
    use Token::*;
    matches!(token, String | Escape | Unicode { .. } | TrailingBackslash | TrailingU | TrailingUnicode { .. })
}

fn unpaired(value: u16) -> String {
    format!("`\\u{value:04x}` is not part of a surrogate pair")
}

/// How many bytes from the start are neither a quote nor a backslash nor a control character.
fn plain_run(text: &[u8]) -> usize {
    // Sixteen at a time with no branch between them, which compiles to vector instructions.
    let is_special = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    let (blocks, _) = text.as_chunks::<16>();
    let whole = blocks
        .iter()
        .take_while(|block| !block.iter().fold(false, |any, &byte| any | is_special(byte)))
        .count();
    let rest = &text[16 * whole..];
    16 * whole + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}
