//! A component's identity and needs, as Arcella has them: from the manifest beside it, or from its file's name.
//!
//! ```
//! use minisnap_host::manifest::Manifest;
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
//! # Ok(())
//! # }
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arcella_types::interface_list::InterfaceList;
use arcella_types::manifest::{ComponentCapabilities, ComponentManifest};
use arcella_types::module_id::ModuleId;
use serde::Deserialize;
use toml::Spanned;

use crate::config::{ConfigError, Place, Result, Source};

/// The import that is the request for a snapshot directory.
pub const SNAPSHOT_STORE: &str = "arcella:minisnap/snapshot-store@0.1.0";

/// Who a component is and what it needs. Nothing that it does or says when it runs changes that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    component: ComponentManifest,
    /// The manifest's file, or `None` if the name of the component's file says it all.
    file: Option<PathBuf>,
}

impl Manifest {
    /// The manifest of the component in the file `STEM.wasm`: of `STEM.component.toml` beside it, flat or in a table
    /// `[component]`; without one, what the stem `NAME@X.Y.Z` says; or `None` if that has another form.
    ///
    /// Errors: there is a manifest that cannot be read or is none, or that names another component than the stem does.
    pub fn of(component: impl AsRef<Path>) -> Result<Option<Self>> {
        let component = component.as_ref();
        let stem = stem(component);
        let id = stem.parse::<ModuleId>().ok();
        let file = component.with_file_name(format!("{stem}.component.toml"));
        let text = match fs::read_to_string(&file) {
            // A link that leads nowhere is not the absence of limits.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.is_symlink() => {
                return Ok(id.map(|id| Manifest { component: without_manifest(id), file: None }));
            }
            text => text.map_err(|error| {
                ConfigError::unreadable(
                    &file,
                    &error,
                    "let this user read the component's manifest, or remove it",
                )
            })?,
        };
        let source = Source { file: &file, text: &text };
        let component = parse(&source)?;
        if let Some(id) = id.filter(|id| *id != component.id) {
            let what = format!("the manifest is of `{}`, and beside `{id}.wasm`", component.id);
            return Err(ConfigError::new(
                Place::file(&file),
                what,
                "name the files of a component by its own id",
            ));
        }
        Ok(Some(Manifest { component, file: Some(file) }))
    }

    /// The component's name, which its directory belongs to.
    pub fn name(&self) -> &str {
        &self.component.id.name
    }

    /// The manifest's file, or `None` if there is none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether it asks for a snapshot directory: it imports [`SNAPSHOT_STORE`], or has no manifest that could say so.
    pub fn wants_snapshots(&self) -> bool {
        self.file.is_none() || self.component.imports.contains_key(SNAPSHOT_STORE)
    }

    /// The most memory that it may have in bytes, or `None` if it says nothing of that.
    pub fn memory_max(&self) -> Option<u64> {
        self.component.capabilities.resources.memory_max
    }

    /// The paths of files and folders that it needs, as it sees them.
    pub fn filesystem(&self) -> &[String] {
        &self.component.capabilities.filesystem
    }

    /// All that the manifest says, as Arcella has it.
    pub fn component(&self) -> &ComponentManifest {
        &self.component
    }
}

/// The file's name without `.wasm`.
fn stem(component: &Path) -> String {
    let name = component.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".wasm").unwrap_or(&name).to_owned()
}

fn without_manifest(id: ModuleId) -> ComponentManifest {
    ComponentManifest {
        id,
        description: None,
        exports: InterfaceList::default(),
        imports: InterfaceList::default(),
        capabilities: ComponentCapabilities::default(),
    }
}

/// A manifest in a table of its own, as Arcella writes it, beside tables of others.
#[derive(Deserialize)]
struct Table<T> {
    component: T,
}

fn parse(source: &Source<'_>) -> Result<ComponentManifest> {
    let table: toml::Table = toml::from_str(source.text).map_err(|error| source.mistake(&error))?;
    let has_table = table.contains_key("component");
    let parsed = if has_table {
        refuse_parts_outside(source)?;
        toml::from_str(source.text).map(|Table { component }| component)
    } else {
        toml::from_str(source.text)
    };
    let manifest: ComponentManifest = parsed.map_err(|error| mistake_in(source, has_table, &error))?;
    manifest.validate().map_err(|error| {
        ConfigError::new(
            Place::file(source.file),
            error.to_string(),
            "write an interface as `namespace:package/interface@version`",
        )
    })?;
    Ok(manifest)
}

/// What belongs into `[component]` and stands beside it would be ignored: a limit, say.
fn refuse_parts_outside(source: &Source<'_>) -> Result<()> {
    #[derive(Deserialize)]
    struct Outside {
        name: Option<Spanned<toml::Value>>,
        version: Option<Spanned<toml::Value>>,
        imports: Option<Spanned<toml::Value>>,
        exports: Option<Spanned<toml::Value>>,
        capabilities: Option<Spanned<toml::Value>>,
    }
    let outside: Outside = toml::from_str(source.text).map_err(|error| source.mistake(&error))?;
    let Outside { name, version, imports, exports, capabilities } = outside;
    let parts = [
        ("name", name),
        ("version", version),
        ("imports", imports),
        ("exports", exports),
        ("capabilities", capabilities),
    ];
    match parts.into_iter().find_map(|(key, value)| Some((key, value?.span()))) {
        Some((key, span)) => Err(ConfigError::new(
            source.place(&span),
            format!("`{key}` is outside of the table `[component]`"),
            format!("write it as `component.{key}`, or below `[component]`"),
        )),
        None => Ok(()),
    }
}

/// The parts of a manifest, of which each has a place and an error of its own; all at once have neither.
#[derive(Deserialize)]
struct Parts {
    id: Option<Spanned<ModuleId>>,
    name: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "exports")]
    _exports: Option<InterfaceList>,
    #[serde(rename = "imports")]
    _imports: Option<InterfaceList>,
    #[serde(rename = "capabilities")]
    _capabilities: Option<ComponentCapabilities>,
}

/// What is wrong with what is TOML and no manifest.
fn mistake_in(source: &Source<'_>, has_table: bool, error: &toml::de::Error) -> ConfigError {
    let parts = if has_table {
        toml::from_str(source.text).map(|Table { component }| component)
    } else {
        toml::from_str::<Parts>(source.text)
    };
    let parts = match parts {
        Err(error) => return source.mistake(&error),
        Ok(parts) => parts,
    };
    let missing = |key: &str| {
        let example = r#"give both, such as `name = "counter"` and `version = "1.0.0"`"#;
        ConfigError::new(Place::file(source.file), format!("the manifest has no `{key}`"), example)
    };
    match (parts.id, parts.name, parts.version) {
        (Some(_), _, _) => source.mistake(error),
        (None, None, _) => missing("name"),
        (None, _, None) => missing("version"),
        (None, Some(name), Some(version)) => {
            let with_version = |version: &str| ModuleId::new(name.get_ref().clone(), version.to_owned());
            let span = if with_version("0.0.0").is_err() { name.span() } else { version.span() };
            let what =
                with_version(version.get_ref()).map_or_else(|error| error.to_string(), |_| error.to_string());
            let help = "a name has 1 to 128 letters, digits, `-` and `_`, and a version three numbers, such as 1.0.0";
            ConfigError::new(source.place(&span), what, help)
        }
    }
}
