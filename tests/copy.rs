//! Copying snapshots: what is copied as it is, what gives way, what is refused, and from a directory that is in use.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use minisnap_host::{CopyError, Error, Grant, Layout, Selection, SnapshotStore, Soundness};
use minisnap_tests::copies::{assert_done, assert_refused, assert_same, copy, create, file, newest, store};
use minisnap_tests::subject::Subject;
use minisnap_tests::trace::{Call, trace};
use minisnap_tests::{cli, in_parallel, minisnap, names, run, run_mounting, scratch};

const LAYOUTS: [Layout; 2] = [Layout::Pair, Layout::Numbered];

/// The names of a directory with the numbers alone.
fn short(dir: &Path) -> Vec<String> {
    names(dir).into_iter().map(|name| name.replace("snapshot_000000000000000000", "")).collect()
}

#[test]
fn a_copy_has_the_same_bytes_and_times_and_only_what_is_missing_is_copied() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("a/b/to"));
    create(&from, Layout::Numbered, &[1, 2], "");
    // One that another program wrote has no sum, and gets none.
    let native = run(&mut Subject::Native013.create(&from, 3), "{\"native\":1}");
    assert_eq!(native.code, Some(0), "{native:?}");
    let old = SystemTime::now() - Duration::from_secs(86_400);
    fs::File::options().write(true).open(from.join(file(1))).unwrap().set_modified(old).unwrap();
    fs::write(from.join("notes.txt"), "").unwrap();

    assert_done(&copy(&from, &to, &[]), "copied 3\n");
    assert_done(&copy(&from, &to, &["--all", "--dry-run"]), "would copy 2\nwould copy 1\npresent 3\n");
    assert_eq!(names(&to), [file(3)]);
    assert_done(&copy(&from, &to, &["--all"]), "copied 2\ncopied 1\npresent 3\n");
    let json = "{\"copied\":[],\"layout\":\"numbered\",\"present\":[3,2,1],\"replaced\":[],\"skipped\":[]}\n";
    assert_done(&copy(&from, &to, &["--all", "--json"]), json);
    fs::remove_file(from.join("notes.txt")).unwrap();
    assert_same(&from, &to);
    let sound: Vec<_> =
        store(&to, Layout::Numbered).generations().unwrap().into_iter().map(|info| info.soundness).collect();
    assert_eq!(sound, [Soundness::Unverified, Soundness::Verified, Soundness::Verified]);
    assert_done(&copy(&from, &dir.path().join("one"), &["--seq", "2"]), "copied 2\n");

    // A pair, too; of another program's, the copy gets sums.
    let (from, to) = (dir.path().join("pair"), dir.path().join("other"));
    create(&from, Layout::Pair, &[7], "");
    assert_done(&copy(&from, &to, &["--all"]), "copied 7\n");
    assert_done(&copy(&from, &to, &[]), "present 7\n");
    assert_same(&from, &to);
    fs::remove_file(from.join("snapshot.sum")).unwrap();
    assert_done(&copy(&from, &dir.path().join("third"), &[]), "copied 7\n");
    assert_same(&to, &dir.path().join("third"));
}

#[test]
fn a_pair_is_copied_to_generations_and_back() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    create(&path("pair"), Layout::Pair, &[5], "a state");
    assert_done(&copy(&path("pair"), &path("history"), &["--layout", "numbered"]), "copied 5\n");
    assert_eq!(names(&path("history")), [file(5)]);
    create(&path("history"), Layout::Numbered, &[6], "");
    // The layout of a directory is its own.
    assert_refused(&copy(&path("history"), &path("pair"), &["--layout", "numbered"]), 2, "layout `pair`");
    assert_done(&copy(&path("history"), &path("pair"), &["--seq", "5"]), "present 5\n");
    assert_done(&copy(&path("history"), &path("back"), &["--all", "--layout", "pair"]), "copied 6\n");
    assert_done(&copy(&path("history"), &path("pair"), &["--all"]), "copied 6\nreplaced 5\n");
    assert_same(&path("pair"), &path("back"));
    create(&path("pair"), Layout::Pair, &[8], "");
    assert_done(&copy(&path("pair"), &path("history"), &[]), "copied 8\n");
    assert_eq!(short(&path("history")), ["05.json", "06.json", "08.json"]);
    assert_eq!(newest(&path("history")), newest(&path("pair")));
}

