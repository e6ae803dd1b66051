//! How a directory is read: whole ones, damaged ones, and what a crash, ours or native minisnap's, left in them.

mod seam;

use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::Path;

use minisnap_component::dir::OsDir;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Soundness, Store};
use seam::{Fault, FaultyDir, copy_of, rot, write_later, write_native};
use tempfile::TempDir;

fn store(dir: &Path) -> Store<OsDir> {
    Store::new(OsDir::new(dir))
}

fn snapshot(state: &str, seq: u64) -> Snapshot {
    let state = state.to_owned();
    Snapshot { state, seq, modified: None, soundness: Soundness::Verified, skipped: Vec::new() }
}

/// The same without its time, which differs each time.
fn untimed(snapshot: Snapshot) -> Snapshot {
    Snapshot { modified: None, ..snapshot }
}

fn unverified(state: &str, seq: u64) -> Snapshot {
    Snapshot { soundness: Soundness::Unverified, ..snapshot(state, seq) }
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A directory with these files, directories in their names included.
fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let dir = dir();
    for (name, contents) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    dir
}

/// A directory with the snapshot `("1", 1)`.
fn dir_with_snapshot() -> TempDir {
    let dir = dir();
    store(dir.path()).create("1", 1).unwrap();
    dir
}

/// Every verb agrees that it is damaged; the message holds `expected`.
#[track_caller]
fn assert_corrupt(dir: &Path, expected: &str) {
    let Err(Error::Corrupt(problem)) = store(dir).restore() else { panic!("{:?}", store(dir).restore()) };
    assert!(problem.contains(expected), "{problem:?} does not contain {expected:?}");
    assert_eq!(store(dir).info(), Err(Error::Corrupt(problem)));
    assert!(matches!(store(dir).newest_seq(), Ok(_) | Err(Error::Corrupt(_))));
}

/// And a create is refused, because it cannot know what number is stored.
#[track_caller]
fn assert_create_refused(dir: &Path) {
    let before = contents(dir);
    assert!(matches!(store(dir).create("2", u64::MAX), Err(Error::Corrupt(_))));
    assert_eq!(contents(dir), before, "a refused create changed something");
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn an_empty_directory_has_no_snapshot_and_a_missing_one_is_an_error() {
    let dir = dir();
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).info(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).newest_seq(), Err(Error::NotFound));

    let missing = store(&dir.path().join("missing"));
    for problem in [
        missing.restore().unwrap_err(),
        missing.create("1", 1).unwrap_err(),
        missing.newest_seq().unwrap_err(),
    ] {
        assert!(
            matches!(&problem, Error::Io(text) if text.contains("preopen one at `/snapshots`")),
            "{problem:?}"
        );
    }
}

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
fn a_native_pair_without_sums_is_accepted_as_unverified() {
    for seq in ["7", "7\n", " 7 "] {
        let dir = dir_with(&[("snapshot.json", "{\"a\": 1}"), ("snapshot.seq", seq)]);
        // The state comes back as it is on the disk, whoever laid it out.
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\"a\": 1}", 7)));
        let info = store(dir.path()).info().unwrap();
        assert_eq!((info.seq, info.size, info.soundness), (7, 8, Soundness::Unverified));
        assert_eq!(store(dir.path()).create("1", 6), Err(Error::Stale(7)));
        store(dir.path()).create("1", 8).unwrap();
        assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Verified);
    }
}

#[test]
fn a_native_pair_written_over_ours_is_accepted_as_unverified() {
    let dir = dir_with_snapshot();
    write_native(dir.path(), "{}", "9");
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{}", 9)));
    assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Unverified);
    assert_eq!(store(dir.path()).create("1", 8), Err(Error::Stale(9)));
}

#[test]
fn one_file_that_is_not_what_was_written_is_corrupt() {
    let dir = dir_with_snapshot();
    rot(dir.path().join("snapshot.json"), "2");
    assert_corrupt(dir.path(), "`snapshot.json` is not what was written with `snapshot.seq`");
    // The number is vouched for, so a newer state may replace the damaged one.
    assert_eq!(store(dir.path()).create("2", 0), Err(Error::Stale(1)));
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));

    let dir = dir_with_snapshot();
    rot(dir.path().join("snapshot.seq"), "2");
    assert_corrupt(dir.path(), "`snapshot.seq` is not what was written with `snapshot.json`");
    assert_create_refused(dir.path());
}

#[test]
fn sums_that_cannot_be_read_are_corrupt_and_removing_them_is_the_way_out() {
    for damage in ["", "\n", "0123", "\0\0\0\0"] {
        let dir = dir_with_snapshot();
        fs::write(dir.path().join("snapshot.sum"), damage).unwrap();
        assert_corrupt(dir.path(), "remove it to accept `snapshot.json` and `snapshot.seq` unverified");
        assert_create_refused(dir.path());
        fs::remove_file(dir.path().join("snapshot.sum")).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("1", 1)));
    }
}

