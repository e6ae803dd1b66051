//! Components that mean harm, beside one that keeps its state: each attack ends in an error to the attacker alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use minisnap_host::{Grant, Layout, Snapshot, SnapshotStore};
use minisnap_tests::host::{Ended, Host};
use minisnap_tests::{HOSTILE, cli, minisnap, run, scratch};
use tempfile::TempDir;
use wasmtime::Config;
use wasmtime::component::Component;

/// An attacker and its victim, each with a directory in the same folder.
pub(crate) struct Scene {
    pub(crate) root: TempDir,
    host: Host,
    attacker: Component,
    victim: SnapshotStore,
}

impl Scene {
    pub(crate) fn new(layout: Layout) -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let host = Host::new(&config, minisnap());
        let attacker = host.load(HOSTILE);
        let root = scratch();
        let mut victim =
            minisnap().open(Grant::new(root.path().join("victim")).layout(layout)).expect("a store");
        victim.create_text("\"theirs\"", 1).expect("the victim's first snapshot");
        Scene { root, host, attacker, victim }
    }

    pub(crate) fn path(&self, who: &str) -> PathBuf {
        self.root.path().join(who)
    }

    pub(crate) fn grant(&self) -> Grant {
        Grant::new(self.path("attacker"))
    }

    pub(crate) fn attack(&self, grant: Grant, attacks: &[&str]) -> Ended {
        self.host.run(&self.attacker, self.host.snapshots(grant), attacks)
    }

    /// What the victim has is what it made, and it goes on.
    #[track_caller]
    pub(crate) fn assert_the_victim_goes_on(&mut self) {
        let Snapshot { state, seq, skipped, .. } =
            self.victim.restore_text().expect("the victim's snapshot is there");
        assert_eq!((state.as_str(), skipped.len()), ("\"theirs\"", 0));
        self.victim.create_text("\"theirs\"", seq + 1).expect("the victim goes on");
        assert_eq!(self.victim.restore_text().expect("what it has just made").seq, seq + 1);
    }
}

/// The files below `dir` and what is in them.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read(entry.path()).expect("readable"));
        }
    }
    found
}

#[test]
fn no_path_and_no_name_leads_to_another_components_snapshots() {
    let mut scene = Scene::new(Layout::Pair);
    let ended = scene.attack(scene.grant(), &["paths", "restore", "create", "1", "restore"]);
    assert_eq!(ended.printed, "paths: 0 of 16\nrestore: none\ncreate: ok\nrestore: 1 \"mine\"\n");
    drop(ended);
    // Nor from files of its own, with links that lead there.
    fs::create_dir(scene.path("data")).expect("made");
    let plant = |to: &Path, name: &str| {
        symlink(to, scene.path("data").join(name)).expect("planted");
    };
    plant(Path::new(".."), "up");
    plant(Path::new("../victim/snapshot.json"), "theirs");
    plant(&scene.path("victim"), "absolute");
    let mut host = cli();
    host.arg("run").arg(HOSTILE).arg("--grant").arg(scene.path("attacker"));
    host.arg("--dir").arg(format!("{}::/data", scene.path("data").display()));
    let done = run(host.args(["--", "paths", "own", "/data"]), "");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "paths: 0 of 16\nown: ok\n"), "{done:?}");
    scene.assert_the_victim_goes_on();
}

/// The attack is real: where a host gives a component the folder of all, the same paths lead to the victim.
#[test]
fn the_paths_lead_to_what_a_component_was_given() {
    let mut scene = Scene::new(Layout::Pair);
    fs::create_dir(scene.path("snapshots")).expect("made");
    fs::create_dir(scene.path("data")).expect("made");
    symlink("../victim/snapshot.json", scene.path("data/theirs")).expect("planted");
    symlink("..", scene.path("data/up")).expect("planted");
    scene.host.folder = Some((scene.root.path().to_owned(), "/"));
    assert_eq!(scene.attack(scene.grant(), &["paths"]).printed, "paths: 11 of 16\n");
}

