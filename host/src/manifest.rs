//! A component's identity and needs, as Arcella has them: from the manifest beside it, or from its file's name.
//!
//! ```
//! use minisnap_host::Grant;
//! use minisnap_host::manifest::{Admitted, Manifest, Offer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tmp = tempfile::tempdir()?;
//! // Without a manifest, a file that is named so is a component that may have snapshots.
//! let upgraded = Manifest::of(tmp.path().join("counter@1.1.0.wasm"))?.expect("it has a name");
//! assert_eq!(upgraded.name(), "counter");
//!
//! std::fs::write(tmp.path().join("counter.component.toml"), r#"
//!     [component]
//!     name = "counter"
//!     version = "1.2.0"
//!     imports = ["arcella:minisnap/snapshot-store@0.1.0"]
//!     capabilities.resources.memory_max = 67108864
//! "#)?;
//! let counter = Manifest::of(tmp.path().join("counter.wasm"))?.expect("it has a manifest");
//! assert!(counter.wants_snapshots());
//! assert_eq!(counter.memory_max(), Some(64 << 20));
//!
//! // What it gets is what the host offers, as far as the manifest lets it.
//! let grant = Grant::new(tmp.path().join("snapshots/counter"));
//! let Admitted { grant, memory } = counter.admit(Offer::new(grant))?;
//! # let _ = (grant, memory);
//! # Ok(())
//! # }
//! ```
//!
//! A manifest has no keys but those that Arcella reads: an unknown one is an error, so no limit is lost by a
//! misspelling.

mod admission;
mod beside;
mod id;
mod memory;
mod written;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::DeTable;

use self::id::Id;
use self::written::Said;
use crate::diagnostic::{Diagnostic, Place, Result, Source};

pub use self::admission::{Admitted, Offer, Refused};
pub use self::memory::MemoryLimit;

/// The interface whose import, in any version, is the request for a snapshot directory.
pub const SNAPSHOT_STORE: &str = "arcella:minisnap/snapshot-store";

/// Who a component is and what it needs. Nothing that it does or says when it runs changes that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    said: Said,
    /// The manifest's file, or `None` if the name of the component's file says it all.
    file: Option<PathBuf>,
}

impl Manifest {
    /// The manifest of the component in the file `STEM.wasm`: of `STEM.component.toml` beside it, flat or in a table
    /// `[component]`; without one, what the stem `NAME@X.Y.Z` says; or `None` if that has another form.
    ///
    /// Errors: there is a manifest that cannot be read or is none, has an unknown key, or names another component than
    /// the stem does; or the file's name is one that no manifest can be named after.
    pub fn of(component: impl AsRef<Path>) -> Result<Option<Self>> {
        let component = component.as_ref();
        let stem = stem(component)?;
        let id = stem.parse::<Id>().ok();
        let file = component.with_file_name(format!("{stem}.component.toml"));
        let text = match fs::read_to_string(&file) {
            // A link that leads nowhere is not the absence of limits.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.is_symlink() => {
                return Ok(id.map(|id| Manifest { said: Said::by(id), file: None }));
            }
            text => text.map_err(|error| {
                Diagnostic::unreadable(
                    &file,
                    &error,
                    "let this user read the component's manifest, or remove it",
                )
            })?,
        };
        let source = Source { file: &file, text: &text };
        let said = parse(&source)?;
        if let Some(id) = id.filter(|id| *id != said.id) {
            let what = format!("the manifest is of `{}`, and beside `{id}.wasm`", said.id);
            return Err(Diagnostic::new(
                Place::file(&file),
                what,
                "name the files of a component by its own id",
            ));
        }
        Ok(Some(Manifest { said, file: Some(file) }))
    }

    /// The component's name, which its directory belongs to.
    pub fn name(&self) -> &str {
        &self.said.id.name
    }

    /// The component's version, of three numbers.
    pub fn version(&self) -> &str {
        &self.said.id.version
    }

    /// The manifest's file, or `None` if there is none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether it asks for a snapshot directory: it imports [`SNAPSHOT_STORE`], of any version, or has no manifest that could say so.
    pub fn wants_snapshots(&self) -> bool {
        self.file.is_none() || self.said.imports.has(SNAPSHOT_STORE)
    }

    /// The most memory that it may have in bytes, or `None` if it says nothing of that.
    pub fn memory_max(&self) -> Option<u64> {
        self.said.capabilities.resources.memory_max
    }

    /// The paths of files and directories that it needs, as it sees them.
    pub fn filesystem(&self) -> &[String] {
        &self.said.capabilities.filesystem
    }

    /// Whether it may only run in a trusted execution environment.
    pub fn requires_tee(&self) -> bool {
        self.said.capabilities.security.requires_tee
    }
}

/// The file's name without `.wasm`.
///
/// A name that is not text, or spells `.wasm` otherwise, would have its manifest under another name than the author sees.
fn stem(component: &Path) -> Result<&str> {
    let refuse = |what: &str, help: &str| Err(Diagnostic::new(Place::file(component), what, help));
    let Some(name) = component.file_name() else {
        return refuse("it names no file", "name the component's file, STEM.wasm");
    };
    let Some(name) = name.to_str() else {
        return refuse(
            "the file's name is not UTF-8, so its manifest cannot be named",
            "rename the component to NAME@X.Y.Z.wasm, or to STEM.wasm beside STEM.component.toml",
        );
    };
    match name.rsplit_once('.') {
        Some((stem, "wasm")) => Ok(stem),
        Some((stem, suffix)) if suffix.eq_ignore_ascii_case("wasm") => refuse(
            &format!("the file's name ends in `.{suffix}`, so its manifest cannot be named"),
            &format!("rename it to `{stem}.wasm`"),
        ),
        _ => Ok(name),
    }
}

fn parse(source: &Source<'_>) -> Result<Said> {
    /// A manifest in a table of its own, as Arcella writes it, beside tables of others.
    #[derive(Deserialize)]
    struct Beside {
        component: written::Component,
    }
    let mistake = |error: toml::de::Error| source.mistake(&error);
    let file = DeTable::parse(source.text).map_err(mistake)?;
    let file = file.get_ref();
    let written = if file.contains_key(beside::COMPONENT) {
        beside::check(source, file)?;
        let Beside { component } = toml::from_str(source.text).map_err(mistake)?;
        component
    } else {
        beside::check_flat(source, file)?;
        toml::from_str(source.text).map_err(mistake)?
    };
    written.read(source)
}