#[test]
fn a_copy_puts_no_older_snapshot_over_a_newer_one_and_mixes_no_histories_unless_it_is_to_replace() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    create(&path("from"), Layout::Numbered, &[1, 3, 4], "");
    for layout in LAYOUTS {
        let to = path(&layout.to_string());
        create(&to, layout, &[1, 2, 3, 9], "other");
        let before = names(&to);
        for args in [&[][..], &["--all"], &["--seq", "3"], &["--dry-run"]] {
            let refused = copy(&path("from"), &to, args);
            assert_refused(&refused, 4, "holds the snapshot 9, which is newer than what is copied");
            assert!(refused.stderr.contains("--replace"), "{refused:?}");
        }
        assert_eq!(names(&to), before);
        assert_eq!(newest(&to).0, 9);
    }
    let to = path("numbered");
    fs::remove_file(to.join(file(9))).unwrap();
    let refused = copy(&path("from"), &to, &["--all"]);
    assert_refused(&refused, 4, "holds another state under the number 3: it was created again, or");
    assert_eq!(short(&to), ["01.json", "02.json", "03.json"]);

    create(&to, Layout::Numbered, &[9], "other");
    let planned =
        "would copy 4\nwould copy 3\nwould copy 1\nwould undo 9\nwould undo 3\nwould undo 2\nwould undo 1\n";
    assert_done(&copy(&path("from"), &to, &["--all", "--replace", "--dry-run"]), planned);
    assert_done(
        &copy(&path("from"), &to, &["--all", "--replace"]),
        &planned.replace("would copy", "copied").replace("would undo", "undone"),
    );
    let kept = ["01.json.undone", "02.json.undone", "03.json.undone", "09.json.undone"];
    let there: Vec<String> = short(&to).into_iter().filter(|name| name.ends_with(".undone")).collect();
    assert_eq!(there, kept);
    assert!(fs::read_to_string(to.join(file(3) + ".undone")).unwrap().contains("other"));
    for name in kept {
        fs::remove_file(to.join(format!("snapshot_000000000000000000{name}"))).unwrap();
    }
    assert_same(&path("from"), &to);

    // A pair keeps nothing of what it held.
    let to = path("pair");
    assert_done(&copy(&path("from"), &to, &["--replace", "--dry-run"]), "would copy 4\nwould replace 9\n");
    assert_done(&copy(&path("from"), &to, &["--replace"]), "copied 4\nreplaced 9\n");
    assert_eq!(newest(&to), newest(&path("from")));
    create(&path("same"), Layout::Pair, &[4], "other");
    assert_refused(&copy(&path("same"), &to, &[]), 4, "under the number 4");
    assert_done(&copy(&path("same"), &to, &["--replace"]), "copied 4\nreplaced 4\n");
    assert_eq!(newest(&to), newest(&path("same")));
    // From a pair to generations.
    assert_done(&copy(&to, &path("from"), &["--replace"]), "copied 4\nundone 4\nundone 3\nundone 1\n");
    assert_eq!(newest(&path("from")), newest(&path("same")));
    assert_eq!(short(&path("from")), ["01.json.undone", "03.json.undone", "04.json", "04.json.undone"]);
}

