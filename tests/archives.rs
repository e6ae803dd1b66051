//! Copies through archives in the format of tar: whole, cut, odd, and without room.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use minisnap_host::Layout;
use minisnap_tests::copies::{assert_done, assert_refused, assert_same, copy, create, file, newest, store};
use minisnap_tests::{Done, cli, names, run, run_mounting, scratch, start};

/// An archive of a store, made by this command line with these arguments.
fn archive(dir: &Path, args: &[&str]) -> String {
    let done = run(cli().arg("copy").arg(dir).arg("-").args(args), "");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

fn unpack(archive: &str, to: &Path, args: &[&str]) -> Done {
    run(cli().args(["copy", "-"]).arg(to).args(args), archive)
}

fn tar(args: &[&str], dir: &Path, input: &str) -> String {
    let done = run(Command::new("tar").arg("-C").arg(dir).args(args), input);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

#[test]
fn an_archive_holds_the_files_as_they_are_for_tar_and_from_tar() {
    for (layout, seqs) in [(Layout::Pair, &[3][..]), (Layout::Numbered, &[1, 2, 3])] {
        let dir = scratch();
        let path = |name: &str| dir.path().join(name);
        create(&path("from"), layout, seqs, "");
        // An archive has whole seconds.
        for name in names(&path("from")) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            fs::File::options()
                .write(true)
                .open(path("from").join(name))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        let archive = archive(&path("from"), &["--all"]);
        fs::create_dir(path("tar")).unwrap();
        tar(&["-x"], &path("tar"), &archive);
        assert_same(&path("from"), &path("tar"));
        assert_eq!(unpack(&archive, &path("to"), &["--all"]).code, Some(0));
        assert_same(&path("from"), &path("to"));
        // Of tar's own, what is in folders is left out.
        fs::create_dir(path("tar").join("agent-7")).unwrap();
        fs::write(path("tar").join("agent-7/snapshot.json"), "1").unwrap();
        for what in [&["-c", "."][..], &["-c", "--format=pax", "."]] {
            let made = tar(what, &path("tar"), "");
            let to = path(&what.len().to_string());
            let done = unpack(&made, &to, &["--all"]);
            assert_eq!((done.code, done.stdout.lines().count()), (Some(0), seqs.len()), "{done:?}");
            assert!(
                done.stderr.contains("folders are not copied") && done.stderr.contains("agent-7"),
                "{done:?}"
            );
            assert_same(&path("from"), &to);
        }
        // From one archive to another, in another layout; what was done is told beside it.
        let other = run(cli().args(["copy", "-", "-", "--layout", "pair"]), &archive);
        assert_eq!((other.code, other.stderr.as_str()), (Some(0), "copied 3\n"));
        assert_done(&unpack(&other.stdout, &path("pair"), &[]), "copied 3\n");
        assert_eq!(newest(&path("pair")), newest(&path("from")));
    }
}

#[test]
fn an_archive_that_is_cut_or_odd_is_refused_and_nothing_is_copied() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    create(&path("from"), Layout::Pair, &[3], "");
    create(&path("to"), Layout::Pair, &[1], "old");
    let before = newest(&path("to"));
    let whole = archive(&path("from"), &[]);
    let ends = whole.trim_end_matches('\0').len();
    for cut in (0..whole.len()).step_by(256).chain([ends, ends + 1]) {
        let done = unpack(&whole[..cut], &path("to"), &[]);
        if done.code == Some(0) {
            // Its end is there, if not the whole of its last record.
            assert!(cut > ends + 512, "{cut}: {done:?}");
            fs::remove_dir_all(path("to")).unwrap();
            create(&path("to"), Layout::Pair, &[1], "old");
            continue;
        }
        assert_refused(&done, 10, "standard input cannot be unpacked: ");
        assert_eq!(newest(&path("to")), before, "{cut}");
    }
    for odd in ["not an archive", &"x".repeat(4096)] {
        assert_refused(&unpack(odd, &path("to"), &[]), 10, "not compressed");
    }
    // A link's content is elsewhere, in the archive or not.
    fs::create_dir(path("odd")).unwrap();
    std::os::unix::fs::symlink(path("from").join("snapshot.json"), path("odd").join("snapshot.json"))
        .unwrap();
    fs::write(path("odd").join("snapshot.seq"), "9").unwrap();
    assert_refused(
        &unpack(&tar(&["-c", "."], &path("odd"), ""), &path("to"), &[]),
        10,
        "`./snapshot.json` is a symlink",
    );
    fs::remove_file(path("odd").join("snapshot.json")).unwrap();
    fs::hard_link(path("odd").join("snapshot.seq"), path("odd").join("snapshot.json")).unwrap();
    let linked = tar(&["-c", "snapshot.seq", "snapshot.json"], &path("odd"), "");
    assert_refused(&unpack(&linked, &path("to"), &[]), 10, "--hard-dereference");
    let twice = tar(&["-c", "snapshot.seq", "--hard-dereference", "snapshot.seq"], &path("odd"), "");
    assert_refused(&unpack(&twice, &path("to"), &[]), 10, "`snapshot.seq` is in it twice");
    for outside in ["--transform=s,^,../,", "--transform=s,^,/,"] {
        let outside = tar(&["-c", "-P", outside, "snapshot.seq"], &path("odd"), "");
        assert_refused(&unpack(&outside, &path("to"), &[]), 10, "leads out of the archive");
    }
    assert!(!path("snapshot.seq").exists());
    assert_eq!(newest(&path("to")), before);
}

/// A header as tar has it, of a file of this type and size, at this time.
fn header(name: &str, kind: char, size: usize, modified: &str) -> String {
    let field = |text: &str, size: usize| format!("{text:\0<size$}");
    let start = field(name, 100) + &field("0000600", 8) + &field("", 8) + &field("", 8);
    let start = start + &field(&format!("{size:011o}"), 12) + &field(modified, 12);
    let end = field(&kind.to_string(), 1) + &field("", 100) + &field("ustar  ", 255);
    let sum: u32 = format!("{start}        {end}").bytes().map(u32::from).sum();
    format!("{start}{sum:06o}\0 {end}")
}

fn member(name: &str, kind: char, contents: &str) -> String {
    let padding = "\0".repeat(contents.len().next_multiple_of(512) - contents.len());
    header(name, kind, contents.len(), "00000000000") + contents + &padding
}

#[test]
fn an_archive_of_zeros_times_or_headers_that_nobody_expects_is_read_right() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    create(&path("from"), Layout::Numbered, &[1], "");
    let state = fs::read_to_string(path("from").join(file(1))).unwrap();
    let end = "\0".repeat(1024);
    let plain = member(&file(1), '0', &state);
    // As after a power cut: its zeros are no end of the archive.
    let zeros = member(&file(2), '0', &"\0".repeat(1024));
    assert_refused(&unpack(&(plain.clone() + &zeros), &path("to"), &[]), 10, "cut short");
    let done = unpack(&(plain.clone() + &zeros + &end), &path("to"), &[]);
    assert!(done.code == Some(0) && done.stderr.contains("snapshot 2 is damaged"), "{done:?}");
    // Before 1970, or at no time at all.
    for time in ["\u{7f}", "77777777777", "nothing"] {
        let odd = header(&file(1), '0', state.len(), time) + &plain[512..] + &end;
        let to = path(&time.len().to_string());
        assert_done(&unpack(&odd, &to, &[]), "copied 1\n");
    }
    // Names that take a gigabyte are not kept in memory.
    let long = member("././@LongLink", 'L', &"x".repeat(4 << 20));
    for odd in [long.clone() + &plain + &end, plain.clone() + &long + &plain + &end] {
        assert_refused(&unpack(&odd, &path("long"), &[]), 10, "headers are too large");
    }
    let global = member("pax_global_header", 'g', "11 a=bcdef\n");
    assert_done(&unpack(&(global + &plain + &end), &path("global"), &[]), "copied 1\n");
    let nothing = unpack(&(member("notes/a.txt", '0', "a") + &end), &path("none"), &[]);
    assert_refused(&nothing, 1, "tar -C DIR -c .");
    assert!(!path("none").exists());
}

