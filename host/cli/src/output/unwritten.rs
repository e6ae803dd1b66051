//! Why an output was not written.

use std::io;

use crate::failure::Failure;

/// Why an output was not written.
pub enum Unwritten {
    /// Writing it failed.
    Output(io::Error),
    /// Producing it failed.
    Source(Failure),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Unwritten::Output(error)
    }
}
