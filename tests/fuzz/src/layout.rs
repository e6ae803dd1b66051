//! Any directory: whole snapshots of both layouts, pieces of them and any other bytes under any of their names. Reading
//! never fails in a way that is not an error, changes nothing, and agrees with itself; a create makes a snapshot or leaves
//! what was there.

#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use minisnap_component::error::Error;
use minisnap_component::store::{Layout, Settings, Snapshot, Soundness, Store};
use model::{Disk, Machine, ModelDir};

#[allow(unused_imports, reason = "it is shared with the store's own tests")]
#[path = "../../../guest/tests/model/mod.rs"]
mod model;

/// Names that a layout or a crash knows, and some that look like those.
const NAMES: [&str; 18] = [
    "snapshot.json",
    "snapshot.seq",
    "snapshot.sum",
    "snapshot.json.tmp",
    "snapshot.seq.tmp",
    "snapshot.json.new",
    "snapshot.seq.new",
    "snapshot.sum.new",
    "snapshot.json.new/notes",
    "snapshot.json.tmp/notes",
    "snapshot_00000000000000000007.json",
    "snapshot_00000000000000000008.json",
    "snapshot_00000000000000000009.json",
    "snapshot_18446744073709551615.json",
    "snapshot_00000000000000000008.json.tmp",
    "snapshot_00000000000000000008.json.damaged",
    "snapshot_9.bak",
    ".tmpa1B2c3",
];

const STATES: [&str; 4] = ["{\"a\":[1,2]}", "7", "\"\u{e9}\\u00e9\"", "[[],{}]"];

fuzz_target!(|input: &[u8]| {
    let _ = check(&mut Unstructured::new(input));
});

fn check(input: &mut Unstructured<'_>) -> Result<()> {
    let disk = directory(input)?;
    let layout = if input.arbitrary()? { Layout::Pair } else { Layout::Numbered };
    let settings = Settings { layout, keep: std::num::NonZeroU32::new(2), ..Settings::default() };
    let open = |disk: &Disk| {
        let dir = ModelDir::plain(disk);
        (Store::new(dir.clone()).with_settings(settings), dir)
    };

    // What is shown when a check below fails.
    if std::env::var_os("SHOW").is_some() {
        for (name, (_, contents)) in disk.visible() {
            println!("{name}: {:?}", contents.as_deref().map(|contents| String::from_utf8_lossy(contents)));
        }
    }
    let (store, dir) = open(&disk);
    let restored = store.restore();
    reads_agree(&store, &restored);
    assert_eq!(dir.machine.borrow().now, disk, "reading changed something");

    let (state, seq) = (STATES[input.int_in_range(0..=3)?], input.int_in_range(0..=10)?);
    let (store, dir) = open(&disk);
    let created = store.create(state, seq);
    let after = open(&dir.machine.borrow().now).0.restore();
    match (&created, &restored) {
        (Ok(()), before) => {
            let Ok(after) = after else { panic!("{after:?} after a create") };
            assert_eq!((compact(&after.state), after.seq, after.skipped), (compact(state), seq, Vec::new()));
            assert!(
                before.as_ref().map_or(true, |before| before.seq <= seq),
                "an older one replaced {before:?}"
            );
        }
        (Err(Error::Stale(newest)), Ok(before)) => {
            assert!(*newest > seq && before.seq == *newest);
            same(&restored, &after);
        }
        (Err(_), _) => same(&restored, &after),
    }
    Ok(())
}

/// Some files of snapshots, whole, changed, or anything, under names that matter.
fn directory(input: &mut Unstructured<'_>) -> Result<Disk> {
    let mut machine = Machine::new(Disk::with(&[]));
    for _ in 0..input.int_in_range(0..=6)? {
        let name = *input.choose(&NAMES)?;
        let contents = contents(input, name)?;
        if let Some((dir, _)) = name.split_once('/') {
            let _ = machine.make_dir(dir);
        }
        if let Ok(node) = machine.create(name) {
            machine.write(node, 0, &contents);
        }
    }
    Ok(machine.now)
}

