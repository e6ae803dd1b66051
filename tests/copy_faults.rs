//! Copying snapshots while the writer goes on, while a call fails, and where it is cut: in which order it makes what durable.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use minisnap_host::{Grant, Layout, Selection, SnapshotStore, Soundness};
use minisnap_tests::copies::{assert_done, assert_refused, copy, create, file, newest, store};
use minisnap_tests::trace::{Call, trace};
use minisnap_tests::{cli, in_parallel, minisnap, names, run, scratch};

use crate::copy::{LAYOUTS, short};

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
