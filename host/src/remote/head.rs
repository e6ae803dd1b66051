//! The head: the one object of a store that is ever replaced, and what may be done to it.

use serde::{Deserialize, Serialize};

/// The version of what is written here.
pub const FORMAT: u32 = 1;

/// What `head.json` holds: who owns the store, and which objects are its generations.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u32,
    /// How often the store was taken over: higher than any before.
    pub epoch: u64,
    /// The node that has the store for writing, or `None` if it was released.
    pub owner: Option<String>,
    /// What no other head ever has, by which a writer knows its own.
    pub nonce: String,
    /// The generations, newest first.
    pub generations: Vec<Generation>,
    /// The keys of objects that no head needs from here on. Whoever has the store deletes them.
    pub dropped: Vec<String>,
}

/// A snapshot, and the object that it is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its number.
    pub seq: u64,
    /// The object's key below that of the store.
    pub key: String,
    /// The object's size in bytes.
    pub size: u64,
    /// The object's XXH3 sum of 128 bits, as 32 hexadecimal digits.
    pub sum: String,
    /// When it was written, in seconds since 1970.
    pub written: u64,
}

/// What a commit does to the head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Makes a generation the newest, and keeps so many, itself included. One of the same number gives way.
    Insert {
        /// The generation, which is in its object already.
        generation: Generation,
        /// How many are kept.
        keep: usize,
    },
    /// Leaves the store to whoever wants it.
    Release,
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The store has a higher number.
    Stale {
        /// The newest one.
        newest: u64,
    },
}

impl Head {
    /// The number of the newest generation.
    pub fn newest(&self) -> Option<u64> {
        self.generations.first().map(|newest| newest.seq)
    }

    /// Whether an object is one of the generations.
    pub fn names(&self, key: &str) -> bool {
        self.generations.iter().any(|generation| generation.key == key)
    }

    /// The head of who takes the store over.
    pub(super) fn claimed(found: Option<&Head>, owner: String, nonce: String) -> Head {
        let (epoch, generations, dropped) = match found {
            Some(Head { epoch, generations, dropped, .. }) => (*epoch, generations.clone(), dropped.clone()),
            None => (0, Vec::new(), Vec::new()),
        };
        Head { format: FORMAT, epoch: epoch + 1, owner: Some(owner), nonce, generations, dropped }
    }

    /// The head after an edit.
    pub(super) fn edited(&self, edit: &Edit, nonce: String) -> Result<Head, Refusal> {
        let mut head = Head { nonce, ..self.clone() };
        match edit {
            Edit::Release => head.owner = None,
            Edit::Insert { generation, keep } => {
                if let Some(newest) = self.newest().filter(|newest| *newest > generation.seq) {
                    return Err(Refusal::Stale { newest });
                }
                let same = head.generations.first().is_some_and(|newest| newest.seq == generation.seq);
                let given_way: Vec<Generation> = head.generations.drain(..usize::from(same)).collect();
                head.generations.insert(0, generation.clone());
                let keep = head.generations.len().min(*keep);
                let pruned = head.generations.split_off(keep);
                head.dropped.extend(given_way.into_iter().chain(pruned).map(|generation| generation.key));
            }
        }
        Ok(head)
    }
}
