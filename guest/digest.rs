// What the component file says of its origin: computed when it is built, and again by the test that compares.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

/// The custom section that holds [`sources`].
pub const SOURCES_SECTION: &str = "minisnap:sources";
/// The custom section that holds [`toolchain`].
pub const TOOLCHAIN_SECTION: &str = "minisnap:toolchain";

/// The BLAKE3 digest, in hexadecimal, of all that decides over the component's code: the WIT, the guest's sources, what
/// its manifest says of the build, its build profile, and the locked versions of what it depends on.
///
/// `root` is the project's folder. Names go in relative to it, so that the digest is the same everywhere.
pub fn sources(root: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |name: &str, contents: &[u8]| {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(contents.len() as u64).to_le_bytes()).update(contents);
    };

    let mut files = vec![
        "guest/build".into(),
        "guest/build.rs".into(),
        "guest/digest.rs".into(),
        "guest/metadata/src/main.rs".into(),
    ];
    list(root, Path::new("guest/src"), &mut files);
    let mut interfaces = Vec::new();
    list(root, Path::new("wit"), &mut interfaces);
    // Beside the WIT lie pages, and how its package is published.
    files.extend(
        interfaces.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "wit")),
    );
    files.sort();
    for file in files {
        let name = file.to_str().expect("the project's file names are ASCII").replace('\\', "/");
        add(&name, &fs::read(root.join(&file)).unwrap_or_else(|e| panic!("{name}: {e}")));
    }

    // What only tests and registries use does not change the component.
    let mut manifest = table(&root.join("guest/Cargo.toml"));
    manifest.remove("dev-dependencies");
    manifest.remove("test");
    let decides = |key: &str| ["build", "edition", "version"].contains(&key);
    if let Some(Value::Table(package)) = manifest.get_mut("package") {
        package.retain(|key, _| decides(key));
    }
    add("guest/Cargo.toml", manifest.to_string().as_bytes());
    let workspace = table(&root.join("Cargo.toml"));
    for key in ["edition", "version"] {
        add(key, workspace["workspace"]["package"][key].to_string().as_bytes());
    }
    add("profile.component", workspace["profile"]["component"].to_string().as_bytes());

    for entry in locked(&table(&root.join("Cargo.lock")), &manifest) {
        add("Cargo.lock", entry.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What compiles and links the component, a line each: `rustc`'s version, and the digest of the standard library
/// and C library of the target, which differ between one that was downloaded and one that was built.
pub fn toolchain(rustc: &str) -> String {
    let ask = |option: &[&str]| {
        let output = Command::new(rustc).args(option).output().expect("rustc runs");
        assert!(output.status.success(), "rustc {option:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("rustc prints UTF-8").trim().to_owned()
    };
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"]));
    let mut files = Vec::new();
    list(&sysroot, Path::new("lib/rustlib/wasm32-wasip2/lib"), &mut files);
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(file.to_string_lossy().as_bytes());
        hasher.update(&fs::read(sysroot.join(&file)).expect("the standard library can be read"));
    }
    format!("{}\nstandard library {}\n", ask(&["--version"]), hasher.finalize().to_hex())
}

/// The files below `dir`, relative to `root`.
fn list(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(root.join(dir)).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in entries {
        let entry = entry.expect("the folder can be listed");
        let path = dir.join(entry.file_name());
        if entry.file_type().expect("a file has a type").is_dir() {
            list(root, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// The locked packages that the component is built from, with their versions and checksums.
fn locked(lock: &Table, manifest: &Table) -> BTreeSet<String> {
    let packages = lock["package"].as_array().expect("packages");
    let field = |package: &Value, name: &str| package.get(name).and_then(Value::as_str).map(str::to_owned);
    let names_of = |table: Option<&Value>| -> Vec<String> {
        table.and_then(Value::as_table).into_iter().flat_map(Table::keys).cloned().collect()
    };
    let mut wanted = names_of(manifest.get("dependencies"));
    wanted.extend(names_of(manifest.get("build-dependencies")));
    for target in manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values) {
        wanted.extend(names_of(target.get("dependencies")));
    }

    let mut entries = BTreeSet::new();
    while let Some(wanted_one) = wanted.pop() {
        // A dependency is named with its version where the lock file has several.
        let mut parts = wanted_one.split(' ');
        let (name, version) = (parts.next(), parts.next());
        for package in packages {
            let found = (field(package, "name"), field(package, "version"));
            if found.0.as_deref() != name
                || version.is_some_and(|version| found.1.as_deref() != Some(version))
            {
                continue;
            }
            let entry = format!("{found:?} {:?}", field(package, "checksum"));
            if entries.insert(entry) {
                let dependencies = package.get("dependencies").and_then(Value::as_array);
                wanted
                    .extend(dependencies.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            }
        }
    }
    entries
}

fn table(path: &Path) -> Table {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
