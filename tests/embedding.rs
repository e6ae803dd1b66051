//! The library in hosts of other kinds than the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::bindings::arcella::minisnap::snapshot_store::{SnapshotInfo, Soundness};
use minisnap_host::{Error, Grant, Layout, SnapshotStore};
use minisnap_tests::bench::Bench;
use minisnap_tests::host::Host;
use minisnap_tests::{COUNTER, HANG, HOSTILE, VERBS, built, minisnap, names, program, run, scratch};
use tempfile::tempdir;
use tracing_subscriber::fmt::format::FmtSpan;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

fn example() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/examples/embed.rs");
    fs::read_to_string(file).expect("the example is there")
}

#[test]
fn the_example_runs_two_components_with_two_grants_in_under_100_lines() {
    assert!(example().lines().count() < 100);
    let root = tempdir().unwrap();
    let components =
        ["one@1.0.0.wasm", "two@1.0.0.wasm", "two@1.1.0.wasm"].map(|name| root.path().join(name));
    for component in &components {
        fs::copy(COUNTER, component).unwrap();
    }
    let embed = built("examples/embed");
    let mut host = Command::new(embed);
    let snapshots = root.path().join("snapshots");
    let ran = run(host.arg(&snapshots).args(&components), "");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "counted to 1\ncounted to 1\ncounted to 2\n"),
        "{ran:?}"
    );
    for (name, count) in [("one", 1), ("two", 2)] {
        let mut store = minisnap().open(Grant::new(snapshots.join(name))).unwrap();
        let restored = store.restore::<serde_json::Value>().unwrap();
        assert_eq!((&restored.state["counter"], restored.seq), (&count.into(), count));
    }
}

/// As `minisnap run` does.
#[test]
fn the_example_gives_a_component_no_more_than_its_manifest_allows() {
    let root = tempdir().unwrap();
    let embed = built("examples/embed");
    let store = "imports = [\"arcella:minisnap/snapshot-store@0.1.0\"]\n";
    // Each compiles the store. `admission`, `folders` and `manifests` try what else is refused.
    for (name, more) in
        [("small", format!("{store}capabilities.resources.memory_max = 1000\n")), ("none", String::new())]
    {
        let component = root.path().join(format!("{name}.wasm"));
        fs::copy(COUNTER, &component).unwrap();
        let manifest = format!("name = \"{name}\"\nversion = \"1.0.0\"\n{more}");
        fs::write(component.with_extension("component.toml"), manifest).unwrap();
        let snapshots = root.path().join("snapshots");
        let ran = run(Command::new(&embed).arg(&snapshots).arg(&component), "");
        assert!(ran.code == Some(1) && ran.stdout.is_empty(), "{name}: {ran:?}");
        assert!(!snapshots.join(name).join("snapshot.json").exists(), "{name}");
    }
}

/// What a consumer does in this test, and what it prints.
const SCRIPT: &[&str] = &[
    "open",
    "a.b",
    "open",
    "agent-7",
    "names",
    "newest-seq",
    "restore",
    "create",
    "10",
    "{\"counter\":42}",
    "restore",
    "create",
    "9",
    "1",
    "create",
    "11",
    "[",
    "info",
    "exists",
    "newest-seq",
    "list",
    "oldest-kept",
    "restore-at",
    "10",
    "open-many",
    "3",
    "create-large",
    "12",
    "100000",
    "stream",
    "13",
    "7",
    "{\"list\":[1,2,3,4,5,6]}",
    "read-in",
    "5",
    "abandon",
    "14",
    "discard",
    "14",
    "create-over",
    "13",
    "stream",
    "20",
    "1",
    "[1,",
    "list",
];

