//! What the libraries offer to other crates: what is committed in `api`, as a change there must be meant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use minisnap_tests::root;
use tempfile::tempdir;

/// The committed list of each library. `MINISNAP_ACCEPT_API=1` rewrites it.
#[test]
fn in_long_runs_the_public_api_of_the_libraries_is_the_one_that_is_committed() {
    let folder = tempdir().unwrap();
    // The compiler documents as JSON only if it may do what is not stable; nothing else may.
    let rustdoc = folder.path().join("rustdoc");
    fs::write(&rustdoc, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n").unwrap();
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).unwrap();
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    for library in ["minisnap-client", "minisnap-host"] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "rustdoc",
            "--locked",
            "--quiet",
            "--lib",
            "--all-features",
            "--package",
            library,
            "--target-dir",
        ]);
        cargo.arg(&target).args(["--", "-Zunstable-options", "--output-format", "json"]);
        let done = cargo.env("RUSTDOC", &rustdoc).current_dir(root()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let json = target.join("doc").join(library.replace('-', "_")).with_extension("json");
        let api = public_api::Builder::from_rustdoc_json(json)
            .omit_auto_derived_impls(true)
            .omit_auto_trait_impls(true)
            .omit_blanket_impls(true)
            .build()
            .unwrap_or_else(|e| panic!("take another `public-api`, of this compiler's rustdoc: {e}"));
        let file = root().join(format!("tests/api/{library}.txt"));
        if std::env::var_os("MINISNAP_ACCEPT_API").is_some() {
            fs::write(&file, api.to_string()).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (now, before) = (lines(&api.to_string()), lines(&committed));
        let (gone, new) = (before.difference(&now), now.difference(&before));
        let changes: Vec<_> =
            gone.map(|line| format!("- {line}")).chain(new.map(|line| format!("+ {line}"))).collect();
        assert!(
            changes.is_empty(),
            "the public API of {library} differs from tests/api; if that is meant, MINISNAP_ACCEPT_API=1 rewrites it:\n{}",
            changes.join("\n")
        );
    }
}
