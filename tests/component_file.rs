//! The component file that the host embeds: built from these sources, by a known toolchain, with nothing of the
//! machine in it, and with no more imports than it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use arcella_types::manifest::ComponentManifest;
use auditable_serde::DependencyKind;
use minisnap_host::COMPONENT;
use minisnap_tests::root;
use toml::{Table, Value};
use wasmparser::{Parser, Payload};

#[path = "../guest/digest.rs"]
mod digest;

/// The component that is embedded, and the one that is checked in: the same, unless MINISNAP_COMPONENT names another.
fn components() -> [(&'static str, Vec<u8>); 2] {
    let checked_in = fs::read(root().join("host/component/minisnap.wasm")).unwrap();
    [("embedded", COMPONENT.to_vec()), ("checked in", checked_in)]
}

/// The custom sections, those of the modules inside included.
fn custom_sections(component: &[u8]) -> BTreeMap<String, Vec<u8>> {
    Parser::new(0)
        .parse_all(component)
        .filter_map(|payload| match payload.expect("the component is valid") {
            Payload::CustomSection(section) => Some((section.name().to_owned(), section.data().to_vec())),
            _ => None,
        })
        .collect()
}

fn section_of(component: &[u8], name: &str) -> String {
    let sections = custom_sections(component);
    let section = sections.get(name).unwrap_or_else(|| panic!("no section {name} in {:?}", sections.keys()));
    String::from_utf8(section.clone()).unwrap()
}

/// The names of the component's own imports and exports.
fn imports_and_exports(component: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn the_component_file_is_built_from_these_sources() {
    for (which, component) in components() {
        assert_eq!(
            section_of(&component, digest::SOURCES_SECTION),
            digest::sources(root()),
            "the {which} component file is older than its sources: rebuild it with guest/build, and commit it with them"
        );
    }
}

#[test]
fn only_what_decides_over_its_code_makes_a_component_file_old() {
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "wit", "guest"] {
        copy(&root().join(name), &elsewhere.path().join(name));
    }
    let sources = || digest::sources(elsewhere.path());
    let original = sources();
    assert_eq!(original, digest::sources(root()));
    let change = |file: &str, from: &str, to: &str| {
        let path = elsewhere.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    change("wit/wkg.toml", "description = \"", "description = \"Other words. ");
    change("guest/Cargo.toml", "description = \"", "description = \"Other words. ");
    change("guest/Cargo.toml", "name = \"store\"", "name = \"other\"");
    change("wit/README.md", "# The interface", "# Other words");
    change("Cargo.toml", "repository = \"", "repository = \"elsewhere");
    assert_eq!(sources(), original);
    for (file, from, to) in [
        ("wit/worlds.wit", "world", "// Other words.\nworld"),
        ("guest/src/lib.rs", "mod", "// Other words.\nmod"),
        ("guest/Cargo.toml", "[\"xxh3\"]", "[\"xxh64\"]"),
        ("Cargo.toml", "opt-level = 2\npanic", "opt-level = 3\npanic"),
        ("Cargo.toml", "edition = \"2024\"", "edition = \"2021\""),
        ("Cargo.toml", "version = \"0.1.0\"", "version = \"0.1.1\""),
        ("guest/Cargo.toml", "edition.workspace = true", "edition = \"2024\""),
    ] {
        let before = sources();
        change(file, from, to);
        assert_ne!(sources(), before, "{file}: `{to}`");
    }
}

#[test]
fn the_component_file_says_what_it_is_and_what_it_was_built_from() {
    let table = |file: &str| -> Table { fs::read_to_string(root().join(file)).unwrap().parse().unwrap() };
    let (manifest, workspace, lock) = (table("guest/Cargo.toml"), table("Cargo.toml"), table("Cargo.lock"));
    let common = &workspace["workspace"]["package"];
    let is = |found: &dyn ToString, written: &Value| assert_eq!(Some(&*found.to_string()), written.as_str());
    for (which, component) in components() {
        let wasm_metadata::Payload::Component { metadata, .. } =
            wasm_metadata::Payload::from_binary(&component).unwrap()
        else {
            panic!("the {which} file is no component")
        };
        is(&metadata.name.unwrap(), &manifest["package"]["name"]);
        is(&metadata.description.unwrap(), &manifest["package"]["description"]);
        is(&metadata.version.unwrap(), &common["version"]);
        is(&metadata.licenses.unwrap(), &common["license"]);
        is(&metadata.source.unwrap(), &common["repository"]);
        is(&metadata.homepage.unwrap(), &common["repository"]);
        is(&metadata.authors.unwrap(), &common["authors"][0]);
        assert_eq!(metadata.revision.unwrap().to_string(), digest::sources(root()), "{which}");

        let dependencies = metadata.dependencies.unwrap();
        let packages = &dependencies.version_info().packages;
        let kind =
            |name: &str| packages.iter().find(|package| package.name == name).map(|package| package.kind);
        assert_eq!(kind("xxhash-rust"), Some(DependencyKind::Runtime));
        assert_eq!(kind("blake3"), Some(DependencyKind::Build));
        assert_eq!(kind("proptest"), None, "no test is in the component");
        let of_lock = |package: &&Value| {
            packages.iter().any(|built| {
                let version = built.version.to_string();
                package["name"].as_str() == Some(&built.name) && package["version"].as_str() == Some(&version)
            })
        };
        assert_eq!(lock["package"].as_array().unwrap().iter().filter(of_lock).count(), packages.len());
        let roots: Vec<_> = packages.iter().filter(|package| package.root).collect();
        assert!(roots.len() == 1 && roots[0].name == "minisnap-component", "{roots:?}");
    }
}

#[test]
fn the_component_file_says_by_which_toolchain_it_was_built() {
    for (which, component) in components() {
        let recorded = section_of(&component, digest::TOOLCHAIN_SECTION);
        assert!(
            recorded.starts_with("rustc 1.") && recorded.contains("\nstandard library "),
            "{which}: {recorded}"
        );
    }
}

/// The toolchain is part of what decides the bytes: what another one built is not compared. Continuous integration
/// compares what it has just built with what the release's test builds.
#[test]
#[cfg_attr(
    not(component_of_this_toolchain),
    ignore = "no component file is of this toolchain: build one with guest/build, and name it in MINISNAP_COMPONENT"
)]
fn in_long_runs_the_same_toolchain_makes_the_same_file_in_another_place() {
    let here = digest::toolchain("rustc");
    let mut comparable = components().to_vec();
    comparable.retain(|(_, component)| section_of(component, digest::TOOLCHAIN_SECTION) == here);
    assert!(!comparable.is_empty(), "there is nothing to compare: this toolchain is\n{here}");
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "wit", "guest", "host", "tests"] {
        copy(&root().join(name), &elsewhere.path().join(name));
    }
    let built = elsewhere.path().join("built.wasm");
    let mut build = Command::new(elsewhere.path().join("guest/build"));
    let output = build.arg(&built).env_remove("CARGO_TARGET_DIR").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = fs::read(built).unwrap();
    for (which, component) in comparable {
        assert_eq!(built.len(), component.len(), "{which}");
        assert!(built == component, "{which}: two builds by the same toolchain differ");
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            if name != "target" {
                copy(&from.join(&name), &to.join(&name));
            }
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn the_component_file_is_below_237_kb() {
    for (which, component) in components() {
        assert!(component.len() < 237_000, "{which}: {} bytes", component.len());
    }
}

#[test]
fn nothing_of_the_building_machine_is_in_the_component_file() {
    let home = env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let cargo_home = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let here = root().canonicalize().unwrap().to_str().unwrap().to_owned();
    let mut unwanted: Vec<String> =
        [".cargo", ".rustup", "/home/", "/root/", "/Users/", "registry", "://"].map(str::to_owned).into();
    unwanted.extend([here, cargo_home.clone()]);
    // Cargo names a registry's folder after its host, with a hash behind it.
    for registry in fs::read_dir(format!("{cargo_home}/registry/src")).unwrap() {
        let name = registry.unwrap().file_name().into_string().unwrap();
        unwanted.push(name.rsplit_once('-').map_or(name.clone(), |(host, _)| host.to_owned()));
    }
    for (which, component) in components() {
        // The component names its repository.
        let text = String::from_utf8_lossy(&component).replace("https://github.com/ArcellaTeam/mini-rs", "");
        for path in &unwanted {
            let found = text.find(path).map(|at| text[at..].chars().take(80).collect::<String>());
            assert_eq!(found, None, "{which}: {path}");
        }
        // What stands in their place.
        assert!(text.contains("/rustc/"), "{which}: the check above looks at nothing");
    }
}

#[test]
fn the_component_is_stripped() {
    for (which, component) in components() {
        let names: Vec<_> = custom_sections(&component).into_keys().collect();
        assert!(!names.iter().any(|name| name.starts_with(".debug") || name == "name"), "{which}: {names:?}");
    }
}

#[test]
fn the_component_imports_files_streams_and_settings_and_nothing_else() {
    let mut imports = BTreeSet::new();
    for (_, component) in components() {
        let (imported, exports) = imports_and_exports(&component);
        assert_eq!(
            exports,
            ["arcella:minisnap/snapshot-store@0.1.0", "arcella:minisnap/snapshot-maintenance@0.1.0"]
        );
        imports.extend(imported);
    }
    for import in imports {
        let name = import.split('@').next().unwrap();
        assert!(
            [
                "wasi:filesystem/preopens",
                "wasi:filesystem/types",
                "wasi:io/error",
                "wasi:io/streams",
                "wasi:cli/environment",
                // What the language's runtime brings: a panic's message, and times of files.
                "wasi:cli/stderr",
                "wasi:clocks/wall-clock",
            ]
            .contains(&name),
            "{import}"
        );
    }
}

#[test]
fn the_manifest_beside_the_component_is_what_arcella_reads_and_what_the_component_is() {
    let text = fs::read_to_string(root().join("host/component/minisnap.component.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let manifest: ComponentManifest = table["component"].clone().try_into().unwrap();
    manifest.validate().unwrap();
    assert_eq!(manifest.id.to_string(), format!("minisnap@{}", env!("CARGO_PKG_VERSION")));

    let (imports, exports) = imports_and_exports(COMPONENT);
    // Which 0.2 of WASI is imported comes with the toolchain's C library.
    let sorted = |names: Vec<String>| -> BTreeSet<String> {
        let without_patch = |name: String| match name.rsplit_once('.') {
            Some((minor, _)) if name.starts_with("wasi:") => minor.to_owned(),
            _ => name,
        };
        names.into_iter().map(without_patch).collect()
    };
    assert_eq!(sorted(manifest.exports.keys().cloned().collect()), sorted(exports));
    assert_eq!(sorted(manifest.imports.keys().cloned().collect()), sorted(imports));
    assert_eq!(manifest.capabilities.filesystem, ["/snapshots"]);
    assert_eq!(
        manifest.capabilities.environment,
        [
            "MINISNAP_DIR",
            "MINISNAP_LAYOUT",
            "MINISNAP_KEEP",
            "MINISNAP_MAX_STATE",
            "MINISNAP_MAX_TOTAL",
            "MINISNAP_STORES"
        ]
    );
    let known: BTreeSet<String> = manifest.capabilities.environment.into_iter().collect();
    let source = fs::read_to_string(root().join("guest/src/component.rs")).unwrap();
    let asked = source.split('"').filter(|text| text.starts_with("MINISNAP_")).map(str::to_owned).collect();
    assert_eq!(known, asked, "the variables that the component asks for");
}
