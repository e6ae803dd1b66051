//! The interface as others read it: by the parser of wasm-tools, in the form in which packages of WIT are published, and
//! by components that were built against it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use minisnap_tests::{cli, root, run};
use serde::Deserialize;
use tempfile::tempdir;
use wasm_metadata::{AddMetadata, AddMetadataField, Payload};
use wit_component::{DecodedWasm, WitPrinter, semver_check};
use wit_parser::{Docs, PackageId, Resolve, Stability, Type, TypeDefKind};

fn parsed() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
    (resolve, package)
}

/// The WIT in a folder and those in it, by its path from there.
fn wit(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            files.extend(wit(&path).into_iter().map(|(file, text)| (name.join(file), text)));
        } else if path.extension().is_some_and(|extension| extension == "wit") {
            files.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    files
}

fn print(resolve: &Resolve, package: PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer.print(resolve, package, &[]).unwrap();
    printer.output.to_string()
}

#[test]
fn the_wit_that_the_command_line_writes_is_this_one_with_a_world_for_commands() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("app/wit");
    let write = |args: &[&str]| run(cli().args(["wit", "--output"]).arg(&folder).args(args), "");
    let told = write(&["--json"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let written = wit(&folder);
    assert_eq!(written, wit(&root().join("host/cli/wit")));
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert!(
        told["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .eq(written.keys().map(|name| name.to_str().unwrap()))
    );
    let ours: BTreeMap<_, _> = wit(&root().join("wit"))
        .into_iter()
        .map(|(name, text)| (Path::new("deps/minisnap").join(name), text))
        .collect();
    assert!(ours.len() == 3 && ours.iter().all(|(name, text)| written.get(name) == Some(text)));

    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(&folder).unwrap();
    let world = resolve.select_world(&[package], Some("command")).unwrap();
    let names = |items: &dyn Fn(&wit_parser::World) -> Vec<wit_parser::WorldKey>| -> Vec<String> {
        items(&resolve.worlds[world]).iter().map(|key| resolve.name_world_key(key)).collect()
    };
    assert_eq!(names(&|world| world.exports.keys().cloned().collect()), ["wasi:cli/run@0.2.0"]);
    let imports = names(&|world| world.imports.keys().cloned().collect());
    assert_eq!(imports, ["arcella:minisnap/snapshot-store@0.1.0"]);

    // What is there already stays.
    fs::write(folder.join("command.wit"), "changed").unwrap();
    let refused = write(&[]);
    assert!(refused.code == Some(2) && refused.stderr.contains("is not empty"), "{refused:?}");
    assert_eq!(fs::read_to_string(folder.join("command.wit")).unwrap(), "changed");
}

#[test]
fn the_packages_of_the_crates_hold_the_interface_and_the_licences() {
    let ours = wit(&root().join("wit"));
    for (package, folder, interface) in [
        ("minisnap-client", "guest/client", "wit"),
        ("minisnap-host", "host", "wit"),
        ("minisnap-cli", "host/cli", "wit/deps/minisnap"),
    ] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["package", "--list", "--allow-dirty", "--offline", "--package", package]);
        let listed = run(cargo.current_dir(root()), "");
        assert_eq!(listed.code, Some(0), "{listed:?}");
        let names: Vec<&str> = listed.stdout.lines().collect();
        for name in ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            assert!(names.contains(&name), "{package} lacks {name}: {names:?}");
        }
        for (name, text) in &ours {
            let packed = Path::new(interface).join(name);
            assert!(names.iter().any(|name| Path::new(name) == packed), "{package}: {names:?}");
            assert_eq!(&fs::read_to_string(root().join(folder).join(packed)).unwrap(), text);
        }
        let mut packed = names.iter().filter(|name| name.starts_with(interface));
        assert!(packed.all(|name| name.ends_with(".wit")), "{package}: {names:?}");
    }
}

