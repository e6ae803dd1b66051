//! Components whose snapshots are in an object store, which is in memory here: they cannot tell, and what is cached, damaged
//! or gone is found. Whose a store is: `remote_owners.rs`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use minisnap_host::remote::{Bucket, Limits, RemoteStore, TakeOver};
use minisnap_host::{Error, Grant, Layout, SnapshotCtx, SnapshotStore, Soundness};
use minisnap_tests::host::Host;
use minisnap_tests::nodes::{Fleet, KEEP, Node};
use minisnap_tests::random::Random;
use minisnap_tests::{VERBS, names, rounds};
use object_store::ObjectStoreExt;
use tempfile::tempdir;
use wasmtime::Config;
use wasmtime::component::Component;

pub(crate) fn number(store: &mut SnapshotStore) -> u64 {
    store.restore_text().unwrap().seq
}

pub(crate) fn is_busy(error: &Error, owner: &str) -> bool {
    matches!(error, Error::Busy(what) if what.contains(owner))
}

/// What a component is told to do, as it comes.
fn script(random: &mut Random) -> Vec<String> {
    let mut script = Vec::new();
    for _ in 0..=random.below(12) {
        let seq = random.below(9).to_string();
        let state =
            ["[1, 2]", "{\"a\": [true, \"b\"]}", "[1,", "\"x\"", "7"][random.below(5) as usize].to_owned();
        let size = (1 + random.below(9)).to_string();
        script.extend(match random.below(16) {
            0 | 1 => vec!["create".to_owned(), seq, state],
            2 => vec!["create-large".to_owned(), seq, (random.below(300)).to_string()],
            3 => vec!["stream".to_owned(), seq, size, state],
            4 => vec!["restore".to_owned()],
            5 => vec!["restore-at".to_owned(), seq],
            6 => vec!["list".to_owned()],
            7 => vec!["oldest-kept".to_owned()],
            8 => vec!["newest-seq".to_owned()],
            9 => vec!["read-in".to_owned(), size],
            10 => vec!["exists".to_owned()],
            11 => vec!["info".to_owned()],
            12 => vec!["abandon".to_owned(), "99".to_owned()],
            13 => vec!["names".to_owned()],
            14 => vec!["open".to_owned(), ["snapshot_1", "a b", "d"][random.below(3) as usize].to_owned()],
            _ => vec!["in".to_owned(), ["", "a", "b", "c"][random.below(4) as usize].to_owned()],
        });
    }
    script
}

fn run(host: &Host, verbs: &Component, grant: Grant, script: &[String]) -> Vec<String> {
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let ended = host.run(verbs, host.snapshots(grant), &script);
    // It expects a writer, which a store that may not be made does not give.
    let trapped = ended.trap.map(|_| "trapped".to_owned());
    ended.printed.lines().map(str::to_owned).chain(trapped).collect()
}

#[test]
fn a_component_cannot_tell_where_its_snapshots_are() {
    for seed in 0..rounds(30, 200) {
        let (fleet, mut random) = (Fleet::new(), Random::of(seed));
        let nodes = [fleet.node("a"), fleet.node("b")];
        let local = tempdir().unwrap();
        let hosts = nodes.each_ref().map(|node| Host::new(&Config::new(), &node.minisnap));
        let verbs = hosts.each_ref().map(|host| host.load(VERBS));
        let limited = |grant: Grant| grant.stores(2).max_state(200).max_total(500);
        let grant =
            Grant::new(local.path().join("ledger")).layout(Layout::Numbered).keep(KEEP.try_into().unwrap());
        for _ in 0..4 {
            let script = script(&mut random);
            let at = random.below(2) as usize;
            let there = run(&hosts[at], &verbs[at], limited(nodes[at].grant()), &script);
            let here = run(&hosts[at], &verbs[at], limited(grant.clone()), &script);
            assert_eq!(there, here, "seed {seed}: {script:?}");
        }
    }
}

