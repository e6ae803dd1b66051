//! Copying from and to an object store, which is in memory here: as between directories, and all at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use minisnap_host::remote::TakeOver;
use minisnap_host::{Copied, CopyError, Error, Grant, Layout, Refusal, Selection, SnapshotStore, Soundness};
use minisnap_tests::copies::{assert_same, create, file};
use minisnap_tests::random::Random;
use minisnap_tests::sides::{Act, Side};
use minisnap_tests::{minisnap, names, rounds};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use tempfile::{TempDir, tempdir};

/// What a copy has said, as far as it must be the same wherever the stores are.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Copied { copied: Vec<u64>, present: Vec<u64>, replaced: Vec<u64>, skipped: Vec<u64> },
    Refused { seq: u64, refusal: Refusal, skipped: Vec<u64> },
    From(&'static str),
    To(&'static str),
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::NotFound => "not found",
        Error::Corrupt(_) => "corrupt",
        _ => panic!("{error:?}"),
    }
}

fn said(copied: Result<Copied, CopyError>) -> Said {
    let numbers = |skipped: Vec<minisnap_host::Skipped>| skipped.into_iter().map(|it| it.seq).collect();
    match copied {
        Ok(Copied { layout, copied, present, replaced, skipped, .. }) => {
            assert_eq!(layout, Layout::Numbered);
            Said::Copied { copied, present, replaced, skipped: numbers(skipped) }
        }
        Err(CopyError::Refused { seq, refusal, skipped }) => {
            Said::Refused { seq, refusal, skipped: numbers(skipped) }
        }
        Err(CopyError::From(error)) => Said::From(kind(&error)),
        Err(CopyError::To(error)) => Said::To(kind(&error)),
        Err(error) => panic!("{error:?}"),
    }
}

/// Creates with rising numbers above `seq`, of which the states are their own or `text`, and what else may happen.
fn history(random: &mut Random, mut seq: u64, text: &str) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut kept: Vec<u64> = Vec::new();
    for _ in 0..random.below(5) {
        if random.below(6) == 0
            && let Some(back) = kept.get(random.below(kept.len().max(1) as u64) as usize)
        {
            let back = *back;
            acts.push(Act::Rollback(back));
            kept.retain(|other| *other <= back);
            seq = back;
        }
        seq += 1 + random.below(3);
        let state = format!("{{\"seq\": {seq}, \"text\": \"{text}\"}}");
        acts.push(Act::Create(seq, state));
        kept.push(seq);
    }
    if random.below(3) == 0
        && let Some(seq) = kept.get(random.below(kept.len().max(1) as u64) as usize)
    {
        acts.push(Act::Damage(*seq));
    }
    acts
}

#[test]
fn a_copy_does_the_same_whether_its_stores_are_in_directories_or_in_object_stores() {
    for seed in 0..rounds(12, 300) {
        let mut random = Random::of(seed);
        let base: Vec<Act> = match random.below(3) {
            0 => Vec::new(),
            _ => (1..=random.below(4)).map(|seq| Act::Create(seq, format!("[{seq}]"))).collect(),
        };
        let texts = if random.below(2) == 0 { ["same", "same"] } else { ["from", "to"] };
        let [of_from, of_to] = texts.map(|text| history(&mut random, 4, text));
        let selection = match random.below(3) {
            0 => Selection::Newest,
            1 => Selection::Seq(1 + random.below(9)),
            _ => Selection::All,
        };
        let replace = random.below(2) == 0;
        let case =
            format!("seed {seed}: {base:?}, {of_from:?} to {of_to:?}, {selection:?}, replace {replace}");

        let mut expected = None;
        for (from_remote, to_remote) in [(false, false), (false, true), (true, false), (true, true)] {
            let (from, to) = (Side::new(from_remote, "from"), Side::new(to_remote, "to"));
            for (side, acts) in [(&from, &of_from), (&to, &of_to)] {
                side.act(&base);
                side.act(acts);
            }
            let before = to.holds();
            let planned = said(to.reader().plan_copy(&mut from.reader(), selection, replace));
            assert_eq!(to.holds(), before, "{case}");
            let copied = said(to.open().copy_from(&mut from.reader(), selection, replace, |_| ()));
            assert_eq!(copied, planned, "{case}, from {from_remote} to {to_remote}");
            let again = said(to.open().copy_from(&mut from.reader(), selection, replace, |_| ()));
            let mut store = to.open();
            store.create_text("[]", 99).unwrap();
            assert_eq!(store.restore_text().unwrap().seq, 99, "{case}");
            drop(store);
            let all = (copied, again, to.holds());
            match &expected {
                None => expected = Some(all),
                Some(expected) => assert_eq!(&all, expected, "{case}, from {from_remote} to {to_remote}"),
            }
        }
    }
}

