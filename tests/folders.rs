//! The folders that a component gets: all that its manifest needs, and none that leads to the snapshots.

use std::fs;
use std::os::unix::fs::symlink;

use minisnap_tests::place::{GRANTS, Place, assert_prints, assert_refused, manifest};
use minisnap_tests::{cli, run};

#[test]
fn files_that_a_manifest_needs_are_refused_unless_the_command_line_grants_them() {
    let place = Place::new(GRANTS);
    let needs = "capabilities.filesystem = [\"/data/in\", \"/logs\"]\n";
    place.install_with("app", &manifest("counter", "1.0.0", needs));
    fs::create_dir_all(place.path("files/in")).unwrap();
    let files = |guest: &str| format!("{}::{guest}", place.path("files").display());
    let args = ["read", "/data/in", "read", "/logs", "read", "/etc"];

    let refused = place.run("app.wasm", &args);
    assert_refused(
        &refused,
        8,
        "app.component.toml`: `counter` needs files that it is not given: `/data/in`, `/logs`",
    );
    assert!(refused.stderr.contains("--dir HOST::/data/in --dir HOST::/logs"), "{}", refused.stderr);
    for guest in ["/data", "/data/in", "/dat", "/logs/more"] {
        let refused = place.run_with("app.wasm", &["--dir", &files(guest)], &args);
        assert_refused(&refused, 8, "`/logs`");
        assert_eq!(refused.stderr.contains("--dir HOST::/data/in"), !guest.starts_with("/data"), "{guest}");
    }
    assert!(!place.path("state").exists(), "a component that was not run got a directory");

    let granted = place.run_with("app.wasm", &["--dir", &files("/data"), "--dir", &files("/logs")], &args);
    assert_prints(&granted, &["Ok(())", "Ok(())", "Err(NotFound)"]);
    let missing =
        place.run_with("app.wasm", &["--dir", &files("/data"), "--dir", "/nonexistent::/logs"], &args);
    assert_refused(&missing, 10, "`/nonexistent`: cannot open");
    for dir in ["/data", "::/data", "/tmp::", "/tmp::/a/../.."] {
        let wrong = place.run_with("app.wasm", &["--dir", dir], &args);
        assert_eq!(wrong.code, Some(2), "{dir}: {wrong:?}");
    }
}

#[test]
fn a_component_cannot_reach_the_snapshots_through_its_files() {
    let place = Place::new(GRANTS);
    place.install("counter@1.0.0.wasm");
    assert_prints(&place.run("counter@1.0.0.wasm", &["create", "1", "1"]), &["ok"]);
    symlink(place.path("state"), place.path("link")).unwrap();
    for host in ["", "state", "state/other", "link", "state/counter"] {
        fs::create_dir_all(place.path("state/other")).unwrap();
        let dir = format!("{}::/data", place.path(host).display());
        let refused = place.run_with("counter@1.0.0.wasm", &["--dir", &dir], &["read", "/data"]);
        let what = if host == "link" { "is a link to" } else { "would give the component" };
        assert_refused(&refused, 2, what);
    }
    let granted = place.path("state/counter");
    let mut command = cli();
    command.arg("run").arg(place.path("counter@1.0.0.wasm")).arg("--grant").arg(&granted);
    let refused = run(command.arg("--dir").arg(format!("{}::/", granted.display())), "");
    assert_refused(&refused, 2, "would give the component");
}

/// Who could replace a link on the way to a file decides what that is.
#[test]
fn a_component_cannot_replace_the_links_that_lead_to_the_snapshots_or_to_who_it_is() {
    let place = Place::new(GRANTS);
    for folder in ["given/deep", "kept"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    place.install("kept/counter@1.0.0.wasm").install("counter@1.0.0.wasm");
    let dir = format!("{}::/data", place.path("given").display());
    let run_from = |component: &str, source: &[&str], options: &[&str]| {
        let mut command = cli();
        command.arg("run").arg(place.path(component)).args(source).args(options);
        run(command.args(["--", "create", "1", "1"]), "")
    };
    let granted = place.path("linked-state").display().to_string();
    let grants = place.grants().display().to_string();
    // By two links, the second of which lies in the folder.
    symlink("given/deep/second", place.path("linked-state")).unwrap();
    symlink("../../kept", place.path("given/deep/second")).unwrap();
    symlink("../kept/counter@1.0.0.wasm", place.path("given/counter@1.0.0.wasm")).unwrap();
    // Or by a folder that could become a link.
    fs::create_dir_all(place.path("given/sub")).unwrap();
    let around = place.path("given/sub/../../minisnap.toml").display().to_string();
    for (component, source) in [
        ("counter@1.0.0.wasm", ["--grants-file", around.as_str()]),
        ("counter@1.0.0.wasm", ["--grant", granted.as_str()]),
        ("given/counter@1.0.0.wasm", ["--grant", &place.path("own").display().to_string()]),
        ("given/counter@1.0.0.wasm", ["--grants-file", &grants]),
    ] {
        assert_refused(&run_from(component, &source, &["--dir", &dir]), 2, "would give the component");
        assert_prints(&run_from(component, &source, &[]), &["ok"]);
    }
}
