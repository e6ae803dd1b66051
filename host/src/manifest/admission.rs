//! What a component gets: what its host offers, as far as its manifest lets it.

use std::path::{Component, Path, PathBuf};

use super::{Manifest, MemoryLimit};
use crate::grant::Grant;

/// What a host has for one component.
#[derive(Debug, Clone)]
pub struct Offer {
    grant: Grant,
    component_memory: u64,
    folders: Vec<String>,
    is_trusted: bool,
}

/// What a component gets of an [`Offer`].
#[derive(Debug)]
pub struct Admitted {
    /// What its store is opened with, and its log: [`Grant::none`] if it does not ask for snapshots.
    pub grant: Grant,
    /// What its `wasmtime::Store` is limited by.
    pub memory: MemoryLimit,
}

/// Why a component may not run on what its host offers; [`help`](Refused::help) says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {what}", file.display())]
pub struct Refused {
    file: PathBuf,
    what: String,
    help: String,
}

impl Offer {
    /// Offers this grant, any amount of memory, no directories, and an ordinary process.
    pub fn new(grant: Grant) -> Self {
        Offer { grant, component_memory: u64::MAX, folders: Vec::new(), is_trusted: false }
    }

    /// Offers so much memory, in bytes; the manifest may say less.
    pub fn component_memory(self, bytes: u64) -> Self {
        Offer { component_memory: bytes, ..self }
    }

    /// Offers one more directory, as the component names it. That of the grant's log is offered with the grant.
    pub fn folder(mut self, guest: impl Into<String>) -> Self {
        self.folders.push(guest.into());
        self
    }

    /// Says that this process runs in a trusted execution environment.
    pub fn trusted(self) -> Self {
        Offer { is_trusted: true, ..self }
    }

    /// What a component without a manifest gets: all of it.
    pub fn accept(self) -> Admitted {
        Admitted { grant: self.grant, memory: MemoryLimit::new(self.component_memory) }
    }
}

impl Manifest {
    /// What this component gets of what its host offers: no snapshots unless it [asks](Manifest::wants_snapshots) for
    /// them, and no more memory than its manifest says.
    ///
    /// # Errors
    ///
    /// It requires a trusted execution environment, or directories, that are not offered: it must not run.
    pub fn admit(&self, offer: Offer) -> Result<Admitted, Refused> {
        self.check_folders(&offer)?;
        if self.requires_tee() && !offer.is_trusted {
            let what = format!(
                "`{}` requires a trusted execution environment, which this process is not in",
                self.name()
            );
            return Err(self.refused(what, "run it in one, with a host of its own"));
        }
        let bytes = self.memory_max().unwrap_or(u64::MAX).min(offer.component_memory);
        let grant = if self.wants_snapshots() { offer.grant } else { Grant::none() };
        Ok(Admitted { grant, memory: MemoryLimit::new(bytes) })
    }

    fn check_folders(&self, offer: &Offer) -> Result<(), Refused> {
        let log = offer.grant.log_dir().filter(|_| self.wants_snapshots()).map(|_| Grant::LOG);
        let folders = offer.folders.iter().map(String::as_str).chain(log);
        let offered: Vec<PathBuf> = folders.filter_map(guest_path).collect();
        let is_offered = |needed: &&String| {
            guest_path(needed).is_some_and(|needed| offered.iter().any(|folder| needed.starts_with(folder)))
        };
        let missing: Vec<&String> = self.filesystem().iter().filter(|path| !is_offered(path)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let list = |quote: &dyn Fn(&str) -> String, between| {
            missing.iter().map(|path| quote(path)).collect::<Vec<_>>().join(between)
        };
        let paths = list(&|path| format!("`{path}`"), ", ");
        let is_log = |path: &&String| guest_path(path).is_some_and(|path| path.starts_with("log"));
        let log = match missing.iter().any(is_log) {
            true => {
                "; or, for `/log`, let it write snapshots and import the store, with `log = true` in the grants file"
            }
            false => "",
        };
        Err(self.refused(
            format!("`{}` needs files that it is not given: {paths}", self.name()),
            format!(
                "if it may have them, say which folders those are: {}{log}",
                list(&|path| format!("--dir HOST::{path}"), " ")
            ),
        ))
    }

    fn refused(&self, what: String, help: impl Into<String>) -> Refused {
        let file = self.file().unwrap_or(Path::new("the manifest")).to_owned();
        Refused { file, what, help: help.into() }
    }
}

impl Refused {
    /// What to do about it.
    pub fn help(&self) -> &str {
        &self.help
    }
}

/// The parts of a path in the component, absolute or not, or `None` if it goes up.
fn guest_path(guest: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(guest).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
