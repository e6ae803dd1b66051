//! A store that is in a directory or in an object store, and must do the same in both.

use std::collections::BTreeMap;
use std::fs;

use minisnap_host::{Error, Grant, Layout, SnapshotStore, Soundness};
use object_store::ObjectStoreExt;

use crate::copies::file;
use crate::nodes::{Fleet, Node};

/// A store in a directory, or in an object store.
pub struct Side {
    /// The hosts of its object store.
    pub fleet: Fleet,
    /// One of them.
    pub node: Node,
    is_remote: bool,
}

/// The numbers that there are with their states, where they are sound, and how many files of each other kind.
pub type Held = (Vec<(u64, Option<String>)>, BTreeMap<String, usize>);

/// What is done to a store.
#[derive(Debug, Clone)]
pub enum Act {
    /// A create of this number.
    Create(u64, String),
    /// A rollback to it.
    Rollback(u64),
    /// A change of its file.
    Damage(u64),
}

impl Side {
    /// A new one, whose host has this name.
    pub fn new(is_remote: bool, name: &'static str) -> Side {
        let fleet = Fleet::new();
        let node = fleet.node(name);
        Side { fleet, node, is_remote }
    }

    /// The grant of its store.
    pub fn grant(&self) -> Grant {
        let mut grant = self.node.grant().keep(99.try_into().expect("it works")).layout(Layout::Numbered);
        grant.remote = grant.remote.filter(|_| self.is_remote);
        if let Some(remote) = &mut grant.remote {
            self.node.name.clone_into(&mut remote.name);
        }
        grant
    }

    /// Opened for writing.
    pub fn open(&self) -> SnapshotStore {
        self.node.minisnap.open(self.grant()).expect("it works")
    }

    /// Opened for reading.
    pub fn reader(&self) -> SnapshotStore {
        self.node.minisnap.open(self.grant().read_only()).expect("it works")
    }

    /// Does these, each with a store of its own.
    pub fn act(&self, acts: &[Act]) {
        for act in acts {
            match act {
                Act::Create(seq, state) => self.open().create_text(state, *seq).expect("it works"),
                Act::Rollback(seq) => drop(self.open().rollback(*seq).expect("it works")),
                Act::Damage(seq) => self.damage(*seq),
            }
        }
    }

    /// Changes a byte of a generation that counts.
    pub fn damage(&self, seq: u64) {
        let flip = |bytes: &mut [u8]| bytes[2] ^= 1;
        if !self.is_remote {
            let path = self.node.dir().join(file(seq));
            let mut bytes = fs::read(&path).expect("it works");
            flip(&mut bytes);
            return fs::write(path, bytes).expect("it works");
        }
        // The last one that was put under that number.
        let key = self
            .fleet
            .generations(self.node.name)
            .into_iter()
            .rfind(|key| key.as_ref().ends_with(&file(seq)));
        self.fleet.by_hand(async |objects| {
            let key = key.expect("it works");
            let mut bytes =
                objects.get(&key).await.expect("it works").bytes().await.expect("it works").to_vec();
            flip(&mut bytes);
            objects.put(&key, bytes.into()).await.expect("it works");
        });
    }

    /// The numbers that there are with their states, where they are sound, and how many are undone and set aside.
    pub fn holds(&self) -> Held {
        let mut store = self.reader();
        let infos = match store.generations() {
            Err(Error::NotFound) => Vec::new(),
            infos => infos.expect("it works"),
        };
        let state = |seq, soundness: &Soundness| match soundness {
            Soundness::Damaged(_) => None,
            _ => Some(self.reader().restore_text_at(seq).expect("it works").state),
        };
        let held = infos.iter().map(|info| (info.seq, state(info.seq, &info.soundness))).collect();
        let mut kinds = BTreeMap::new();
        for name in store.files().map(|files| files.own).unwrap_or_default() {
            // Without what tells those of one number apart.
            let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        (held, kinds)
    }
}
