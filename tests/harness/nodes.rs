//! Machines that share an object store, which is in memory here.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt;
use minisnap_host::remote::{Bucket, Remote, RemoteStore};
use minisnap_host::{Grant, Minisnap, SnapshotStore};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use tempfile::{TempDir, tempdir};

use crate::cached_builder;
use crate::faulty_objects::Faulty;

/// How many generations a node keeps.
pub const KEEP: u32 = 3;

/// An object store, and the nodes that use it.
pub struct Fleet {
    /// Its objects.
    pub objects: Arc<Faulty>,
}

/// A machine with its own disk.
pub struct Node {
    /// What no other is called.
    pub name: &'static str,
    /// What runs there.
    pub minisnap: Minisnap,
    /// Its disk.
    pub root: TempDir,
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet { objects: Arc::new(Faulty::new(Arc::new(InMemory::new()), 0, 0)) }
    }
}

impl Fleet {
    /// An object store of which nothing goes wrong, unless it is told to.
    pub fn new() -> Fleet {
        Fleet::default()
    }

    /// A machine of this name.
    pub fn node(&self, name: &'static str) -> Node {
        let location = "s3://bucket/prefix".parse().expect("it works");
        let bucket = Bucket::new(location, self.objects.clone()).expect("it works");
        let minisnap = cached_builder().bucket(bucket).build().expect("it works");
        Node { name, minisnap, root: tempdir().expect("it works") }
    }

    /// The store of this name, of whole files.
    pub fn store(&self, name: &str) -> RemoteStore {
        let bucket = Bucket::new("s3://bucket/prefix".parse().expect("it works"), self.objects.clone());
        RemoteStore::new(Arc::new(bucket.expect("it works")), name)
    }

    /// Does something to the objects.
    pub fn by_hand<R>(&self, act: impl AsyncFnOnce(&dyn ObjectStore) -> R) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it works");
        runtime.block_on(act(&*self.objects))
    }

    /// The keys of all generations of a store, the oldest first.
    pub fn generations(&self, store: &str) -> Vec<Key> {
        self.by_hand(async |objects| self.generations_in(objects, store).await)
    }

    /// The same, while something else is done to them.
    pub async fn generations_in(&self, objects: &dyn ObjectStore, store: &str) -> Vec<Key> {
        let folder = Key::from(format!("prefix/{store}/g"));
        let listed = objects.list(Some(&folder)).map_ok(|object| object.location);
        let mut keys: Vec<Key> = listed.try_collect().await.expect("it works");
        keys.sort_by_key(|key| key.filename().expect("it works").to_owned());
        keys
    }
}

impl Node {
    /// Where a component's directory is.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("ledger")
    }

    /// The component `ledger`.
    pub fn grant(&self) -> Grant {
        let remote = Remote::new("s3://bucket/prefix".parse().expect("it works"), "ledger").node(self.name);
        Grant::new(self.dir()).keep(KEEP.try_into().expect("it works")).remote(remote)
    }

    /// Its store, for writing.
    pub fn open(&self) -> SnapshotStore {
        self.minisnap.open(self.grant()).expect("it works")
    }

    /// Its store, for reading.
    pub fn reader(&self) -> SnapshotStore {
        self.minisnap.open(self.grant().read_only()).expect("it works")
    }
}
