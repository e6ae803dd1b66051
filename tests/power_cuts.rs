//! Power cuts of real file systems, while a component snapshots in a loop: what was acknowledged before the cut is
//! there afterwards, and no pair is mixed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use minisnap_host::{Grant, Snapshot};
use minisnap_tests::{RUST_CONSUMER, binary, minisnap, run};
use tempfile::tempdir;

/// How often the power of each file system is cut.
const ROUNDS: u32 = 200;

fn must(command: &mut Command) {
    let done = run(command, "");
    assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
}

/// Stops a file system at once, with nothing written any more that is not on the disk already: FS_IOC_SHUTDOWN with
/// FS_SHUTDOWN_FLAGS_NOLOGFLUSH, as Linux's `fs.h` and xfs's `xfs_fs.h` have them.
fn cut_power(mounted: &Path) {
    let ioctl = r#"open my $dir, "<", $ARGV[0] or die $!; my $flags = pack("I", 2); ioctl $dir, 0x8004587d, $flags or die $!"#;
    must(Command::new("perl").args(["-e", ioctl]).arg(mounted));
}

fn cut_power_again_and_again(layout: &str, mkfs: &[&str]) {
    let tmp = tempdir().unwrap();
    let (image, mounted) = (tmp.path().join("image"), tmp.path().join("mounted"));
    fs::create_dir(&mounted).unwrap();
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    must(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
    let dir = mounted.join("snapshots");

    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut stored = 0;
    for round in 0..ROUNDS {
        must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        if round > 0 {
            let mut reader = minisnap().open(Grant::new(&dir).read_only()).unwrap();
            let Snapshot { state, seq, skipped } = reader.restore::<(u64, String)>().unwrap();
            assert!(seq >= stored, "{layout}, round {round}: {seq} is restored, {stored} was acknowledged");
            assert!(state.0 == seq && skipped.is_empty(), "{layout}, round {round}: {seq} with {}", state.0);
            stored = seq;
        }
        let mut consumer = Command::new(binary())
            .arg("run")
            .arg(RUST_CONSUMER)
            .arg("--grant")
            .arg(&dir)
            .args(["--layout", layout, "--", "count-from", &(stored + 1).to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
        let acknowledged = AtomicU64::new(stored);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::scope(|scope| {
            scope.spawn(|| {
                for line in lines.map_while(Result::ok) {
                    acknowledged.store(line.parse().unwrap(), Ordering::SeqCst);
                }
            });
            while acknowledged.load(Ordering::SeqCst) == stored {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_micros(random % 30_000));
            // Only what came before the cut.
            let before = acknowledged.load(Ordering::SeqCst);
            let cut = std::panic::catch_unwind(|| cut_power(&mounted));
            stored = before;
            // It may have ended by itself, with an error.
            let _ = consumer.kill();
            consumer.wait().unwrap();
            assert!(cut.is_ok(), "the power was not cut");
        });
        must(Command::new("umount").arg(&mounted));
    }
    println!("{layout} on {}: {ROUNDS} power cuts, {stored} snapshots", mkfs[0]);
    assert!(stored > u64::from(ROUNDS), "only {stored} snapshots were made");
}

#[test]
#[ignore = "mounts loop devices, so it must be root's where that is allowed: tests/run --test power_cuts -- --ignored"]
fn two_hundred_power_cuts_on_ext4_lose_no_acknowledged_snapshot() {
    for layout in ["pair", "numbered"] {
        cut_power_again_and_again(layout, &["mkfs.ext4", "-q", "-F"]);
    }
}

#[test]
#[ignore = "mounts loop devices, so it must be root's where that is allowed: tests/run --test power_cuts -- --ignored"]
fn two_hundred_power_cuts_on_xfs_lose_no_acknowledged_snapshot() {
    for layout in ["pair", "numbered"] {
        cut_power_again_and_again(layout, &["mkfs.xfs", "-q", "-f"]);
    }
}