#[test]
fn a_missing_file_is_corrupt_and_named() {
    for name in ["snapshot.json", "snapshot.seq"] {
        let dir = dir_with_snapshot();
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_corrupt(dir.path(), &format!("`{name}` is missing"));
        fs::remove_file(dir.path().join("snapshot.sum")).unwrap();
        assert_corrupt(dir.path(), &format!("`{name}` is missing"));
        if name == "snapshot.seq" {
            assert_create_refused(dir.path());
        }
    }
    let dir = dir_with_snapshot();
    for name in ["snapshot.json", "snapshot.seq"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert_corrupt(dir.path(), "is missing");
    assert_create_refused(dir.path());
}

#[test]
fn what_a_crash_left_is_settled_and_counted() {
    let dir = dir_with_snapshot();
    assert_eq!(store(dir.path()).settle_leftovers(), Ok(0));
    fs::write(dir.path().join("snapshot.seq.new"), "").unwrap();
    fs::write(dir.path().join("snapshot.json.tmp"), "").unwrap();
    fs::write(dir.path().join("notes"), "").unwrap();
    assert_eq!(store(dir.path()).settle_leftovers(), Ok(2));
    assert_eq!(contents(dir.path()).len(), 4);
    let store = store(dir.path());
    let _writer = store.open_writer(2).unwrap();
    assert!(matches!(store.settle_leftovers(), Err(Error::Busy(_))));
}

#[test]
fn what_was_made_and_never_committed_is_no_snapshot() {
    let (whole, dir) = (dir_with_snapshot(), dir());
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        fs::rename(whole.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
        assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
        assert_eq!(store(dir.path()).newest_seq(), Err(Error::NotFound));
        assert_eq!(store(dir.path()).list(), Ok(Vec::new()));
    }
    store(dir.path()).create("2", 0).unwrap();
    assert_eq!(contents(dir.path()).len(), 3);
}

#[test]
fn empty_zeroed_or_cut_files_are_corrupt() {
    for (state, seq, expected) in [
        ("", "", "`snapshot.seq` does not hold a decimal number"),
        ("", "7", "`snapshot.json` is not valid JSON"),
        ("\0\0\0", "\0", "`snapshot.seq` does not hold a decimal number"),
        ("\0\0\0", "7", "`snapshot.json` is not valid JSON"),
        ("{\"a\": [1, 2", "7", "`snapshot.json` is not valid JSON: line 1 column 12"),
        ("{}", "+7", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "18446744073709551616", "`snapshot.seq` does not hold a decimal number"),
        ("7", "{}", "`snapshot.seq` does not hold a decimal number"),
    ] {
        let dir = dir_with(&[("snapshot.json", state), ("snapshot.seq", seq)]);
        assert_corrupt(dir.path(), expected);
    }
    let dir = dir_with(&[("snapshot.seq", "7")]);
    fs::write(dir.path().join("snapshot.json"), b"\"\xFF\"").unwrap();
    assert!(matches!(store(dir.path()).restore(), Err(Error::Corrupt(_))));
    assert!(matches!(store(dir.path()).info(), Err(Error::Corrupt(_))));
}

/// What becomes of a file: how, and what is said of it.
type Damage = (fn(&[u8]) -> Vec<u8>, &'static str);

const UTF_16: &str = "is UTF-16";

/// What other programs and power cuts make of a file.
const DAMAGES: [Damage; 8] = [
    (|_| Vec::new(), "is empty, as after a power cut"),
    (|text| vec![0; text.len()], "is NUL bytes, as after a power cut"),
    (|_| b"\x1F\x8B\x08\x00\x00".to_vec(), "is gzip data"),
    (|text| utf_16(text, u16::to_le_bytes), UTF_16),
    (|text| utf_16(text, u16::to_be_bytes), UTF_16),
    (|text| utf_16(&[b"\xEF\xBB\xBF", text].concat(), u16::to_le_bytes), UTF_16),
    (|text| utf_16(&[b"\xEF\xBB\xBF", text].concat(), u16::to_be_bytes), UTF_16),
    (|text| [b"\xEF\xBB\xBF", text].concat(), "starts with a byte order mark (BOM)"),
];

fn utf_16(text: &[u8], to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    str::from_utf8(text).unwrap().encode_utf16().flat_map(to_bytes).collect()
}

/// As git with `autocrlf` checks it out.
fn crlf(text: &[u8]) -> Vec<u8> {
    str::from_utf8(text).unwrap().replace('\n', "\r\n").into_bytes()
}

/// Damages a file, and puts it back.
fn damaged(path: &Path, (damage, sign): Damage, check: impl Fn(&str)) {
    let text = fs::read(path).unwrap();
    rot(path, damage(&text));
    check(&format!("; `{}` {sign}", path.file_name().unwrap().to_str().unwrap()));
    rot(path, text);
}

#[test]
fn what_a_power_cut_or_another_program_made_of_a_file_is_named() {
    const CRLF: &str = "has CRLF line ends, as git's `autocrlf` makes them";
    let dir = dir();
    store(dir.path()).create("{\"a\":[1]}", 17).unwrap();
    let file = |name| dir.path().join(name);
    for damage in DAMAGES.into_iter().chain([(crlf as _, CRLF)]) {
        for name in ["snapshot.json", "snapshot.sum"] {
            damaged(&file(name), damage, |sign| assert_corrupt(dir.path(), sign));
        }
    }
    for damage in DAMAGES {
        damaged(&file("snapshot.seq"), damage, |sign| {
            assert_corrupt(dir.path(), sign);
            let created = store(dir.path()).create("2", u64::MAX);
            assert!(
                matches!(&created, Err(Error::Corrupt(problem)) if problem.contains(sign)),
                "{created:?}"
            );
        });
    }
    // All of them, as git checks them out: the first that cannot be read is named.
    let text = fs::read(file("snapshot.json")).unwrap();
    rot(file("snapshot.json"), crlf(&text));
    damaged(&file("snapshot.sum"), (crlf, CRLF), |sign| assert_corrupt(dir.path(), sign));

    let settings = Settings { layout: Layout::Numbered, ..Settings::default() };
    let dir = self::dir();
    let store = || store(dir.path()).with_settings(settings);
    store().create("{\"a\":[1]}", 7).unwrap();
    store().create("{\"a\":[2]}", 8).unwrap();
    for damage in DAMAGES.into_iter().chain([(crlf as _, CRLF)]) {
        damaged(&dir.path().join("snapshot_00000000000000000008.json"), damage, |sign| {
            let restored = store().restore().map(untimed).unwrap();
            assert!(restored.skipped[0].problem.ends_with(sign), "{:?}", restored.skipped);
            let Soundness::Damaged(problem) = &store().list().unwrap()[0].soundness else { panic!() };
            assert_eq!(problem, &restored.skipped[0].problem);
        });
    }
    assert_eq!(store().restore().unwrap().seq, 8);
}

/// An error that described each would not fit into memory where there are 150,000.
#[test]
fn of_many_damaged_generations_the_error_describes_some_and_counts_the_others() {
    let dir = dir();
    for seq in 0..50 {
        fs::write(dir.path().join(format!("snapshot_{seq:020}.json")), "").unwrap();
    }
    let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!() };
    assert_eq!(problem.matches("is empty").count(), 20, "{problem}");
    assert!(problem.contains("; and 30 more; no generation is sound: "), "{problem}");
}

/// Native minisnap's files may have been edited on another system.
#[test]
fn what_another_program_laid_out_in_its_way_is_no_damage() {
    let dir = dir_with(&[("snapshot.json", "{\r\n  \"a\": 1\r\n}\r\n"), ("snapshot.seq", "7\r\n")]);
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\r\n  \"a\": 1\r\n}\r\n", 7)));
    fs::write(dir.path().join("snapshot.seq"), "seven").unwrap();
    let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!() };
    assert!(problem.starts_with("`snapshot.seq` does not hold") && !problem.contains("CRLF"), "{problem}");
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_corrupt() {
    let dir = dir();
    store(dir.path()).create(r#"{"counter":42,"name":"é"}"#, 19).unwrap();
    let right = untimed(store(dir.path()).restore().unwrap());
    let mut tried = 0;
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        let path = dir.path().join(name);
        let sound = fs::read(&path).unwrap();
        for bit in 0..8 * sound.len() {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            rot(&path, damaged);
            let restored = store(dir.path()).restore().map(untimed);
            assert!(matches!(restored, Err(Error::Corrupt(_))), "{name}, bit {bit}: {restored:?}");
            tried += 1;
        }
        rot(&path, sound);
    }
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(right));
    assert!(tried > 1000);
}

