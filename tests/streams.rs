//! States in chunks, through the component in real directories: cut anywhere, abandoned, larger than the memory.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use minisnap_host::{Error, Grant, Layout, Soundness};
use minisnap_tests::{Done, VERBS, cli, minisnap, names, run};
use tempfile::tempdir;

const LAYOUTS: [Layout; 2] = [Layout::Pair, Layout::Numbered];

#[test]
fn a_state_may_be_cut_anywhere() {
    let state = r#"{"é\u00e9\\":["😀\ud83d\ude00",-1.5e-7,true,null],"n":123456789012345678901234567890}"#;
    for layout in LAYOUTS {
        let (whole, cut) = (tempdir().unwrap(), tempdir().unwrap());
        let mut whole = minisnap().open(Grant::new(whole.path()).layout(layout)).unwrap();
        whole.create_text(state, 1).unwrap();
        let expected = whole.restore_text().unwrap();
        let mut store = minisnap().open(Grant::new(cut.path()).layout(layout)).unwrap();
        for size in 1..=9 {
            let mut writer = store.open_writer(1).unwrap();
            for chunk in state.as_bytes().chunks(size) {
                writer.write_chunk(chunk).unwrap();
            }
            writer.commit().unwrap();
            let restored = store.restore_text().unwrap();
            assert_eq!(
                (&restored.state, restored.seq),
                (&expected.state, expected.seq),
                "chunks of {size} bytes"
            );

            let mut reader = store.open_reader().unwrap();
            assert_eq!(reader.info().size, expected.state.len() as u64);
            assert_eq!(reader.info().soundness, Soundness::Verified);
            let mut read = Vec::new();
            loop {
                let chunk = reader.read_chunk(size as u64).unwrap();
                if chunk.is_empty() {
                    break;
                }
                assert!(chunk.len() <= size);
                read.extend(chunk);
            }
            assert_eq!(String::from_utf8(read).unwrap(), expected.state);
            assert_eq!(reader.read_chunk(9).unwrap(), b"", "the end stays the end");
        }
    }
}

#[test]
fn a_stream_is_a_reader_and_a_writer_of_the_standard_library() {
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path())).unwrap();
    let mut writer = store.open_writer(1).unwrap();
    serde_json::to_writer(&mut writer, &vec![1; 100_000]).unwrap();
    writer.commit().unwrap();
    let restored: Vec<u8> = serde_json::from_reader(store.open_reader().unwrap()).unwrap();
    assert_eq!(restored, vec![1; 100_000]);
    let mut text = String::new();
    store.open_reader().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, store.restore_text().unwrap().state);
    let mut invalid = store.open_writer(2).unwrap();
    invalid.write_all(b"[}").unwrap();
    let error = invalid.flush().unwrap_err();
    assert!(error.to_string().contains("line 1 column 2"), "{error}");
}

#[test]
fn a_writer_that_is_dropped_or_fails_leaves_nothing() {
    for layout in LAYOUTS {
        let dir = tempdir().unwrap();
        let mut store = minisnap().open(Grant::new(dir.path()).layout(layout).max_state(1 << 20)).unwrap();
        store.create_text("1", 1).unwrap();
        let before = names(dir.path());

        let mut dropped = store.open_writer(2).unwrap();
        dropped.write_chunk(&[b'['; 100]).unwrap();
        assert_eq!(names(dir.path()).len(), before.len() + 1);
        drop(dropped);
        assert_eq!(names(dir.path()), before);

        let mut invalid = store.open_writer(2).unwrap();
        for _ in 0..2 {
            let refused = invalid.write_chunk(b"\"\xFF\"").unwrap_err();
            assert!(
                matches!(&refused, Error::InvalidState(what) if what.contains("column 2")),
                "{refused:?}"
            );
        }
        assert_eq!(names(dir.path()), before, "undone at once");
        assert!(matches!(invalid.commit(), Err(Error::InvalidState(_))));

        let mut incomplete = store.open_writer(2).unwrap();
        incomplete.write_chunk(b"[1").unwrap();
        assert!(matches!(incomplete.commit(), Err(Error::InvalidState(_))));

        let mut large = store.open_writer(2).unwrap();
        let refused = (0..20).find_map(|_| large.write_chunk(&[b' '; 100_000]).err()).unwrap();
        assert!(matches!(refused, Error::TooLarge(1_048_576)), "{refused:?}");
        drop(large);

        assert!(matches!(store.open_writer(0).map(drop), Err(Error::Stale(1))));
        assert_eq!(names(dir.path()), before);
        assert_eq!(store.restore_text().unwrap().seq, 1);
        store.create_text("2", 2).unwrap();
    }
}

