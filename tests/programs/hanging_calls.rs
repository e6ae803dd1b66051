//! A host of many components, most of which have their directories on a file system that hangs: `hanging-calls CONSUMER`.
//!
//! `hang.c` is preloaded, with HANG_IN, HANG_WHILE and HANG_STAT_WHILE. BESIDE is another folder on that file system, which
//! does not hang, and ELSEWHERE one on another. Prints what became of each.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs};

use minisnap_host::{Error, Grant, Minisnap, SnapshotCtx, SnapshotStore};
use minisnap_tests::host::{Ended, Host};
use minisnap_tests::{cached, cached_builder};
use tokio::task::{JoinSet, spawn_blocking};
use wasmtime::Config;
use wasmtime::component::Component;

/// A deadline that is never reached: what ends with it has waited for what hangs.
const NEVER: Duration = Duration::from_secs(3600);

/// A deadline of what is never answered in time.
const SHORT: Duration = Duration::from_millis(300);

/// One within which a disk answers, also a slow one.
const LONG: Duration = Duration::from_secs(5);

/// How long a test waits for what must not wait for what hangs.
const PATIENCE: Duration = Duration::from_secs(120);

const COUNT: [&str; 4] = ["create", "1", "1", "restore"];

fn main() {
    let consumer = env::args().nth(1).expect("a component");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let consumers = Consumers::new(&consumer, &cached());
        many_directories(&consumers).await;
        many_readers_of_one(&consumers).await;
        opening(&cached()).await;
        turns(&consumer).await;
    });
}

/// The components of a host.
#[derive(Clone)]
struct Consumers {
    host: Arc<Host>,
    component: Component,
}

impl Consumers {
    fn new(consumer: &str, minisnap: &Minisnap) -> Self {
        let host = Arc::new(Host::new_async(&Config::new(), minisnap));
        Consumers { component: host.load(consumer), host }
    }

    fn snapshots(&self, grant: Grant) -> SnapshotCtx {
        self.host.snapshots(grant.deadline(NEVER))
    }

    fn run(
        &self,
        snapshots: SnapshotCtx,
        args: &'static [&str],
    ) -> impl Future<Output = Ended> + Send + use<> {
        let this = self.clone();
        async move { this.host.run_async(&this.component, snapshots, args).await }
    }
}

/// A file system that hangs, until this is dropped.
struct Hanging(PathBuf);

impl Hanging {
    fn begin(variable: &str) -> Self {
        let file = path(variable);
        fs::write(&file, "").expect("the file system hangs now");
        Hanging(file)
    }

    /// How many calls hang, each of which has written a byte into the file.
    fn calls(&self) -> u64 {
        fs::metadata(&self.0).expect("it hangs").len()
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the file system answers again");
    }
}

/// 600 components hang, each in a directory of its own.
async fn many_directories(consumers: &Consumers) {
    let directory = |number: usize| path("HANG_IN").join(number.to_string());
    let hung: Vec<_> = (0..600).map(|number| consumers.snapshots(Grant::new(directory(number)))).collect();
    let elsewhere = consumers.snapshots(Grant::new(path("ELSEWHERE").join("a")));

    let hanging = Hanging::begin("HANG_WHILE");
    let calls = hung.into_iter().map(|snapshots| consumers.run(snapshots, &["create", "1", "1"]));
    let calls: JoinSet<_> = calls.collect();
    until(|| hanging.calls() == 128).await;
    tell("elsewhere", within(consumers.run(elsewhere, &COUNT)).await);
    println!("the runtime has threads: {}", within(spawn_blocking(|| ())).await.is_some());
    println!("hung: {}", hanging.calls());
    drop(hanging);
    println!("answered: {}", count(calls, "ok\n").await);
}

/// 100 calls hang in one directory.
async fn many_readers_of_one(consumers: &Consumers) {
    let dir = path("HANG_IN").join("one");
    drop(consumers.run(consumers.snapshots(Grant::new(&dir)), &COUNT).await);
    let readers: Vec<_> = (0..100).map(|_| consumers.snapshots(Grant::new(&dir).read_only())).collect();
    let beside = consumers.snapshots(Grant::new(path("BESIDE").join("b")));

    let hanging = Hanging::begin("HANG_STAT_WHILE");
    let calls = readers.into_iter().map(|snapshots| consumers.run(snapshots, &["restore"]));
    let calls: JoinSet<_> = calls.collect();
    until(|| hanging.calls() == 32).await;
    tell("beside", within(consumers.run(beside, &COUNT)).await);
    println!("hung: {}", hanging.calls());
    drop(hanging);
    println!("answered: {}", count(calls, "1 1\n").await);
}

/// A directory does not answer when it is opened.
async fn opening(minisnap: &Minisnap) {
    let grant = |name: &str| Grant::new(path("HANG_IN").join(name));
    let hanging = Hanging::begin("HANG_WHILE");
    for (name, deadline) in [("open", SHORT), ("open again", NEVER)] {
        let (minisnap, grant) = (minisnap.clone(), grant("c").deadline(deadline));
        let opened = within(spawn_blocking(move || minisnap.open(grant))).await;
        tell_opened(name, opened.map(|opened| opened.expect("it does not panic")));
    }
    tell_opened("open_async", within(minisnap.open_async(grant("d").deadline(SHORT))).await);
    tell_opened("open_async again", within(minisnap.open_async(grant("d").deadline(NEVER))).await);
    tell_opened("open beside", within(minisnap.open_async(Grant::new(path("BESIDE").join("e")))).await);
    drop(hanging);
    for name in ["c", "d"] {
        // What has come too late is closed again.
        until(|| minisnap.open(grant(name)).is_ok()).await;
        tell_opened("open later", within(minisnap.open_async(grant(name))).await);
    }
}

