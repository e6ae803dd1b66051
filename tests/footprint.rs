//! What stores take of the process of their host. A program of its own: other tests start threads, and make instances, too.

use std::{fs, io};

use minisnap_host::Grant;
use minisnap_tests::{cached, cached_builder, scratch};
use tempfile::tempdir;

/// The address space of this process in bytes: an instance reserves 4 GiB of it for its memory.
fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn instances_that_are_idle_are_dropped_and_made_again() {
    let taken_by_64_stores = |most| {
        let root = scratch();
        let minisnap = cached_builder().max_idle(most).build().unwrap();
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
    let (few, all) = (taken_by_64_stores(2), taken_by_64_stores(64));
    assert!(few < 100 && all > 200, "2 idle instances took {few} GiB, and 64 took {all}");
}

/// What waits for files needs no runtime with a thread for each processor.
#[test]
fn stores_start_no_threads_of_a_runtime() {
    let root = tempdir().unwrap();
    let mut store = cached().open(Grant::new(root.path())).unwrap();
    store.create(&"x".repeat(1 << 20), 1).unwrap();
    store.restore_text().unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: io::Result<fs::DirEntry>| {
        fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
    };
    let names: Vec<String> = threads.map(name).collect();
    assert!(names.iter().any(|name| name.starts_with("minisnap-clock")), "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with("tokio")), "{names:?}");
}
