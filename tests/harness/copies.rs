//! Stores that are copied, and what a copy has said.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use minisnap_host::{Grant, Layout, SnapshotStore};

use crate::{Done, cli, minisnap, names, run};

/// A store that keeps all that is made here.
pub fn store(dir: &Path, layout: Layout) -> SnapshotStore {
    minisnap()
        .open(Grant::new(dir).layout(layout).keep(NonZeroU32::new(99).expect("it works")))
        .expect("it works")
}

/// Makes snapshots of these numbers, whose states are objects with this text.
pub fn create(dir: &Path, layout: Layout, seqs: &[u64], text: &str) {
    let mut store = store(dir, layout);
    for seq in seqs {
        store.create(&serde_json::json!({"seq": seq, "text": text}), *seq).expect("it works");
    }
}

/// Copies by the command line.
pub fn copy(from: &Path, to: &Path, args: &[&str]) -> Done {
    run(cli().arg("copy").arg(from).arg(to).args(args), "")
}

/// The name of a generation's file.
pub fn file(seq: u64) -> String {
    format!("snapshot_{seq:020}.json")
}

/// What is restored from a directory.
pub fn newest(dir: &Path) -> (u64, String) {
    let restored =
        minisnap().open(Grant::new(dir).read_only()).expect("it works").restore_text().expect("it works");
    (restored.seq, restored.state)
}

/// It ended well, and printed this and nothing else.
#[track_caller]
pub fn assert_done(done: &Done, stdout: &str) {
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), stdout, ""));
}

/// It was refused with this exit code, and said this.
#[track_caller]
pub fn assert_refused(done: &Done, code: i32, what: &str) {
    assert!(done.code == Some(code) && done.stdout.is_empty() && done.stderr.contains(what), "{done:?}");
}

/// Whether two directories have the same names, contents and times.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    assert_eq!(names(one), names(other));
    for name in names(one) {
        let read = |dir: &Path| {
            let path = dir.join(&name);
            (
                fs::read(&path).expect("it works"),
                fs::metadata(&path).expect("it works").modified().expect("it works"),
            )
        };
        let ((bytes, time), (other_bytes, other_time)) = (read(one), read(other));
        assert_eq!(bytes, other_bytes, "{name}");
        // The files of a pair get the time of its state, which is known to the millisecond.
        let difference = time.duration_since(other_time).unwrap_or_else(|error| error.duration());
        assert!(difference < Duration::from_millis(100), "{name}: {difference:?}");
    }
}