#[test]
fn a_store_that_is_dropped_undoes_the_writer_that_was_forgotten() {
    let dir = tempdir().unwrap();
    let mut store = minisnap().open(Grant::new(dir.path()).layout(Layout::Numbered)).unwrap();
    store.create_text("1", 1).unwrap();
    std::mem::forget(store.open_writer(2).unwrap());
    assert!(matches!(store.create_text("2", 2), Err(Error::Busy(_))), "one writer at a time");
    assert_eq!(names(dir.path()).len(), 2);
    store.end_streams();
    store.create_text("2", 2).unwrap();
    std::mem::forget(store.open_writer(3).unwrap());
    assert_eq!(names(dir.path()).len(), 3);
    drop(store);
    assert_eq!(names(dir.path()).len(), 2);
}

#[test]
fn a_reader_goes_on_with_its_snapshot_while_newer_ones_are_created() {
    for layout in LAYOUTS {
        let dir = tempdir().unwrap();
        let state = |seq: usize| format!("\"{}\"", seq.to_string().repeat(300_000));
        let mut writer = minisnap().open(Grant::new(dir.path()).layout(layout)).unwrap();
        writer.create_text(&state(1), 1).unwrap();
        let mut store = minisnap().open(Grant::new(dir.path()).read_only()).unwrap();
        let mut reader = store.open_reader().unwrap();
        let mut read = reader.read_chunk(1000).unwrap();
        for seq in 2..10 {
            writer.create_text(&state(seq), seq as u64).unwrap();
        }
        reader.read_to_end(&mut read).unwrap();
        assert!(read == state(1).as_bytes());
        drop(reader);
        assert_eq!(store.open_reader().unwrap().info().seq, 9);
    }
}

#[test]
fn a_file_that_is_changed_under_its_reader_is_corrupt() {
    for (layout, name) in
        [(Layout::Pair, "snapshot.json"), (Layout::Numbered, "snapshot_00000000000000000001.json")]
    {
        let dir = tempdir().unwrap();
        let mut store = minisnap().open(Grant::new(dir.path()).layout(layout)).unwrap();
        store.create_text(&format!("\"{}\"", "x".repeat(5 << 20)), 1).unwrap();
        let mut reader = store.open_reader().unwrap();
        reader.read_chunk(1000).unwrap();
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[4 << 20] = b'y';
        fs::write(path, bytes).unwrap();
        let changed = std::iter::repeat_with(|| reader.read_chunk(1 << 20)).find_map(Result::err).unwrap();
        assert!(matches!(&changed, Error::Corrupt(what) if what.contains(name)), "{changed:?}");
        assert!(matches!(reader.read_chunk(9), Err(Error::Corrupt(_))));
        drop(reader);

        // Whoever reads exactly as much as there is learns of it with the last byte.
        store.create_text("[1,2,3]", 1).unwrap();
        let mut reader = store.open_reader().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, fs::read_to_string(&path).unwrap().replace('3', "4")).unwrap();
        let size = reader.info().size;
        assert!(matches!(reader.read_chunk(size), Err(Error::Corrupt(_))));
    }
}

#[test]
fn a_writer_whose_directory_was_moved_for_a_while_is_refused_and_undone() {
    let dir = tempdir().unwrap();
    let [path, moved] = ["snapshots", "moved"].map(|name| dir.path().join(name));
    let mut store = minisnap().open(Grant::new(&path)).unwrap();
    store.create_text("1", 1).unwrap();
    let mut writer = store.open_writer(2).unwrap();
    writer.write_chunk(b"2").unwrap();
    fs::rename(&path, &moved).unwrap();
    let refused = writer.commit().unwrap_err();
    assert!(matches!(&refused, Error::DirectoryReplaced(what) if what.contains("is gone")), "{refused:?}");
    assert_eq!(names(&moved).len(), 3);
    fs::rename(&moved, &path).unwrap();
    store.create_text("2", 2).unwrap();
}

