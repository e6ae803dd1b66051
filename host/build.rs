//! Chooses the component file to embed: the one that is checked in, or the one that `MINISNAP_COMPONENT` names,
//! so that a fresh build can be put through the whole test suite.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MINISNAP_COMPONENT");
    let checked_in = || {
        Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("component/minisnap.wasm")
    };
    let file = env::var_os("MINISNAP_COMPONENT").map_or_else(checked_in, PathBuf::from);
    println!("cargo::rerun-if-changed={}", file.display());
    match fs::canonicalize(&file) {
        Ok(file) => println!("cargo::rustc-env=MINISNAP_COMPONENT_FILE={}", file.display()),
        Err(error) => println!(
            "cargo::error=the component file `{}` cannot be read ({error}): build it with `guest/build`, \
             or name another one, by its absolute path, in MINISNAP_COMPONENT",
            file.display()
        ),
    }
}
