//! Generations, through the component in real directories: what is kept, found and refused, against a model in memory.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use minisnap_host::{Error, Grant, Layout, SnapshotStore, Soundness};
use minisnap_tests::{minisnap, names};
use proptest::prelude::*;
use tempfile::tempdir;

fn grant(dir: &Path, keep: u32) -> Grant {
    Grant::new(dir).layout(Layout::Numbered).keep(NonZeroU32::new(keep).unwrap())
}

fn open(dir: &Path, keep: u32) -> SnapshotStore {
    minisnap().open(grant(dir, keep)).unwrap()
}

fn name(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

#[test]
fn of_100_generations_the_newest_5_are_kept() {
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path()).layout(Layout::Numbered)).unwrap();
    for seq in 0..100 {
        store.create_text(&format!("[{seq}]"), seq).unwrap();
    }
    assert_eq!(names(dir.path()), [95, 96, 97, 98, 99].map(name));
    let list = store.generations().unwrap();
    assert_eq!(list.iter().map(|info| info.seq).collect::<Vec<_>>(), [99, 98, 97, 96, 95]);
    for info in &list {
        assert_eq!((info.size, &info.soundness), (8, &Soundness::Verified));
        let age = info.modified.unwrap().elapsed().unwrap();
        assert!(age.as_secs() < 3600, "{age:?}");
    }
    assert_eq!(store.oldest_kept().unwrap(), 95);
    assert_eq!(store.restore_text_at(96).unwrap().state, "[\n  96\n]");
    assert!(matches!(store.restore_text_at(94), Err(Error::NotFound)));
}

#[test]
fn only_the_exact_names_are_listed_and_where_none_is_sound_the_error_lists_them() {
    let dir = tempdir().unwrap();
    for name in ["snapshot_9.bak", "snapshot_1.json", "snapshot_000000000000000000007.json"] {
        fs::write(dir.path().join(name), "{\n  \"seq\": 7,\n  \"state\": 7\n}").unwrap();
    }
    let mut store = open(dir.path(), 5);
    assert!(store.generations().unwrap().is_empty() && !store.exists().unwrap());
    for seq in [0, 1, u64::MAX] {
        store.create_text("[]", seq).unwrap();
    }
    assert!(matches!(store.create_text("[]", 2), Err(Error::Stale(u64::MAX))));
    let list = |store: &mut SnapshotStore| {
        store.generations().unwrap().iter().map(|info| info.seq).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut store), [u64::MAX, 1, 0]);
    // The one in the middle does not matter, as long as the newest is sound.
    fs::write(dir.path().join(name(1)), "").unwrap();
    assert_eq!((store.restore_text().unwrap().seq, list(&mut store).len()), (u64::MAX, 3));
    for seq in [0, u64::MAX] {
        fs::write(dir.path().join(name(seq)), "{").unwrap();
    }
    let Err(Error::Corrupt(problem)) = store.restore_text() else { panic!() };
    for seq in [0, 1, u64::MAX] {
        assert!(problem.contains(&name(seq)), "{problem}");
    }
    assert!(!problem.contains("snapshot_9.bak"), "{problem}");
}

#[test]
fn of_a_pair_the_one_generation_is_listed_and_restored() {
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
    assert!(store.generations().unwrap().is_empty());
    assert!(matches!(store.oldest_kept(), Err(Error::NotFound)));
    assert!(matches!(store.newest_seq(), Err(Error::NotFound)));
    assert!(matches!(store.layout(), Err(Error::NotFound)));
    assert!(!store.exists().unwrap());
    store.create_text("[1]", 7).unwrap();
    let list = store.generations().unwrap();
    assert_eq!((list.len(), list[0].seq, store.layout().unwrap()), (1, 7, Layout::Pair));
    assert_eq!(store.newest_seq().unwrap(), 7);
    assert_eq!(store.oldest_kept().unwrap(), 7);
    assert_eq!(store.restore_text_at(7).unwrap().seq, 7);
    assert!(matches!(store.restore_text_at(6), Err(Error::NotFound)));
    // Its number is sound, its state is not.
    fs::write(dir.path().join("snapshot.json"), "[2]").unwrap();
    let list = store.generations().unwrap();
    assert!(matches!(&list[..], [info] if info.seq == 7 && matches!(info.soundness, Soundness::Damaged(_))));
}

