//! Places in an object store, which stand wherever a directory of snapshots does: `s3://BUCKET/PREFIX/NAME`.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use minisnap_host::Grant;
use minisnap_host::remote::{Location, Remote, TakeOver};

use crate::failure::Failure;

/// What a place in an object store begins with.
const SCHEME: &str = "s3://";

/// An option of the verbs that a place in an object store can be given.
#[derive(Args)]
pub struct Endpoint {
    /// The server of s3://BUCKET/PREFIX/NAME, which can stand for the directory [default: AWS_ENDPOINT_URL, or Amazon's]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

/// Options of the verbs that read.
#[derive(Args)]
pub struct Server {
    #[command(flatten)]
    pub endpoint: Endpoint,
    /// Deadline of each call of an object store
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "30s")]
    pub timeout: Duration,
}

/// Options of the verbs that write.
#[derive(Args)]
pub struct Writing {
    #[command(flatten)]
    pub server: Server,
    /// Write in an object store even if a node has not released it, which can write there no more
    #[arg(long)]
    take_over: bool,
}

/// Whether it is a place in an object store.
pub fn is_remote(dir: &Path) -> bool {
    dir.to_str().is_some_and(|dir| dir.starts_with(SCHEME))
}

impl Endpoint {
    /// Grants a directory, or a place in an object store.
    pub fn grant(&self, dir: &Path) -> Result<Grant, Failure> {
        if !is_remote(dir) {
            return Ok(Grant::new(dir));
        }
        Ok(Grant::new("").remote(self.remote(dir)?))
    }

    /// A place in an object store.
    pub fn remote(&self, dir: &Path) -> Result<Remote, Failure> {
        let url = dir.to_string_lossy();
        let wrong = || {
            let what = format!("`{url}` names no store in an object store");
            Failure::refused(2, what, "give s3://BUCKET/PREFIX/NAME, or s3://BUCKET/NAME")
        };
        let (place, name) = url.trim_end_matches('/').rsplit_once('/').ok_or_else(wrong)?;
        // Of which the rules are one.
        url.parse::<Location>().map_err(|_| wrong())?;
        let location: Location = place.parse().map_err(|_| wrong())?;
        let location = self.endpoint.iter().fold(location, Location::endpoint);
        Ok(Remote::new(location, name))
    }
}

impl Server {
    /// Grants a directory, whose calls take as long as they do, or a place in an object store.
    pub fn grant(&self, dir: &Path) -> Result<Grant, Failure> {
        let grant = self.endpoint.grant(dir)?;
        Ok(grant.deadline(if is_remote(dir) { self.timeout } else { Duration::MAX }))
    }
}

impl Writing {
    /// The same. A place in an object store is taken from nobody, unless that was asked for.
    pub fn grant(&self, dir: &Path) -> Result<Grant, Failure> {
        let grant = self.server.grant(dir)?;
        let from = if self.take_over { TakeOver::Anyone } else { TakeOver::Nobody };
        Ok(match grant.remote.clone() {
            Some(remote) => grant.remote(remote.take_over(from)),
            None => grant,
        })
    }
}
