//! What thousands of attacks leave in the process of the host. A program of its own: other tests open files, too.

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::fs;
use std::sync::atomic::{AtomicIsize, Ordering};

use minisnap_host::{Grant, Layout};
use minisnap_tests::host::Host;
use minisnap_tests::{HOSTILE, minisnap, rounds, scratch};
use wasmtime::Config;

/// The system's allocator, which counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize) {
    ALLOCATED.fetch_add(bytes as isize, Ordering::Relaxed);
}

fn discount(bytes: usize) {
    ALLOCATED.fetch_sub(bytes as isize, Ordering::Relaxed);
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is what the system's allocator does; counting touches no memory that is handed out.
#[expect(unsafe_code, reason = "an allocator that counts is an allocator")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        count(block.size());
        // SAFETY: the caller keeps the terms, which are the same.
        unsafe { System.alloc(block) }
    }

    unsafe fn alloc_zeroed(&self, block: Block) -> *mut u8 {
        count(block.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(block) }
    }

    unsafe fn realloc(&self, at: *mut u8, block: Block, size: usize) -> *mut u8 {
        discount(block.size());
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, block, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, block: Block) {
        discount(block.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, block) }
    }
}

/// What a process can leak.
#[derive(Debug)]
struct Taken {
    /// How many file descriptors are open.
    descriptors: usize,
    /// How many bytes are allocated.
    allocated: isize,
    /// How many areas of memory are mapped, those of instances and of compiled code among them.
    mapped: usize,
    /// How many bytes of memory the process has.
    resident: usize,
}

impl Taken {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("Linux says");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the line");
        let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        Taken {
            descriptors: fs::read_dir("/proc/self/fd").expect("Linux lists them").count(),
            mapped: fs::read_to_string("/proc/self/maps").expect("Linux lists them").lines().count(),
            resident: kib << 10,
            allocated: ALLOCATED.load(Ordering::Relaxed),
        }
    }
}

#[test]
fn attacks_leak_no_descriptor_and_no_memory() {
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
    let rounds = rounds(1_000, 10_000);
    (0..rounds / 10).for_each(round);
    let before = Taken::now();
    (0..rounds).for_each(round);
    let after = Taken::now();
    println!("before: {before:?}\nafter: {after:?}");
    assert_eq!(after.descriptors, before.descriptors, "file descriptors");
    // Threads that wait for work come and go; what a round leaves adds up.
    let more = |before: usize, after: usize| after.saturating_sub(before);
    let allocated = after.allocated - before.allocated;
    assert!(allocated < (8 * rounds as isize).max(64 << 10), "{allocated} bytes more are allocated");
    let mapped = more(before.mapped, after.mapped);
    assert!(mapped < rounds / 10, "{mapped} areas more are mapped");
    let resident = more(before.resident, after.resident);
    assert!(resident < (1 << 20) + 300 * rounds, "{resident} bytes more are resident");
}
