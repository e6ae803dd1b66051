//! The logs that a grants file gives: each a directory of its component alone, apart from snapshots and from who it is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use minisnap_host::grants::Grants;
use minisnap_host::{Access, Error, Grant};
use minisnap_tests::place::{Place, assert_prints, assert_refused, manifest, mounting};
use minisnap_tests::trace::{Call, trace};
use minisnap_tests::{Done, LEDGER, cli, names, rounds, run, start};
use serde_json::Value;

/// Every component has a log, and each of its instances.
const LOGS: &str = "root = \"state\"\nlogs = \"logs\"\n[defaults]\nlog = true\nlayout = \"numbered\"\n";

const SEGMENT: &str = "log_00000000000000000001.jsonl";

/// The ledger is there, and another component.
fn place(grants: &str) -> Place {
    let place = Place::new(grants);
    fs::copy(LEDGER, place.path("ledger@1.0.0.wasm")).unwrap();
    place.install("counter@1.0.0.wasm");
    place
}

/// Three records more.
fn append(place: &Place, options: &[&str]) -> Done {
    place.run_with("ledger@1.0.0.wasm", options, &["append", "3", "7"])
}

#[track_caller]
fn assert_appends(place: &Place, options: &[&str]) {
    let done = append(place, options);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_granted_log_is_made_for_the_component_and_for_each_instance() {
    let place = place(LOGS);
    assert_appends(&place, &[]);
    assert_appends(&place, &["--instance", "eu-1"]);
    assert_eq!(names(&place.path("logs")), ["ledger", "ledger.eu-1"]);
    for log in ["logs/ledger", "logs/ledger.eu-1"] {
        let mode = fs::metadata(place.path(log)).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, names(&place.path(log))), (0o700, vec![SEGMENT.to_owned()]), "{log}");
    }
    // The next process goes on with it; another component has another.
    assert_appends(&place, &[]);
    let lines = |log: &str| fs::read_to_string(place.path(log).join(SEGMENT)).unwrap().lines().count();
    assert_eq!((lines("logs/ledger"), lines("logs/ledger.eu-1")), (1 + 6, 1 + 3));
    assert_prints(
        &place.run("counter@1.0.0.wasm", &["read", "/log", "read", "/"]),
        &["Ok(())", "Err(NotFound)"],
    );
    assert_eq!(names(&place.path("logs/counter")), Vec::<String>::new());
}

#[test]
fn a_log_lies_in_the_directory_that_the_file_names_and_only_where_it_says_so() {
    let place = place(
        "root = \"state\"\nlogs = \"LOGS\"\n[defaults]\nlog = true\n[components.ledger]\n\
         directory = \"money/{instance}\"\n[components.other]\nlog = false\n[components.counter]\nlog = false\n",
    );
    let beside = Place::new("");
    let grants = fs::read_to_string(place.grants()).unwrap();
    let logs = beside.path("logs");
    fs::write(place.grants(), grants.replace("LOGS", logs.to_str().unwrap())).unwrap();
    assert_appends(&place, &["--instance", "eu-1"]);
    assert_eq!(names(&logs.join("money/eu-1")), [SEGMENT]);
    assert_prints(&place.run("counter@1.0.0.wasm", &["read", "/log"]), &["Err(NotFound)"]);
    assert_eq!(names(&logs), ["money"]);

    let grants = Grants::load(place.grants()).unwrap();
    assert_eq!(grants.logs(), Some(logs.as_path()));
    assert_eq!(grants.grant_instance("ledger", "us").unwrap().log, Some(logs.join("money/us")));
    assert_eq!(grants.grant("other").unwrap().log, None);
    let json: serde_json::Value = serde_json::from_str(&place.check(&["--json"]).stdout).unwrap();
    assert_eq!(json["logs"].as_str(), logs.to_str());
    let of = |name: &str| {
        let all = json["components"].as_array().unwrap();
        all.iter().find(|of| of["name"] == name).unwrap()["log"].clone()
    };
    let ledgers = logs.join("money/{instance}").display().to_string();
    assert_eq!(
        (of("ledger"), of("other"), json["defaults"]["log"].as_str()),
        (ledgers.into(), Value::Null, logs.to_str())
    );
}

#[test]
fn whoever_may_not_write_snapshots_keeps_no_log() {
    let place = place(&format!(
        "{LOGS}[components.counter]\naccess = \"read-only\"\n[components.ledger]\naccess = \"none\"\n"
    ));
    assert_prints(&place.run("counter@1.0.0.wasm", &["read", "/log"]), &["Err(NotFound)"]);
    assert_eq!(append(&place, &[]).code, Some(1));
    assert!(!place.path("logs").exists());
    let grant = Grant::new(place.path("state/x")).log(place.path("logs/x"));
    assert_eq!((grant.clone().log_dir(), grant.read_only().log_dir()), (Some(&*place.path("logs/x")), None));

    // Nor does one whose manifest asks for no snapshots.
    let without = "name = \"app\"\nversion = \"1.0.0\"\nimports = []\n";
    place.install_with("app", without);
    let done = place.run("app.wasm", &["read", "/log"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "Err(NotFound)\n"));
    assert!(!place.path("logs").exists());
}