#[test]
fn a_create_is_two_puts_and_a_delete_and_a_restore_reads_what_is_in_the_cache() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    let counts = || fleet.objects.counts().into_iter().collect::<Vec<_>>();
    // The server is tried first.
    assert_eq!(counts(), [("DELETE", 2), ("GET", 5), ("LIST", 2), ("PUT if match", 3), ("PUT if none", 3)]);
    drop(store);
    assert_eq!(counts(), [("PUT if match", 1)]);
    store = node.open();
    assert_eq!(counts(), [("GET", 1), ("LIST", 1), ("PUT if match", 1)]);
    for seq in 1..=u64::from(KEEP) {
        store.create_text("[1]", seq).unwrap();
    }
    fleet.objects.counts();
    store.create_text("[2]", 4).unwrap();
    store.create_text("[3]", 5).unwrap();
    // The deletions are in another thread, of which the last may be under way.
    let mut counts = fleet.objects.counts();
    let deleted = counts.remove("DELETE").unwrap_or(0);
    assert!((0..=3).contains(&deleted), "{deleted} deletions");
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("PUT", 2), ("PUT if match", 2)]);
    let gets = |store: &mut SnapshotStore| {
        fleet.objects.counts();
        assert_eq!(number(store), 5);
        let mut counts = fleet.objects.counts();
        counts.remove("DELETE");
        counts.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(gets(&mut store), [("GET", 1)], "of the head");
    let mut reader = fleet.node("b").reader();
    assert_eq!(gets(&mut reader), [("GET", 2)]);
    assert_eq!(gets(&mut reader), [("GET", 1)]);
    for call in [SnapshotStore::newest_seq, SnapshotStore::oldest_kept] {
        call(&mut reader).unwrap();
        let mut counts = fleet.objects.counts();
        counts.remove("DELETE");
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("GET", 1)]);
    }
}

#[test]
fn what_lies_in_the_cache_is_believed_by_its_sum_alone() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    store.create_text("\"right\"", 7).unwrap();
    drop(store);
    let staging = node.dir().join(".staging");
    let file = staging.join("snapshot_00000000000000000007.json");
    let right = fs::read(&file).unwrap();
    let wrong = String::from_utf8(right.clone()).unwrap().replace("right", "wrong");
    // As an earlier crash, or anybody, may have left it.
    for left in [wrong.as_bytes(), b"", &right[..9]] {
        fs::write(&file, left).unwrap();
        fs::write(staging.join("snapshot_00000000000000000009.json"), &right).unwrap();
        fs::write(staging.join("fetched.tmp"), "x").unwrap();
        let mut store = node.open();
        let restored = store.restore_text().unwrap();
        assert_eq!((restored.seq, restored.state.as_str()), (7, "\"right\""));
        assert_eq!(names(&staging), ["snapshot_00000000000000000007.json"]);
        fs::write(&file, left).unwrap();
        fs::write(staging.join("snapshot_00000000000000000009.json"), &right).unwrap();
        store.create_text("\"right\"", 7).unwrap();
        fs::remove_dir_all(&staging).unwrap();
        assert_eq!(number(&mut store), 7);
        fs::remove_dir_all(&staging).unwrap();
        store.create_text("\"right\"", 7).unwrap();
    }
    assert_eq!(fs::read(&file).unwrap(), right);
}

#[test]
fn a_generation_that_is_damaged_or_gone_is_skipped_and_said() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    for seq in 1..=3 {
        store.create_text(&format!("[{seq}]"), seq).unwrap();
    }
    let keys = fleet.generations("ledger");
    let size = fleet.by_hand(async |objects| objects.head(&keys[2]).await.unwrap().size);
    let damaged = "x".repeat(usize::try_from(size).unwrap());
    fleet.by_hand(async |objects| objects.put(&keys[2], damaged.into()).await.unwrap());
    fleet.by_hand(async |objects| objects.delete(&keys[1]).await.unwrap());
    let mut reader = fleet.node("b").reader();
    let restored = reader.restore_text().unwrap();
    let skipped: Vec<_> = restored.skipped.iter().map(|skipped| skipped.seq).collect();
    assert_eq!((restored.seq, skipped), (1, vec![3, 2]));
    let problem = &restored.skipped[0].problem;
    assert!(problem.ends_with("snapshot_00000000000000000003.json` is not what was put there"), "{problem}");
    assert_eq!(reader.open_reader().unwrap().skipped(), restored.skipped);
    assert!(matches!(reader.restore_text_at(3), Err(Error::Corrupt(_))));
    assert!(matches!(reader.restore_text_at(4), Err(Error::NotFound)));
    assert_eq!(reader.info().unwrap().seq, 1);
    let infos = reader.generations().unwrap();
    let sound = infos.iter().map(|info| (info.seq, info.soundness == Soundness::Verified));
    assert_eq!(sound.collect::<Vec<_>>(), [(3, false), (2, false), (1, true)]);
    // Who writes sets aside what is found damaged.
    drop(store);
    let mut store = node.open();
    fs::remove_dir_all(node.dir().join(".staging")).unwrap();
    assert_eq!(number(&mut store), 1);
    store.create_text("[2]", 2).unwrap();
    assert_eq!(number(&mut store), 2);
}

