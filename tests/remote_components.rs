//! Components whose snapshots are in an object store, which is in memory here: they cannot tell, another node takes over, and
//! the one from which it was taken is told.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minisnap_host::remote::{Bucket, Limits, RemoteStore, TakeOver};
use minisnap_host::{Error, Grant, Layout, SnapshotCtx, SnapshotStore, Soundness};
use minisnap_tests::host::Host;
use minisnap_tests::nodes::{Fleet, KEEP, Node};
use minisnap_tests::random::Random;
use minisnap_tests::{VERBS, names, rounds};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use tempfile::tempdir;
use wasmtime::Config;
use wasmtime::component::Component;

fn number(store: &mut SnapshotStore) -> u64 {
    store.restore_text().unwrap().seq
}

fn is_busy(error: &Error, owner: &str) -> bool {
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
fn another_node_takes_over_and_the_first_one_is_told() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node("node-a"), fleet.node("node-b"));
    let mut first = a.open();
    first.create_text("\"ten\"", 10).unwrap();
    // It waits here while it is taken over.
    let mut writer = first.open_writer(11).unwrap();
    writer.write_chunk(b"\"eleven of a\"").unwrap();
    let mut second = b.open();
    assert_eq!(number(&mut second), 10);
    second.create_text("\"eleven of b\"", 11).unwrap();
    let told = writer.commit().unwrap_err();
    assert!(is_busy(&told, "node-b"), "{told}");
    let told = first.create_text("12", 12).unwrap_err();
    assert!(is_busy(&told, "node-b"), "{told}");
    let told = first.rollback(10).unwrap_err();
    assert!(is_busy(&told, "node-b"), "{told}");
    // Its reads go on, and nothing of what it has made is in the way.
    let restored = first.restore_text().unwrap();
    assert_eq!((restored.seq, restored.state.as_str()), (11, "\"eleven of b\""));
    second.create_text("\"twelve\"", 12).unwrap();
    assert_eq!(number(&mut first), 12);
    drop(first);
    assert_eq!(number(&mut a.open()), 12);
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

#[test]
fn a_store_is_taken_from_its_owner_as_the_grant_says() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node("node-a"), fleet.node("node-b"));
    let granted = |node: &Node, take_over| {
        let grant = node.grant();
        let remote = grant.remote.clone().unwrap().take_over(take_over);
        node.minisnap.open(grant.remote(remote))
    };
    let first = granted(&a, TakeOver::Nobody).unwrap();
    for take_over in [TakeOver::Nobody, TakeOver::Itself] {
        let told = granted(&b, take_over).unwrap_err();
        assert!(is_busy(&told, "node-a"), "{told}");
    }
    // A second process of the same node is kept out by its directory.
    assert!(matches!(granted(&a, TakeOver::Anyone), Err(Error::Busy(_))));
    drop(first);
    let mut second = granted(&b, TakeOver::Nobody).unwrap();
    second.create_text("1", 1).unwrap();
    let mut third = granted(&a, TakeOver::Anyone).unwrap();
    assert!(second.create_text("2", 2).is_err());
    third.create_text("2", 2).unwrap();
    // Who was fenced does not let go of what is another's.
    drop(second);
    third.create_text("3", 3).unwrap();
}

#[test]
fn a_directory_with_snapshots_is_not_taken_for_the_cache_of_an_empty_store() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    node.minisnap.open(Grant::new(node.dir())).unwrap().create_text("1", 1).unwrap();
    let told = node.minisnap.open(node.grant()).unwrap_err();
    let what = told.to_string();
    assert!(
        matches!(told, Error::Io(_)) && what.contains("has no snapshots") && what.contains("ledger"),
        "{what}"
    );
    assert_eq!(number(&mut node.minisnap.open(Grant::new(node.dir())).unwrap()), 1);
    let agent = fleet.node("c");
    agent.minisnap.open(Grant::new(agent.dir().join("agent-7"))).unwrap().create_text("1", 1).unwrap();
    assert!(agent.minisnap.open(agent.grant()).unwrap_err().to_string().contains("has no snapshots"));
    // Once there are some, those in the directory are of the past.
    fleet.node("b").open().create_text("2", 2).unwrap();
    assert_eq!(number(&mut node.open()), 2);
    assert_eq!(number(&mut node.minisnap.open(Grant::new(node.dir())).unwrap()), 1);
}

#[test]
fn a_store_that_must_exist_was_written_before() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let told = node.minisnap.open(node.grant().must_exist()).unwrap_err();
    assert!(told.to_string().contains("must exist"), "{told}");
    let told = node.minisnap.open(node.grant().must_exist().read_only()).unwrap().restore_text().unwrap_err();
    assert!(matches!(told, Error::Io(_)) && told.to_string().contains("must exist"), "{told}");
    node.open().create_text("1", 1).unwrap();
    assert_eq!(number(&mut node.minisnap.open(node.grant().must_exist()).unwrap()), 1);
}

#[test]
fn named_stores_are_counted_wherever_they_were_made() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node("a"), fleet.node("b"));
    let create = |node: &Node, name: &str| {
        let host = Host::new(&Config::new(), &node.minisnap);
        let script = ["in", name, "create", "1", "1", "names"];
        let snapshots = host.snapshots(node.grant().stores(2));
        host.run(&host.load(VERBS), snapshots, &script).printed
    };
    assert_eq!(create(&a, "one"), "ok\none\n");
    assert_eq!(create(&b, "two"), "ok\none, two\n");
    assert_eq!(create(&a, "three"), "access-denied\none, two\n");
    assert_eq!(create(&b, "one"), "ok\none, two\n");
    let told = create(&b, "ONE");
    assert_eq!(told, "access-denied\none, two\n");
}