#[test]
fn files_that_a_manifest_needs_may_be_those_of_the_log() {
    let place = place("root = \"state\"\nlogs = \"logs\"\n[components.app]\nlog = true\n");
    let needs = "capabilities.filesystem = [\"/log\"]\n";
    place.install_with("app", &manifest("app", "1.0.0", needs));
    assert_prints(&place.run("app.wasm", &["read", "/log"]), &["Ok(())"]);
    place.install_with("other", &manifest("other", "1.0.0", needs));
    let refused = place.run("other.wasm", &["read", "/log"]);
    assert_refused(&refused, 8, "`other` needs files that it is not given: `/log`");
    assert!(refused.stderr.contains("`log = true` in the grants file"), "{refused:?}");
}

#[test]
fn a_granted_log_is_made_durably_before_a_record_is_written() {
    let place = place(&LOGS.replace("\"logs\"", "\"far/logs\""));
    let mut command = cli();
    command.arg("run").arg(place.path("ledger@1.0.0.wasm")).arg("--grants-file").arg(place.grants());
    let (done, calls) = trace(command.args(["--", "append", "1", "7"]), place.folder(), "");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    let at = |call: &Call| {
        calls.iter().position(|other| other == call).unwrap_or_else(|| panic!("{call:?}: {calls:?}"))
    };
    let is_record = |call: &Call| matches!(call, Call::Write { path, .. } if path.starts_with("far/logs/"));
    let first_write = calls.iter().position(is_record).unwrap();
    for (parent, dir) in [("", "far"), ("far", "far/logs"), ("far/logs", "far/logs/ledger")] {
        let (made, synced) = (at(&Call::MakeDir(dir.into())), at(&Call::Sync(parent.into())));
        let synced = calls[made..].iter().position(|call| *call == calls[synced]).map(|after| made + after);
        assert!(synced.is_some_and(|synced| synced < first_write), "{dir}: {calls:?}");
    }
}

#[test]
fn a_log_is_one_process_alone() {
    let place = place(LOGS);
    // The snapshots are another's, and the log is the same: by a second grants file, say.
    let other = Grants::load(place.grants()).unwrap().grant("ledger").unwrap();
    let held = other.open_log().unwrap().unwrap();
    let by = format!("logs/ledger` is in use by process {}", std::process::id());
    assert_refused(&append(&place, &[]), 9, &by);
    assert!(matches!(other.open_log(), Err(Error::Busy(_))));
    drop(held);
    assert_appends(&place, &[]);
    // Who is not given the snapshots makes no log.
    fs::remove_dir_all(place.path("logs")).unwrap();
    let store = minisnap_tests::minisnap().open(other).unwrap();
    assert_refused(&append(&place, &[]), 9, "state/ledger` is in use by process");
    assert!(!place.path("logs").exists());
    drop(store);
}

#[test]
fn the_log_of_an_instance_that_is_refused_is_not_made() {
    let place = place(&format!("{LOGS}max-instances = 1\n"));
    assert_appends(&place, &["--instance", "a"]);
    assert_refused(&append(&place, &["--instance", "b"]), 8, "has 1 instances already");
    assert_eq!(names(&place.path("logs")), ["ledger.a"]);
}

#[test]
fn whoever_waits_for_the_snapshots_gets_the_log_too() {
    let place = place(LOGS);
    assert_appends(&place, &[]);
    let grant = Grants::load(place.grants()).unwrap().grant("ledger").unwrap();
    let open = |dir: &str| fs::File::open(place.path(dir)).unwrap();
    let (snapshots, log) = (open("state/ledger"), open("logs/ledger"));
    for round in 0..rounds(20, 100) {
        let mut command = cli();
        command.arg("run").arg(place.path("ledger@1.0.0.wasm")).arg("--grants-file").arg(place.grants());
        let mut child = start(command.args(["--", "append", "1", "7"]));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().expect("it has begun").unwrap();
        while snapshots.try_lock().is_err() {}
        assert!(log.try_lock().is_ok(), "round {round}");
        snapshots.unlock().unwrap();
        log.unlock().unwrap();
        lines.for_each(drop);
        child.wait().unwrap();
    }
    // And for the log itself.
    let held = grant.open_log().unwrap().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(1500));
            drop(held);
        });
        let done = append(&place, &["--wait", "60s"]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    });
}

