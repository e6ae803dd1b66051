//! What is planted in a granted directory, such as a link or a device, is neither followed nor read nor written.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use minisnap_host::Layout;
use minisnap_tests::run;

use crate::isolation::{Scene, files};

/// Plants something under a name, and says whether it is there.
type Plant = fn(victims: &Path, name: &Path) -> bool;

/// Makes a FIFO or a device. Only root may make a device, and not everywhere: whoever may not is told what was not tried.
fn node(name: &Path, kind: &[&str]) -> bool {
    let made = run(Command::new("mknod").arg(name).args(kind), "");
    if made.code == Some(0) {
        return true;
    }
    let must = kind[0] == "p" || cfg!(root) || std::env::var_os("CI").is_some();
    assert!(!must && made.stderr.contains("not permitted"), "{made:?}");
    false
}

fn link(to: &Path, name: &Path) -> bool {
    symlink(to, name).expect("planted");
    true
}

const PLANTS: [(&str, Plant); 5] = [
    ("a link to a file", link),
    ("a link to a folder", |victims, name| link(victims.parent().expect("a folder"), name)),
    ("a link to nothing", |_, name| link(Path::new("nothing"), name)),
    ("a FIFO", |_, name| node(name, &["p"])),
    ("a device without an end", |_, name| node(name, &["c", "1", "5"])),
];

/// The plants are real: whoever follows the links gets at what is the victim's, and a device can be read for ever.
#[test]
fn what_is_planted_leads_whoever_follows_it_to_the_victim() {
    let scene = Scene::new(Layout::Pair);
    let victims = scene.path("victim").join("snapshot.json");
    let mut planted = 0;
    for (number, (what, plant)) in PLANTS.into_iter().enumerate() {
        let name = scene.root.path().join(number.to_string());
        if !plant(&victims, &name) {
            continue;
        }
        planted += 1;
        match what {
            "a link to a file" => assert_eq!(fs::read_to_string(name).unwrap(), "\"theirs\""),
            "a link to a folder" => {
                assert_eq!(fs::read_to_string(name.join("snapshot.json")).unwrap(), "\"theirs\"");
            }
            "a device without an end" => {
                let mut read = vec![1; 1 << 20];
                fs::File::open(name).and_then(|mut file| file.read_exact(&mut read)).expect("it has no end");
                assert!(read.iter().all(|byte| *byte == 0));
            }
            _ => assert!(!name.symlink_metadata().unwrap().is_file()),
        }
    }
    assert!(planted >= 4);
    // And so does whoever reads a copy of the victim's files.
    fs::create_dir(scene.path("attacker")).expect("made");
    for (file, contents) in files(&scene.path("victim")) {
        fs::write(scene.path("attacker").join(file.file_name().unwrap()), contents).expect("copied");
    }
    assert_eq!(scene.attack(scene.grant(), &["restore"]).printed, "restore: 1 \"theirs\"\n");
}

/// What blocks when it is opened would hang this test.
#[test]
fn what_is_planted_in_a_granted_directory_is_neither_followed_nor_read_nor_written() {
    let generation = "snapshot_00000000000000000001.json";
    let (mut tried, mut left_out) = (0, 0);
    for (layout, victims, names) in [
        (
            Layout::Pair,
            "snapshot.json",
            &[
                "snapshot.json",
                "snapshot.seq",
                "snapshot.sum",
                "snapshot.json.new",
                "snapshot.seq.new",
                "snapshot.sum.new",
            ][..],
        ),
        (Layout::Numbered, generation, &[generation, "snapshot_00000000000000000001.json.tmp"][..]),
    ] {
        let mut scene = Scene::new(layout);
        let victims = scene.path("victim").join(victims);
        for (what, plant) in PLANTS {
            for name in names {
                let case = format!("{what} as {name}");
                let _ = fs::remove_dir_all(scene.path("attacker"));
                fs::create_dir(scene.path("attacker")).expect("made");
                if !plant(&victims, &scene.path("attacker").join(name)) {
                    left_out += 1;
                    continue;
                }
                tried += 1;
                let before = files(&scene.path("victim"));
                let grant = scene.grant().layout(layout);
                let ended = scene
                    .attack(grant, &["restore", "readers", "1", "create", "1", "stream", "0", "restore"]);
                assert!(ended.trap.is_none() && !ended.printed.contains("theirs"), "{case}: {ended:?}");
                assert_eq!(ended.printed.lines().count(), 5, "{case}: {}", ended.printed);
                drop(ended);
                let planted = scene.path("attacker").join(name);
                if planted.symlink_metadata().is_ok() {
                    fs::remove_file(&planted).unwrap_or_else(|_| panic!("{case}: it is no file any more"));
                }
                assert_eq!(files(&scene.path("victim")), before, "{case}");
            }
        }
        scene.assert_the_victim_goes_on();
    }
    println!("{tried} were planted; IGNORED: {left_out} devices, which this user may not make");
    // Eight names each; what cannot be made anywhere is one of the five.
    assert!(tried + left_out == 40 && (left_out == 0 || left_out == 8), "{tried} and {left_out}");
}