/// It is no archive any more: its reader must not take what came for all.
#[test]
fn an_archive_whose_writer_was_ended_is_refused() {
    let (dir, temporary) = (scratch(), scratch());
    let mut store = store(&dir.path().join("from"), Layout::Numbered);
    for seq in 1..=40 {
        store.create_text(&format!("\"{}\"", "x".repeat(100_000)), seq).unwrap();
    }
    drop(store);
    let mut command = cli();
    command.arg("copy").arg(dir.path().join("from")).args(["-", "--all"]).env("TMPDIR", temporary.path());
    let mut child = start(&mut command);
    let mut archive = vec![0; 512];
    let mut output = child.stdout.take().unwrap();
    // It waits for its reader.
    output.read_exact(&mut archive).unwrap();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    thread::sleep(Duration::from_millis(200));
    output.read_to_end(&mut archive).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(names(temporary.path()), [""; 0]);
    let archive = String::from_utf8(archive).unwrap();
    assert_refused(&unpack(&archive, &dir.path().join("to"), &["--all"]), 10, "cannot be unpacked");
}

#[test]
fn a_folder_of_temporary_files_without_room_is_named() {
    let dir = scratch();
    create(&dir.path().join("from"), Layout::Numbered, &[1], &"x".repeat(200_000));
    let archive = archive(&dir.path().join("from"), &[]);
    fs::create_dir(dir.path().join("tmp")).unwrap();
    let mounted = "cd $2; mount -t tmpfs -o size=100k none tmp; export TMPDIR=$2/tmp;";
    for (copy, what) in
        [("$1 copy from -", "/tmp`: cannot write"), ("$1 copy - to", "/tmp` has no room for the archive")]
    {
        let full = run_mounting(&format!("{mounted} {copy}"), dir.path(), &archive);
        assert_refused(&full, 7, what);
    }
    assert_done(&copy(&dir.path().join("from"), &dir.path().join("must"), &["--dry-run"]), "would copy 1\n");
    let told = run(cli().arg("copy").arg(dir.path().join("from")).args(["-", "--must-exist"]), "");
    assert_eq!(told.code, Some(0), "{}", told.stderr);
}

#[test]
fn what_an_archive_was_unpacked_to_is_gone_after_a_signal() {
    let (dir, temporary) = (scratch(), scratch());
    let mut command = cli();
    command.args(["copy", "-"]).arg(dir.path().join("to")).env("TMPDIR", temporary.path());
    let mut child = start(&mut command);
    // It stays open.
    let _input = child.stdin.take();
    let deadline = Instant::now() + Duration::from_secs(60);
    while names(temporary.path()).first().is_none_or(|name| names(&temporary.path().join(name)).is_empty()) {
        assert!(Instant::now() < deadline, "nothing is unpacked");
        thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").arg(child.id().to_string()).stdout(Stdio::null()).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(names(temporary.path()), [""; 0]);
    assert!(!dir.path().join("to").exists());
}
