//! A component's manifest: what is read of it, as Arcella reads it, and every mistake in it with its line.

use std::collections::HashMap;

use arcella_types::manifest::{
    ComponentCapabilities, ComponentManifest, ComponentResources, ComponentSecurity,
};
use arcella_types::module_id::ModuleId;
use arcella_types::spec::ComponentItemSpec;
use minisnap_host::manifest::{Manifest, SNAPSHOT_STORE};
use minisnap_tests::place::{GRANTS, Place, assert_prints, assert_refused, manifest};

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

/// A manifest may name a later version of the interface than the host has. If the component needs what the host lacks, it does
/// not link. Without snapshots, it would run and lose its state silently.
#[test]
fn whatever_version_of_the_interface_a_manifest_imports_is_a_request_for_snapshots() {
    let place = Place::new(GRANTS);
    for (import, is_request) in [
        (SNAPSHOT_STORE.to_owned(), true),
        (format!("{SNAPSHOT_STORE}@0.1.0"), true),
        (format!("{SNAPSHOT_STORE}@0.1.7"), true),
        (format!("{SNAPSHOT_STORE}@1.0.0"), true),
        (format!("{SNAPSHOT_STORE}s@0.1.0"), false),
        ("arcella:minisnap/snapshot-maintenance@0.1.0".to_owned(), false),
    ] {
        place
            .install_with("app", &format!("name = \"app\"\nversion = \"1.0.0\"\nimports = [\"{import}\"]\n"));
        let read = Manifest::of(place.path("app.wasm")).unwrap().unwrap();
        assert_eq!(read.wants_snapshots(), is_request, "{import}");
    }
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
        (format!("{SNAPSHOT_STORE}@0.1.0"), unknown.clone()),
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