#[test]
fn a_commit_that_was_cut_short_is_read_as_it_will_be_finished() {
    // The old snapshot, the new one, and how many of the new one's files had been moved when the crash came.
    let [old, new] = [dir(), dir()];
    store(old.path()).create("[\"old\"]", 1).unwrap();
    store(new.path()).create("[\"new\"]", 2).unwrap();
    let expected = untimed(store(new.path()).restore().unwrap());
    for has_old in [true, false] {
        for moved in 0..8 {
            let files = ["snapshot.json", "snapshot.seq", "snapshot.sum"];
            let dir = dir();
            for (bit, name) in files.into_iter().enumerate() {
                let (new, to) = (new.path().join(name), dir.path().join(name));
                if has_old {
                    fs::copy(old.path().join(name), &to).unwrap();
                }
                let to = if moved >> bit & 1 == 1 { to } else { dir.path().join(format!("{name}.new")) };
                fs::copy(new, to).unwrap();
            }
            // Nothing was moved, so it was not committed.
            let expected = match (moved, has_old) {
                (0, true) => snapshot("[\n  \"old\"\n]", 1),
                (0, false) => continue,
                _ => expected.clone(),
            };
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(expected.clone()), "{moved:b}");
            assert_eq!(store(dir.path()).newest_seq(), Ok(expected.seq));
            assert_eq!(store(dir.path()).create("3", 0), Err(Error::Stale(expected.seq)));
            assert_eq!(contents(dir.path()).len(), 3, "a create settles first");
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(expected.clone()), "{moved:b}, settled");
        }
    }
}

