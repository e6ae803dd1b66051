//! What the command line writes to a file: never a file of a snapshot, and an output is whole or as it was.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use minisnap_tests::failing_calls::first_call;
use minisnap_tests::{Done, binary, cli, names, run, run_mounting};
use tempfile::{TempDir, tempdir};

/// What `restore` prints of the state that is stored.
pub(crate) const STATE: &str = "[\n  1\n]";

/// What the files held before.
const OLD: &str = "what was there";

/// A folder with the snapshots `s` in it.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self::with("[1]", "pair")
    }

    fn with(state: &str, layout: &str) -> Self {
        let place = Place(tempdir().unwrap());
        let mut create = cli();
        create.arg("create").arg(place.path("s")).args(["--seq", "1", "--layout", layout]);
        assert_eq!(run(&mut create, state).code, Some(0));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn size(&self, name: &str) -> usize {
        fs::metadata(self.path(name)).unwrap().len() as usize
    }

    /// The names in a folder of it.
    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        run(cli().args(args).current_dir(self.0.path()), "")
    }

    /// Runs a shell script in it. `$1` is the command line's binary.
    pub(crate) fn sh(&self, script: &str) -> Done {
        let script = format!("set -e; {script}");
        run(Command::new("sh").args(["-c", &script, "sh"]).arg(binary()).current_dir(self.0.path()), "")
    }

    /// Restores to `output`, whose folder has nothing else in the end.
    #[track_caller]
    fn restores_to(&self, output: &str) {
        let done = self.run(&["restore", "s", "-o", output]);
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (Some(0), "", "seq 1\n"),
            "{output}"
        );
    }

    /// Neither verb writes to `output`, nor leaves anything in the snapshots.
    #[track_caller]
    fn refuses(&self, output: &str) {
        let before = self.names("s");
        for verb in [&["restore", "s"][..], &["restore", "s", "--json"], &["component"]] {
            assert_refused(&self.run(&[verb, &["-o", output]].concat()));
        }
        assert_eq!(self.names("s"), before, "{output}");
        assert_eq!(self.run(&["verify", "s"]).code, Some(0), "{output}");
    }
}

#[track_caller]
fn assert_refused(done: &Done) {
    assert_eq!((done.code, done.stdout.as_str()), (Some(10), ""), "{done:?}");
    assert!(done.stderr.contains("is in a directory of snapshots"), "{done:?}");
}

// Snapshots are never written.

#[test]
fn no_link_makes_an_output_of_a_file_of_a_snapshot() {
    for (layout, file) in [("pair", "snapshot.json"), ("numbered", "snapshot_00000000000000000001.json")] {
        let place = Place::with("[1]", layout);
        fs::create_dir(place.path("links")).unwrap();
        symlink(format!("../s/{file}"), place.path("links/file")).unwrap();
        symlink("../s/new", place.path("links/nothing-yet")).unwrap();
        symlink("file", place.path("links/link")).unwrap();
        symlink("../s", place.path("links/folder")).unwrap();
        symlink(place.path("links/folder"), place.path("links/far")).unwrap();
        for output in ["file", "nothing-yet", "link", "folder/new", "far/new", "../s/new", "../s/../s/new"] {
            place.refuses(&format!("links/{output}"));
        }
        place.refuses(&format!("s/{file}"));
    }
}