/// A directory with the generations 1 to 3, of some size.
fn three() -> TempDir {
    let dir = tempdir().unwrap();
    create(dir.path(), Layout::Numbered, &[1, 2, 3], "new");
    dir
}

#[test]
fn a_copy_to_an_object_store_and_back_has_the_same_bytes_and_times() {
    let (from, there, back) = (three(), Side::new(true, "there"), tempdir().unwrap());
    let mut here = minisnap().open(Grant::new(from.path()).read_only()).unwrap();
    there.open().copy_from(&mut here, Selection::All, false, |_| ()).unwrap();
    let mut to = minisnap().open(Grant::new(back.path()).layout(Layout::Numbered)).unwrap();
    let mut bytes = 0;
    to.copy_from(&mut there.reader(), Selection::All, false, |more| bytes += more).unwrap();
    assert_same(from.path(), back.path());
    let sizes: u64 =
        names(from.path()).iter().map(|name| fs::metadata(from.path().join(name)).unwrap().len()).sum();
    assert_eq!(bytes, sizes);
    // And from one object store to another.
    let other = Side::new(true, "other");
    other.open().copy_from(&mut there.reader(), Selection::Newest, false, |_| ()).unwrap();
    assert_eq!(other.holds().0, there.holds().0[..1]);
}

#[test]
fn a_pair_is_copied_to_an_object_store_as_the_store_lays_it_out() {
    let (pair, there) = (tempdir().unwrap(), Side::new(true, "there"));
    create(pair.path(), Layout::Pair, &[7], "text");
    let mut from = minisnap().open(Grant::new(pair.path()).read_only()).unwrap();
    let written = from.info().unwrap().modified;
    let copied = there.open().copy_from(&mut from, Selection::Newest, false, |_| ()).unwrap();
    assert_eq!((copied.layout, copied.copied), (Layout::Numbered, vec![7]));
    let info = there.reader().info().unwrap();
    assert_eq!((info.seq, info.modified, info.soundness), (7, written, Soundness::Verified));
    assert_eq!(there.reader().restore_text().unwrap().state, from.restore_text().unwrap().state);
    // A lower number under a higher one counts only with what gives way to it.
    let older = tempdir().unwrap();
    create(older.path(), Layout::Pair, &[3], "other");
    let mut from = minisnap().open(Grant::new(older.path()).read_only()).unwrap();
    let refused = there.open().copy_from(&mut from, Selection::Newest, false, |_| ());
    assert!(
        matches!(refused, Err(CopyError::Refused { seq: 7, refusal: Refusal::Newer, .. })),
        "{refused:?}"
    );
    let copied = there.open().copy_from(&mut from, Selection::Newest, true, |_| ()).unwrap();
    assert_eq!((copied.copied, copied.replaced), (vec![3], vec![7]));
    assert_eq!(there.holds().0.len(), 1);
    assert_eq!(there.reader().restore_text().unwrap().seq, 3);
}

