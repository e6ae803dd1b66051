//! Calls that a host makes at once, in many threads, and calls that it gives up in the middle.

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use minisnap_host::{Error, Grant, Layout, Minisnap, SnapshotCtx, SnapshotStore};
use minisnap_tests::host::{Ended, Host};
use minisnap_tests::{VERBS, cached_config, minisnap, names, scratch};
use tokio::runtime::{Builder, Runtime};
use wasmtime::component::Component;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

const LAYOUTS: [Layout; 2] = [Layout::Pair, Layout::Numbered];

/// A state whose create takes a while, and how it is stored.
const LARGE: usize = 16 << 20;

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_time().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
    ]
}

/// A host of a component that has room for such states.
fn host() -> (Host, Component) {
    let mut host = Host::new_async(&Config::new(), minisnap());
    host.max_memory = 256 << 20;
    let component = host.load(VERBS);
    (host, component)
}

/// Whether a component was given up; it must not have ended in another way than its own.
#[track_caller]
fn is_given_up(ended: &Ended) -> bool {
    match &ended.trap {
        Some(trap) => {
            assert_eq!(trap.to_string(), "given up");
            true
        }
        None => false,
    }
}

/// What a create or a writer of the snapshot `seq` has made and not committed.
fn unfinished(dir: &Path, layout: Layout, seq: u64) -> PathBuf {
    match layout {
        Layout::Pair => dir.join("snapshot.json.new"),
        Layout::Numbered => dir.join(format!("snapshot_{seq:020}.json.tmp")),
    }
}

