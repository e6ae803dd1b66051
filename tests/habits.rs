//! What holds for every verb of the command line: errors as JSON, quiet, colours, what is logged, and the environment.

use std::fs;
use std::path::Path;

use minisnap_tests::place::Place;
use minisnap_tests::{Done, cli, run, scratch};
use serde_json::{Value, json};

fn create(dir: &Path, seq: &str, args: &[&str]) -> Done {
    run(cli().arg("create").arg(dir).args(["--seq", seq]).args(args), "[1]")
}

/// The error that is the only line on standard error.
#[track_caller]
fn error(done: &Done) -> Value {
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    let told: Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!(told["error"]["exit-code"], json!(done.code.unwrap()), "{told}");
    assert!(told["error"]["message"].is_string() && told["error"]["help"].is_string(), "{told}");
    told["error"].clone()
}

#[test]
fn with_json_every_error_is_json_with_its_case() {
    let scratch = scratch();
    let dir = scratch.path().join("s");
    assert_eq!(create(&dir, "7", &["--json"]).stdout, "{\"removed\":0,\"seq\":7}\n");
    let stale = error(&create(&dir, "6", &["--json"]));
    assert_eq!((&stale["case"], &stale["newest"]), (&json!("stale"), &json!(7)));
    assert!(stale["message"].as_str().unwrap().starts_with(&format!("`{}`: ", dir.display())), "{stale}");
    let large = error(&create(&dir, "8", &["--json", "--max-state", "1"]));
    assert_eq!((&large["case"], &large["limit"]), (&json!("too-large"), &json!(1)));
    let missing = scratch.path().join("missing");
    let missing = missing.to_str().unwrap();
    let dir = dir.to_str().unwrap();
    for (args, code, case) in [
        (&["restore", missing, "--json"][..], 1, "not-found"),
        (&["info", missing, "--json"], 1, "not-found"),
        (&["verify", missing, "--json"], 1, "not-found"),
        (&["settle", missing, "--json"], 1, "not-found"),
        (&["rollback", dir, "--to", "3", "--json"], 10, "io"),
        (&["copy", dir, dir, "--json"], 10, "io"),
        (&["status", missing, "--json"], 2, "usage"),
        (&["grants", "check", missing, "--json"], 2, "usage"),
        (&["run", missing, "--grant", dir, "--json"], 11, "component"),
        (&["man", "nonsense", "--json"], 2, "usage"),
        (&["completions", "nonsense", "--json"], 2, "usage"),
        (&["component", "--output", dir, "--json"], 10, "io"),
        // What cannot be parsed, too.
        (&["restore", dir, "--json", "--nonsense"], 2, "usage"),
        (&["nonsense", "--json"], 2, "usage"),
    ] {
        let done = run(cli().args(args), "");
        assert_eq!((done.code, &error(&done)["case"]), (Some(code), &json!(case)), "{args:?}: {done:?}");
    }
    let written = scratch.path().join("store.wasm");
    let told = run(cli().args(["component", "--json", "--output"]).arg(&written), "");
    let size = fs::metadata(&written).unwrap().len();
    assert_eq!(told.stdout, format!("{{\"output\":\"{}\",\"size\":{size}}}\n", written.display()));
    fs::write(Path::new(dir).join("snapshot.seq"), "rot").unwrap();
    assert_eq!(error(&run(cli().args(["restore", dir, "--json"]), ""))["case"], "corrupt");
}

#[test]
fn when_it_is_to_be_quiet_only_results_and_errors_are_told() {
    let dir = scratch();
    create(dir.path(), "1", &["--layout", "numbered"]);
    create(dir.path(), "2", &[]);
    fs::write(dir.path().join("snapshot_00000000000000000002.json"), "rot").unwrap();
    let restore = |args: &[&str]| run(cli().args(args).arg("restore").arg(dir.path()), "");
    let told = restore(&[]);
    assert!(told.stderr.contains("warning: ") && told.stderr.ends_with("seq 1\n"), "{told:?}");
    for quiet in ["-q", "--quiet"] {
        assert_eq!(restore(&[quiet]), Done { stderr: String::new(), ..restore(&[]) });
    }
    let failed = run(cli().args(["-q", "restore", "--seq", "2"]).arg(dir.path()), "");
    assert!(failed.code == Some(6) && failed.stderr.starts_with("error: "), "{failed:?}");
}

#[test]
fn errors_and_warnings_are_coloured_only_where_that_is_asked_for() {
    let dir = scratch();
    let restore = |args: &[&str]| run(cli().arg("restore").arg(dir.path()).args(args), "").stderr;
    for args in [&[][..], &["--color", "never"], &["--color=auto"]] {
        assert!(restore(args).starts_with("error: "), "{args:?}");
    }
    for args in [&["--color", "always"][..], &["--color=always"]] {
        assert!(restore(args).starts_with("\u{1b}[1;31merror:\u{1b}[0m `"), "{args:?}");
    }
    let help = |when: &str| run(cli().args(["--color", when, "--help"]), "").stdout;
    assert!(help("always").contains("\u{1b}[") && !help("never").contains('\u{1b}'));
    let odd = run(cli().args(["--color", "sometimes", "list", "."]), "");
    assert!(odd.code == Some(2) && odd.stderr.contains("possible values: auto, always, never"), "{odd:?}");
}

#[test]
fn what_is_logged_is_what_the_environment_says() {
    let dir = scratch();
    create(dir.path(), "1", &[]);
    let logged = |level: &str| run(cli().arg("info").arg(dir.path()).env("RUST_LOG", level), "");
    assert!(logged("minisnap_host=debug").stderr.contains(" minisnap_host::"));
    for silent in ["", "off", "another=trace"] {
        assert_eq!(logged(silent).stderr, "", "{silent}");
    }
    let odd = logged("minisnap=loud");
    assert!(odd.code == Some(2) && odd.stderr.starts_with("error: `RUST_LOG`: "), "{odd:?}");
}

#[test]
fn the_grants_file_may_be_that_of_the_environment() {
    let place = Place::new("root = \"s\"\n[components.a]\nlayout = \"numbered\"\n");
    place.install("a@1.0.0.wasm");
    let component = place.path("a@1.0.0.wasm");
    let within = |args: &[&str]| {
        let mut command = cli();
        command.args(args).env("MINISNAP_CONFIG", place.grants());
        command
    };
    let run_it = |options: &[&str]| {
        let mut command = within(&["run"]);
        run(command.arg(&component).args(options).args(["--", "create", "1", "1", "--grant"]), "")
    };
    assert_eq!(run_it(&[]).stdout.lines().next(), Some("ok"));
    assert!(place.path("s/a/snapshot_00000000000000000001.json").exists());
    assert!(run(&mut within(&["status"]), "").stdout.contains("ok      a "));
    assert_eq!(run(&mut within(&["grants", "check"]), "").code, Some(0));
    // What a grants file decides is not given beside it, and another grant goes before.
    let refused = run_it(&["--layout", "pair"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("cannot be used with"), "{refused:?}");
    let own = place.path("own");
    run_it(&["--grant", own.to_str().unwrap()]);
    assert!(own.join("snapshot.json").exists());
    // Without either, it is said what is needed.
    let mut without = cli();
    let without = run(without.arg("run").arg(&component).env("MINISNAP_CONFIG", ""), "");
    assert!(without.code == Some(2) && without.stderr.contains("--grants-file"), "{without:?}");
}
