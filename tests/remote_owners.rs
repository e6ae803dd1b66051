//! Whose a store in an object store is: another node takes it over, the one from which it was taken is told, and what a node
//! begins with is not taken for something else. The object store is in memory here.

use std::fs;
use std::path::Path;
use std::time::Duration;

use minisnap_host::remote::TakeOver;
use minisnap_host::{Error, Grant};
use minisnap_tests::VERBS;
use minisnap_tests::host::Host;
use minisnap_tests::nodes::{Fleet, Node};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use wasmtime::Config;

use crate::remote_components::{is_busy, number};

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
    let later = fleet.node("d");
    fs::create_dir_all(later.dir()).unwrap();
    fs::write(later.dir().join("snapshot.layout"), "2\n").unwrap();
    assert!(later.minisnap.open(later.grant()).unwrap_err().to_string().contains("has no snapshots"));
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

#[test]
fn nothing_is_granted_in_an_object_store_where_nothing_is_granted() {
    let fleet = Fleet::new();
    let node = fleet.node("a");
    let grant = Grant::none().remote(node.grant().remote.unwrap());
    assert!(matches!(node.minisnap.open(grant).unwrap().restore_text(), Err(Error::AccessDenied(_))));
    assert_eq!(fleet.objects.counts().len(), 0);
    assert!(!Path::new(&node.dir()).exists());
}
