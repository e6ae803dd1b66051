//! The packages of the crates, as a registry would have them.

use std::fs;
use std::path::Path;
use std::process::Command;

use minisnap_tests::server::Server;
use minisnap_tests::{between, root, run, scratch};
use tempfile::tempdir;

/// What is typed in a console, and what is printed.
fn typed(console: &str) -> (String, String) {
    let (commands, printed): (Vec<&str>, Vec<&str>) =
        console.lines().partition(|line| line.starts_with("$ "));
    (commands.iter().map(|line| &line[2..]).collect::<Vec<_>>().join("\n"), printed.join("\n"))
}

/// By the README's lines, with packages in the place of registries, and nothing else of this project: the command line is
/// installed, which builds the host's package, too; then a component is made of the client's, and run; then one in Python.
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
    // As the tests themselves are built: unoptimised, in a third of the time, but for what takes theirs.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let packages = between(&workspace, "[profile.dev.package]\n", "\n\n");
    let config = format!(
        "[source.crates-io]\nreplace-with = \"packages\"\n[source.packages]\ndirectory = {registry:?}\n\
         [net]\noffline = true\n[profile.dev]\ndebug = false\n[profile.dev.package]\n{packages}\n"
    );
    fs::write(cargo_home.join("config.toml"), config).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let install = between(&readme, "## Install\n`", "`");
    assert!(install.starts_with("cargo install ") && install.ends_with(" minisnap-cli"), "{install}");
    sh(place.path(), true, &format!("{install} --debug --quiet"));

    let program = between(&readme, "```rust\nuse minisnap_client", "```");
    let console = between(&readme, "```console\n$ rustup -q target add wasm32-wasip2\n", "```");
    let (commands, printed) = typed(console);
    let commands = commands.replace("/tmp/counted", work.path().to_str().unwrap());
    sh(place.path(), true, "cargo new -q counter");
    let counter = place.path().join("counter");
    fs::write(counter.join("src/main.rs"), format!("use minisnap_client{program}")).unwrap();
    let script = format!("unset CARGO_TARGET_DIR; PATH=$CARGO_HOME/bin:$PATH\n{commands}");
    assert_eq!(sh(&counter, true, &script).trim_end(), printed);

    // In Python, by the lines of its page; the packages are those of a registry on this machine.
    let page = fs::read_to_string(root().join("tests/consumers/python/README.md")).unwrap();
    let install = between(&page, "`pip ", "`");
    let download = install.replace("install", "download --quiet --no-deps --dest index/componentize-py");
    sh(place.path(), false, &format!("python3 -m venv venv; venv/bin/pip {download}"));
    let index = Server::start(|port| {
        let mut server = Command::new("python3");
        let listens = ["-m", "http.server", "--bind", "127.0.0.1", "--directory"];
        server.args(listens).arg(place.path().join("index")).arg(port.to_string());
        server
    });
    fs::write(place.path().join("app.py"), between(&page, "```python\n", "```")).unwrap();
    let console = between(&page, "```console\n", "```")
        .replace("snapshots", work.path().join("python").to_str().unwrap());
    let (commands, printed) = typed(&console);
    let script = format!(
        "export PIP_CONFIG_FILE=/dev/null NO_PROXY=127.0.0.1 PIP_INDEX_URL=http://127.0.0.1:{} PATH=$CARGO_HOME/bin:$PWD/venv/bin:$PATH\npip {install} --quiet\n{}",
        index.port, commands
    );
    assert_eq!(sh(place.path(), true, &script).trim_end(), printed);
}
