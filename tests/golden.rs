//! The directories in `tests/golden`, which the first version has left, half-finished commits included: every later one reads
//! them as that did, and goes on from there. What a later version leaves, this one refuses.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minisnap_host::remote::{Bucket, Location, Remote};
use minisnap_host::{Grant, Info, Layout, Soundness};
use minisnap_tests::{LEDGER, VERBS, cached_builder, cli, minisnap, names, run};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use tempfile::{TempDir, tempdir};

/// A directory, with the layout that it has, the number and the counter of the snapshot that counts there, and the numbers of all
/// its generations.
type Golden = (&'static str, Layout, u64, u64, &'static [u64]);

const DIRECTORIES: [Golden; 13] = [
    ("pair", Layout::Pair, 41, 1, &[41]),
    // A create of 42 was killed at its first, second and third rename.
    ("pair-before-its-commit", Layout::Pair, 41, 1, &[41]),
    ("pair-with-its-sums-committed", Layout::Pair, 42, 2, &[42]),
    ("pair-with-its-state-in-place", Layout::Pair, 42, 2, &[42]),
    ("numbered", Layout::Numbered, 41, 1, &[41, 40]),
    ("numbered-before-its-commit", Layout::Numbered, 41, 1, &[41, 40]),
    // A digit of the generation 41 was changed.
    ("numbered-damaged", Layout::Numbered, 40, 1, &[41, 40]),
    // Rolled back from 41 to 40.
    ("numbered-undone", Layout::Numbered, 40, 1, &[40]),
    // With a store that is named `agent-7`.
    ("named", Layout::Numbered, 41, 1, &[41, 40]),
    ("named/agent-7", Layout::Numbered, 7, 2, &[7]),
    ("native-0.1.2", Layout::Pair, 41, 1, &[41]),
    ("native-0.1.2-between-its-renames", Layout::Pair, 42, 2, &[42]),
    ("native-0.1.3", Layout::Numbered, 41, 1, &[41]),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// A copy, which may be changed.
fn copy(name: &str) -> TempDir {
    let copied = tempdir().unwrap();
    for file in keys(&golden(name)) {
        let to = copied.path().join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        // Not its mode and times, which git does not keep either.
        fs::write(to, fs::read(golden(name).join(file)).unwrap()).unwrap();
    }
    copied
}

/// The files of a directory.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    keys(dir).into_iter().map(|key| (key.clone(), fs::read(dir.join(key)).unwrap())).collect()
}

/// The state as it was created, laid out, with more digits of a number than a float has.
fn state(counter: u64) -> String {
    format!(
        "{{\n  \"counter\": {counter},\n  \"name\": \"gölden\",\n  \"pi\": 3.141592653589793238462643383279,\n  \
         \"list\": [\n    1,\n    [],\n    {{}}\n  ]\n}}"
    )
}

/// The same as native minisnap lays it out: it sorts keys, and has floats.
fn native_state(counter: u64) -> String {
    format!(
        "{{\n  \"counter\": {counter},\n  \"list\": [\n    1,\n    [],\n    {{}}\n  ],\n  \"name\": \"gölden\",\n  \
         \"pi\": 3.141592653589793\n}}"
    )
}

#[test]
fn directories_that_the_first_version_left_are_read_and_gone_on_from() {
    for (name, layout, seq, counter, seqs) in DIRECTORIES {
        let dir = copy(name);
        // Which layout it has, the directory says.
        let other = if layout == Layout::Pair { Layout::Numbered } else { Layout::Pair };
        let grant = Grant::new(dir.path()).layout(other);
        let is_native = name.starts_with("native");
        let expected = if is_native { native_state(counter) } else { state(counter) };
        let skipped: &[u64] = if name == "numbered-damaged" { &[41] } else { &[] };
        let before = files(dir.path());
        for grant in [grant.clone().read_only(), grant.clone()] {
            let mut store = minisnap().open(grant).unwrap();
            let found = store.restore_text().unwrap_or_else(|error| panic!("{name}: {}", error.to_line()));
            assert_eq!((found.seq, &found.state), (seq, &expected), "{name}");
            assert!(found.skipped.iter().map(|skipped| skipped.seq).eq(skipped.iter().copied()), "{name}");
            let infos = store.generations().unwrap();
            assert!(infos.iter().map(|info| info.seq).eq(seqs.iter().copied()), "{name}: {infos:?}");
            for Info { seq, soundness, .. } in infos {
                let is_so = match soundness {
                    Soundness::Verified => !is_native && !skipped.contains(&seq),
                    Soundness::Unverified => is_native,
                    _ => skipped.contains(&seq),
                };
                assert!(is_so, "{name}: {seq} is {soundness:?}");
            }
            assert_eq!(files(dir.path()), before, "{name} is changed by reading it");
        }
        let mut store = minisnap().open(grant).unwrap();
        store.create_text(&state(3), 50).unwrap();
        let found = store.restore_text().unwrap();
        assert_eq!((found.seq, found.state), (50, state(3)), "{name}");
        let is_pair = names(dir.path()).contains(&"snapshot.json".to_owned());
        assert_eq!(is_pair, layout == Layout::Pair, "{name} has another layout");
    }
}

