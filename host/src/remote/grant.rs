//! What a grant says of an object store, and the buckets that are connected.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::bucket::Bucket;
use super::connect::Location;
use super::protocol::TakeOver;
use crate::error::Result;

/// The folder of a component's named stores.
const STORES: &str = "stores";

/// Where in an object store a component's snapshots are, and how it is taken over. Its methods set what its fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remote {
    /// The bucket, and the prefix of all components in it.
    pub location: Location,
    /// What all keys of this component begin with, below that prefix: its name.
    pub name: String,
    /// The name of this node, which no other has.
    pub node: String,
    /// From whom the store may be taken over when it is opened for writing.
    pub take_over: TakeOver,
    /// A file with the credentials, or `None` for those of the environment.
    pub credentials: Option<PathBuf>,
}

impl Remote {
    /// The component of this name, taken over from anyone, by the node that has this host's name.
    pub fn new(location: Location, name: impl Into<String>) -> Remote {
        Remote {
            location,
            name: name.into(),
            node: host_name(),
            take_over: TakeOver::Anyone,
            credentials: None,
        }
    }

    /// Sets the name of this node, which no other may have.
    pub fn node(self, name: impl Into<String>) -> Remote {
        Remote { node: name.into(), ..self }
    }

    /// Sets from whom the store may be taken over.
    pub fn take_over(self, from: TakeOver) -> Remote {
        Remote { take_over: from, ..self }
    }

    /// Sets the file with the credentials: lines `AWS_ACCESS_KEY_ID=...` and `AWS_SECRET_ACCESS_KEY=...`, and perhaps
    /// `AWS_SESSION_TOKEN=...`. Nobody but this user may read it.
    pub fn credentials(self, file: impl Into<PathBuf>) -> Remote {
        Remote { credentials: Some(file.into()), ..self }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        match self.name.is_empty() {
            true => self.location.to_string(),
            false => format!("{}/{}", self.location, self.name),
        }
    }

    /// Where all named stores of the component are, below the prefix.
    pub(crate) fn folder_of_stores(&self) -> String {
        format!("{}/{STORES}", self.name)
    }

    /// What all keys of a store of the component begin with, of the empty name its own.
    pub(crate) fn name_of(&self, store: &str) -> String {
        if store.is_empty() { self.name.clone() } else { format!("{}/{store}", self.folder_of_stores()) }
    }
}

/// What this host is called.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The buckets that were connected, by where they are and who asks.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<Connected>);

/// Each by its place, and by the file with its credentials if it has one; with the file as it was then.
type Connected = HashMap<(Location, Option<PathBuf>), (Option<Stamp>, Arc<Bucket>)>;

/// Which file it is, and when it was changed.
type Stamp = (u64, SystemTime);

impl Buckets {
    /// Has this one used wherever a grant names its place, whoever asks.
    pub(crate) fn add(&self, bucket: Bucket) {
        let location = bucket.location().clone();
        self.lock().insert((location, None), (None, Arc::new(bucket)));
    }

    /// The bucket of a grant, connected now if it was not yet, or its credentials are new.
    pub(crate) fn get(&self, Remote { location, credentials, .. }: &Remote) -> Result<Arc<Bucket>> {
        let key = (location.clone(), credentials.clone());
        let stamp = credentials.as_deref().and_then(|file| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.ino(), metadata.modified().ok()?))
        });
        match self.lock().get(&key) {
            Some((known, bucket)) if *known == stamp => return Ok(Arc::clone(bucket)),
            _ => {}
        }
        // Nothing is asked of the network yet.
        let bucket = Arc::new(match credentials {
            None => Bucket::connect(location.clone())?,
            Some(file) => Bucket::connect_by(location.clone(), file)?,
        });
        self.lock().insert(key, (stamp, Arc::clone(&bucket)));
        Ok(bucket)
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
