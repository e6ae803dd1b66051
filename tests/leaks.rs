//! What 10,000 attacks leave in the process of the host. Alone in its file: other tests open files, too.
#![cfg(target_os = "linux")]

use std::fs;

use minisnap_host::{Grant, Layout};
use minisnap_tests::host::Host;
use minisnap_tests::{HOSTILE, minisnap, scratch};
use wasmtime::Config;

const ROUNDS: usize = 10_000;

/// How many file descriptors this process has open.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux lists them").count()
}

/// The memory of this process in bytes.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
}

#[test]
fn ten_thousand_attacks_leak_no_descriptor_and_no_memory() {
    let hosts = [Host::new(&Config::new(), minisnap()), Host::new_async(&Config::new(), minisnap())];
    let attackers = [0, 1].map(|host: usize| hosts[host].load(HOSTILE));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let root = scratch();
    let attacks: [&[&str]; 5] = [
        &["create", "7", "restore"],
        &["half", "trap"],
        &["readers", "5", "trap"],
        &["writers", "5"],
        &["forge-writer", "1"],
    ];
    let round = |round: usize| {
        let layout = [Layout::Pair, Layout::Numbered][round % 2];
        let grant = Grant::new(root.path().join(format!("{layout:?}"))).layout(layout);
        let attack = attacks[round / 4 % attacks.len()];
        let snapshots = hosts[0].snapshots(grant);
        if (round / 2).is_multiple_of(2) {
            drop(hosts[0].run(&attackers[0], snapshots, attack));
        } else {
            runtime.block_on(async {
                let ended = hosts[1].run_async(&attackers[1], snapshots, attack).await;
                ended.snapshots.into_store_async().await.expect("the store comes back");
            });
        }
    };
    // What is allocated once, and what the allocator keeps.
    (0..ROUNDS / 10).for_each(round);
    let before = (descriptors(), memory());
    (0..ROUNDS).for_each(round);
    let after = (descriptors(), memory());
    println!("descriptors and bytes: {before:?} before, {after:?} after");
    assert_eq!(after.0, before.0, "file descriptors");
    // 1 KiB a round would be 10 MiB.
    assert!(after.1 < before.1 + (8 << 20), "{} bytes more", after.1 - before.1);
}