/// Ends when a file is there.
async fn is_there(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The store on a directory, once the call that was given up has ended and let go of it.
fn opened(grant: &Grant) -> SnapshotStore {
    let started = Instant::now();
    loop {
        match minisnap().open(grant.clone()) {
            Err(Error::Busy(_)) => {
                assert!(started.elapsed() < Duration::from_secs(60), "the directory is still held");
                thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn a_create_that_its_host_gives_up_leaves_the_old_or_the_new_snapshot() {
    let (host, component) = host();
    let large = format!("\"{}\"", "x".repeat(LARGE));
    let in_pieces = format!("[{}1]", "1,".repeat(200_000));
    for layout in LAYOUTS {
        for runtime in runtimes() {
            let root = scratch();
            let grant = Grant::new(root.path()).layout(layout);
            opened(&grant).create_text("\"old\"", 1).unwrap();
            let (mut given_up, mut old) = (0, 0);
            // A loaded machine may see what is unfinished too late, but not every time.
            for round in 0.. {
                if round >= 6 && given_up >= 2 && old >= 1 {
                    break;
                }
                assert!(round < 60, "{given_up} were given up, {old} were undone");
                let before = opened(&grant).restore_text().unwrap();
                let seq = before.seq + 1;
                let name = seq.to_string();
                // A call that goes on without its caller, and a writer that is between two calls.
                let is_call = round % 2 == 0;
                let size = LARGE.to_string();
                let args = match is_call {
                    true => vec!["create-large", &name, &size],
                    false => vec!["stream", &name, "10", &in_pieces],
                };
                let tmp = unfinished(root.path(), layout, seq);
                let ended = runtime.block_on(async {
                    let snapshots = host.snapshots(grant.clone());
                    host.run_until(&component, snapshots, &args, is_there(&tmp)).await
                });
                given_up += usize::from(is_given_up(&ended));
                // In the runtime, where nothing may block, and outside of it.
                match round % 4 < 2 {
                    true => runtime.block_on(async { drop(ended) }),
                    false => drop(ended),
                }
                let mut store = opened(&grant);
                let after = store.restore_text().unwrap();
                assert_eq!(after.skipped, []);
                if after.seq == before.seq {
                    assert!(after.state == before.state, "round {round}: another state is stored");
                    old += 1;
                } else {
                    assert_eq!(after.seq, seq, "round {round}");
                    // One token is stored as it is.
                    let is_whole = match is_call {
                        true => after.state == large,
                        false => after.state.split(['\n', ' ']).collect::<String>() == in_pieces,
                    };
                    assert!(is_whole, "round {round}: it is not whole");
                }
                store.create_text("\"next\"", seq + 1).unwrap();
                assert!(!tmp.exists() && store.restore_text().unwrap().state == "\"next\"");
            }
        }
    }
}

#[test]
fn a_call_that_its_host_gives_up_keeps_its_store_busy_until_it_has_ended() {
    let (host, component) = host();
    let size = LARGE.to_string();
    for layout in LAYOUTS {
        for runtime in runtimes() {
            let root = scratch();
            let grant = Grant::new(root.path()).layout(layout);
            let mut snapshots = host.snapshots(grant.clone());
            let mut busy = 0;
            for round in 0_u64.. {
                if round >= 4 && busy > 0 {
                    break;
                }
                assert!(round < 60, "no call was given up before it had ended");
                let [seq, next] = [2 * round + 1, 2 * round + 2].map(|seq| seq.to_string());
                let tmp = unfinished(root.path(), layout, 2 * round + 1);
                snapshots = runtime.block_on(async {
                    let args = ["create-large", &seq, &size];
                    let mut ended = host.run_until(&component, snapshots, &args, is_there(&tmp)).await;
                    is_given_up(&ended);
                    let started = Instant::now();
                    // The call that was given up cannot be undone, but whoever asks is told, by the host and in it.
                    loop {
                        let is_busy = matches!(ended.snapshots.store(), Err(Error::Busy(_)));
                        busy += usize::from(is_busy);
                        let args = ["create", &next, "2", "restore"];
                        ended = host.run_async(&component, ended.snapshots, &args).await;
                        if ended.printed == format!("ok\n{next} 2\n") {
                            return ended.snapshots;
                        }
                        assert!(is_busy && ended.printed.starts_with("busy\n"), "{ended:?}");
                        assert!(started.elapsed() < Duration::from_secs(60), "it is busy for ever");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                });
            }
            let mut store = runtime.block_on(snapshots.into_store_async()).unwrap();
            assert_eq!((store.restore_text().unwrap().state.as_str(), store.exists().unwrap()), ("2", true));
        }
    }
}

/// The pool has room for no more instances than may be alive.
#[test]
fn many_threads_on_one_store_component_get_their_own_data_by_few_instances() {
    const THREADS: usize = 16;
    const STORES: usize = 4;
    const IDLE: usize = 2;
    let alive = u32::try_from(THREADS + IDLE).unwrap();
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(alive).total_memories(alive).total_core_instances(100 * alive);
    pool.total_tables(100 * alive);
    let mut config = cached_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let minisnap = Minisnap::builder().config(config).max_idle(IDLE).build().unwrap();
    let root = scratch();
    let started = Barrier::new(THREADS);
    let mut stores: Vec<SnapshotStore> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (minisnap, started, root) = (minisnap.clone(), &started, root.path());
                scope.spawn(move || {
                    let mut stores: Vec<_> = (0..STORES)
                        .map(|store| {
                            let grant = Grant::new(root.join(format!("{thread}-{store}")));
                            minisnap.open(grant.layout(LAYOUTS[store % 2])).unwrap()
                        })
                        .collect();
                    started.wait();
                    for seq in 1..=20 {
                        for (number, store) in stores.iter_mut().enumerate() {
                            store.create(&(thread, number, seq), seq).unwrap();
                            // Its instance may be dropped between two calls.
                            if seq % 3 == 0 {
                                thread::yield_now();
                            }
                            let restored = store.restore::<(usize, usize, u64)>().unwrap();
                            assert_eq!((restored.state, restored.seq), ((thread, number, seq), seq));
                        }
                    }
                    stores
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // An instance with a stream is not idle: as many as there is room for, beside those that are.
    let mut readers = Vec::new();
    let refused =
        stores.iter_mut().find_map(|store| store.open_reader().map(|reader| readers.push(reader)).err());
    let refused = refused.expect("the pool is not so large");
    assert!(matches!(refused, Error::Component(_)), "{refused:?}");
    assert!((THREADS..=THREADS + IDLE).contains(&readers.len()), "{} were alive", readers.len());
}

#[test]
fn a_call_of_the_host_is_made_in_its_runtime() {
    let dir = scratch();
    for runtime in runtimes() {
        let grant = Grant::new(dir.path());
        let seq = runtime.block_on(async {
            let mut snapshots = SnapshotCtx::new(minisnap().open_async(grant).await.unwrap());
            let task = snapshots.call(|store| {
                store.create_text("1", 1)?;
                Ok(tokio::spawn(async { 7 }))
            });
            let seven = task.await.unwrap().await.unwrap();
            snapshots.into_store_async().await.unwrap();
            seven
        });
        assert_eq!(seq, 7);
    }
}

#[test]
fn a_call_that_blocks_in_a_task_is_an_error() {
    let is_refused =
        |error: Error| matches!(&error, Error::Io(_)) && error.to_string().contains("`SnapshotCtx::call`");
    for runtime in runtimes() {
        let dir = scratch();
        let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
        store.create_text("1", 1).unwrap();
        runtime.block_on(async {
            assert!(is_refused(store.create_text("2", 2).unwrap_err()));
            assert!(is_refused(store.create(&2, 2).unwrap_err()));
            assert!(is_refused(store.create(&"x".repeat(1 << 20), 2).unwrap_err()));
            let denied = minisnap().open(Grant::none()).unwrap().restore_text();
            assert!(matches!(denied, Err(Error::AccessDenied(_))));
            let mut lazy = SnapshotCtx::lazy(minisnap(), Grant::new(dir.path().join("lazy"))).unwrap();
            assert!(is_refused(lazy.store().map(drop).unwrap_err()) && !dir.path().join("lazy").exists());
            assert!(is_refused(store.restore_text().unwrap_err()));
            assert!(is_refused(store.open_writer(2).map(drop).unwrap_err()));
        });
        // A stream that is dropped there is undone, and in nobody's way.
        let mut writer = store.open_writer(2).unwrap();
        writer.write_chunk(b"[").unwrap();
        runtime.block_on(async { drop(writer) });
        let reader = store.open_reader().unwrap();
        runtime.block_on(async { drop(reader) });
        store.create_text("2", 2).unwrap();
        assert!(is_only_a_pair(dir.path()));
        // Where a runtime's threads may block, all is as without one.
        let store = runtime.block_on(async {
            let task = tokio::task::spawn_blocking(move || {
                store.create_text("3", 3).unwrap();
                store
            });
            task.await.unwrap()
        });
        let mut store = store;
        store.open_writer(4).unwrap().write_chunk(b"[").unwrap();
        runtime.block_on(async { drop(store) });
        assert_eq!(opened(&Grant::new(dir.path())).newest_seq().unwrap(), 3);
    }
}

fn is_only_a_pair(dir: &Path) -> bool {
    names(dir) == ["snapshot.json", "snapshot.seq", "snapshot.sum"]
}

/// A component that keeps no snapshots takes no directory from anybody, and one that does opens it by its first call.
#[test]
fn snapshots_that_are_lazy_are_opened_by_the_first_call() {
    let minisnap = minisnap();
    let asynchronous = Host::new_async(&Config::new(), minisnap);
    let synchronous = Host::new(&Config::new(), minisnap);
    for runtime in [None].into_iter().chain(runtimes().map(Some)) {
        let host = if runtime.is_some() { &asynchronous } else { &synchronous };
        let component = host.load(VERBS);
        let run = |snapshots: SnapshotCtx, args: &[&str]| match &runtime {
            Some(runtime) => runtime.block_on(host.run_async(&component, snapshots, args)),
            None => host.run(&component, snapshots, args),
        };
        let root = scratch();
        let grant = Grant::new(root.path().join("dir"));
        let lazy = || SnapshotCtx::lazy(minisnap, grant.clone()).unwrap();

        let ended = run(lazy(), &["open", "", "open", "agent"]);
        assert!(ended.trap.is_none() && !grant.dir.exists(), "{ended:?}");
        let other = opened(&grant);
        // An error is that of a call, and the next one opens it.
        let ended = run(ended.snapshots, &["create", "1", "1"]);
        assert!(ended.trap.is_none() && ended.printed.starts_with("busy"), "{ended:?}");
        drop(other);
        let ended = run(ended.snapshots, &["create", "1", "\"state\"", "restore"]);
        assert_eq!(ended.printed, "ok\n1 \"state\"\n");
        assert!(matches!(minisnap.open(grant.clone()), Err(Error::Busy(_))));
        drop(ended);
        opened(&grant);

        let mut snapshots = lazy();
        let seq = match &runtime {
            Some(runtime) => runtime.block_on(snapshots.call(|store| store.newest_seq())),
            None => snapshots.store().unwrap().newest_seq(),
        };
        assert_eq!(seq.unwrap(), 1);
        match &runtime {
            Some(runtime) => drop(runtime.block_on(lazy().into_store_async()).unwrap_err()),
            None => drop(lazy().into_store().unwrap_err()),
        }
        drop(snapshots);
        if let Some(runtime) = &runtime {
            // A first call that is given up opens the store, or not, and the next one finds it.
            let mut given_up = lazy();
            let seq = runtime.block_on(async {
                let first = given_up.call(|store| store.newest_seq());
                drop(tokio::time::timeout(Duration::ZERO, first).await);
                loop {
                    match given_up.call(|store| store.newest_seq()).await {
                        Err(Error::Busy(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
                        seq => break seq,
                    }
                }
            });
            assert_eq!(seq.unwrap(), 1);
            // One that panics has nothing to go on with, and says so.
            let panicked = runtime.block_on(lazy().call(|_| -> Result<(), Error> { panic!("as told") }));
            assert!(panicked.is_err());
        }
        // What is granted nothing makes nothing.
        let mut nothing = SnapshotCtx::lazy(minisnap, Grant::none()).unwrap();
        let denied = match &runtime {
            Some(runtime) => runtime.block_on(nothing.call(|store| store.restore_text())),
            None => nothing.store().unwrap().restore_text(),
        };
        assert!(matches!(denied, Err(Error::AccessDenied(_))), "{denied:?}");
    }
}
