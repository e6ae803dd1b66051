//! The command line's messages: each names what it is about, on one line, and says what to do next.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_host::{Error, Grant, Layout};
use minisnap_tests::{Done, VERBS, binary, cli, minisnap, run, run_mounting};
use tempfile::{TempDir, tempdir};

fn run_in(folder: &Path, args: &[&str]) -> Done {
    run(cli().args(args).current_dir(folder), "")
}

#[test]
fn a_message_names_its_directory_whatever_that_is_called() {
    let folder = tempdir().unwrap();
    for name in ["a", "snapshot", "there is no snapshot yet"] {
        let shown = if name.contains(' ') { format!("'{name}'") } else { name.to_owned() };
        for verb in ["restore", "list", "info", "verify"] {
            let done = run_in(folder.path(), &[verb, name]);
            let message = format!(
                "error: `{name}`: there is no snapshot yet\n  \
                 help: make one: minisnap create {shown} --seq 0 state.json\n"
            );
            assert_eq!((done.code, done.stderr), (Some(1), message), "{verb}");
        }
    }
    fs::write(folder.path().join("a"), "").unwrap();
    let done = run_in(folder.path(), &["restore", "a"]);
    assert!(
        done.stderr.starts_with("error: `a`: ") && done.stderr.contains("is not a directory"),
        "{done:?}"
    );
    let done = run_in(folder.path(), &["create", "s", "--seq", "1", "no"]);
    assert!(done.stderr.starts_with("error: `no`: cannot read: No such file"), "{done:?}");
}

#[test]
fn a_name_in_a_message_is_shown_without_what_a_terminal_obeys() {
    let folder = tempdir().unwrap();
    let name = "x\x1b[31m\nerror: y\r";
    fs::write(folder.path().join(name), "").unwrap();
    for args in [&["restore", name][..], &["restore", "s", "-o", name], &["create", name, "--seq", "1", name]]
    {
        let told = run_in(folder.path(), args).stderr;
        assert!(told.starts_with("error: ") && told.lines().count() == 2, "{told:?}");
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }
    // Nor in a warning, or in what is printed of a grants file.
    let manifest = "name = \"app\"\nversion = \"1.0.0\"\nimports = [\"wasi:cli/stdin@0.2.0\"]\n";
    fs::create_dir(folder.path().join("x\x1b[32m")).unwrap();
    fs::write(folder.path().join("x\x1b[32m/app.wasm"), "").unwrap();
    fs::write(folder.path().join("x\x1b[32m/app.component.toml"), manifest).unwrap();
    let warned = run_in(folder.path(), &["run", "x\x1b[32m/app.wasm", "--grant", "s"]).stderr;
    assert!(warned.starts_with("warning: `app` gets no snapshots: `"), "{warned:?}");
    fs::write(folder.path().join("grants.toml"), "root = \"x\\u001b[33m\"\n").unwrap();
    let table = run_in(folder.path(), &["grants", "check", "grants.toml"]).stdout;
    for told in [warned, table] {
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }
    let missing = run_in(folder.path(), &["list", "\x1b[2J"]).stderr;
    assert!(missing.starts_with("error: `\\u{1b}[2J`: there is no snapshot yet\n"), "{missing:?}");
}