#[test]
fn no_mount_makes_an_output_of_a_file_of_a_snapshot() {
    let place = Place::new();
    for folder in ["mounted", "mounted-below", "s/below"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    fs::write(place.path("mounted-file"), "").unwrap();
    let script = "cd $2; mount --bind s mounted; mount --bind s/below mounted-below; \
                  mount --bind s/snapshot.json mounted-file; \
                  for output in mounted/snapshot.json mounted/new mounted/below/new mounted-below/new mounted-file; do \
                  $1 restore s --json -o $output 2>/dev/null && echo $output; done; \
                  for output in mounted/snapshot.json mounted/new mounted-file; do \
                  $1 component -o $output 2>/dev/null && echo $output; done; \
                  cat s/snapshot.json; find . -name '.minisnap*' -o -name new";
    let done = run_mounting(&script.replace("2>/dev/null &&", "2>>told &&"), place.0.path(), "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), STATE), "{done:?}");
    assert_eq!(
        place.read("told").matches("is in a directory of snapshots").count(),
        6,
        "{}",
        place.read("told")
    );
}

#[test]
fn an_output_is_refused_beside_the_files_of_any_store() {
    let place = Place::new();
    for layout in ["pair", "numbered"] {
        let mut create = cli();
        create.arg("create").arg(place.path(layout)).args(["--seq", "1", "--layout", layout]);
        assert_eq!(run(&mut create, "2").code, Some(0));
        for output in ["snapshot.json", "new"] {
            place.refuses(&format!("{layout}/{output}"));
        }
        assert_eq!(place.run(&["restore", layout]).stdout, "2");
    }
    // Nor beside those of a later version, whatever these are called.
    fs::create_dir(place.path("later")).unwrap();
    fs::write(place.path("later/snapshot.layout"), "2\n").unwrap();
    assert_refused(&place.run(&["restore", "s", "-o", "later/new"]));
    assert_eq!(place.names("later"), ["snapshot.layout"]);
    // A file of that name alone is no snapshot.
    fs::create_dir(place.path("out")).unwrap();
    for _ in 0..2 {
        place.restores_to("out/snapshot.json");
    }
}

#[test]
fn what_the_shell_opened_in_a_snapshot_is_not_written() {
    for layout in ["pair", "numbered"] {
        let place = Place::with("[1]", layout);
        let file = place.names("s")[0].clone();
        for restore in ["restore s", "restore s -o /dev/stdout", "restore s -o /dev/fd/1", "component"] {
            assert_refused(&place.sh(&format!("$1 {restore} >> s/{file}")));
        }
        assert_refused(&place.sh(&format!("$1 restore s -o /dev/fd/3 3>> s/{file}")));
        assert_eq!(place.run(&["verify", "s"]).code, Some(0));
        assert_eq!(place.run(&["restore", "s"]).stdout, STATE);
    }
}

// An output is whole, or what it was.

#[test]
fn a_link_stays_a_link_also_where_it_leads_to_nothing_yet() {
    let place = Place::new();
    fs::create_dir(place.path("out")).unwrap();
    symlink("out/file", place.path("link")).unwrap();
    for _ in 0..2 {
        place.restores_to("link");
        assert!(place.path("link").is_symlink() && !place.path("out/file").is_symlink());
        assert_eq!((place.read("out/file").as_str(), place.names("out")), (STATE, vec!["file".to_owned()]));
        fs::write(place.path("out/file"), OLD).unwrap();
    }
    symlink("round", place.path("round")).unwrap();
    assert_eq!(place.run(&["restore", "s", "-o", "round"]).code, Some(10));
}

#[test]
fn what_is_replaced_keeps_its_mode_and_its_owner() {
    let place = Place::new();
    for mode in [0o600, 0o640, 0o444, 0o666] {
        let file = place.path("file");
        fs::write(&file, OLD).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        // Only root may, and only of users that there are.
        let _ = std::os::unix::fs::chown(&file, Some(12), Some(34));
        let before = fs::metadata(&file).unwrap();
        place.restores_to("file");
        let after = fs::metadata(&file).unwrap();
        assert_eq!(
            (after.mode(), after.uid(), after.gid()),
            (before.mode(), before.uid(), before.gid()),
            "{mode:o}"
        );
        assert_eq!(place.read("file"), STATE);
        fs::remove_file(file).unwrap();
    }
    let umask = place.sh("umask 027; $1 restore s -o new; stat -c %a new 2>/dev/null || stat -f %Lp new");
    assert_eq!(umask.stdout, "640\n", "{umask:?}");
}

#[test]
fn what_is_open_already_is_written_where_it_is() {
    let place = Place::new();
    for (output, redirection) in [
        ("/dev/stdout", ">> log"),
        ("/dev/fd/1", ">> log"),
        ("/dev/stderr", "2>> log"),
        ("/proc/self/fd/3", "3>> log"),
    ] {
        fs::write(place.path("log"), "before\n").unwrap();
        let inode = fs::metadata(place.path("log")).unwrap().ino();
        let done = place.sh(&format!("$1 restore s --json -o {output} {redirection}; echo after >> log"));
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""), "{output}: {done:?}");
        let expected = format!("before\n{{\"seq\":1,\"state\":{STATE}}}\nafter\n");
        assert_eq!(place.read("log"), expected, "{output}");
        assert_eq!(fs::metadata(place.path("log")).unwrap().ino(), inode, "{output} was replaced");
    }
    // What has no append flag goes on at its offset.
    let done = place.sh("{ echo before; $1 restore s -o /dev/fd/3; echo; echo after; } 3>log >&3");
    assert_eq!((done.code, place.read("log")), (Some(0), format!("before\n{STATE}\nafter\n")));
}

#[test]
fn a_pipe_or_a_device_is_written_to_and_stays() {
    let place = Place::new();
    let done = place.sh("mkfifo pipe; cat pipe & $1 restore s -o pipe; wait; test -p pipe");
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), STATE, "seq 1\n"));
    let done = place.sh("$1 restore s -o /dev/stdout | cat; $1 restore s -o /dev/null; test -c /dev/null");
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), STATE, "seq 1\nseq 1\n"));
}

