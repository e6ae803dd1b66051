//! Named stores: one component serves many agents, each of which has its snapshots in a directory inside the component's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use minisnap_host::{Error, Grant, Layout};
use minisnap_tests::host::{Ended, Host};
use minisnap_tests::{HOSTILE, VERBS, cli, minisnap, names, run, scratch};
use wasmtime::Config;

/// Runs the component that does what it is told, in this process.
fn verbs(grant: Grant, args: &[&str]) -> Ended {
    let host = Host::new(&Config::new(), minisnap());
    host.run(&host.load(VERBS), host.snapshots(grant), args)
}

#[track_caller]
fn assert_printed(ended: &Ended, lines: &[&str]) {
    assert_eq!(ended.printed.lines().collect::<Vec<_>>(), lines, "{ended:?}");
}

#[test]
fn a_thousand_named_stores_of_one_component_are_restored_after_a_kill() {
    const STORES: usize = 1000;
    let root = scratch();
    let dir = root.path().join("agents");
    let component = |args: &[&str]| {
        let mut host = cli();
        host.arg("run").arg(VERBS).arg("--grant").arg(&dir).args(["--stores", "1000", "--"]).args(args);
        host
    };
    let first = run(&mut component(&["create-in-each", "1000", "1"]), "");
    assert_eq!((first.code, first.stdout.lines().count()), (Some(0), STORES + 1), "{first:?}");

    // Killed in the middle of the second round.
    let mut child = component(&["create-in-each", "1000", "2"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged: Vec<String> = lines.take(STORES / 2).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(acknowledged.len(), STORES / 2);

    let restored = run(&mut component(&["restore-each"]), "");
    let restored: Vec<&str> = restored.stdout.lines().collect();
    assert_eq!((restored.len(), restored.last()), (STORES + 1, Some(&"restored")));
    for line in &restored[..STORES] {
        let (store, seq) = line.split_once(' ').map(|(store, rest)| (store, &rest[..1])).unwrap();
        assert_eq!(*line, format!("{store} {seq} [{seq},{seq}]"), "it is whole, and one of the two");
        assert!(seq == "2" || !acknowledged.contains(&format!("{store} 2")), "{line} was acknowledged as 2");
    }
}

/// One instance of the component serves them all, and holds nothing open between two calls.
#[test]
fn a_thousand_named_stores_cost_a_directory_each_and_no_instance() {
    let root = scratch();
    // Other tests of this process have files open, too.
    let open = || {
        let files = fs::read_dir("/proc/self/fd").unwrap();
        let targets = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(root.path())).count()
    };
    let host = Host::new(&Config::new(), minisnap());
    let component = host.load(VERBS);
    let snapshots = host.snapshots(Grant::new(root.path().join("agents")).stores(1000));
    let before = open();
    assert!(before > 0, "the store's directory is not among them");
    let args = ["create-in-each", "1000", "1", "restore-each"];
    let mut ended = host.run(&component, snapshots, &args);
    assert_eq!(ended.printed.lines().count(), 2002);
    // The folder that they are in, at most.
    assert!(open() <= before + 1, "{} more are open", open() - before);
    let memory = ended.snapshots.store().unwrap().peak_memory();
    assert!(memory < 4 << 20, "{memory} bytes");
}

#[test]
fn named_stores_share_nothing_but_their_parent() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let root = scratch();
        let dir = root.path().join("agents");
        let grant = Grant::new(&dir).layout(layout).stores(2);
        let script = [
            "names",
            "restore",
            "create",
            "9",
            "\"own\"",
            "in",
            "a",
            "restore",
            "newest-seq",
            "create",
            "1",
            "\"a\"",
            "in",
            "B",
            "restore",
            "create",
            "5",
            "\"b\"",
            "create",
            "4",
            "\"x\"",
            "in",
            "",
            "names",
            "restore",
            "info",
            "in",
            "a",
            "restore",
            "stream",
            "2",
            "1",
            "[2]",
            "read-in",
            "1",
            "list",
            "oldest-kept",
            "discard",
            "3",
            "in",
            "B",
            "restore-at",
            "5",
            "restore-at",
            "9",
            "restore",
        ];
        let ended = verbs(grant.clone(), &script);
        let list = if layout == Layout::Pair {
            "2 Soundness::Verified"
        } else {
            "2 Soundness::Verified, 1 Soundness::Verified"
        };
        let oldest = if layout == Layout::Pair { "2" } else { "1" };
        let printed = [
            "",
            "none",
            "ok",
            "none",
            "none",
            "ok",
            "none",
            "ok",
            "stale: 5",
            "B, a",
            "9 \"own\"",
            "9 5 Soundness::Verified",
            "1 \"a\"",
            "ok",
            "2 [2], 0 skipped",
            list,
            oldest,
            "Err(\"busy\") Err(\"busy\")",
            "5 \"b\"",
            "none",
            "5 \"b\"",
        ];
        assert_printed(&ended, &printed);
        drop(ended);

        // Each is a directory like any other, for other programs, too.
        let listed = run(cli().arg("restore").arg(dir.join("a")), "");
        assert_eq!((listed.stdout.as_str(), listed.stderr.as_str()), ("[\n  2\n]", "seq 2\n"));
        let mut own = minisnap().open(Grant::new(&dir)).unwrap();
        assert_eq!(own.restore_text().unwrap().seq, 9);
        own.create_text("10", 10).unwrap();
        drop(own);
        let mut other = minisnap().open(Grant::new(dir.join("B"))).unwrap();
        other.create_text("6", 6).unwrap();
        drop(other);
        let reader = verbs(
            grant.read_only(),
            &["restore", "in", "B", "restore", "in", "c", "restore", "create", "1", "1"],
        );
        assert_printed(&reader, &["10 10", "6 6", "none", "access-denied"]);
        assert!(!dir.join("c").exists());
    }
}

