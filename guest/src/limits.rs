//! How much a snapshot may take.

use crate::error::{Error, Result};

/// What a snapshot that is being made may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The largest state, as stored.
    pub max_state: u64,
    /// The most that the directory may hold.
    pub max_total: u64,
    /// The most that all of the snapshot may add to it.
    pub room: u64,
}

impl Allowance {
    /// Whatever fits onto the disk.
    pub const ALL: Allowance = Allowance { max_state: u64::MAX, max_total: u64::MAX, room: u64::MAX };

    /// What is left for the state when `bytes` are needed beside it.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](Error::NoSpace) if nothing is.
    pub fn without(self, bytes: u64) -> Result<Self> {
        match self.room.checked_sub(bytes) {
            Some(room) if room > 0 => Ok(Allowance { room, ..self }),
            _ => Err(self.full()),
        }
    }

    #[cold]
    fn full(self) -> Error {
        let Allowance { max_total, room, .. } = self;
        Error::NoSpace(format!(
            "the directory may hold {max_total} bytes, of which {room} are left beside the newest snapshot and what is not \
             the store's: the new snapshot needs more"
        ))
    }

    /// Whether a state of `size` bytes may be stored.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](Error::TooLarge) or [`NoSpace`](Error::NoSpace).
    pub fn check(&self, size: u64) -> Result<()> {
        if size > self.max_state {
            Err(Error::TooLarge(self.max_state))
        } else if size > self.room {
            Err(self.full())
        } else {
            Ok(())
        }
    }
}