/// One call runs at a time, and the first one hangs.
async fn turns(consumer: &str) {
    let minisnap = cached_builder().max_calls(1).build().unwrap();
    let consumers = Consumers::new(consumer, &minisnap);
    let beside = |name: &str| path("BESIDE").join(name);
    let first = consumers.snapshots(Grant::new(path("HANG_IN").join("f")));
    let late = consumers.host.snapshots(Grant::new(beside("late")).deadline(LONG));
    let mut here = minisnap.open(Grant::new(beside("here")).deadline(LONG)).expect("it opens");
    let dropped = consumers.snapshots(Grant::new(beside("dropped")));
    let waits = consumers.snapshots(Grant::new(beside("waits")));

    // A step a signal: what a writer does before, while and after the first call hangs.
    let (go_on, signal) = mpsc::channel::<()>();
    let written = spawn_blocking({
        let mut store = minisnap.open(Grant::new(beside("written")).deadline(LONG)).expect("it opens");
        move || write_meanwhile(&mut store, &signal)
    });
    until(|| path("BESIDE").join("begun").exists()).await;

    let hanging = Hanging::begin("HANG_WHILE");
    let first = tokio::spawn(consumers.run(first, &COUNT));
    until(|| hanging.calls() == 1).await;
    let late = within(consumers.run(late, &["create", "1", "1"])).await.expect("it has a deadline");
    println!("late: {}", late.printed.trim_end());
    // Whoever calls from a thread of its own waits there.
    let here = spawn_blocking(move || (here.create(&1, 1), here)).await.expect("it does not panic");
    println!("here: {}", here.0.expect_err("it waits for its turn"));
    go_on.send(()).expect("the writer waits");
    until(|| path("BESIDE").join("refused").exists()).await;
    let dropped = tokio::time::timeout(SHORT, consumers.run(dropped, &["create", "1", "1"])).await;
    println!("dropped: {}", dropped.is_err());
    let waits = tokio::spawn(consumers.run(waits, &COUNT));
    println!("hung: {}", hanging.calls());
    drop(hanging);
    for (name, call) in [("first", first), ("waits", waits)] {
        tell(name, within(call).await.map(|ended| ended.expect("it does not panic")));
    }
    go_on.send(()).expect("the writer waits");
    print!("{}", within(written).await.expect("it is not held up").expect("it does not panic"));
    for name in ["late", "here", "dropped"] {
        println!("{name} has made: {}", fs::read_dir(beside(name)).expect("it is there").count());
    }
    let mut late = within(consumers.run(late.snapshots, &COUNT)).await.expect("it is not held up");
    println!("late later: {}", late.printed.replace('\n', ", "));
    let restored = within(late.snapshots.call(|store| store.restore_text())).await;
    println!("by the host: {:?}", restored.map(|restored| restored.expect("it is there").seq));
}

/// Writes a state in pieces, of which one does not get its turn: nothing may be stored without it.
fn write_meanwhile(store: &mut SnapshotStore, signal: &mpsc::Receiver<()>) -> String {
    let wait = || signal.recv().expect("the host goes on");
    store.create(&1, 1).expect("a snapshot");
    let mut writer = store.open_writer(2).expect("a writer");
    writer.write_chunk(b"[1,").expect("a piece");
    fs::write(path("BESIDE").join("begun"), "").expect("a sign");
    wait();
    let refused = writer.write_chunk(b"2,").expect_err("it gets no turn");
    fs::write(path("BESIDE").join("refused"), "").expect("a sign");
    wait();
    let ended = writer.write_chunk(b"3]").expect_err("a piece is missing");
    let lost = writer.commit().expect_err("a piece is missing");
    let stored =
        store.create(&2, 2).and_then(|()| store.restore::<u32>()).expect("nothing is in the way").state;
    format!("write: {refused}\nwrite again: {ended}\ncommit: {lost}\nstored: {stored}\n")
}

fn path(variable: &str) -> PathBuf {
    PathBuf::from(env::var_os(variable).unwrap_or_else(|| panic!("{variable} is set")))
}

/// `None` if it takes too long.
async fn within<T>(what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PATIENCE, what).await.ok()
}

async fn until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many of the calls are answered like this.
async fn count(calls: JoinSet<Ended>, answer: &str) -> usize {
    let ended = within(calls.join_all()).await.unwrap_or_default();
    ended.iter().filter(|ended| ended.printed == answer).count()
}

fn tell(name: &str, ended: Option<Ended>) {
    let printed = ended.map_or("is held up".to_owned(), |ended| ended.printed.trim_end().replace('\n', ", "));
    println!("{name}: {printed}");
}

fn tell_opened(name: &str, opened: Option<Result<SnapshotStore, Error>>) {
    match opened {
        Some(Ok(_)) => println!("{name}: ok"),
        Some(Err(error)) => println!("{name}: {error}"),
        None => println!("{name}: is held up"),
    }
}
