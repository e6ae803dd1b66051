//! Who and what gets at a snapshot directory beside the component that it belongs to: other users, folders that turn
//! into links, bind mounts.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use minisnap_host::Grant;
use minisnap_tests::{cli, minisnap, run};
use tempfile::tempdir;

// Other users.

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn directories_that_the_store_makes_are_for_their_user_alone() {
    let root = tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| root.path().join(name);
    // By the library, and by the command line, under a umask that would let everybody in.
    drop(minisnap().open(Grant::new(path("made/on/the/way"))).unwrap());
    let script = "umask 0; \"$@\"";
    let mut create = Command::new("sh");
    create.args(["-c", script, "sh"]).arg(cli().get_program()).arg("create").arg(path("by/verb"));
    assert_eq!(run(create.args(["--seq", "1"]), "1").code, Some(0));
    for made in ["made", "made/on", "made/on/the", "made/on/the/way", "by", "by/verb"] {
        assert_eq!(mode(&path(made)), 0o700, "{made}");
    }
    // What is there has the mode that somebody gave it.
    fs::create_dir(path("there")).unwrap();
    fs::set_permissions(path("there"), fs::Permissions::from_mode(0o755)).unwrap();
    drop(minisnap().open(Grant::new(path("there/below"))).unwrap());
    assert_eq!((mode(&path("there")), mode(&path("there/below"))), (0o755, 0o700));
    drop(minisnap().open(Grant::new(path("there"))).unwrap());
    assert_eq!((mode(&path("there")), mode(root.path())), (0o755, 0o755));
}
