//! Who a component is, by its manifest or its file's name, and what it gets when it runs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use arcella_types::manifest::{
    ComponentCapabilities, ComponentManifest, ComponentResources, ComponentSecurity,
};
use arcella_types::module_id::ModuleId;
use arcella_types::spec::ComponentItemSpec;
use minisnap_host::Access;
use minisnap_host::grants::Grants;
use minisnap_host::manifest::{Manifest, SNAPSHOT_STORE};
use minisnap_tests::place::{GRANTS, Place, STORE, assert_prints, assert_refused, manifest};
use minisnap_tests::{VERBS, cli, run};

// Who a component is.

#[test]
fn an_upgraded_component_finds_its_state() {
    let place = Place::new(GRANTS);
    place.install("counter@1.0.0.wasm").install("counter@1.1.0.wasm");
    let old = place.run("counter@1.0.0.wasm", &["create", "1", "1", "create", "2", "2", "create", "3", "3"]);
    assert_prints(&old, &["ok", "ok", "ok"]);
    let new = place.run("counter@1.1.0.wasm", &["restore", "list", "create", "4", "4"]);
    assert_prints(&new, &["3 3", "3 Soundness::Verified, 2 Soundness::Verified", "ok"]);
    // So it does with a manifest, and back again.
    place.install_with("app", &manifest("counter", "2.0.0", ""));
    assert_prints(&place.run("app.wasm", &["restore"]), &["4 4"]);
    assert_prints(&place.run("counter@1.0.0.wasm", &["restore"]), &["4 4"]);
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 1);
}

#[test]
fn a_manifest_may_be_flat_or_a_table() {
    let place = Place::new(GRANTS);
    let table = format!(
        "[component]\n{}[component.capabilities.resources]\nmemory_max = 1000000\n[deployment]\ngroup = \"main\"\n",
        manifest("a", "1.0.0", "")
    );
    place.install_with("flat", &manifest("a", "1.0.0", "[capabilities.resources]\nmemory_max = 1000000\n"));
    place.install_with("table", &table);
    let read = |name: &str| Manifest::of(place.path(name)).unwrap().unwrap();
    let (flat, table) = (read("flat.wasm"), read("table.wasm"));
    for read in [flat, table] {
        assert_eq!((read.name(), read.memory_max(), read.wants_snapshots()), ("a", Some(1_000_000), true));
    }
    assert!(read("a@2.0.0.wasm").wants_snapshots(), "without a manifest");
    assert_eq!(Manifest::of(place.path("a.wasm")).unwrap(), None);
}

#[test]
fn a_mistake_in_a_manifest_is_named_with_its_line() {
    let place = Place::new(GRANTS);
    for (text, place_and_what) in [
        ("name = \"a\"\nversion = \"1.0\"\n", ":2:11: `1.0` is no version"),
        ("name = \"../counter\"\nversion = \"1.0.0\"\n", ":1:8: `../counter` is no component's name"),
        ("[component]\nname = \"a\"\n", "`: the manifest has no `version`"),
        (
            "name = \"a\"\nversion = \"1.0.0\"\n[capabilities.resources]\nmemory_max = \"1MiB\"\n",
            ":4:14: `memory_max`: invalid type",
        ),
        ("[component]\nname = \"a\"\nversion = \"1.0.0\"\n[capabilities.resources]\nmemory_max = 1\n", ":4:"),
        (
            "name = \"a\"\nversion = \"1.0.0\"\nimports = [\"a::b\"]\n",
            ":3:11: `imports`: `a::b` is no interface",
        ),
        ("name = \n", ":1:"),
    ] {
        place.install_with("app", text);
        let refused = place.run("app.wasm", &["exists"]);
        assert_refused(
            &refused,
            2,
            &format!(
                "app.component.toml{}",
                if place_and_what.starts_with([':', '`']) { place_and_what } else { "`: " }
            ),
        );
        assert!(refused.stderr.contains(place_and_what), "{}", refused.stderr);
    }
}

