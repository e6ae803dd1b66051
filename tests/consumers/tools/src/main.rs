//! What the consumers in C and Go are built with, and any consumer is composed with: the libraries behind `wit-bindgen`,
//! `wasm-tools component` and `wac`, so that none of these programs needs to be installed.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const USAGE: &str = "usage:
  bindings c|go WIT WORLD FOLDER    writes the bindings of a world into a folder
  componentize MODULE WIT WORLD FILE  makes a component of a library module for WASI 0.1
  compose CONSUMER STORE FILE       plugs what the store exports into what the consumer imports";

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bindings", language, wit, world, folder] => bindings(language, wit, world, Path::new(folder)),
        ["componentize", module, wit, world, file] => componentize(module, wit, world, file),
        ["compose", consumer, store, file] => compose(consumer, store, file),
        _ => bail!(USAGE),
    }
}

fn world(wit: &str, world: &str) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    Ok((resolve, world))
}

fn bindings(language: &str, wit: &str, name: &str, folder: &Path) -> Result<()> {
    let (mut resolve, world) = world(wit, name)?;
    let mut generator: Box<dyn WorldGenerator> = match language {
        "c" => wit_bindgen_c::Opts::default().build(),
        "go" => wit_bindgen_go::Opts::default().build(),
        _ => bail!("bindings are made for c and go, not for {language}"),
    };
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, contents) in files.iter() {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::write(&file, contents).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn componentize(module: &str, wit: &str, name: &str, file: &str) -> Result<()> {
    let (resolve, world) = world(wit, name)?;
    let mut module = fs::read(module).context(module.to_owned())?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    let component = ComponentEncoder::default()
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .validate(true)
        .encode()?;
    fs::write(file, component).context(file.to_owned())
}

fn compose(consumer: &str, store: &str, file: &str) -> Result<()> {
    let mut graph = CompositionGraph::new();
    let store = Package::from_file("store", None, store, graph.types_mut())?;
    let consumer = Package::from_file("consumer", None, consumer, graph.types_mut())?;
    let (store, consumer) = (graph.register_package(store)?, graph.register_package(consumer)?);
    plug(&mut graph, vec![store], consumer)?;
    fs::write(file, graph.encode(EncodeOptions::default())?).context(file.to_owned())
}
