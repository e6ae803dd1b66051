//! Why a text was not taken.

use std::fmt;

use crate::error;

/// Why a text was not taken.
#[derive(Debug)]
pub enum Error {
    /// It is not one JSON value.
    Invalid(Invalid),
    /// The formatted text was not taken.
    Refused(error::Error),
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

impl From<error::Error> for Error {
    fn from(error: error::Error) -> Self {
        Error::Refused(error)
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(invalid) => error::Error::InvalidState(invalid.to_string()),
            Error::Refused(error) => error,
        }
    }
}
