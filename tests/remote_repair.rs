//! A head that is damaged, or was deleted, is rebuilt from the generations that there are.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minisnap_host::Error;
use minisnap_host::remote::{Bucket, Generation, Head, Limits, RemoteStore, TakeOver, Wanted};
use minisnap_tests::nodes::Fleet;
use minisnap_tests::random::Random;
use minisnap_tests::rounds;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use tempfile::{TempDir, tempdir};

const DEADLINE: Duration = Duration::from_secs(10);

/// A store in memory, and what was put there.
struct World {
    fleet: Fleet,
    files: TempDir,
}

impl World {
    fn new() -> World {
        World { fleet: Fleet::new(), files: tempdir().unwrap() }
    }

    fn store(&self) -> RemoteStore {
        self.fleet.store("ledger")
    }

    fn owner(&self, node: &str) -> RemoteStore {
        let mut store = self.store();
        store.open(node, TakeOver::Anyone, DEADLINE).unwrap();
        store
    }

    fn create(&self, store: &mut RemoteStore, seq: u64, text: &str, deadline: Duration) -> Result<(), Error> {
        let file = self.files.path().join("made");
        std::fs::write(&file, text).unwrap();
        let keep = 3.try_into().unwrap();
        store.create(&file, seq, Limits { keep, max_total: None, damaged: Vec::new() }, deadline)
    }

    fn head(&self) -> Head {
        self.store().restore(Wanted::Head, Path::new(""), DEADLINE).unwrap().head.unwrap()
    }

    fn newest(&self) -> (u64, String) {
        let folder = tempdir().unwrap();
        let found =
            self.store().restore(Wanted::Newest, folder.path(), DEADLINE).unwrap().generation.unwrap();
        (found.seq, std::fs::read_to_string(folder.path().join(found.file_name())).unwrap())
    }

    /// Puts something in the place of the head, or deletes it.
    fn break_head(&self, text: Option<&str>) {
        let head = Key::from("prefix/ledger/head.json");
        self.fleet.by_hand(async |objects| match text {
            Some(text) => drop(objects.put(&head, text.to_owned().into()).await.unwrap()),
            None => objects.delete(&head).await.unwrap(),
        });
    }
}

fn keys(generations: &[Generation]) -> BTreeSet<String> {
    generations.iter().map(|generation| generation.key.clone()).collect()
}

fn numbers(generations: &[Generation]) -> Vec<u64> {
    generations.iter().map(|generation| generation.seq).collect()
}