#[test]
fn what_is_written_is_byte_for_byte_what_the_first_version_wrote() {
    for (name, layout, seqs) in [("pair", Layout::Pair, &[41][..]), ("numbered", Layout::Numbered, &[40, 41])]
    {
        let dir = tempdir().unwrap();
        let mut store = minisnap().open(Grant::new(dir.path()).layout(layout)).unwrap();
        seqs.iter().for_each(|seq| store.create_text(&state(1), *seq).unwrap());
        assert_eq!(files(dir.path()), files(&golden(name)), "{name}");
    }
}

#[test]
fn a_state_with_a_log_that_the_first_version_left_is_recovered_and_gone_on_from() {
    let dir = copy("ledger");
    let ledger = |args: &[&str]| {
        let mut command = cli();
        command.args(["run", LEDGER, "--layout", "numbered", "--keep", "3", "--grant"]);
        command.arg(dir.path().join("snapshots"));
        command.arg("--dir").arg(format!("{}::/log", dir.path().join("log").display())).arg("--").args(args);
        let done = run(&mut command, "");
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        done.stdout
    };
    // A record behind these was cut short.
    let totals = ledger(&["totals"]);
    assert!(totals.contains("restored 20, replayed 21..=25\n"), "{totals}");
    assert!(
        totals.contains("totals at 25: cash 1198, rent -1539, sales -3108, stock 2456, wages 993\n"),
        "{totals}"
    );
    assert!(ledger(&["append", "1", "7"]).contains("recorded 26\n"));
    assert!(ledger(&["totals"]).contains("restored 20, replayed 21..=26\n"));
}

#[test]
fn an_object_store_that_the_first_version_left_is_read_and_gone_on_from() {
    let objects = Arc::new(InMemory::new());
    let root = golden("object-store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for key in keys(&root) {
        let (object, path) = (fs::read(root.join(&key)).unwrap(), Key::from(format!("golden/{key}")));
        runtime.block_on(objects.put(&path, object.into())).unwrap();
    }
    let location: Location = "s3://snapshots/golden".parse().unwrap();
    let bucket = Bucket::new(location.clone(), objects).unwrap();
    let minisnap = cached_builder().bucket(bucket).build().unwrap();
    let dir = tempdir().unwrap();
    let grant = Grant::new(dir.path().join("staging")).remote(Remote::new(location, "counter"));
    // The generation 43 was undone.
    for grant in [grant.clone().read_only(), grant.clone()] {
        let found = minisnap.open(grant).unwrap().restore_text().unwrap();
        assert_eq!((found.seq, found.state), (42, state(1)));
    }
    let mut store = minisnap.open(grant).unwrap();
    store.create_text(&state(3), 43).unwrap();
    let found = store.restore_text().unwrap();
    assert_eq!((found.seq, found.state), (43, state(3)));
}

/// A later version names its layout in `snapshot.layout`, and whatever else is there may look like this one's.
#[test]
fn a_directory_of_a_later_version_is_refused_by_every_verb_and_stays_as_it_is() {
    let sound = golden("numbered");
    for name in [
        "",
        "numbered",
        "pair-before-its-commit",
        "numbered-before-its-commit",
        "native-0.1.2-between-its-renames",
    ] {
        let dir = if name.is_empty() { tempdir().unwrap() } else { copy(name) };
        fs::write(dir.path().join("snapshot.layout"), "2\n").unwrap();
        // Named stores are for a directory that others cannot lock.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let (before, path) = (files(dir.path()), dir.path().to_str().unwrap());
        let sound = sound.to_str().unwrap();
        for args in [
            &["restore", path][..],
            &["restore", path, "--seq", "41"],
            &["list", path],
            &["info", path],
            &["verify", path],
            &["create", path, "--seq", "50"],
            &["settle", path],
            &["rollback", path, "--to", "41"],
            &["clear", path],
            &["clear", path, "--yes"],
            &["copy", path, "copied"],
            &["copy", path, "-"],
            &["copy", sound, path],
            &["copy", sound, path, "--replace"],
            &["copy", sound, path, "--dry-run"],
        ] {
            let away = tempdir().unwrap();
            let done = run(cli().args(args).current_dir(away.path()), "{}");
            assert_eq!(done.code, Some(10), "{args:?}: {}{}", done.stdout, done.stderr);
            assert!(done.stderr.contains("a later version of minisnap"), "{args:?}: {}", done.stderr);
            assert!(done.stderr.contains("`snapshot.layout`"), "{args:?}: {}", done.stderr);
            assert!(names(away.path()).is_empty(), "{args:?}");
            assert_eq!(files(dir.path()), before, "{args:?}");
        }
        let agent = ["texts", "restore", "names", "in", "agent-7", "restore", "create", "1", "1"];
        let mut command = cli();
        command.args(["run", VERBS, "--stores", "2", "--grant", path, "--"]).args(agent);
        let told = run(&mut command, "").stdout;
        assert_eq!(told.matches("a later version of minisnap").count(), 4, "{name}: {told}");
        assert_eq!(files(dir.path()), before);
    }
}

/// The paths of all files below a folder, from there.
fn keys(folder: &Path) -> Vec<String> {
    let below = |name: String| match folder.join(&name) {
        path if path.is_dir() => keys(&path).into_iter().map(|key| format!("{name}/{key}")).collect(),
        _ => vec![name],
    };
    names(folder).into_iter().flat_map(below).collect()
}

/// A directory that nobody reads proves nothing.
#[test]
fn every_golden_directory_is_read() {
    for name in names(&golden("")) {
        let is_read = DIRECTORIES.iter().any(|(read, ..)| *read == name);
        assert!(is_read || ["ledger", "object-store"].contains(&name.as_str()), "{name}");
    }
}
