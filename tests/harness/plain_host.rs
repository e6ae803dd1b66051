//! A host that knows nothing of snapshots: wasmtime, as its command line is.

use std::path::Path;

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Error, Store};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use crate::cached_engine;

struct Plain(WasiCtx, ResourceTable);

impl WasiView for Plain {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.0, table: &mut self.1 }
    }
}

/// Runs a program that gets a directory under this name, and these variables, and nothing else; returns what it printed.
///
/// # Errors
///
/// If it is no component, needs anything else, traps, or ends with an error.
pub fn run_plainly(
    program: &Path,
    dir: &Path,
    name: &str,
    variables: &[(&str, &str)],
) -> Result<String, Error> {
    let engine = cached_engine();
    let component = Component::from_file(&engine, program)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    let output = MemoryOutputPipe::new(1 << 20);
    let mut wasi = WasiCtx::builder();
    wasi.stdout(output.clone()).inherit_stderr().envs(variables);
    wasi.preopened_dir(dir, name, FsPerms::ReadWrite)?;
    let mut store = Store::new(&engine, Plain(wasi.build(), ResourceTable::new()));
    let command = Command::instantiate(&mut store, &component, &linker)?;
    let ended = command.wasi_cli_run().call_run(&mut store)?;
    ended.map_err(|()| Error::msg("it ended with an error"))?;
    Ok(String::from_utf8(output.contents().to_vec())?)
}