/// Whether a manifest is flat or a table, every key in it is one that is read.
#[test]
fn a_misspelt_key_of_a_manifest_is_a_mistake_with_its_line_and_the_right_spelling() {
    let place = Place::new(GRANTS);
    let flat = manifest("a", "1.0.0", "");
    for (head, line) in [("", 4), ("[component]\n", 5)] {
        let table = if head.is_empty() { "" } else { "component." };
        for (more, below, unknown, right) in [
            ("[{}capabilities.resources]\nmemory-max = 1000\n", 1, "`memory-max`", "`memory_max`"),
            ("[{}capabilities.resources]\nmemory_Max = 1000\n", 1, "`memory_Max`", "`memory_max`"),
            ("[{}capability.resources]\nmemory_max = 1000\n", 0, "`capability`", "`capabilities`"),
            ("[{}capabilities.resource]\nmemory_max = 1000\n", 0, "`resource`", "`resources`"),
            ("[{}capabilities.security]\nrequire_tee = true\n", 1, "`require_tee`", "`requires_tee`"),
            ("import = [\"a:b\"]\n", 0, "`import`", "`imports`"),
            ("[{}exports.\"a:b\".func]\nparam = []\n", 1, "`param`", "`params`"),
        ] {
            place.install_with("app", &format!("{head}{flat}{}", more.replace("{}", table)));
            let refused = place.run("app.wasm", &["exists"]);
            assert_refused(&refused, 2, &format!("app.component.toml:{}:", line + below));
            assert!(refused.stderr.contains(&format!("unknown field {unknown}")), "{}", refused.stderr);
            assert!(refused.stderr.contains(&format!("write {right}")), "{}", refused.stderr);
        }
    }
    for (text, what) in [
        (format!("id = \"a@1.0.0\"\n{flat}"), ":1:6: the manifest has an `id` beside"),
        ("[id]\nname = \"a\"\nversion = \"1.0.0\"\nverson = 1\n".to_owned(), ":4:1: unknown field `verson`"),
        (format!("[compnent]\n{flat}"), ":1:2: unknown table `compnent`"),
        (
            "name = \"a\"\nversion = \"1.0.0\"\n[imports.\"a:b\".module.resources]\nmemory_max = 1\n"
                .to_owned(),
            ":3:16: invalid type: map",
        ),
    ] {
        place.install_with("app", &text);
        assert_refused(&place.run("app.wasm", &["exists"]), 2, what);
    }
    assert!(!place.path("state").exists());
}

/// Tables of other tools may stand beside `[component]`, and nothing that could be meant to limit it.
#[test]
fn no_part_of_a_manifest_hides_beside_its_table() {
    let place = Place::new(GRANTS);
    let component = format!("[component]\n{}", manifest("counter", "1.0.0", ""));
    for (more, what) in [
        ("[capability.resources]\nmemory_max = 1000\n", ":5:2: `capability` is outside"),
        ("[Capabilities.resources]\nmemory_max = 1000\n", ":5:2: `Capabilities` is outside"),
        ("[resources]\nmemory_max = 1000\n", ":5:2: `resources` is outside"),
        ("[components.capabilities.resources]\nmemory_max = 1000\n", ":5:2: unknown table `components`"),
        ("[limits]\nmemory-max = 1000\n", ":6:1: `memory-max` is outside"),
        ("[app.deep]\nlist = [{ requires_tee = true }]\n", ":6:11: `requires_tee` is outside"),
    ] {
        place.install_with("app", &format!("{component}{more}"));
        assert_refused(&place.run("app.wasm", &["exists"]), 2, &format!("app.component.toml{what}"));
    }
    for (head, what) in
        [("memory = 1\n", ":1:1: `memory` is outside"), ("import = []\n", ":1:1: `import` is outside")]
    {
        place.install_with("app", &format!("{head}{component}"));
        assert_refused(&place.run("app.wasm", &["exists"]), 2, &format!("app.component.toml{what}"));
    }
    let others =
        "[deployment]\ngroup = \"main\"\nwhen = 2026-01-01T00:00:00Z\n[tool.x]\nlist = [{ a = 1.5 }]\n";
    place.install_with("app", &format!("{component}{others}"));
    assert_prints(&place.run("app.wasm", &["exists"]), &["false"]);
}

