//! Writes into a component file what it is and what it was built from: `component-metadata FROM TO`.
//!
//! `wasm-tools metadata show` prints it, and scanners for vulnerabilities read the list of dependencies, which has the format of
//! `cargo auditable`. The revision is the digest of the sources, since the file is a part of every commit. The section of names,
//! which the compiler leaves and nobody needs, is removed.

use std::collections::BTreeMap;
use std::{env, fs};

#[path = "../../digest.rs"]
#[allow(dead_code, reason = "the component's build and a test use the rest")]
mod digest;

use anyhow::{Context, Result, bail};
use auditable_serde::{DependencyKind, Package, Source, VersionInfo};
use cargo_metadata::{CargoOpt, DependencyKind as Kind, Metadata, MetadataCommand, PackageId};
use wasm_encoder::ComponentSection;
use wasm_metadata::AddMetadataField::{Clear, Set};
use wasm_metadata::{AddMetadata, Authors, Dependencies, Description, Homepage, Licenses, Revision, Version};

/// The package that the component is made of, and what it is built for.
const PACKAGE: &str = "minisnap-component";
const TARGET: &str = "wasm32-wasip2";

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [from, to] = &args[..] else { bail!("give FROM and TO") };
    let metadata = MetadataCommand::new()
        .features(CargoOpt::SomeFeatures(Vec::new()))
        .other_options(["--locked", "--filter-platform", TARGET].map(str::to_owned))
        .exec()?;
    let component = fs::read(from).with_context(|| format!("cannot read {from}"))?;
    let written = write(&component, &metadata)?;
    fs::write(to, written).with_context(|| format!("cannot write {to}"))
}

fn write(component: &[u8], metadata: &Metadata) -> Result<Vec<u8>> {
    let package = metadata.packages.iter().find(|package| package.name == PACKAGE).context(PACKAGE)?;
    let repository = package.repository.clone().context("no `repository`")?;

    let mut unnamed = AddMetadata::default();
    unnamed.name = Clear;
    let mut named = AddMetadata::default();
    named.name = Set(PACKAGE.to_owned());
    named.version = Set(Version::new(package.version.to_string()));
    named.description = Set(Description::new(package.description.clone().context("no `description`")?));
    named.licenses = Set(Licenses::new(package.license.as_ref().context("no `license`")?)?);
    named.authors = Set(Authors::new(package.authors.join(", ")));
    named.source = Set(wasm_metadata::Source::new(&repository)?);
    named.homepage = Set(Homepage::new(&repository)?);
    named.revision = Set(Revision::new(digest::sources(metadata.workspace_root.as_std_path())));
    let mut written = named.to_wasm(&unnamed.to_wasm(component)?)?;
    Dependencies::new(dependencies(metadata, &package.id)?)?.append_to_component(&mut written);
    Ok(written)
}

/// What the package is built from, each with what it depends on; what only runs while it is built says so.
fn dependencies(metadata: &Metadata, root: &PackageId) -> Result<VersionInfo> {
    let nodes = &metadata.resolve.as_ref().context("no dependencies")?.nodes;
    let mut found = BTreeMap::<&PackageId, DependencyKind>::new();
    let mut open = vec![(root, DependencyKind::Runtime)];
    while let Some((id, kind)) = open.pop() {
        let is_macro = metadata[id].targets.iter().any(|target| target.is_proc_macro());
        let kind = if is_macro { DependencyKind::Build } else { kind };
        if found.get(id).is_some_and(|known| *known >= kind) {
            continue;
        }
        found.insert(id, kind);
        let node = nodes.iter().find(|node| node.id == *id).context("an unknown package")?;
        for dependency in &node.deps {
            let is = |wanted| dependency.dep_kinds.iter().any(|info| info.kind == wanted);
            if is(Kind::Normal) {
                open.push((&dependency.pkg, kind));
            } else if is(Kind::Build) {
                open.push((&dependency.pkg, DependencyKind::Build));
            }
        }
    }

    // In an order that no path of this machine decides.
    let mut ids: Vec<&PackageId> = found.keys().copied().collect();
    ids.sort_by_key(|id| (&metadata[*id].name, &metadata[*id].version));
    let packages = ids.iter().map(|id| {
        let package = &metadata[*id];
        let source = match &package.source {
            None => Source::Local,
            Some(source) if source.is_crates_io() => Source::CratesIo,
            Some(_) => Source::Registry,
        };
        let node = nodes.iter().find(|node| node.id == **id).into_iter();
        let needs = node.flat_map(|node| &node.deps).filter(|dependency| {
            let is_needed = |kind: &Kind| matches!(kind, Kind::Normal | Kind::Build);
            dependency.dep_kinds.iter().any(|info| is_needed(&info.kind))
        });
        let mut dependencies: Vec<usize> =
            needs.filter_map(|needed| ids.iter().position(|id| **id == needed.pkg)).collect();
        dependencies.sort_unstable();
        Package {
            name: package.name.to_string(),
            version: package.version.clone(),
            source,
            kind: found[*id],
            dependencies,
            root: **id == *root,
        }
    });
    // Of the formats of `cargo auditable`, the one that takes macros for what they are.
    Ok(VersionInfo { packages: packages.collect(), format: 1 })
}
