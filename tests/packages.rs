//! The packages of the crates, as a registry would have them.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::{between, root, run, scratch};
use tempfile::tempdir;

/// By the README's lines, with packages in the place of registries, and nothing else of this project: the command line is
/// installed, which builds the host's package, too; then a component is made of the client's, and run.
#[test]
fn in_long_runs_a_stranger_goes_from_the_packages_to_a_component_that_counts() {
    let (place, work) = (tempdir().unwrap(), scratch());
    let (registry, cargo_home) = (place.path().join("registry"), place.path().join("cargo"));
    let built = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("stranger");
    let sh = |folder: &Path, offline: bool, script: &str| {
        let mut sh = Command::new("sh");
        sh.args(["-euc", script]).current_dir(folder).env("REGISTRY", &registry);
        sh.env("CARGO_TARGET_DIR", &built).env_remove("MINISNAP_COMPONENT");
        if offline {
            sh.env("CARGO_HOME", &cargo_home).env("XDG_CACHE_HOME", place.path().join("cache"));
        }
        let done = run(&mut sh, "");
        assert_eq!(done.code, Some(0), "{script}\n{}", done.stderr);
        done.stdout
    };

    // What Cargo.lock names, and the packages themselves, which Cargo cannot build while they stand in for the registry.
    sh(
        root(),
        false,
        "cargo vendor --locked --quiet --versioned-dirs \"$REGISTRY\"
         rm -rf \"$CARGO_TARGET_DIR/package\"
         cargo package --locked --quiet --allow-dirty --no-verify -p minisnap-client -p minisnap-host -p minisnap-cli
         for package in \"$CARGO_TARGET_DIR\"/package/*.crate; do
           tar -xzf \"$package\" -C \"$REGISTRY\"
           sum=$(sha256sum <\"$package\")
           echo \"{\\\"files\\\":{},\\\"package\\\":\\\"${sum%% *}\\\"}\" >\"$REGISTRY/$(basename \"$package\" .crate)/.cargo-checksum.json\"
         done",
    );
    fs::create_dir(&cargo_home).unwrap();
    let config = format!(
        "[source.crates-io]\nreplace-with = \"packages\"\n[source.packages]\ndirectory = {registry:?}\n\
         [net]\noffline = true\n[profile.dev]\ndebug = false\n"
    );
    fs::write(cargo_home.join("config.toml"), config).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let install = between(&readme, "## Install\n`", "`");
    assert!(install.starts_with("cargo install ") && install.ends_with(" minisnap-cli"), "{install}");
    // Unoptimised, in a third of the time.
    sh(place.path(), true, &format!("{install} --debug --quiet"));

    let program = between(&readme, "```rust\nuse minisnap_client", "```");
    let console = between(&readme, "```console\n$ rustup -q target add wasm32-wasip2\n", "```");
    let (commands, printed): (Vec<&str>, Vec<&str>) =
        console.lines().partition(|line| line.starts_with("$ "));
    let commands: Vec<&str> = commands.iter().map(|line| &line[2..]).collect();
    let commands = commands.join("\n").replace("/tmp/counted", work.path().to_str().unwrap());
    sh(place.path(), true, "cargo new -q counter");
    let counter = place.path().join("counter");
    fs::write(counter.join("src/main.rs"), format!("use minisnap_client{program}")).unwrap();
    let script = format!("unset CARGO_TARGET_DIR; PATH=$CARGO_HOME/bin:$PATH\n{commands}");
    assert_eq!(sh(&counter, true, &script).trim_end(), printed.join("\n"));
}