/// A manifest of everything that arcella-types has, written by it: a key that it gains does not compile here, and one
/// that is not read is an error.
#[test]
fn whatever_arcella_writes_in_a_manifest_is_read_as_arcella_reads_it() {
    use ComponentItemSpec as Item;
    let text = |text: &str| text.to_owned();
    let list = |items: &[&str]| items.iter().map(|item| text(item)).collect::<Vec<_>>();
    let unknown = Item::Unknown { debug: Some(text("new")) };
    let func =
        Item::ComponentFunc { params: vec![(text("key"), text("string"))], results: list(&["u64", "u8"]) };
    let exports = HashMap::from([(text("get"), func), (text("handle"), Item::Resource(text("r")))]);
    let imports = HashMap::from([
        (text("a:instance/i@1.0.0"), Item::ComponentInstance { exports: exports.clone() }),
        (text("a:component/c"), Item::Component { imports: exports.clone(), exports }),
        (text("a:module/m"), Item::Module(text("m"))),
        (text("a:core/f"), Item::CoreFunc(text("f"))),
        (text("a:type/t"), Item::Type(text("t"))),
        (text("a:unknown/u"), unknown.clone()),
        (text(SNAPSHOT_STORE), unknown.clone()),
    ]);
    let manifest = ComponentManifest {
        id: ModuleId { name: text("app"), version: text("1.0.0") },
        description: Some(text("all of it")),
        exports: HashMap::from([(text("b:unknown/u"), unknown)]).into(),
        imports: imports.into(),
        capabilities: ComponentCapabilities {
            wasi: list(&["wasi:random"]),
            filesystem: list(&["/data"]),
            network: list(&["tcp:localhost:80"]),
            environment: list(&["DEBUG"]),
            resources: ComponentResources { memory_max: Some(1), cpu_shares: Some(2) },
            security: ComponentSecurity { requires_tee: true, allowed_syscalls: list(&["read"]) },
        },
    };
    let place = Place::new(GRANTS);
    let flat = toml::to_string(&manifest).unwrap();
    let table = toml::to_string(&HashMap::from([("component", &manifest)])).unwrap();
    let by_name = flat.replace("[id]\n", "").replace("name = \"app\"\nversion = \"1.0.0\"\n", "");
    let by_name = format!("name = \"app\"\nversion = \"1.0.0\"\n{by_name}");
    for written in [flat, table.clone(), by_name] {
        place.install_with("app", &written);
        let read = Manifest::of(place.path("app.wasm")).unwrap().unwrap();
        assert_eq!((read.name(), read.version()), ("app", "1.0.0"), "{written}");
        assert_eq!((read.memory_max(), read.requires_tee()), (Some(1), true), "{written}");
        assert_eq!((read.filesystem(), read.wants_snapshots()), (&list(&["/data"])[..], true), "{written}");
    }
    // In short.
    place.install_with("app", "component = \"app@1.0.0\"\n");
    let read = Manifest::of(place.path("app.wasm")).unwrap().unwrap();
    assert_eq!((read.name(), read.version(), read.wants_snapshots()), ("app", "1.0.0", false));
}

/// What is no id and no interface to Arcella is none here, and the other way round.
#[test]
fn ids_and_interfaces_are_those_of_arcella() {
    let place = Place::new(GRANTS);
    let is_read = |text: &str| {
        place.install_with("app", text);
        Manifest::of(place.path("app.wasm")).is_ok()
    };
    let long = format!("{}@1.0.0", "a".repeat(128));
    let too_long = format!("a{long}");
    for id in [
        "a@1.0.0",
        "A-b_3@0.0.10",
        "-@1.2.3",
        &long,
        &too_long,
        "",
        "a",
        "@1.0.0",
        "a@",
        "a@1.0",
        "a@1.0.0.0",
        "a@01.0.0",
        "a@1.00.0",
        "a@1..0",
        "a@1.0.0-rc",
        "a@+1.0.0",
        "a b@1.0.0",
        "a/b@1.0.0",
        "ä@1.0.0",
        "a@1.0.٤",
        "a@b@1.0.0",
        " a@1.0.0",
    ] {
        let expected = id.parse::<ModuleId>().is_ok();
        assert_eq!(is_read(&format!("id = \"{id}\"\n")), expected, "{id}");
        if let Some((name, version)) = id.split_once('@') {
            assert_eq!(is_read(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), expected, "{id}");
        }
    }
    for interface in [
        "a:b",
        "a:b/c",
        "a:b/c@1.0.0",
        "a:b@0.2.0-rc.1+x",
        "a_b:c-d",
        "a:b/@1",
        "a:/",
        "",
        "a",
        ":b",
        "a:",
        "a:b@",
        "a::b",
        "a:b:c",
        "a:b@1@2",
        "a:b c",
        "a:b@1/2",
        "ä:b",
        "a/b:c",
        "a.b:c",
    ] {
        let expected = ComponentManifest::validate_interface_format(interface);
        for key in ["imports", "exports"] {
            let manifest = format!("name = \"a\"\nversion = \"1.0.0\"\n{key} = [\"{interface}\"]\n");
            assert_eq!(is_read(&manifest), expected, "{interface}");
        }
    }
}