/// A crash may leave both names of a file that was moved, and to rename one to the other does nothing.
#[cfg(unix)]
#[test]
fn a_moved_file_that_kept_its_old_name_does_not_stop_a_create() {
    let dir = dir_with_snapshot();
    for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        fs::hard_link(dir.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
    }
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
    assert_eq!(contents(dir.path()).len(), 3);
}

#[test]
fn what_was_never_committed_is_ignored_and_removed() {
    let dir = dir_with_snapshot();
    for name in ["snapshot.json.new", "snapshot.seq.new", "snapshot.sum.new"] {
        fs::write(dir.path().join(name), "{\"long\": \"and never committed\"}").unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    }
    store(dir.path()).create("2", 2).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
    assert_eq!(contents(dir.path()).len(), 3);
}

/// Its sums were renamed, so the one before is superseded, and what is left of it is no snapshot.
#[test]
fn a_committed_snapshot_that_is_damaged_before_it_is_moved_is_corrupt_and_what_is_left_of_it_is_kept() {
    for (damaged, is_moved, expected) in [
        ("snapshot.json.new", false, "`snapshot.json.new` is not what was written with `snapshot.seq.new`"),
        ("snapshot.json", true, "`snapshot.json` is not what was written with `snapshot.seq.new`"),
        ("snapshot.seq.new", false, "`snapshot.seq.new` is not what was written with `snapshot.json.new`"),
        ("snapshot.seq.new", true, "`snapshot.seq.new` is not what was written with `snapshot.json`"),
    ] {
        let (dir, new) = (dir_with_snapshot(), dir());
        store(new.path()).create("2", 2).unwrap();
        let state = if is_moved { "snapshot.json" } else { "snapshot.json.new" };
        for (name, to) in
            [("snapshot.json", state), ("snapshot.seq", "snapshot.seq.new"), ("snapshot.sum", "snapshot.sum")]
        {
            fs::rename(new.path().join(name), dir.path().join(to)).unwrap();
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
        rot(dir.path().join(damaged), "3");
        assert_corrupt(dir.path(), expected);
        assert_create_refused(dir.path());
        let Err(Error::Corrupt(problem)) = store(dir.path()).restore() else { panic!() };
        assert!(!problem.contains("accept"), "that would mix two snapshots: {problem}");

        // What the message says.
        let backup = dir_with_snapshot();
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
            fs::rename(backup.path().join(name), dir.path().join(name)).unwrap();
            let _ = fs::remove_file(dir.path().join(format!("{name}.new")));
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
        store(dir.path()).create("3", 3).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("3", 3)));
    }
}

/// A file system without times does not show who wrote last.
#[test]
fn what_native_minisnap_may_have_written_last_is_never_replaced_by_what_was_not_committed() {
    for (state, seq, left) in [
        ("\"killed\"", 1, 3),
        ("\"killed\"", 1, 2),
        ("\"killed\"", 1, 1),
        ("1", 2, 3),
        ("1", 2, 2),
        ("1", 1, 2),
        ("1", 2, 1),
    ] {
        let (dir, new) = (dir_with_snapshot(), dir());
        store(new.path()).create(state, seq).unwrap();
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"].iter().take(left) {
            fs::rename(new.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
        }
        rot(dir.path().join("snapshot.json"), "\"native\"");
        rot(dir.path().join("snapshot.seq"), "9");
        if (state, seq, left) == ("1", 1, 2) {
            // The same snapshot again: its files are those that the sums vouch for.
            assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
            continue;
        }
        // With its sums under their new name, nothing was committed, and what is in place is whole.
        assert_corrupt(
            dir.path(),
            if left == 3 { "remove `snapshot.sum` to accept the two as they are" } else { "" },
        );
        for refused in [0, 10] {
            assert!(matches!(store(dir.path()).create("3", refused), Err(Error::Corrupt(_))));
        }
        for (name, contents) in [("snapshot.json", "\"native\""), ("snapshot.seq", "9")] {
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), contents, "{state} {seq}, {left}");
        }
        fs::remove_file(dir.path().join("snapshot.sum")).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("\"native\"", 9)));
    }
}