#[test]
fn what_is_damaged_is_not_copied_and_is_replaced_where_it_is_copied_to() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    create(&from, Layout::Numbered, &[1, 2, 3], "");
    assert_eq!(copy(&from, &to, &["--all"]).code, Some(0));
    let rot = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("text", "rot!")).unwrap();
    };
    rot(&to.join(file(2)));
    rot(&to.join(file(3)));
    assert_done(&copy(&from, &to, &["--all"]), "copied 3\ncopied 2\npresent 1\n");
    let mut expected = vec!["01.json", "02.json", "02.json.damaged", "03.json", "03.json.damaged"];
    assert_eq!(short(&to), expected);
    assert_eq!(newest(&to), newest(&from));

    rot(&from.join(file(3)));
    let other = dir.path().join("other");
    let done = copy(&from, &other, &["--all"]);
    assert!(done.stderr.starts_with("warning: the snapshot 3 is damaged and was skipped"), "{done:?}");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "copied 2\ncopied 1\n"));
    // The sound one is not replaced by what stands in for a damaged one, and it is said why.
    let refused = copy(&from, &to, &[]);
    assert_refused(&refused, 4, "holds the snapshot 3, which is newer");
    assert!(refused.stderr.starts_with("warning: the snapshot 3 is damaged"), "{refused:?}");
    for args in [&["--replace"][..], &["--all", "--replace"]] {
        assert_refused(&copy(&from, &to, args), 4, "it may be the only sound one");
    }
    expected.sort_unstable();
    assert_eq!(short(&to), expected);
    assert_refused(&copy(&from, &other, &["--seq", "3"]), 6, "is not what was written");
    for seq in [1, 2] {
        rot(&from.join(file(seq)));
    }
    for args in [&[][..], &["--all"]] {
        assert_eq!(copy(&from, &dir.path().join("none"), args).code, Some(6));
    }

    // Of a pair, what is damaged is replaced by the same, or a newer one.
    let (from, to) = (dir.path().join("pair"), dir.path().join("healed"));
    create(&from, Layout::Pair, &[4], "");
    create(&to, Layout::Pair, &[4], "");
    rot(&to.join("snapshot.json"));
    assert_done(&copy(&from, &to, &[]), "copied 4\n");
    assert_same(&from, &to);
}

/// The number that both have with the same state says up to where they are of one history.
#[test]
fn none_of_several_snapshots_that_may_be_the_only_sound_ones_is_replaced() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    create(&from, Layout::Numbered, &[3, 4, 5], "");
    assert_done(&copy(&from, &to, &["--all"]), "copied 5\ncopied 4\ncopied 3\n");
    for damaged in [from.join(file(5)), from.join(file(4)), to.join(file(5))] {
        fs::write(damaged, "{").unwrap();
    }
    let before = names(&to);
    assert_refused(&copy(&from, &to, &["--replace"]), 4, "holds the snapshot 4, which is damaged");
    assert_eq!(names(&to), before);
}

#[test]
fn only_what_is_above_the_newest_snapshot_that_both_have_alike_gives_way() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    create(&path("backup"), Layout::Numbered, &[1, 2, 3], "");
    let fork = |name: &str| {
        assert_eq!(copy(&path("backup"), &path(name), &["--all"]).code, Some(0));
        path(name)
    };
    // Another history is found below what is copied, too: at the newest number that both have.
    let other = path("other");
    create(&other, Layout::Numbered, &[2, 3, 4], "other");
    for args in [&[][..], &["--all"], &["--seq", "4"]] {
        assert_refused(&copy(&other, &path("backup"), args), 4, "another state under the number 3");
    }
    // One that is damaged tells nothing.
    fs::write(other.join(file(3)), "rot").unwrap();
    assert_refused(&copy(&other, &path("backup"), &[]), 4, "another state under the number 2");
    assert_eq!(short(&path("backup")), ["01.json", "02.json", "03.json"]);

    // One snapshot was created again: only that gives way, and what is above it.
    let again = fork("again");
    create(&again, Layout::Numbered, &[3, 4], "again");
    let to = fork("to");
    assert_refused(&copy(&again, &to, &["--all"]), 4, "it was created again");
    assert_done(
        &copy(&again, &to, &["--all", "--replace"]),
        "copied 4\ncopied 3\npresent 2\npresent 1\nundone 3\n",
    );
    assert_done(&copy(&path("backup"), &to, &["--replace"]), "copied 3\nundone 4\nundone 3\n");
    assert_eq!(
        short(&to),
        ["01.json", "02.json", "03.json", "03.json.undone", "03.json.undone-2", "04.json.undone"]
    );
    // Older ones of the same history stay, although they are not copied.
    let newer = fork("newer");
    create(&newer, Layout::Numbered, &[5, 6], "");
    assert_done(&copy(&path("backup"), &newer, &["--replace"]), "present 3\nundone 6\nundone 5\n");
    assert_eq!(short(&newer), ["01.json", "02.json", "03.json", "05.json.undone", "06.json.undone"]);
    assert_done(&copy(&path("backup"), &newer, &["--seq", "2", "--replace"]), "present 2\nundone 3\n");
    // A pair has one number; it is compared with that of the history.
    let pair = path("pair");
    create(&pair, Layout::Pair, &[2], "other");
    assert_refused(&copy(&path("backup"), &pair, &[]), 4, "another state under the number 2");
}

