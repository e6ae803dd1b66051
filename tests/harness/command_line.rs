//! Verbs of the command line that are run, and what they must have done.

use std::fs;
use std::path::Path;

use minisnap_host::{Grant, Layout};
use tempfile::{TempDir, tempdir};

use crate::{Done, cli, minisnap, run};

/// What a verb did, in full.
pub fn done(code: i32, stdout: &str, stderr: &str) -> Done {
    Done { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

/// Makes a snapshot by the command line.
pub fn create(dir: &Path, seq: &str, state: &str) -> Done {
    run(cli().arg("create").arg(dir).args(["--seq", seq]), state)
}

/// Restores the newest one by the command line.
pub fn restore(dir: &Path) -> Done {
    run(cli().arg("restore").arg(dir), "")
}

/// A directory with this snapshot, in the layout of a pair.
pub fn dir_with_snapshot(state: &str, seq: &str) -> TempDir {
    let dir = tempdir().expect("it works");
    let mut store = minisnap().open(Grant::new(dir.path())).expect("it opens");
    store.create_text(state, seq.parse().expect("a number")).expect("it is created");
    dir
}

/// A directory with these generations; the last one is damaged if that is asked for.
pub fn history(seqs: &[u64], damaged: bool) -> TempDir {
    let dir = tempdir().expect("it works");
    let mut store = minisnap().open(Grant::new(dir.path()).layout(Layout::Numbered)).expect("it opens");
    for seq in seqs {
        store.create_text(&format!("\"{}\"", "x".repeat(998)), *seq).expect("it is created");
    }
    if damaged {
        let path = dir.path().join(format!("snapshot_{:020}.json", seqs.last().expect("it works")));
        let text = fs::read_to_string(&path).expect("it works");
        fs::write(path, text.replace("xxxxx\"", "xxyxx\"")).expect("it works");
    }
    dir
}

/// The exit code is `code`, and the message is one of the form that scripts and people rely on.
#[track_caller]
pub fn assert_fails(done: &Done, code: i32, message: &str) {
    assert_eq!((done.code, done.stdout.as_str()), (Some(code), ""), "{done:?}");
    assert!(done.stderr.starts_with("error: ") && done.stderr.contains(message), "{}", done.stderr);
}
