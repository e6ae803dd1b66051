//! The grants file as it is written: its keys, and the values that they may have.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use toml::Spanned;

/// All of the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "the tables `[defaults]` and `[components.NAME]`")]
pub(super) struct File {
    pub(super) root: Spanned<String>,
    #[serde(default)]
    pub(super) defaults: Keys,
    #[serde(default)]
    pub(super) components: BTreeMap<Spanned<String>, Component>,
}

/// What `[defaults]` may say.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a table `[defaults]`")]
pub(super) struct Keys {
    pub(super) access: Option<Access>,
    pub(super) layout: Option<Layout>,
    pub(super) keep: Option<Keep>,
    pub(super) must_exist: Option<bool>,
    pub(super) max_state: Option<Size>,
    pub(super) max_total: Option<Size>,
    pub(super) stores: Option<Stores>,
}

/// What `[components.NAME]` may say. It repeats the keys: serde knows no unknown ones of a table that is flattened.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a table `[components.NAME]`")]
pub(super) struct Component {
    pub(super) directory: Option<Spanned<String>>,
    pub(super) digest: Option<Spanned<Digest>>,
    access: Option<Access>,
    layout: Option<Layout>,
    keep: Option<Keep>,
    must_exist: Option<bool>,
    max_state: Option<Size>,
    max_total: Option<Size>,
    stores: Option<Stores>,
}

impl Component {
    pub(super) fn keys(&self) -> Keys {
        let &Component {
            directory: _,
            digest: _,
            access,
            layout,
            keep,
            must_exist,
            max_state,
            max_total,
            stores,
        } = self;
        Keys { access, layout, keep, must_exist, max_state, max_total, stores }
    }
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
    None,
}

impl From<Access> for crate::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::ReadWrite => crate::Access::ReadWrite,
            Access::ReadOnly => crate::Access::ReadOnly,
            Access::None => crate::Access::Denied,
        }
    }
}

#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Layout {
    Pair,
    Numbered,
}

impl From<Layout> for crate::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Pair => crate::Layout::Pair,
            Layout::Numbered => crate::Layout::Numbered,
        }
    }
}

/// How many generations.
#[derive(Clone, Copy)]
pub(super) struct Keep(pub(super) NonZeroU32);

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl Visitor<'_> for Count {
            type Value = Keep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of generations from 1 to {}", u32::MAX)
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Keep, E> {
                let keep = u32::try_from(count).ok().and_then(NonZeroU32::new).map(Keep);
                keep.ok_or_else(|| E::invalid_value(Unexpected::Signed(count), &self))
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// How many stores besides its own.
#[derive(Clone, Copy)]
pub(super) struct Stores(pub(super) u32);

impl<'de> Deserialize<'de> for Stores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl Visitor<'_> for Count {
            type Value = Stores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of stores from 0 to {}", u32::MAX)
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Stores, E> {
                u32::try_from(count)
                    .map(Stores)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// Bytes, as a number or as the command line takes them.
#[derive(Clone, Copy)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a text such as \"64KiB\" or \"1GiB\"")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                let size = text.parse::<ByteSize>();
                size.map(|size| Size(size.as_u64()))
                    .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

/// What a component's file must be.
#[derive(Clone, Copy)]
pub(super) struct Digest(pub(super) super::Digest);

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Digest).map_err(|form| D::Error::custom(format_args!("no digest, expected {form}")))
    }
}
