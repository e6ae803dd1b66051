//! A create of a pair that could not be finished is refused before it changes anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use minisnap_tests::{Done, cli, names, run, run_mounting};
use tempfile::{TempDir, tempdir};

const NAMES: [&str; 3] = ["snapshot.json", "snapshot.seq", "snapshot.sum"];

/// A directory with the snapshot 1, which is `1`.
fn dir() -> TempDir {
    let dir = tempdir().unwrap();
    create(dir.path(), "1");
    dir
}

fn create(dir: &Path, seq: &str) {
    let done = run(cli().arg("create").arg(dir).args(["--seq", seq]), seq);
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// What was refused has left nothing, and the next one that may succeeds.
#[track_caller]
fn assert_refused(done: &Done, dir: &Path, name: &str, why: &str) {
    assert_eq!(done.code, Some(10), "{done:?}");
    let problem = format!("error: `{}`: cannot rename or replace `{name}`, since {why}", dir.display());
    assert!(done.stderr.contains(&problem) && done.stderr.contains("nothing was changed"), "{done:?}");
    assert_eq!(names(dir), NAMES);
    assert_eq!(
        run(cli().arg("restore").arg(dir), ""),
        Done { code: Some(0), stdout: "1".into(), stderr: "seq 1\n".into() }
    );
    create(dir, "3");
}

#[test]
fn a_create_where_something_is_mounted_on_a_file_is_refused_and_without_it_succeeds() {
    for name in NAMES {
        let dir = dir();
        let other = tempdir().unwrap();
        fs::copy(dir.path().join(name), other.path().join("other")).unwrap();
        let file = dir.path().join(name);
        let script = format!(
            "mount --bind {} {} || exit 99; echo 2 | \"$1\" create \"$2\" --seq 2",
            other.path().join("other").display(),
            file.display()
        );
        let done = run_mounting(&script, dir.path(), "");
        if done.code == Some(99) || done.stderr.contains("unshare") {
            assert!(std::env::var_os("CI").is_none(), "continuous integration can mount: {done:?}");
            println!("IGNORED: this system allows no namespace in which one can mount");
            return;
        }
        assert_refused(&done, dir.path(), name, "something is mounted on it");
    }
}

#[cfg_attr(not(root), ignore = "only root may give a file to another user")]
#[test]
fn a_create_in_another_users_sticky_directory_is_refused_and_its_owner_goes_on() {
    let dir = dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    for name in NAMES {
        chown(dir.path().join(name), Some(65533), None).unwrap();
    }
    // Where another user may run it.
    let programs = tempdir().unwrap();
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = programs.path().join("minisnap");
    // By a process of its own: one that another test starts meanwhile could keep the file open for writing.
    assert_eq!(run(Command::new("cp").arg(cli().get_program()).arg(&program), "").code, Some(0));
    let link = programs.path().join("link");
    symlink(dir.path(), &link).unwrap();
    let as_another = |user: &str, dir: &Path, seq: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(&program);
        run(command.arg("create").arg(dir).args(["--seq", seq]).env_remove("HOME"), seq)
    };
    let why = "it belongs to the user 65533, and the directory has the sticky bit";
    let by_a_link = as_another("65534", &link, "2");
    assert!(by_a_link.code == Some(10) && by_a_link.stderr.contains(why), "{by_a_link:?}");
    let refused = as_another("65534", dir.path(), "2");

    // What a stranger's create left cannot be removed there.
    let new = dir.path().join("snapshot.seq.new");
    fs::write(&new, "").unwrap();
    let by_its_owner = as_another("65533", dir.path(), "1");
    let theirs = "`snapshot.seq.new`, since it belongs to the user 0";
    assert!(by_its_owner.code == Some(10) && by_its_owner.stderr.contains(theirs), "{by_its_owner:?}");
    fs::remove_file(new).unwrap();

    assert_eq!(as_another("65533", dir.path(), "1").code, Some(0));
    assert_refused(&refused, dir.path(), "snapshot.json", why);
}

/// What nobody could read again, nobody could replace either.
#[test]
fn under_a_umask_that_takes_ones_own_rights_a_create_is_refused_and_leaves_nothing() {
    let empty = tempdir().unwrap();
    for (dir, umask) in [(empty.path().join("made"), "0777"), (dir().keep(), "0477"), (dir().keep(), "0277")]
    {
        let before = fs::read_dir(&dir).map_or(0, Iterator::count);
        let script = format!("umask {umask}; echo 2 | \"$0\" create \"$1\" --seq 2");
        let done = run(Command::new("sh").args(["-c", &script]).arg(cli().get_program()).arg(&dir), "");
        assert_eq!(done.code, Some(10), "{done:?}");
        assert!(
            done.stderr.contains(&format!("the umask {umask} denies this process access to its own files")),
            "{done:?}"
        );
        assert_eq!(fs::read_dir(&dir).map_or(0, Iterator::count), before);
        create(&dir, "3");
        fs::remove_dir_all(dir).unwrap();
    }
}

#[cfg_attr(
    not(attributes),
    ignore = "only root may set attributes of a file, where its file system has them"
)]
#[test]
fn a_create_that_would_replace_an_immutable_file_is_refused_and_without_that_succeeds() {
    let chattr = |change: &str, file: &Path| {
        assert_eq!(run(Command::new("chattr").arg(change).arg(file), "").code, Some(0));
    };
    for name in NAMES {
        for (set, unset, why) in [("+i", "-i", "it is immutable"), ("+a", "-a", "it is append-only")] {
            let dir = dir();
            let file = dir.path().join(name);
            chattr(set, &file);
            let refused = run(cli().arg("create").arg(dir.path()).args(["--seq", "2"]), "2");
            chattr(unset, &file);
            assert_refused(&refused, dir.path(), name, why);
        }
    }
}
