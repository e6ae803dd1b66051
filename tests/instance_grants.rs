//! Instances in a grants file: their directories are apart, or the file has a mistake that is named with its line.

use std::fs;
use std::path::{Path, PathBuf};

use minisnap_host::grants::Grants;
use minisnap_tests::place::Place;
use minisnap_tests::random::Random;
use minisnap_tests::rounds;

#[test]
fn a_directory_with_instances_elsewhere_than_at_its_end_is_a_mistake_with_its_line() {
    for (directory, what) in [
        ("{instance}", "each folder in the root"),
        ("d-{instance}", "has braces"),
        (".{instance}", "has braces"),
        ("d/.{instance}", "has braces"),
        ("{instance}/d", "has braces"),
        ("d/{instance}.old", "has braces"),
        ("{instance}/{instance}", "has braces"),
        ("d/{instanec}", "has braces"),
        ("../{instance}", "may escape"),
    ] {
        let grants = format!("root = \"s\"\n[components.a]\ndirectory = \"{directory}\"\n");
        let help = if what == "may escape" { "below `root`" } else { "counter.{instance}" };
        Place::new(&grants).assert_mistake(3, what, help);
    }
}

#[test]
fn a_directory_that_is_shared_with_instances_is_a_mistake_with_its_line() {
    for (one, other, what) in [
        ("x", "x/{instance}", "have one directory"),
        ("x/y", "x/{instance}", "lies inside the directory"),
        ("x/y/z", "x/{instance}", "lies inside the directory"),
        ("x", "x/y/{instance}", "lies inside the directory"),
        ("x.y", "x.{instance}", "have one directory"),
        ("x.y/z", "x.{instance}", "lies inside the directory"),
        ("d", "d/x.{instance}", "lies inside the directory"),
        ("d/x.y", "d/x.{instance}", "have one directory"),
        ("x/{instance}", "x/{instance}", "have one directory"),
        ("x.{instance}", "x.{instance}", "have one directory"),
        ("x/y.{instance}", "x/{instance}", "lies inside the directory"),
        ("x.y/{instance}", "x.{instance}", "have one directory"),
        ("x.y/z.{instance}", "x.{instance}", "lies inside the directory"),
    ] {
        for (a, b) in [(one, other), (other, one)] {
            let grants = format!(
                "root = \"s\"\n[components.a]\ndirectory = \"{a}\"\n[components.b]\ndirectory = \"{b}\"\n"
            );
            let place = Place::new(&grants);
            let mistake = Grants::load(place.grants()).unwrap_err();
            assert!(mistake.what().contains(what), "{a}, {b}: {mistake}");
            assert!(mistake.line().is_some_and(|line| line == 3 || line == 5), "{a}, {b}: {mistake}");
        }
    }
    // What only looks alike is apart, whatever lies between them in order.
    for (one, other) in [
        ("x", "x.{instance}"),
        ("xy", "x/{instance}"),
        ("xy", "x.{instance}"),
        ("x.y.z", "x.{instance}"),
        ("x.a b", "x.{instance}"),
        ("y/x.z", "x.{instance}"),
        ("x.y.{instance}", "x.{instance}"),
        ("x/{instance}", "x.{instance}"),
        ("x.", "x.{instance}"),
    ] {
        for (a, b) in [(one, other), (other, one)] {
            let grants = format!(
                "root = \"s\"\n[components.a]\ndirectory = \"{a}\"\n[components.b]\ndirectory = \"{b}\"\n"
            );
            Grants::load(Place::new(&grants).grants()).unwrap();
        }
    }
    let shared =
        "root = \"s\"\n[components.a]\ndirectory = \"x\"\n[components.b]\ndirectory = \"x/{instance}\"\n";
    let what = "the component `a` and the instances of the component `b` have one directory";
    Place::new(shared).assert_mistake(5, what, "side by side");
    // One that is not apart is found behind one that is.
    let behind = "root = \"s\"\n[components.a]\ndirectory = \"x.{instance}\"\n[components.b]\ndirectory = \"x.a.b\"\n\
                  [components.c]\ndirectory = \"x.z\"\n";
    Place::new(behind).assert_mistake(7, "and the component `c` have one directory", "side by side");
}

/// What `directory` gives to instances of these names, and whether to nobody else.
fn given(directory: &str) -> Vec<PathBuf> {
    let instances =
        ["x", "y", "-", "z"].map(|instance| PathBuf::from(directory.replace("{instance}", instance)));
    if directory.contains('{') { instances.to_vec() } else { vec![directory.into()] }
}

#[test]
fn directories_are_apart_just_where_no_two_instances_could_share_one() {
    let parts = ["x", "y", "x.y", "x.y.x", "x.-", "x y", "x."];
    let mut directories: Vec<String> = Vec::new();
    for outer in parts {
        for path in std::iter::once(outer.to_owned()).chain(parts.map(|inner| format!("{outer}/{inner}"))) {
            directories.extend([
                path.clone(),
                format!("{path}/{{instance}}"),
                format!("{path}.{{instance}}"),
            ]);
        }
    }
    let overlap = |one: &str, other: &str| {
        let (one, other) = (given(one), given(other));
        one.iter().any(|a| other.iter().any(|b| a.starts_with(b) || b.starts_with(a)))
    };
    // One whose instances are inside of `x` has all of `x`, though no instance is called so.
    let share_folder = |one: &str, other: &str| match one.strip_suffix("/{instance}") {
        Some(folder) => {
            given(other).iter().any(|b| b.starts_with(folder) || Path::new(folder).starts_with(b))
        }
        None => false,
    };
    let place = Place::new("");
    let mut apart = 0;
    let mut random = Random::default();
    for _ in 0..rounds(3_000, 30_000) {
        let chosen: Vec<&String> =
            (0..4).map(|_| &directories[random.below(directories.len() as u64) as usize]).collect();
        let mut text = "root = \"s\"\n".to_owned();
        for (component, directory) in chosen.iter().enumerate() {
            text += &format!("[components.c{component}]\ndirectory = \"{directory}\"\n");
        }
        fs::write(place.grants(), &text).unwrap();
        let expected = chosen.iter().enumerate().any(|(at, one)| {
            chosen[..at]
                .iter()
                .any(|other| overlap(one, other) || share_folder(one, other) || share_folder(other, one))
        });
        assert_eq!(Grants::load(place.grants()).is_err(), expected, "{text}");
        apart += u32::from(!expected);
    }
    assert!(apart > 100, "{apart}");
}