/// Puts a generation that is no snapshot of the store's component.
fn put_raw(fleet: &Fleet, node: &Node, seq: u64) {
    let file = node.root.path().join("file");
    fs::write(&file, "{\"seq\":2,\"state\":[2").unwrap();
    let bucket = Bucket::new("s3://bucket/prefix".parse().unwrap(), fleet.objects.clone()).unwrap();
    let mut raw = RemoteStore::new(Arc::new(bucket), "ledger");
    raw.open("c", TakeOver::Anyone, Duration::from_secs(9)).unwrap();
    let limits = Limits { keep: 3.try_into().unwrap(), max_total: None, damaged: Vec::new() };
    raw.create(&file, seq, limits, Duration::from_secs(9)).unwrap();
}

/// The object is what was put, but that was no snapshot of the store's component.
#[test]
fn a_generation_that_was_damaged_before_it_was_put_is_skipped() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    store.create_text("[1]", 1).unwrap();
    drop(store);
    put_raw(&fleet, &node, 2);
    let mut store = node.open();
    let restored = store.restore_text().unwrap();
    assert_eq!((restored.seq, restored.skipped[0].seq), (1, 2));
    assert!(matches!(store.restore_text_at(2), Err(Error::Corrupt(_))));
    assert!(matches!(store.rollback(2), Err(Error::Corrupt(_))));
    assert_eq!(store.info().unwrap().seq, 1);
    store.create_text("[2, 2]", 2).unwrap();
    let restored = store.restore_text().unwrap();
    assert_eq!((restored.seq, restored.skipped.len()), (2, 0));
}

#[test]
fn a_reader_changes_nothing_and_leaves_nothing() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut reader = node.reader();
    assert!(matches!(reader.restore_text(), Err(Error::NotFound)));
    assert_eq!(reader.generations().unwrap(), []);
    assert!(matches!(reader.layout(), Err(Error::NotFound)));
    assert!(matches!(reader.create_text("1", 1), Err(Error::AccessDenied(_))));
    node.open().create_text("1", 1).unwrap();
    // While another writes.
    let mut store = node.open();
    assert_eq!(number(&mut reader), 1);
    let mut stream = reader.open_reader().unwrap();
    for seq in 2..9 {
        store.create_text("[2]", seq).unwrap();
    }
    assert_eq!(stream.read_chunk(9).unwrap(), b"1");
    drop(stream);
    let before = names(&node.dir().join(".staging"));
    fleet.objects.counts();
    assert_eq!((number(&mut reader), reader.generations().unwrap().len()), (8, KEEP as usize));
    drop(reader);
    let counts = fleet.objects.counts();
    assert!(counts.keys().all(|what| ["GET", "DELETE"].contains(what)), "{counts:?}");
    assert_eq!(names(&node.dir().join(".staging")), before);
}

#[test]
fn going_back_and_clearing_are_told_as_of_a_directory() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    let told = store.rollback(1);
    assert!(matches!(told, Err(Error::NotFound)), "{told:?}");
    assert_eq!(store.clear().unwrap(), [""; 0]);
    for seq in 1..=3 {
        store.create_text(&format!("[{seq}]"), seq).unwrap();
    }
    assert_eq!(store.layout().unwrap(), Layout::Numbered);
    assert_eq!(store.settle().unwrap(), 0);
    assert!(matches!(store.create_text("1", 2), Err(Error::Stale(3))));
    assert_eq!(store.rollback(1).unwrap(), [3, 2]);
    assert_eq!((number(&mut store), store.newest_seq().unwrap()), (1, 1));
    store.create_text("[2, 2]", 2).unwrap();
    let files = [
        "snapshot_00000000000000000001.json",
        "snapshot_00000000000000000002.json",
        "snapshot_00000000000000000002.json.undone",
        "snapshot_00000000000000000003.json.undone",
    ];
    assert_eq!(store.files().unwrap().own, files);
    assert_eq!(store.clear().unwrap(), files);
    assert!(!store.exists().unwrap());
    store.create_text("1", 1).unwrap();
    assert_eq!(number(&mut store), 1);
}