/// With so few descriptors that something, from the first file on, cannot be opened.
#[test]
fn descriptors_that_are_exhausted_are_an_error_and_cost_no_data() {
    let (mut failed, mut made) = (0, 0);
    for layout in ["pair", "numbered"] {
        let root = scratch();
        let attack = |limit: u32, attacks: &[&str]| {
            let mut host = Command::new("sh");
            host.args(["-c", "ulimit -n $0; exec \"$@\""]).arg(limit.to_string()).arg(cli().get_program());
            host.arg("run").arg(HOSTILE).arg("--grant").arg(root.path()).args(["--layout", layout, "--"]);
            run(host.args(attacks), "")
        };
        assert_eq!(attack(1024, &["create", "1"]).stdout, "create: ok\n");
        let mut stored = 1;
        for limit in 4..40 {
            let seq = stored + 1;
            let done = attack(limit, &["readers", "99", "create", &seq.to_string()]);
            let is_made = done.stdout.ends_with("create: ok\n");
            // It is told of in the component, or where that could not be run.
            assert!(
                matches!(done.code, Some(0 | 1 | 9..=11)) && !done.stderr.contains("panicked"),
                "{done:?}"
            );
            let found = minisnap().open(Grant::new(root.path()).read_only()).unwrap().restore_text().unwrap();
            assert_eq!(found.state, "\"mine\"");
            assert!(found.seq == seq || !is_made && found.seq == stored, "{limit}: {found:?} after {done:?}");
            stored = found.seq;
            failed += u32::from(!is_made);
            made += u32::from(is_made);
        }
    }
    assert!(failed > 10 && made > 10, "{failed} failed and {made} did not");
}

#[test]
fn what_is_denied_reaches_nothing() {
    let mut scene = Scene::new(Layout::Pair);
    let attacks = ["restore", "create", "9", "stream", "9", "readers", "2"];
    let ended = scene.attack(Grant::none(), &attacks);
    let denied = "restore: access-denied\ncreate: access-denied\nstream: access-denied\n\
                  readers: 0 of 2, then access-denied\n";
    assert_eq!(ended.printed, denied);
    drop(ended);
    // What is granted can be done.
    let granted = "restore: none\ncreate: ok\nstream: invalid-state\nreaders: 2 of 2, then nothing\n";
    assert_eq!(scene.attack(scene.grant(), &attacks).printed, granted);
    scene.assert_the_victim_goes_on();
}

#[test]
fn a_state_of_4_gib_is_too_large_and_leaves_nothing() {
    let mut scene = Scene::new(Layout::Pair);
    scene.host.max_memory = 1 << 30;
    let grant = scene.grant().max_state(8 << 20);
    let ended = scene.attack(grant.clone(), &["stream", "4294967296", "call", "100000000"]);
    assert_eq!(ended.printed, "stream: too-large\ncall: too-large\n", "{:?}", ended.trap);
    drop(ended);
    // More than a component may hand over at once ends it.
    let ended = scene.attack(grant, &["call", "900000000"]);
    assert!(ended.trap.is_some(), "{}", ended.printed);
    drop(ended);
    assert!(files(&scene.path("attacker")).is_empty());
    // What fits is taken.
    let ended = scene.attack(scene.grant().max_state(8 << 20), &["stream", "4194304", "call", "4000000"]);
    assert_eq!(ended.printed, "stream: ok\ncall: ok\n", "{:?}", ended.trap);
    scene.assert_the_victim_goes_on();
}

#[test]
fn a_directory_that_is_full_to_its_limit_costs_nobody_else_anything() {
    let mut scene = Scene::new(Layout::Numbered);
    let grant = scene.grant().layout(Layout::Numbered).max_total(4096);
    let ended = scene.attack(grant, &["create", "1", "stream", "1048576", "restore"]);
    assert_eq!(ended.printed, "create: ok\nstream: no-space\nrestore: 1 \"mine\"\n");
    drop(ended);
    // Its limit was in the way, and nothing else.
    let unlimited = scene.grant().layout(Layout::Numbered);
    assert_eq!(scene.attack(unlimited, &["stream", "1048576"]).printed, "stream: ok\n");
    scene.assert_the_victim_goes_on();
}