/// Whether the bytes are the same, or another program wrote them.
#[test]
fn the_same_state_in_another_programs_bytes_is_the_same_and_a_damaged_one_makes_nothing_give_way() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    for seq in 1..=3 {
        let state = format!("{{\n  \"n\": {seq}\n}}");
        store(&path("to"), Layout::Numbered).create_text(&state, seq).unwrap();
        assert_eq!(run(&mut Subject::Native013.create(&path("native"), seq), &state).code, Some(0));
    }
    for args in [&["--all"][..], &["--all", "--replace"]] {
        assert_done(&copy(&path("native"), &path("to"), args), "present 3\npresent 2\npresent 1\n");
    }
    let from = path("from");
    assert_eq!(copy(&path("to"), &from, &["--seq", "3"]).code, Some(0));
    create(&from, Layout::Numbered, &[4], "");
    fs::write(from.join(file(3)), "rot").unwrap();
    // Nothing says that the two are of one history, and the 3 that is there may be the only one.
    assert_refused(&copy(&from, &path("to"), &["--replace"]), 4, "it may be the only sound one");
    assert_done(&copy(&from, &path("to"), &[]), "copied 4\n");
    assert_eq!(short(&path("to")), ["01.json", "02.json", "03.json", "04.json"]);
}

#[test]
fn a_copy_that_is_interrupted_or_fails_leaves_no_history_half_undone_unnoticed() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    let to = path("to");
    create(&to, Layout::Numbered, &[1, 2, 3], "");
    create(&path("from"), Layout::Numbered, &[9], &"x".repeat(200_000));
    let before = names(&to);
    // What was prepared for it is taken back.
    let script = "ulimit -f 50; exec \"$0\" copy \"$1\" \"$2\" --replace";
    let mut limited = Command::new("sh");
    limited.args(["-c", script]).arg(cli().get_program()).arg(path("from")).arg(&to);
    let failed = run(&mut limited, "");
    assert_refused(&failed, 10, "File too large");
    assert_eq!(names(&to), before);

    // Killed after the newest was copied: the others have two names still.
    let twice = |seq: u64| fs::hard_link(to.join(file(seq)), to.join(file(seq) + ".undone")).unwrap();
    (1..=3).for_each(twice);
    fs::copy(path("from").join(file(9)), to.join(file(9))).unwrap();
    let refused = copy(&path("from"), &to, &[]);
    assert_refused(&refused, 4, "holds the snapshot 3, which was to give way to a copy that was interrupted");
    assert_done(&copy(&path("from"), &to, &["--replace"]), "present 9\nundone 3\nundone 2\nundone 1\n");
    assert_eq!(short(&to), ["01.json.undone", "02.json.undone", "03.json.undone", "09.json"]);

    // One that was given up, and went on in its own way: what both have stays.
    let other = path("other");
    create(&other, Layout::Numbered, &[1, 2], "");
    fs::hard_link(other.join(file(1)), other.join(file(1) + ".undone")).unwrap();
    create(&path("same"), Layout::Numbered, &[1, 2], "");
    for args in [&[][..], &["--replace"], &["--all", "--replace"]] {
        assert_eq!(copy(&path("same"), &other, args).code, Some(0));
        assert_eq!(short(&other), ["01.json", "01.json.undone", "02.json"]);
    }
}