#[test]
fn everything_in_the_wit_is_documented_and_says_since_when_it_is_there() {
    let (resolve, package) = parsed();
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), "arcella:minisnap@0.1.0");
    let check = |what: &str, docs: &Docs, stability: &Stability| {
        assert!(docs.contents.as_deref().is_some_and(|docs| docs.len() > 10), "{what} has no documentation");
        let since = matches!(stability, Stability::Stable { since, .. } if since.to_string() == "0.1.0");
        assert!(since, "{what} does not say since when it is there");
    };
    for (name, &world) in &package.worlds {
        check(name, &resolve.worlds[world].docs, &resolve.worlds[world].stability);
    }
    for (name, &interface) in &package.interfaces {
        let interface = &resolve.interfaces[interface];
        check(name, &interface.docs, &interface.stability);
        for (type_name, &id) in &interface.types {
            let defined = &resolve.types[id];
            let what = format!("{name}.{type_name}");
            // What comes from another interface is documented there.
            if let TypeDefKind::Type(Type::Id(_)) = defined.kind {
                continue;
            }
            check(&what, &defined.docs, &defined.stability);
            let parts: Vec<(&str, &Docs)> = match &defined.kind {
                TypeDefKind::Record(record) => {
                    record.fields.iter().map(|field| (field.name.as_str(), &field.docs)).collect()
                }
                TypeDefKind::Variant(variant) => {
                    variant.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect()
                }
                TypeDefKind::Enum(cases) => {
                    cases.cases.iter().map(|case| (case.name.as_str(), &case.docs)).collect()
                }
                TypeDefKind::Resource => Vec::new(),
                other => panic!("{what} is a kind of type that this test does not know: {other:?}"),
            };
            for (part, docs) in parts {
                assert!(docs.contents.is_some(), "{what}.{part} has no documentation");
            }
        }
        for (function, details) in &interface.functions {
            check(&format!("{name}.{function}"), &details.docs, &details.stability);
        }
    }
    assert_eq!((package.worlds.len(), package.interfaces.len()), (2, 2));
}

/// What `wit/wkg.toml` says of the package, as `wkg` reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wkg {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    authors: String,
    description: String,
    licenses: String,
}

/// A package of WIT is published as a component that holds its types, documentation included, and says what it is.
#[test]
fn the_published_form_of_the_wit_holds_all_of_it() {
    let (resolve, package) = parsed();
    let encoded = wit_component::encode(&resolve, package).unwrap();
    let wkg: Wkg = toml::from_str(&fs::read_to_string(root().join("wit/wkg.toml")).unwrap()).unwrap();
    let mut metadata = AddMetadata::default();
    let name = &resolve.packages[package].name;
    metadata.version = AddMetadataField::Set(name.version.as_ref().unwrap().to_string().parse().unwrap());
    metadata.authors = AddMetadataField::Set(wkg.metadata.authors.parse().unwrap());
    metadata.description = AddMetadataField::Set(wkg.metadata.description.parse().unwrap());
    metadata.licenses = AddMetadataField::Set(wkg.metadata.licenses.parse().unwrap());
    let published = metadata.to_wasm(&encoded).unwrap();
    let Payload::Component { metadata: read, .. } = Payload::from_binary(&published).unwrap() else {
        panic!("it is no component")
    };
    assert_eq!(read.description.unwrap().to_string(), wkg.metadata.description);
    assert_eq!(read.licenses.unwrap().to_string(), "MIT OR Apache-2.0");
    assert_eq!(read.version.unwrap().to_string(), "0.1.0");
    let mut validator = wasmparser::Validator::new();
    validator.validate_all(&published).unwrap();
    let DecodedWasm::WitPackage(decoded, of) = wit_component::decode(&published).unwrap() else {
        panic!("it is no package of WIT")
    };
    assert_eq!(print(&decoded, of), print(&resolve, package));
}

/// The interface as it was published as 0.1.0, which is never changed again: whoever changes the interface so that this
/// fails breaks every component that is out there, whichever functions it calls.
#[test]
fn whatever_was_built_against_0_1_0_keeps_linking() {
    let frozen = fs::read_to_string(root().join("tests/consumers/frozen/0.1.0.wit")).unwrap();
    // The check compares two worlds of one package, whatever its versions.
    let frozen = frozen.replacen("package arcella:minisnap@0.1.0;", "package arcella:minisnap@0.1.999;", 1);
    let check = |wit: &str| {
        let (mut resolve, now) = parsed();
        let then = resolve.push_str("frozen.wit", wit).unwrap();
        let [then, now] =
            [then, now].map(|package| resolve.select_world(&[package], Some("consumer")).unwrap());
        semver_check(resolve, then, now)
    };
    check(&frozen).unwrap();
    // It must be seen to bite, in what few components call, too.
    for function in ["open-reader-at: func(seq: u64)", "skipped: func()", "info: func()"] {
        let name = function.split(':').next().unwrap();
        let missed = frozen.replace(function, &function.replacen(name, "gone", 1));
        assert!(missed != frozen && check(&missed).is_err(), "{name}");
    }
}

/// The consumer in C as it was built against 0.1.0. It is never built again: whoever changes the interface so that this
/// fails breaks every component that is out there.
#[test]
fn a_consumer_that_was_built_against_0_1_0_keeps_linking() {
    let consumers = root().join("tests/consumers");
    let dir = tempdir().unwrap();
    let mut host = cli();
    host.arg("run").arg(consumers.join("frozen/0.1.0.wasm")).arg("--grant").arg(dir.path());
    let done = run(host.args(["--layout", "numbered", "--keep", "3"]), "");
    let transcript = fs::read_to_string(consumers.join("transcript.txt")).unwrap();
    assert_eq!((done.code, done.stdout, done.stderr), (Some(0), transcript, String::new()));
}
