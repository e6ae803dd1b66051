//! A manifest as it is written: every key that Arcella reads, and no other.
//!
//! Arcella ignores the keys that it does not know, so a limit that is misspelt would be none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::id::{Id, is_interface};
use crate::diagnostic::{Diagnostic, Place, Result, Source};
use crate::grant::is_name;

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
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "exports")]
    _exports: Interfaces,
    #[serde(default)]
    imports: Interfaces,
    #[serde(default)]
    capabilities: Capabilities,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table `capabilities`")]
pub(super) struct Capabilities {
    #[serde(rename = "wasi")]
    _wasi: Vec<String>,
    pub(super) filesystem: Vec<String>,
    #[serde(rename = "network")]
    _network: Vec<String>,
    #[serde(rename = "environment")]
    _environment: Vec<String>,
    pub(super) resources: Resources,
    pub(super) security: Security,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `resources`")]
pub(super) struct Resources {
    pub(super) memory_max: Option<u64>,
    #[serde(rename = "cpu_shares")]
    _cpu_shares: Option<u32>,
}

/// Where there is one, it says both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `security`")]
pub(super) struct Security {
    pub(super) requires_tee: bool,
    #[serde(rename = "allowed_syscalls")]
    _allowed_syscalls: Vec<String>,
}

/// The names of interfaces, which are written alone, or each with what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interfaces(BTreeSet<String>);

/// What is in an interface, of which only the keys are checked.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Item {
    Func {
        #[serde(default, rename = "params")]
        _params: Vec<(String, String)>,
        #[serde(default, rename = "results")]
        _results: Vec<String>,
    },
    CoreFunc(Text),
    Module(Text),
    Component {
        #[serde(default, rename = "imports")]
        _imports: BTreeMap<String, Item>,
        #[serde(default, rename = "exports")]
        _exports: BTreeMap<String, Item>,
    },
    Instance {
        #[serde(default, rename = "exports")]
        _exports: BTreeMap<String, Item>,
    },
    TypeDef(Text),
    Resource(Text),
    Unknown {
        #[serde(rename = "debug")]
        _debug: Option<String>,
    },
}

/// A text, whatever it says.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Text;

impl From<String> for Text {
    fn from(_: String) -> Self {
        Text
    }
}

/// A short form, or a table.
pub(super) enum TextOr<T> {
    Text(String),
    Table(T),
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) id: Id,
    pub(super) imports: Interfaces,
    pub(super) capabilities: Capabilities,
}

impl Said {
    /// What `id` says alone.
    pub(super) fn by(id: Id) -> Self {
        Said { id, imports: Interfaces::default(), capabilities: Capabilities::default() }
    }
}

impl Component {
    /// What it says, checked.
    pub(super) fn read(self, source: &Source<'_>) -> Result<Said> {
        match self {
            TextOr::Text(text) => Ok(Said::by(of_text(&text, Place::file(source.file))?)),
            TextOr::Table(Table { id, name, version, imports, capabilities, .. }) => {
                Ok(Said { id: identity(source, id, name, version)?, imports, capabilities })
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
) -> Result<Id> {
    let missing = |key: &str| {
        let example = r#"give both, such as `name = "counter"` and `version = "1.0.0"`"#;
        Err(Diagnostic::new(Place::file(source.file), format!("the manifest has no `{key}`"), example))
    };
    match (id, name, version) {
        (Some(id), None, None) => {
            let place = source.place(&id.span());
            match id.into_inner() {
                TextOr::Text(text) => of_text(&text, place),
                TextOr::Table(id) => id.check().map_err(|what| wrong_id(place, what)),
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
            let wrong = if is_name(name.get_ref()) { version.span() } else { name.span() };
            let id = Id { name: name.into_inner(), version: version.into_inner() };
            id.check().map_err(|what| wrong_id(source.place(&wrong), what))
        }
    }
}

fn of_text(id: &str, place: Place) -> Result<Id> {
    id.parse().map_err(|what| wrong_id(place, what))
}

fn wrong_id(place: Place, what: String) -> Diagnostic {
    let help = "a name has 1 to 128 letters, digits, `-` and `_`, and a version three numbers, such as 1.0.0";
    Diagnostic::new(place, what, help)
}

impl Interfaces {
    /// Whether this interface is among them, in whatever version.
    pub(super) fn has(&self, interface: &str) -> bool {
        self.0.iter().any(|name| name.split('@').next() == Some(interface))
    }

    fn of<E: Error>(names: impl IntoIterator<Item = String>) -> std::result::Result<Self, E> {
        let names = names.into_iter().map(|name| {
            if is_interface(&name) {
                return Ok(name);
            }
            let what = format!("`{name}` is no interface, expected `namespace:package/interface@version`");
            Err(E::custom(what))
        });
        names.collect::<std::result::Result<_, _>>().map(Interfaces)
    }
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
                Interfaces::of(Vec::<String>::deserialize(SeqAccessDeserializer::new(names))?)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Interfaces, A::Error> {
                let items = BTreeMap::<String, Item>::deserialize(MapAccessDeserializer::new(map))?;
                Interfaces::of(items.into_keys())
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