#[test]
fn a_directory_keeps_the_layout_that_it_has() {
    let dir = tempdir().unwrap();
    minisnap().open(Grant::new(dir.path())).unwrap().create_text("1", 1).unwrap();
    open(dir.path(), 5).create_text("2", 2).unwrap();
    assert_eq!(names(dir.path()), ["snapshot.json", "snapshot.seq", "snapshot.sum"]);
    let dir = tempdir().unwrap();
    open(dir.path(), 5).create_text("1", 1).unwrap();
    minisnap().open(Grant::new(dir.path())).unwrap().create_text("2", 2).unwrap();
    assert_eq!(names(dir.path()), [1, 2].map(name));
}

#[test]
fn max_total_limits_what_the_directory_holds_in_both_layouts() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let dir = tempdir().unwrap();
        let grant = grant(dir.path(), 5).layout(layout).max_total(10_000);
        let mut store = minisnap().open(grant).unwrap();
        let state = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
        for seq in 0..8 {
            store.create_text(&state(3000), seq).unwrap();
            let held: u64 =
                names(dir.path()).iter().map(|name| fs::metadata(dir.path().join(name)).unwrap().len()).sum();
            assert!(held <= 10_000, "{held}");
        }
        let before = names(dir.path());
        assert_eq!(before.len(), 3);
        // In one call, and in chunks.
        assert!(matches!(store.create_text(&state(7000), 8), Err(Error::NoSpace(_))));
        let mut writer = store.open_writer(8).unwrap();
        let refused = state(20_000).as_bytes().chunks(999).find_map(|chunk| writer.write_chunk(chunk).err());
        let refused = match refused {
            Some(refused) => {
                drop(writer);
                refused
            }
            None => writer.commit().unwrap_err(),
        };
        assert!(matches!(refused, Error::NoSpace(_)), "{refused:?}");
        assert_eq!(names(dir.path()), before, "left behind");
        assert_eq!(store.restore_text().unwrap().seq, 7);
    }
}

/// What the model remembers: the generations, sound or not.
type Model = BTreeMap<u64, (String, bool)>;

/// The contents of all files of a directory.
fn all_contents(dir: &Path) -> Vec<Vec<u8>> {
    names(dir).iter().map(|name| fs::read(dir.join(name)).unwrap()).collect()
}

