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
fn a_rebuilt_head_has_the_newest_snapshot_that_was_acknowledged_and_all_older_ones() {
    for seed in 0..rounds(100, 2000) {
        let (world, mut random) = (World::new(), Random::of(seed));
        let mut store = world.owner("a");
        let mut seq = 0;
        for step in 0..random.below(12) {
            match random.below(6) {
                0 => store = world.owner(["a", "b"][random.below(2) as usize]),
                1 => {
                    let generations = world.head().generations;
                    if let Some(back) = generations.get(random.below(4) as usize) {
                        store.rollback(back.seq, DEADLINE).unwrap();
                        seq = back.seq;
                    }
                }
                2 => {
                    // What was put, and may never count.
                    world.fleet.objects.cut_after(Some(random.below(3)));
                    let text = format!("lost {step}");
                    let _ =
                        world.create(&mut store, seq + 1 + random.below(3), &text, Duration::from_millis(50));
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
        }
        seq += random.below(2);
        world.create(&mut store, seq, "newest", DEADLINE).unwrap();
        let before = world.head();

        assert_eq!(
            world.store().repair(false, DEADLINE).unwrap(),
            None,
            "seed {seed}: a sound head is left alone"
        );
        world.break_head([None, Some(""), Some("{\"epoch\": 7"), Some("[1]")][random.below(4) as usize]);
        let planned = world.store().repair(true, DEADLINE).unwrap().unwrap();
        world.store().restore(Wanted::Head, Path::new(""), DEADLINE).unwrap_err();
        let repaired = world.store().repair(false, DEADLINE).unwrap().unwrap();
        // What is deleted in the background may be gone since.
        assert!(keys(&planned.generations).is_superset(&keys(&repaired.generations)), "seed {seed}");
        assert_eq!(world.newest(), (seq, "newest".to_owned()), "seed {seed}");
        let (listed, all) = (keys(&repaired.generations), keys(&before.generations));
        assert!(listed.is_superset(&all), "seed {seed}: {before:?} {repaired:?}");
        assert!(numbers(&repaired.generations).is_sorted_by(|newer, older| newer > older), "seed {seed}");

        // Nothing was deleted, and who had it is told. That what it does now is not done, no head tells it any more.
        let there = world.fleet.generations("ledger");
        let named: BTreeSet<_> = listed.into_iter().chain(keys(&repaired.undone)).collect();
        assert!(there.iter().all(|key| named.iter().any(|of| key.as_ref().ends_with(of))), "seed {seed}");
        let refused = world.create(&mut store, seq + 1, "late", DEADLINE);
        assert!(matches!(refused, Err(Error::InDoubt(_))), "seed {seed}: {refused:?}");
        let refused = world.create(&mut store, seq + 1, "late", DEADLINE);
        assert!(matches!(refused, Err(Error::Busy(_))), "seed {seed}: {refused:?}");
        assert_eq!(world.newest().0, seq, "seed {seed}");
        // It is nobody's.
        let mut next = world.store();
        next.open("c", TakeOver::Nobody, DEADLINE).unwrap();
        world.create(&mut next, seq + 1, "next", DEADLINE).unwrap();
        assert_eq!(world.newest(), (seq + 1, "next".to_owned()), "seed {seed}");
        assert!(world.head().epoch > before.epoch, "seed {seed}");
    }
}

#[test]
fn what_a_fenced_host_has_put_never_becomes_the_newest_by_a_repair() {
    let world = World::new();
    let mut asleep = world.owner("a");
    world.create(&mut asleep, 1, "one", DEADLINE).unwrap();
    let mut awake = world.owner("b");
    world.create(&mut awake, 2, "two", DEADLINE).unwrap();
    // Its object comes, and its head is refused.
    let late = world.create(&mut asleep, 9, "nine", DEADLINE);
    assert!(matches!(late, Err(Error::Busy(_))), "{late:?}");
    let folder =
        Key::from("prefix/ledger/g/0000000001-0123456789abcdef-7/snapshot_00000000000000000009.json");
    world.fleet.by_hand(async |objects| objects.put(&folder, "nine".into()).await.unwrap());
    world.break_head(None);
    let repaired = world.store().repair(false, DEADLINE).unwrap().unwrap();
    assert_eq!(numbers(&repaired.generations), [2, 1]);
    assert!(numbers(&repaired.undone).contains(&9), "{repaired:?}");
    assert_eq!(world.newest(), (2, "two".to_owned()));
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
    world.break_head(Some("{\"format\": 2, \"other\": []}"));
    let newer = world.store().repair(false, DEADLINE).unwrap_err().to_string();
    assert!(newer.contains("newer version"), "{newer}");
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
        world.break_head(None);
        let faulty = minisnap_tests::faulty_objects::Faulty::new(world.fleet.objects.clone(), seed, 10);
        let bucket = Bucket::new("s3://bucket/prefix".parse().unwrap(), Arc::new(faulty)).unwrap();
        let repaired = RemoteStore::new(Arc::new(bucket), "ledger").repair(false, DEADLINE);
        let repaired = repaired.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_eq!(numbers(&repaired.unwrap().generations), [1], "seed {seed}");
        assert_eq!(world.newest(), (1, "one".to_owned()), "seed {seed}");
    }
}
