//! The object store that a grants file names, and what it says of who keeps snapshots there.

use std::path::Path;

use toml::Spanned;

use super::directory::Owned;
use super::file;
use crate::diagnostic::{Diagnostic, Result, Source};
use crate::grant::Grant;
use crate::remote::{Location, Remote};

/// `[remote]`
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `[remote]`")]
pub(super) struct Table {
    url: Spanned<String>,
    endpoint: Option<Spanned<String>>,
    region: Option<String>,
    node: Option<Spanned<String>>,
    credentials: Option<String>,
}

/// Where a component's snapshots are: `store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Store {
    Local,
    Remote,
}

impl Table {
    /// What it says of every component, whose name is not known yet; credentials are in a file beside the grants file.
    pub(super) fn read(&self, source: &Source<'_>, beside: &Path) -> Result<Remote> {
        let url = self.url.get_ref();
        let mut location: Location = url.parse().map_err(|_| {
            let what = format!("`{url}` names no place in an object store");
            Diagnostic::new(source.place(&self.url.span()), what, "write url = \"s3://BUCKET/PREFIX\"")
        })?;
        if let Some(endpoint) = &self.endpoint {
            location = location.endpoint(endpoint.get_ref());
            location.check_endpoint().map_err(|error| {
                let help = "write endpoint = \"https://HOST:PORT\"";
                Diagnostic::new(source.place(&endpoint.span()), error.to_string(), help)
            })?;
        }
        let location = self.region.iter().fold(location, Location::region);
        let mut remote = Remote::new(location, "");
        if let Some(node) = &self.node {
            let is_named = node.get_ref().chars().all(|c| c.is_ascii_graphic()) && !node.get_ref().is_empty();
            if !is_named {
                let what = format!("`{}` is no node's name", node.get_ref());
                let help = "name this node as no other is named: node = \"host-a\"";
                return Err(Diagnostic::new(source.place(&node.span()), what, help));
            }
            remote = remote.node(node.get_ref());
        }
        Ok(self.credentials.iter().fold(remote, |remote, file| remote.credentials(beside.join(file))))
    }
}

/// The grant, with what a table says of where the snapshots are: `remote` is what `[remote]` and `[defaults]` say.
pub(super) fn apply(
    table: &file::Table,
    grant: Grant,
    remote: Option<&Remote>,
    source: &Source<'_>,
) -> Result<Grant> {
    let place = match table.store.as_ref().map(|store| (*store.get_ref(), store.span())) {
        None => grant.remote.clone(),
        Some((Store::Local, _)) => None,
        Some((Store::Remote, span)) => match remote {
            Some(remote) => Some(remote.clone()),
            None => {
                let help = "say which object store it is: `[remote]`, with url = \"s3://BUCKET/PREFIX\"";
                return Err(Diagnostic::new(source.place(&span), "there is no `[remote]`", help));
            }
        },
    };
    Ok(Grant {
        remote: place.map(|remote| table.take_over.into_iter().fold(remote, Remote::take_over)),
        ..grant
    })
}

/// Names the component that it is for: its keys begin as its directory is called.
pub(super) fn of(owned: &Owned, remote: &Remote) -> Result<Remote> {
    let path = owned.directory.path();
    let name = path.to_str().unwrap_or_default();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.', '@', '/'].contains(&c);
    if name.is_empty() || !name.chars().all(is_allowed) {
        let what = format!("`{}` is called as no key in an object store should be", path.display());
        let help = "name another `directory`, of letters, digits, `-`, `_`, `.`, `@` and `/`";
        return Err(Diagnostic::new(owned.place.clone(), what, help));
    }
    Ok(Remote { name: name.to_owned(), ..remote.clone() })
}
