//! Where formatted text goes.

use crate::error::Result;

/// What takes formatted text.
pub trait Sink {
    /// Takes what comes next, all of it.
    fn take(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Sink for Vec<u8> {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Of which only the errors count.
pub struct Nowhere;

impl Sink for Nowhere {
    fn take(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}
