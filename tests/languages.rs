//! The same script by consumers in every language, run in every way: each prints `consumers/transcript.txt`, to the byte.
//!
//! Which tests there are depends on what was built, by `tests/polyglot`: what was not is ignored, with its reason. Of the
//! languages in `MINISNAP_LANGUAGES`, none is.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use minisnap_tests::damaged_logs::{self, Library, damaged_logs};
use minisnap_tests::plain_host::run_plainly;
use minisnap_tests::{LEDGER, cli, names, run, scratch};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

const LANGUAGES: [&str; 5] = ["c", "go", "javascript", "python", "rust"];

/// What the consumer ran with, in the settings of the command line and of the component.
const LAYOUT: &str = "numbered";
const KEEP: &str = "3";

/// The ways that do another thing than the script: of a component that has a log, and of what opens damaged ones.
const KEEPS_A_LOG: &str = "keeps_a_log";
const JUDGES_LOGS: &str = "judges_logs";
/// And of the program on the language's page.
const PAGE: &str = "page";
/// And of the host on it.
const PAGE_HOSTS: &str = "page_hosts";

/// Runs a consumer of a language, and returns what it printed.
type Way = fn(&'static str) -> Result<String, Failed>;

fn main() -> ExitCode {
    let required = env::var("MINISNAP_LANGUAGES").unwrap_or_default();
    let required: Vec<&str> = required.split_whitespace().collect();
    if let Some(unknown) = required.iter().find(|language| !LANGUAGES.contains(language)) {
        eprintln!("MINISNAP_LANGUAGES names {unknown}, and may name {}", LANGUAGES.join(" "));
        return ExitCode::FAILURE;
    }
    let mut trials = vec![Trial::test("the_page_has_a_cell_for_each_language_and_way", page_has_cells)];
    for (language, way, run) in cells() {
        let missing = missing(language);
        let is_ignored = missing.is_some() && !required.contains(&language);
        if let (true, Some(reason)) = (is_ignored, &missing) {
            eprintln!("{language}::{way} is ignored: {reason}");
        }
        let trial = Trial::test(format!("{language}::{way}"), move || match missing {
            Some(reason) => Err(reason.into()),
            None if [KEEPS_A_LOG, JUDGES_LOGS, PAGE, PAGE_HOSTS].contains(&way) => run(language).map(drop),
            None => compare(&run(language)?),
        });
        trials.push(trial.with_ignored_flag(is_ignored));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Each language with each way in which it is run.
fn cells() -> Vec<(&'static str, &'static str, Way)> {
    let all = LANGUAGES.into_iter().flat_map(|language| {
        [(language, "linked", linked as Way), (language, "composed", composed), (language, PAGE, counts)]
    });
    let hosts = [
        ("python", "hosts_the_store", python_hosts_the_store as Way),
        ("javascript", "hosts_the_store", javascript_hosts_the_store as Way),
        ("python", PAGE_HOSTS, page_hosts),
        ("javascript", PAGE_HOSTS, page_hosts),
        ("python", KEEPS_A_LOG, python_keeps_a_log as Way),
        ("python", JUDGES_LOGS, python_judges_logs as Way),
    ];
    all.chain(hosts).collect()
}

fn consumers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("consumers")
}

/// What `tests/polyglot` built, in the folder of this build.
fn built(name: &str) -> PathBuf {
    let this = env::current_exe().expect("a test has a file");
    this.ancestors().nth(3).expect("a test lies in target/PROFILE/deps").join("polyglot").join(name)
}

/// Why the consumer in a language cannot be run, if it was not built from the sources as they are.
fn missing(language: &str) -> Option<String> {
    let file = built(&format!("{language}-composed.wasm"));
    let how = format!("run tests/polyglot {language}");
    let Ok(made) = fs::metadata(&file).and_then(|metadata| metadata.modified()) else {
        return Some(format!("{} is not there: {how}", file.display()));
    };
    let store = built(&format!("{language}-store.wasm"));
    if fs::read(&store).is_ok_and(|store| store != minisnap_host::COMPONENT) {
        return Some(format!("it was built with another store component than this one: {how}"));
    }
    let sources = [language, "tools", "common.sh", "Cargo.toml", "Cargo.lock", "../../host/cli/wit"]
        .map(|name| consumers().join(name));
    let newer = sources.iter().find_map(|source| newer(source, made));
    newer.map(|source| format!("{} is newer than what was built: {how}", source.display()))
}

/// The file, or one in the folder, if it was changed later; but for what was built.
fn newer(source: &Path, than: SystemTime) -> Option<PathBuf> {
    if source.is_dir() {
        let entries = fs::read_dir(source).expect("a folder").map(|entry| entry.expect("an entry"));
        return entries
            .filter(|entry| entry.file_name() != "target")
            .find_map(|entry| newer(&entry.path(), than));
    }
    let changed = fs::metadata(source).and_then(|metadata| metadata.modified()).expect("a file");
    (changed > than).then(|| source.to_owned())
}

fn compare(printed: &str) -> Result<(), Failed> {
    let transcript = fs::read_to_string(consumers().join("transcript.txt")).expect("the transcript is there");
    if printed == transcript {
        return Ok(());
    }
    let at = printed.lines().zip(transcript.lines()).take_while(|(printed, right)| printed == right).count();
    let line = |text: &str| text.lines().nth(at).map_or("the end".to_owned(), |line| format!("`{line}`"));
    Err(format!("line {} is {}, and not {}", at + 1, line(printed), line(&transcript)).into())
}

/// Runs a program that ends well, and returns what it printed.
fn printed(command: &mut Command) -> Result<String, Failed> {
    let done = run(command, "");
    if done.code == Some(0) && done.stderr.is_empty() {
        Ok(done.stdout)
    } else {
        Err(format!("{done:?}").into())
    }
}

/// By this project's host, with the store in an instance of its own.
fn linked(language: &'static str) -> Result<String, Failed> {
    let dir = tempdir()?;
    let mut host = cli();
    host.arg("run").arg(built(&format!("{language}.wasm"))).arg("--grant").arg(dir.path());
    printed(host.args(["--layout", LAYOUT, "--keep", KEEP]))
}

/// The program on the language's page.
fn counts(language: &'static str) -> Result<String, Failed> {
    let dir = tempdir()?;
    count(|| {
        let mut host = cli();
        host.arg("run").arg(built(&format!("{language}-page.wasm"))).arg("--grant").arg(dir.path());
        host
    })
}

/// The host on the language's page.
fn page_hosts(language: &'static str) -> Result<String, Failed> {
    let (dir, work) = (tempdir()?, built(language));
    fs::copy(built(&format!("{language}-store.wasm")), dir.path().join("minisnap.wasm"))?;
    count(|| {
        let (program, host) = match language {
            "python" => (work.join("venv/bin/python"), work.join("page/host.py")),
            _ => ("node".into(), work.join("host.mjs")),
        };
        let mut command = Command::new(program);
        command.arg(host).current_dir(dir.path());
        command
    })
}

/// Runs what counts how often it was run.
fn count(command: impl Fn() -> Command) -> Result<String, Failed> {
    for count in 1..=3 {
        let printed = printed(&mut command())?;
        if printed != format!("counted to {count}\n") {
            return Err(printed.into());
        }
    }
    Ok(String::new())
}

/// As one component with the store in it.
fn composed(language: &'static str) -> Result<String, Failed> {
    let dir = tempdir()?;
    let settings = [("MINISNAP_LAYOUT", LAYOUT), ("MINISNAP_KEEP", KEEP)];
    Ok(run_plainly(&built(&format!("{language}-composed.wasm")), dir.path(), "/snapshots", &settings)?)
}

/// The store component in wasmtime for Python.
fn python_hosts_the_store(language: &'static str) -> Result<String, Failed> {
    let (dir, work) = (tempdir()?, built(language));
    let mut python = Command::new(work.join("venv/bin/python"));
    python.arg(work.join("host/host.py")).arg(built("python-store.wasm")).arg(dir.path());
    printed(&mut python)
}

/// A ledger in Python, which takes turns with the one in Rust on one log and its snapshots: both print the same.
fn python_keeps_a_log(_: &'static str) -> Result<String, Failed> {
    let [python, both, rust] = [tempdir()?, tempdir()?, tempdir()?];
    for dir in [&python, &both, &rust] {
        fs::create_dir(dir.path().join("log"))?;
    }
    let ledger = |dir: &TempDir, in_python: bool| {
        let component = if in_python { built("python-ledger.wasm") } else { LEDGER.into() };
        let mut host = cli();
        host.arg("run").arg(component).arg("--grant").arg(dir.path().join("snapshots"));
        host.args(["--layout", LAYOUT, "--keep", KEEP, "--dir"]);
        host.arg(format!("{}::/log", dir.path().join("log").display()));
        if !in_python {
            host.args(["--", "append", "7", "7"]);
        }
        host
    };
    let segments = |dir: &TempDir| -> Vec<(String, Vec<u8>)> {
        let log = dir.path().join("log");
        let read = |name: String| (name.clone(), fs::read(log.join(name)).expect("a segment"));
        names(&log).into_iter().map(read).collect()
    };
    for round in 0..8 {
        let expected = printed(&mut ledger(&rust, false))?;
        for (dir, in_python) in [(&python, true), (&both, round % 2 == 0)] {
            let found = printed(&mut ledger(dir, in_python))?;
            if (&found, segments(dir)) != (&expected, segments(&rust)) {
                return Err(
                    format!("round {round}, in Python {in_python}: {found} and not {expected}").into()
                );
            }
        }
    }

    // One call of WASI reads no more than 64 KiB, of a record that was written last.
    let long = tempdir()?;
    fs::create_dir(long.path().join("log"))?;
    let memo = "x".repeat(100_000);
    let text = format!(r#"{{"seq":1,"op":{{"from":"cash","to":"rent","amount":1,"memo":"{memo}"}}"#);
    let sum = crc32fast::hash(text.as_bytes());
    let segment = format!("// MINISTORE JOURNAL v0.1.4, minisnap log v1\n{text},\"sum\":\"{sum:08x}\"}}\n");
    fs::write(long.path().join("log/log_00000000000000000001.jsonl"), segment)?;
    printed(&mut ledger(&long, true))?;
    let goes_on = printed(&mut ledger(&long, false))?;
    if !goes_on.contains("restored 0, replayed 1..=8\n") {
        return Err(goes_on.into());
    }

    // What a crash tore is cut off; any other damage is an error that names file and line.
    let (name, whole) = segments(&python).pop().ok_or("no segment")?;
    let path = python.path().join("log").join(&name);
    fs::write(&path, &whole[..whole.len() - 5])?;
    let found = printed(&mut ledger(&python, true))?;
    if !found.contains("totals at 55: ") {
        return Err(found.into());
    }
    let (name, mut damaged) = segments(&python).pop().ok_or("no segment")?;
    let path = python.path().join("log").join(&name);
    damaged[60] ^= 1;
    fs::write(&path, &damaged)?;
    let done = run(&mut ledger(&python, true), "");
    let told =
        done.stderr.contains("is damaged: line 2 is not what was written") && done.stderr.contains(&name);
    if done.code == Some(0) || !told || fs::read(&path)? != damaged {
        return Err(format!("{done:?}").into());
    }
    Ok(String::new())
}

/// Of each damaged log, the one in Python and the library say the same, and leave the same.
fn python_judges_logs(language: &'static str) -> Result<String, Failed> {
    let logs = damaged_logs();
    let (root, work) = (scratch(), built(language));
    let dir = |at: usize| root.path().join(at.to_string());
    let mut input = String::new();
    for (at, log) in logs.iter().enumerate() {
        damaged_logs::write(&log.files, &dir(at));
        let snapshot = log.snapshot.map(|seq| seq.to_string()).unwrap_or_default();
        let _ = writeln!(input, "{} {snapshot}", dir(at).display());
    }
    let mut python = Command::new(work.join("venv/bin/python"));
    let done = run(python.arg(work.join("host/replay.py")), &input);
    if done.code != Some(0) || done.stdout.lines().count() != logs.len() {
        return Err(format!("{}: {}", done.stdout.lines().count(), done.stderr).into());
    }
    let mut library = Library::new(&logs);
    let (mut sound, mut refused) = (0, 0);
    for (at, (log, printed)) in logs.iter().zip(done.stdout.lines()).enumerate() {
        let printed: Value = serde_json::from_str(printed)?;
        let (opened, left) = library.open(log);
        let is_same = match &opened {
            Ok((last, operations)) => printed == json!({ "last": last, "operations": operations }),
            Err(_) => printed.get("error").is_some(),
        };
        if !is_same || left != damaged_logs::files(&dir(at)) {
            return Err(format!("{log:?}: the library says {opened:?}, and Python {printed}").into());
        }
        *(if opened.is_ok() { &mut sound } else { &mut refused }) += 1;
    }
    println!("{sound} logs were opened by both, and {refused} by none");
    if sound < 100 || refused < 1000 {
        return Err("the logs are not damaged in many ways".into());
    }
    Ok(String::new())
}

/// The store component in Node.js, as jco transpiles it.
fn javascript_hosts_the_store(language: &'static str) -> Result<String, Failed> {
    let (dir, work) = (tempdir()?, built(language));
    let mut node = Command::new("node");
    printed(node.arg(work.join("host.js")).arg(work.join("minisnap/minisnap.js")).arg(dir.path()))
}

fn page_has_cells() -> Result<(), Failed> {
    let page = fs::read_to_string(consumers().join("README.md"))?;
    for (language, way, _) in cells() {
        let name = format!("`{language}::{way}`");
        if !page.contains(&name) {
            return Err(format!("consumers/README.md does not name {name}").into());
        }
    }
    Ok(())
}
