//! From one layout to the other: what a migration refuses, leaves and finishes. Its crashes are in `power_cut.rs`, its
//! readers in `concurrent.rs`.

mod generations;
mod seam;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use generations::*;
use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Store};
use seam::{Fault, FaultyDir, copy_of, rot};
use tempfile::tempdir;

#[test]
fn a_migration_that_cannot_read_the_newest_generation_now_is_refused() {
    let template = dir_with([1, 2]);
    let mut refused = 0;
    for at in 0.. {
        let tmp = copy_of(template.path());
        let dir = FaultyDir::new(tmp.path(), Fault::Once(at, ErrorKind::Other));
        let migrated = Store::new(dir.clone()).migrate(Layout::Pair);
        if !dir.has_failed() {
            break;
        }
        match migrated {
            Ok(migration) => assert_eq!(migration.seq, 2, "{at}, {}", dir.log()[at]),
            Err(error) => {
                let is_read = dir.log()[at] == format!("read {}", name(2));
                refused += u32::from(is_read && error.to_string().contains("try again"));
            }
        }
        assert_eq!(store(tmp.path()).restore().unwrap().seq, 2, "{at}, {}", dir.log()[at]);
    }
    assert!(refused > 0);
}

#[test]
fn what_fits_the_limit_as_it_is_restored_is_restored() {
    let dir = tempdir().unwrap();
    let limited = |layout| {
        Store::new(OsDir::new(dir.path())).with_settings(Settings { layout, max_state: 500, ..settings(3) })
    };
    limited(Layout::Pair).create(&format!("[{}1]", "1,".repeat(90)), 1).unwrap();
    limited(Layout::Pair).migrate(Layout::Numbered).unwrap();
    let info = limited(Layout::Numbered).info().unwrap();
    assert!(info.size > 450 && fs::metadata(dir.path().join(name(1))).unwrap().len() > 600);
    assert_eq!(limited(Layout::Numbered).restore().unwrap().state.len() as u64, info.size);
}

#[test]
fn a_migration_ends_with_a_durable_removal_of_its_mark() {
    for (from, to, mark) in [
        (Layout::Pair, Layout::Numbered, "snapshot.to-numbered"),
        (Layout::Numbered, Layout::Pair, "snapshot.to-pair"),
    ] {
        let tmp = tempdir().unwrap();
        let settings = Settings { layout: from, ..Settings::default() };
        Store::new(OsDir::new(tmp.path())).with_settings(settings).create("1", 1).unwrap();
        let dir = FaultyDir::new(tmp.path(), Fault::None);
        assert_eq!(Store::new(dir.clone()).migrate(to).unwrap().seq, 1);
        let edits = edits(&dir);
        let made = edits.iter().position(|edit| *edit == format!("create {mark}")).unwrap();
        assert_eq!(edits[made + 1], "sync /");
        assert_eq!(edits[edits.len() - 3..], ["sync /", &format!("remove {mark}"), "sync /"]);
    }
}

#[test]
fn a_migration_whose_new_layout_was_damaged_since_keeps_the_old_one() {
    for (from, to, mark) in [
        (Layout::Pair, Layout::Numbered, "snapshot.to-numbered"),
        (Layout::Numbered, Layout::Pair, "snapshot.to-pair"),
    ] {
        let dir = tempdir().unwrap();
        let settings = Settings { layout: from, ..Settings::default() };
        let store = Store::new(OsDir::new(dir.path())).with_settings(settings);
        store.create("1", 1).unwrap();
        let old = copy_of(dir.path());
        store.migrate(to).unwrap();
        // Killed before it removed the old layout.
        for name in names(old.path()) {
            fs::copy(old.path().join(&name), dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join(mark), "").unwrap();
        let copy = copy_of(dir.path());
        store.create("2", 2).unwrap();
        assert_eq!(
            (store.restore(), store.list().unwrap().len()),
            (Ok(snapshot("2", 2)), if to == Layout::Pair { 1 } else { 2 })
        );
        assert!(!names(dir.path()).contains(mark));

        damage_new(copy.path(), to);
        let store = Store::new(OsDir::new(copy.path()));
        let Err(Error::Corrupt(_)) = store.create("2", 2) else { panic!("{to:?}") };
        assert!(names(old.path()).is_subset(&names(copy.path())), "{to:?}");
    }

    fn damage_new(dir: &Path, layout: Layout) {
        match layout {
            Layout::Pair => rot(dir.join("snapshot.json"), "3"),
            Layout::Numbered => damage(dir, 1),
        }
    }
}

/// The mark says which layout counts as long as anything of the other one is there.
#[test]
fn a_migration_whose_old_layout_cannot_be_removed_keeps_its_mark() {
    let dir = dir_with([1]);
    fs::create_dir(dir.path().join("snapshot.commit")).unwrap();
    fs::write(dir.path().join("snapshot.commit/notes"), "mine").unwrap();
    fs::write(dir.path().join("snapshot.to-numbered"), "").unwrap();
    for _ in 0..2 {
        let Err(Error::Io(problem)) = store(dir.path()).create("2", 2) else { panic!() };
        assert!(problem.contains("`snapshot.commit` holds what is not this store's"), "{problem}");
        assert_eq!(store(dir.path()).restore(), Ok(snapshot("1", 1)));
    }
    fs::remove_file(dir.path().join("snapshot.commit/notes")).unwrap();
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(names(dir.path()), generations([1, 2]));
}
