//! The tokens of JSON: strings, numbers and literals, a byte at a time.

use crate::block::{self, Block};

/// How far a token has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    String,
    /// After a backslash.
    Escape,
    /// In `\uXXXX`: how many of the four digits have been read, and their value; and whether it follows a leading surrogate.
    Unicode {
        digits: u8,
        value: u16,
        is_trailing: bool,
    },
    /// After the escape of a leading surrogate: `\`, then `u`; the digits of the trailing one are `Unicode`.
    TrailingBackslash,
    TrailingU,
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

/// What a byte makes of the token that it belongs to, or follows.
pub(super) enum Step {
    /// The token goes on after this byte.
    Within(Token),
    /// This byte is the token's last.
    Last,
    /// The token ended before this byte.
    Ended,
}

/// Why a byte cannot follow.
pub(super) enum Problem {
    /// Something else is expected in its place.
    Expected(&'static str),
    /// It is a control character within a string.
    NotEscaped,
    /// Anything else.
    Other(&'static str),
}

impl Token {
    /// The token that starts with `byte`, if one does.
    pub(super) fn start(byte: u8) -> Option<Token> {
        Some(match byte {
            b'"' => Token::String,
            b'-' => Token::Minus,
            b'0' => Token::Zero,
            b'1'..=b'9' => Token::Integer,
            b't' => Token::Literal(b"rue"),
            b'f' => Token::Literal(b"alse"),
            b'n' => Token::Literal(b"ull"),
            _ => return None,
        })
    }

    /// What is missing where the text ends in the token, or `None` if nothing is.
    pub(super) fn missing(self) -> Option<&'static str> {
        use Token::*;
        match self {
            Zero | Integer | Fraction | ExponentDigits => None,
            Minus | Point | Exponent | ExponentSign => Some("a digit"),
            Literal(_) => Some("the rest of a literal"),
            String | Escape | Unicode { .. } | TrailingBackslash | TrailingU => Some("the rest of a string"),
        }
    }

    /// What `byte` makes of the token.
    #[inline]
    pub(super) fn step(self, byte: u8) -> Result<Step, Problem> {
        use Problem::{Expected, NotEscaped, Other};
        use Step::{Ended, Last, Within};
        use Token::*;
        Ok(match (self, byte) {
            (String, b'"') => Last,
            (String, b'\\') => Within(Escape),
            (String, 0..0x20) => return Err(NotEscaped),
            (String, _) => Within(String),
            (Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Within(String),
            (Escape, b'u') => Within(Unicode { digits: 0, value: 0, is_trailing: false }),
            (Escape, _) => return Err(Expected("one of `\"\\/bfnrtu` after a backslash")),
            (Unicode { digits, value, is_trailing }, _) => {
                let value = value << 4 | hex_digit(byte)?;
                match (value, is_trailing) {
                    _ if digits < 3 => Within(Unicode { digits: digits + 1, value, is_trailing }),
                    (0xD800..=0xDBFF, false) => Within(TrailingBackslash),
                    (0xDC00..=0xDFFF, true) => Within(String),
                    (0xDC00..=0xDFFF, false) | (_, true) => return Err(LONE_SURROGATE),
                    (_, false) => Within(String),
                }
            }
            (TrailingBackslash, b'\\') => Within(TrailingU),
            (TrailingU, b'u') => Within(Unicode { digits: 0, value: 0, is_trailing: true }),
            (TrailingBackslash | TrailingU, _) => return Err(LONE_SURROGATE),
            (Minus, b'0') => Within(Zero),
            (Minus, b'1'..=b'9') => Within(Integer),
            (Integer, b'0'..=b'9') => Within(Integer),
            (Zero, b'0'..=b'9') => return Err(Other("a number has a leading zero")),
            (Zero | Integer, b'.') => Within(Point),
            (Point | Fraction, b'0'..=b'9') => Within(Fraction),
            (Zero | Integer | Fraction, b'e' | b'E') => Within(Exponent),
            (Exponent, b'+' | b'-') => Within(ExponentSign),
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => Within(ExponentDigits),
            (Zero | Integer | Fraction | ExponentDigits, _) => Ended,
            (Minus | Point | Exponent | ExponentSign, _) => return Err(Expected("a digit")),
            (Literal(&[next]), _) if byte == next => Last,
            (Literal(&[next, ref rest @ ..]), _) if byte == next => Within(Literal(rest)),
            (Literal(_), _) => return Err(Expected("`true`, `false` or `null`")),
        })
    }
}

fn hex_digit(byte: u8) -> Result<u16, Problem> {
    match char::from(byte).to_digit(16) {
        Some(digit) => Ok(digit as u16),
        None => Err(Problem::Expected("a hexadecimal digit")),
    }
}

/// The grammar of RFC 8259 allows it, but it is no character, and most programs refuse it, serde_json among them.
const LONE_SURROGATE: Problem =
    Problem::Other("the escape of a lone surrogate, which is half of a character");

/// How many bytes from the start are neither a quote nor a backslash nor a control character.
pub(super) fn plain_run(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = Block::load(text, at) {
        let special = block.special();
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += block::SIZE;
    }
    let is_special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    at + text[at..].iter().position(is_special).unwrap_or(text.len() - at)
}
