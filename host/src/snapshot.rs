//! What a store returns, and how it is converted from and to what the two sides of the WIT call it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::{export, import, maintenance};

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

/// A generation that was got into the directory.
pub(crate) struct Fetched {
    pub(crate) seq: u64,
    /// What it is called where it is.
    pub(crate) key: String,
    /// The numbers of the older ones, newest first.
    pub(crate) older: Vec<u64>,
    /// Those that are newer, and damaged.
    pub(crate) skipped: Vec<Skipped>,
}

/// A generation that is there.
pub(crate) struct Listed {
    pub(crate) seq: u64,
    /// What it is called where it is.
    pub(crate) key: String,
    /// The size of its file in bytes.
    pub(crate) size: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// How snapshots are laid out on the disk; displayed and parsed as `pair` and `numbered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arcella", derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Layout {
    /// The files of minisnap 0.1.0 to 0.1.2, with their sums: the newest snapshot.
    Pair,
    /// The files of minisnap 0.1.3, each with its sum: the newest generations.
    Numbered,
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

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Pair => "pair",
            Layout::Numbered => "numbered",
        })
    }
}

impl From<export::Snapshot> for Snapshot {
    fn from(export::Snapshot { state, seq, modified, soundness, skipped }: export::Snapshot) -> Self {
        let skipped = skipped.into_iter().map(Into::into).collect();
        Snapshot { state, seq, modified: time(modified), soundness: soundness.into(), skipped }
    }
}

impl From<export::SkippedSnapshot> for Skipped {
    fn from(export::SkippedSnapshot { seq, problem }: export::SkippedSnapshot) -> Self {
        Skipped { seq, problem }
    }
}

impl From<export::SnapshotInfo> for Info {
    fn from(info: export::SnapshotInfo) -> Self {
        let export::SnapshotInfo { seq, size, modified, soundness } = info;
        Info { seq, size, modified: time(modified), soundness: soundness.into() }
    }
}

impl From<export::Soundness> for Soundness {
    fn from(soundness: export::Soundness) -> Self {
        match soundness {
            export::Soundness::Verified => Soundness::Verified,
            export::Soundness::Unverified => Soundness::Unverified,
            export::Soundness::Damaged(problem) => Soundness::Damaged(problem),
            export::Soundness::Unreadable(problem) => Soundness::Unreadable(problem),
        }
    }
}

impl From<maintenance::Layout> for Layout {
    fn from(layout: maintenance::Layout) -> Self {
        match layout {
            maintenance::Layout::Pair => Layout::Pair,
            maintenance::Layout::Numbered => Layout::Numbered,
        }
    }
}

impl From<Snapshot> for import::Snapshot {
    fn from(Snapshot { state, seq, modified, soundness, skipped }: Snapshot) -> Self {
        let skipped = skipped.into_iter().map(Into::into).collect();
        import::Snapshot {
            state,
            seq,
            modified: milliseconds(modified),
            soundness: soundness.into(),
            skipped,
        }
    }
}

impl From<Skipped> for import::SkippedSnapshot {
    fn from(Skipped { seq, problem }: Skipped) -> Self {
        import::SkippedSnapshot { seq, problem }
    }
}

impl From<Info> for import::SnapshotInfo {
    fn from(Info { seq, size, modified, soundness }: Info) -> Self {
        import::SnapshotInfo { seq, size, modified: milliseconds(modified), soundness: soundness.into() }
    }
}

impl From<Soundness> for import::Soundness {
    fn from(soundness: Soundness) -> Self {
        match soundness {
            Soundness::Verified => import::Soundness::Verified,
            Soundness::Unverified => import::Soundness::Unverified,
            Soundness::Damaged(problem) => import::Soundness::Damaged(problem),
            Soundness::Unreadable(problem) => import::Soundness::Unreadable(problem),
        }
    }
}

/// Of the milliseconds since the epoch.
fn time(milliseconds: Option<u64>) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds?))
}

/// Since the epoch.
fn milliseconds(time: Option<SystemTime>) -> Option<u64> {
    u64::try_from(time?.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}
