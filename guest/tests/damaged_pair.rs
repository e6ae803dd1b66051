//! Damaged pairs: each damage is found, and the error names the file and what was made of it.

use std::fs;
use std::path::Path;

use crate::pairs::*;
use crate::seam::rot;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Soundness};

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
    let sums = fs::read_to_string(dir_with_snapshot().path().join("snapshot.sum")).unwrap();
    for damage in [
        String::new(),
        "\n".to_owned(),
        "0123".to_owned(),
        "\0\0\0\0".to_owned(),
        sums[..sums.len() - 1].to_owned(),
        sums.to_uppercase(),
        format!("{sums}\n"),
        format!("{sums}{sums}"),
        sums.replace("snapshot.seq", "snapshot.json"),
        sums.lines().rev().map(|line| format!("{line}\n")).collect(),
    ] {
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
fn empty_zeroed_or_cut_files_are_corrupt() {
    for (state, seq, expected) in [
        ("", "", "`snapshot.seq` does not hold a decimal number"),
        ("", "7", "`snapshot.json` is not valid JSON"),
        ("\0\0\0", "\0", "`snapshot.seq` does not hold a decimal number"),
        ("\0\0\0", "7", "`snapshot.json` is not valid JSON"),
        ("{\"a\": [1, 2", "7", "`snapshot.json` is not valid JSON: line 1 column 12"),
        ("{}", "+7", "`snapshot.seq` does not hold a decimal number"),
        ("{}", " ", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "-7", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "7 7", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "7.0", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "0x7", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "٧", "`snapshot.seq` does not hold a decimal number"),
        ("{}", "7\0", "`snapshot.seq` does not hold a decimal number"),
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

#[test]
fn a_number_of_any_length_is_not_read_into_memory() {
    let dir = dir_with(&[("snapshot.json", "{}")]);
    let long = fs::File::create(dir.path().join("snapshot.seq")).unwrap();
    long.set_len(1 << 40).unwrap();
    assert_corrupt(dir.path(), "`snapshot.seq` does not hold a decimal number");
    for text in [format!("7{}9", " ".repeat(2000)).as_bytes(), b"7\xFF"] {
        fs::write(dir.path().join("snapshot.seq"), text).unwrap();
        assert_corrupt(dir.path(), "`snapshot.seq` does not hold a decimal number");
    }
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
    assert_corrupt(
        copy.path(),
        "`snapshot.json` and `snapshot.seq` are not what was written with `snapshot.sum`: take all from one backup",
    );
    assert_create_refused(copy.path());
    fs::remove_file(copy.path().join("snapshot.sum")).unwrap();
    assert_eq!(store(copy.path()).restore().map(untimed), Ok(unverified("1", 2)));
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
