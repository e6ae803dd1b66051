//! Records in the component what it was built from, and by what.

use std::path::Path;
use std::{env, fs};

mod digest;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=digest.rs");
    // Only the component carries the records; a native build of the logic needs none.
    if env::var("CARGO_CFG_TARGET_FAMILY").as_deref() != Ok("wasm") {
        return;
    }
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    for path in ["wit", "guest", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed=../{path}");
    }
    let mut records = String::new();
    for (section, text) in [
        (digest::SOURCES_SECTION, digest::sources(&root)),
        (digest::TOOLCHAIN_SECTION, digest::toolchain(&env::var("RUSTC").expect("cargo sets RUSTC"))),
    ] {
        let name = section.replace(':', "_").to_uppercase();
        let size = text.len();
        records += &format!(
            "#[used]\n\
             // SAFETY: a static in a custom section of a wasm module is data beside the program, not part of it.\n\
             #[unsafe(link_section = {section:?})]\n\
             static {name}: [u8; {size}] = *b{text:?};\n"
        );
    }
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("records.rs");
    fs::write(out, records).expect("the records can be written");
}
