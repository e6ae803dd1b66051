//! What a grants file says of one component, and what it comes to.

use std::path::{Path, PathBuf};

use super::digest::Digest;
use crate::diagnostic::{Diagnostic, Place, Result};
use crate::grant::Grant;

/// The digest that a component's file must have, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) digest: Digest,
    pub(super) place: Place,
}

/// What a component gets, or an instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The component's name.
    pub name: String,
    /// The instance's name, if it is one.
    pub instance: Option<String>,
    /// Its directory, as an absolute path, what it may do there, and that of its log.
    pub grant: Grant,
    /// Where the file says so; the file as a whole for a component that it does not name.
    pub place: Place,
    pub(super) pin: Option<Pin>,
}

/// Who has a directory, and what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The component's name.
    pub name: String,
    /// The instance's name, if it is one.
    pub instance: Option<String>,
    /// What it gets, or why it gets nothing.
    pub entry: Result<Entry>,
}

/// What the file says of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// The component's name.
    pub name: String,
    /// Its directory, as an absolute path; with `{instance}` at its end where each instance has one of its own, and the
    /// component has none.
    pub directory: PathBuf,
    /// What it may do there; `dir` is the root, and `log` its own, written as `directory` is.
    pub grant: Grant,
    /// The digest that its file must have, or `None` if it is who its name says.
    pub digest: Option<Digest>,
}

impl Entry {
    /// The digest that the component's file must have, or `None` if the component is who its name says.
    pub fn digest(&self) -> Option<Digest> {
        self.pin.as_ref().map(|pin| pin.digest)
    }

    /// Checks that `bytes`, read from `file`, are the component that this entry is pinned to, if it is. The bytes to run
    /// are these, and not those of a file that is opened again.
    ///
    /// Errors: their digest is another.
    pub fn check(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let Some(Pin { digest, place }) = &self.pin else { return Ok(()) };
        let found = Digest::of(bytes);
        if found == *digest {
            return Ok(());
        }
        let name = &self.name;
        Err(Diagnostic::new(
            place.clone(),
            format!("`{name}` is pinned to {digest}, but `{}` is {found}", file.display()),
            format!("run the component that is pinned, or pin this one: digest = \"{found}\""),
        ))
    }
}
