//! Folders with components, their manifests and a grants file, for `minisnap run`.

use std::fs;
use std::path::{Path, PathBuf};

use minisnap_host::grants::Grants;
use tempfile::{TempDir, tempdir};

use crate::{Done, VERBS, cli, run, run_mounting};

/// The import by which a manifest asks for snapshots.
pub const STORE: &str = "arcella:minisnap/snapshot-store@0.1.0";

/// A grants file with one component of each kind.
pub const GRANTS: &str = r#"root = "state"

[defaults]
layout = "numbered"
max-state = "1KiB"

[components.counter]
keep = 2
max-total = "1MiB"
stores = 3

[components.reader]
directory = "shared/reader"
layout = "pair"
access = "read-only"
max-state = 7

[components.banned]
access = "none"
"#;

/// A folder with components and a grants file.
pub struct Place(TempDir);

impl Place {
    /// With a grants file of this text.
    pub fn new(grants: &str) -> Self {
        let place = Place(tempdir().expect("a folder"));
        fs::write(place.grants(), grants).expect("it can be written");
        place
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// What is called this in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The grants file.
    pub fn grants(&self) -> PathBuf {
        self.path("minisnap.toml")
    }

    /// Puts the consumer there, under this name.
    pub fn install(&self, name: &str) -> &Self {
        fs::copy(VERBS, self.path(name)).expect("the consumer was built");
        self
    }

    /// Puts the consumer there, with this manifest.
    pub fn install_with(&self, stem: &str, manifest: &str) -> &Self {
        fs::write(self.path(&format!("{stem}.component.toml")), manifest).expect("it can be written");
        self.install(&format!("{stem}.wasm"))
    }

    /// Runs a component with the grants file.
    pub fn run(&self, component: &str, args: &[&str]) -> Done {
        self.run_with(component, &[], args)
    }

    /// The same, with options before the component's arguments.
    pub fn run_with(&self, component: &str, options: &[&str], args: &[&str]) -> Done {
        let mut command = cli();
        command.arg("run").arg(self.path(component)).arg("--grants-file").arg(self.grants());
        run(command.args(options).arg("--").args(args), "")
    }

    /// Has the grants file checked.
    pub fn check(&self, options: &[&str]) -> Done {
        run(cli().args(["grants", "check"]).arg(self.grants()).args(options), "")
    }

    /// The grants file has this mistake there, for the command line and for the library.
    #[track_caller]
    pub fn assert_mistake(&self, line: usize, what: &str, help: &str) {
        let done = self.check(&[]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
        let error = Grants::load(self.grants()).expect_err("there is a mistake");
        assert_eq!((error.file(), error.line()), (self.grants().as_path(), Some(line)), "{error}");
        assert!(error.column().is_some() && error.what().contains(what), "{error}");
        assert!(error.help().contains(help), "{}", error.help());
        let place = format!("error: {}:{line}:", self.grants().display());
        assert!(done.stderr.starts_with(&place), "{}", done.stderr);
        assert!(done.stderr.contains(what) && done.stderr.contains("\n  help: "), "{}", done.stderr);
    }
}

/// It ended well, and printed these lines.
#[track_caller]
pub fn assert_prints(done: &Done, lines: &[&str]) {
    let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
}

/// It was not run, with this exit code and message.
#[track_caller]
pub fn assert_refused(done: &Done, code: i32, message: &str) {
    assert_eq!((done.code, done.stdout.as_str()), (Some(code), ""), "{done:?}");
    assert!(done.stderr.starts_with("error: ") && done.stderr.contains(message), "{}", done.stderr);
    assert!(done.stderr.contains("\n  help: "), "{}", done.stderr);
}

/// A manifest, flat, with more lines.
pub fn manifest(name: &str, version: &str, more: &str) -> String {
    format!("name = \"{name}\"\nversion = \"{version}\"\nimports = [\"{STORE}\"]\n{more}")
}

/// Runs a script that mounts, in the place's folder, which is `$2`; `$1` is the command line. None if this system lets no user
/// do so.
pub fn mounting(script: &str, place: &Place) -> Option<Done> {
    let probe = run_mounting("mount --bind \"$2\" \"$2\"", place.folder(), "");
    if probe.code != Some(0) {
        assert!(std::env::var_os("CI").is_none(), "continuous integration can mount: {probe:?}");
        println!("IGNORED: this system allows no namespace in which one can mount");
        return None;
    }
    Some(run_mounting(&format!("cd \"$2\"; {script}"), place.folder(), ""))
}