/// Without a restore before it: the number of one that is damaged may be used again.
#[test]
fn a_create_is_compared_with_the_newest_sound_generation() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    store.create_text("1", 1).unwrap();
    drop(store);
    put_raw(&fleet, &node, 3);
    fleet.by_hand(async |objects| {
        let key = fleet.generations_in(objects, "ledger").await.pop().unwrap();
        objects.put(&key, "x".into()).await.unwrap();
    });
    let mut store = node.open();
    assert!(matches!(store.create_text("0", 0), Err(Error::Stale(_))));
    store.create_text("2", 2).unwrap();
    assert_eq!(number(&mut store), 2);
}

#[test]
fn where_nothing_is_sound_no_log_may_be_truncated() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    for seq in 1..=2 {
        store.create_text(&format!("[{seq}]"), seq).unwrap();
    }
    drop(store);
    for key in fleet.generations("ledger") {
        fleet.by_hand(async |objects| objects.put(&key, "x".into()).await.unwrap());
    }
    let mut reader = fleet.node("b").reader();
    assert!(matches!(reader.oldest_kept(), Err(Error::Corrupt(_))));
    assert!(matches!(reader.restore_text(), Err(Error::Corrupt(_))));
    assert_eq!(reader.newest_seq().unwrap(), 2);
}

/// The newest is what was put, and no snapshot; the one below it is gone.
#[test]
fn a_restore_goes_on_until_a_generation_is_sound() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    for seq in 1..=2 {
        store.create_text(&format!("[{seq}]"), seq).unwrap();
    }
    drop(store);
    put_raw(&fleet, &node, 3);
    let keys = fleet.generations("ledger");
    fleet.by_hand(async |objects| objects.delete(&keys[1]).await.unwrap());
    let restored = fleet.node("b").reader().restore_text().unwrap();
    let skipped: Vec<_> = restored.skipped.iter().map(|skipped| skipped.seq).collect();
    assert_eq!((restored.seq, skipped), (1, vec![3, 2]));
}

#[test]
fn nothing_is_rolled_back_under_an_open_writer() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    for seq in 1..=2 {
        store.create_text("1", seq).unwrap();
    }
    let mut ctx = SnapshotCtx::new(store);
    let host = Host::new(&Config::new(), &node.minisnap);
    ctx = host.run(&host.load(VERBS), ctx, &["hold", "3"]).snapshots;
    assert!(matches!(ctx.store().unwrap().rollback(1), Err(Error::Busy(_))));
    assert!(matches!(ctx.store().unwrap().clear(), Err(Error::Busy(_))));
    ctx.store().unwrap().end_streams();
    assert_eq!(ctx.store().unwrap().rollback(1).unwrap(), [2]);
}

#[test]
fn a_store_without_a_directory_works_in_a_temporary_folder() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let grant = Grant::new("").remote(node.grant().remote.unwrap());
    node.minisnap.open(grant.clone()).unwrap().create_text("1", 1).unwrap();
    assert_eq!(number(&mut node.minisnap.open(grant).unwrap()), 1);
    assert_eq!(names(node.root.path()), [""; 0]);
}

/// In a task, nothing may block: neither a call nor the end of a store.
#[test]
fn a_component_that_is_called_asynchronously_lets_go_of_its_store() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node("a"), fleet.node("b"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = Host::new_async(&Config::new(), &a.minisnap);
        let ctx = SnapshotCtx::lazy(&a.minisnap, a.grant()).unwrap();
        let script = ["create", "1", "[1]", "stream", "2", "1", "[2]", "restore", "read-in", "9"];
        let ended = host.run_async(&host.load(VERBS), ctx, &script).await;
        assert_eq!(ended.printed, "ok\nok\n2 [2]\n2 [2], 0 skipped\n");
        drop(ended);
    });
    let released = b.grant().remote.unwrap().take_over(TakeOver::Nobody);
    let mut waited = Duration::ZERO;
    let mut store = loop {
        match b.minisnap.open(b.grant().remote(released.clone())) {
            Err(Error::Busy(_)) if waited < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(10));
                waited += Duration::from_millis(10);
            }
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(number(&mut store), 2);
}