/// One host sleeps while the component is taken over, with named stores that it has written, has read, and has never seen.
#[test]
fn whoever_takes_a_component_over_has_its_named_stores_too() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node("node-a"), fleet.node("node-b"));
    let hosts = [&a, &b].map(|node| Host::new(&Config::new(), &node.minisnap));
    let verbs = hosts.each_ref().map(|host| host.load(VERBS));
    let grant = |node: &Node| node.grant().stores(9);
    let run = |at: usize, snapshots, script: &str| {
        let script: Vec<&str> = script.split(' ').collect();
        let ended = hosts[at].run(&verbs[at], snapshots, &script);
        (ended.printed, ended.snapshots)
    };
    let first = "in written create 8 8 in read create 8 8 in other create 8 8";
    drop(run(0, hosts[0].snapshots(grant(&a)), first));
    let (said, asleep) = run(
        0,
        hosts[0].snapshots(grant(&a)),
        "texts in written create 9 9 in held create 9 9 in read restore in new restore",
    );
    assert_eq!(said, "ok\nok\n8 8\nnone\n");
    let (said, awake) = run(
        1,
        hosts[1].snapshots(grant(&b)),
        "in written restore create 10 10 in held restore in read restore in new restore create 1 1",
    );
    assert_eq!(said, "9 9\nok\n9 9\n8 8\nnone\nok\n");
    let (said, asleep) = run(
        0,
        asleep,
        "texts in written create 11 11 in held create 10 10 in read create 9 9 in other create 9 9 in new create 2 2 in newer create 1 1",
    );
    assert_eq!(said.lines().count(), 6);
    assert!(
        said.lines().all(|line| line.starts_with("busy: the snapshot directory was taken over")),
        "{said}"
    );
    let (said, _) = run(
        1,
        awake,
        "in held restore in written create 11 11 in read create 9 9 in other restore create 9 9 in new restore in newer restore names",
    );
    assert_eq!(said, "9 9\nok\nok\n8 8\nok\n1 1\nnone\nheld, new, other, read, written\n");
    // Reads go on.
    let (said, _) = run(0, asleep, "in written restore in other restore");
    assert_eq!(said, "11 11\n9 9\n");
}

#[test]
fn the_first_call_on_a_named_store_claims_it_and_the_next_does_not() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let host = Host::new(&Config::new(), &node.minisnap);
    let verbs = host.load(VERBS);
    let run = |snapshots, script: &str| {
        fleet.objects.counts();
        let ended = host.run(&verbs, snapshots, &script.split(' ').collect::<Vec<_>>());
        (ended.snapshots, fleet.objects.counts().into_iter().collect::<Vec<_>>())
    };
    let grant = node.grant().stores(9);
    drop(run(host.snapshots(grant.clone()), "in one create 1 1"));
    let (snapshots, counts) = run(host.snapshots(grant), "in one restore");
    // One of them is the restore's own, of which the file is in the cache.
    assert_eq!(counts, [("GET", 6), ("LIST", 1), ("PUT if match", 1)]);
    let (_, counts) = run(snapshots, "in one restore");
    assert_eq!(counts, [("GET", 1)]);
}

#[test]
fn a_restore_tells_what_became_of_a_create_in_doubt() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.minisnap.open(node.grant().deadline(Duration::from_secs(2))).unwrap();
    store.create_text("5", 5).unwrap();
    let late = Duration::from_secs(4);
    fleet.objects.make_swaps_late(Some(late));
    let told = store.create_text("6", 6).unwrap_err();
    assert!(matches!(told, Error::InDoubt(_)), "{told}");
    // As long as it cannot be found out, nothing is told.
    let told = store.restore_text().unwrap_err();
    assert!(matches!(told, Error::Io(_) | Error::DeadlineExceeded(_)), "{told}");
    fleet.objects.make_swaps_late(None);
    let seq = number(&mut store);
    assert_eq!(store.newest_seq().unwrap(), seq);
    std::thread::sleep(late + Duration::from_secs(1));
    assert_eq!(number(&mut store), seq);
    assert_eq!(number(&mut fleet.node("b").reader()), seq);
}

#[test]
fn a_store_that_is_wiped_while_it_is_open_is_no_first_start() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let mut store = node.open();
    store.create_text("1", 1).unwrap();
    let mut keys = fleet.generations("ledger");
    keys.push(Key::from("prefix/ledger/head.json"));
    for key in keys {
        fleet.by_hand(async |objects| objects.delete(&key).await.unwrap());
    }
    for told in [store.restore_text().map(drop), store.newest_seq().map(drop), store.create_text("2", 2)] {
        assert!(
            matches!(&told, Err(error) if error.to_string().contains("somebody has deleted it")),
            "{told:?}"
        );
    }
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

#[test]
fn nothing_is_granted_in_an_object_store_where_nothing_is_granted() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let grant = Grant::none().remote(node.grant().remote.unwrap());
    assert!(matches!(node.minisnap.open(grant).unwrap().restore_text(), Err(Error::AccessDenied(_))));
    assert_eq!(fleet.objects.counts().len(), 0);
    assert!(!Path::new(&node.dir()).exists());
}
