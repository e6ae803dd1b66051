//! The snapshots of a component in an object store, which is in memory here.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use minisnap_host::Error;
use minisnap_host::remote::{Bucket, Checked, Limits, RemoteStore, TakeOver, Wanted, Why};
use minisnap_tests::contest::{Contest, Rules, fight};
use minisnap_tests::faulty_objects::{Careless, Faulty, Neglect};
use minisnap_tests::rounds;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::{TempDir, tempdir};

const DEADLINE: Duration = Duration::from_secs(20);

fn bucket(objects: Arc<dyn ObjectStore>) -> Arc<Bucket> {
    Arc::new(Bucket::new("s3://bucket/prefix".parse().unwrap(), objects).unwrap())
}

fn limits(keep: usize) -> Limits {
    Limits { keep: NonZeroUsize::new(keep).unwrap(), max_total: None, damaged: Vec::new() }
}

/// A state with its number.
type State = (u64, String);

/// A store in memory, and where its files are.
struct Trial {
    objects: Arc<Faulty>,
    bucket: Arc<Bucket>,
    folder: TempDir,
}

impl Trial {
    fn new() -> Trial {
        let objects = Arc::new(Faulty::new(Arc::new(InMemory::new()), 0, 0));
        Trial { bucket: bucket(objects.clone()), objects, folder: tempdir().unwrap() }
    }

    fn store(&self) -> RemoteStore {
        RemoteStore::new(Arc::clone(&self.bucket), "ledger")
    }

    fn open(&self, node: &str) -> RemoteStore {
        let mut store = self.store();
        store.open(node, TakeOver::Anyone, DEADLINE).unwrap();
        store
    }

    fn create(&self, store: &mut RemoteStore, seq: u64, state: &str) -> Result<(), Error> {
        let file = self.folder.path().join("state");
        fs::write(&file, state).unwrap();
        store.create(&file, seq, limits(3), DEADLINE)
    }

    /// The number and the state that a node finds, and the numbers that it skipped.
    fn restore(&self, wanted: Wanted) -> (Option<State>, Vec<(u64, Why)>) {
        let folder = tempdir().unwrap();
        let found = self.store().restore(wanted, folder.path(), DEADLINE).unwrap();
        let read = |name: String| fs::read_to_string(folder.path().join(name)).unwrap();
        let generation = found.generation.map(|generation| (generation.seq, read(generation.file_name())));
        (generation, found.skipped.iter().map(|skipped| (skipped.generation.seq, skipped.why)).collect())
    }

    /// Does something to the objects.
    fn by_hand<R>(&self, act: impl AsyncFnOnce(&dyn ObjectStore) -> R) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(act(&*self.objects))
    }

    fn key(&self, store: &RemoteStore, at: usize) -> Path {
        Path::from(format!("prefix/ledger/{}", store.head().unwrap().generations[at].key))
    }
}

