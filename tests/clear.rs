//! Erasing a store: every file of it, nothing else, and never so that an older snapshot comes back.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use minisnap_host::{Error, Files, Grant, Layout, SnapshotCtx, SnapshotStore};
use minisnap_tests::trace::{Call, trace};
use minisnap_tests::{Done, cli, in_parallel, minisnap, names, run, scratch};

const LAYOUTS: [Layout; 2] = [Layout::Pair, Layout::Numbered];

fn store(dir: &Path, layout: Layout) -> SnapshotStore {
    minisnap().open(Grant::new(dir).layout(layout).keep(NonZeroU32::new(9).unwrap())).unwrap()
}

/// A directory with the snapshots 1 to 3, of which a pair holds the last one.
fn create(dir: &Path, layout: Layout) {
    let mut store = store(dir, layout);
    for seq in 1..=3 {
        store.create(&seq, seq).unwrap();
    }
}

fn clear(dir: &Path, args: &[&str]) -> Done {
    run(cli().arg("clear").arg(dir).args(args), "")
}

fn newest(dir: &Path, layout: Layout) -> Result<Option<u64>, Error> {
    match store(dir, layout).restore::<u64>() {
        Ok(snapshot) => Ok(Some(snapshot.seq)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

#[test]
fn a_clear_erases_every_file_of_a_store_and_nothing_else() {
    let others = ["agent-7", "notes.txt", "snapshot_9.bak"];
    for layout in LAYOUTS {
        let dir = scratch();
        create(dir.path(), layout);
        let of_layout: &[&str] = match layout {
            Layout::Pair => {
                &["snapshot.json.new", "snapshot.seq.tmp", "snapshot_00000000000000000007.json.undone"]
            }
            Layout::Numbered => &[
                "snapshot_00000000000000000009.json.tmp",
                "snapshot_00000000000000000002.json.damaged-2",
                "snapshot_00000000000000000007.json.undone",
            ],
        };
        for name in of_layout.iter().chain(&others[1..]) {
            fs::write(dir.path().join(name), "1").unwrap();
        }
        create(&dir.path().join(others[0]), layout);
        let before = names(dir.path());
        let own: Vec<String> =
            before.iter().filter(|name| !others.contains(&name.as_str())).cloned().collect();

        let planned = clear(dir.path(), &[]);
        assert!(planned.code == Some(2) && planned.stderr.contains("--yes"), "{planned:?}");
        for (verb, names) in [("would erase", &own), ("would leave", &others.map(str::to_owned).to_vec())] {
            assert!(
                names.iter().all(|name| planned.stdout.contains(&format!("{verb} {name}\n"))),
                "{planned:?}"
            );
        }
        let json = clear(dir.path(), &["--json"]).stdout;
        assert!(json.starts_with("{\"erased\":false,\"files\":[\"snapshot"), "{json}");
        assert_eq!(names(dir.path()), before);

        let erased = clear(dir.path(), &["--yes"]);
        assert_eq!((erased.code, erased.stderr.as_str()), (Some(0), ""));
        assert_eq!(names(dir.path()), others, "{layout}");
        // What is left of a crash was settled before.
        assert!(erased.stdout.ends_with("left agent-7\nleft notes.txt\nleft snapshot_9.bak\n"), "{erased:?}");
        assert!(erased.stdout.matches("erased snapshot").count() >= 3, "{erased:?}");
        assert_eq!(newest(&dir.path().join(others[0]), layout).unwrap(), Some(3), "another store");
        // It can be done again, and the store begins from nothing.
        let again = clear(dir.path(), &["--yes", "--json"]);
        let left = "[\"agent-7\",\"notes.txt\",\"snapshot_9.bak\"]";
        assert_eq!(again.stdout, format!("{{\"erased\":true,\"files\":[],\"left\":{left}}}\n"));
        let mut store = store(dir.path(), layout);
        store.create(&1, 1).unwrap();
        // In one process, too.
        assert!(!store.clear().unwrap().is_empty());
        assert!(matches!(store.restore::<u64>(), Err(Error::NotFound)));
        assert_eq!(store.files().unwrap(), Files { own: vec![], others: others.map(str::to_owned).to_vec() });
        store.create(&1, 1).unwrap();
        assert_eq!(store.restore::<u64>().unwrap().seq, 1);
    }
}

#[test]
fn what_is_damaged_is_erased_and_what_may_not_be_is_refused() {
    let dir = scratch();
    for layout in LAYOUTS {
        let path = dir.path().join(layout.to_string());
        create(&path, layout);
        for name in names(&path) {
            fs::write(path.join(name), "rot").unwrap();
        }
        let mut holder = store(&path, layout);
        let busy = clear(&path, &["--yes"]);
        assert!(busy.code == Some(9) && busy.stderr.contains("in use"), "{busy:?}");
        let before = names(&path);
        let mut reader = minisnap().open(Grant::new(&path).read_only()).unwrap();
        assert!(matches!(reader.clear(), Err(Error::AccessDenied(_))));
        assert_eq!(names(&path), before);
        assert_eq!(holder.clear().unwrap(), before);
        assert!(names(&path).is_empty());
    }
    for args in [&[][..], &["--yes"]] {
        let missing = clear(&dir.path().join("missing"), args);
        assert!(missing.code == Some(1) && missing.stdout.is_empty(), "{missing:?}");
    }
    assert!(!dir.path().join("missing").exists());
}

/// The newest one is damaged: the one that stands in for it goes last.
#[test]
fn a_damaged_newest_generation_is_erased_before_the_one_that_is_restored() {
    let dir = scratch();
    let path = dir.path().join("s");
    create(&path, Layout::Numbered);
    fs::write(path.join("snapshot_00000000000000000003.json"), "rot").unwrap();
    let removed = removals(&path, dir.path());
    assert_eq!(
        removed.last().map(String::as_str),
        Some("s/snapshot_00000000000000000002.json"),
        "{removed:?}"
    );
    assert_eq!(removed.len(), 3);
}

fn removals(path: &Path, root: &Path) -> Vec<String> {
    let (done, calls) = trace(cli().arg("clear").arg(path).arg("--yes"), root, "");
    assert_eq!(done.code, Some(0), "{done:?}");
    calls
        .into_iter()
        .filter_map(|call| if let Call::Remove(name) = call { Some(name) } else { None })
        .collect()
}

#[test]
fn each_sync_of_a_clear_comes_before_what_must_not_be_lost_alone() {
    let root = scratch();
    for layout in LAYOUTS {
        let path = root.path().join("s");
        create(&path, layout);
        let (done, calls) = trace(cli().arg("clear").arg(&path).arg("--yes"), root.path(), "");
        assert_eq!(done.code, Some(0), "{done:?}");
        let steps: Vec<String> = calls
            .into_iter()
            .filter_map(|call| match call {
                Call::Sync(name) if name == "s" => Some("sync".to_owned()),
                Call::Rename(from, _) => Some(format!("rename {}", &from[2..])),
                Call::Remove(name) => Some(format!("remove {}", &name[2..])),
                _ => None,
            })
            .collect();
        let at = |step: &str| {
            steps.iter().position(|found| found == step).unwrap_or_else(|| panic!("{step}: {steps:?}"))
        };
        let is_synced_between = |one: &str, other: &str| {
            let (one, other) = (at(one), at(other));
            assert!(one < other && steps[one..other].contains(&"sync".to_owned()), "{steps:?}");
        };
        match layout {
            Layout::Pair => {
                is_synced_between("rename snapshot.json", "rename snapshot.sum");
                is_synced_between("rename snapshot.seq", "rename snapshot.sum");
                is_synced_between("rename snapshot.sum", "remove snapshot.sum.new");
                is_synced_between("remove snapshot.sum.new", "remove snapshot.json.new");
            }
            Layout::Numbered => {
                for older in [1, 2] {
                    let generation = |seq| format!("remove snapshot_{seq:020}.json");
                    is_synced_between(&generation(older), &generation(3));
                }
            }
        }
        assert_eq!(steps.last().map(String::as_str), Some("sync"), "{steps:?}");
        fs::remove_dir_all(&path).unwrap();
    }
}

/// What a clear finds in a directory, and what may be restored after any failure.
struct Case {
    layout: Layout,
    /// Files beside or in place of those of the snapshots 1 to 3.
    files: &'static [(&'static str, &'static str)],
    stored: Option<u64>,
    may_be_corrupt: bool,
}

const CASES: [Case; 4] = [
    Case { layout: Layout::Pair, files: &[], stored: Some(3), may_be_corrupt: false },
    Case { layout: Layout::Numbered, files: &[], stored: Some(3), may_be_corrupt: false },
    Case {
        layout: Layout::Numbered,
        files: &[("snapshot_00000000000000000003.json", "rot")],
        stored: Some(2),
        may_be_corrupt: false,
    },
    // Native minisnap was killed between its renames, and its number cannot be read: the one in place is another's.
    Case {
        layout: Layout::Pair,
        files: &[
            ("snapshot.sum", ""),
            ("snapshot.json", "7"),
            ("snapshot.seq", "1"),
            ("snapshot.seq.tmp", ""),
        ],
        stored: None,
        may_be_corrupt: true,
    },
];

#[test]
fn any_failed_call_of_a_clear_leaves_the_newest_snapshot_or_none_and_can_be_repeated() {
    let calls = ["unlinkat", "renameat", "fsync"];
    let cases = CASES.iter().flat_map(|case| calls.map(|call| (case, call)));
    in_parallel(cases.collect(), |(case, call)| {
        let Case { layout, files, stored, may_be_corrupt } = *case;
        let mut failed = 0;
        for when in 1.. {
            let dir = scratch();
            create(dir.path(), layout);
            for (name, text) in files {
                match text.is_empty() && *name == "snapshot.sum" {
                    true => fs::remove_file(dir.path().join(name)).unwrap(),
                    false => fs::write(dir.path().join(name), text).unwrap(),
                }
            }
            let log = tempfile::NamedTempFile::new().unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-f", "--seccomp-bpf", "-e", &format!("trace={call}"), "-e"]);
            strace.arg(format!("inject={call}:error=EIO:when={when}")).arg("-o").arg(log.path());
            let command = cli();
            strace.arg(command.get_program()).arg("clear").arg(dir.path()).arg("--yes");
            let done = run(&mut strace, "");
            if !fs::read_to_string(log.path()).unwrap().contains("(INJECTED)") {
                assert_eq!(done.code, Some(0), "{done:?}");
                break;
            }
            failed += 1;
            match newest(dir.path(), layout) {
                Ok(found) => {
                    assert!(found.is_none() || found == stored, "{layout}, {call} {when}: {found:?}")
                }
                Err(Error::Corrupt(_)) if may_be_corrupt => {}
                Err(error) => panic!("{layout}, {call} {when}: {error}"),
            }
            // A failed sync before a mere read does not stop it.
            assert!(
                done.code != Some(0) || names(dir.path()).is_empty(),
                "{layout}, {call} {when}: {done:?}"
            );
            assert!(!done.stderr.contains("unharmed") || !names(dir.path()).is_empty(), "{done:?}");
            assert_eq!(clear(dir.path(), &["--yes"]).code, Some(0), "{layout}, {call} {when}");
            assert!(names(dir.path()).is_empty(), "{layout}, {call} {when}");
        }
        assert!(
            failed >= 2 || layout == Layout::Numbered && call == "renameat",
            "{layout}, {call}: {failed}"
        );
    });
}

#[test]
fn a_clear_is_busy_while_a_stream_is_open_and_moves_no_directory() {
    let dir = scratch();
    create(dir.path(), Layout::Pair);
    let before = names(dir.path());
    // A directory under a name of the store's is somebody else's.
    for name in ["snapshot.json.new", "snapshot_00000000000000000009.json"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        for args in [&[][..], &["--yes"]] {
            let refused = clear(dir.path(), args);
            assert!(refused.code == Some(10) && refused.stderr.contains("move it away"), "{refused:?}");
        }
        fs::remove_dir(dir.path().join(name)).unwrap();
        assert_eq!(names(dir.path()), before);
    }
    let mut host = SnapshotCtx::new(store(dir.path(), Layout::Pair));
    let mut reader = host.store().unwrap().open_reader().unwrap();
    reader.read_chunk(1).unwrap();
    std::mem::forget(reader);
    assert!(matches!(host.store().unwrap().clear(), Err(Error::Busy(_))));
    assert_eq!(names(dir.path()), before);
    let mut store = host.into_store().unwrap();
    assert_eq!(store.clear().unwrap(), before);
    // What looks like a snapshot is left, and stops the next create until it is moved away.
    fs::write(dir.path().join("snapshot.json.gz"), "x").unwrap();
    assert!(store.clear().unwrap().is_empty());
    assert!(matches!(store.create(&1, 1), Err(Error::Corrupt(_))));
}

/// A torn rename leaves both names of one file, and a rename of the one to the other does nothing then.
#[test]
fn files_that_have_two_names_are_erased_under_both() {
    let dir = scratch();
    create(dir.path(), Layout::Pair);
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        fs::hard_link(dir.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
    }
    // So that nothing settles them.
    fs::write(dir.path().join("snapshot.json"), "rot").unwrap();
    assert_eq!(clear(dir.path(), &["--yes"]).code, Some(0));
    assert!(names(dir.path()).is_empty());
}
