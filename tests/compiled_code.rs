//! The compiled code that the command line keeps for its next run, and embedders may.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use minisnap_host::load_cached;
use minisnap_tests::place::{assert_prints, assert_refused};
use minisnap_tests::{Done, VERBS, cli, run};
use tempfile::tempdir;
use wasmtime::Engine;

use crate::embedding::logged;

/// Loads a component, the smallest that there is, with its compiled code kept as the command line keeps it whose caches are in
/// `caches`, and says whether it was found there.
fn found_compiled_code(caches: &Path) -> bool {
    let (folder, engine) = (caches.join("minisnap"), Engine::default());
    let told = logged(|| {
        load_cached(&engine, b"\0asm\x0d\0\x01\0", &folder).unwrap();
    });
    !told.contains("compiled code")
}

/// The only file of compiled code.
fn kept(caches: &Path) -> PathBuf {
    let entries = fs::read_dir(caches.join("minisnap")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths.remove(0)
}

#[test]
fn compiled_code_is_kept_and_used_only_if_it_is_what_was_written() {
    let caches = tempdir().unwrap();
    assert!(!found_compiled_code(caches.path()));
    assert!(found_compiled_code(caches.path()));
    let file = kept(caches.path());
    let right = fs::read(&file).unwrap();
    let damage = |at: usize| {
        let mut damaged = right.clone();
        damaged[at] ^= 1;
        damaged
    };
    let of_another_version = {
        let code = b"this is no code";
        [&code[..], blake3::hash(code).as_bytes()].concat()
    };
    for wrong in [
        damage(0),
        damage(right.len() / 2),
        damage(right.len() - 1),
        right[..right.len() / 2].to_owned(),
        Vec::new(),
        of_another_version,
    ] {
        fs::write(&file, wrong).unwrap();
        assert!(!found_compiled_code(caches.path()));
        assert!(fs::read(kept(caches.path())).unwrap() == right, "it is written again");
    }
    assert!(found_compiled_code(caches.path()));
}

#[test]
fn compiled_code_is_not_taken_from_where_others_may_write() {
    let caches = tempdir().unwrap();
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert!(!found_compiled_code(caches.path()));
    let (folder, file) = (caches.path().join("minisnap"), kept(caches.path()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for (path, right, wrong) in [(&folder, 0o700, 0o777), (&folder, 0o700, 0o720), (&file, 0o600, 0o620)] {
        set_mode(path, wrong);
        assert!(!found_compiled_code(caches.path()), "{} {wrong:o}", path.display());
        set_mode(path, right);
        assert!(found_compiled_code(caches.path()), "{} {right:o}", path.display());
    }
    // Nor through links.
    let elsewhere = caches.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(!found_compiled_code(caches.path()), "a link to the file");
    assert!(found_compiled_code(caches.path()), "it was replaced");
    fs::rename(&folder, caches.path().join("folder")).unwrap();
    symlink("folder", &folder).unwrap();
    assert!(!found_compiled_code(caches.path()), "a link to the folder");
}

/// Who owns a file may give others the right to write it, at any time.
#[test]
#[cfg_attr(not(root), ignore = "only root may give a file to another user")]
fn compiled_code_that_another_user_owns_is_not_used() {
    const ANOTHER: u32 = 65534;
    let caches = tempdir().unwrap();
    assert!(!found_compiled_code(caches.path()));
    assert!(found_compiled_code(caches.path()));
    let (folder, file) = (caches.path().join("minisnap"), kept(caches.path()));
    chown(&file, Some(ANOTHER), None).unwrap();
    assert!(!found_compiled_code(caches.path()), "the file is another user's");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "it was replaced");
    assert!(found_compiled_code(caches.path()));
    chown(&folder, Some(ANOTHER), None).unwrap();
    for _ in 0..2 {
        assert!(!found_compiled_code(caches.path()), "the folder is another user's");
    }
    chown(&folder, Some(0), None).unwrap();
    assert!(found_compiled_code(caches.path()));
}

#[test]
fn only_old_files_of_compiled_code_are_removed() {
    let caches = tempdir().unwrap();
    let folder = caches.path().join("minisnap");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let key = "0123456789abcdef0123456789abcdef";
    let [old, left, new] = [
        format!("component-{key}.cwasm"),
        "component-aB3dE6.cwasm-tmp".to_owned(),
        "component-Xy3dE6.cwasm-tmp".to_owned(),
    ];
    let others = [
        "component-2024.db",
        "component-backup.json",
        "component-.cwasm",
        "state.json",
        "xcomponent-aB3dE6.cwasm-tmp",
    ];
    let long_ago = SystemTime::now() - Duration::from_secs(60 * 60 * 24 * 31);
    for name in [&old, &left, &new].into_iter().map(String::as_str).chain(others) {
        let file = File::create(folder.join(name)).unwrap();
        if name != new {
            file.set_modified(long_ago).unwrap();
        }
    }
    assert!(!found_compiled_code(caches.path()));
    assert!(found_compiled_code(caches.path()));
    for name in others.into_iter().chain([new.as_str()]) {
        assert!(folder.join(name).exists(), "{name}");
    }
    for name in [old, left] {
        assert!(!folder.join(&name).exists(), "{name}");
    }
}

#[test]
fn compiled_code_that_cannot_be_cached_only_takes_longer() {
    let dir = tempdir().unwrap();
    let mut cli = cli();
    cli.arg("create").arg(dir.path()).args(["--seq", "1"]);
    cli.env("XDG_CACHE_HOME", "/dev/null/nowhere").env("HOME", "/dev/null/nowhere");
    let Done { code, stdout, stderr } = run(&mut cli, "1");
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", ""));
}

/// What a component can write there, the next run would execute.
#[test]
fn a_component_cannot_reach_compiled_code_through_its_files() {
    let place = tempdir().unwrap();
    let caches = place.path().join("caches");
    symlink("caches", place.path().join("link")).unwrap();
    let consume = |caches: &Path, dir: &Path| {
        let mut cli = cli();
        cli.arg("run").arg(VERBS).arg("--grant").arg(place.path().join("snapshots"));
        cli.arg("--dir").arg(format!("{}::/x", dir.display())).env("XDG_CACHE_HOME", caches);
        run(cli.args(["--", "read", "/x"]), "")
    };
    // Whether or not it is there already.
    fs::create_dir(&caches).unwrap();
    assert_refused(&consume(&caches, &caches), 2, "would give the component");
    let mut create = cli();
    create.arg("create").arg(place.path().join("made")).args(["--seq", "1"]).env("XDG_CACHE_HOME", &caches);
    assert_eq!(run(&mut create, "1").code, Some(0));
    for dir in [place.path().to_owned(), caches.clone(), caches.join("minisnap")] {
        assert_refused(&consume(&caches, &dir), 2, "would give the component");
    }
    // Nor the link that leads there.
    let through = place.path().join("link");
    fs::create_dir(place.path().join("given")).unwrap();
    symlink("../caches", place.path().join("given/link")).unwrap();
    assert_refused(&consume(&place.path().join("given/link"), &place.path().join("given")), 2, "would give");
    let beside = caches.join("other");
    fs::create_dir(&beside).unwrap();
    assert_prints(&consume(&through, &beside), &["Ok(())"]);
}

#[test]
fn a_consumers_compiled_code_is_kept_like_the_stores() {
    let caches = tempdir().unwrap();
    let dir = tempdir().unwrap();
    let consume = || {
        let mut cli = cli();
        cli.arg("-v")
            .arg("run")
            .arg(VERBS)
            .arg("--grant")
            .arg(dir.path())
            .env("XDG_CACHE_HOME", caches.path());
        let Done { code, stderr, .. } = run(cli.args(["--", "exists"]), "");
        assert_eq!(code, Some(0), "{stderr}");
        stderr.matches("no compiled code").count()
    };
    assert_eq!((consume(), consume()), (2, 0));
    let folder = caches.path().join("minisnap");
    let files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((files.len(), fs::read_dir(caches.path()).unwrap().count()), (2, 1), "{files:?}");
    // Where others may write, neither is used.
    for path in files.iter().chain([&folder]) {
        let right = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(consume() > 0, "{}", path.display());
        fs::set_permissions(path, right).unwrap();
        consume();
        assert_eq!(consume(), 0);
    }
}