#[test]
fn a_rebuilt_head_has_the_snapshots_that_the_lost_one_had() {
    for seed in 0..rounds(100, 2000) {
        let (world, mut random) = (World::new(), Random::of(seed));
        let mut store = world.owner("a");
        let (mut seq, mut pruned) = (0, BTreeSet::new());
        for step in 0..random.below(14) {
            let before = world.head();
            match random.below(7) {
                0 => store = world.owner(["a", "b"][random.below(2) as usize]),
                1 => {
                    if let Some(back) = before.generations.get(random.below(4) as usize) {
                        store.rollback(back.seq, DEADLINE).unwrap();
                        seq = back.seq;
                    }
                }
                2 if random.below(4) == 0 => {
                    store.clear(DEADLINE).unwrap();
                    seq = 0;
                }
                2 => {
                    // A host from which the store was taken over puts one more, of any number.
                    let mut late = std::mem::replace(&mut store, world.owner("b"));
                    let refused = world.create(&mut late, seq + 1 + random.below(3), "late", DEADLINE);
                    assert!(matches!(refused, Err(Error::Busy(_))), "seed {seed}: {refused:?}");
                }
                3 => {
                    // What was put, and may never count.
                    world.fleet.objects.cut_after(Some(random.below(3)));
                    let text = format!("lost {step}");
                    let next = seq + 1 + random.below(3);
                    let _ = world.create(&mut store, next, &text, Duration::from_millis(50));
                    world.fleet.objects.cut_after(None);
                    // After it is known what became of it, the numbers go on.
                    store = world.owner("a");
                    seq = world.head().newest().unwrap_or(0);
                }
                _ => {
                    seq += 1 + random.below(3);
                    world.create(&mut store, seq, &format!("made {step}"), DEADLINE).unwrap();
                }
            }
            // As long as the deletion is on its way, it is there.
            let kept = keys(&world.head().generations);
            pruned.extend(keys(&before.generations).difference(&kept).cloned());
        }
        seq += random.below(2);
        world.create(&mut store, seq, "newest", DEADLINE).unwrap();
        let before = world.head();
        pruned.extend(before.dropped.iter().cloned());

        let nothing = world.store().repair(false, DEADLINE).unwrap();
        assert_eq!(nothing, None, "seed {seed}: a sound head is left alone");
        let text = serde_json::to_string_pretty(&before).unwrap();
        let cut = &text[..text.len() / 2];
        let epoch = before.epoch;
        world.break_head([None, Some(""), Some(cut), Some("[1]")][random.below(4) as usize]);
        let there = settled(&world, &before.generations);
        let planned = world.store().repair(true, DEADLINE).unwrap().unwrap();
        world.store().restore(Wanted::Head, Path::new(""), DEADLINE).unwrap_err();
        let repaired = world.store().repair(false, DEADLINE).unwrap().unwrap();
        assert_eq!(repaired, planned, "seed {seed}");
        assert_eq!(world.newest(), (seq, "newest".to_owned()), "seed {seed}");
        let listed = keys(&repaired.generations);
        let expected = keys(&before.generations);
        assert!(listed.is_superset(&expected), "seed {seed}: {before:?} {repaired:?}");
        // Besides, what was to be deleted, and is there still; and what is older than all.
        let oldest = before.generations.last().map_or(0, |oldest| oldest.seq);
        let is_older = |key: &str| {
            key.ends_with(".json") && key[key.len() - 25..key.len() - 5].parse::<u64>().unwrap() < oldest
        };
        let is_other = |key: &&String| !pruned.contains(*key) && !is_older(key);
        let others: Vec<_> = listed.difference(&expected).filter(is_other).collect();
        assert!(others.is_empty(), "seed {seed}: {others:?}: {before:?} {repaired:?}");
        assert!(numbers(&repaired.generations).is_sorted_by(|newer, older| newer > older), "seed {seed}");

        // Nothing was deleted, and nothing is by the next owner.
        let named: BTreeSet<_> = listed.into_iter().chain(keys(&repaired.undone)).collect();
        assert!(there.iter().all(|key| named.iter().any(|of| key.as_ref().ends_with(of))), "seed {seed}");
        // What the one before puts now is not done; no head tells it that any more.
        let refused = world.create(&mut store, seq + 1, "late", DEADLINE);
        assert!(matches!(refused, Err(Error::InDoubt(_))), "seed {seed}: {refused:?}");
        let refused = world.create(&mut store, seq + 1, "late", DEADLINE);
        assert!(matches!(refused, Err(Error::Busy(_))), "seed {seed}: {refused:?}");
        assert_eq!(world.newest().0, seq, "seed {seed}");
        // It is nobody's.
        let mut next = world.store();
        next.open("c", TakeOver::Nobody, DEADLINE).unwrap();
        next.release(DEADLINE).unwrap();
        let left = world.fleet.generations("ledger");
        // But what the one before had to.
        let may_go = |key: &Key| pruned.iter().any(|of| key.as_ref().ends_with(of));
        assert!(there.iter().all(|key| left.contains(key) || may_go(key)), "seed {seed}: {there:?} {left:?}");
        assert_eq!(world.newest(), (seq, "newest".to_owned()), "seed {seed}");
        assert!(world.head().epoch > epoch + 1_000_000, "seed {seed}");
    }
}

/// What is there once nothing is being deleted: looks until only as many are left as are named, or twenty looks in a row find the
/// same. A host that was refused deletes what it has put in the background, and nobody can wait for that.
fn settled(world: &World, named: &[Generation]) -> Vec<Key> {
    let (mut there, mut looks) = (world.fleet.generations("ledger"), 0);
    while there.len() > named.len() && looks < 20 {
        std::thread::sleep(Duration::from_millis(5));
        let now = world.fleet.generations("ledger");
        looks = if now == there { looks + 1 } else { 0 };
        there = now;
    }
    there
}

#[test]
fn what_a_fenced_host_has_put_never_becomes_the_newest_by_a_repair() {
    for (acknowledged, fenced) in [(2, 9), (5, 2)] {
        let world = World::new();
        world.create(&mut world.owner("a"), 1, "one", DEADLINE).unwrap();
        let mut awake = world.owner("b");
        world.create(&mut awake, acknowledged, "acknowledged", DEADLINE).unwrap();
        // It comes after its sender was fenced, who cannot delete it any more.
        let late = format!("prefix/ledger/g/0000000001-0123456789abcdef-7-2/snapshot_{fenced:020}.json");
        world.fleet.by_hand(async |objects| objects.put(&Key::from(late), "late".into()).await.unwrap());
        world.break_head(None);
        let repaired = world.store().repair(false, DEADLINE).unwrap().unwrap();
        assert_eq!(numbers(&repaired.generations), [acknowledged, 1]);
        assert_eq!(numbers(&repaired.undone), [fenced]);
        assert_eq!(world.newest(), (acknowledged, "acknowledged".to_owned()));
    }
}