/// A writer of one is in no other's way, and each has its own limits.
#[test]
fn a_writer_or_a_limit_of_one_named_store_is_no_other_ones() {
    let root = scratch();
    let dir = root.path().join("agents");
    let grant = Grant::new(&dir).max_total(3000).layout(Layout::Numbered).stores(2);
    let large = format!("\"{}\"", "x".repeat(2000));
    let args =
        ["in", "a", "create", "1", &large, "hold", "2", "create", "3", "3", "in", "b", "create", "1", &large];
    let ended = verbs(grant, &args);
    assert_printed(&ended, &["ok", "held", "busy", "ok"]);
    drop(ended);
    // What it was writing is gone with it.
    assert_eq!(names(&dir.join("a")), ["snapshot_00000000000000000001.json"]);
}

#[test]
fn a_grant_without_stores_has_the_empty_name_only() {
    let root = scratch();
    let dir = root.path().join("agents");
    let none =
        verbs(Grant::new(&dir), &["in", "a", "restore", "create", "1", "1", "in", "", "create", "1", "1"]);
    assert_printed(&none, &["access-denied", "access-denied", "ok"]);
    drop(none);
    assert!(!dir.join("a").exists());

    // As many as are granted, whoever made them; and none whose name could be taken for another's.
    let script = [
        "in", "a", "create", "1", "1", "in", "b", "create", "1", "1", "in", "c", "restore", "create", "1",
        "1", "in", "A", "create", "1", "1", "in", "a", "create", "2", "2", "names",
    ];
    let two = verbs(Grant::new(&dir).stores(2), &script);
    assert_printed(&two, &["ok", "ok", "none", "access-denied", "access-denied", "ok", "a, b"]);
    drop(two);
    let again =
        verbs(Grant::new(&dir).stores(2), &["in", "c", "create", "1", "1", "in", "b", "create", "2", "2"]);
    assert_printed(&again, &["access-denied", "ok"]);
    drop(again);
    let three =
        verbs(Grant::new(&dir).stores(3), &["in", "A", "create", "1", "1", "in", "c", "create", "1", "1"]);
    assert_printed(&three, &["access-denied", "ok"]);
}