/// How long the large state is in bytes: many writes.
const LARGE: usize = 1 << 20;

/// A place with a large state, and with a file that it is to replace.
fn large() -> Place {
    let place = Place::with(&format!("\"{}\"", "x".repeat(LARGE - 2)), "pair");
    fs::create_dir(place.path("out")).unwrap();
    fs::write(place.path("out/file"), OLD).unwrap();
    place
}

/// How an output is made that is interrupted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// On a file system with files that have no name.
    ThisFileSystem,
    /// On one without, where the temporary file needs a name.
    OneThatNeedsNames,
}

/// Restores to `out/file`, sends the signal in the middle of that, and returns how the program ended.
fn interrupt(place: &Place, on: On, signal: &str, shell: &str) -> ExitStatus {
    let mut restore = cli();
    restore.arg("restore").arg(place.path("s")).arg("-o").arg(place.path("out/file"));
    let injected = match on {
        On::ThisFileSystem => None,
        On::OneThatNeedsNames => {
            let at = first_call(&restore, "openat", "O_TMPFILE");
            Some(format!("inject=openat:error=EOPNOTSUPP:when={at}"))
        }
    };
    fs::write(place.path("out/file"), OLD).unwrap();
    let mut strace = Command::new("sh");
    strace.args(["-c", &format!("{shell} exec \"$@\""), "sh", "strace", "-f", "-qq", "-o", "/dev/null"]);
    // Slow enough for a signal to come in time.
    strace.args(["-e", "trace=openat,write", "-e", "inject=write:delay_enter=50000:when=4+"]);
    strace.args(injected.iter().flat_map(|injected| ["-e", injected]));
    let mut strace = strace.arg(binary()).args(restore.get_args()).stderr(Stdio::null()).spawn().unwrap();

    let folder = fs::canonicalize(place.path("out")).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", strace.id());
    let patience = Instant::now() + Duration::from_secs(60);
    let process = loop {
        let ended = strace.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < patience, "it never wrote: {ended:?}");
        let process = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        let mut files = files.filter_map(|file| fs::read_link(file.path()).ok());
        if files.any(|file| file.starts_with(&folder) && file != folder) {
            break process;
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(run(Command::new("kill").args([&format!("-{signal}"), &process]), "").code, Some(0));
    strace.wait().unwrap()
}

/// Each of these signals ends the program as it ends others, and leaves the file as it was.
#[track_caller]
fn assert_interrupted(on: On) {
    let place = large();
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        // Whoever started this program may have told it to ignore them, as `nohup` does.
        let ended = interrupt(&place, on, signal, "set -- env --default-signal \"$@\";");
        assert_eq!(ended.signal(), Some(number), "{signal}");
        assert_eq!((place.names("out"), place.size("out/file")), (vec!["file".to_owned()], OLD.len()));
    }
    assert_eq!(place.read("out/file"), OLD);
}

#[test]
fn an_interrupted_output_leaves_the_old_file_and_nothing_else() {
    assert_interrupted(On::ThisFileSystem);
}

#[test]
fn where_a_file_needs_a_name_an_interrupted_output_removes_it() {
    assert_interrupted(On::OneThatNeedsNames);
}

#[test]
fn a_signal_that_is_ignored_does_not_end_an_output() {
    let place = large();
    for on in [On::ThisFileSystem, On::OneThatNeedsNames] {
        assert!(interrupt(&place, on, "HUP", "trap '' HUP;").success());
        assert_eq!((place.names("out"), place.size("out/file")), (vec!["file".to_owned()], LARGE));
    }
}

#[test]
fn an_output_that_fails_leaves_the_old_file_and_nothing_else() {
    let place = Place::new();
    fs::create_dir(place.path("out")).unwrap();
    fs::write(place.path("out/file"), OLD).unwrap();
    for args in
        [&["restore", "missing"][..], &["restore", "s", "--seq", "7"], &["restore", "s", "--max-state", "2"]]
    {
        let done = place.run(&[args, &["-o", "out/file"]].concat());
        assert!(matches!(done.code, Some(1 | 5)), "{done:?}");
    }
    // The file is to be larger than the limit on files.
    let place_large = large();
    let limited = place_large.sh("ulimit -f 1000; $1 restore s -o out/file");
    assert_eq!(limited.code, Some(10), "{limited:?}");
    for place in [place, place_large] {
        assert_eq!((place.names("out"), place.read("out/file")), (vec!["file".to_owned()], OLD.to_owned()));
    }
}
