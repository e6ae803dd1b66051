//! What is counted of calls and instances, as an embedder's recorder gets it.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use minisnap_host::{Error, Grant, Layout, describe_metrics};
use minisnap_tests::{COUNTER, built, cached, cached_builder, minisnap, run, scratch};

/// The metrics of what is done, as lines of Prometheus.
fn recorded(act: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe_metrics();
        act();
    });
    recorder.handle().render()
}

/// A metric of the instance eu-1 of the component ledger.
#[track_caller]
fn assert_counts(metrics: &str, name: &str, label: &str, value: u64) {
    let line = format!("minisnap_{name}{{component=\"ledger\",instance=\"eu-1\"{label}}} {value}\n");
    assert!(metrics.contains(&line), "{line}{metrics}");
    let family = name.strip_suffix("_count").unwrap_or(name);
    assert!(metrics.contains(&format!("# HELP minisnap_{family} ")), "{family}: {metrics}");
}

fn ledger(dir: &Path) -> Grant {
    let grant = Grant::new(dir).layout(Layout::Numbered).keep(NonZeroU32::new(2).unwrap());
    grant.component("ledger").instance("eu-1")
}

#[test]
fn what_a_store_does_is_counted_for_its_component_and_instance() {
    let scratch = scratch();
    let dir = scratch.path().join("s");
    // Whose idle instances no other test makes it drop.
    let minisnap = cached();
    let metrics = recorded(|| {
        let mut store = minisnap.open(ledger(&dir).stores(1).max_state(100)).unwrap();
        for seq in 1..=4 {
            store.create_text("[1]", seq).unwrap();
        }
        let mut writer = store.open_writer(5).unwrap();
        writer.write_chunk(b"[1, ").unwrap();
        writer.write_chunk(b"2]").unwrap();
        writer.commit().unwrap();
        assert!(matches!(store.create_text("1", 1), Err(Error::Stale(5))));
        assert!(matches!(store.create_text(&"1".repeat(101), 9), Err(Error::TooLarge(100))));
        assert!(matches!(minisnap.open(ledger(&dir)), Err(Error::Busy(_))));
        let newest = dir.join("snapshot_00000000000000000005.json");
        fs::write(&newest, fs::read_to_string(&newest).unwrap().replace('2', "3")).unwrap();
        assert_eq!(store.restore_text().unwrap().seq, 4);
        assert_eq!(store.open_reader().unwrap().info().seq, 4);
        drop(store);
        fs::write(dir.join("snapshot_00000000000000000009.json.tmp"), "").unwrap();
        let mut store = minisnap.open(ledger(&dir)).unwrap();
        assert_eq!(store.settle().unwrap(), 1);
        let mut reader = minisnap.open(ledger(&dir).read_only()).unwrap();
        assert!(matches!(reader.create_text("1", 9), Err(Error::AccessDenied(_))));
        assert!(matches!(reader.restore_text_at(77), Err(Error::NotFound)));
    });
    for (name, label, value) in [
        ("creates_total", "", 5),
        ("create_bytes_total", "", 4 * 3 + 6),
        ("pruned_total", "", 3),
        ("restores_total", "", 2),
        // As they are stored.
        ("restore_bytes_total", "", 2 * "[\n  1\n]".len() as u64),
        ("skipped_total", "", 2),
        ("settled_total", "", 1),
        ("errors_total", ",case=\"stale\"", 1),
        ("errors_total", ",case=\"too-large\"", 1),
        ("errors_total", ",case=\"busy\"", 1),
        ("errors_total", ",case=\"access-denied\"", 1),
        ("call_duration_seconds_count", ",call=\"create\"", 5),
        ("call_duration_seconds_count", ",call=\"commit\"", 1),
        ("call_duration_seconds_count", ",call=\"write\"", 2),
        ("call_duration_seconds_count", ",call=\"settle\"", 2),
        // All of them are closed.
        ("instances", "", 0),
    ] {
        assert_counts(&metrics, name, label, value);
    }
    assert_eq!(metrics.matches("minisnap_errors_total{").count(), 4, "{metrics}");
}

#[test]
fn instances_that_live_are_evicted_or_interrupted_are_counted() {
    let dir = scratch();
    let minisnap = cached_builder().max_idle(1).build().unwrap();
    let mut stores = Vec::new();
    let metrics = recorded(|| {
        for name in ["a", "b", "c"] {
            let mut store = minisnap.open(ledger(&dir.path().join(name)).max_memory(64 << 20)).unwrap();
            store.create_text("1", 1).unwrap();
            stores.push(store);
        }
    });
    assert_counts(&metrics, "instances_evicted_total", "", 2);
    assert_counts(&metrics, "instances", "", 1);
    let state = format!("[{}1]", "1,".repeat(8 << 20));
    let metrics = recorded(|| {
        let grant = ledger(&dir.path().join("d")).deadline(Duration::from_millis(20));
        // It may be late before it begins, and fast enough at times.
        let is_interrupted = |seq| {
            let created = minisnap.open(grant.clone()).and_then(|mut store| store.create_text(&state, seq));
            matches!(created, Err(Error::DeadlineExceeded(why)) if why.contains("exceeded its deadline"))
        };
        assert!((0..100).any(is_interrupted));
    });
    let interrupted = "minisnap_calls_interrupted_total{component=\"ledger\",instance=\"eu-1\"} ";
    assert!(metrics.contains(interrupted), "{metrics}");
}

/// Nothing of that is without labels where there are none, and a component's own creates count as the host's do.
#[test]
fn the_example_prints_the_metrics_of_its_components() {
    let dir = scratch();
    let embed = built("examples/embed");
    let component = dir.path().join("ledger@1.0.0.wasm");
    fs::copy(COUNTER, &component).unwrap();
    let done = run(Command::new(embed).arg(dir.path().join("s")).arg(&component), "");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("# HELP minisnap_creates_total Snapshots that were created\n"), "{done:?}");
    let metrics = recorded(|| {
        let mut store = minisnap().open(Grant::new(dir.path().join("t"))).unwrap();
        store.create(&1, 1).unwrap();
    });
    assert!(metrics.contains("minisnap_creates_total 1\n"), "{metrics}");
}