#[test]
fn a_name_leads_nowhere_but_into_the_components_directory() {
    let root = scratch();
    let dir = root.path().join("agents");
    let other = root.path().join("other");
    minisnap().open(Grant::new(&other)).unwrap().create_text("\"theirs\"", 1).unwrap();
    let grant = Grant::new(&dir).stores(9);
    drop(minisnap().open(grant.clone()).unwrap());
    std::os::unix::fs::symlink("../other", dir.join("link")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    // Opening it would wait for ever.
    let pipe = run(std::process::Command::new("mkfifo").arg(dir.join("pipe")), "");
    assert_eq!(pipe.code, Some(0), "{pipe:?}");
    let host = Host::new(&Config::new(), minisnap());
    let hostile = host.load(HOSTILE);
    for name in
        ["..", "../other", "/", "a/../../other", "link/x", ".", "a\0b", "snapshot_00000000000000000001"]
    {
        let ended = host.run(&hostile, host.snapshots(grant.clone()), &["name", name]);
        assert_eq!(ended.printed, "name: invalid-name\n", "{name}");
    }
    // What is there and no directory is no store, and none is made in its place.
    for name in ["link", "file", "pipe"] {
        let ended = verbs(grant.clone(), &["in", name, "restore", "create", "2", "\"mine\"", "names"]);
        let lines: Vec<&str> = ended.printed.lines().collect();
        assert!(
            lines[0].starts_with("io: ") && lines[1].starts_with("io: ") && lines[2].is_empty(),
            "{ended:?}"
        );
    }
    let theirs = minisnap().open(Grant::new(&other)).unwrap().restore_text().unwrap();
    assert_eq!((theirs.state.as_str(), theirs.seq), ("\"theirs\"", 1));
    assert_eq!(names(&other).len(), 3);
}

#[test]
fn a_named_store_is_busy_while_its_parent_is_held_and_the_other_way_round() {
    let root = scratch();
    let (dir, inner) = (root.path().join("agents"), root.path().join("agents/a"));
    let grant = Grant::new(&dir).stores(1);
    drop(verbs(grant.clone(), &["in", "a", "create", "1", "1"]));

    let held = minisnap().open(grant.clone()).unwrap();
    let Err(Error::Busy(problem)) = minisnap().open(Grant::new(&inner)) else { panic!() };
    assert!(problem.contains(&format!("`{}` is in use", dir.display())), "{problem}");
    let refused = run(cli().arg("create").arg(&inner).args(["--seq", "2"]), "2");
    assert_eq!(refused.code, Some(9), "{refused:?}");
    // Whoever only reads needs no lock.
    assert_eq!(minisnap().open(Grant::new(&inner).read_only()).unwrap().restore_text().unwrap().seq, 1);
    drop(held);

    let held = minisnap().open(Grant::new(&inner)).unwrap();
    assert!(matches!(minisnap().open(grant.clone()), Err(Error::Busy(_))));
    drop(held);
    // By whatever path.
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&inner, &link).unwrap();
    let held = minisnap().open(Grant::new(&link)).unwrap();
    assert!(matches!(minisnap().open(grant.clone()), Err(Error::Busy(_))));
    drop(held);
    // Two beside each other do not mind.
    let beside = Grant::new(root.path().join("beside"));
    let both = [minisnap().open(grant).unwrap(), minisnap().open(beside).unwrap()];
    drop(both);
}

/// By a bind mount, say, where the parent is another one.
#[test]
fn a_named_store_that_somebody_else_has_locked_is_busy_and_no_other_is() {
    let root = scratch();
    let dir = root.path().join("agents");
    let grant = Grant::new(&dir).stores(2);
    drop(verbs(grant.clone(), &["in", "a", "create", "1", "1", "in", "b", "create", "1", "1"]));
    let locked = fs::File::open(dir.join("a")).unwrap();
    locked.lock().unwrap();
    let script = [
        "in", "a", "create", "2", "2", "stream", "2", "1", "2", "restore", "in", "b", "create", "2", "2",
        "in", "", "create", "1", "1",
    ];
    assert_printed(&verbs(grant.clone(), &script), &["busy", "busy", "1 1", "ok", "ok"]);
    // A program that another test starts just now may have it open, too.
    locked.unlock().unwrap();
    assert_printed(&verbs(grant, &["in", "a", "create", "2", "2"]), &["ok"]);
}

/// Other users can read neither the state of an agent, nor lock its store.
#[test]
fn named_stores_are_this_users_alone() {
    use std::os::unix::fs::PermissionsExt;

    let root = scratch();
    let dir = root.path().join("agents");
    let grant = Grant::new(&dir).stores(1);
    drop(verbs(grant.clone(), &["in", "a", "create", "1", "1"]));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("a"))), (0o700, 0o700));

    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for readable in [0o740, 0o704, 0o755] {
        set(&dir, readable);
        let Err(Error::Io(problem)) = minisnap().open(grant.clone()) else { panic!() };
        assert!(problem.to_string().contains("`chmod go-r "), "{problem}");
        // Without stores, it is as before.
        drop(minisnap().open(Grant::new(&dir)).unwrap());
    }
    set(&dir, 0o711);
    drop(minisnap().open(grant).unwrap());
    // A stranger who locks a folder that he may read keeps nobody out of a store in it.
    set(root.path(), 0o755);
    let folder = fs::File::open(root.path()).unwrap();
    folder.lock().unwrap();
    drop(minisnap().open(Grant::new(&dir)).unwrap());
}
