//! A component's id, `NAME@X.Y.Z`, as Arcella has it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::grant::is_name;

/// A component's name and version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a text `NAME@X.Y.Z`, or a table with `name` and `version`")]
pub(super) struct Id {
    pub(super) name: String,
    pub(super) version: String,
}

impl Id {
    /// What is wrong with it, if anything is.
    pub(super) fn check(self) -> Result<Self, String> {
        if !is_name(&self.name) {
            Err(format!("`{}` is no component's name", self.name))
        } else if !is_version(&self.version) {
            Err(format!("`{}` is no version", self.version))
        } else {
            Ok(self)
        }
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, version)) = text.split_once('@') else {
            return Err(format!("`{text}` is no id of a component, which is `NAME@X.Y.Z`"));
        };
        Id { name: name.to_owned(), version: version.to_owned() }.check()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// Whether this is three numbers, without zeros before them.
fn is_version(version: &str) -> bool {
    let is_number = |part: &str| {
        let is_digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_digits && (part == "0" || !part.starts_with('0'))
    };
    version.split('.').count() == 3 && version.split('.').all(is_number)
}

/// Whether this names an interface, with its version or without.
pub(super) fn is_interface(text: &str) -> bool {
    let (path, version) = text.split_once('@').map_or((text, None), |(path, version)| (path, Some(version)));
    let is_path =
        path.split_once(':').is_some_and(|(space, name)| is_word(space, "-_") && is_word(name, "-_/"));
    is_path && version.is_none_or(|version| is_word(version, "-_.+"))
}

/// Whether there is anything, and nothing but ASCII letters, digits, and these.
fn is_word(text: &str, others: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
}