#[test]
fn a_pair_that_is_damaged_in_any_way_is_replaced_if_it_is_to_be() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    create(&from, Layout::Pair, &[3], "");
    for (names, damage) in [
        (&["snapshot.seq"][..], Some("rot")),
        (&["snapshot.sum"], Some("rot")),
        (&["snapshot.json"], Some("rot")),
        (&["snapshot.seq", "snapshot.sum"], None),
        (&["snapshot.json", "snapshot.sum"], None),
        (&["snapshot.json", "snapshot.seq", "snapshot.sum"], Some("")),
    ] {
        create(&to, Layout::Pair, &[5], "old");
        for name in names {
            match damage {
                Some(text) => fs::write(to.join(name), text).unwrap(),
                None => fs::remove_file(to.join(name)).unwrap(),
            }
        }
        let refused = copy(&from, &to, &[]);
        assert!([Some(4), Some(6)].contains(&refused.code), "{names:?}: {refused:?}");
        let done = copy(&from, &to, &["--replace"]);
        assert_eq!((done.code, newest(&to)), (Some(0), newest(&from)), "{names:?}: {done:?}");
        assert_same(&from, &to);
        fs::remove_dir_all(&to).unwrap();
    }
}

#[test]
fn what_cannot_be_copied_leaves_no_directory() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    create(&from, Layout::Numbered, &[1], "");
    assert_refused(&copy(&from, &to, &["--seq", "7"]), 1, "no snapshot of this number");
    assert!(!to.exists());
    fs::write(from.join(file(1)), "rot").unwrap();
    assert_refused(&copy(&from, &to, &[]), 6, "");
    assert!(!to.exists());
    // One that was there stays.
    fs::create_dir(&to).unwrap();
    assert_refused(&copy(&from, &to, &[]), 6, "");
    assert!(to.exists());
}

/// The entry of a bind mount has another inode than the file that it leads to.
#[test]
fn a_generation_that_is_mounted_is_copied_like_any_other() {
    let dir = scratch();
    create(&dir.path().join("from"), Layout::Numbered, &[1, 2, 3], "");
    create(&dir.path().join("other"), Layout::Numbered, &[1, 3], "");
    let script = "cd $2; for n in 1 3; do f=snapshot_0000000000000000000$n.json; mount --bind other/$f from/$f; done; $1 copy from to --all";
    assert_done(&run_mounting(script, dir.path(), ""), "copied 3\ncopied 2\ncopied 1\n");
    assert_eq!(short(&dir.path().join("to")), ["01.json", "02.json", "03.json"]);
}

/// Makes snapshots until it is to be done, and tells which was acknowledged.
fn write_on(writer: &mut SnapshotStore, acknowledged: &AtomicU64, is_done: &AtomicBool) {
    for seq in (2..).take_while(|_| !is_done.load(Ordering::SeqCst)) {
        writer.create(&seq, seq).unwrap();
        acknowledged.store(seq, Ordering::SeqCst);
        // So that it is not overtaken for ever.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Nothing is locked there, and every copy holds a snapshot that was acknowledged before it began, or a newer one.
#[test]
fn a_directory_is_copied_while_its_writer_goes_on() {
    for layout in LAYOUTS {
        let dir = scratch();
        let (live, acknowledged, is_done) =
            (dir.path().join("live"), AtomicU64::new(0), AtomicBool::new(false));
        let mut writer =
            minisnap().open(Grant::new(&live).layout(layout).keep(NonZeroU32::new(2).unwrap())).unwrap();
        writer.create(&1, 1).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| write_on(&mut writer, &acknowledged, &is_done));
            let copies = 30;
            for count in 0..copies {
                let to = dir.path().join(count.to_string());
                let before = acknowledged.load(Ordering::SeqCst);
                let mut from = minisnap().open(Grant::new(&live).read_only()).unwrap();
                let mut target = store(&to, layout);
                let selection = if count % 2 == 0 { Selection::All } else { Selection::Newest };
                let copied = target.copy_from(&mut from, selection, false, |_| {});
                if count == copies - 1 {
                    is_done.store(true, Ordering::SeqCst);
                }
                let copied = copied.unwrap();
                let restored = target.restore::<u64>().unwrap();
                assert!(restored.seq >= before && restored.state == restored.seq, "{restored:?}, {before}");
                assert_eq!(restored.seq, copied.copied[0]);
                assert!(
                    target.generations().unwrap().iter().all(|info| info.soundness == Soundness::Verified)
                );
            }
        });
    }
}