#[test]
fn a_copy_to_an_object_store_counts_as_a_whole_or_not_at_all_wherever_it_is_cut() {
    let from = three();
    let mut outcomes = BTreeMap::new();
    for requests in 0.. {
        let there = Side::new(true, "there");
        there.act(&[Act::Create(2, "\"old\"".to_owned()), Act::Create(9, "\"older\"".to_owned())]);
        let before = there.holds();
        let mut to = there.node.minisnap.open(there.grant().deadline(Duration::from_millis(300))).unwrap();
        let mut here = minisnap().open(Grant::new(from.path()).read_only()).unwrap();
        there.fleet.objects.cut_after(Some(requests));
        let copied = to.copy_from(&mut here, Selection::All, true, |_| ());
        there.fleet.objects.cut_after(None);
        let (held, kinds) = there.holds();
        let is_whole = held.iter().map(|(seq, _)| *seq).eq([3, 2, 1]);
        assert!(is_whole && kinds.values().sum::<usize>() == 5 || (&held, &kinds) == (&before.0, &before.1));
        match &copied {
            Ok(_) => assert!(is_whole),
            // Unless it is in doubt, it was not.
            Err(CopyError::To(Error::InDoubt(_))) => {}
            Err(_) => assert!(!is_whole, "{copied:?}"),
        }
        *outcomes.entry((copied.is_ok(), is_whole)).or_insert(0) += 1;
        // Nothing is left half done: the next snapshot counts, and the copy goes on.
        to.create_text("[]", 99).unwrap();
        assert_eq!(there.reader().restore_text().unwrap().seq, 99);
        to.copy_from(&mut here, Selection::All, true, |_| ()).unwrap();
        assert_eq!(there.reader().restore_text().unwrap().seq, 3);
        drop(to);
        if copied.is_ok() {
            break;
        }
        // What was put for nothing is deleted by the next owner at the latest.
        drop(there.open());
        let named = there.holds().1.values().sum::<usize>();
        let is_tidy = || there.fleet.generations("there").len() == named;
        assert!((0..100).any(|_| is_tidy() || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }));
    }
    // Cut before and after it counted.
    let seen = |done, whole| outcomes.get(&(done, whole)).is_some_and(|times| *times > 0);
    assert!(seen(false, false) && seen(false, true) && seen(true, true), "{outcomes:?}");
}

#[test]
fn a_copy_whose_store_is_taken_over_meanwhile_changes_nothing() {
    let from = three();
    let there = Side::new(true, "there");
    there.act(&[Act::Create(1, "1".to_owned())]);
    let before = there.holds();
    let other = there.fleet.node("other");
    let mut to = there.open();
    let mut here = minisnap().open(Grant::new(from.path()).read_only()).unwrap();
    let mut taken = false;
    let copied = to.copy_from(&mut here, Selection::All, true, |_| {
        if !std::mem::replace(&mut taken, true) {
            let remote = there.grant().remote.unwrap().node("other").take_over(TakeOver::Anyone);
            drop(other.minisnap.open(other.grant().remote(remote)).unwrap());
        }
    });
    assert!(taken && matches!(copied, Err(CopyError::To(Error::Busy(_)))), "{copied:?}");
    assert_eq!(there.holds(), before);
}

#[test]
fn a_repair_finds_what_a_copy_has_added_and_what_gave_way_to_it() {
    let from = three();
    for (acts, replace) in [(vec![(9, "9")], true), (vec![(2, "2"), (5, "5")], true), (vec![], false)] {
        let there = Side::new(true, "there");
        let create = |(seq, state): (u64, &str)| Act::Create(seq, state.to_owned());
        there.act(&acts.into_iter().map(create).collect::<Vec<_>>());
        let mut here = minisnap().open(Grant::new(from.path()).read_only()).unwrap();
        // The newest one first: what comes then is older than what is there.
        for selection in [Selection::Newest, Selection::All] {
            there.open().copy_from(&mut here, selection, replace, |_| ()).unwrap();
            let before = there.holds();
            let head = Key::from("prefix/there/head.json");
            there.fleet.by_hand(async |objects| objects.delete(&head).await.unwrap());
            there.fleet.store("there").repair(false, Duration::from_secs(10)).unwrap().unwrap();
            assert_eq!(there.holds(), before);
        }
        assert_eq!(there.holds().0.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 2, 1]);
    }
}

