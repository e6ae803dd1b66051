//! What is wrong in a file that an administrator or a component's author writes, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::spelling::nearest;

/// A mistake in a grants file or a manifest: where it is, what it is, and what to do about it.
///
/// Displays as `FILE:LINE:COLUMN: WHAT`, in one line; [`help`](Diagnostic::help) is for a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Diagnostic {
    place: Place,
    what: String,
    help: String,
}

/// A result whose error is a mistake in a file.
pub type Result<T> = std::result::Result<T, Diagnostic>;

impl Diagnostic {
    pub(crate) fn new(place: Place, what: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnostic { place, what: what.into(), help: help.into() }
    }

    /// A file that cannot be read at all.
    pub(crate) fn unreadable(file: &Path, error: &io::Error, help: &str) -> Self {
        Diagnostic::new(Place::file(file), format!("cannot read it: {error}"), help)
    }

    /// The file, as it was named.
    pub fn file(&self) -> &Path {
        &self.place.file
    }

    /// The line, from 1 on, or `None` if it is the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.place.position.map(|(line, _)| line)
    }

    /// The column in characters, from 1 on, or `None` if it is the file as a whole.
    pub fn column(&self) -> Option<usize> {
        self.place.position.map(|(_, column)| column)
    }

    /// What is wrong.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    pub fn help(&self) -> &str {
        &self.help
    }
}

/// A place in a file: displays as `FILE:LINE:COLUMN`, or as `FILE` if it is the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    /// The line and the column, from 1 on.
    position: Option<(usize, usize)>,
}

impl Place {
    pub(crate) fn file(file: &Path) -> Self {
        Place { file: file.to_owned(), position: None }
    }

    /// The line, from 1 on, or `None` if it is the file as a whole.
    pub(crate) fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.position.map_or(Ok(()), |(line, column)| write!(f, ":{line}:{column}"))
    }
}

/// The text of a file, in which places are looked up.
pub(crate) struct Source<'t> {
    pub(crate) file: &'t Path,
    pub(crate) text: &'t str,
}

impl Source<'_> {
    /// Where the byte range of the text begins.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Place { file: self.file.to_owned(), position: Some((line, column)) }
    }

    /// What the parser says, with what it expected as the help.
    pub(crate) fn mistake(&self, error: &toml::de::Error) -> Diagnostic {
        let place = error.span().map_or_else(|| Place::file(self.file), |span| self.place(&span));
        let message = error.message().trim_end();
        // Of the keys of a variant, toml says it in words of its own.
        let message = match message.strip_prefix("unexpected keys in table: ") {
            Some(keys) => &in_words_of_serde(keys),
            None => message,
        };
        let (what, help) = match message.split_once(", expected ") {
            Some((what, expected)) => {
                (what, right_spelling(what, expected).unwrap_or_else(|| format!("give {expected}")))
            }
            None => (message, "correct the file there".to_owned()),
        };
        match error.span().and_then(|span| self.key_before(&span)) {
            Some(key) => Diagnostic::new(place, format!("`{key}`: {what}"), help),
            None => Diagnostic::new(place, what, help),
        }
    }

    /// The key of the value that begins there, if it is in the same line.
    fn key_before(&self, span: &Range<usize>) -> Option<&str> {
        let line = self.text.get(..span.start)?.rsplit('\n').next()?;
        Some(line.trim_end().strip_suffix('=')?.trim()).filter(|key| !key.is_empty())
    }
}

/// `KEY, ..., available keys: KEY, ...`, as serde says it of a struct.
fn in_words_of_serde(keys: &str) -> String {
    let (found, known) = keys.split_once(", available keys: ").unwrap_or((keys, ""));
    let quoted = |keys: &str| keys.split(", ").map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let first = found.split(", ").find(|key| !known.split(", ").any(|known| known == *key));
    format!("unknown field `{}`, expected one of {}", first.unwrap_or(found), quoted(known))
}

/// What to write instead of an unknown key or value, if one of those that are `expected` is near it.
fn right_spelling(what: &str, expected: &str) -> Option<String> {
    let quoted = |text: &'_ str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let unknown = what.strip_prefix("unknown ").map(quoted)?;
    let known = quoted(expected);
    let right = nearest(unknown.first()?, known.iter().map(String::as_str))?;
    Some(format!("write `{right}`, or another of {}", expected.strip_prefix("one of ").unwrap_or(expected)))
}