#[derive(Debug, Clone)]
enum Step {
    /// Creates a snapshot so far ahead of the newest, or behind it.
    Create { ahead: i64, streamed: bool },
    /// Starts one and drops it.
    Abandon,
    /// Changes a byte in one of the files.
    Damage { which: usize, at: usize },
    /// Ends the process, as far as the store can tell, and keeps so many from now on.
    Reopen { keep: u32 },
    /// Leaves what a killed create leaves.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let create = (-1i64..4, any::<bool>()).prop_map(|(ahead, streamed)| Step::Create { ahead, streamed });
    let damage = (any::<usize>(), any::<usize>()).prop_map(|(which, at)| Step::Damage { which, at });
    let reopen = (1u32..5).prop_map(|keep| Step::Reopen { keep });
    prop::collection::vec(
        prop_oneof![6 => create, 1 => Just(Step::Abandon), 2 => damage, 1 => reopen, 1 => Just(Step::Kill)],
        1..30,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a model that only knows what was created and what was damaged.
    #[test]
    fn any_creates_damages_and_restarts_leave_the_newest_sound_generations(steps in steps()) {
        let dir = tempdir().unwrap();
        let mut keep = 3;
        let mut store = open(dir.path(), keep);
        let mut model = Model::new();
        // What was damaged: in place, and set aside, of which the newest are kept.
        let mut damaged = BTreeMap::<u64, Vec<u8>>::new();
        let mut aside = BTreeMap::<(u64, u32), Vec<u8>>::new();
        for (index, step) in steps.into_iter().enumerate() {
            let newest = model.iter().rev().find_map(|(&seq, (_, sound))| sound.then_some(seq));
            match step {
                Step::Create { ahead, streamed } => {
                    let state = format!("[\n  {index}\n]");
                    let seq = newest.unwrap_or(10).saturating_add_signed(ahead);
                    let created = if streamed {
                        store.open_writer(seq).and_then(|mut writer| {
                            writer.write_chunk(&state.as_bytes()[..2])?;
                            writer.write_chunk(&state.as_bytes()[2..])?;
                            writer.commit()
                        })
                    } else {
                        store.create_text(&state, seq)
                    };
                    match newest {
                        Some(newest) if seq < newest => {
                            prop_assert!(matches!(created, Err(Error::Stale(found)) if found == newest));
                        }
                        _ => {
                            prop_assert!(created.is_ok(), "{:?}", created);
                            let keep = keep as usize;
                            let removed: Vec<_> = aside.keys().rev().skip(keep).copied().collect();
                            let mut set_aside = |seq: u64| {
                                let count = (1..).find(|&count| !aside.contains_key(&(seq, count)));
                                let bytes = damaged.remove(&seq).expect("it was damaged");
                                aside.insert((seq, count.expect("a free name")), bytes);
                            };
                            // Those that are not older are damaged, or replaced.
                            for (other, (_, is_sound)) in model.split_off(&seq) {
                                if !is_sound {
                                    set_aside(other);
                                }
                            }
                            model.insert(seq, (state, true));
                            if model.len() > keep {
                                let mut sound = 0;
                                let all: Vec<_> = model.iter().rev().map(|(&seq, (_, sound))| (seq, *sound)).collect();
                                for (other, is_sound) in all {
                                    match (sound == keep, is_sound) {
                                        (false, true) => sound += 1,
                                        (false, false) => {
                                            set_aside(other);
                                            model.remove(&other);
                                        }
                                        (true, _) => {
                                            model.remove(&other);
                                        }
                                    }
                                }
                            }
                            for removed in removed {
                                aside.remove(&removed);
                            }
                        }
                    }
                }
                Step::Abandon => {
                    let seq = newest.unwrap_or(0);
                    let mut writer = store.open_writer(seq).unwrap();
                    writer.write_chunk(b"[1, 2").unwrap();
                }
                Step::Damage { which, at } => {
                    let Some((&seq, _)) = model.iter().nth(which % model.len().max(1)) else { continue };
                    let path = dir.path().join(name(seq));
                    let mut bytes = fs::read(&path).unwrap();
                    let at = at % bytes.len();
                    bytes[at] ^= 0x55;
                    // Of another size, so that the store need not rely on the clock's ticks to see it.
                    bytes.push(b' ');
                    fs::write(&path, &bytes).unwrap();
                    // As whoever puts another file in its place does, so that the store looks at it at once.
                    fs::write(dir.path().join("notes.txt"), "").unwrap();
                    fs::remove_file(dir.path().join("notes.txt")).unwrap();
                    damaged.insert(seq, bytes);
                    model.get_mut(&seq).unwrap().1 = false;
                }
                Step::Reopen { keep: now } => {
                    drop(store);
                    keep = now;
                    store = open(dir.path(), keep);
                }
                Step::Kill => {
                    fs::write(dir.path().join(format!("{}.tmp", name(index as u64))), "{\n").unwrap();
                }
            }

            let contents = all_contents(dir.path());
            damaged.retain(|seq, _| model.contains_key(seq));
            for bytes in damaged.values().chain(aside.values()) {
                prop_assert!(contents.contains(bytes), "a damaged generation is gone");
            }

            // What another process sees.
            let mut reader = minisnap().open(Grant::new(dir.path()).read_only()).unwrap();
            let listed = reader.generations();
            let all_set_aside = model.is_empty() && !aside.is_empty();
            prop_assert_eq!(listed.is_err(), all_set_aside, "{:?}", listed);
            let found: Vec<_> = listed
                .unwrap_or_default()
                .into_iter()
                .map(|info| (info.seq, !matches!(info.soundness, Soundness::Damaged(_))))
                .collect();
            let expected: Vec<_> = model.iter().rev().map(|(&seq, (_, sound))| (seq, *sound)).collect();
            prop_assert_eq!(&found, &expected);
            let newest = expected.iter().position(|(_, sound)| *sound);
            match (reader.restore_text(), newest) {
                (Ok(restored), Some(at)) => {
                    let (seq, _) = expected[at];
                    prop_assert_eq!((restored.seq, &restored.state), (seq, &model[&seq].0));
                    let skipped: Vec<_> = restored.skipped.iter().map(|skipped| skipped.seq).collect();
                    let damaged: Vec<_> = expected[..at].iter().map(|(seq, _)| *seq).collect();
                    prop_assert_eq!(skipped, damaged);
                    let oldest = expected.iter().rev().find(|(_, sound)| *sound).unwrap().0;
                    prop_assert_eq!(reader.oldest_kept().unwrap(), oldest);
                }
                (Err(Error::NotFound), None) => prop_assert!(expected.is_empty()),
                (Err(Error::Corrupt(_)), None) => {}
                (restored, newest) => prop_assert!(false, "{:?} and not {:?}", restored, newest),
            }
        }
    }
}