#[test]
fn a_directory_is_copied_to_an_object_store_while_its_writer_prunes() {
    for (other, replace) in [(None, false), (Some(1), true)] {
        let (from, there) = (tempdir().unwrap(), Side::new(true, "there"));
        let grant = Grant::new(from.path()).layout(Layout::Numbered).keep(2.try_into().unwrap());
        let mut writer = minisnap().open(grant.clone()).unwrap();
        for seq in [1, 2] {
            writer.create_text(&format!("[{seq}]"), seq).unwrap();
        }
        there.act(&other.map(|seq| Act::Create(seq, "\"other\"".to_owned())).into_iter().collect::<Vec<_>>());
        let mut reader = minisnap().open(grant.read_only()).unwrap();
        let mut more = vec![4, 3];
        let copied = there.open().copy_from(&mut reader, Selection::All, replace, |_| {
            while let Some(seq) = more.pop() {
                writer.create_text(&format!("[{seq}]"), seq).unwrap();
            }
        });
        // What was there first is copied; or, where another would have given way for nothing, what is there since.
        let expected = if replace { vec![4, 3] } else { vec![2] };
        assert_eq!(copied.unwrap().copied, expected);
        assert_eq!(
            there.holds().0,
            expected.iter().map(|seq| (*seq, Some(format!("[\n  {seq}\n]")))).collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_was_copied_to_an_object_store_is_read_there() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let (from, there) = (tempdir().unwrap(), Side::new(true, "there"));
        create(from.path(), layout, &[7], "");
        let mut here = minisnap().open(Grant::new(from.path()).read_only()).unwrap();
        let copied = there.open().copy_from(&mut here, Selection::All, false, |_| there.damage(7));
        assert!(matches!(copied, Err(CopyError::To(Error::Corrupt(_)))), "{layout}: {copied:?}");
    }
}

#[test]
fn a_copy_that_panics_half_way_leaves_no_create_unstored() {
    let (from, there) = (three(), Side::new(true, "there"));
    let mut here = minisnap().open(Grant::new(from.path()).read_only()).unwrap();
    let mut to = there.open();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        to.copy_from(&mut here, Selection::All, false, |_| panic!("half way"))
    }));
    panicked.unwrap_err();
    assert_eq!(there.holds().0, []);
    to.create_text("[]", 9).unwrap();
    assert_eq!(there.reader().restore_text().unwrap().seq, 9);
}

#[test]
fn nothing_is_copied_to_where_it_is() {
    let there = Side::new(true, "there");
    there.act(&[Act::Create(1, "1".to_owned())]);
    let refused = there.open().copy_from(&mut there.reader(), Selection::Newest, true, |_| ());
    assert!(
        matches!(&refused, Err(CopyError::To(error)) if error.to_string().contains("s3://bucket/prefix/there` is where")),
        "{refused:?}"
    );
}

#[test]
fn a_copy_from_an_object_store_gets_no_more_than_it_copies_and_compares() {
    let there = Side::new(true, "there");
    there.act(&[1, 2, 3, 4, 5].map(|seq| Act::Create(seq, format!("[{seq}]"))));
    let here = tempdir().unwrap();
    let mut to = minisnap().open(Grant::new(here.path()).layout(Layout::Numbered)).unwrap();
    let mut from = there.reader();
    let gets = |to: &mut SnapshotStore, from: &mut SnapshotStore| {
        let _ = there.fleet.objects.counts();
        to.copy_from(from, Selection::Newest, false, |_| ()).unwrap();
        // Besides those of the head, of which each step looks at one.
        there.fleet.objects.counts().get("GET").copied().unwrap_or(0)
    };
    let first = gets(&mut to, &mut from);
    let again = gets(&mut to, &mut from);
    assert!(first <= 8 && again <= 8, "{first} {again}");
    assert!(Path::new(here.path()).join(file(5)).exists());
}
