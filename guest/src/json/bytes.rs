//! Text that arrives as bytes.

use super::{Error, Formatter, Sink};

/// A [`Formatter`] that takes bytes, and checks that they are UTF-8, wherever the pieces are cut.
pub struct Bytes<W> {
    formatter: Formatter<W>,
    /// The start of a character whose other bytes are still to come.
    begun: Vec<u8>,
}

impl<W: Sink> Bytes<W> {
    /// As [`Formatter::new`].
    pub fn new(out: W) -> Self {
        Formatter::new(out).into()
    }

    /// Takes the next piece of the text, which is known to be UTF-8.
    pub fn push_text(&mut self, piece: &str) -> Result<(), Error> {
        if self.begun.is_empty() { self.formatter.push(piece) } else { self.push(piece.as_bytes()) }
    }

    /// Takes the next piece of the text.
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
                    return Err(match rest {
                        // In UTF-8, no byte is either of them.
                        [0xFE | 0xFF, ..] if self.formatter.core.consumed == 0 => {
                            self.formatter.invalid("the text starts as UTF-16, and not as UTF-8".to_owned())
                        }
                        _ => self.not_utf8(),
                    });
                }
                self.begun.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    /// Takes the end of the text.
    pub fn finish(self) -> Result<W, Error> {
        if self.begun.is_empty() { self.formatter.finish() } else { Err(self.not_utf8()) }
    }

    /// What was taken last is not UTF-8, or not all of it.
    fn not_utf8(&self) -> Error {
        self.formatter.invalid("a byte is not UTF-8".to_owned())
    }
}

impl<W> From<Formatter<W>> for Bytes<W> {
    fn from(formatter: Formatter<W>) -> Self {
        Bytes { formatter, begun: Vec::with_capacity(4) }
    }
}
