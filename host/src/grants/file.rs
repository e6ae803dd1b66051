//! The grants file as it is written: its keys, and the values that they may have.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use toml::Spanned;

use super::Digest;
use crate::grant::{Access, Grant};
use crate::snapshot::Layout;

/// All of the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "the tables `[defaults]` and `[components.NAME]`")]
pub(super) struct File {
    pub(super) root: Spanned<String>,
    #[serde(default)]
    pub(super) defaults: Table,
    #[serde(default)]
    pub(super) components: BTreeMap<Spanned<String>, Table>,
}

/// What `[components.NAME]` may say, and `[defaults]`, but for what is of one component alone.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields, expecting = "a table")]
pub(super) struct Table {
    pub(super) directory: Option<Spanned<String>>,
    pub(super) digest: Option<Spanned<Digest>>,
    access: Option<Access>,
    layout: Option<Layout>,
    keep: Option<NonZeroU32>,
    must_exist: Option<bool>,
    max_state: Option<ByteSize>,
    max_total: Option<ByteSize>,
    stores: Option<u32>,
    max_memory: Option<ByteSize>,
    #[serde(deserialize_with = "duration")]
    deadline: Option<Duration>,
}

impl Table {
    /// A key that is of one component alone, if there is any, and where.
    pub(super) fn of_one_component(&self) -> Option<(&'static str, Range<usize>)> {
        let directory = self.directory.as_ref().map(|directory| ("directory", directory.span()));
        directory.or_else(|| Some(("digest", self.digest.as_ref()?.span())))
    }

    /// The grant, but for what the table says.
    pub(super) fn apply(&self, grant: Grant) -> Grant {
        let bytes = |size: ByteSize| size.as_u64();
        Grant {
            access: self.access.unwrap_or(grant.access),
            layout: self.layout.unwrap_or(grant.layout),
            keep: self.keep.or(grant.keep),
            must_exist: self.must_exist.unwrap_or(grant.must_exist),
            max_state: self.max_state.map_or(grant.max_state, bytes),
            max_total: self.max_total.map(bytes).or(grant.max_total),
            stores: self.stores.unwrap_or(grant.stores),
            max_memory: self.max_memory.map(bytes).or(grant.max_memory),
            deadline: self.deadline.unwrap_or(grant.deadline),
            dir: grant.dir,
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let expected = &"a duration such as \"30s\" or \"5min\"";
    let duration = humantime::parse_duration(&text);
    duration.map(Some).map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), expected))
}
