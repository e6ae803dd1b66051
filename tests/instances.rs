//! Instances of one component: each has a directory of its own, and no other reaches it.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::thread;

use minisnap_host::grants::Grants;
use minisnap_host::{Error, Grant};
use minisnap_tests::place::{Place, assert_prints, assert_refused};
use minisnap_tests::{cli, finish, minisnap, names, rounds, start};

#[test]
fn an_instance_has_a_directory_of_its_own() {
    let place = Place::new(
        "root = \"s\"\n[components.a]\n[components.b]\ndirectory = \"all/{instance}\"\n\
         [components.c]\ndirectory = \"all-of-c/c.{instance}\"\n[components.d]\ndirectory = \"e/f\"\n",
    );
    let grants = Grants::load(place.grants()).unwrap();
    for (name, directory) in [
        ("a", "s/a.eu-1"),
        ("b", "s/all/eu-1"),
        ("c", "s/all-of-c/c.eu-1"),
        ("d", "s/e/f.eu-1"),
        ("unnamed", "s/unnamed.eu-1"),
    ] {
        let grant = grants.grant_instance(name, "eu-1").unwrap();
        assert_eq!(grant.dir, place.path(directory), "{name}");
        assert_eq!((grant.component.as_deref(), grant.instance.as_deref()), (Some(name), Some("eu-1")));
    }
    assert_eq!(grants.grant("a").unwrap().dir, place.path("s/a"));
    // And what there is for the instances alone is nobody else's.
    let refused = grants.grant("b").unwrap_err();
    assert_eq!(refused.line(), Some(4));
    assert!(refused.what().contains("each instance of `b` has a directory of its own"), "{refused}");
}