/// What a file of this name may hold.
fn contents(input: &mut Unstructured<'_>, name: &str) -> Result<Vec<u8>> {
    let state = *input.choose(&STATES)?;
    let seq: u64 = input.int_in_range(6..=9)?;
    let layout = if name.contains('_') || name.starts_with('.') { Layout::Numbered } else { Layout::Pair };
    let dir = ModelDir::plain(&Disk::with(&[]));
    let store = Store::new(dir.clone()).with_settings(Settings { layout, ..Settings::default() });
    store.create(state, seq).expect("an empty directory takes a snapshot");
    let disk = &dir.machine.borrow().now;
    let file = match layout {
        Layout::Numbered => format!("snapshot_{seq:020}.json"),
        Layout::Pair if name.contains("sum") => "snapshot.sum".to_owned(),
        Layout::Pair if name.contains("seq") => "snapshot.seq".to_owned(),
        Layout::Pair => "snapshot.json".to_owned(),
    };
    let mut contents = disk.files[&disk.find(&file).expect("it was just made")].to_vec();
    match input.int_in_range(0..=7)? {
        0 => contents = input.arbitrary()?,
        1 => contents.truncate(input.int_in_range(0..=contents.len())?),
        2 => {
            let at = input.int_in_range(0..=contents.len() - 1)?;
            contents[at] = input.arbitrary()?;
        }
        // As another program writes a generation.
        3 if layout == Layout::Numbered => {
            let text = String::from_utf8(contents).expect("it is JSON");
            let (before, _) = text.split_once(",\n  \"xxh128\"").expect("it has a sum");
            contents = format!("{before}\n}}").into_bytes();
        }
        _ => {}
    }
    Ok(contents)
}

fn reads_agree(store: &Store<ModelDir>, restored: &std::result::Result<Snapshot, Error>) {
    let (number, info, list) = (store.newest_seq(), store.info(), store.list());
    let oldest = store.oldest_kept();
    let reader = store.open_reader(None);
    match restored {
        Ok(snapshot) => {
            let info = info.expect("what is restored has an info");
            assert_eq!((info.seq, info.size), (snapshot.seq, snapshot.state.len() as u64));
            let list = list.expect("what is restored is listed");
            assert!(list.is_sorted_by(|newer, older| newer.seq > older.seq));
            let newest = list.iter().find(|info| !matches!(info.soundness, Soundness::Damaged(_)));
            assert_eq!(newest, Some(&info));
            let skipped: Vec<u64> = snapshot.skipped.iter().map(|skipped| skipped.seq).collect();
            let newer: Vec<u64> =
                list.iter().map(|info| info.seq).take_while(|&seq| seq > info.seq).collect();
            assert_eq!(skipped, newer);
            assert_eq!(number, Ok(*newer.first().unwrap_or(&info.seq)));
            assert!(oldest.expect("something is kept") <= snapshot.seq);
            let mut reader = reader.expect("what is restored can be read in pieces");
            let mut read = Vec::new();
            loop {
                let piece = reader.read(5).expect("nothing changed it");
                if piece.is_empty() {
                    break;
                }
                read.extend(piece);
            }
            assert_eq!(read, snapshot.state.as_bytes());
            let at = store.restore_at(snapshot.seq).expect("it has its number");
            assert_eq!((&at.state, at.seq), (&snapshot.state, snapshot.seq));
            // JSON bounds no number; a `Value` does.
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&snapshot.state) {
                assert!(
                    error.to_string().starts_with("number out of range"),
                    "no JSON was restored: {error}"
                );
            }
        }
        Err(Error::NotFound) => {
            assert_eq!(number, Err(Error::NotFound));
            assert_eq!((info, oldest), (Err(Error::NotFound), Err(Error::NotFound)));
            assert_eq!(list, Err(Error::NotFound));
        }
        Err(error) => {
            assert!(matches!(error, Error::Corrupt(_) | Error::Io(_)), "{error:?}");
            assert!(info.is_err() && oldest.is_err() && reader.is_err());
        }
    }
}

/// What failed has changed nothing for who restores.
fn same(before: &std::result::Result<Snapshot, Error>, after: &std::result::Result<Snapshot, Error>) {
    match (before, after) {
        (Ok(before), Ok(after)) => {
            assert_eq!((&before.state, before.seq), (&after.state, after.seq));
        }
        (Err(before), Err(after)) => {
            assert_eq!(std::mem::discriminant(before), std::mem::discriminant(after))
        }
        other => panic!("what failed changed this: {other:?}"),
    }
}

fn compact(state: &str) -> String {
    state.chars().filter(|c| !c.is_whitespace()).collect()
}