/// Each was killed before its second rename, native minisnap first; found by the fuzzer.
#[test]
fn a_waiting_native_number_goes_with_new_sums_whose_rename_was_lost_before_and_after_it_is_settled() {
    let (dir, new) = (dir_with_snapshot(), dir());
    store(new.path()).create("2", 9).unwrap();
    for (name, to) in [
        ("snapshot.json", "snapshot.json"),
        ("snapshot.seq", "snapshot.seq.tmp"),
        ("snapshot.sum", "snapshot.sum.new"),
    ] {
        fs::rename(new.path().join(name), dir.path().join(to)).unwrap();
    }
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 9)));
    assert_eq!(store(dir.path()).create("3", 3), Err(Error::Stale(9)));
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 9)));
}

/// A power cut lost the new name of the number; found by the fuzzer.
#[test]
fn a_waiting_native_number_in_place_is_no_rename_of_this_stores() {
    let (dir, new) = (dir(), dir());
    store(new.path()).create("2", 9).unwrap();
    for name in ["snapshot.json", "snapshot.sum"] {
        fs::rename(new.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
    }
    write_native(dir.path(), "\"native\"", "8");
    fs::write(dir.path().join("snapshot.seq.tmp"), "9").unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("\"native\"", 9)));
    assert_eq!(store(dir.path()).create("3", 3), Err(Error::Stale(9)));
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("\"native\"", 9)));
}

/// A state that cannot be read now may be the stored one.
#[test]
fn any_failed_operation_of_a_settling_costs_no_snapshot() {
    for (seq, moved) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let (template, new) = (dir_with_snapshot(), dir());
        store(new.path()).create("2", seq).unwrap();
        for (at, name) in ["snapshot.sum", "snapshot.json", "snapshot.seq"].into_iter().enumerate() {
            let to = if at < moved { name.to_owned() } else { format!("{name}.new") };
            fs::rename(new.path().join(name), template.path().join(to)).unwrap();
        }
        for at in 0.. {
            let read = Store::new(FaultyDir::new(template.path(), Fault::Once(at, ErrorKind::Other)))
                .restore()
                .map(untimed);
            assert!(
                read == Ok(snapshot("2", seq)) || matches!(read, Err(Error::Io(_))),
                "{seq}, {moved}, {at}: {read:?}"
            );
            let dir = copy_of(template.path());
            let faulty = FaultyDir::new(dir.path(), Fault::Once(at, ErrorKind::Other));
            let refused = Store::new(faulty.clone()).create("0", 0);
            assert!(refused.is_err());
            assert_eq!(
                store(dir.path()).restore().map(untimed),
                Ok(snapshot("2", seq)),
                "{seq}, {moved}, {at}: {refused:?}"
            );
            if !faulty.has_failed() {
                break;
            }
        }
    }
}

/// Many a copy makes new times.
#[test]
fn a_refused_create_leaves_a_pair_verified_whatever_its_times_are() {
    let dir = dir_with_snapshot();
    for name in ["snapshot.json", "snapshot.seq"] {
        let contents = fs::read_to_string(dir.path().join(name)).unwrap();
        write_later(dir.path(), name, &contents);
    }
    assert!(matches!(store(dir.path()).create("[", 2), Err(Error::InvalidState(_))));
    assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Verified);
}

#[test]
fn a_committed_snapshot_is_read_without_the_state_that_it_replaces() {
    for seq in [2, 1] {
        let (dir, new) = (dir(), dir());
        store(dir.path()).create("\"longer than the limit\"", 1).unwrap();
        store(new.path()).create("2", seq).unwrap();
        for (name, to) in [
            ("snapshot.json", "snapshot.json.new"),
            ("snapshot.seq", "snapshot.seq.new"),
            ("snapshot.sum", "snapshot.sum"),
        ] {
            fs::rename(new.path().join(name), dir.path().join(to)).unwrap();
        }
        let limited = store(dir.path()).with_settings(Settings { max_state: 10, ..Settings::default() });
        assert_eq!(limited.restore().map(untimed), Ok(snapshot("2", seq)));
        // And where that cannot be read.
        fs::remove_file(dir.path().join("snapshot.json")).unwrap();
        fs::create_dir(dir.path().join("snapshot.json")).unwrap();
        assert_eq!(limited.restore().map(untimed), Ok(snapshot("2", seq)));
    }
}

