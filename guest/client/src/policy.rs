//! When to make a snapshot.

use std::time::Duration;

/// When a component creates its next snapshot: after so many log records, or after a while in which any came.
///
/// It is a function of what the component counts, without a thread, a clock or a state of its own.
///
/// ```
/// use std::time::Duration;
/// use minisnap_client::SnapshotPolicy;
///
/// const POLICY: SnapshotPolicy = SnapshotPolicy::every(1000).or_after(Duration::from_secs(60));
///
/// // After each record: how many came since the last snapshot, and how long ago that was made.
/// assert!(POLICY.due(1000, Duration::ZERO));
/// assert!(POLICY.due(1, Duration::from_secs(60)));
/// assert!(!POLICY.due(999, Duration::from_secs(59)));
/// assert!(!POLICY.due(0, Duration::from_secs(3600)), "there is nothing new");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    records: u64,
    time: Option<Duration>,
}

impl SnapshotPolicy {
    /// A snapshot after so many records; 0 is taken for 1.
    pub const fn every(records: u64) -> Self {
        SnapshotPolicy { records, time: None }
    }

    /// Or after this time, if any record came.
    pub const fn or_after(self, time: Duration) -> Self {
        SnapshotPolicy { time: Some(time), ..self }
    }

    /// Whether the next snapshot is due: `records` came since the last one, which was made `elapsed` ago.
    pub fn due(&self, records: u64, elapsed: Duration) -> bool {
        records > 0 && (records >= self.records || self.time.is_some_and(|time| elapsed >= time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_snapshot_is_due_by_records_or_by_time_and_never_without_a_record() {
        let by_records = SnapshotPolicy::every(3);
        assert!(!by_records.due(2, Duration::MAX) && by_records.due(3, Duration::ZERO));
        assert!(by_records.due(u64::MAX, Duration::ZERO));
        let by_both = by_records.or_after(HOUR);
        assert!(!by_both.due(2, HOUR - Duration::from_nanos(1)) && by_both.due(1, HOUR));
        for policy in
            [by_records, by_both, SnapshotPolicy::every(0), SnapshotPolicy::every(0).or_after(Duration::ZERO)]
        {
            assert!(!policy.due(0, Duration::MAX), "{policy:?}");
        }
        assert!(SnapshotPolicy::every(0).due(1, Duration::ZERO));
    }
}
