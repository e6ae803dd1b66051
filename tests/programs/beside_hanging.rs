//! A store whose file system hangs, beside others that must end meanwhile: `beside-hanging CONSUMER FOLDER`.
//!
//! `hang.c` is preloaded, with HANG_IN and HANG_WHILE. What hangs has no deadline to speak of: it goes on when the others
//! have ended. Prints a line for each kind of host.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use minisnap_host::{Grant, Minisnap};
use minisnap_tests::cached;
use minisnap_tests::host::Host;
use tokio::runtime::Builder;
use wasmtime::Config;

/// How many components there are beside the one that hangs.
const OTHERS: u64 = 4;

/// How long the disk is waited for, in steps of 10 ms: whoever waits for what hangs, waits as long.
const PATIENCE: u32 = 3000;

fn main() {
    let [consumer, folder] = &env::args().skip(1).collect::<Vec<_>>()[..] else { panic!("see above") };
    let disk = Disk::new();
    let minisnap = cached();
    let scene = Scene { folder: Path::new(folder), consumer, minisnap: &minisnap, disk: &disk };
    println!("threads: {}", scene.in_threads());
    let one = Builder::new_current_thread().enable_time().build().expect("a runtime");
    println!("one asynchronous thread: {}", one.block_on(scene.asynchronously()));
    let two = Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    println!("two asynchronous threads: {}", two.block_on(scene.asynchronously()));
}

/// The file system that hangs.
struct Disk {
    /// It hangs while this file is there.
    hanging: PathBuf,
}

impl Disk {
    fn new() -> Self {
        Disk { hanging: PathBuf::from(env::var_os("HANG_WHILE").expect("HANG_WHILE is set")) }
    }

    /// Makes it hang, until it is told to answer or nobody seems to do that.
    fn hang(&self) {
        fs::write(&self.hanging, "").expect("the file system hangs now");
        let hanging = self.hanging.clone();
        thread::spawn(move || {
            let is_over = |_: &u32| {
                thread::sleep(Duration::from_millis(10));
                !hanging.exists()
            };
            if (0..PATIENCE).find(is_over).is_none() {
                let _ = fs::remove_file(&hanging);
            }
        });
    }

    /// Whether something waits for it, which has written into that file.
    fn is_reached(&self) -> bool {
        fs::metadata(&self.hanging).is_ok_and(|file| file.len() > 0)
    }

    /// Whether it still hangs, which ends now.
    fn answer(&self) -> bool {
        fs::remove_file(&self.hanging).is_ok()
    }
}

struct Scene<'s> {
    folder: &'s Path,
    consumer: &'s str,
    minisnap: &'s Minisnap,
    disk: &'s Disk,
}

impl Scene<'_> {
    /// What hangs, with all the time that it wants.
    fn hanging(&self) -> Grant {
        let dir = PathBuf::from(env::var_os("HANG_IN").expect("HANG_IN is set"));
        Grant::new(dir).deadline(Duration::from_secs(3600))
    }

    fn other(&self, number: u64) -> Grant {
        Grant::new(self.folder.join(format!("other-{number}")))
    }

    /// Stores that are called by a thread each.
    fn in_threads(&self) -> String {
        let mut hangs = self.minisnap.open(self.hanging()).expect("a store");
        self.disk.hang();
        thread::scope(|scope| {
            let hung = scope.spawn(move || hangs.create_text("1", 1));
            while !self.disk.is_reached() && !hung.is_finished() {
                thread::sleep(Duration::from_millis(1));
            }
            for number in 0..OTHERS {
                let mut other = self.minisnap.open(self.other(number)).expect("another store");
                other.create(&number, 1).expect("a snapshot");
                assert_eq!(other.restore::<u64>().expect("the snapshot").state, number);
            }
            let still = told(!hung.is_finished() && self.disk.answer());
            hung.join().expect("no panic").expect("the disk has answered");
            format!("{still}: then ok")
        })
    }

    /// Components in an asynchronous host.
    async fn asynchronously(&self) -> String {
        let host = Host::new_async(&Config::new(), self.minisnap);
        let component = host.load(self.consumer);
        let hangs = host.snapshots(self.hanging());
        let others: Vec<_> = (0..OTHERS).map(|number| host.snapshots(self.other(number))).collect();
        self.disk.hang();
        let has_ended = AtomicBool::new(false);
        let hung = async {
            let hung = host.run_async(&component, hangs, &["create", "2", "2"]).await;
            has_ended.store(true, Ordering::SeqCst);
            hung.printed
        };
        let others = async {
            while !self.disk.is_reached() && !has_ended.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for (number, other) in (0..).zip(others) {
                let state = format!("{number}");
                let ended = host.run_async(&component, other, &["create", "1", &state, "restore"]).await;
                assert_eq!(ended.printed, format!("ok\n1 {state}\n"));
            }
            told(!has_ended.load(Ordering::SeqCst) && self.disk.answer())
        };
        let (printed, still) = tokio::join!(hung, others);
        format!("{still}: then {}", printed.trim_end())
    }
}

fn told(still_hangs: bool) -> &'static str {
    if still_hangs { "the others have ended, and it hangs" } else { "the others have waited for it" }
}