#[test]
fn a_repair_knows_all_that_is_there_or_does_nothing() {
    let world = World::new();
    world.create(&mut world.owner("a"), 1, "one", DEADLINE).unwrap();
    world.break_head(None);
    // The next owner would delete it.
    let other = Key::from("prefix/ledger/g/0000000001-copy/snapshot_1.json");
    world.fleet.by_hand(async |objects| objects.put(&other, "late".into()).await.unwrap());
    let refused = world.store().repair(false, DEADLINE).unwrap_err().to_string();
    assert!(refused.contains("0000000001-copy/snapshot_1.json` is no generation"), "{refused}");
    world.fleet.by_hand(async |objects| objects.delete(&other).await.unwrap());
    world.store().repair(false, DEADLINE).unwrap().unwrap();
    assert_eq!(world.newest(), (1, "one".to_owned()));
}

#[test]
fn what_cannot_be_rebuilt_is_left_as_it_is_and_says_why() {
    // Nothing was ever there.
    let world = World::new();
    let nothing = world.store().repair(false, DEADLINE);
    assert!(matches!(nothing, Err(Error::NotFound)), "{nothing:?}");
    // A head without generations says nothing of what was lost.
    world.break_head(Some("{"));
    let lost = world.store().repair(false, DEADLINE).unwrap_err().to_string();
    assert!(lost.contains("head.json") && lost.contains("there is no generation"), "{lost}");
    // That of a newer version is not damaged.
    let world = World::new();
    world.create(&mut world.owner("a"), 1, "one", DEADLINE).unwrap();
    for head in ["{\"format\": 2, \"other\": []}", "{\"format\":2,\"epoch\":7,\"oth"] {
        world.break_head(Some(head));
        let newer = world.store().repair(false, DEADLINE).unwrap_err().to_string();
        assert!(newer.contains("another version"), "{newer}");
    }
    // One that is too large to be read is damaged.
    world.break_head(Some(&" ".repeat((8 << 20) + 1)));
    assert_eq!(numbers(&world.store().repair(false, DEADLINE).unwrap().unwrap().generations), [1]);
    assert_eq!(world.newest(), (1, "one".to_owned()));
}

#[test]
fn of_two_repairs_at_a_time_one_counts() {
    for seed in 0..rounds(20, 200) {
        let world = World::new();
        world.create(&mut world.owner("a"), 1, "one", DEADLINE).unwrap();
        world.break_head([None, Some("{")][seed as usize % 2]);
        let stores = [world.store(), world.store()];
        let repairs = std::thread::scope(|scope| {
            let running = stores.map(|store| scope.spawn(move || store.repair(false, DEADLINE)));
            running.map(|repair| repair.join().unwrap())
        });
        let counted = repairs.iter().filter(|repair| matches!(repair, Ok(Some(_)))).count();
        let others = |repair: &&Result<_, _>| matches!(repair, Ok(None) | Err(Error::Busy(_)));
        assert!(counted == 1 && repairs.iter().filter(others).count() == 1, "{repairs:?}");
        assert_eq!(world.newest(), (1, "one".to_owned()));
    }
}

#[test]
fn a_repair_whose_answer_is_lost_says_what_it_did() {
    for seed in 0..rounds(10, 200) {
        let world = World::new();
        world.create(&mut world.owner("a"), 1, "one", DEADLINE).unwrap();
        world.break_head([None, Some("{")][seed as usize % 2]);
        let faulty = minisnap_tests::faulty_objects::Faulty::new(world.fleet.objects.clone(), seed, 10);
        let bucket = Bucket::new("s3://bucket/prefix".parse().unwrap(), Arc::new(faulty)).unwrap();
        let repaired = RemoteStore::new(Arc::new(bucket), "ledger").repair(false, DEADLINE);
        let repaired = repaired.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_eq!(numbers(&repaired.unwrap().generations), [1], "seed {seed}");
        assert_eq!(world.newest(), (1, "one".to_owned()), "seed {seed}");
    }
}