#[test]
fn a_host_with_fuel_epochs_and_a_pool_of_instances_that_calls_asynchronously_gets_the_same_answers() {
    let root = scratch();
    let host = Host::new(&Config::new(), minisnap());
    let snapshots = host.snapshots(Grant::new(root.path().join("sync")).layout(Layout::Numbered));
    let expected = host.run(&host.load(VERBS), snapshots, SCRIPT);
    assert!(expected.trap.is_none() && expected.printed.lines().count() > 16, "{expected:?}");

    let mut config = Config::new();
    let mut pool = PoolingAllocationConfig::default();
    pool.total_memories(4).total_component_instances(4).total_stacks(4);
    config.consume_fuel(true).epoch_interruption(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let mut host = Host::new_async(&config, minisnap());
    host.fuel = Some(10_000_000_000);
    let component = host.load(VERBS);
    let snapshots = host.snapshots(Grant::new(root.path().join("async")).layout(Layout::Numbered));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ended = runtime.block_on(host.run_async(&component, snapshots, SCRIPT));
    assert_eq!((ended.printed, ended.trap.map(|trap| trap.to_string())), (expected.printed, None));

    // The host's own limits hold beside.
    let again = |host: &Host| {
        let snapshots = host.snapshots(Grant::new(root.path().join("limited")));
        runtime.block_on(host.run_async(&component, snapshots, SCRIPT)).trap
    };
    host.fuel = Some(1000);
    assert!(again(&host).is_some(), "a component without fuel ends");
}

#[test]
fn a_file_system_that_hangs_is_an_error_to_its_own_component_and_holds_up_no_other() {
    let root = tempdir().unwrap();
    let dir = root.path().join("snapshots");
    let mut host = Command::new(program("hanging-disk"));
    host.arg(VERBS).env("LD_PRELOAD", HANG);
    host.env("HANG_IN", &dir).env("HANG_WHILE", root.path().join("hang"));
    host.env("HANG_STAT_WHILE", root.path().join("hang-stat"));
    let ran = run(&mut host, "");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [before, hung, io, busy, busy_too, rest @ ..] = &lines[..] else { panic!("{ran:?}") };
    assert_eq!((*before, *hung), ("before: ok", "hung:"), "{ran:?}");
    assert!(io.starts_with("in-doubt: the call has not ended after 1s"), "{ran:?}");
    assert!(busy.starts_with("busy") && busy_too.starts_with("busy"), "{ran:?}");
    let [rest @ .., late, next, left] = rest else { panic!("{ran:?}") };
    let (went_on, after) = rest.split_at(rest.len().min(4));
    assert_eq!(went_on, ["went on:", "ok", "ok", "2 2"], "{ran:?}");
    // What hung was over its deadline when the system answered: it is durable or it is undone.
    assert!(matches!(after, ["after:", "1 1" | "2 2", "ok", "4 4"]), "{ran:?}");
    // A writer that was opened after its deadline belongs to nobody, and keeps nobody away.
    assert!(late.starts_with("late: io: the call has not ended after 1s"), "{ran:?}");
    assert_eq!((*next, *left, ran.code), ("next: ok", "left: false", Some(0)), "{ran:?}");
}

/// What hangs goes on only when all others have ended: they waited for nothing of it.
#[test]
fn others_end_while_a_file_system_still_hangs() {
    let root = tempdir().unwrap();
    let mut host = Command::new(program("beside-hanging"));
    host.arg(VERBS).arg(root.path()).env("LD_PRELOAD", HANG);
    host.env("HANG_IN", root.path().join("hangs")).env("HANG_WHILE", root.path().join("hang"));
    let ran = run(&mut host, "");
    let expected: String = ["threads", "one asynchronous thread", "two asynchronous threads"]
        .map(|host| format!("{host}: the others have ended, and it hangs: then ok\n"))
        .concat();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), expected.as_str()), "{}", ran.stderr);
}