#[test]
fn the_newest_number_is_told_without_reading_a_state() {
    let numbered = Settings { layout: Layout::Numbered, ..Settings::default() };
    for settings in [Settings::default(), numbered] {
        let dir = dir();
        let asked = FaultyDir::new(dir.path(), Fault::None);
        let asking = Store::new(asked.clone()).with_settings(settings);
        assert_eq!(asking.newest_seq(), Err(Error::NotFound));
        for seq in [3, 5] {
            store(dir.path()).with_settings(settings).create("[1, 2]", seq).unwrap();
        }
        assert_eq!(asking.newest_seq(), Ok(5));
        let log = asked.log();
        let state = ["snapshot.json", "snapshot_00000000000000000005.json"];
        let has_read =
            |line: &String| line.starts_with("read ") && state.iter().any(|name| line.ends_with(name));
        assert!(!log.iter().any(has_read), "{log:?}");
        // It is made durable, as all that is returned.
        assert_eq!(log.last().map(String::as_str), Some("sync /"), "{log:?}");
        // Whether the state is sound is another question.
        for name in state.iter().map(|name| dir.path().join(name)).filter(|path| path.exists()) {
            fs::write(name, "[1, 3]").unwrap();
        }
        assert_eq!(asking.newest_seq(), Ok(5));
    }
    // Of a pair whose number nothing vouches for, it is not told.
    let dir = dir_with_snapshot();
    fs::write(dir.path().join("snapshot.seq"), "2").unwrap();
    assert!(matches!(store(dir.path()).newest_seq(), Err(Error::Corrupt(_))));
    // Native minisnap's own, and one that it left waiting, are its newest.
    write_native(dir.path(), "{}", "9");
    assert_eq!(store(dir.path()).newest_seq(), Ok(9));
    // Over ours, too, whose sums still vouch for our number.
    let dir = dir_with_snapshot();
    write_later(dir.path(), "snapshot.json", "[]");
    write_later(dir.path(), "snapshot.seq.tmp", "10");
    assert_eq!(store(dir.path()).newest_seq(), Ok(10));
    assert_eq!(store(dir.path()).restore().unwrap().seq, 10);
    // As a create judges it, a state of native minisnap's is not read.
    let dir = dir_with(&[("snapshot.json", "{\"cut\": "), ("snapshot.seq", "7")]);
    assert_eq!(store(dir.path()).newest_seq(), Ok(7));
    assert_eq!(store(dir.path()).create("1", 6), Err(Error::Stale(7)));
    // Nor is one that is being replaced, before its sums are made.
    let dir = dir_with_snapshot();
    fs::write(dir.path().join("snapshot.json.new"), "2").unwrap();
    let asked = FaultyDir::new(dir.path(), Fault::None);
    assert_eq!(Store::new(asked.clone()).newest_seq(), Ok(1));
    assert!(!asked.log().contains(&"read snapshot.json".to_owned()));
}

/// It should not do so before this store's next create; but if it does, it was acknowledged last.
#[test]
fn what_native_minisnap_writes_after_a_crash_of_this_store_is_kept() {
    for (seq, left) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)] {
        let (dir, new) = (dir_with_snapshot(), dir());
        store(new.path()).create("\"killed\"", seq).unwrap();
        for name in ["snapshot.json", "snapshot.seq", "snapshot.sum"].iter().take(left) {
            fs::rename(new.path().join(name), dir.path().join(format!("{name}.new"))).unwrap();
        }
        write_native(dir.path(), "\"native\"", "2");
        for _ in 0..2 {
            assert_eq!(
                store(dir.path()).restore().map(untimed),
                Ok(unverified("\"native\"", 2)),
                "{seq}, {left}"
            );
            assert_eq!(store(dir.path()).create("0", 0), Err(Error::Stale(2)), "{seq}, {left}");
        }
        store(dir.path()).create("3", 3).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("3", 3)));
    }
}

#[test]
fn a_native_crash_between_its_renames_is_finished() {
    for over_ours in [false, true] {
        let dir = if over_ours { dir_with_snapshot() } else { dir_with(&[("snapshot.seq", "1")]) };
        // 0.1.2 renamed the state, and not the number.
        write_later(dir.path(), "snapshot.json", "{\"native\": 2}");
        write_later(dir.path(), "snapshot.seq.tmp", "2");
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\"native\": 2}", 2)));
        assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Unverified);
        assert_eq!(store(dir.path()).create("3", 1), Err(Error::Stale(2)));
        assert!(!dir.path().join("snapshot.seq.tmp").exists());
        assert_eq!(fs::read_to_string(dir.path().join("snapshot.seq")).unwrap(), "2");
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified("{\"native\": 2}", 2)));
    }
}

#[test]
fn a_waiting_native_number_beside_a_pair_that_the_sums_vouch_for_belongs_to_nothing() {
    // Native 0.1.2 wrote the same state again, with another number, and never got to say so.
    let dir = dir_with_snapshot();
    fs::write(dir.path().join("snapshot.seq.tmp"), "2").unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Verified);
    assert_eq!(store(dir.path()).create("1", 0), Err(Error::Stale(1)));
    assert!(!dir.path().join("snapshot.seq.tmp").exists());
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));

    let dir = dir_with(&[("snapshot.seq.tmp", "7")]);
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound), "a number without a state");
    store(dir.path()).create("1", 1).unwrap();
    assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
}

