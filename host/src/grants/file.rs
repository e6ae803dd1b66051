//! The grants file as it is written: its keys, and the values that they may have.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use toml::{Spanned, Value};

use super::digest::Digest;
use crate::grant::{Access, Grant};
#[cfg(feature = "remote")]
use crate::remote::TakeOver;
use crate::snapshot::Layout;

/// All of the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "the tables `[defaults]` and `[components.NAME]`")]
pub(super) struct File {
    pub(super) root: Spanned<String>,
    pub(super) logs: Option<Spanned<String>>,
    #[cfg(feature = "remote")]
    pub(super) remote: Option<super::remote::Table>,
    #[serde(default)]
    pub(super) defaults: Table,
    #[serde(default)]
    pub(super) components: BTreeMap<Spanned<String>, Table>,
}

/// What `[components.NAME]` may say, and `[defaults]`, but for what is of one component alone.
#[derive(Default, serde::Deserialize)]
#[serde(
    default,
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "a table `[components.NAME]` or `[defaults]`"
)]
pub(super) struct Table {
    pub(super) directory: Option<Spanned<String>>,
    pub(super) digest: Option<Spanned<Digest>>,
    #[cfg(feature = "remote")]
    pub(super) store: Option<Spanned<super::remote::Store>>,
    #[cfg(feature = "remote")]
    pub(super) take_over: Option<TakeOver>,
    access: Option<Access>,
    layout: Option<Layout>,
    #[serde(deserialize_with = "keep")]
    keep: Option<NonZeroU32>,
    must_exist: Option<bool>,
    pub(super) log: Option<Spanned<bool>>,
    #[serde(deserialize_with = "size")]
    max_state: Option<u64>,
    #[serde(deserialize_with = "size")]
    max_total: Option<u64>,
    #[serde(deserialize_with = "stores")]
    stores: Option<u32>,
    #[serde(deserialize_with = "instances")]
    max_instances: Option<NonZeroU32>,
    #[serde(deserialize_with = "size")]
    max_memory: Option<u64>,
    #[serde(deserialize_with = "duration")]
    deadline: Option<Duration>,
}

impl Table {
    /// A key that is of one component alone, if there is any, and where.
    pub(super) fn of_one_component(&self) -> Option<(&'static str, Range<usize>)> {
        let directory = self.directory.as_ref().map(|directory| ("directory", directory.span()));
        directory.or_else(|| Some(("digest", self.digest.as_ref()?.span())))
    }

    /// The grant, but for what the table says; `logs` is the folder of all logs.
    pub(super) fn apply(&self, grant: Grant, logs: Option<&Path>) -> Grant {
        let log = match &self.log {
            Some(log) => logs.filter(|_| *log.get_ref()).map(Path::to_owned),
            None => grant.log,
        };
        Grant {
            access: self.access.unwrap_or(grant.access),
            layout: self.layout.unwrap_or(grant.layout),
            keep: self.keep.or(grant.keep),
            must_exist: self.must_exist.unwrap_or(grant.must_exist),
            log,
            max_state: self.max_state.unwrap_or(grant.max_state),
            max_total: self.max_total.or(grant.max_total),
            stores: self.stores.unwrap_or(grant.stores),
            max_instances: self.max_instances.or(grant.max_instances),
            max_memory: self.max_memory.or(grant.max_memory),
            deadline: self.deadline.unwrap_or(grant.deadline),
            ..grant
        }
    }
}

fn keep<'de, D: Deserializer<'de>>(value: D) -> Result<Option<NonZeroU32>, D::Error> {
    count(value, "generations")
}

fn instances<'de, D: Deserializer<'de>>(value: D) -> Result<Option<NonZeroU32>, D::Error> {
    count(value, "instances")
}

fn count<'de, D: Deserializer<'de>>(value: D, of: &str) -> Result<Option<NonZeroU32>, D::Error> {
    read(value, &format!("a number of {of} from 1 to {}", u32::MAX), |value| {
        NonZeroU32::new(value.as_integer()?.try_into().ok()?)
    })
}

fn stores<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    read(value, &format!("a number of stores from 0 to {}", u32::MAX), |value| {
        value.as_integer()?.try_into().ok()
    })
}

fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    read(value, "a number of bytes, or a text such as \"64KiB\" or \"1GiB\"", |value| match value {
        Value::Integer(bytes) => (*bytes).try_into().ok(),
        Value::String(text) => parse_size(text),
        _ => None,
    })
}

/// Parses a size in bytes, such as `64MB`, which is decimal, or `64MiB`, which is binary; `None` if it is none, or more than
/// 64 bits hold.
pub fn parse_size(text: &str) -> Option<u64> {
    let size = text.parse::<ByteSize>().ok()?.as_u64();
    // What is larger is taken for the largest.
    (size < u64::MAX || text.trim() == u64::MAX.to_string()).then_some(size)
}

fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    read(value, "a duration such as \"30s\" or \"5min\"", |value| {
        humantime::parse_duration(value.as_str()?).ok()
    })
}

/// Reads a value that is to be what is `expected`, in words that an administrator knows.
fn read<'de, D: Deserializer<'de>, T>(
    value: D,
    expected: &str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(value)?;
    let found = match &value {
        Value::String(text) => Unexpected::Str(text),
        Value::Integer(number) => Unexpected::Signed(*number),
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(value) => Unexpected::Bool(*value),
        Value::Datetime(_) => Unexpected::Other("a date"),
        Value::Array(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
    };
    read(&value).map(Some).ok_or_else(|| D::Error::invalid_value(found, &expected))
}