/// What is there already may be pruned in the one that is copied while the two are compared.
#[test]
fn a_directory_is_backed_up_again_and_again_while_its_writer_prunes() {
    let dir = scratch();
    let (live, to, is_done) = (dir.path().join("live"), dir.path().join("to"), AtomicBool::new(false));
    let grant = Grant::new(&live).layout(Layout::Numbered).keep(NonZeroU32::new(1).unwrap());
    let mut writer = minisnap().open(grant).unwrap();
    writer.create(&1, 1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| write_on(&mut writer, &AtomicU64::default(), &is_done));
        let mut target = store(&to, Layout::Numbered);
        let copied: Vec<_> = (0..200)
            .map(|count| {
                let mut from = minisnap().open(Grant::new(&live).read_only()).unwrap();
                target.copy_from(&mut from, Selection::All, count % 2 == 0, |_| {})
            })
            .collect();
        is_done.store(true, Ordering::SeqCst);
        assert!(copied.iter().all(Result::is_ok), "{copied:?}");
    });
}

#[test]
fn a_copy_needs_a_directory_that_is_free_and_may_be_written() {
    let dir = scratch();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    create(&from, Layout::Numbered, &[1], "");
    let holder = store(&to, Layout::Numbered);
    assert_refused(&copy(&from, &to, &[]), 9, "in use by process");
    drop(holder);
    let mut source = store(&from, Layout::Numbered);
    let mut reader = minisnap().open(Grant::new(&to).read_only()).unwrap();
    let refused = reader.copy_from(&mut source, Selection::Newest, false, |_| {}).unwrap_err();
    assert!(matches!(refused, CopyError::To(Error::AccessDenied(_))), "{refused:?}");
    // Who may only read can ask what would be done.
    let planned = reader.plan_copy(&mut source, Selection::Newest, false).unwrap();
    assert_eq!((planned.copied, planned.layout), (vec![1], Layout::Pair));
    assert!(names(&to).is_empty());
    // What another store of this host has open stays.
    let mut target = store(&to, Layout::Numbered);
    let told = target.copy_from(&mut source, Selection::Newest, false, |_| {}).unwrap();
    assert_eq!((told.copied, told.layout), (vec![1], Layout::Numbered));
    target.create(&2, 2).unwrap();
    drop((target, source));
    assert_refused(&copy(&from, &from, &[]), 10, "is where it is copied from");
    assert_refused(&copy(&dir.path().join("missing"), &to, &[]), 1, "no snapshot yet");
    assert_refused(&copy(&from, &dir.path().join("new"), &["--must-exist"]), 10, "must exist");
    assert!(!dir.path().join("new").exists());
}

/// In this order, no crash leaves an older snapshot as the newest, or loses what was acknowledged or is to be kept.
#[test]
fn a_copy_writes_syncs_and_renames_in_this_order() {
    let (source, root) = (scratch(), scratch());
    create(source.path(), Layout::Numbered, &[1, 2], "");
    let to = root.path().join("to");
    create(&to, Layout::Numbered, &[1, 2, 3, 4], "other");
    create(&to, Layout::Numbered, &[5], "");
    fs::rename(to.join(file(1)), to.join(file(0))).unwrap();
    let (done, calls) =
        trace(cli().arg("copy").arg(source.path()).arg(&to).args(["--all", "--replace"]), root.path(), "");
    assert_eq!(done.code, Some(0), "{done:?}");
    let short = |name: &str| name.replace("to/snapshot_000000000000000000", "");
    let steps: Vec<String> = calls
        .into_iter()
        .skip_while(|call| !matches!(call, Call::Link(..)))
        .filter_map(|call| match call {
            Call::Open { path, .. } => Some(format!("make {}", short(&path))),
            Call::Sync(name) => Some(format!("sync {}", short(&name))),
            Call::Rename(from, to) => Some(format!("rename {} {}", short(&from), short(&to))),
            Call::Link(from, to) => Some(format!("link {} {}", short(&from), short(&to))),
            Call::Remove(name) => Some(format!("remove {}", short(&name))),
            _ => None,
        })
        .collect();
    assert_eq!(
        steps,
        [
            // What gives way is kept, durably.
            "link 02.json 02.json.undone",
            "link 00.json 00.json.undone",
            "sync to",
            "make 02.json.tmp",
            "sync 02.json.tmp",
            "rename 02.json.tmp 02.json",
            // It is durable before what is newer is undone, which is the commit, by a rollback.
            "sync to",
            "sync to",
            "rename 03.json 03.json.undone",
            "rename 04.json 04.json.undone",
            "sync to",
            "rename 05.json 05.json.undone",
            "sync to",
            "make 01.json.tmp",
            "sync 01.json.tmp",
            "rename 01.json.tmp 01.json",
            "remove 00.json",
            "sync to",
            // By who reads what was copied.
            "sync to",
        ]
    );
}

