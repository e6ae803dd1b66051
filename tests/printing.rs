//! What the command line prints: it fails where that is lost, and ends quietly where the reader has gone.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use minisnap_tests::{VERBS, cli};

use crate::outputs::{Place, STATE};

/// Every verb that prints.
const PRINTING: [&[&str]; 12] = [
    &["restore", "s"],
    &["restore", "s", "--json"],
    &["restore", "s", "-o", "/dev/stdout"],
    &["list", "s"],
    &["list", "s", "--json"],
    &["info", "s"],
    &["verify", "s"],
    &["grants", "check", "grants.toml"],
    &["component"],
    &["component", "-o", "-"],
    &["--help"],
    &["--version"],
];

fn place_for_printing() -> Place {
    let place = Place::new();
    fs::write(place.path("grants.toml"), "root = \"s\"\n").unwrap();
    place
}

#[test]
fn standard_output_that_is_closed_is_an_error_of_every_verb() {
    let place = place_for_printing();
    for args in PRINTING {
        let done = place.sh(&format!("$1 {} >&-", args.join(" ")));
        assert_eq!((done.code, done.stdout.as_str()), (Some(10), ""), "{args:?}");
        assert!(
            done.stderr.contains("cannot write: it is not open for writing"),
            "{args:?}: {}",
            done.stderr
        );
        // Nor is what is open for reading only.
        assert_eq!(place.sh(&format!("$1 {} 1</dev/null", args.join(" "))), done, "{args:?}");
    }
    assert_eq!(place.sh("$1 restore s 2>&-").code, Some(10), "the number");
    assert_eq!(place.sh("$1 restore 2>&-").code, Some(2), "wrong arguments");
    for args in PRINTING {
        let full = place.sh(&format!("$1 {} >/dev/full", args.join(" ")));
        assert!(full.code == Some(10) && full.stderr.contains("No space left"), "{args:?}: {full:?}");
    }
    // A closed one is told from /dev/null, however that is opened.
    for args in PRINTING {
        for null in [">/dev/null", ">>/dev/null", "1<>/dev/null"] {
            let done = place.sh(&format!("$1 {} {null}", args.join(" ")));
            assert_eq!(done.code, Some(0), "{args:?} {null}: {done:?}");
        }
    }
}

/// What a program does that writes to a pipe whose reader has gone: its signal, and the other stream.
fn without_reader(command: &mut Command, of_stderr: bool) -> (Option<i32>, String) {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let command = if of_stderr { command.stderr(writer) } else { command.stdout(writer) };
    let output = command.stdin(Stdio::null()).output().unwrap();
    let other = if of_stderr { output.stdout } else { output.stderr };
    (output.status.signal(), String::from_utf8(other).unwrap())
}

#[test]
fn a_reader_that_has_gone_ends_every_verb_quietly() {
    let place = place_for_printing();
    for args in PRINTING {
        let ended = without_reader(cli().args(args).current_dir(place.0.path()), false);
        assert_eq!(ended, (Some(13), String::new()), "{args:?}");
    }
    let ended = without_reader(cli().args(["restore", "s"]).current_dir(place.0.path()), true);
    assert_eq!(ended, (Some(13), STATE.to_owned()));
    let piped = place.sh("{ $1 component | head -c 4 | tail -c 3; } 2>&1");
    assert_eq!((piped.code, piped.stdout.as_str()), (Some(0), "asm"));
}

#[test]
fn a_component_that_prints_to_a_closed_standard_output_fails() {
    let place = Place::new();
    let run = format!("$1 run '{VERBS}' --grant s -- create 2 2");
    for closed in [">&-", "1</dev/null"] {
        let done = place.sh(&format!("{run} {closed}"));
        assert_eq!(done.code, Some(11), "the component panics of its own accord: {done:?}");
    }
    let done = place.sh(&format!("{run} >/dev/null"));
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_component_whose_reader_has_gone_is_told_and_keeps_its_snapshot() {
    let place = Place::new();
    let mut component = cli();
    component.args(["run", VERBS, "--grant", "s", "--", "create", "2", "\"kept\"", "restore"]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = component.current_dir(place.0.path()).stdout(writer).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(11), "the component panics of its own accord: {told}");
    assert_eq!(place.run(&["restore", "s"]).stdout, "\"kept\"");
}