/// A JSON array of so many blocks of a megabyte, and how it is laid out.
struct Large {
    block: Vec<u8>,
    laid_out: Vec<u8>,
}

impl Large {
    fn new() -> Self {
        let element = format!("\"{}é\\n{}\"", "x".repeat(30), "y".repeat(26));
        let count = (1 << 20) / (element.len() + 1);
        Large {
            block: format!("{element},").repeat(count).into_bytes(),
            laid_out: format!("\n  {element},").repeat(count).into_bytes(),
        }
    }
}

#[test]
fn in_long_runs_a_state_of_2_gib_streams_through_a_store_that_is_capped_at_16_mib() {
    const BLOCKS: usize = 2048 + 64;
    let large = Large::new();
    assert!(large.block.len() * BLOCKS > 2 << 30);
    let dir = tempdir().unwrap();
    let grant = Grant::new(dir.path()).layout(Layout::Numbered).max_state(4 << 30).max_memory(16 << 20);
    // It reads all of it once before the first chunk, whatever else the machine does.
    let mut store = minisnap().open(grant.deadline(Duration::from_secs(600))).unwrap();
    let mut writer = store.open_writer(1).unwrap();
    writer.write_chunk(b"[").unwrap();
    for _ in 0..BLOCKS {
        writer.write_chunk(&large.block).unwrap();
    }
    writer.write_chunk(b"0]").unwrap();
    writer.commit().unwrap();

    let mut reader = store.open_reader().unwrap();
    let size = 1 + large.laid_out.len() * BLOCKS + "\n  0\n]".len();
    assert_eq!(reader.info().size, size as u64);
    let mut read = Vec::new();
    let mut expect = |expected: &[u8]| {
        while read.len() < expected.len() {
            let chunk = reader.read_chunk(1 << 20).unwrap();
            assert!(!chunk.is_empty());
            read.extend(chunk);
        }
        assert!(read.starts_with(expected));
        read.drain(..expected.len());
    };
    expect(b"[");
    for _ in 0..BLOCKS {
        expect(&large.laid_out);
    }
    expect(b"\n  0\n]");
    assert_eq!(reader.read_chunk(9).unwrap(), b"");
    drop(reader);
    assert!(store.peak_memory() < 8 << 20, "{} bytes", store.peak_memory());
    // As a whole it does not fit, which is an error and no trap.
    let refused = store.restore_text().unwrap_err();
    assert!(
        matches!(&refused, Error::Io(what) if what.to_string().contains("a reader returns it in pieces")),
        "{refused:?}"
    );
}

#[test]
fn the_command_line_streams_files_and_pipes() {
    let dir = tempdir().unwrap();
    let snapshots = dir.path().join("snapshots");
    let state = format!("[{}0]", "123456789,".repeat(1 << 20));
    let file = dir.path().join("state.json");
    fs::write(&file, &state).unwrap();
    for (seq, input, layout) in [("1", "file", "numbered"), ("2", "pipe", "numbered"), ("3", "stdin", "pair")]
    {
        let snapshots = snapshots.with_extension(layout);
        let mut create = cli();
        create.arg("create").arg(&snapshots).args(["--seq", seq, "--layout", layout]);
        let given = match input {
            "file" => run(create.arg(&file), ""),
            "pipe" => run(&mut create, &state),
            _ => run(create.arg("/dev/stdin"), &state),
        };
        let silent = Done { code: Some(0), stdout: String::new(), stderr: String::new() };
        assert_eq!(given, silent, "no progress where nobody looks on");
        let output = dir.path().join("restored.json");
        let restored = run(cli().arg("restore").arg(&snapshots).arg("--output").arg(&output), "");
        assert_eq!(restored.stderr, format!("seq {seq}\n"));
        let restored = fs::read_to_string(output).unwrap();
        assert!(restored.replace(['\n', ' '], "") == state);
        let piped = run(cli().arg("restore").arg(&snapshots), "");
        assert!(piped.stdout == restored);
    }
}

/// Runs the consumer with a history in `dir`.
fn consumer(dir: &Path, args: &[&str]) -> Done {
    let run_consumer = ["--layout", "numbered", "--keep", "2", "--"];
    run(cli().arg("run").arg(VERBS).arg("--grant").arg(dir).args(run_consumer).args(args), "")
}