#[test]
fn a_log_that_cannot_be_locked_is_not_given() {
    let place = place(LOGS);
    fs::create_dir_all(place.path("logs/ledger")).unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "inject=flock:error=ENOLCK", "-P"]).arg(place.path("logs/ledger"));
    command.arg("-o").arg("/dev/null").arg(cli().get_program());
    command.arg("run").arg(place.path("ledger@1.0.0.wasm")).arg("--grants-file").arg(place.grants());
    let refused = run(command.args(["--", "append", "1", "7"]), "");
    assert_refused(&refused, 10, "No locks available");
    assert_eq!(names(&place.path("logs/ledger")), Vec::<String>::new());
}

#[test]
fn a_log_that_must_exist_is_not_made() {
    let place = place(&format!("{LOGS}must-exist = true\n"));
    fs::create_dir_all(place.path("state/ledger")).unwrap();
    assert_refused(
        &append(&place, &[]),
        10,
        "logs/ledger` is not there, and must exist: mount it, or make it",
    );
    assert!(!place.path("logs").exists());
    fs::create_dir_all(place.path("logs/ledger")).unwrap();
    assert_appends(&place, &[]);
}

#[test]
fn a_log_without_a_folder_of_logs_is_a_mistake_with_its_line() {
    for grants in ["root = \"s\"\n[defaults]\nlog = true\n", "root = \"s\"\n[components.a]\nlog = true\n"] {
        Place::new(grants).assert_mistake(3, "there is no `logs`", "such as `logs = \"logs\"`");
    }
    Place::new("root = \"s\"\nlogs = \"\"\n").assert_mistake(
        2,
        "`logs` is empty",
        "name the folder of all logs",
    );
    Place::new("root = \"s\"\nlogs = \"l\"\n[components.a]\nlog = \"/log\"\n").assert_mistake(4, "`log`", "");
    // That there are none needs no folder.
    assert_eq!(Place::new("root = \"s\"\n[defaults]\nlog = false\n").check(&[]).code, Some(0));
    for access in ["read-only", "none"] {
        let grants =
            format!("root = \"s\"\nlogs = \"l\"\n[components.a]\naccess = \"{access}\"\nlog = true\n");
        Place::new(&grants).assert_mistake(5, "`a` may not write snapshots", "the access `read-write`");
    }
}

#[test]
fn logs_that_are_not_apart_from_snapshots_are_a_mistake_with_its_line() {
    for (root, logs) in
        [("s", "s"), ("s", "s/logs"), ("l/s", "l"), ("s", "./x/../s"), ("s", "."), ("s", "link")]
    {
        let place = Place::new(&format!("root = \"{root}\"\nlogs = \"{logs}\"\n"));
        fs::create_dir_all(place.path("s/a")).unwrap();
        fs::create_dir_all(place.path("x")).unwrap();
        symlink("s/a", place.path("link")).unwrap();
        place.assert_mistake(2, "are not apart", "side by side");
    }
}

#[test]
fn logs_that_hold_the_grants_file_are_a_mistake_with_its_line() {
    for logs in [".", "link"] {
        let root = Place::new("");
        let place = Place::new(&format!("root = \"{}\"\nlogs = \"{logs}\"\n", root.path("s").display()));
        symlink(".", place.path("link")).unwrap();
        place.assert_mistake(2, "holds this file", "a folder for the logs alone");
    }
}

#[test]
fn a_file_in_the_place_of_a_log_is_named() {
    let place = place(LOGS);
    for file in ["logs", "logs/ledger"] {
        fs::create_dir_all(place.path(file).parent().unwrap()).unwrap();
        fs::write(place.path(file), "").unwrap();
        let refused = append(&place, &[]);
        assert_refused(&refused, 10, "logs/ledger` cannot be made");
        assert!(refused.stderr.contains(&format!("{file}` is a file")), "{refused:?}");
        fs::remove_file(place.path(file)).unwrap();
    }
}

#[test]
fn a_log_that_is_a_link_is_not_followed() {
    let place = place(LOGS);
    fs::create_dir_all(place.path("logs/other")).unwrap();
    for target in ["other", "../state", "../elsewhere"] {
        fs::create_dir_all(place.path("elsewhere")).unwrap();
        symlink(target, place.path("logs/ledger")).unwrap();
        assert_refused(&append(&place, &[]), 2, "the log of the component `ledger` is at a link");
        let grant = Grant::new(place.path("x")).log(place.path("logs/ledger"));
        assert!(matches!(grant.open_log(), Err(Error::AccessDenied(_))), "{target}");
        fs::remove_file(place.path("logs/ledger")).unwrap();
    }
    assert_eq!(names(&place.path("logs/other")), Vec::<String>::new());
    // Of one that the file names, its line is told; and nothing is made through a link.
    symlink("other", place.path("logs/deep")).unwrap();
    fs::write(place.grants(), format!("{LOGS}[components.ledger]\ndirectory = \"deep/{{instance}}\"\n"))
        .unwrap();
    assert_refused(
        &append(&place, &["--instance", "eu"]),
        2,
        "minisnap.toml:7:13: the log of the component `ledger`",
    );
    let grant = Grant::new(place.path("x")).log(place.path("logs/deep/eu"));
    assert!(matches!(grant.open_log(), Err(Error::AccessDenied(_))));
    assert_eq!(names(&place.path("logs/other")), Vec::<String>::new());
    fs::write(place.grants(), LOGS).unwrap();
    fs::remove_file(place.path("logs/deep")).unwrap();
    // That of the folder of all is the administrator's.
    fs::rename(place.path("logs"), place.path("volume")).unwrap();
    symlink("volume", place.path("logs")).unwrap();
    assert_appends(&place, &[]);
    assert_eq!(names(&place.path("volume/ledger")), [SEGMENT]);
}

