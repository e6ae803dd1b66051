//! The interface as others read it: by the parser of wasm-tools, in the form in which packages of WIT are published, and
//! by components that were built against it.

use std::fs;
use std::path::{Path, PathBuf};

use minisnap_tests::{cli, run};
use tempfile::tempdir;
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{PackageId, Resolve};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn parsed() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
    (resolve, package)
}

fn print(resolve: &Resolve, package: PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer.print(resolve, package, &[]).unwrap();
    printer.output.to_string()
}

#[test]
fn everything_in_the_wit_is_documented_and_says_since_when_it_is_there() {
    let (resolve, package) = parsed();
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), "arcella:minisnap@0.1.0");
    let check = |what: &str, docs: &wit_parser::Docs, stability: &wit_parser::Stability| {
        assert!(docs.contents.as_deref().is_some_and(|docs| docs.len() > 10), "{what} has no documentation");
        let since =
            matches!(stability, wit_parser::Stability::Stable { since, .. } if since.to_string() == "0.1.0");
        assert!(since, "{what} does not say since when it is there");
    };
    for (name, &world) in &package.worlds {
        check(name, &resolve.worlds[world].docs, &resolve.worlds[world].stability);
    }
    for (name, &interface) in &package.interfaces {
        let interface = &resolve.interfaces[interface];
        check(name, &interface.docs, &interface.stability);
        for (function, details) in &interface.functions {
            check(&format!("{name}.{function}"), &details.docs, &details.stability);
        }
    }
    assert_eq!((package.worlds.len(), package.interfaces.len()), (2, 2));
}

/// A package of WIT is published as a component that holds its types, documentation included.
#[test]
fn the_published_form_of_the_wit_holds_all_of_it() {
    let (resolve, package) = parsed();
    let published = wit_component::encode(&resolve, package).unwrap();
    let mut validator = wasmparser::Validator::new();
    validator.validate_all(&published).unwrap();
    let DecodedWasm::WitPackage(decoded, of) = wit_component::decode(&published).unwrap() else {
        panic!("it is no package of WIT")
    };
    assert_eq!(print(&decoded, of), print(&resolve, package));
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
