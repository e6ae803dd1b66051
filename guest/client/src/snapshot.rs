//! What a store returns, and how it is converted from what the WIT calls it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::wit;

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<S = String> {
    /// The state: as text, exactly as it was laid out, or typed.
    pub state: S,
    /// The number of the last log record that the state contains.
    pub seq: u64,
    /// When it was written, to the millisecond, if the file system tells.
    pub modified: Option<SystemTime>,
    /// Whether its sums vouch for it: [`Verified`](Soundness::Verified) or [`Unverified`](Soundness::Unverified).
    pub soundness: Soundness,
    /// The newer generations that are damaged, newest first; empty if this is the newest. The log records after `seq`
    /// are needed to replay what they contained.
    pub skipped: Vec<Skipped>,
}

impl Snapshot {
    /// Reads the state's text as a `T`.
    ///
    /// # Errors
    ///
    /// [`Error::Type`](crate::Error::Type) if it is none.
    pub fn parse<T: DeserializeOwned>(self) -> Result<Snapshot<T>> {
        let Snapshot { state, seq, modified, soundness, skipped } = self;
        Ok(Snapshot { state: serde_json::from_str(&state)?, seq, modified, soundness, skipped })
    }
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
    /// When it was written, to the millisecond, if the file system tells.
    pub modified: Option<SystemTime>,
    /// What the sums said, after every byte was read.
    pub soundness: Soundness,
}

/// What is known of the contents of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Soundness {
    /// Every byte is as the store component wrote it.
    Verified,
    /// Another program wrote it, and there is no sum to check it by.
    Unverified,
    /// It cannot be restored; what is wrong, with the name of the file.
    Damaged(String),
    /// The system cannot read it now, which may pass; what it said, with the name of the file.
    Unreadable(String),
}

impl From<wit::Snapshot> for Snapshot {
    fn from(wit::Snapshot { state, seq, modified, soundness, skipped }: wit::Snapshot) -> Self {
        let skipped = skipped.into_iter().map(Into::into).collect();
        Snapshot { state, seq, modified: time(modified), soundness: soundness.into(), skipped }
    }
}

impl From<wit::SkippedSnapshot> for Skipped {
    fn from(wit::SkippedSnapshot { seq, problem }: wit::SkippedSnapshot) -> Self {
        Skipped { seq, problem }
    }
}

impl From<wit::SnapshotInfo> for Info {
    fn from(wit::SnapshotInfo { seq, size, modified, soundness }: wit::SnapshotInfo) -> Self {
        Info { seq, size, modified: time(modified), soundness: soundness.into() }
    }
}

impl From<wit::Soundness> for Soundness {
    fn from(soundness: wit::Soundness) -> Self {
        match soundness {
            wit::Soundness::Verified => Soundness::Verified,
            wit::Soundness::Unverified => Soundness::Unverified,
            wit::Soundness::Damaged(problem) => Soundness::Damaged(problem),
            wit::Soundness::Unreadable(problem) => Soundness::Unreadable(problem),
        }
    }
}

/// Of the milliseconds since the epoch.
fn time(milliseconds: Option<u64>) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds?))
}