#[test]
fn of_100_000_writers_one_is_given_and_of_readers_a_limited_number() {
    let mut scene = Scene::new(Layout::Pair);
    // Handles of stores are numbers of names, of which only so many are open; those that are dropped do not count.
    let ended = scene.attack(scene.grant().stores(1), &["names", "100000"]);
    assert_eq!(ended.printed, "names: 1001 of 100000, then busy\n");
    drop(ended);
    let ended = scene.attack(scene.grant().stores(1), &["dropped-names", "10000"]);
    assert_eq!(ended.printed, "dropped-names: 10000 of 10000, then nothing\n");
    drop(ended);
    let ended = scene.attack(scene.grant(), &["stores", "10000"]);
    assert_eq!(ended.printed, "stores: 10000 of 10000, then nothing\n");
    drop(ended);
    let ended = scene.attack(scene.grant(), &["create", "1", "writers", "100000"]);
    assert_eq!(ended.printed, "create: ok\nwriters: 1 of 100000, then busy\n");
    drop(ended);
    let ended = scene.attack(scene.grant(), &["readers", "100000"]);
    let given =
        ended.printed.strip_prefix("readers: ").and_then(|rest| rest.split_once(" of 100000, then busy\n"));
    let given: u64 = given.expect(&ended.printed).0.parse().expect("a number");
    assert!((1..=64).contains(&given), "{}", ended.printed);
    drop(ended);
    assert_eq!(
        scene.attack(scene.grant(), &["create", "2", "restore"]).printed,
        "create: ok\nrestore: 2 \"mine\"\n"
    );
    scene.assert_the_victim_goes_on();
}

/// Ends the attacker in the middle of a create in this way, and looks at what is left.
#[track_caller]
fn assert_half_a_create_leaves_nothing(end: &str) {
    for layout in [Layout::Pair, Layout::Numbered] {
        let mut scene = Scene::new(layout);
        let grant = scene.grant().layout(layout);
        assert_eq!(scene.attack(grant.clone(), &["create", "1"]).printed, "create: ok\n");
        let before = files(&scene.path("attacker"));
        scene.host.epochs = 200;
        let engine = scene.host.engine.weak();
        let clock = thread::spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let ended = scene.attack(grant.clone(), &["half", end]);
        assert!(ended.trap.is_some() && ended.printed == "half: half written\n", "{ended:?}");
        // Its writer is open until its snapshots are dropped.
        drop(ended);
        assert_eq!(files(&scene.path("attacker")), before, "{end}");
        scene.assert_the_victim_goes_on();
        scene.host.epochs = 1 << 40;
        let ended = scene.attack(grant, &["restore", "create", "2"]);
        assert_eq!(ended.printed, "restore: 1 \"mine\"\ncreate: ok\n");
        drop((ended, scene));
        clock.join().expect("the clock ends with its engine");
    }
}

#[test]
fn a_trap_in_the_middle_of_a_create_leaves_nothing() {
    assert_half_a_create_leaves_nothing("trap");
}

#[test]
fn an_endless_loop_with_an_open_writer_is_ended_by_the_host_and_leaves_nothing() {
    assert_half_a_create_leaves_nothing("loop");
}

#[test]
fn memory_that_is_exhausted_with_an_open_writer_leaves_nothing() {
    assert_half_a_create_leaves_nothing("memory");
}

#[test]
fn a_stack_that_is_exhausted_with_an_open_writer_leaves_nothing() {
    assert_half_a_create_leaves_nothing("stack");
}

#[test]
fn a_writer_or_reader_that_was_given_to_nobody_ends_who_uses_it() {
    let mut scene = Scene::new(Layout::Pair);
    for number in 0..4 {
        for attack in ["forge-writer", "forge-reader", "forge-store"] {
            let ended = scene.attack(scene.grant(), &[attack, &number.to_string()]);
            assert!(ended.trap.is_some() && ended.printed.is_empty(), "{attack} {number}: {}", ended.printed);
        }
    }
    // The numbers are those that are given: a stream that is the component's own has one of them.
    assert_eq!(scene.attack(scene.grant(), &["create", "1"]).printed, "create: ok\n");
    for kind in ["writer", "reader"] {
        let own = (0..4).filter(|number: &u32| {
            let (open, forge) = (format!("{kind}s"), format!("forge-{kind}"));
            let ended = scene.attack(scene.grant(), &[&open, "1", &forge, &number.to_string()]);
            ended.printed.ends_with(&format!("{forge}: ok\n"))
        });
        assert_eq!(own.count(), 1, "{kind}");
    }
    scene.assert_the_victim_goes_on();
}
