//! What lies in a directory beside plain files of the store's: other files, folders, pipes and links.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use crate::pairs::*;
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};
use tempfile::TempDir;

#[test]
fn a_directory_of_other_files_has_no_snapshot() {
    let dir = dir_with(&[
        ("snapshot.bak", "1"),
        ("snapshot_7.json", "{}"),
        ("snapshot_7777777777777777777x.json", "{}"),
        ("notes/snapshot.json", "1"),
    ]);
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    store(dir.path()).create("1", 1).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    assert!(dir.path().join("snapshot_7.json").exists());
}

#[test]
fn what_is_not_a_file_is_never_opened() {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    type Plant = fn(&Path);
    let plants: [(&str, Plant); 3] = [
        ("not a regular file", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a symbolic link, which is never followed", |path| symlink("/dev/zero", path).unwrap()),
    ];
    for (what, plant) in plants {
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
            let dir = dir_with_snapshot();
            fs::remove_file(dir.path().join(name)).unwrap();
            plant(&dir.path().join(name));
            let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!("{name}") };
            assert!(problem.contains(&format!("`{name}` is {what}")), "{problem}");
            assert!(matches!(store(dir.path()).create("2", 2), Err(Error::Corrupt(_))), "{name}");
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                3,
                "{name}: made what cannot be put into place"
            );
        }
        for name in [
            "snapshot.json.new",
            "snapshot.seq.new",
            "snapshot.sum.new",
            "snapshot.json.tmp",
            "snapshot_00000000000000000009.json.tmp",
        ] {
            let dir = dir_with_snapshot();
            plant(&dir.path().join(name));
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)), "{name}");
            store(dir.path()).create("2", 2).unwrap();
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)), "{name}");
        }
    }
}

/// As `cp -al`, rsnapshot and what finds duplicates make them.
#[test]
fn a_hard_linked_copy_is_read_as_any_other_and_keeps_its_contents() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let (dir, copy) = (dir(), dir());
        let settings = Settings { layout, keep: NonZeroU32::new(1), ..Settings::default() };
        let open = |dir: &TempDir| Store::new(OsDir::new(dir.path())).with_settings(settings);
        open(&dir).create("1", 1).unwrap();
        for (name, _) in contents(dir.path()) {
            fs::hard_link(dir.path().join(&name), copy.path().join(&name)).unwrap();
        }
        let copied = contents(copy.path());
        assert_eq!(open(&dir).restore().map(untimed), Ok(snapshot("1", 1)), "{layout:?}");
        for seq in [1, 2] {
            open(&dir).create("\"new\"", seq).unwrap();
            assert_eq!(open(&dir).restore().map(untimed), Ok(snapshot("\"new\"", seq)), "{layout:?}");
            assert_eq!(contents(copy.path()), copied, "{layout:?}: the copy was written into");
            assert_eq!(open(&copy).restore().map(untimed), Ok(snapshot("1", 1)), "{layout:?}");
        }
        // Of what was not replaced since, both are names.
        open(&copy).create("\"other\"", 3).unwrap();
        assert_eq!(open(&dir).restore().map(untimed), Ok(snapshot("\"new\"", 2)), "{layout:?}");
    }
}

/// Whoever made it, its owner finds it again.
#[test]
fn a_directory_under_a_temporary_name_is_renamed_and_stops_no_create() {
    for name in [
        "snapshot.json.new",
        "snapshot.seq.new",
        "snapshot.sum.new",
        "snapshot.json.tmp",
        "snapshot.seq.tmp",
        "snapshot_00000000000000000009.json.tmp",
    ] {
        for layout in [Layout::Pair, Layout::Numbered] {
            let dir = dir();
            let open = || store(dir.path()).with_settings(Settings { layout, ..Settings::default() });
            for (seq, renamed) in [(1, "aside"), (2, "aside-2"), (3, "aside-3")] {
                fs::create_dir(dir.path().join(name)).unwrap();
                fs::write(dir.path().join(name).join("notes"), "mine").unwrap();
                open().create("1", seq).unwrap();
                assert_eq!(open().restore().map(untimed), Ok(snapshot("1", seq)), "{name}");
                assert!(dir.path().join(format!("{renamed}.{name}/notes")).exists(), "{name}");
                assert!(!dir.path().join(name).exists());
            }
        }
    }
}
