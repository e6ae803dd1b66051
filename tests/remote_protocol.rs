//! The protocol of a remote store, in every order of its requests and of what goes wrong with them, within bounds.

use std::num::NonZeroUsize;

use minisnap_host::remote::head::{Generation, Head, Limits, Refusal};
use minisnap_host::remote::protocol::{
    Answer, Ended, GivenUp, Machine, Next, Opened, Opening, Request, TakeOver, Writer,
};
use minisnap_tests::rounds;
use remote_model::{Bounds, Change, Explored, Mutant, explore};

const TWO: Bounds = Bounds {
    writers: 2,
    changes: 2,
    kinds: &[Change::Next],
    openings: 1,
    take_over: TakeOver::Anyone,
    releases: false,
    readers: 0,
    faults: 2,
    loses_head: false,
    keep: 1,
    is_reduced: true,
};

#[track_caller]
fn nothing_is_wrong(bounds: Bounds, at_least: usize) {
    let Explored { states, violation } = explore(bounds, Mutant::None);
    println!("{states} states of {bounds:?}");
    assert_eq!(violation, None);
    assert!(states >= at_least, "only {states} states");
}

#[test]
fn two_writers_of_a_remote_store_lose_nothing_that_was_acknowledged() {
    nothing_is_wrong(Bounds { changes: rounds(1, 2), ..TWO }, 70_000);
    nothing_is_wrong(Bounds { keep: 2, faults: 1, ..TWO }, 30_000);
}

#[test]
fn in_long_runs_two_writers_that_open_a_remote_store_twice_lose_nothing_that_was_acknowledged() {
    nothing_is_wrong(Bounds { openings: 2, faults: 1, ..TWO }, 200_000);
    nothing_is_wrong(Bounds { openings: 2, changes: 1, ..TWO }, 600_000);
}

#[test]
fn in_long_runs_the_steps_of_two_writers_come_in_every_order() {
    nothing_is_wrong(Bounds { is_reduced: false, faults: 1, ..TWO }, 40_000);
}

#[test]
fn three_writers_of_a_remote_store_lose_nothing_that_was_acknowledged() {
    nothing_is_wrong(Bounds { writers: 3, changes: 1, faults: rounds(0, 1), ..TWO }, 20_000);
}

#[test]
fn a_writer_that_creates_three_times_is_told_what_became_of_each() {
    nothing_is_wrong(Bounds { writers: 1, changes: 3, faults: rounds(2, 3), ..TWO }, 3_000);
}

#[test]
fn equal_and_lower_numbers_change_nothing_that_they_should_not() {
    let kinds = &[Change::Next, Change::Equal, Change::Lower];
    nothing_is_wrong(Bounds { kinds, changes: rounds(1, 2), faults: 1, ..TWO }, 10_000);
}

#[test]
fn a_rollback_and_a_clear_of_a_remote_store_undo_no_later_snapshot() {
    let kinds = &[Change::Next, Change::Rollback, Change::Clear];
    nothing_is_wrong(Bounds { kinds, keep: 2, faults: rounds(0, 1), ..TWO }, 10_000);
    nothing_is_wrong(Bounds { kinds, keep: 2, writers: 1, changes: 3, faults: 1, ..TWO }, 1_000);
}

#[test]
fn a_copy_to_a_remote_store_counts_as_a_whole_or_leaves_nothing() {
    let kinds = &[Change::Next, Change::Copy, Change::CopyOver];
    nothing_is_wrong(Bounds { kinds, changes: rounds(1, 2), keep: 2, faults: 1, ..TWO }, 10_000);
    nothing_is_wrong(Bounds { kinds, keep: 2, writers: 1, changes: 3, ..TWO }, 1_000);
}

#[test]
fn what_was_in_doubt_before_a_commit_is_in_place_or_never_will_be() {
    let kinds = &[Change::Next, Change::Confirm];
    nothing_is_wrong(Bounds { kinds, writers: 1, changes: 3, faults: rounds(2, 3), ..TWO }, 3_000);
    nothing_is_wrong(Bounds { kinds, faults: 1, changes: rounds(1, 2), ..TWO }, 10_000);
    nothing_is_wrong(Bounds { kinds, faults: rounds(0, 1), changes: 1, readers: 1, ..TWO }, 3_000);
}

