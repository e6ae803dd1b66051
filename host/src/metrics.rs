//! What happens, as metrics of the crate `metrics`, for whatever recorder the host has installed.

use std::time::Duration;

use crate::error::Error;
use crate::grant::Grant;

/// What has happened.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "nothing is counted"))]
pub(crate) enum Event<'e> {
    /// A snapshot was created of a state of so many bytes.
    Created(u64),
    /// A state of so many bytes was restored, or opened to be read.
    Restored(u64),
    /// So many damaged generations were skipped for it.
    Skipped(usize),
    /// So many files that a crash had left were finished or removed.
    Settled(u64),
    /// So many generations were pruned.
    Pruned(u64),
    /// A call failed.
    Failed(&'e Error),
    /// A call of the component took so long.
    Called(&'static str, Duration),
    /// A call of the component was interrupted.
    Interrupted,
    /// An instance of the component was made.
    Made,
    /// One has ended.
    Ended,
    /// One that was idle was dropped for another.
    Evicted,
}

/// Whose it is.
#[cfg(feature = "metrics")]
#[derive(Clone)]
pub(crate) struct Labels(Vec<metrics::Label>);

#[cfg(feature = "metrics")]
impl Labels {
    pub(crate) fn of(grant: &Grant) -> Self {
        let label = |key, value: &Option<String>| Some(metrics::Label::new(key, value.clone()?));
        let labels = [label("component", &grant.component), label("instance", &grant.instance)];
        Labels(labels.into_iter().flatten().collect())
    }

    pub(crate) fn count(&self, event: Event<'_>) {
        use metrics::{Label, counter, gauge, histogram};
        let Labels(labels) = self;
        let with =
            |key, value: &'static str| labels.iter().cloned().chain([Label::new(key, value)]).collect();
        let labels = || labels.clone();
        match event {
            Event::Created(bytes) => {
                counter!("minisnap_creates_total", labels()).increment(1);
                counter!("minisnap_create_bytes_total", labels()).increment(bytes);
            }
            Event::Restored(bytes) => {
                counter!("minisnap_restores_total", labels()).increment(1);
                counter!("minisnap_restore_bytes_total", labels()).increment(bytes);
            }
            Event::Skipped(count) => counter!("minisnap_skipped_total", labels()).increment(count as u64),
            Event::Settled(count) => counter!("minisnap_settled_total", labels()).increment(count),
            Event::Pruned(count) => counter!("minisnap_pruned_total", labels()).increment(count),
            // An answer, and no failure.
            Event::Failed(Error::NotFound) => {}
            Event::Failed(error) => {
                let labels: Vec<Label> = with("case", error.case());
                counter!("minisnap_errors_total", labels).increment(1);
            }
            Event::Called(call, time) => {
                let labels: Vec<Label> = with("call", call);
                histogram!("minisnap_call_duration_seconds", labels).record(time);
            }
            Event::Interrupted => counter!("minisnap_calls_interrupted_total", labels()).increment(1),
            Event::Made => gauge!("minisnap_instances", labels()).increment(1),
            Event::Ended => gauge!("minisnap_instances", labels()).decrement(1),
            Event::Evicted => counter!("minisnap_instances_evicted_total", labels()).increment(1),
        }
    }
}

/// Tells the recorder what each metric is. A host calls this once it has installed one, before it opens a store: instances that
/// were made before are not counted as alive.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    for (name, unit, what) in [
        ("minisnap_creates_total", Unit::Count, "Snapshots that were created"),
        ("minisnap_create_bytes_total", Unit::Bytes, "The size of their states, as given"),
        ("minisnap_restores_total", Unit::Count, "Snapshots that were restored, or opened to be read"),
        ("minisnap_restore_bytes_total", Unit::Bytes, "The size of their states"),
        ("minisnap_skipped_total", Unit::Count, "Damaged generations that a restore skipped"),
        (
            "minisnap_settled_total",
            Unit::Count,
            "Files left of a crash that a store found when it was written first, or settled",
        ),
        ("minisnap_pruned_total", Unit::Count, "Generations that were pruned"),
        ("minisnap_errors_total", Unit::Count, "Calls that failed, by the case of their error"),
        (
            "minisnap_calls_interrupted_total",
            Unit::Count,
            "Calls of the store component that were ended at their deadline",
        ),
        ("minisnap_instances_evicted_total", Unit::Count, "Idle instances that were dropped for others"),
    ] {
        describe_counter!(name, unit, what);
    }
    describe_gauge!("minisnap_instances", Unit::Count, "Instances of the store component that are alive");
    let duration = "How long calls of the store component took, by their function";
    describe_histogram!("minisnap_call_duration_seconds", Unit::Seconds, duration);
}

/// Without the feature `metrics`, nothing is counted.
#[cfg(not(feature = "metrics"))]
#[derive(Clone)]
pub(crate) struct Labels;

#[cfg(not(feature = "metrics"))]
impl Labels {
    pub(crate) fn of(_: &Grant) -> Self {
        Labels
    }

    #[expect(clippy::unused_self, reason = "with the feature, it is whose the event is")]
    pub(crate) fn count(&self, _: Event<'_>) {}
}