#[test]
fn a_component_whose_manifest_cannot_be_named_does_not_run() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new(GRANTS);
    let needs = "[capabilities.security]\nrequires_tee = true\nallowed_syscalls = []\n";
    for (component, stem, what) in [
        (&b"app\xff.wasm"[..], &b"app\xff"[..], "the file's name is not UTF-8"),
        (b"app.WASM", b"app", "the file's name ends in `.WASM`"),
    ] {
        let path = |name: &[u8]| place.folder().join(OsStr::from_bytes(name));
        fs::copy(VERBS, path(component)).unwrap();
        fs::write(path(&[stem, b".component.toml"].concat()), manifest("app", "1.0.0", needs)).unwrap();
        for source in ["--grant", "--grants-file"] {
            let from = if source == "--grant" { place.path("state") } else { place.grants() };
            let mut command = cli();
            command.arg("run").arg(path(component)).arg(source).arg(from).args(["--", "exists"]);
            assert_refused(&run(&mut command, ""), 2, what);
        }
        assert!(Manifest::of(path(component)).is_err());
    }
    assert!(!place.path("state").exists());
}

#[test]
fn only_the_manifest_or_the_name_of_the_file_says_who_a_component_is() {
    let place = Place::new(GRANTS);
    // Neither what it is told nor what it says makes it another.
    place.install("thief@1.0.0.wasm").install("nobody.wasm").install("counter@1.0.wasm");
    assert_prints(&place.run("thief@1.0.0.wasm", &["create", "1", "\"counter@1.0.0\""]), &["ok"]);
    assert!(place.path("state/thief").is_dir() && !place.path("state/counter").exists());
    for nameless in ["nobody.wasm", "counter@1.0.wasm"] {
        assert_refused(&place.run(nameless, &["exists"]), 2, &format!("{nameless}`: it has no name"));
    }
    // The manifest of another beside a file that says whose it is.
    place.install_with("thief@1.0.0", &manifest("counter", "1.0.0", ""));
    let refused = place.run("thief@1.0.0.wasm", &["exists"]);
    assert_refused(&refused, 2, "the manifest is of `counter@1.0.0`, and beside `thief@1.0.0.wasm`");
    // Nor is a limit lost with the file that a link should lead to.
    fs::remove_file(place.path("thief@1.0.0.component.toml")).unwrap();
    symlink("nowhere", place.path("thief@1.0.0.component.toml")).unwrap();
    assert_refused(&place.run("thief@1.0.0.wasm", &["exists"]), 2, "component.toml`: cannot read it");
}

#[test]
fn a_component_cannot_reach_the_snapshots_through_its_files() {
    let place = Place::new(GRANTS);
    place.install("counter@1.0.0.wasm");
    assert_prints(&place.run("counter@1.0.0.wasm", &["create", "1", "1"]), &["ok"]);
    symlink(place.path("state"), place.path("link")).unwrap();
    for host in ["", "state", "state/other", "link", "state/counter"] {
        fs::create_dir_all(place.path("state/other")).unwrap();
        let dir = format!("{}::/data", place.path(host).display());
        let refused = place.run_with("counter@1.0.0.wasm", &["--dir", &dir], &["read", "/data"]);
        let what = if host == "link" { "is a link to" } else { "would give the component" };
        assert_refused(&refused, 2, what);
    }
    let granted = place.path("state/counter");
    let mut command = cli();
    command.arg("run").arg(place.path("counter@1.0.0.wasm")).arg("--grant").arg(&granted);
    let refused = run(command.arg("--dir").arg(format!("{}::/", granted.display())), "");
    assert_refused(&refused, 2, "would give the component");
}

