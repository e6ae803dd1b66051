//! What a component gets when it runs: its manifest asks, and the grants file decides.

use std::fs;

use minisnap_host::Access;
use minisnap_host::grants::Grants;
use minisnap_host::manifest::SNAPSHOT_STORE;
use minisnap_tests::place::{GRANTS, Place, assert_prints, assert_refused, manifest};
use minisnap_tests::{cli, run};

#[test]
fn a_manifest_without_the_import_gets_no_snapshots() {
    let place = Place::new(GRANTS);
    place.install_with(
        "app",
        "name = \"counter\"\nversion = \"1.0.0\"\nimports = [\"wasi:cli/stdin@0.2.0\"]\n",
    );
    let denied = place.run("app.wasm", &["create", "1", "1", "restore", "exists"]);
    assert_eq!(
        (denied.code, denied.stdout.as_str()),
        (Some(0), "access-denied\naccess-denied\naccess-denied\n")
    );
    assert!(denied.stderr.starts_with("warning: `counter` gets no snapshots: "), "{}", denied.stderr);
    assert!(
        denied.stderr.contains(&format!("app.component.toml` does not import `{SNAPSHOT_STORE}`")),
        "{}",
        denied.stderr
    );
    assert!(!place.path("state").exists());
}

#[test]
fn the_grants_file_decides_over_access_and_limits() {
    let place = Place::new(GRANTS);
    place.install("banned@1.0.0.wasm").install("reader@1.0.0.wasm").install("other@1.0.0.wasm");
    let banned = place.run("banned@1.0.0.wasm", &["create", "1", "1", "exists"]);
    assert_eq!((banned.code, banned.stdout.as_str()), (Some(0), "access-denied\naccess-denied\n"));
    assert!(
        banned.stderr.contains("`banned` gets no snapshots: its `access` is none in "),
        "{}",
        banned.stderr
    );
    assert!(banned.stderr.contains("minisnap.toml:18:"), "{}", banned.stderr);
    assert!(!place.path("state/banned").exists());

    let reader = ["create", "2", "2", "restore"];
    assert_prints(&place.run("reader@1.0.0.wasm", &reader), &["access-denied", "none"]);
    let create = run(cli().arg("create").arg(place.path("state/shared/reader")).args(["--seq", "1"]), "1");
    assert_eq!(create.code, Some(0), "{create:?}");
    assert_prints(&place.run("reader@1.0.0.wasm", &reader), &["access-denied", "1 1"]);

    // One that the file does not name has what the defaults say, in the directory of its name.
    let other = place.run("other@1.0.0.wasm", &["create-large", "1", "1023", "create", "2", "2", "info"]);
    assert_prints(&other, &["too-large: 1024", "ok", "2 1 Soundness::Verified"]);
    assert!(place.path("state/other/snapshot_00000000000000000002.json").is_file());
}

#[test]
fn a_grants_file_and_a_directory_exclude_each_other() {
    let place = Place::new(GRANTS);
    place.install("counter@1.0.0.wasm");
    for options in [&["--grant", "/tmp"][..], &["--keep", "1"], &["--max-state", "1"], &["--read-only"]] {
        let wrong = place.run_with("counter@1.0.0.wasm", options, &["exists"]);
        assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""), "{options:?}");
        assert!(wrong.stderr.contains("cannot be used with"), "{}", wrong.stderr);
    }
    let neither = run(cli().arg("run").arg(place.path("counter@1.0.0.wasm")), "");
    assert_eq!(neither.code, Some(2));
    assert!(
        neither.stderr.contains("--grant") && neither.stderr.contains("--grants-file"),
        "{}",
        neither.stderr
    );
    // What cannot be loaded gets no directory.
    fs::write(place.path("counter@1.0.0.wasm"), "no WebAssembly").unwrap();
    assert_refused(&place.run("counter@1.0.0.wasm", &[]), 11, "counter@1.0.0.wasm");
    assert!(!place.path("state").exists());
    assert_eq!(Grants::load(place.grants()).unwrap().entry("banned").unwrap().grant.access, Access::None);
}

#[test]
fn memory_max_caps_the_memory_of_a_component() {
    let place = Place::new(GRANTS);
    let args = ["allocate", "100000000"];
    place
        .install_with("app", &manifest("counter", "1.0.0", "capabilities.resources.memory_max = 67108864\n"));
    let capped = place.run("app.wasm", &args);
    assert_eq!((capped.code, capped.stdout.as_str()), (Some(11), ""), "{capped:?}");
    // The command line may say less, and not more.
    assert_eq!(place.run_with("app.wasm", &["--component-memory", "1GiB"], &args).code, Some(11));
    place.install_with(
        "app",
        &manifest("counter", "1.0.0", "capabilities.resources.memory_max = 134217728\n"),
    );
    assert_prints(&place.run("app.wasm", &args), &["100000000 bytes"]);
    assert_eq!(place.run_with("app.wasm", &["--component-memory", "64MiB"], &args).code, Some(11));
    // So it is with a directory that the command line grants.
    place.install_with("app", &manifest("counter", "1.0.0", "capabilities.resources.memory_max = 1\n"));
    let mut command = cli();
    command.arg("run").arg(place.path("app.wasm")).arg("--grant").arg(place.path("state/counter"));
    assert_eq!(run(command.args(["--", "exists"]), "").code, Some(11));
}

#[test]
fn a_component_that_must_run_in_a_trusted_environment_is_refused() {
    let place = Place::new(GRANTS);
    let needs = "[capabilities.security]\nrequires_tee = true\nallowed_syscalls = []\n";
    place.install_with("app", &manifest("counter", "1.0.0", needs));
    assert_refused(
        &place.run("app.wasm", &["exists"]),
        8,
        "`counter` requires a trusted execution environment",
    );
    assert!(!place.path("state").exists());
}

#[test]
fn a_call_of_the_store_ends_at_the_deadline() {
    let place = Place::new("root = \"s\"");
    place.install("a@1.0.0.wasm");
    let create = ["create-large", "1", "60000000"];
    let run = |deadline: &str| {
        let grants = format!("root = \"s\"\n[components.a]\ndeadline = \"{deadline}\"");
        fs::write(place.grants(), grants).unwrap();
        place.run("a@1.0.0.wasm", &create)
    };
    // The opening of the directory has the same deadline, and is too late itself where that is too short for it.
    let mut deadlines = ["1ms", "2ms", "4ms", "8ms", "16ms", "32ms", "64ms"].into_iter();
    let late = loop {
        let deadline = deadlines.next().expect("every opening was too late");
        let late = run(deadline);
        match late.code {
            Some(10) => {
                assert!(late.stderr.contains("deadline") || late.stderr.contains(deadline), "{late:?}")
            }
            _ => break late,
        }
    };
    // Of its commit, it is not known whether it happened.
    let is_late = late.stdout.starts_with("io: ") || late.stdout.starts_with("in-doubt: ");
    assert!(is_late && late.stdout.contains("deadline"), "{late:?}");
    assert_prints(&run("5min"), &["ok"]);
    assert_prints(&place.run("a@1.0.0.wasm", &["exists"]), &["true"]);
    let soon = run("soon");
    assert!(soon.code == Some(2) && soon.stderr.contains("give a duration such as \"30s\""), "{soon:?}");
}
