//! The compiled code that the command line keeps for its next run.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use minisnap_tests::{Done, cli, run};
use tempfile::tempdir;

/// Runs `minisnap create` with its caches in `caches`, which must be done, and says whether it found compiled code.
fn found_compiled_code(caches: &Path) -> bool {
    let dir = tempdir().unwrap();
    let mut cli = cli();
    cli.arg("-v").arg("create").arg(dir.path()).args(["--seq", "1"]).env("XDG_CACHE_HOME", caches);
    let Done { code, stderr, .. } = run(&mut cli, "1");
    assert_eq!(code, Some(0), "{stderr}");
    !stderr.contains("compiled code")
}

#[test]
fn compiled_code_is_kept_and_used_only_if_it_is_what_was_written() {
    let caches = tempdir().unwrap();
    let files = |end: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(caches.path().join("minisnap")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|found| found == end)).collect()
    };
    assert!(!found_compiled_code(caches.path()));
    assert!(found_compiled_code(caches.path()));
    let [code, sum] = [&files("cwasm")[0], &files("b3")[0]];
    let right = fs::read(code).unwrap();
    for at in [0, right.len() / 2, right.len() - 1] {
        let mut damaged = right.clone();
        damaged[at] ^= 1;
        fs::write(code, damaged).unwrap();
        assert!(!found_compiled_code(caches.path()), "byte {at} was changed");
        assert!(fs::read(code).unwrap() == right, "it is written again");
    }
    fs::write(code, &right[..right.len() / 2]).unwrap();
    assert!(!found_compiled_code(caches.path()), "it was cut");
    fs::remove_file(sum).unwrap();
    assert!(!found_compiled_code(caches.path()), "there is no sum");
    assert!(found_compiled_code(caches.path()));
    assert_eq!((files("cwasm").len(), files("b3").len()), (1, 1));
    assert_eq!(fs::read_dir(caches.path().join("minisnap")).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn compiled_code_is_not_taken_from_where_others_may_write() {
    let caches = tempdir().unwrap();
    assert!(!found_compiled_code(caches.path()));
    let folder = caches.path().join("minisnap");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!found_compiled_code(caches.path()));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(found_compiled_code(caches.path()));
    // Nor through a link.
    fs::rename(&folder, caches.path().join("elsewhere")).unwrap();
    symlink("elsewhere", &folder).unwrap();
    assert!(!found_compiled_code(caches.path()));
}

#[test]
fn compiled_code_that_cannot_be_cached_only_takes_longer() {
    let dir = tempdir().unwrap();
    let mut cli = cli();
    cli.arg("create").arg(dir.path()).args(["--seq", "1"]);
    cli.env("XDG_CACHE_HOME", "/dev/null/nowhere").env("HOME", "/dev/null/nowhere");
    assert_eq!(run(&mut cli, "1").code, Some(0));
}