#[test]
fn a_store_that_was_released_is_changed_by_who_opens_it_alone() {
    let released = Bounds { releases: true, changes: 1, ..TWO };
    nothing_is_wrong(Bounds { take_over: TakeOver::Nobody, ..released }, 1_000);
    for take_over in [TakeOver::Itself, TakeOver::Nobody] {
        nothing_is_wrong(Bounds { take_over, openings: 2, faults: 1, ..released }, 30_000);
    }
    nothing_is_wrong(Bounds { faults: 1, ..released }, 10_000);
}

#[test]
fn nobody_begins_anew_where_the_head_was_deleted() {
    let lost = Bounds { loses_head: true, changes: 1, ..TWO };
    nothing_is_wrong(Bounds { readers: 1, faults: 0, ..lost }, 1_000);
    nothing_is_wrong(Bounds { readers: rounds(0, 1), faults: 1, ..lost }, 1_000);
}

#[test]
fn a_reader_beside_two_writers_of_a_remote_store_never_goes_back() {
    nothing_is_wrong(Bounds { readers: 1, changes: 1, faults: 1, ..TWO }, 20_000);
}

#[test]
fn every_mutant_of_the_remote_protocol_is_found() {
    for mutant in [
        Mutant::CleansUpAfterATimeout,
        Mutant::BelievesTheAnswer,
        Mutant::TakesOverWithoutACondition,
        Mutant::IgnoresConditions,
        Mutant::DeletesBeforeTheCommit,
        Mutant::SweepsLaterOwners,
        Mutant::DiscardsWhatWasPlaced,
        Mutant::GoesOnWhenFenced,
        Mutant::BeginsAnew,
        Mutant::CopiesInPieces,
        Mutant::ConfirmsWithoutACommit,
    ] {
        let loses_head = mutant == Mutant::BeginsAnew;
        let kinds: &[Change] = match mutant {
            Mutant::CopiesInPieces => &[Change::Copy],
            Mutant::ConfirmsWithoutACommit => &[Change::Next, Change::Confirm],
            _ => TWO.kinds,
        };
        let Explored { states, violation } = explore(Bounds { loses_head, kinds, ..TWO }, mutant);
        println!("{mutant:?}: {states} states, {:.90}", violation.as_deref().unwrap_or("nothing"));
        assert!(violation.is_some(), "{mutant:?}");
    }
}

/// The writer of a new store, whose every request is done at once.
fn writer() -> Box<Writer> {
    taken_over(None, "claim")
}

/// The writer that has taken a store over.
fn taken_over(head: Option<&Head>, claim: &str) -> Box<Writer> {
    let mut opening = Opening::new("node", TakeOver::Anyone, claim.to_owned());
    loop {
        let answer = match opening.next() {
            Next::Ask(Request::PutHead(..)) => Answer::Put("1".to_owned()),
            Next::Ask(Request::List) => Answer::Keys(Vec::new()),
            Next::Ask(_) => Answer::Head(head.map(|head| (head.clone(), "0".to_owned()))),
            Next::End(Opened::Own(writer)) => return writer,
            Next::End(ended) => panic!("{ended:?}"),
        };
        opening.tell(answer);
    }
}

fn end(writer: &mut Writer) -> Ended {
    loop {
        match writer.next() {
            Next::Ask(Request::PutHead(..)) => writer.tell(Answer::Put("2".to_owned())),
            Next::Ask(_) => writer.tell(Answer::Done),
            Next::End(ended) => return ended,
        }
    }
}

fn limits(keep: usize, max_total: u64) -> Limits {
    Limits { keep: NonZeroUsize::new(keep).unwrap(), max_total: Some(max_total), damaged: Vec::new() }
}

fn insert(writer: &mut Writer, seq: u64, size: u64, limits: Limits) -> Ended {
    writer.insert(seq, size, String::new(), 0, limits);
    end(writer)
}

fn seqs(generations: &[Generation]) -> Vec<u64> {
    generations.iter().map(|generation| generation.seq).collect()
}