#[test]
fn another_node_takes_over_and_the_one_before_is_refused() {
    let trial = Trial::new();
    assert_eq!(trial.restore(Wanted::Newest), (None, vec![]));
    let mut first = trial.open("host-a");
    trial.create(&mut first, 10, "ten").unwrap();
    let mut second = trial.open("host-b");
    assert_eq!(trial.restore(Wanted::Newest), (Some((10, "ten".to_owned())), vec![]));
    match trial.create(&mut first, 11, "eleven, late") {
        Err(Error::Busy(what)) => {
            assert!(what.contains("s3://bucket/prefix/ledger") && what.contains("host-b"), "{what}")
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(trial.create(&mut second, 9, "nine"), Err(Error::Stale(10))));
    trial.create(&mut second, 11, "eleven").unwrap();
    assert_eq!(trial.restore(Wanted::Newest).0, Some((11, "eleven".to_owned())));
    assert_eq!(trial.restore(Wanted::Seq(10)).0, Some((10, "ten".to_owned())));
    assert_eq!(trial.restore(Wanted::Seq(12)).0, None);
}

#[test]
fn a_store_that_is_not_released_is_busy_for_who_may_not_take_it_over() {
    let trial = Trial::new();
    let mut first = trial.open("host-a");
    for (node, take_over) in
        [("host-b", TakeOver::Nobody), ("host-a", TakeOver::Nobody), ("host-b", TakeOver::Itself)]
    {
        match trial.store().open(node, take_over, DEADLINE) {
            Err(Error::Busy(what)) => assert!(what.contains("host-a"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    trial.create(&mut first, 1, "one").unwrap();
    first.release(DEADLINE).unwrap();
    assert!(matches!(trial.create(&mut first, 2, "two"), Err(Error::AccessDenied(_))));
    let mut second = trial.store();
    second.open("host-b", TakeOver::Nobody, DEADLINE).unwrap();
    trial.store().open("host-b", TakeOver::Itself, DEADLINE).unwrap();
    assert!(matches!(trial.create(&mut second, 2, "two"), Err(Error::Busy(_))));
}

/// Two PUTs, and one DELETE of the generation that is pruned; nothing is read or listed.
#[test]
fn a_create_in_an_object_store_takes_two_puts_and_a_delete() {
    let trial = Trial::new();
    let mut store = trial.open("host");
    for seq in 1..=3 {
        trial.create(&mut store, seq, "state").unwrap();
    }
    trial.objects.counts();
    for seq in 4..=8 {
        trial.create(&mut store, seq, "state").unwrap();
    }
    // Nobody waits for what is deleted, but this.
    let mut counts = trial.objects.counts();
    let begun = Instant::now();
    while counts.get("DELETE") < Some(&5) && begun.elapsed() < DEADLINE {
        thread::yield_now();
        for (what, count) in trial.objects.counts() {
            *counts.entry(what).or_default() += count;
        }
    }
    assert_eq!(counts, BTreeMap::from([("PUT", 5), ("PUT if match", 5), ("DELETE", 5)]));
    trial.restore(Wanted::Newest);
    assert_eq!(trial.objects.counts(), BTreeMap::from([("GET", 2)]));
    store.release(DEADLINE).unwrap();
    trial.objects.counts();
    // The server has been checked.
    trial.open("host");
    assert_eq!(trial.objects.counts(), BTreeMap::from([("GET", 1), ("PUT if match", 1), ("LIST", 1)]));
}

#[test]
fn an_object_that_was_deleted_or_changed_by_hand_is_skipped_and_said() {
    let trial = Trial::new();
    let mut store = trial.open("host");
    for seq in 1..=3 {
        trial.create(&mut store, seq, &format!("state {seq}")).unwrap();
    }
    let (newest, older) = (trial.key(&store, 0), trial.key(&store, 1));
    // Of the same size, so that only the sum tells.
    trial.by_hand(async |objects| objects.put(&newest, "stAte 3".into()).await.unwrap());
    let expected = (Some((2, "state 2".to_owned())), vec![(3, Why::Damaged)]);
    assert_eq!(trial.restore(Wanted::Newest), expected);
    let folder = tempdir().unwrap();
    let of_one = |seq| match trial.store().restore(Wanted::Seq(seq), folder.path(), DEADLINE) {
        Err(Error::Corrupt(what)) => what,
        other => panic!("{other:?}"),
    };
    assert!(
        of_one(3).ends_with("snapshot_00000000000000000003.json` is not what was put there"),
        "{}",
        of_one(3)
    );
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    trial.by_hand(async |objects| objects.delete(&older).await.unwrap());
    let expected = (Some((1, "state 1".to_owned())), vec![(3, Why::Damaged), (2, Why::Missing)]);
    assert_eq!(trial.restore(Wanted::Newest), expected);
    assert!(of_one(2).ends_with("snapshot_00000000000000000002.json` is not there"), "{}", of_one(2));
}

#[test]
fn a_head_that_was_deleted_by_hand_is_no_new_store() {
    let trial = Trial::new();
    let mut store = trial.open("host");
    trial.create(&mut store, 1, "state").unwrap();
    trial.by_hand(async |objects| objects.delete(&Path::from("prefix/ledger/head.json")).await.unwrap());
    let is_told = |error: Error| {
        assert!(error.to_line().contains("`s3://bucket/prefix/ledger/head.json` is not there"), "{error}");
    };
    // What is put back may be a head that names it.
    let told = trial.create(&mut store, 2, "state").unwrap_err();
    assert!(matches!(told, Error::InDoubt(_)), "{told:?}");
    is_told(told);
    let told = trial.create(&mut store, 2, "state").unwrap_err();
    assert!(matches!(told, Error::Io(_)), "{told:?}");
    is_told(told);
    is_told(trial.store().open("host", TakeOver::Anyone, DEADLINE).unwrap_err());
    is_told(trial.store().restore(Wanted::Newest, trial.folder.path(), DEADLINE).unwrap_err());
}

#[test]
fn a_head_that_is_damaged_or_of_a_later_format_is_an_error_and_stays() {
    let trial = Trial::new();
    let path = Path::from("prefix/ledger/head.json");
    for (text, said) in [
        ("{\"format\":1,\"epoch\":", "is no head of a store: EOF"),
        ("{\"format\":1}", "is no head of a store: missing field"),
        ("{\"format\":2,\"epochs\":[]}", "another version"),
        ("{\"format\":2,\"epochs\":[", "another version"),
    ] {
        trial.by_hand(async |objects| objects.put(&path, text.into()).await.unwrap());
        for told in [
            trial.store().open("host", TakeOver::Anyone, DEADLINE).unwrap_err(),
            trial.store().restore(Wanted::Newest, trial.folder.path(), DEADLINE).unwrap_err(),
        ] {
            let told = told.to_line();
            assert!(told.contains("`s3://bucket/prefix/ledger/head.json`") && told.contains(said), "{told}");
        }
        let found = trial.by_hand(async |objects| objects.get(&path).await.unwrap().bytes().await.unwrap());
        assert_eq!(found, text);
    }
}

#[test]
fn a_rollback_and_a_clear_in_an_object_store_are_one_commit_each() {
    let trial = Trial::new();
    let mut store = trial.open("host");
    for seq in 1..=3 {
        trial.create(&mut store, seq, &format!("state {seq}")).unwrap();
    }
    trial.objects.counts();
    assert!(matches!(store.rollback(9, DEADLINE), Err(Error::NotFound)));
    store.rollback(1, DEADLINE).unwrap();
    assert_eq!(trial.objects.counts(), BTreeMap::from([("PUT if match", 1)]));
    assert_eq!(trial.restore(Wanted::Newest).0, Some((1, "state 1".to_owned())));
    store.clear(DEADLINE).unwrap();
    assert_eq!(trial.restore(Wanted::Newest), (None, vec![]));
    store.release(DEADLINE).unwrap();
    assert_eq!(store.keys(DEADLINE).unwrap(), [""; 0]);
}

#[test]
fn nobody_waits_for_an_object_that_is_being_deleted() {
    let trial = Trial::new();
    let mut first = trial.open("host-a");
    trial.objects.hang_deletes();
    for seq in 1..=20 {
        trial.create(&mut first, seq, "state").unwrap();
    }
    // What cannot be deleted is left to the next owner, who is not kept waiting for it, nor waits itself.
    first.release(Duration::from_secs(1)).unwrap();
    let mut next = trial.store();
    next.open("host-b", TakeOver::Nobody, DEADLINE).unwrap();
    assert_eq!(next.head().unwrap().dropped.len(), 17);
    trial.create(&mut next, 21, "next").unwrap();
    next.release(Duration::from_secs(1)).unwrap();
    assert_eq!(trial.restore(Wanted::Newest).0, Some((21, "next".to_owned())));
}

/// It is put in parts, and got whole.
#[test]
fn a_large_file_comes_back_from_an_object_store_byte_for_byte() {
    let trial = Trial::new();
    let mut store = trial.open("host");
    let state: String = (0..2_500_000).map(|number| format!("{number:08}")).collect();
    trial.create(&mut store, 1, &state).unwrap();
    assert_eq!(trial.objects.counts().get("POST"), Some(&1));
    assert!(trial.restore(Wanted::Newest).0 == Some((1, state)));
    assert_eq!(trial.objects.counts(), BTreeMap::from([("GET", 2)]));
}

#[test]
fn a_large_object_that_was_changed_or_cut_is_damaged_and_one_that_is_gone_is_missing() {
    let trial = Trial::new();
    let mut store = trial.open("host");
    trial.create(&mut store, 1, "one").unwrap();
    let state = "x".repeat(20 << 20);
    trial.create(&mut store, 2, &state).unwrap();
    let key = trial.key(&store, 0);
    let changed = format!("{}y", &state[1..]);
    let others = [&changed, &state[..17 << 20], &state[..9 << 20], "x", &format!("{state}x")];
    for other in others {
        let put = async |objects: &dyn ObjectStore| objects.put(&key, other.to_owned().into()).await.unwrap();
        trial.by_hand(put);
        let found = trial.restore(Wanted::Newest);
        assert_eq!(found, (Some((1, "one".to_owned())), vec![(2, Why::Damaged)]), "{}", other.len());
    }
    trial.by_hand(async |objects| objects.delete(&key).await.unwrap());
    assert_eq!(trial.restore(Wanted::Newest), (Some((1, "one".to_owned())), vec![(2, Why::Missing)]));
}

/// How hosts fight in memory.
fn contest(keep: u32) -> Contest {
    let rules = Rules {
        keep: NonZeroU32::new(keep).unwrap(),
        deadline: Duration::from_millis(400),
        short: Duration::from_millis(20),
        pause: Duration::from_millis(10),
    };
    Contest { time: Duration::from_secs(2), least: 50, hosts: 3, rules }
}

fn bucket_of(objects: Arc<dyn ObjectStore>) -> Bucket {
    Bucket::new("s3://bucket/prefix".parse().unwrap(), objects).unwrap()
}

#[test]
fn nodes_that_fight_for_a_store_lose_nothing_whatever_becomes_of_their_requests() {
    let (mut acknowledged, mut refused, mut in_doubt) = (0, 0, 0);
    for (round, one_in) in [0, 20, 8, 4].into_iter().cycle().take(rounds(4, 16)).enumerate() {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let seed = (round * 100) as u64;
        let contest = contest(1 + round as u32 % 2);
        let faulty = |host| bucket_of(Arc::new(Faulty::new(Arc::clone(&inner), seed + host as u64, one_in)));
        let outcome = fight(contest, "ledger", faulty, || bucket_of(inner.clone()));
        println!("one fault in {one_in}: {outcome}");
        assert_eq!(outcome.violations, [""; 0], "round {round}");
        acknowledged += outcome.acknowledged;
        refused += outcome.refused;
        in_doubt += outcome.in_doubt;
    }
    assert!(acknowledged >= 200 && refused > 0 && in_doubt > 0, "{acknowledged}, {refused}, {in_doubt}");
}

#[test]
fn a_fight_shows_what_is_lost_where_conditions_are_ignored() {
    let careless = Arc::new(Careless::new(Neglect::IfMatch));
    // It is careful until it was checked.
    careless.set_careful(true);
    let checked = || {
        let bucket = bucket_of(careless.clone());
        bucket.check(DEADLINE).unwrap();
        bucket
    };
    let buckets: Vec<_> = (0..5).map(|_| checked()).collect();
    let buckets = Mutex::new(buckets);
    careless.set_careful(false);
    let next = || buckets.lock().unwrap().pop().unwrap();
    let outcome = fight(contest(2), "ledger", |_| next(), next);
    println!("{outcome}");
    assert!(!outcome.violations.is_empty(), "{outcome}");
}

#[test]
fn a_server_that_ignores_conditions_is_refused_and_what_it_did_is_said() {
    for (neglect, said) in [
        (Neglect::IfNoneMatch, "`If-None-Match: *`"),
        (Neglect::IfMatch, "`If-Match` with an older ETag"),
        (Neglect::Refuses, "refused `If-Match` with the ETag that it had given"),
        (Neglect::DoesItAnyway, "`If-None-Match: *`"),
        (Neglect::MakesWhatIsGone, "it made an object although the request said `If-Match`"),
    ] {
        let bucket = bucket(Arc::new(Careless::new(neglect)));
        let told = bucket.check(DEADLINE).unwrap_err().to_line();
        assert!(told.contains("s3://bucket/prefix") && told.contains(said), "{told}");
        // Nor is it used.
        let mut store = RemoteStore::new(bucket, "ledger");
        assert_eq!(store.open("host", TakeOver::Anyone, DEADLINE).unwrap_err().to_line(), told);
    }
}

#[test]
fn a_server_that_looks_before_it_puts_loses_a_race() {
    let eight = NonZeroUsize::new(8).unwrap();
    trial_race(Neglect::WantsNoQuotes, eight).unwrap();
    let told = trial_race(Neglect::LooksFirst, eight).unwrap_err().to_line();
    assert!(told.contains("of 8 requests with one `If-Match`, 8 were done"), "{told}");
}

fn trial_race(neglect: Neglect, racers: NonZeroUsize) -> Result<Checked, Error> {
    bucket(Arc::new(Careless::new(neglect))).check_race(racers, DEADLINE)
}

/// As Ceph does: the ETag that it gives has quotes, and that of a condition must have none.
#[test]
fn a_server_that_wants_etags_without_quotes_is_used_so() {
    let trial = Trial { bucket: bucket(Arc::new(Careless::new(Neglect::WantsNoQuotes))), ..Trial::new() };
    assert!(trial.bucket.check(DEADLINE).unwrap().unquoted);
    let mut store = trial.open("host");
    trial.create(&mut store, 1, "one").unwrap();
    trial.create(&mut store, 2, "two").unwrap();
    assert_eq!(trial.restore(Wanted::Newest).0, Some((2, "two".to_owned())));
}
