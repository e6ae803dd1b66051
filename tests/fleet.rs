//! A fleet of 100 instances is run, looked at, backed up, rolled back, restored, moved and erased: `tests/runbook`, a script that
//! an administrator can read.

use std::env;
use std::fs;
use std::process::Command;

use minisnap_tests::{VERBS, binary, run, scratch};

#[test]
fn a_fleet_of_100_instances_is_operated_by_the_runbook() {
    let dir = scratch();
    let component = dir.path().join("ledger@1.0.0.wasm");
    fs::copy(VERBS, &component).unwrap();
    let path = env::join_paths(
        binary().parent().map(Into::into).into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let mut runbook = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/runbook"));
    runbook.arg(&component).current_dir(dir.path()).env("PATH", path.unwrap());
    let done = run(&mut runbook, "");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
    assert!(done.stdout.ends_with("== Done\n"), "{}", done.stdout);
}