#[test]
fn a_component_that_is_run_as_an_instance_keeps_its_state_in_that_directory() {
    let place = Place::new("root = \"s\"\n[components.a]\n[components.b]\ndirectory = \"b/{instance}\"\n");
    place.install("a@1.0.0.wasm").install("b@1.0.0.wasm");
    for (instance, seq) in [("eu-1", "1"), ("eu-2", "2")] {
        for component in ["a@1.0.0.wasm", "b@1.0.0.wasm"] {
            let created = place.run_with(component, &["--instance", instance], &["create", seq, seq]);
            assert_prints(&created, &["ok"]);
        }
    }
    assert_prints(&place.run("a@1.0.0.wasm", &["create", "3", "3"]), &["ok"]);
    for (directory, seq) in [("a", 3), ("a.eu-1", 1), ("a.eu-2", 2), ("b/eu-1", 1), ("b/eu-2", 2)] {
        let mut store = minisnap().open(Grant::new(place.path("s").join(directory)).read_only()).unwrap();
        assert_eq!(store.restore_text().unwrap().seq, seq, "{directory}");
    }
    let which = "each instance of `b` has a directory of its own, and `b` none";
    assert_refused(&place.run("b@1.0.0.wasm", &["restore"]), 2, which);
    // An instance is of a component that a grants file knows.
    let mut command = cli();
    command.arg("run").arg(place.path("a@1.0.0.wasm")).arg("--grant").arg(place.path("s/a"));
    let refused = minisnap_tests::run(command.args(["--instance", "eu-1"]), "");
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn the_name_of_an_instance_leads_nowhere_else() {
    let place = Place::new("root = \"s\"\n[components.a]\ndirectory = \"d/{instance}\"\n");
    let grants = Grants::load(place.grants()).unwrap();
    let long = "x".repeat(129);
    for name in ["..", ".", "", "a/b", "/a", "a.b", "a b", "é", "\0", &long] {
        for component in ["a", "b"] {
            let refused = grants.grant_instance(component, name).unwrap_err();
            assert!(refused.what().contains("is no instance's name"), "{refused}");
        }
    }
    place.install("a@1.0.0.wasm");
    let refused = place.run_with("a@1.0.0.wasm", &["--instance", "../x"], &["create", "1", "1"]);
    assert_refused(&refused, 2, "`../x` is no instance's name");
    assert!(!place.path("s").exists());
}

#[test]
fn an_instance_gets_no_directory_of_another_component() {
    // The default of an instance's directory may be another's, which the file says.
    let place = Place::new(
        "root = \"s\"\n[components.a]\n[components.b]\ndirectory = \"a.eu\"\n[components.c]\ndirectory = \"a.us/x\"\n\
         [components.d]\ndirectory = \"u.{instance}\"\n",
    );
    let grants = Grants::load(place.grants()).unwrap();
    for (name, instance, line, what) in [
        ("a", "eu", 4, "and the component `b` have one directory"),
        ("a", "us", 6, "lies inside the directory"),
        ("u", "eu", 8, "of the component `u` and the instances of the component `d` have one directory"),
    ] {
        let refused = grants.grant_instance(name, instance).unwrap_err();
        assert_eq!(refused.line(), Some(line), "{refused}");
        assert!(refused.what().contains(what), "{refused}");
    }
    grants.grant_instance("a", "asia").unwrap();
    grants.grant_instance("d", "eu").unwrap();
    grants.grant("u").unwrap();
    // Nor one that an instance of another may have, whose directory has the name of one that the file does not name.
    let place = Place::new("root = \"s\"\n[components.foo]\ndirectory = \"ledger\"\n");
    let grants = Grants::load(place.grants()).unwrap();
    assert_eq!(grants.grant_instance("foo", "eu").unwrap().dir, place.path("s/ledger.eu"));
    assert_eq!(grants.grant("ledger").unwrap_err().line(), Some(3));
    assert_eq!(grants.grant_instance("ledger", "eu").unwrap_err().line(), Some(3));
    fs::create_dir_all(place.path("s/ledger.eu")).unwrap();
    let all = grants.all().unwrap();
    let owners: Vec<_> = all.iter().map(|found| (found.name.as_str(), found.instance.as_deref())).collect();
    assert_eq!(owners, [("foo", None), ("foo", Some("eu"))]);
    // Nor does a component that the file does not name get one that is for instances.
    let place = Place::new("root = \"s\"\n[components.a]\ndirectory = \"b/{instance}\"\n");
    assert_eq!(Grants::load(place.grants()).unwrap().grant("b").unwrap_err().line(), Some(3));
}

#[test]
fn a_link_in_the_place_of_an_instances_directory_leads_nowhere() {
    let place = Place::new(
        "root = \"s\"\n[components.a]\n[components.b]\ndirectory = \"b/{instance}\"\n[components.c]\ndirectory = \"l/x\"\n",
    );
    for folder in ["s/a.us", "s/b/us", "s/u"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let grants = Grants::load(place.grants()).unwrap();
    for (name, at, to) in [("a", "s/a.eu", "a.us"), ("b", "s/b/eu", "us"), ("u", "s/u.eu", "u")] {
        symlink(to, place.path(at)).unwrap();
        let refused = grants.grant_instance(name, "eu").unwrap_err();
        assert!(refused.what().contains("the directory of the instance `eu`"), "{refused}");
        assert!(refused.what().contains("is a link"), "{refused}");
    }
    // Nor does a link on the way of another component lead to it.
    fs::create_dir_all(place.path("s/a.uk/x")).unwrap();
    symlink("a.uk", place.path("s/l")).unwrap();
    let refused = grants.grant_instance("a", "uk").unwrap_err();
    assert!(refused.what().contains("lies inside the directory"), "{refused}");
    fs::remove_file(place.path("s/l")).unwrap();
    fs::create_dir_all(place.path("s/b/uk/x")).unwrap();
    symlink("b/uk", place.path("s/l")).unwrap();
    assert_eq!(grants.grant("c").unwrap_err().line(), Some(6));
    grants.grant_instance("b", "uk").unwrap();
    // Nor one of the component's own directory to that of its instance.
    for to in ["ledger.eu", "ledger.eu/sub"] {
        let place = Place::new("root = \"s\"\n[components.ledger]\n");
        fs::create_dir_all(place.path("s").join(to)).unwrap();
        symlink(to, place.path("s/ledger")).unwrap();
        let grants = Grants::load(place.grants()).unwrap();
        let refused = grants.grant_instance("ledger", "eu").unwrap_err();
        assert_eq!(refused.line(), Some(2), "{refused}");
        grants.grant_instance("ledger", "us").unwrap();
    }
    // A folder of all instances may be one, to where nobody else's directories are.
    let place = Place::new("root = \"s\"\n[components.b]\ndirectory = \"b/{instance}\"\n");
    fs::create_dir_all(place.path("s/disk")).unwrap();
    symlink("disk", place.path("s/b")).unwrap();
    let grants = Grants::load(place.grants()).unwrap();
    minisnap().open(grants.grant_instance("b", "eu").unwrap()).unwrap().create_text("1", 1).unwrap();
    assert_eq!(names(&place.path("s/disk")), ["eu"]);
    // Which another then has not.
    assert!(grants.grant("disk").is_err());
}

#[test]
fn a_hundred_instances_in_one_process_keep_their_states_apart() {
    let place =
        Place::new("root = \"s\"\n[components.a]\ndirectory = \"a/{instance}\"\nmax-instances = 100\n");
    let grants = Grants::load(place.grants()).unwrap();
    let (grants, start) = (&grants, &Barrier::new(100));
    thread::scope(|scope| {
        for instance in 0..100_u64 {
            scope.spawn(move || {
                let grant = grants.grant_instance("a", &instance.to_string()).unwrap();
                let mut store = minisnap().open(grant).unwrap();
                for seq in 1..=3 {
                    start.wait();
                    store.create(&(instance, seq), seq).unwrap();
                    assert_eq!(store.restore::<(u64, u64)>().unwrap().state, (instance, seq));
                }
            });
        }
    });
    assert_eq!(names(&place.path("s/a")).len(), 100);
    for instance in 0..100_u64 {
        let grant = grants.grant_instance("a", &instance.to_string()).unwrap();
        let snapshot = minisnap().open(grant.read_only()).unwrap().restore::<(u64, u64)>().unwrap();
        assert_eq!((snapshot.state, snapshot.seq), ((instance, 3), 3));
    }
}

#[test]
fn twenty_instances_in_processes_of_their_own_run_at_once() {
    let place = Place::new("root = \"s\"\n[components.a]\nmax-instances = 20\n");
    place.install("a@1.0.0.wasm");
    let children: Vec<_> = (0..20)
        .map(|instance| {
            let instance = format!("{instance}");
            let mut command = cli();
            command.arg("run").arg(place.path("a@1.0.0.wasm")).arg("--grants-file").arg(place.grants());
            start(command.args(["--instance", &instance, "--", "create", &instance, &instance, "restore"]))
        })
        .collect();
    for (instance, child) in children.into_iter().enumerate() {
        let done = finish(child, "");
        let printed = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{printed}{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(printed, format!("ok\n{instance} {instance}\n"));
    }
    assert_eq!(names(&place.path("s")).len(), 20);
}

#[test]
fn a_second_holder_of_an_instance_is_busy_and_told_by_whom() {
    let place = Place::new("root = \"s\"\n[components.a]\ndirectory = \"a/{instance}\"\n");
    place.install("a@1.0.0.wasm");
    let grants = Grants::load(place.grants()).unwrap();
    let store = minisnap().open(grants.grant_instance("a", "eu-1").unwrap()).unwrap();
    let refused = place.run_with("a@1.0.0.wasm", &["--instance", "eu-1"], &["create", "1", "1"]);
    assert_refused(&refused, 9, &format!("a/eu-1` is in use by process {}", std::process::id()));
    let Err(Error::Busy(who)) = minisnap().open(grants.grant_instance("a", "eu-1").unwrap()) else {
        panic!()
    };
    assert!(who.contains(&format!("process {}", std::process::id())), "{who}");
    // Another is free.
    let other = place.run_with("a@1.0.0.wasm", &["--instance", "eu-2"], &["create", "1", "1"]);
    assert_prints(&other, &["ok"]);
    drop(store);
    let other = place.run_with("a@1.0.0.wasm", &["--instance", "eu-1"], &["create", "1", "1"]);
    assert_prints(&other, &["ok"]);
}

#[test]
fn no_more_instances_have_a_directory_than_may_have_one() {
    for directory in ["a/{instance}", "a.{instance}", "a"] {
        let grants =
            format!("root = \"s\"\n[components.a]\ndirectory = \"{directory}\"\nmax-instances = 2\n");
        let place = Place::new(&grants);
        let grants = Grants::load(place.grants()).unwrap();
        let open = |instance: &str| minisnap().open(grants.grant_instance("a", instance).unwrap());
        // What is no instance's does not count.
        for folder in ["s/a/un.related", "s/a.b.c", "s/ab", "s/b.a"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        fs::write(place.path("s/a/file"), "").unwrap();
        fs::write(place.path("s/a.file"), "").unwrap();
        open("1").unwrap().create_text("1", 1).unwrap();
        open("2").unwrap();
        // What a crash left of one that was refused is refused again, and stays for whoever looks at it.
        let refused = grants.grant_instance("a", "left").unwrap().dir;
        fs::create_dir(&refused).unwrap();
        assert!(matches!(open("left"), Err(Error::AccessDenied(_))));
        fs::remove_dir(&refused).unwrap();
        let Err(Error::AccessDenied(why)) = open("3") else { panic!("{directory}") };
        assert!(why.to_string().contains("`a` has 2 instances already, as many as it may have"), "{why}");
        let dir = grants.grant_instance("a", "3").unwrap().dir;
        assert!(!dir.exists());
        // Those that have one go on; one that is removed makes room.
        open("1").unwrap().create_text("2", 2).unwrap();
        fs::remove_dir(grants.grant_instance("a", "2").unwrap().dir).unwrap();
        open("3").unwrap();
        place.install("a@1.0.0.wasm");
        let refused = place.run_with("a@1.0.0.wasm", &["--instance", "4"], &["create", "1", "1"]);
        assert_refused(&refused, 8, "`a` has 2 instances already");
        assert!(refused.stderr.contains("help: give a larger `max-instances`"), "{refused:?}");
        // A reader makes none.
        let reader = grants.grant_instance("a", "4").unwrap().read_only();
        assert!(matches!(minisnap().open(reader).unwrap().restore_text(), Err(Error::NotFound)));
    }
    Place::new("root = \"s\"\n[components.a]\nmax-instances = 0\n").assert_mistake(
        3,
        "integer `0`",
        "a number of instances from 1",
    );
}

#[test]
fn instances_that_begin_at_once_are_never_more_than_allowed() {
    for _ in 0..rounds(20, 200) {
        let place = Place::new("root = \"s\"\n[defaults]\nmax-instances = 3\n");
        let grants = Grants::load(place.grants()).unwrap();
        // Each twice, so that one may find the directory that the other was refused.
        let (grants, start) = (&grants, &Barrier::new(12));
        thread::scope(|scope| {
            for thread in 0..12 {
                scope.spawn(move || {
                    let grant = grants.grant_instance("a", &(thread / 2).to_string()).unwrap();
                    assert_eq!(grant.max_instances, NonZeroU32::new(3));
                    start.wait();
                    match minisnap().open(grant) {
                        // Nobody takes away the directory of who was let in.
                        Ok(mut store) => store.create_text("1", 1).unwrap(),
                        // Or it was taken back after it was found.
                        Err(Error::AccessDenied(_) | Error::Busy(_) | Error::Io(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                });
            }
        });
        let left = names(&place.path("s"));
        let used = left.iter().filter(|name| !names(&place.path("s").join(name)).is_empty()).count();
        assert!(used <= 3, "{left:?}");
    }
}
