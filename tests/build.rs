//! Builds the programs that the tests run: the consumer components, those of the native crates, and what is preloaded.
//!
//! Each becomes a constant with the path of its file, so that a test of a program that is missing does not compile.
//! Conditions under which tests are ignored become `cfg`s: a test that does not take place must not be reported as passed.

#[expect(dead_code, reason = "only the toolchain matters here")]
#[path = "../guest/digest.rs"]
mod digest;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let here = &PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Of all profiles and runs, in the build folder that is in use.
    let target =
        out.ancestors().nth(4).expect("OUT_DIR is target/PROFILE/build/PACKAGE/out").join("minisnap-tests");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../wit");
    println!("cargo::rerun-if-changed=harness/records.rs");
    println!("cargo::rerun-if-changed=../guest/src");
    println!("cargo::rerun-if-changed=../guest/client");

    // Each with what is the same in several.
    let (consumers, native) = (target.join("consumers"), target.join("native"));
    build(&here.join("consumers"), &consumers, true);
    for file in [".cargo", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed=consumers/{file}");
    }
    let mut programs = String::new();
    for (constant, folder, file) in [
        ("BENCH", "consumers/bench", "wasm32-wasip2/release/bench.wasm"),
        ("COUNTER", "consumers/counter", "wasm32-wasip2/release/counter.wasm"),
        ("HOSTILE", "consumers/hostile", "wasm32-wasip2/release/hostile.wasm"),
        ("LEDGER", "consumers/ledger", "wasm32-wasip2/release/ledger.wasm"),
        ("VERBS", "consumers/verbs", "wasm32-wasip2/release/verbs.wasm"),
        ("NATIVE_0_1_2", "native/0.1.2", "release/native-pair"),
        ("NATIVE_0_1_3", "native/0.1.3", "release/native-numbered"),
        ("NATIVE_STATE", "native/ministate", "release/native-state"),
    ] {
        let folder = here.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let target = if folder.starts_with(here.join("consumers")) {
            consumers.clone()
        } else {
            build(&folder, &native, false);
            native.clone()
        };
        let path = target.join(file);
        assert!(path.exists(), "{} was not built", path.display());
        programs +=
            &format!("/// Built from `{}`.\npub const {constant}: &str = {path:?};\n", folder.display());
    }
    for (constant, name) in [("HANG", "hang"), ("SHORT_WRITES", "short_writes")] {
        let source = here.join("programs").join(name).with_extension("c");
        let library = out.join(format!("lib{name}.so"));
        println!("cargo::rerun-if-changed={}", source.display());
        let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
        let compiled = compiler.arg("-ldl").status().expect("there is a C compiler");
        assert!(compiled.success(), "{} was not compiled", source.display());
        programs +=
            &format!("/// Built from `{}`.\npub const {constant}: &str = {library:?};\n", source.display());
    }
    fs::write(out.join("programs.rs"), programs).expect("the constants can be written");
    conditions(&here.join("../host/component/minisnap.wasm"));
}

/// Which of the conditions hold that tests need.
fn conditions(checked_in: &Path) {
    println!("cargo::rustc-check-cfg=cfg(attributes, component_of_this_toolchain, one_file_system, root)");
    if device("/dev/shm".as_ref()).is_none_or(|memory| device(&env::temp_dir()) == Some(memory)) {
        println!("cargo::rustc-cfg=one_file_system");
    }
    if attributes_can_be_set() {
        println!("cargo::rustc-cfg=attributes");
    }
    println!("cargo::rerun-if-env-changed=MINISNAP_COMPONENT");
    println!("cargo::rerun-if-env-changed=TMPDIR");
    println!("cargo::rerun-if-changed=../guest/digest.rs");
    let embedded = env::var_os("MINISNAP_COMPONENT").map(PathBuf::from);
    let toolchain = digest::toolchain("rustc");
    let is_of_this_toolchain = |file: &Path| {
        println!("cargo::rerun-if-changed={}", file.display());
        // The host's build says what is wrong with one that cannot be read.
        let component = fs::read(file).unwrap_or_default();
        component.windows(toolchain.len()).any(|bytes| bytes == toolchain.as_bytes())
    };
    if embedded.iter().map(PathBuf::as_path).chain([checked_in]).any(is_of_this_toolchain) {
        println!("cargo::rustc-cfg=component_of_this_toolchain");
    }
    if fs::metadata("/proc/self").expect("Linux has it").uid() == 0 {
        println!("cargo::rustc-cfg=root");
    }
}

/// Whether this user may make a file immutable in the folder for temporary files.
fn attributes_can_be_set() -> bool {
    let file = env::temp_dir().join(format!("minisnap-{}", std::process::id()));
    let chattr = |change: &str| Command::new("chattr").arg(change).arg(&file).output();
    let is_set = fs::write(&file, "").is_ok() && chattr("+i").is_ok_and(|done| done.status.success());
    if is_set {
        chattr("-i").expect("it was there just now");
    }
    let _ = fs::remove_file(&file);
    is_set
}

/// The device of a folder's file system.
fn device(folder: &Path) -> Option<u64> {
    fs::metadata(folder).ok().map(|metadata| metadata.dev())
}

fn build(folder: &Path, target: &Path, to_wasm: bool) {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.args(["build", "--release", "--locked", "--target-dir"]).arg(target).current_dir(folder);
    if to_wasm {
        cargo.args(["--target", "wasm32-wasip2"]);
    }
    // What was set for this workspace is not meant for those.
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"]
    {
        cargo.env_remove(variable);
    }
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{} was not built; if the target wasm32-wasip2 is missing, run guest/provision\n{}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
