//! The command line's messages: each names what it is about, on one line, and says what to do next.

use std::fs;
use std::path::Path;

use minisnap_tests::{Done, VERBS, cli, run};
use tempfile::tempdir;

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
    let missing = run_in(folder.path(), &["list", "\x1b[2J"]).stderr;
    assert!(missing.starts_with("error: `\\u{1b}[2J`: there is no snapshot yet\n"), "{missing:?}");
}

#[test]
fn what_to_do_about_a_component_fits_what_is_wrong_with_it() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("text.wasm"), "no WebAssembly").unwrap();
    for (component, args, message, help) in [
        (
            "missing.wasm",
            &[][..],
            "`missing.wasm`: the component failed: cannot read",
            "check the path and retry",
        ),
        (
            "text.wasm",
            &[],
            "`text.wasm`: the component failed: ",
            "give a WebAssembly component for WASI 0.2; ",
        ),
        (VERBS, &["panic"], "the component failed: ", "see what it printed before; "),
    ] {
        let done = run_in(folder.path(), &[&["run", component, "--grant", "s", "--"], args].concat());
        assert_eq!(done.code, Some(11), "{done:?}");
        assert!(done.stderr.contains(message), "{done:?}");
        let told = done.stderr.rsplit_once("\n  help: ").unwrap().1;
        assert!(told.starts_with(help), "{done:?}");
    }
}

#[test]
fn for_programs_a_directory_without_snapshots_is_an_empty_list() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let nothing = "{\"generations\":[],\"layout\":null}\n";
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