#[test]
fn a_component_streams_lists_and_restores_generations() {
    let dir = tempdir().unwrap();
    let args = [
        "read-in 9",
        "stream 1 1 [\"é\"]",
        "stream 2 3 [2]",
        "create 3 [3]",
        "stream 2 9 [9]",
        "stream 4 2 [1,}",
        "list",
        "restore",
        "restore-at 2",
        "restore-at 1",
        "oldest-kept",
        "read-in 2",
        "abandon 4",
        "open-many 99",
        "create 4 [4]",
        "list",
    ];
    let args: Vec<&str> = args.iter().flat_map(|line| line.split(' ')).collect();
    let expected = [
        "none",
        "ok",
        "ok",
        "ok",
        "stale: 3",
        "invalid-state: line 1 column 4: `}` where a value is expected",
        "3 Soundness::Verified, 2 Soundness::Verified",
        "3 [3]",
        "2 [2]",
        "none",
        "2",
        "3 [3], 0 skipped",
        "Err(\"busy\") Err(\"busy\")",
        "16 readers, 112 bytes, then Some(\"busy\")",
        "ok",
        "4 Soundness::Verified, 3 Soundness::Verified",
    ];
    let done = consumer(dir.path(), &args);
    assert_eq!(done.stdout.lines().collect::<Vec<_>>(), expected, "{}", done.stderr);
    assert_eq!(done.code, Some(0));
    fs::write(dir.path().join("snapshot_00000000000000000004.json"), "").unwrap();
    let damaged = consumer(dir.path(), &["list", "read-in", "99"]);
    assert_eq!(damaged.stdout, "4 damaged, 3 Soundness::Verified\n3 [3], 1 skipped\n");
}

#[test]
fn what_a_component_has_open_is_kept_beside_the_newest_generations() {
    let dir = tempdir().unwrap();
    let done =
        consumer(dir.path(), &["create", "1", "\"first\"", "create-over", "1", "create", "9", "9", "list"]);
    let expected = "ok\n[true, true, true, true] [5, 4, 1] \"first\"\nok\n9 Soundness::Verified, 5 Soundness::Verified\n";
    assert_eq!(done.stdout, expected, "{}", done.stderr);
}

/// With less memory for data than the state is large, on the way in and out.
#[test]
fn the_command_line_needs_less_memory_than_the_state() {
    let dir = tempdir().unwrap();
    let script = "(echo '['; yes '123456789012345678,' | head -n 8000000; echo '1]') | \
                  prlimit --data=134217728 $0 create $1 --seq 1 --max-state 1GiB && \
                  prlimit --data=134217728 $0 restore $1 | wc -c";
    let done = run(
        std::process::Command::new("sh").args(["-c", script]).arg(minisnap_tests::binary()).arg(dir.path()),
        "",
    );
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), "seq 1\n"));
    assert_eq!(done.stdout.trim(), (1 + 8_000_000 * 22 + "\n  1\n]".len()).to_string());
}

#[test]
fn sixteen_readers_fit_into_the_memory_of_a_small_store() {
    let dir = tempdir().unwrap();
    let mut many = cli();
    many.arg("run").arg(VERBS).arg("--grant").arg(dir.path()).args(["--max-state", "1MiB", "--"]);
    let done = run(many.args(["create-large", "1", "1000000", "open-many", "99"]), "");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), "ok\n16 readers, 1584 bytes, then Some(\"busy\")\n"),
        "{done:?}"
    );
}

#[test]
fn a_component_that_ends_or_traps_with_a_writer_leaves_nothing() {
    let dir = tempdir().unwrap();
    assert_eq!(consumer(dir.path(), &["create", "1", "1"]).code, Some(0));
    let before = names(dir.path());
    for (end, code) in
        [(&["hold", "2"][..], 0), (&["hold", "2", "panic"], 11), (&["hold", "2", "exit", "1"], 1)]
    {
        let done = consumer(dir.path(), end);
        assert_eq!((done.code, done.stdout.as_str()), (Some(code), "held\n"), "{done:?}");
        assert_eq!(names(dir.path()), before, "{end:?}");
    }
}