#[test]
fn a_remote_store_keeps_what_its_limits_allow() {
    let mut writer = writer();
    for seq in 1..=5 {
        assert_eq!(insert(&mut writer, seq, 10, limits(4, 1000)), Ended::Committed);
    }
    assert_eq!(seqs(&writer.head().generations), [5, 4, 3, 2]);
    // Those that do not fit any more go, the oldest first.
    assert_eq!(insert(&mut writer, 6, 15, limits(9, 35)), Ended::Committed);
    assert_eq!(seqs(&writer.head().generations), [6, 5, 4]);
    // One that does not fit beside the newest is refused, and so is one of the same number, until which that is kept.
    for seq in [6, 7] {
        assert_eq!(insert(&mut writer, seq, 21, limits(9, 35)), Ended::Refused(Refusal::NoSpace));
    }
    assert_eq!(insert(&mut writer, 5, 1, limits(9, 35)), Ended::Refused(Refusal::Stale { newest: 6 }));
    assert_eq!(seqs(&writer.head().generations), [6, 5, 4]);
    let dropped: Vec<_> = writer.head().dropped.iter().map(|key| &key[key.len() - 6..]).collect();
    assert_eq!(dropped, ["1.json", "2.json", "3.json"]);
}

#[test]
fn damaged_generations_of_a_remote_store_are_set_aside_and_go_first() {
    let mut writer = writer();
    for seq in 1..=4 {
        insert(&mut writer, seq, 10, limits(9, 1000));
    }
    let keys = writer.head().generations.iter().map(|generation| generation.key.clone());
    let damaged: Vec<String> = keys.take(2).collect();
    // The newest sound one is 2.
    let known = Limits { damaged, ..limits(9, 1000) };
    assert_eq!(insert(&mut writer, 3, 10, known), Ended::Committed);
    assert_eq!(seqs(&writer.head().generations), [3, 2, 1]);
    assert_eq!(seqs(&writer.head().damaged), [4, 3]);
    assert_eq!(insert(&mut writer, 5, 10, limits(9, 45)), Ended::Committed);
    assert_eq!(seqs(&writer.head().generations), [5, 3, 2, 1]);
    assert_eq!(seqs(&writer.head().damaged), [0; 0]);
}

#[test]
fn a_store_whose_objects_cannot_be_deleted_ends_to_grow() {
    let mut writer = writer();
    let ended = (1..)
        .map(|seq| insert(&mut writer, seq, 1, limits(1, 1000)))
        .find(|ended| *ended != Ended::Committed);
    assert_eq!(ended, Some(Ended::Refused(Refusal::Undeleted { objects: 1001 })));
    // Once they are deleted, it goes on.
    for key in writer.to_delete() {
        writer.deleted(&key);
    }
    assert_eq!(insert(&mut writer, 2000, 1, limits(1, 1000)), Ended::Committed);
    assert_eq!(writer.head().dropped.len(), 1);
}

#[test]
fn a_rolled_back_remote_store_keeps_what_was_undone() {
    let mut writer = writer();
    for seq in 1..=3 {
        insert(&mut writer, seq, 1, limits(9, 1000));
    }
    writer.rollback(9);
    assert_eq!(end(&mut writer), Ended::Refused(Refusal::NotFound));
    writer.rollback(1);
    assert_eq!(end(&mut writer), Ended::Committed);
    assert_eq!((seqs(&writer.head().generations), seqs(&writer.head().undone)), (vec![1], vec![3, 2]));
    assert_eq!(insert(&mut writer, 2, 1, limits(9, 1000)), Ended::Committed);
    assert!(writer.to_delete().is_empty());
    writer.clear();
    assert_eq!(end(&mut writer), Ended::Committed);
    assert_eq!(writer.to_delete().len(), 4);
}

/// What is put ahead of its commit has a key that was chosen before.
#[test]
fn a_folder_that_was_chosen_before_is_not_used_where_its_name_would_be_another_now() {
    let mut writer = writer();
    for seq in [1, 2, 15] {
        insert(&mut writer, seq, 1, limits(9, 1000));
    }
    let folder = writer.folder_of(20);
    assert!(folder.ends_with("-16") && writer.is_for(&folder, 20) && !writer.is_for(&folder, 6));
    let other = taken_over(Some(writer.head()), "other");
    assert!(!other.is_for(&folder, 20), "another opening has other keys");
    writer.rollback(1);
    assert_eq!(end(&mut writer), Ended::Committed);
    assert!(!writer.is_for(&folder, 20));
    let again = writer.folder_of(20);
    assert!(writer.is_for(&again, 20) && again != folder);
    // A repair goes by the order of the folders.
    let later = writer.folder_of(20);
    assert!(writer.is_for(&later, 20) && !writer.is_for(&again, 20));
}

