//! JSON that the store is given comes back token by token: real files, a published test suite, and random texts.
//!
//! `json/README.md` says where the files come from. MINISNAP_JSON_DATA may name a folder of more.

use std::fs;
use std::path::{Path, PathBuf};

use minisnap_host::{Grant, Layout};
use minisnap_tests::random::Random;
use minisnap_tests::{cli, minisnap, run, scratch, tokens};
use tempfile::tempdir;

/// Tokens that a parser into numbers and strings changes.
const HARD: &str = r#"{"n":[123456789012345678901234567890,1.0,1e400,-0,0.10,1E+5,-1e-7],"s":["é","\u00e9","\/","😀",
    "\ud83d\ude00",""],"n":{},"":[[],{}],"b":[true,false,null]}"#;

/// The `.json` files in a folder, in a fixed order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    assert!(!found.is_empty(), "no .json file in {}", folder.display());
    found.sort();
    found
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/json"))
}

#[test]
fn real_json_keeps_every_token() {
    let dir = tempdir().unwrap();
    let hard = dir.path().join("hard.json");
    fs::write(&hard, HARD).unwrap();
    let mut all = vec![hard];
    all.extend(files(folder()));
    all.extend(std::env::var_os("MINISNAP_JSON_DATA").iter().flat_map(|more| files(Path::new(more))));
    assert!(all.len() > 2, "{all:?}");
    let snapshots = dir.path().join("snapshots");
    for (seq, file) in all.iter().enumerate() {
        let created =
            run(cli().arg("create").arg(&snapshots).args(["--seq", &seq.to_string()]).arg(file), "");
        assert_eq!(created.code, Some(0), "{}: {created:?}", file.display());
        let restored = run(cli().arg("restore").arg(&snapshots), "");
        assert_eq!((restored.code, restored.stderr), (Some(0), format!("seq {seq}\n")));
        let given = fs::read_to_string(file).unwrap();
        let (given, restored) = (tokens(&given), tokens(&restored.stdout));
        println!("{}: {} tokens", file.display(), given.len());
        assert!(given.len() > 10 && given == restored, "{}", file.display());
    }
}

/// Has each text be created and restored, in both layouts.
fn assert_kept(texts: impl Iterator<Item = (String, String)> + Clone) -> usize {
    let mut kept = 0;
    for layout in [Layout::Pair, Layout::Numbered] {
        let dir = scratch();
        let mut store = minisnap().open(Grant::new(dir.path()).layout(layout)).unwrap();
        for (seq, (name, text)) in (0..).zip(texts.clone()) {
            store.create_text(&text, seq).unwrap_or_else(|error| panic!("{name}: {error}"));
            let restored = store.restore_text().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!tokens(&text).is_empty() && restored.seq == seq, "{name}");
            assert_eq!(tokens(&restored.state), tokens(&text), "{name}");
            kept += 1;
        }
    }
    kept
}

#[test]
fn every_text_that_the_test_suite_accepts_keeps_every_token() {
    let texts = files(&folder().join("suite")).into_iter().map(|file| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(file).unwrap())
    });
    assert_eq!(assert_kept(texts.collect::<Vec<_>>().into_iter()), 2 * 95);
}

/// Texts by every production of the grammar, the same in every run.
#[test]
fn random_json_of_every_production_keeps_every_token() {
    let mut random = Random::default();
    let texts: Vec<_> = (0..200)
        .map(|number| {
            let mut text = String::new();
            // The first are one value in ever more arrays and objects.
            let nested = if number < 120 { number } else { 0 };
            push_value(&mut text, &mut random, nested, 6);
            (format!("text {number}: {}", text.chars().take(200).collect::<String>()), text)
        })
        .collect();
    // Each production must have been taken, a string longer than a piece of a state and the surrogates included.
    let all = texts.iter().map(|(_, text)| text.as_str()).collect::<String>();
    for part in
        ["\\u00e9", "\\ud83d\\ude00", "\\/", "\\\\", "\t", "\r", "{}", "[]", "null", "E+", "e-", "-0", "😀"]
    {
        assert!(all.contains(part), "no {part:?}");
    }
    assert!(texts.iter().any(|(_, text)| tokens(text).iter().any(|token| token.len() > 64 << 10)));
    assert_eq!(assert_kept(texts.into_iter()), 2 * 200);
}

/// Any value, in so many others at least, and with so many levels in it at most.
fn push_value(text: &mut String, random: &mut Random, nested: u64, levels: u64) {
    push_space(text, random);
    let (is_array, members) = match nested {
        0 if levels == 0 || random.below(3) == 0 => {
            push_scalar(text, random);
            return push_space(text, random);
        }
        0 => (random.below(2) == 0, random.below(6)),
        _ => (random.below(2) == 0, 1),
    };
    text.push(if is_array { '[' } else { '{' });
    for member in 0..members {
        if member > 0 {
            text.push(',');
        }
        if !is_array {
            push_space(text, random);
            push_string(text, random);
            push_space(text, random);
            text.push(':');
        }
        push_value(text, random, nested.saturating_sub(1), if nested > 0 { levels } else { levels - 1 });
    }
    text.push(if is_array { ']' } else { '}' });
    push_space(text, random);
}

fn push_space(text: &mut String, random: &mut Random) {
    text.push_str(pick(random, &["", "", "", " ", "\t", "\r\n", "\n  "]));
}

fn push_scalar(text: &mut String, random: &mut Random) {
    match random.below(4) {
        0 => text.push_str(pick(random, &["true", "false", "null"])),
        1 => push_string(text, random),
        _ => {
            text.push_str(pick(random, &["", "-"]));
            push_integer(text, random);
            if random.below(2) == 0 {
                text.push('.');
                push_digits(text, random);
            }
            if random.below(2) == 0 {
                text.push_str(pick(random, &["e", "E", "e+", "E+", "e-", "E-"]));
                push_digits(text, random);
            }
        }
    }
}

fn push_integer(text: &mut String, random: &mut Random) {
    match random.below(3) {
        0 => text.push('0'),
        _ => {
            text.push(pick(random, &['1', '5', '9']));
            push_digits(text, random);
        }
    }
}

fn push_digits(text: &mut String, random: &mut Random) {
    for _ in 0..=random.below(40) {
        text.push(char::from(b'0' + random.below(10) as u8));
    }
}

fn push_string(text: &mut String, random: &mut Random) {
    const PARTS: [&str; 20] = [
        "a",
        "plain words",
        " ",
        "é",
        "水",
        "😀",
        "\u{7f}",
        "\u{2028}",
        "{[:,]}",
        "\\\"",
        "\\\\",
        "\\/",
        "\\b",
        "\\f",
        "\\n",
        "\\r",
        "\\t",
        "\\u0000",
        "\\u00e9",
        "\\ud83d\\ude00",
    ];
    // A few are longer than what one piece of a state holds.
    let parts = if random.below(200) == 0 { 60_000 } else { random.below(12) };
    text.push('"');
    for _ in 0..parts {
        text.push_str(pick(random, &PARTS));
    }
    text.push('"');
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}