#[test]
fn a_log_gives_no_access_to_who_the_component_is() {
    let place = place(LOGS);
    fs::create_dir_all(place.path("logs/ledger")).unwrap();
    let planted = place.path("logs/ledger/ledger@1.0.0.wasm");
    fs::copy(LEDGER, &planted).unwrap();
    let run_as = |component: &Path, cache: &Path| {
        let mut command = cli();
        command.arg("run").arg(component).arg("--grants-file").arg(place.grants());
        run(command.env("XDG_CACHE_HOME", cache).args(["--", "append", "3", "7"]), "")
    };
    let (component, cache) = (place.path("ledger@1.0.0.wasm"), place.path("cache"));
    let caches = place.path("logs/ledger/cache");
    for refused in [run_as(&planted, &cache), run_as(&component, &caches)] {
        assert_refused(&refused, 2, "ledger` would give the component");
    }
    assert_eq!(run_as(&component, &cache).code, Some(0));
}

#[test]
fn no_folder_leads_to_the_logs_or_has_their_name() {
    let place = place(&LOGS.replace("\"logs\"", "\"far/logs\""));
    fs::create_dir_all(place.path("far/logs/other")).unwrap();
    fs::create_dir_all(place.path("files")).unwrap();
    for host in ["far", "far/logs", "far/logs/other"] {
        let dir = format!("{}::/x", place.path(host).display());
        assert_refused(&append(&place, &["--dir", &dir]), 2, "would give the component");
    }
    let files = place.path("files").display().to_string();
    for guest in ["/log", "log", "/log/", "./log"] {
        let refused = append(&place, &["--dir", &format!("{files}::{guest}")]);
        assert_refused(&refused, 2, "which is that of the granted log");
    }
    assert!(!place.path("far/logs/ledger").exists() && !place.path("state/ledger").exists());
    let twice = [format!("{files}::/x"), format!("{files}::/x/:ro")];
    let refused = append(&place, &["--dir", &twice[0], "--dir", &twice[1]]);
    assert_refused(&refused, 2, "--dir gives two directories the name `/x/`");
}

#[test]
fn two_components_on_one_log_by_a_bind_mount_are_a_mistake() {
    let place =
        place("root = \"s\"\nlogs = \"l\"\n[defaults]\nlog = true\n[components.ledger]\n[components.b]\n");
    for folder in ["l/ledger/below", "l/b", "l/counter", "s/b"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let check = "\"$1\" grants check minisnap.toml";
    let counter = "\"$1\" run counter@1.0.0.wasm --grants-file minisnap.toml -- exists";
    for (script, what) in [
        (format!("mount --bind l/ledger l/b; {check}"), "have one directory"),
        (format!("mount --bind l/ledger/below l/b; {check}"), "lies inside the directory"),
        (format!("mount --bind l/ledger l/counter; {counter}"), "have one directory"),
        (format!("mount --bind s/b l/counter; {check}"), "are not apart"),
    ] {
        let Some(done) = mounting(&script, &place) else { return };
        assert_refused(&done, 2, what);
    }
    assert_eq!(place.check(&[]).code, Some(0));
}

#[test]
fn an_embedder_gets_the_same_log() {
    let place = place(LOGS);
    let grant = Grants::load(place.grants()).unwrap().grant("ledger").unwrap();
    assert_eq!(grant.access, Access::ReadWrite);
    let _store = minisnap_tests::minisnap().open(grant.clone()).unwrap();
    let log = grant.open_log().unwrap().expect("it is granted one");
    assert_eq!(_store.grant().log, Some(place.path("logs/ledger")));
    log.check_apart(&place.path("state")).unwrap();
    log.check_apart(&place.grants()).unwrap();
    assert!(log.check_apart(&place.path("logs/ledger/x")).is_err());
    assert!(Grant::new(place.path("state/x")).open_log().unwrap().is_none());
}