#[test]
fn a_head_remembers_sixteen_owners_and_nobody_is_told_more_than_it_knows() {
    for (later, in_doubt) in [(1, false), (16, false), (17, true)] {
        let mut first = writer();
        let before = first.head().clone();
        first.insert(1, 1, String::new(), 0, limits(9, 1000));
        first.tell(Answer::Done);
        first.tell(Answer::Failed);
        let head =
            (0..later).fold(before, |head, at| taken_over(Some(&head), &at.to_string()).head().clone());
        first.tell(Answer::Head(Some((head, "9".to_owned()))));
        let owner = Some("node".to_owned());
        assert_eq!(first.next(), Next::End(Ended::Fenced { owner: owner.clone(), in_doubt }), "{later}");
        // What may be in place is not deleted.
        assert_eq!(first.to_delete().len(), usize::from(!in_doubt));
        // And who is fenced asks nothing any more.
        first.insert(2, 1, String::new(), 0, limits(9, 1000));
        assert_eq!(first.next(), Next::End(Ended::Fenced { owner, in_doubt: false }));
    }
}

#[test]
fn what_was_in_doubt_is_known_once_it_is_confirmed() {
    for is_applied in [false, true] {
        let mut writer = writer();
        writer.insert(1, 1, String::new(), 0, limits(9, 1000));
        writer.tell(Answer::Done);
        let Next::Ask(Request::PutHead(late, _)) = writer.next() else { panic!("it swaps the head") };
        let before = writer.head().clone();
        assert_eq!(writer.give_up(), GivenUp::InDoubt);
        writer.confirm();
        // It is applied now, or not any more.
        assert!(matches!(writer.next(), Next::Ask(Request::PutHead(..))));
        let found = if is_applied { late } else { before };
        writer.tell(Answer::Failed);
        writer.tell(Answer::Head(Some((found, "3".to_owned()))));
        assert_eq!(end(&mut writer), Ended::Committed);
        assert_eq!(seqs(&writer.head().generations).len(), usize::from(is_applied));
        assert_eq!(writer.to_delete().len(), usize::from(!is_applied));
    }
}

#[test]
fn what_is_kept_in_any_way_or_being_put_is_not_swept() {
    let mut first = writer();
    for seq in 1..=4 {
        insert(&mut first, seq, 10, limits(9, 1000));
    }
    first.rollback(3);
    end(&mut first);
    let damaged = vec![first.head().generations[0].key.clone()];
    insert(&mut first, 5, 10, Limits { damaged, ..limits(2, 1000) });
    let head = first.head();
    assert_eq!(
        (seqs(&head.generations), seqs(&head.damaged), seqs(&head.undone)),
        (vec![5, 2], vec![3], vec![4])
    );
    let key = |generation: &Generation| generation.key.clone();
    let kept: Vec<String> =
        [&head.generations, &head.damaged, &head.undone].into_iter().flatten().map(key).collect();
    let mut second = taken_over(Some(head), "second");
    second.insert(6, 10, String::new(), 0, limits(9, 1000));
    let Next::Ask(Request::PutGeneration(own)) = second.next() else { panic!() };
    let left = "g/0000000001-claim-9/snapshot_00000000000000000009.json".to_owned();
    second.sweep(kept.into_iter().chain([own.key, left.clone(), "g/unknown".to_owned()]));
    let dropped = second.head().dropped.iter().cloned();
    assert_eq!(second.to_delete(), dropped.chain([left]).collect::<Vec<_>>());
}

#[test]
fn a_released_store_takes_no_more_from_its_writer() {
    let mut writer = writer();
    writer.release();
    // Whatever becomes of it.
    writer.tell(Answer::Failed);
    writer.give_up();
    writer.insert(1, 1, String::new(), 0, limits(9, 1000));
    assert!(matches!(writer.next(), Next::End(Ended::Fenced { in_doubt: false, .. })));
}
