//! Who a component is: its manifest or its file's name says so, and a digest proves it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use minisnap_host::grants::Grants;
use minisnap_host::manifest::Manifest;
use minisnap_tests::place::{GRANTS, Place, assert_prints, assert_refused, manifest};
use minisnap_tests::{VERBS, cli, run};

#[test]
fn an_upgraded_component_finds_its_state() {
    let place = Place::new(GRANTS);
    place.install("counter@1.0.0.wasm").install("counter@1.1.0.wasm");
    let old = place.run("counter@1.0.0.wasm", &["create", "1", "1", "create", "2", "2", "create", "3", "3"]);
    assert_prints(&old, &["ok", "ok", "ok"]);
    let new = place.run("counter@1.1.0.wasm", &["restore", "list", "create", "4", "4"]);
    assert_prints(&new, &["3 3", "3 Soundness::Verified, 2 Soundness::Verified", "ok"]);
    // So it does with a manifest, and back again.
    place.install_with("app", &manifest("counter", "2.0.0", ""));
    assert_prints(&place.run("app.wasm", &["restore"]), &["4 4"]);
    assert_prints(&place.run("counter@1.0.0.wasm", &["restore"]), &["4 4"]);
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 1);
}

#[test]
fn only_the_manifest_or_the_name_of_the_file_says_who_a_component_is() {
    let place = Place::new(GRANTS);
    // Neither what it is told nor what it says makes it another.
    place.install("thief@1.0.0.wasm").install("nobody.wasm").install("counter@1.0.wasm");
    assert_prints(&place.run("thief@1.0.0.wasm", &["create", "1", "\"counter@1.0.0\""]), &["ok"]);
    assert!(place.path("state/thief").is_dir() && !place.path("state/counter").exists());
    for nameless in ["nobody.wasm", "counter@1.0.wasm"] {
        assert_refused(&place.run(nameless, &["exists"]), 2, &format!("{nameless}`: it has no name"));
    }
    // The manifest of another beside a file that says whose it is.
    place.install_with("thief@1.0.0", &manifest("counter", "1.0.0", ""));
    let refused = place.run("thief@1.0.0.wasm", &["exists"]);
    assert_refused(&refused, 2, "the manifest is of `counter@1.0.0`, and beside `thief@1.0.0.wasm`");
    // Nor is a limit lost with the file that a link should lead to.
    fs::remove_file(place.path("thief@1.0.0.component.toml")).unwrap();
    symlink("nowhere", place.path("thief@1.0.0.component.toml")).unwrap();
    assert_refused(&place.run("thief@1.0.0.wasm", &["exists"]), 2, "component.toml`: cannot read it");
}

#[test]
fn a_component_whose_manifest_cannot_be_named_does_not_run() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new(GRANTS);
    let needs = "[capabilities.security]\nrequires_tee = true\nallowed_syscalls = []\n";
    for (component, stem, what) in [
        (&b"app\xff.wasm"[..], &b"app\xff"[..], "the file's name is not UTF-8"),
        (b"app.WASM", b"app", "the file's name ends in `.WASM`"),
    ] {
        let path = |name: &[u8]| place.folder().join(OsStr::from_bytes(name));
        fs::copy(VERBS, path(component)).unwrap();
        fs::write(path(&[stem, b".component.toml"].concat()), manifest("app", "1.0.0", needs)).unwrap();
        for source in ["--grant", "--grants-file"] {
            let from = if source == "--grant" { place.path("state") } else { place.grants() };
            let mut command = cli();
            command.arg("run").arg(path(component)).arg(source).arg(from).args(["--", "exists"]);
            assert_refused(&run(&mut command, ""), 2, what);
        }
        assert!(Manifest::of(path(component)).is_err());
    }
    assert!(!place.path("state").exists());
}

/// A file's name is no proof of who the component is: its digest is.
#[test]
fn a_component_that_is_pinned_runs_only_with_its_digest() {
    let sum = run(Command::new("sha256sum").arg(VERBS), "").stdout;
    let right = format!("sha256:{}", &sum[..64]);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let grants = |digest: &str| format!("root = \"s\"\n[components.counter]\ndigest = \"{digest}\"\n");
    let place = Place::new(&grants(&right));
    place.install("counter@1.0.0.wasm").install("other@1.0.0.wasm");
    assert_prints(&place.run("counter@1.0.0.wasm", &["exists"]), &["false"]);
    assert_prints(&place.run("other@1.0.0.wasm", &["exists"]), &["false"]);

    // One byte more, in a custom section, which changes nothing of what it does.
    let mut another = fs::read(VERBS).unwrap();
    another.extend([0, 2, 1, b'x']);
    fs::write(place.path("counter@1.0.0.wasm"), &another).unwrap();
    let refused = place.run("counter@1.0.0.wasm", &["create", "1", "1"]);
    assert_refused(&refused, 8, &format!("minisnap.toml:3:10: `counter` is pinned to {right}, but "));
    assert!(refused.stderr.matches("sha256:").count() >= 2 && !refused.stderr.contains(&wrong));
    assert!(fs::read_dir(place.path("s/counter")).unwrap().next().is_none());

    // So it is in a host of one's own.
    let entry = Grants::load(place.grants()).unwrap().entry("counter").unwrap();
    assert_eq!(entry.digest().unwrap().to_string(), right);
    entry.check(Path::new("counter.wasm"), &fs::read(VERBS).unwrap()).unwrap();
    let refused = entry.check(Path::new("counter.wasm"), &another).unwrap_err();
    assert!(refused.line() == Some(3) && refused.what().contains("`counter.wasm` is sha256:"), "{refused}");

    for digest in
        ["", "sha256:", "sha256:00", &right[7..], &wrong.replace("256", "512"), &wrong.replace('0', "g")]
    {
        Place::new(&grants(digest)).assert_mistake(3, "`digest`: no digest", "`sha256sum` prints them");
    }
}