/// How a copy is made, and what is there before.
const CASES: [(Layout, Layout, &[u64]); 4] = [
    (Layout::Numbered, Layout::Numbered, &[1, 2, 5]),
    (Layout::Numbered, Layout::Numbered, &[]),
    (Layout::Pair, Layout::Numbered, &[1, 2, 5]),
    (Layout::Numbered, Layout::Pair, &[5]),
];

#[test]
fn any_failed_call_of_a_copy_leaves_the_old_or_the_new_snapshot_and_can_be_repeated() {
    let calls = ["write", "pwrite64", "fsync", "renameat", "linkat"];
    let cases = CASES.iter().flat_map(|case| calls.map(|call| (*case, call)));
    let failed = AtomicU64::new(0);
    in_parallel(cases.collect(), |((of, layout, before), call)| {
        let layout_name = layout.to_string();
        let args = ["--all", "--replace", "--layout", &layout_name];
        let (template, whole) = (scratch(), scratch());
        create(&template.path().join("from"), of, &[1, 2], "new");
        create(&template.path().join("to"), layout, before, "old");
        let copied = |to: &Path| {
            let copied = Command::new("cp").arg("-a").arg(template.path().join(".")).arg(to).status();
            assert!(copied.unwrap().success());
            (to.join("from"), to.join("to"))
        };
        let (from, to) = copied(whole.path());
        let old = before.last().map(|_| newest(&to));
        assert_eq!(copy(&from, &to, &args).code, Some(0));
        // What is there in the end, whatever failed before.
        let (new, expected) = (Some(newest(&to)), names(&to));
        for when in 1.. {
            let dir = scratch();
            let (from, to) = copied(dir.path());
            let log = tempfile::NamedTempFile::new().unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-f", "-e", &format!("trace={call}"), "-e"]);
            strace.arg(format!("inject={call}:error=EIO:when={when}")).arg("-o").arg(log.path());
            strace.arg(cli().get_program()).arg("copy").arg(&from).arg(&to).args(args);
            let done = run(&mut strace, "");
            if !fs::read_to_string(log.path()).unwrap().contains("(INJECTED)") {
                assert_eq!(done.code, Some(0), "{done:?}");
                break;
            }
            failed.fetch_add(1, Ordering::Relaxed);
            let restored = minisnap().open(Grant::new(&to).read_only()).unwrap().restore_text();
            let restored = restored.ok().map(|snapshot| (snapshot.seq, snapshot.state));
            assert!(restored == new || restored == old, "{call} {when}: {restored:?}, {done:?}");
            // What only tells of it may fail as well.
            assert!(done.code != Some(0) || restored == new, "{call} {when}: {done:?}");
            let is_told = done.stderr.contains("`: ") && done.stderr.contains("unharmed");
            assert!(!is_told || restored == old, "{call} {when}: {done:?}");
            let again = copy(&from, &to, &args);
            assert_eq!(again.code, Some(0), "{call} {when}: {again:?}");
            assert_eq!(Some(newest(&to)), new);
            assert_eq!(names(&to), expected, "{call} {when}: {done:?}");
        }
    });
    assert!(failed.into_inner() > 60, "the calls are not made to fail");
}
