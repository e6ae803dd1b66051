//! The files of the pair layout: their names, and how they are opened.

use std::io::{self, Read};

use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};

/// The state, as JSON.
pub const STATE: &str = "snapshot.json";
/// The sequence number, in decimal.
pub const SEQ: &str = "snapshot.seq";
/// The sums of the two.
pub const SUMS: &str = "snapshot.sum";

/// The files of a snapshot.
pub const ALL: [&str; 3] = [STATE, SEQ, SUMS];

/// Where a snapshot is made; what lies here was never committed.
pub const TMP: &str = "snapshot.tmp";
/// Where a committed snapshot waits to be moved into place.
pub const COMMIT: &str = "snapshot.commit";

/// Where native minisnap 0.1.2 makes the state.
pub const NATIVE_STATE_TMP: &str = "snapshot.json.tmp";
/// Where native minisnap 0.1.2 makes the number.
pub const NATIVE_SEQ_TMP: &str = "snapshot.seq.tmp";

/// How the directory itself is called in messages.
pub const WHOLE: &str = ".";

/// Numbers and sums are far shorter than this many bytes.
const SMALL: usize = 1024;

/// A name, and what lies there. Two that are equal are taken for the same, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name.
    pub name: String,
    /// What lies there, if anything does.
    pub entry: Option<Entry>,
}

impl Place {
    /// Looks what lies under `name`.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn look<D: Dir>(dir: &D, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let entry = dir.entry(&name).map_err(|e| Error::io("look at", &name, &e))?;
        Ok(Place { name, entry })
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.entry.is_none()
    }

    /// Whether there is a directory.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if there is something else.
    pub fn is_dir(&self) -> Result<bool> {
        match self.entry {
            None => Ok(false),
            Some(Entry { kind: Kind::Dir, .. }) => Ok(true),
            Some(_) => Err(Error::Io(format!(
                "`{}` is not a directory, so it is not this store's: move it away",
                self.name
            ))),
        }
    }

    /// Checks that there is a regular file or nothing.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](Error::Corrupt) if there is something else, which opening could block or lead elsewhere.
    pub fn check_file(&self) -> Result<()> {
        match self.entry {
            None | Some(Entry { kind: Kind::File, .. }) => Ok(()),
            Some(_) => Err(Error::Corrupt(format!("`{}` is not a regular file: move it away", self.name))),
        }
    }

    /// Opens the file, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`check_file`](Self::check_file); [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
    pub fn open<D: Dir>(&self, dir: &D) -> Result<Option<D::Reader>> {
        self.check_file()?;
        if self.is_empty() {
            return Ok(None);
        }
        let name = &self.name;
        match dir.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some).map_err(|e| Error::io("open", name, &e)),
        }
    }

    /// Reads a file that is short by its nature, or too much of one that is not, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn read_small<D: Dir>(&self, dir: &D) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(dir)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(SMALL as u64 + 1).read_to_end(&mut text).map_err(|e| Error::io("read", &self.name, &e))?;
        Ok(Some(text))
    }
}

/// Reads the contents of a number's file: decimal digits, with white space around them.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt), naming the file `name`.
pub fn parse_seq(text: &[u8], name: &str) -> Result<u64> {
    let whole = if text.len() <= SMALL { text } else { &[] };
    let digits = str::from_utf8(whole).map(str::trim).unwrap_or_default();
    let seq = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse());
    let Some(Ok(seq)) = seq else {
        return Err(Error::Corrupt(format!(
            "`{name}` does not hold a decimal number below 2^64: write the number of the last log record \
             that `{STATE}` contains into it, or take both files from a backup"
        )));
    };
    Ok(seq)
}

/// Whether a file of this name is a snapshot in the layout of minisnap 0.1.3: a number of 20 digits.
pub fn is_numbered(name: &str) -> bool {
    let number = name.strip_prefix("snapshot_").and_then(|name| name.strip_suffix(".json"));
    number.is_some_and(|digits| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_decimal_digits_with_white_space_around_them() {
        assert_eq!(parse_seq(b"7", SEQ), Ok(7));
        assert_eq!(parse_seq(b" \t7\r\n", SEQ), Ok(7));
        assert_eq!(parse_seq(b"00", SEQ), Ok(0));
        assert_eq!(parse_seq(b"18446744073709551615", SEQ), Ok(u64::MAX));
        for text in ["", " ", "+7", "-7", "7 7", "7.0", "0x7", "18446744073709551616", "٧", "7\0"] {
            assert!(matches!(parse_seq(text.as_bytes(), SEQ), Err(Error::Corrupt(_))), "{text:?}");
        }
        assert!(matches!(parse_seq(b"\xFF", SEQ), Err(Error::Corrupt(_))));
        assert!(matches!(
            parse_seq(format!("7{}9", " ".repeat(2000)).as_bytes(), SEQ),
            Err(Error::Corrupt(_))
        ));
    }
}
