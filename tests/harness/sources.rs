//! The sources of a release.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tempfile::{TempDir, tempdir};

use crate::{Done, between, binary, root, run};

/// The version of the release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder in which Cargo builds these tests.
pub fn target() -> PathBuf {
    let test = env::current_exe().expect("it runs");
    test.ancestors().nth(3).expect("it lies in debug/deps").to_owned()
}

/// The shell, with what `tests/install-tools` compiled, and without what these tests themselves are set to.
pub fn sh(folder: &Path, script: &str) -> Command {
    let mut sh = Command::new("bash");
    let path = format!("{}:{}", target().join("tools/bin").display(), env::var("PATH").expect("it works"));
    sh.args(["-euc", script]).current_dir(folder).env("PATH", path).env("NO_PROXY", "localhost,127.0.0.1");
    for variable in ["CARGO_TARGET_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
        sh.env_remove(variable);
    }
    sh
}

/// Runs a program that must not fail, and returns what it printed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let done = run(command, "");
    assert_eq!(done.code, Some(0), "{command:?}\n{}{}", done.stdout, done.stderr);
    done.stdout
}

/// The sources of a release: a repository of one commit, which says that it is published today; and a `cargo` that publishes
/// nothing.
#[derive(Debug)]
pub struct Sources {
    /// Where they are.
    pub folder: PathBuf,
    /// Where the `cargo` is.
    pub fake: TempDir,
}

impl Sources {
    /// Copies what git knows of these sources, but for what Cargo built.
    pub fn copy(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("it works");
        let script = "find \"$TO\" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
            git ls-files --cached --others --exclude-standard -z | tar -c --null -T - --ignore-failed-read | tar -x -C \"$TO\"";
        succeed(sh(root(), script).env("TO", folder));
        let fake = tempdir().expect("it works");
        let log = fake.path().join("log");
        // The static command line takes ten minutes to build: that of the tests stands in for it, unless `MINISNAP_STATIC` is set.
        let not_built =
            if env::var_os("MINISNAP_STATIC").is_some() { "nothing" } else { "x86_64-unknown-linux-musl" };
        // The first publication of a crate fails where a file `fails` says its name; `info` finds what was published.
        let script = format!(
            "#!/bin/sh
            case $1 in
            publish) ! grep -qsx \"$6\" {0:?}/fails || {{ rm {0:?}/fails; exit 1; }}; echo \"$@\" >>{log:?} ;;
            info) grep -qs \" ${{5%@*}}$\" {log:?} ;;
            build) case \" $* \" in
                *\" --target {2} \"*) folder=$CARGO_TARGET_DIR/{2}/release; mkdir -p \"$folder\"; cp {3:?} \"$folder\" ;;
                *) exec {1:?} \"$@\" ;;
                esac ;;
            *) exec {1:?} \"$@\" ;;
            esac\n",
            fake.path(),
            env!("CARGO"),
            not_built,
            binary(),
        );
        let cargo = fake.path().join("cargo");
        fs::write(&cargo, script).expect("it works");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it works");
        let sources = Sources { folder: folder.to_owned(), fake };
        let heading = format!("## {VERSION}, ");
        let changes = fs::read_to_string(folder.join("host/CHANGELOG.md")).expect("it works");
        let said = between(&changes, &heading, "\n");
        sources.change("host/CHANGELOG.md", &format!("{heading}{said}"), &format!("{heading}2026-12-01"));
        for page in ["README.md", "wit/README.md"] {
            let text = fs::read_to_string(folder.join(page)).expect("it works");
            let text = text
                .replace("pre-release", "release")
                .replace("ntil it is published", "")
                .replace("Nothing is published", "");
            fs::write(folder.join(page), text).expect("it works");
        }
        sources.commit();
        sources
    }

    /// Changes a file where it has a text first.
    pub fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).expect("it works");
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).expect("it works");
    }

    /// Makes all that is there the one commit.
    pub fn commit(&self) {
        let script = "export GIT_CONFIG_GLOBAL=/dev/null; rm -rf .git; git init -q; git config user.name a; git config user.email a@b; git add -A; git commit -q -m all";
        succeed(&mut sh(&self.folder, script));
    }

    /// `.ci/release`.
    pub fn release(&self, arguments: &str) -> Command {
        let script = format!("PATH={}:$PATH; .ci/release {arguments}", self.fake.path().display());
        let mut release = sh(&self.folder, &script);
        // What must not get into a release, or redirect it.
        release.env("MINISNAP_COMPONENT", "/nowhere").env("WKG_REGISTRY", "nowhere.example");
        release.env("CARGO_BUILD_TARGET", "none").env("CARGO_PROFILE_RELEASE_PANIC", "abort");
        release.env("CARGO_ENCODED_RUSTFLAGS", "--cfg=x").env("GIT_CONFIG_GLOBAL", "/dev/null");
        release
    }

    /// Runs it.
    pub fn released(&self, arguments: &str) -> Done {
        run(&mut self.release(arguments), "")
    }

    /// What was published as crates.
    pub fn published(&self) -> String {
        fs::read_to_string(self.fake.path().join("log")).unwrap_or_default()
    }
}