#[test]
fn a_waiting_native_number_that_the_sums_vouch_for_is_put_into_place() {
    for in_place in [None, Some("5")] {
        let dir = dir_with_snapshot();
        let [seq, waiting] = ["snapshot.seq", "snapshot.seq.tmp"].map(|name| dir.path().join(name));
        fs::rename(&seq, &waiting).unwrap();
        if let Some(other) = in_place {
            fs::write(&seq, other).unwrap();
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
        assert_eq!(store(dir.path()).create("0", 0), Err(Error::Stale(1)));
        assert!(!waiting.exists(), "it was settled");
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
    }
}

/// Native minisnap writes both files each time; which of them differ from ours does not matter.
#[test]
fn a_native_pair_of_which_one_file_happens_to_be_ours_is_accepted_as_unverified() {
    for (state, seq) in [("1", "2"), ("2", "1")] {
        let dir = dir_with_snapshot();
        write_native(dir.path(), state, seq);
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(unverified(state, seq.parse().unwrap())));
        assert_eq!(store(dir.path()).info().unwrap().soundness, Soundness::Unverified);
        store(dir.path()).create("3", 3).unwrap();
    }
    // Nothing else vouches for it, so it must be JSON at least.
    let dir = dir_with_snapshot();
    write_native(dir.path(), "[", "1");
    assert_corrupt(dir.path(), "`snapshot.json` is not valid JSON");
}

/// The state of one snapshot, the number of the next and the sums of a third, as a slow copy of a live pair takes them.
#[test]
fn a_torn_copy_of_a_pair_is_corrupt_until_the_sums_are_removed() {
    let (dir, copy) = (dir(), dir());
    for (seq, name) in [(1, "snapshot.json"), (2, "snapshot.seq"), (3, "snapshot.sum")] {
        store(dir.path()).create(&seq.to_string(), seq).unwrap();
        let (from, to) = (dir.path().join(name), copy.path().join(name));
        fs::copy(&from, &to).unwrap();
        let modified = fs::metadata(from).unwrap().modified().unwrap();
        fs::File::options().write(true).open(to).unwrap().set_modified(modified).unwrap();
    }
    assert_corrupt(copy.path(), "remove `snapshot.sum` to accept the two as they are");
    assert_create_refused(copy.path());
    fs::remove_file(copy.path().join("snapshot.sum")).unwrap();
    assert_eq!(store(copy.path()).restore().map(untimed), Ok(unverified("1", 2)));
}

#[test]
fn a_pair_of_another_program_is_synced_before_it_is_returned() {
    let dir = dir_with(&[("snapshot.json", "1"), ("snapshot.seq", "7")]);
    for is_number in [false, true] {
        let faulty = FaultyDir::new(dir.path(), Fault::None);
        let store = Store::new(faulty.clone());
        if is_number {
            assert_eq!(store.newest_seq(), Ok(7));
        } else {
            assert_eq!(store.restore().map(untimed), Ok(unverified("1", 7)));
        }
        assert_eq!(faulty.log().last().map(String::as_str), Some("sync /"));
    }
}

#[test]
fn a_directory_that_holds_both_layouts_is_an_error_that_names_them() {
    let name = "snapshot_00000000000000000007.json";
    let generation = (name, "{\n  \"seq\": 7,\n  \"state\": 1\n}");
    let leftover = ("snapshot_00000000000000000008.json.tmp", "{");
    for file in ["snapshot.json", "snapshot.seq", "snapshot.sum"] {
        let dir = dir_with(&[generation, leftover, (file, "1")]);
        let before = contents(dir.path());
        let store = store(dir.path());
        let problems = [
            store.restore().unwrap_err(),
            store.restore_at(7).unwrap_err(),
            store.info().unwrap_err(),
            store.list().unwrap_err(),
            store.oldest_kept().unwrap_err(),
            store.newest_seq().unwrap_err(),
            store.create("1", 9).unwrap_err(),
            store.open_writer(9).err().unwrap(),
            store.open_reader(None).err().unwrap(),
            store.open_reader(Some(7)).err().unwrap(),
            store.settle_leftovers().unwrap_err(),
        ];
        let expected = format!(
            "the directory holds snapshots in two layouts, `{file}` and `{name}`: move the files of one of them away"
        );
        for problem in problems {
            assert_eq!(problem, Error::Io(expected.clone()));
        }
        assert_eq!(contents(dir.path()), before);
        assert!(dir.path().join(file).exists());
    }
}

#[test]
fn a_native_crash_before_its_renames_is_ignored_and_removed() {
    for left in [&["snapshot.json.tmp"][..], &["snapshot.json.tmp", "snapshot.seq.tmp"]] {
        let dir = dir_with_snapshot();
        for name in left {
            fs::write(dir.path().join(name), "79999999").unwrap();
        }
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("1", 1)));
        store(dir.path()).create("2", 2).unwrap();
        assert_eq!(store(dir.path()).restore().map(untimed), Ok(snapshot("2", 2)));
        for name in left {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
    }
    let dir = dir_with(&[("snapshot.json.tmp", "{}"), ("snapshot.seq.tmp", "7")]);
    assert_eq!(store(dir.path()).restore(), Err(Error::NotFound));
    assert_eq!(store(dir.path()).newest_seq(), Err(Error::NotFound));
}