#[test]
fn a_component_that_traps_with_a_writer_open_in_an_asynchronous_host_leaves_nothing() {
    let root = scratch();
    let dir = root.path().join("snapshots");
    let host = Host::new_async(&Config::new(), minisnap());
    let component = host.load(HOSTILE);
    for runtime in [
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
    ] {
        let traps = async || {
            let snapshots = host.snapshots(Grant::new(&dir));
            let ended = host.run_async(&component, snapshots, &["create", "1", "half", "trap"]).await;
            assert!(ended.trap.is_some() && !is_only_a_snapshot(&dir), "{ended:?}");
            ended.snapshots
        };
        // In the task, where nothing may block, and whoever wants to know waits for it.
        let store = runtime.block_on(async { traps().await.into_store_async().await.unwrap() });
        assert!(is_only_a_snapshot(&dir));
        drop(store);
        runtime.block_on(async { drop(traps().await) });
        let started = Instant::now();
        while !is_only_a_snapshot(&dir) {
            assert!(started.elapsed() < Duration::from_secs(60), "what was written is still there");
            thread::sleep(Duration::from_millis(1));
        }
        // The directory is let go of after that.
        while minisnap().open(Grant::new(&dir)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the directory is still held");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_only_a_snapshot(dir: &Path) -> bool {
    names(dir) == ["snapshot.json", "snapshot.seq", "snapshot.sum"]
}

/// Whether a call with this deadline is interrupted, and does not end by itself.
fn is_interrupted(
    grant: &Grant,
    deadline: Duration,
    call: impl Fn(&mut SnapshotStore) -> Result<(), Error>,
) -> bool {
    // The opening has that deadline, too, and a thread for it may come late.
    let Ok(mut store) = minisnap().open(grant.clone().deadline(deadline)) else { return false };
    match call(&mut store) {
        Ok(()) => false,
        Err(Error::DeadlineExceeded(what)) if what.contains("did not begin before its deadline") => false,
        Err(Error::DeadlineExceeded(what) | Error::InDoubt(what))
            if what.contains(&format!("{deadline:?}")) =>
        {
            true
        }
        Err(other) => panic!("{deadline:?}: {other}"),
    }
}

/// A fifth of what a call needs is a deadline that ends it, unless the deadline is several times too late. The machine
/// may be faster from one call to the next, or have no processor for the thread that interrupts, but not every time.
#[track_caller]
fn assert_interrupted_in_time(grant: &Grant, call: impl Fn(&mut SnapshotStore) -> Result<(), Error>) {
    let is_in_time = |_| {
        let mut store = minisnap().open(grant.clone()).unwrap();
        let started = Instant::now();
        call(&mut store).unwrap();
        let needed = started.elapsed();
        drop(store);
        is_interrupted(grant, needed / 5, &call)
    };
    assert!((0..10).any(is_in_time), "no call was interrupted before it had ended");
}

#[test]
fn a_call_is_interrupted_at_its_deadline_and_costs_no_data() {
    let state = format!("[{}1]", "1,".repeat(20 << 20));
    for layout in [Layout::Pair, Layout::Numbered] {
        let root = scratch();
        let grant = Grant::new(root.path()).layout(layout);
        assert_interrupted_in_time(&grant, |store| store.create_text(&state, 1));
        // One call of the component, where that was many.
        assert_interrupted_in_time(&grant, |store| store.generations().map(drop));
        minisnap().open(grant.clone()).unwrap().create_text("2", 2).unwrap();
        let is_soon =
            |_| is_interrupted(&grant, Duration::from_millis(5), |store| store.create_text(&state, 3));
        assert!((0..100).any(is_soon));
        let mut store = minisnap().open(grant).unwrap();
        assert_eq!(store.restore_text().unwrap().state, "2");
        store.create_text("3", 3).unwrap();
        assert_eq!(store.restore_text().unwrap().state, "3");
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Where there is only one subscriber, `tracing` asks the current thread's: a span that another test's thread reaches first is
    // then off for all. Where there are two, it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::subscriber::with_default(subscriber, work);
    let log = log.0.lock().unwrap().clone();
    String::from_utf8(log).unwrap()
}

#[test]
fn calls_are_traced_with_number_size_and_time_and_without_any_state() {
    let dir = tempdir().unwrap();
    let log = logged(|| {
        let grant = Grant::new(dir.path()).layout(Layout::Numbered).component("ledger").instance("eu-1");
        let mut store = minisnap().open(grant).unwrap();
        store.create_text("\"a secret\"", 7).unwrap();
        store.create_text("\"a secret\"", 8).unwrap();
        fs::write(generation(dir.path(), 8), "{}").unwrap();
        store.restore_text().unwrap();
        store.settle().unwrap();
        let mut writer = store.open_writer(9).unwrap();
        writer.write_chunk(b"\"a sec").unwrap();
        writer.write_chunk(b"ret\"").unwrap();
        writer.commit().unwrap();
        store.open_reader().unwrap().read_chunk(99).unwrap();
    });
    for span in ["grant", "create", "restore", "settle"] {
        let closed = log.lines().find(|line| line.contains(&format!("{span}{{")) && line.contains("close"));
        let has = |what: &str| closed.is_some_and(|line| line.contains(what));
        let whose = has("component=\"ledger\"") && has("instance=\"eu-1\"");
        assert!(has("time.busy=") && whose, "no span {span}:\n{log}");
    }
    for (span, seq) in [("create{", "seq=7"), ("create{", "seq=9"), ("restore{", "seq=9")] {
        assert!(
            log.lines().any(|line| [span, seq, "bytes=10", "close"].iter().all(|part| line.contains(part))),
            "no {span} of {seq}:\n{log}"
        );
    }
    assert!(log.lines().any(|line| line.contains("skip") && line.contains("seq=8")), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

fn generation(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("snapshot_{seq:020}.json"))
}

#[test]
fn an_embedders_own_bindings_have_the_types_of_the_library_in_calls_of_a_component() {
    let root = tempdir().unwrap();
    let grant = Grant::new(root.path().join("snapshots")).layout(Layout::Numbered);
    let mut bench = Bench::linked(minisnap(), grant, &root.path().join("own"));
    assert!(bench.newest().is_none());
    bench.prepare("[1]");
    bench.create(7);
    let SnapshotInfo { seq, size, soundness, .. } = bench.newest().unwrap();
    assert!((seq, size) == (7, 7) && matches!(soundness, Soundness::Verified), "{seq} {size} {soundness:?}");
}