/// Who could replace a link on the way to a file decides what that is.
#[test]
fn a_component_cannot_replace_the_links_that_lead_to_the_snapshots_or_to_who_it_is() {
    let place = Place::new(GRANTS);
    for folder in ["given/deep", "kept"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    place.install("kept/counter@1.0.0.wasm").install("counter@1.0.0.wasm");
    let dir = format!("{}::/data", place.path("given").display());
    let run_from = |component: &str, source: &[&str], options: &[&str]| {
        let mut command = cli();
        command.arg("run").arg(place.path(component)).args(source).args(options);
        run(command.args(["--", "create", "1", "1"]), "")
    };
    let granted = place.path("linked-state").display().to_string();
    let grants = place.grants().display().to_string();
    // By two links, the second of which lies in the folder.
    symlink("given/deep/second", place.path("linked-state")).unwrap();
    symlink("../../kept", place.path("given/deep/second")).unwrap();
    symlink("../kept/counter@1.0.0.wasm", place.path("given/counter@1.0.0.wasm")).unwrap();
    // Or by a folder that could become a link.
    fs::create_dir_all(place.path("given/sub")).unwrap();
    let around = place.path("given/sub/../../minisnap.toml").display().to_string();
    for (component, source) in [
        ("counter@1.0.0.wasm", ["--grants-file", around.as_str()]),
        ("counter@1.0.0.wasm", ["--grant", granted.as_str()]),
        ("given/counter@1.0.0.wasm", ["--grant", &place.path("own").display().to_string()]),
        ("given/counter@1.0.0.wasm", ["--grants-file", &grants]),
    ] {
        assert_refused(&run_from(component, &source, &["--dir", &dir]), 2, "would give the component");
        assert_prints(&run_from(component, &source, &[]), &["ok"]);
    }
}

// What a component needs.

#[test]
fn a_manifest_without_the_import_gets_no_snapshots() {
    let place = Place::new(GRANTS);
    place.install_with(
        "app",
        "name = \"counter\"\nversion = \"1.0.0\"\nimports = [\"wasi:cli/stdin@0.2.0\"]\n",
    );
    let denied = place.run("app.wasm", &["create", "1", "1", "restore", "exists"]);
    assert_eq!(
        (denied.code, denied.stdout.as_str()),
        (Some(0), "access-denied\naccess-denied\naccess-denied\n")
    );
    assert!(denied.stderr.starts_with("warning: `counter` gets no snapshots: "), "{}", denied.stderr);
    assert!(
        denied.stderr.contains(&format!("app.component.toml` does not import `{STORE}`")),
        "{}",
        denied.stderr
    );
    assert!(!place.path("state").exists());
}

#[test]
fn the_grants_file_decides_over_access_and_limits() {
    let place = Place::new(GRANTS);
    place.install("banned@1.0.0.wasm").install("reader@1.0.0.wasm").install("other@1.0.0.wasm");
    let banned = place.run("banned@1.0.0.wasm", &["create", "1", "1", "exists"]);
    assert_eq!((banned.code, banned.stdout.as_str()), (Some(0), "access-denied\naccess-denied\n"));
    assert!(
        banned.stderr.contains("`banned` gets no snapshots: its `access` is none in "),
        "{}",
        banned.stderr
    );
    assert!(banned.stderr.contains("minisnap.toml:18:"), "{}", banned.stderr);
    assert!(!place.path("state/banned").exists());

    let reader = ["create", "2", "2", "restore"];
    assert_prints(&place.run("reader@1.0.0.wasm", &reader), &["access-denied", "none"]);
    let create = run(cli().arg("create").arg(place.path("state/shared/reader")).args(["--seq", "1"]), "1");
    assert_eq!(create.code, Some(0), "{create:?}");
    assert_prints(&place.run("reader@1.0.0.wasm", &reader), &["access-denied", "1 1"]);

    // One that the file does not name has what the defaults say, in the directory of its name.
    let other = place.run("other@1.0.0.wasm", &["create-large", "1", "1023", "create", "2", "2", "info"]);
    assert_prints(&other, &["too-large: 1024", "ok", "2 1 Soundness::Verified"]);
    assert!(place.path("state/other/snapshot_00000000000000000002.json").is_file());
}

#[test]
fn memory_max_caps_the_memory_of_a_component() {
    let place = Place::new(GRANTS);
    let args = ["allocate", "100000000"];
    place
        .install_with("app", &manifest("counter", "1.0.0", "capabilities.resources.memory_max = 67108864\n"));
    let capped = place.run("app.wasm", &args);
    assert_eq!((capped.code, capped.stdout.as_str()), (Some(11), ""), "{capped:?}");
    // The command line may say less, and not more.
    assert_eq!(place.run_with("app.wasm", &["--component-memory", "1GiB"], &args).code, Some(11));
    place.install_with(
        "app",
        &manifest("counter", "1.0.0", "capabilities.resources.memory_max = 134217728\n"),
    );
    assert_prints(&place.run("app.wasm", &args), &["100000000 bytes"]);
    assert_eq!(place.run_with("app.wasm", &["--component-memory", "64MiB"], &args).code, Some(11));
    // So it is with a directory that the command line grants.
    place.install_with("app", &manifest("counter", "1.0.0", "capabilities.resources.memory_max = 1\n"));
    let mut command = cli();
    command.arg("run").arg(place.path("app.wasm")).arg("--grant").arg(place.path("state/counter"));
    assert_eq!(run(command.args(["--", "exists"]), "").code, Some(11));
}

#[test]
fn files_that_a_manifest_needs_are_refused_unless_the_command_line_grants_them() {
    let place = Place::new(GRANTS);
    let needs = "capabilities.filesystem = [\"/data/in\", \"/logs\"]\n";
    place.install_with("app", &manifest("counter", "1.0.0", needs));
    fs::create_dir_all(place.path("files/in")).unwrap();
    let files = |guest: &str| format!("{}::{guest}", place.path("files").display());
    let args = ["read", "/data/in", "read", "/logs", "read", "/etc"];

    let refused = place.run("app.wasm", &args);
    assert_refused(
        &refused,
        8,
        "app.component.toml`: `counter` needs files that it is not given: `/data/in`, `/logs`",
    );
    assert!(refused.stderr.contains("--dir HOST::/data/in --dir HOST::/logs"), "{}", refused.stderr);
    for guest in ["/data", "/data/in", "/dat", "/logs/more"] {
        let refused = place.run_with("app.wasm", &["--dir", &files(guest)], &args);
        assert_refused(&refused, 8, "`/logs`");
        assert_eq!(refused.stderr.contains("--dir HOST::/data/in"), !guest.starts_with("/data"), "{guest}");
    }
    assert!(!place.path("state").exists(), "a component that was not run got a directory");

    let granted = place.run_with("app.wasm", &["--dir", &files("/data"), "--dir", &files("/logs")], &args);
    assert_prints(&granted, &["Ok(())", "Ok(())", "Err(NotFound)"]);
    let missing =
        place.run_with("app.wasm", &["--dir", &files("/data"), "--dir", "/nonexistent::/logs"], &args);
    assert_refused(&missing, 10, "`/nonexistent`: cannot open");
    for dir in ["/data", "::/data", "/tmp::", "/tmp::/a/../.."] {
        let wrong = place.run_with("app.wasm", &["--dir", dir], &args);
        assert_eq!(wrong.code, Some(2), "{dir}: {wrong:?}");
    }
}

#[test]
fn a_component_that_must_run_in_a_trusted_environment_is_refused() {
    let place = Place::new(GRANTS);
    let needs = "[capabilities.security]\nrequires_tee = true\nallowed_syscalls = []\n";
    place.install_with("app", &manifest("counter", "1.0.0", needs));
    assert_refused(
        &place.run("app.wasm", &["exists"]),
        8,
        "`counter` requires a trusted execution environment",
    );
    assert!(!place.path("state").exists());
}

/// A file's name is no proof of who the component is: its digest is.
#[test]
fn a_component_that_is_pinned_runs_only_with_its_digest() {
    let sum = run(Command::new("sha256sum").arg(VERBS), "").stdout;
    let right = format!("sha256:{}", &sum[..64]);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let grants = |digest: &str| format!("root = \"s\"\n[components.counter]\ndigest = \"{digest}\"\n");
    let place = Place::new(&grants(&right));
    place.install("counter@1.0.0.wasm").install("other@1.0.0.wasm");
    assert_prints(&place.run("counter@1.0.0.wasm", &["exists"]), &["false"]);
    assert_prints(&place.run("other@1.0.0.wasm", &["exists"]), &["false"]);

    // One byte more, in a custom section, which changes nothing of what it does.
    let mut another = fs::read(VERBS).unwrap();
    another.extend([0, 2, 1, b'x']);
    fs::write(place.path("counter@1.0.0.wasm"), &another).unwrap();
    let refused = place.run("counter@1.0.0.wasm", &["create", "1", "1"]);
    assert_refused(&refused, 8, &format!("minisnap.toml:3:10: `counter` is pinned to {right}, but "));
    assert!(refused.stderr.matches("sha256:").count() >= 2 && !refused.stderr.contains(&wrong));
    assert!(fs::read_dir(place.path("s/counter")).unwrap().next().is_none());

    // So it is in a host of one's own.
    let entry = Grants::load(place.grants()).unwrap().entry("counter").unwrap();
    assert_eq!(entry.digest().unwrap().to_string(), right);
    entry.check(Path::new("counter.wasm"), &fs::read(VERBS).unwrap()).unwrap();
    let refused = entry.check(Path::new("counter.wasm"), &another).unwrap_err();
    assert!(refused.line() == Some(3) && refused.what().contains("`counter.wasm` is sha256:"), "{refused}");

    for digest in
        ["", "sha256:", "sha256:00", &right[7..], &wrong.replace("256", "512"), &wrong.replace('0', "g")]
    {
        Place::new(&grants(digest)).assert_mistake(3, "`digest`: no digest", "`sha256sum` prints them");
    }
}

// The command line.

#[test]
fn a_grants_file_and_a_directory_exclude_each_other() {
    let place = Place::new(GRANTS);
    place.install("counter@1.0.0.wasm");
    for options in [&["--grant", "/tmp"][..], &["--keep", "1"], &["--max-state", "1"], &["--read-only"]] {
        let wrong = place.run_with("counter@1.0.0.wasm", options, &["exists"]);
        assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""), "{options:?}");
        assert!(wrong.stderr.contains("cannot be used with"), "{}", wrong.stderr);
    }
    let neither = run(cli().arg("run").arg(place.path("counter@1.0.0.wasm")), "");
    assert_eq!(neither.code, Some(2));
    assert!(
        neither.stderr.contains("--grant") && neither.stderr.contains("--grants-file"),
        "{}",
        neither.stderr
    );
    // What cannot be loaded gets no directory.
    fs::write(place.path("counter@1.0.0.wasm"), "no WebAssembly").unwrap();
    assert_refused(&place.run("counter@1.0.0.wasm", &[]), 11, "counter@1.0.0.wasm");
    assert!(!place.path("state").exists());
    assert_eq!(Grants::load(place.grants()).unwrap().entry("banned").unwrap().grant.access, Access::None);
}