#[test]
fn a_native_number_that_cannot_be_read_replaces_nothing() {
    let dir = dir_with(&[("snapshot.json", "{}"), ("snapshot.seq", "1"), ("snapshot.seq.tmp", "")]);
    assert_corrupt(dir.path(), "`snapshot.seq.tmp` does not hold a decimal number");
    assert_create_refused(dir.path());
}

#[cfg(unix)]
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
#[cfg(unix)]
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

#[test]
fn a_number_of_any_length_is_not_read_into_memory() {
    let dir = dir_with(&[("snapshot.json", "{}")]);
    let long = fs::File::create(dir.path().join("snapshot.seq")).unwrap();
    long.set_len(1 << 40).unwrap();
    assert_corrupt(dir.path(), "`snapshot.seq` does not hold a decimal number");
}

/// Returns the number of the snapshot that it read.
type Read = fn(&Store<FaultyDir>) -> Result<u64, Error>;

#[test]
fn any_failed_operation_of_a_read_is_reported_and_never_makes_another_snapshot() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let settings = Settings { layout, ..Settings::default() };
        let open = |dir: &FaultyDir| Store::new(dir.clone()).with_settings(settings);
        let template = dir();
        for seq in [1, 2] {
            open(&FaultyDir::new(template.path(), Fault::None)).create(&seq.to_string(), seq).unwrap();
        }
        let reads: [(&str, Read); 4] = [
            ("restore", |store| Ok(store.restore()?.seq)),
            ("info", |store| Ok(store.info()?.seq)),
            ("open_reader", |store| Ok(store.open_reader(None)?.info().seq)),
            ("list", |store| {
                let list = store.list()?;
                let unreadable = list.iter().find_map(|info| match &info.soundness {
                    Soundness::Unreadable(problem) => Some(problem.clone()),
                    _ => None,
                });
                unreadable.map_or(Ok(list[0].seq), |problem| Err(Error::Io(problem)))
            }),
        ];
        for (verb, read) in reads {
            let mut tried = 0;
            for at in 0.. {
                let dir = copy_of(template.path());
                let faulty = FaultyDir::new(dir.path(), Fault::Once(at, ErrorKind::Other));
                let store = open(&faulty);
                let found = read(&store);
                if !faulty.has_failed() {
                    assert_eq!(found, Ok(2), "{verb}");
                    break;
                }
                let operation = &faulty.log()[at];
                let what = format!("{layout:?}, {verb}, {at}, {operation}");
                match found {
                    Err(Error::Io(problem)) => assert!(problem.contains("cannot "), "{what}: {problem}"),
                    // It is looked for once more.
                    Ok(2) if layout == Layout::Pair && operation.ends_with("snapshot.json") => {}
                    other => panic!("{what}: {other:?}"),
                }
                tried += 1;
                // Whoever goes on with the number that they know replaces nothing that could not be read for a moment.
                assert_eq!(store.create("\"older\"", 1), Err(Error::Stale(2)), "{what}");
                assert_eq!(store.restore().map(untimed), Ok(snapshot("2", 2)), "{what}");
                store.create("3", 3).unwrap();
                assert_eq!(store.restore().map(untimed), Ok(snapshot("3", 3)), "{what}");
            }
            assert!(tried > 7, "{layout:?}, {verb}: only {tried} operations were tried");
        }
    }
}

#[test]
fn what_a_signal_interrupts_is_done_again() {
    for layout in [Layout::Pair, Layout::Numbered] {
        let settings = Settings { layout, ..Settings::default() };
        let template = dir();
        Store::new(OsDir::new(template.path())).with_settings(settings).create("1", 1).unwrap();
        let (mut reads, mut writes) = (0, 0);
        for at in 0.. {
            let dir = copy_of(template.path());
            let faulty = FaultyDir::new(dir.path(), Fault::Once(at, ErrorKind::Interrupted));
            let store = Store::new(faulty.clone()).with_settings(settings);
            let (restored, created) = (store.restore().map(untimed), store.create("2", 2));
            if !faulty.has_failed() {
                break;
            }
            let operation = &faulty.log()[at];
            let what = format!("{layout:?}, {at}, {operation}: {created:?}");
            assert_eq!(restored, Ok(snapshot("1", 1)), "{what}");
            let changes = ["create ", "make ", "rename ", "remove ", "sync "];
            if changes.iter().any(|change| operation.starts_with(change)) {
                continue;
            }
            created.unwrap_or_else(|error| panic!("{what}: {error}"));
            *(if operation.starts_with("write") { &mut writes } else { &mut reads }) += 1;
        }
        assert!(reads > 8 && writes > 1, "{layout:?}: {reads} reads, {writes} writes");
    }
}
