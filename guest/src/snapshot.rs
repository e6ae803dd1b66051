//! What a store is told, and what it returns.

use std::num::NonZeroU32;
use std::time::SystemTime;

use crate::catalog::Layout;

/// What the grant says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The layout of a directory that holds no snapshot; another keeps the one it has.
    pub layout: Layout,
    /// How many generations to keep in the numbered layout, the newest included; [`KEEP`](Self::KEEP) if the host does
    /// not say, and then only of this store's own.
    pub keep: Option<NonZeroU32>,
    /// The largest state in bytes, as given and as stored.
    pub max_state: u64,
    /// The most that the directory may hold in bytes.
    ///
    /// A new snapshot must fit beside the newest one; older generations are removed once it is durable. Until then,
    /// the directory may hold those as well.
    pub max_total: u64,
}

impl Settings {
    /// How many generations are kept if the host does not say.
    pub const KEEP: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");
}

impl Default for Settings {
    /// The pair layout, five generations of the other, and no limit but the memory and the disk.
    fn default() -> Self {
        Settings { layout: Layout::Pair, keep: None, max_state: u64::MAX, max_total: u64::MAX }
    }
}

/// One committed pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The state: one JSON value.
    pub state: String,
    /// The number of the last log record that the state contains.
    pub seq: u64,
    /// When it was written, where the file system has that.
    pub modified: Option<SystemTime>,
    /// What its sums said.
    pub soundness: Soundness,
    /// The newer generations that are damaged, newest first.
    pub skipped: Vec<Skipped>,
}

/// A generation that could not be returned, since it is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its sequence number.
    pub seq: u64,
    /// What is wrong, with the name of the file.
    pub problem: String,
}

/// What is known of a snapshot without its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The sequence number.
    pub seq: u64,
    /// The size in bytes of the state, as it is restored; of the file, if it is damaged.
    pub size: u64,
    /// When it was written, where the file system has that.
    pub modified: Option<SystemTime>,
    /// The layout of the directory.
    pub layout: Layout,
    /// What the sums said.
    pub soundness: Soundness,
}

/// What is known of the contents of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// Every byte is as this store wrote it.
    Verified,
    /// Another program wrote it, and there is no sum to check it by.
    Unverified,
    /// It cannot be restored; what is wrong, with the name of the file.
    Damaged(String),
    /// It cannot be read now; what the system said, with the name of the file.
    Unreadable(String),
}