#[test]
fn a_call_of_the_store_ends_at_the_deadline() {
    let place = Place::new("root = \"s\"");
    place.install("a@1.0.0.wasm");
    let create = ["create-large", "1", "60000000"];
    let run = |deadline: &str| {
        let grants = format!("root = \"s\"\n[components.a]\ndeadline = \"{deadline}\"");
        fs::write(place.grants(), grants).unwrap();
        place.run("a@1.0.0.wasm", &create)
    };
    // The opening of the directory has the same deadline, and is too late itself where that is too short for it.
    let mut deadlines = ["1ms", "2ms", "4ms", "8ms", "16ms", "32ms", "64ms"].into_iter();
    let late = loop {
        let deadline = deadlines.next().expect("every opening was too late");
        let late = run(deadline);
        match late.code {
            Some(10) => {
                assert!(late.stderr.contains("deadline") || late.stderr.contains(deadline), "{late:?}")
            }
            _ => break late,
        }
    };
    // Of its commit, it is not known whether it happened.
    let is_late = late.stdout.starts_with("io: ") || late.stdout.starts_with("in-doubt: ");
    assert!(is_late && late.stdout.contains("deadline"), "{late:?}");
    assert_prints(&run("5min"), &["ok"]);
    assert_prints(&place.run("a@1.0.0.wasm", &["exists"]), &["true"]);
    let soon = run("soon");
    assert!(soon.code == Some(2) && soon.stderr.contains("give a duration such as \"30s\""), "{soon:?}");
}
