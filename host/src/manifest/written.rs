//! A manifest as it is written: every key that arcella-types reads, and no other.
//!
//! arcella-types ignores the keys that it does not know, so a limit that is misspelt would be none.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;

use arcella_types::interface_list::InterfaceList;
use arcella_types::manifest::{
    ComponentCapabilities, ComponentManifest, ComponentResources, ComponentSecurity,
};
use arcella_types::module_id::ModuleId;
use arcella_types::spec::ComponentItemSpec;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use crate::diagnostic::{Diagnostic, Place, Result, Source};

/// Every key of a manifest, from the top down.
pub(super) const KEYS: &[&str] =
    &["id", "name", "version", "description", "exports", "imports", "capabilities"];

/// Every key of `capabilities`.
pub(super) const CAPABILITIES: &[&str] =
    &["wasi", "filesystem", "network", "environment", "resources", "security"];

/// A manifest: a table, or `NAME@X.Y.Z` alone.
pub(super) type Component = TextOr<Table>;

/// A manifest's table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a component's manifest")]
pub(super) struct Table {
    id: Option<Spanned<TextOr<Id>>>,
    name: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    description: Option<String>,
    #[serde(default)]
    exports: Interfaces,
    #[serde(default)]
    imports: Interfaces,
    #[serde(default)]
    capabilities: Capabilities,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a text `NAME@X.Y.Z`, or a table with `name` and `version`")]
pub(super) struct Id {
    name: String,
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table `capabilities`")]
struct Capabilities {
    wasi: Vec<String>,
    filesystem: Vec<String>,
    network: Vec<String>,
    environment: Vec<String>,
    resources: Resources,
    security: Security,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `resources`")]
struct Resources {
    memory_max: Option<u64>,
    cpu_shares: Option<u32>,
}

/// Where there is one, it says both.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `security`")]
struct Security {
    requires_tee: bool,
    allowed_syscalls: Vec<String>,
}

/// Interfaces: their names alone, or each with what is in it.
#[derive(Default)]
struct Interfaces(HashMap<String, ComponentItemSpec>);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Item {
    Func {
        #[serde(default)]
        params: Vec<(String, String)>,
        #[serde(default)]
        results: Vec<String>,
    },
    CoreFunc(String),
    Module(String),
    Component {
        #[serde(default)]
        imports: BTreeMap<String, Item>,
        #[serde(default)]
        exports: BTreeMap<String, Item>,
    },
    Instance {
        #[serde(default)]
        exports: BTreeMap<String, Item>,
    },
    TypeDef(String),
    Resource(String),
    Unknown {
        debug: Option<String>,
    },
}

/// A short form, or a table.
pub(super) enum TextOr<T> {
    Text(String),
    Table(T),
}

impl Component {
    /// The manifest as Arcella has it.
    ///
    /// Its fields are listed one by one: those of another version of arcella-types do not compile.
    pub(super) fn read(self, source: &Source<'_>) -> Result<ComponentManifest> {
        match self {
            TextOr::Text(id) => Ok(ComponentManifest {
                id: of_text(&id, &Place::file(source.file))?,
                description: None,
                exports: InterfaceList::default(),
                imports: InterfaceList::default(),
                capabilities: ComponentCapabilities::default(),
            }),
            TextOr::Table(Table { id, name, version, description, exports, imports, capabilities }) => {
                Ok(ComponentManifest {
                    id: identity(source, id, name, version)?,
                    description,
                    exports: exports.0.into(),
                    imports: imports.0.into(),
                    capabilities: capabilities.into(),
                })
            }
        }
    }
}

/// Who the component is, by `id` or by `name` and `version`.
fn identity(
    source: &Source<'_>,
    id: Option<Spanned<TextOr<Id>>>,
    name: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
) -> Result<ModuleId> {
    let missing = |key: &str| {
        let example = r#"give both, such as `name = "counter"` and `version = "1.0.0"`"#;
        Err(Diagnostic::new(Place::file(source.file), format!("the manifest has no `{key}`"), example))
    };
    match (id, name, version) {
        (Some(id), None, None) => {
            let place = source.place(&id.span());
            match id.into_inner() {
                TextOr::Text(text) => of_text(&text, &place),
                TextOr::Table(Id { name, version }) => {
                    ModuleId::new(name, version).map_err(|error| wrong_id(place, &error))
                }
            }
        }
        (Some(id), _, _) => Err(Diagnostic::new(
            source.place(&id.span()),
            "the manifest has an `id` beside a `name` or `version`",
            "give `id`, or `name` and `version`",
        )),
        (None, None, _) => missing("name"),
        (None, _, None) => missing("version"),
        (None, Some(name), Some(version)) => {
            let is_name = ModuleId::new(name.get_ref().clone(), "0.0.0".to_owned()).is_ok();
            let place = source.place(&if is_name { version.span() } else { name.span() });
            let id = ModuleId::new(name.into_inner(), version.into_inner());
            id.map_err(|error| wrong_id(place, &error))
        }
    }
}

fn of_text(id: &str, place: &Place) -> Result<ModuleId> {
    id.parse().map_err(|error| wrong_id(place.clone(), &error))
}

fn wrong_id(place: Place, error: &arcella_types::ArcellaTypeError) -> Diagnostic {
    let help = "a name has 1 to 128 letters, digits, `-` and `_`, and a version three numbers, such as 1.0.0";
    Diagnostic::new(place, error.to_string(), help)
}

impl From<Capabilities> for ComponentCapabilities {
    fn from(written: Capabilities) -> Self {
        let Capabilities { wasi, filesystem, network, environment, resources, security } = written;
        let Resources { memory_max, cpu_shares } = resources;
        let Security { requires_tee, allowed_syscalls } = security;
        ComponentCapabilities {
            wasi,
            filesystem,
            network,
            environment,
            resources: ComponentResources { memory_max, cpu_shares },
            security: ComponentSecurity { requires_tee, allowed_syscalls },
        }
    }
}

impl From<Item> for ComponentItemSpec {
    fn from(written: Item) -> Self {
        match written {
            Item::Func { params, results } => ComponentItemSpec::ComponentFunc { params, results },
            Item::CoreFunc(text) => ComponentItemSpec::CoreFunc(text),
            Item::Module(text) => ComponentItemSpec::Module(text),
            Item::Component { imports, exports } => {
                ComponentItemSpec::Component { imports: items(imports), exports: items(exports) }
            }
            Item::Instance { exports } => ComponentItemSpec::ComponentInstance { exports: items(exports) },
            Item::TypeDef(text) => ComponentItemSpec::Type(text),
            Item::Resource(text) => ComponentItemSpec::Resource(text),
            Item::Unknown { debug } => ComponentItemSpec::Unknown { debug },
        }
    }
}

fn items(written: BTreeMap<String, Item>) -> HashMap<String, ComponentItemSpec> {
    written.into_iter().map(|(name, item)| (name, item.into())).collect()
}

impl<'de> Deserialize<'de> for Interfaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Interfaces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of interfaces, or a table of them")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> std::result::Result<Interfaces, A::Error> {
                let names = Vec::<String>::deserialize(SeqAccessDeserializer::new(names))?;
                let unknown = |name| (name, ComponentItemSpec::Unknown { debug: None });
                Ok(Interfaces(names.into_iter().map(unknown).collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Interfaces, A::Error> {
                Ok(Interfaces(items(BTreeMap::deserialize(MapAccessDeserializer::new(map))?)))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Forms<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Forms<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text `NAME@X.Y.Z`, or a table with `name` and `version`")
            }

            fn visit_str<E: Error>(self, text: &str) -> std::result::Result<TextOr<T>, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<TextOr<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
            }
        }
        deserializer.deserialize_any(Forms(PhantomData))
    }
}
