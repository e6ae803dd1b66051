//! A host of two components, one of which has its directory on a file system that hangs: `hanging-disk CONSUMER`.
//!
//! `hang.c` is preloaded, with HANG_IN, HANG_WHILE and HANG_STAT_WHILE. Prints what became of each.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use minisnap_host::{Grant, SnapshotCtx};
use minisnap_tests::cached;
use minisnap_tests::host::{Ended, Host};
use wasmtime::Config;
use wasmtime::component::Component;

const DEADLINE: Duration = Duration::from_secs(1);

fn main() {
    let consumer = env::args().nth(1).expect("a component");
    let path = |name: &str| PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("{name} is set")));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(hang(&consumer, &path("HANG_IN"), &path("HANG_WHILE"), &path("HANG_STAT_WHILE")));
}

async fn hang(consumer: &str, dir: &Path, hanging: &Path, hanging_stat: &Path) {
    let minisnap = cached();
    let host = Host::new_async(&Config::new(), &minisnap);
    let component = host.load(consumer);
    let hangs = host.snapshots(Grant::new(dir).deadline(DEADLINE));
    let goes_on = host.snapshots(Grant::new(dir.with_extension("other")));

    let first = host.run_async(&component, hangs, &["create", "1", "1"]).await;
    print!("before: {}", first.printed);
    fs::write(hanging, "").expect("the file system hangs now");
    // It answers in the end, so that a call that is told of too late succeeds instead.
    let answering = hanging.to_owned();
    thread::spawn(move || {
        (0..20).for_each(|_| thread::sleep(DEADLINE));
        fs::remove_file(answering)
    });
    let (hung, went_on) = tokio::join!(
        host.run_async(&component, first.snapshots, &["create", "2", "2", "restore", "create", "3", "3"]),
        host.run_async(&component, goes_on, &["create", "1", "1", "create", "2", "2", "restore"]),
    );
    print!("hung:\n{}went on:\n{}", hung.printed, went_on.printed);
    // Unless it did so by itself, which the test finds.
    let _ = fs::remove_file(hanging);

    let mut snapshots = hung.snapshots;
    while snapshots.store().is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = host.run_async(&component, snapshots, &["restore", "create", "4", "4", "restore"]).await;
    print!("after:\n{}", after.printed);

    // Opening a writer hangs before it has begun, and succeeds when nobody waits for it any more.
    let late = open_late(&host, &component, after.snapshots, "5", dir, hanging_stat).await;
    print!("late: {}", late.printed);
    let next = until_not_busy(&host, &component, late.snapshots, &["create", "6", "6"]).await;
    print!("next: {}", next.printed);

    // The same, and the host drops what has come back.
    let late = open_late(&host, &component, next.snapshots, "7", dir, hanging_stat).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(late);
    let started = Instant::now();
    while dir.join(UNFINISHED).exists() && started.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("left: {}", dir.join(UNFINISHED).exists());
}

/// What an open writer has made.
const UNFINISHED: &str = "snapshot.json.new";

/// Has a writer opened after its deadline, of which nobody knows.
async fn open_late(
    host: &Host,
    component: &Component,
    mut snapshots: SnapshotCtx,
    seq: &str,
    dir: &Path,
    hanging: &Path,
) -> Ended {
    for _ in 0..20 {
        fs::write(hanging, "").expect("the file system hangs now");
        let late = host.run_async(component, snapshots, &["stream", seq, "1", "5"]).await;
        fs::remove_file(hanging).expect("the file system answers again");
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            if dir.join(UNFINISHED).exists() {
                return late;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It was interrupted, for it had no time left.
        snapshots = until_not_busy(host, component, late.snapshots, &["exists"]).await.snapshots;
    }
    panic!("no writer was opened late")
}

async fn until_not_busy(host: &Host, component: &Component, snapshots: SnapshotCtx, args: &[&str]) -> Ended {
    let started = Instant::now();
    let mut ended = host.run_async(component, snapshots, args).await;
    while ended.printed.starts_with("busy") && started.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        ended = host.run_async(component, ended.snapshots, args).await;
    }
    ended
}
