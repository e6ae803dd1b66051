//! The library in hosts of other kinds than the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minisnap_host::{Error, Grant, Layout, Minisnap};
use minisnap_tests::host::Host;
use minisnap_tests::{COUNTER, HANG, VERBS, built, minisnap, program, run, scratch};
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
    let components = ["one", "two"].map(|name| root.path().join(name).with_extension("wasm"));
    for component in &components {
        fs::copy(COUNTER, component).unwrap();
    }
    let embed = built(&["--example", "embed"], "examples/embed");
    let mut host = Command::new(embed);
    let snapshots = root.path().join("snapshots");
    let ran = run(host.arg(&snapshots).args([&components[0], &components[1], &components[1]]), "");
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

#[test]
fn the_readme_shows_the_example() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let example = example();
    let (_, shown) =
        example.split_once("fn main() -> Result<()> {\n").expect("the example has a main function");
    assert!(readme.contains(&format!("```rust\nfn main() -> Result<()> {{\n{shown}```")), "it shows another");
}

/// What a consumer does in this test, and what it prints.
const SCRIPT: [&str; 22] = [
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
    "list",
    "oldest-kept",
    "restore-at",
    "10",
    "open-many",
    "3",
    "create-large",
    "12",
    "100000",
];

#[test]
fn a_host_with_fuel_epochs_and_a_pool_of_instances_that_calls_asynchronously_gets_the_same_answers() {
    let root = scratch();
    let host = Host::new(&Config::new(), minisnap());
    let snapshots = host.snapshots(Grant::new(root.path().join("sync")).layout(Layout::Numbered));
    let expected = host.run(&host.load(VERBS), snapshots, &SCRIPT);
    assert!(expected.trap.is_none() && expected.printed.lines().count() > 9, "{expected:?}");

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
    let ended = runtime.block_on(host.run_async(&component, snapshots, &SCRIPT));
    assert_eq!((ended.printed, ended.trap.map(|trap| trap.to_string())), (expected.printed, None));

    // The host's own limits hold beside.
    let again = |host: &Host| {
        let snapshots = host.snapshots(Grant::new(root.path().join("limited")));
        runtime.block_on(host.run_async(&component, snapshots, &SCRIPT)).trap
    };
    host.fuel = Some(1000);
    assert!(again(&host).is_some(), "a component without fuel ends");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_hangs_is_an_error_to_its_own_component_and_holds_up_no_other() {
    let root = tempdir().unwrap();
    let dir = root.path().join("snapshots");
    let mut host = Command::new(program("hanging-disk"));
    host.arg(VERBS).env("LD_PRELOAD", HANG);
    host.env("HANG_IN", &dir).env("HANG_WHILE", root.path().join("hang"));
    let ran = run(&mut host, "");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let [before, hung, io, busy, busy_too, rest @ ..] = &lines[..] else { panic!("{ran:?}") };
    assert_eq!((*before, *hung), ("before: ok", "hung:"), "{ran:?}");
    assert!(io.starts_with("io: the call has not ended after 300ms"), "{ran:?}");
    assert!(busy.starts_with("busy") && busy_too.starts_with("busy"), "{ran:?}");
    let (went_on, after) = rest.split_at(rest.len().min(4));
    assert_eq!(went_on, ["went on:", "ok", "ok", "2 2"], "{ran:?}");
    // What hung was over its deadline when the system answered: it is durable or it is undone.
    assert!(matches!(after, ["after:", "1 1" | "2 2", "ok", "4 4"]), "{ran:?}");
}

#[test]
fn a_call_that_takes_longer_than_its_deadline_is_interrupted_and_costs_no_data() {
    let state = format!("[{}1]", "1,".repeat(20 << 20));
    for layout in [Layout::Pair, Layout::Numbered] {
        let root = scratch();
        let grant = Grant::new(root.path()).layout(layout);
        minisnap().open(grant.clone()).unwrap().create_text("1", 1).unwrap();
        let mut store = minisnap().open(grant.deadline(Duration::from_millis(1))).unwrap();
        match store.create_text(&state, 2) {
            Err(Error::Io(what)) => assert!(what.contains("1ms"), "{what}"),
            other => panic!("{other:?}"),
        }
        drop(store);
        let mut store = minisnap().open(Grant::new(root.path())).unwrap();
        assert_eq!(store.restore_text().unwrap().seq, 1);
        store.create_text("3", 3).unwrap();
        assert_eq!(store.restore_text().unwrap().state, "3");
    }
}

/// The address space of this process in bytes: an instance reserves 4 GiB of it for its memory.
#[cfg(target_os = "linux")]
fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn instances_that_are_idle_are_dropped_and_made_again() {
    let taken_by_64_stores = |most| {
        let root = scratch();
        let minisnap = Minisnap::new().unwrap().max_idle(most);
        let before = address_space();
        let mut stores: Vec<_> = (0..64)
            .map(|number| minisnap.open(Grant::new(root.path().join(number.to_string()))).unwrap())
            .collect();
        for _ in 0..2 {
            for (number, store) in (0..).zip(&mut stores) {
                store.create(&number, 1).unwrap();
            }
        }
        let taken = address_space().saturating_sub(before);
        for (number, store) in (0..).zip(&mut stores) {
            assert_eq!(store.restore::<u64>().unwrap().state, number);
        }
        taken >> 30
    };
    // Other tests take some at the same time.
    let (few, all) = (taken_by_64_stores(2), taken_by_64_stores(64));
    assert!(few < 100 && all > 200, "2 idle instances took {few} GiB, and 64 took {all}");
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

#[test]
fn calls_are_traced_with_number_size_and_time_and_without_any_state() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let dir = tempdir().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let mut store = minisnap().open(Grant::new(dir.path()).layout(Layout::Numbered)).unwrap();
        store.create_text("\"a secret\"", 7).unwrap();
        store.create_text("\"a secret\"", 8).unwrap();
        fs::write(generation(dir.path(), 8), "{}").unwrap();
        store.restore_text().unwrap();
        store.settle().unwrap();
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for span in ["grant", "create", "restore", "settle"] {
        let closed = log.lines().find(|line| line.contains(&format!("{span}{{")) && line.contains("close"));
        assert!(closed.is_some_and(|line| line.contains("time.busy=")), "no span {span}:\n{log}");
    }
    for field in ["seq=7", "bytes=10"] {
        assert!(
            log.lines().any(|line| line.contains("create{") && line.contains(field)),
            "no {field}:\n{log}"
        );
    }
    assert!(log.lines().any(|line| line.contains("skip") && line.contains("seq=8")), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

fn generation(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("snapshot_{seq:020}.json"))
}
