//! What all stores of one host have together: calls at once, and memory.

use std::process::Command;

use minisnap_host::{Error, Grant};
use minisnap_tests::{HANG, VERBS, cached_builder, program, run, scratch};
use tempfile::tempdir;

/// 600 directories hang, then 100 calls in one, then what is opened, and then the only call that may run.
#[cfg_attr(one_file_system, ignore = "/dev/shm and the folder for temporary files are on one file system")]
#[test]
fn calls_that_hang_take_a_share_of_all_and_hold_up_nobody_elsewhere() {
    let root = tempdir().unwrap();
    let elsewhere = scratch();
    let mut host = Command::new(program("hanging-calls"));
    host.arg(VERBS).env("LD_PRELOAD", HANG).env("HANG_IN", root.path().join("hung"));
    host.env("HANG_WHILE", elsewhere.path().join("hang"));
    host.env("HANG_STAT_WHILE", elsewhere.path().join("hang-stat"));
    host.env("BESIDE", root.path().join("beside")).env("ELSEWHERE", elsewhere.path().join("else"));
    let ran = run(&mut host, "");
    let expected = [
        "elsewhere: ok, 1 1",
        "the runtime has threads: true",
        "hung: 128",
        "answered: 600",
        "beside: ok, 1 1",
        "hung: 32",
        "answered: 100",
        "open: cannot open the directory `HUNG/c`: its file system has not answered within 300ms; try again once it answers",
        "open again: the directory `HUNG/c` does not answer: ",
        "open_async: cannot open the directory `HUNG/d`: its file system has not answered within 300ms; try again once it \
         answers",
        "open_async again: the directory `HUNG/d` does not answer: ",
        "open beside: ok",
        "open later: ok",
        "open later: ok",
        "late: io: the call did not begin before its deadline, since too many others are running or the file system does \
         not answer: no snapshot was changed; try again",
        "here: the call did not begin before its deadline, since ",
        "dropped: true",
        "hung: 1",
        "first: ok, 1 1",
        "waits: ok, 1 1",
        "write: the call did not begin before its deadline, since ",
        "write again: the stream has ended: ",
        "commit: the stream has ended: ",
        "stored: 2",
        "late has made: 0",
        "here has made: 0",
        "dropped has made: 0",
        "late later: ok, 1 1",
        "by the host: Some(1)",
    ];
    let hung = root.path().join("hung");
    let printed: Vec<&str> = ran.stdout.lines().collect();
    for (line, expected) in printed.iter().zip(expected) {
        let expected = expected.replace("HUNG", hung.to_str().unwrap());
        assert!(line.starts_with(&expected), "{line:?} instead of {expected:?}\n{ran:?}");
    }
    assert_eq!((printed.len(), ran.code), (expected.len(), Some(0)), "{ran:?}");
}

#[test]
fn all_instances_together_have_no_more_memory_than_the_host_allows() {
    const MAX: usize = 48 << 20;
    let root = scratch();
    let minisnap = cached_builder().max_memory(MAX).max_idle(1000).build().unwrap();
    let mut stores: Vec<_> =
        (0..100).map(|name| minisnap.open(Grant::new(root.path().join(name.to_string()))).unwrap()).collect();
    let large = serde_json::to_string(&"x".repeat(16 << 20)).unwrap();
    // Idle instances make room, for those of others and for a large one.
    for store in &mut stores {
        store.create(&1, 1).unwrap();
    }
    let one = stores.iter().map(|store| store.peak_memory()).min().unwrap();
    assert!(one * stores.len() > 2 * MAX, "100 instances of {one} bytes fit");
    stores[0].create_text(&large, 2).unwrap();
    assert_eq!(stores[0].restore_text().unwrap().state, large);

    // Instances that have a stream open do not.
    let (first, others) = stores.split_first_mut().unwrap();
    let mut others = others.iter_mut();
    let mut writers = Vec::new();
    let refused = loop {
        match others.next().expect("they fit all").open_writer(2) {
            Ok(writer) => writers.push(writer),
            Err(error) => break error,
        }
    };
    for refused in [refused, first.restore_text().unwrap_err()] {
        let Error::Io(message) = &refused else { panic!("{refused:?}") };
        assert!(
            message.to_string().contains(&format!("used up their memory limit of {MAX} bytes")),
            "{message}"
        );
    }
    // Which costs nobody anything, and ends with the streams.
    drop(writers);
    assert_eq!(first.restore_text().unwrap().state, large);
    for store in &mut stores[1..] {
        assert_eq!(store.restore::<u64>().unwrap().state, 1);
    }
}
