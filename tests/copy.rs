//! Copying snapshots: what is copied as it is, what gives way, what is refused, and from a directory that is in use.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use minisnap_host::{CopyError, Error, Grant, Layout, Selection, Soundness};
use minisnap_tests::copies::{assert_done, assert_refused, assert_same, copy, create, file, newest, store};
use minisnap_tests::subject::Subject;
use minisnap_tests::{minisnap, names, run, run_mounting, scratch};

pub(crate) const LAYOUTS: [Layout; 2] = [Layout::Pair, Layout::Numbered];

/// The names of a directory with the numbers alone.
pub(crate) fn short(dir: &Path) -> Vec<String> {
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