#[test]
fn for_programs_a_directory_without_snapshots_is_an_empty_list() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let nothing = "{\"generations\":[],\"layout\":null,\"set-aside\":[],\"undone\":[]}\n";
    for dir in ["empty", "missing"] {
        let list = run_in(folder.path(), &["list", dir, "--json"]);
        assert_eq!((list.code, list.stdout.as_str(), list.stderr.as_str()), (Some(0), nothing, ""));
        let verify = run_in(folder.path(), &["verify", dir, "--json"]);
        assert_eq!((verify.code, verify.stdout.as_str()), (Some(1), nothing));
        for verb in ["list", "verify"] {
            let done = run_in(folder.path(), &[verb, dir]);
            assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// How the command line meets an error, and what it says then.
struct Case {
    /// A shell script that ends with the failure. It runs in the folder of [`folder`]; `$1` is the binary.
    script: &'static str,
    /// Whether the script mounts a file system on `mounted`, as root of namespaces of its own.
    mounts: bool,
    /// What the message starts with.
    subject: &'static str,
    /// What stands in it.
    what: &'static str,
    /// What the line of help starts with.
    help: &'static str,
}

const fn case(script: &'static str, subject: &'static str, what: &'static str, help: &'static str) -> Case {
    Case { script, mounts: false, subject, what, help }
}

const fn mounting(
    script: &'static str,
    subject: &'static str,
    what: &'static str,
    help: &'static str,
) -> Case {
    Case { script, mounts: true, subject, what, help }
}

/// What the scripts find: the pair `s` and the history `n`, states, components, grants files, and an empty folder.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    let path = |name| folder.path().join(name);
    for (dir, layout) in [("s", Layout::Pair), ("n", Layout::Numbered)] {
        let mut store = minisnap().open(Grant::new(path(dir)).layout(layout)).unwrap();
        (1..=2).for_each(|seq| store.create_text("{}", seq).unwrap());
    }
    fs::create_dir(path("mounted")).unwrap();
    for (name, text) in [
        ("state.json", "[1,2,3,4]"),
        ("wrong.json", "{\"a\":\n NaN}"),
        ("text.wasm", "no WebAssembly"),
        ("wrong.toml", "rot = 1\n"),
        ("right.toml", "root = \"root\"\n"),
        ("pinned.toml", PINNED),
        ("tee.component.toml", TEE),
    ] {
        fs::write(path(name), text).unwrap();
    }
    for name in ["verbs.wasm", "verbs@1.0.0.wasm", "tee.wasm"] {
        std::os::unix::fs::symlink(VERBS, path(name)).unwrap();
    }
    folder
}

const PINNED: &str = "root = \"root\"\n[components.verbs]\ndigest = \
    \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";
const TEE: &str = "name = \"tee\"\nversion = \"1.0.0\"\n[capabilities.security]\nrequires_tee = true\n\
    allowed_syscalls = []\n";

/// A user who may do nothing that the mode does not allow: root may do anything, unless it gives that up.
const POWERLESS: &str = "exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all \"$1\"";

/// An example of each error, the exit code that is documented, and the ways to meet it.
macro_rules! errors {
    ($($pattern:pat = $example:expr => $code:literal, $cases:expr;)*) => {
        fn cases_of(error: &Error) -> (i32, Vec<Case>) {
            match error {
                $($pattern => ($code, $cases.into()),)*
                other => panic!("no example of {other:?}"),
            }
        }

        fn every_error() -> Vec<Error> {
            vec![$($example),*]
        }
    };
}

errors! {
    Error::NotFound = Error::NotFound => 1, [
        case("$1 restore none", "`none`", "there is no snapshot yet", "make one: minisnap create none"),
        case("$1 list mounted", "`mounted`", "there is no snapshot yet", "make one: minisnap create mounted"),
        case("$1 info none", "`none`", "there is no snapshot yet", "make one"),
        case("$1 verify none", "`none`", "there is no snapshot yet", "make one"),
        case("$1 restore n --seq 7", "`n`",
             "no snapshot of this number", "see which there are: minisnap list n"),
    ];
    Error::InvalidState(_) = Error::InvalidState(String::new()) => 3, [
        case("$1 create s --seq 3 wrong.json", "`wrong.json`",
             "line 2 column 2: `N` where", "correct the state"),
        case("$1 create s --seq 3", "standard input", "line 1 column 1: the text ends", "correct the state"),
    ];
    Error::Stale(_) = Error::Stale(0) => 4, [
        case("$1 create s --seq 1 state.json", "`s`", "the stored snapshot's, which is 2", "give --seq 2"),
        case("$1 create n --seq 1 state.json", "`n`", "the stored snapshot's, which is 2", "give --seq 2"),
    ];
    Error::TooLarge(_) = Error::TooLarge(0) => 5, [
        case("$1 create s --seq 3 state.json --max-state 8", "`state.json`",
             "the state of 9 bytes is larger than the limit of 8 bytes\n", "give --max-state"),
        case("$1 create s --seq 3 state.json --max-state 9", "`state.json`",
             "the state of 9 bytes is larger than the limit of 9 bytes as it is stored, with its indentation\n",
             "give --max-state"),
        case("cat state.json | $1 create n --seq 3 --max-state 8", "standard input",
             "the state is larger than the limit of 8 bytes\n", "give --max-state"),
        case("cat state.json | $1 create n --seq 3 --max-state 9", "standard input",
             "the state is larger than the limit of 9 bytes as it is stored, with its indentation\n",
             "give --max-state"),
        case("$1 restore s --max-state 1", "`s`", "the state of 2 bytes is larger than", "give --max-state"),
    ];
    Error::Corrupt(_) = Error::Corrupt(String::new()) => 6, [
        case("echo 1 > s/snapshot.json; $1 restore s", "`s`",
             "damaged: `snapshot.json` is not what", "copy the directory"),
        case("sed -i 's/$/\\r/' s/*; $1 info s", "`s`",
             "CRLF line ends, as git's `autocrlf` makes them", "copy"),
        case("gzip -c s/snapshot.json > x; cat x > s/snapshot.json; $1 verify s", "`s`",
             "is gzip data", "copy"),
        case(": > s/snapshot.seq; $1 create s --seq 3 state.json", "`s`", "`snapshot.seq` is empty", "copy"),
        case("for f in n/*; do : > $f; done; $1 restore n", "`n`",
             "`snapshot_00000000000000000002.json` is empty", "copy"),
        case("gzip n/*; $1 create n --seq 3 state.json", "`n`", ".json.gz` looks like one: unpack", "copy"),
    ];
    Error::NoSpace(_) = Error::NoSpace(String::new().into()) => 7, [
        case("$1 create s --seq 3 state.json --max-total 300", "`s`",
             "the directory may hold 300 bytes, of which", "free space on that disk: df -h s; or give a larger --max-total"),
        case("$1 create n --seq 3 state.json --max-total 176", "`n`",
             "the directory may hold 176 bytes, of which", "free space on that disk: df -h n; or give a larger --max-total"),
        mounting("yes 1, | head -c 900000 > x; (echo [; cat x; echo 1]) | $1 create mounted --seq 1", "`mounted`",
                 "cannot write `snapshot.json.new`: No space left on device", "free space on that disk: df -h mounted"),
        // The disk has less room than the limit leaves, or more.
        mounting(
            "head -c 200000 /dev/zero > mounted/x; yes 1, | head -c 900000 > x; (echo [; cat x; echo 1]) | \
             $1 create mounted --seq 1 --max-total 750000",
            "`mounted`", "cannot write `snapshot.json.new`: No space left on device",
            "free space on that disk: df -h mounted; or give a larger --max-total"),
        mounting(
            "head -c 200000 /dev/zero > mounted/x; yes 1, | head -c 900000 > x; (echo [; cat x; echo 1]) | \
             $1 create mounted --seq 1 --max-total 500000",
            "`mounted`", "the directory may hold 500000 bytes, of which 2",
            "free space on that disk: df -h mounted; or give a larger --max-total, or move files away"),
    ];
    Error::AccessDenied(_) = Error::AccessDenied(String::new().into()) => 8, [
        mounting("chmod 0 s; POWERLESS restore s", "`s`",
                 "cannot list `.`: Permission denied", "see who may read and write: namei -l s; ls -la s"),
        mounting("chmod 0 s/snapshot.json; POWERLESS restore s", "`s`",
                 "`snapshot.json`: Permission denied", "see who"),
        mounting("chmod 0 n/snapshot_00000000000000000002.json; POWERLESS create n --seq 2 state.json", "`n`",
                 "cannot read `snapshot_00000000000000000002.json`: Permission denied", "see who"),
        mounting("chmod 500 s; POWERLESS create s --seq 3 state.json", "`s`",
                 "/s`: Permission denied", "see who"),
        mounting("chmod 500 mounted; POWERLESS create mounted/a/b --seq 3 state.json", "`mounted/a/b`",
                 "cannot make the directory `", "see who may read and write: namei -l mounted/a/b"),
        mounting("mkdir mounted/a; chmod 0 mounted; POWERLESS restore mounted/a", "`mounted/a`",
                 "/mounted/a`: Permission denied", "see who"),
        mounting("mount -o remount,ro mounted; $1 create mounted --seq 3 state.json", "`mounted`",
                 "/mounted`: Read-only file system", "see who"),
    ];
    // The test holds the directory.
    Error::Busy(_) = Error::Busy(String::new()) => 9, [
        case("$1 create held --seq 3 state.json", "`held`",
             "/held` is in use by process ", "wait, or see which process it is: fuser -v held"),
    ];
    // The command line opens directories, and no names.
    Error::InvalidName(_) = Error::InvalidName(String::new()) => 2, [];
    Error::Io(_) = Error::Io(String::new().into()) => 10, [
        case("$1 restore state.json", "`state.json`", "is not a directory", "fix the cause"),
        case("$1 create none --must-exist --seq 3 state.json", "`none`",
             "must exist: mount it, or make it", "fix the cause"),
        case("cp n/* s; $1 restore s", "`s`",
             "two layouts, `snapshot.json` and `snapshot_0", "fix the cause"),
        case("$1 create s --seq 3 none", "`none`", "cannot read: ", "check the path and retry"),
        case("$1 create s --seq 3 mounted", "`mounted`", "cannot read: ", "fix the cause"),
        case("$1 restore s -o none/x", "`none/x`", "cannot write: ", "check the path and retry"),
        case("$1 restore s > /dev/full", "standard output", "cannot write: ", "fix the cause"),
        case("$1 restore s >&-", "standard output", "cannot write: ", "fix the cause"),
    ];
    // Of `minisnap run` alone, whose component gets them.
    Error::DeadlineExceeded(_) = Error::DeadlineExceeded(String::new()) => 10, [];
    Error::DirectoryReplaced(_) = Error::DirectoryReplaced(String::new()) => 10, [];
    Error::StreamEnded(_) = Error::StreamEnded(String::new()) => 10, [];
    // `tests/faults.rs` meets it.
    Error::InDoubt(_) = Error::InDoubt(String::new()) => 10, [];
    // The command line restores states as text, of any type.
    Error::OtherType(_) = Error::OtherType(serde_json::from_str::<u8>("").unwrap_err()) => 10, [];
    Error::Component(_) = Error::Component(wasmtime::Error::msg("")) => 11, [
        case("$1 run none.wasm --grant s", "`none.wasm`",
             "the component failed: cannot read the component: ", "check the path and retry"),
        case("$1 run text.wasm --grant s", "`text.wasm`",
             "failed to parse WebAssembly", "give a WebAssembly component for WASI 0.2; "),
        case("$1 run verbs.wasm --grant s -- panic", "`verbs.wasm`",
             "wasm trap: wasm `unreachable`", "see what it printed before; -v shows where"),
        case("mkfifo silent; $1 run verbs.wasm --grant s --timeout 1ms -- echo <>silent", "`verbs.wasm`",
             "exceeded its timeout of 1ms", "give a longer --timeout"),
    ];
}

/// What the command line refuses by itself, with its exit code.
const REFUSED: [(i32, Case); 9] = [
    (2, case("$1 grants check none.toml", "`none.toml`", "cannot read it: ", "name a grants file")),
    (2, case("$1 grants check wrong.toml", "wrong.toml:1:1", "unknown field `rot`", "write `root`")),
    (
        2,
        case(
            "$1 run verbs.wasm --grants-file right.toml",
            "`verbs.wasm`",
            "has no name",
            "name the file NAME@X.Y.Z.wasm",
        ),
    ),
    (2, case("$1 run . --grant s", "`.`", "it names no file", "name the component's file")),
    (
        2,
        case(
            "$1 run verbs.wasm --grant s --dir s::/x",
            "--dir `s`",
            "would give the component `",
            "give a folder that",
        ),
    ),
    (
        2,
        case(
            "ln -s mounted l; $1 run verbs.wasm --grant s --dir l::/x",
            "--dir `l`",
            "`l` is a link to `mounted`",
            "if it",
        ),
    ),
    (
        8,
        case(
            "$1 run verbs@1.0.0.wasm --grants-file pinned.toml",
            "pinned.toml:3:",
            "is pinned to sha256:0000",
            "",
        ),
    ),
    (
        8,
        case(
            "$1 run tee.wasm --grant s",
            "`tee.component.toml`",
            "requires a trusted execution",
            "run it in one",
        ),
    ),
    (10, case("$1 restore s -o s/x", "`s/x`", "is in a directory of snapshots", "name a file outside of it")),
];

/// Runs a case, and checks what it says.
fn check(code: i32, case: &Case) {
    let folder = folder();
    let _held = minisnap().open(Grant::new(folder.path().join("held"))).unwrap();
    let script = case.script.replace("POWERLESS", POWERLESS);
    let script = format!("cd '{}'\n{script}", folder.path().display());
    let done = if case.mounts {
        let done = run_mounting(
            &format!("cd \"$2\"; mount -t tmpfs -o size=600k none mounted; {script}"),
            folder.path(),
            "",
        );
        run(Command::new("chmod").args(["-R", "u+rwX"]).arg(folder.path()), "");
        done
    } else {
        run(Command::new("sh").args(["-c", &script, "sh"]).arg(binary()), "")
    };
    assert_well_said(&done, case.script);
    assert_eq!(done.code, Some(code), "{}: {done:?}", case.script);
    let told = &done.stderr[done.stderr.rfind("error: ").unwrap()..];
    assert!(told.starts_with(&format!("error: {}", case.subject)), "{}: {told}", case.script);
    assert!(told.contains(case.what), "{}: {told}", case.script);
    assert!(told.contains(&format!("\n  help: {}", case.help)), "{}: {told}", case.script);
}

/// One line of what is wrong and one of help, as this project writes them.
fn assert_well_said(done: &Done, script: &str) {
    let told = done.stderr.rfind("error: ").map(|at| &done.stderr[at..]);
    let told = told.unwrap_or_else(|| panic!("{script}: no error: {done:?}"));
    let Some((what, help)) = told.trim_end_matches('\n').split_once("\n  help: ") else {
        panic!("{script}: no help: {told}")
    };
    for line in [what, help] {
        assert!(!line.is_empty() && !line.contains(char::is_control), "{script}: not one line: {told:?}");
        assert!(!line.ends_with(['.', ':', ';', ' ']), "{script}: how it ends: {told}");
        assert_eq!(line.matches('`').count() % 2, 0, "{script}: a name that is half quoted: {told}");
        let debug = ["Err(", "Some(", "None", "Ok(", "Error {", "Os {", "PathBuf", "\\\"", "kind:", "{ "];
        assert!(!debug.iter().any(|debug| line.contains(debug)), "{script}: for programmers: {told}");
        assert!(!line.to_lowercase().contains("backtrace"), "{script}: a backtrace: {told}");
    }
    // After the name of what it is about, which has a colon behind it or is part of the sentence.
    let what = what.strip_prefix("error: ").unwrap();
    let sentence = what.split_once(": ").map_or(what, |(_, sentence)| sentence);
    for start in [sentence, help] {
        assert!(!start.starts_with(char::is_uppercase), "{script}: in upper case: {told}");
    }
}

#[test]
fn every_error_names_its_subject_says_what_to_do_and_has_its_exit_code() {
    for error in every_error() {
        let (code, cases) = cases_of(&error);
        cases.iter().for_each(|case| check(code, case));
    }
}

#[test]
fn everything_that_is_refused_names_its_subject_and_says_what_to_do() {
    for (code, case) in &REFUSED {
        check(*code, case);
    }
}

/// They are clap's, and repeat arguments.
#[test]
fn wrong_arguments_are_named_without_what_a_terminal_obeys() {
    for args in
        [&["restore"][..], &["create", "s"], &["create", "s", "--seq", "x"], &["restore", "a", "b"], &["no"]]
    {
        let done = run(cli().args(args), "");
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains("try '--help'"), "{done:?}");
    }
    // On a terminal, where clap prints colours.
    let script = format!("'{}' restore a \"$(printf 'b\\033[2J\\007')\"", binary().display());
    let shown = run(Command::new("script").args(["-qec", &script, "/dev/null"]), "");
    assert_eq!(shown.code, Some(2), "{shown:?}");
    assert!(shown.stdout.contains("unexpected argument 'b"), "{shown:?}");
    assert!(!shown.stdout.contains("\u{1b}[2J") && !shown.stdout.contains('\u{7}'), "{shown:?}");
}
