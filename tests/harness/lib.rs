//! What the tests share: the programs they run, and how they run them.

pub mod answers;
pub mod bench;
pub mod command_line;
pub mod contention;
pub mod contest;
pub mod copies;
pub mod crash;
pub mod damaged_logs;
pub mod damaging;
#[allow(missing_docs, dead_code, reason = "the model of the disk belongs to the store's own tests")]
#[path = "../../guest/tests/model/disk.rs"]
pub mod disk;
pub mod engines;
pub mod failing_calls;
pub mod failover;
pub mod faulty_objects;
pub mod host;
pub mod interrupt;
pub mod limits;
pub mod logged;
pub mod logged_crashes;
pub mod logged_faults;
pub mod logged_folder;
pub mod nodes;
pub mod place;
pub mod plain_host;
pub mod random;
pub mod records;
mod replay;
pub mod scenarios;
pub mod server;
pub mod sides;
pub mod sources;
pub mod subject;
pub mod trace;
pub mod trials;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::{env, thread};

use minisnap_host::{Minisnap, MinisnapBuilder};
use tempfile::TempDir;
use wasmtime::{Cache, CacheConfig, Config, Engine};

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// How often a test tries something: in `tests/run --long`, so that rare faults show, `long` times.
pub fn rounds<N>(short: N, long: N) -> N {
    if env::var_os("MINISNAP_LONG").is_some() { long } else { short }
}

/// Does something with each item, as many at a time as there are processors.
pub fn in_parallel<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().expect("taking an item does not panic").next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
}

/// What a method of proof found.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many different cases were tried.
    pub tried: usize,
    /// What was wrong in some of them.
    pub violations: Vec<String>,
}

impl Tally {
    /// Takes the result of one more case.
    pub fn add(&mut self, case: impl std::fmt::Display, result: Result<(), String>) {
        self.tried += 1;
        if let Err(problem) = result {
            self.violations.push(format!("{case}: {problem}"));
        }
    }
}

impl Extend<Tally> for Tally {
    fn extend<T: IntoIterator<Item = Tally>>(&mut self, tallies: T) {
        for Tally { tried, violations } in tallies {
            self.tried += tried;
            self.violations.extend(violations);
        }
    }
}

/// The store component, compiled once for all tests of a program, or taken from the user's cache.
pub fn minisnap() -> &'static Minisnap {
    static MINISNAP: OnceLock<Minisnap> = OnceLock::new();
    MINISNAP.get_or_init(cached)
}

/// The component, compiled by the first of many processes.
pub fn cached() -> Minisnap {
    cached_builder().build().expect("the component compiles")
}

/// The same, before it is compiled.
pub fn cached_builder() -> MinisnapBuilder {
    Minisnap::builder().config(cached_config())
}

/// An engine whose compiled code is kept for other processes.
pub fn cached_engine() -> Engine {
    Engine::new(&cached_config()).expect("the configuration is right")
}

/// How that is configured.
pub fn cached_config() -> Config {
    let mut config = Config::new();
    config.cache(Cache::new(CacheConfig::new()).ok());
    config
}

/// The command line's binary, built from the sources as they are.
pub fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("minisnap"))
}

/// A program or an example, built from the sources as they are, in the same profile as this: `file` is its path in the profile's
/// folder.
pub fn built(file: &str) -> PathBuf {
    let this = env::current_exe().expect("a program has a file");
    let folder = this.parent().expect("a program lies in a folder");
    // A test lies in `target/PROFILE/deps`, a program in `target/PROFILE`.
    let is_test = folder.file_name() == Some(OsStr::new("deps"));
    let profile = if is_test { folder.parent().expect("deps lies in a profile's folder") } else { folder };
    let target = profile.parent().expect("a profile's folder lies in target");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // All that `tests/run` has built, so that dependencies have the features that they have there: these are built already.
    cargo.args(["build", "--quiet", "--workspace", "--bins", "--examples", "--target-dir"]).arg(target);
    if profile.file_name() == Some(OsStr::new("release")) {
        cargo.arg("--release");
    }
    let output = cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile.join(format!("{file}{}", env::consts::EXE_SUFFIX))
}

/// Another program of this package, built before its tests.
pub fn program(name: &str) -> PathBuf {
    let this = env::current_exe().expect("a program has a file");
    let candidates = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is built beside its tests"))
}

/// The folder of the sources.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What a page says between two texts.
pub fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("the page has no {before}"));
    rest.split_once(after).unwrap_or_else(|| panic!("the page has no {after} behind {before}")).0
}

/// What a directory holds, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("listed").file_name();
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| name(entry).into_string().expect("a name in UTF-8")).collect();
    names.sort();
    names
}

/// The command line.
pub fn cli() -> Command {
    Command::new(binary())
}

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// Its exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end with this standard input.
pub fn run(command: &mut Command, input: &str) -> Done {
    let Output { status, stdout, stderr } = finish(start(command), input);
    let text = |bytes| String::from_utf8(bytes).expect("programs print UTF-8");
    Done { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs a shell script where it may mount: as root of namespaces of its own. `$1` is the command line's binary, `$2` is
/// `dir`.
pub fn run_mounting(script: &str, dir: &Path, input: &str) -> Done {
    let script = format!("set -e; {script}");
    run(Command::new("unshare").args(["-rm", "sh", "-c", &script, "sh"]).arg(binary()).arg(dir), input)
}

/// Starts a program whose three streams are pipes.
pub fn start(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Gives a program its input and waits for its end.
pub fn finish(mut child: Child, input: &str) -> Output {
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    thread::scope(|scope| {
        // A program may end without reading its input.
        scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
        child.wait_with_output().expect("the program ends")
    })
}

/// A folder in memory, if the system has one: nothing that is done there has to survive.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
    made.expect("a scratch folder")
}

/// The tokens of a JSON text, without the white space between them.
pub fn tokens(json: &str) -> Vec<&str> {
    let bytes = json.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => at += 1,
            _ => {
                while at < bytes.len() && !b" \t\r\n{}[],:\"".contains(&bytes[at]) {
                    at += 1;
                }
            }
        }
        tokens.push(&json[start..at]);
    }
    tokens
}
