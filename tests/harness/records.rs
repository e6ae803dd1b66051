//! The typed state of the benchmark, which every program that takes part makes for itself.

use serde::{Deserialize, Serialize};

/// One of the things that the state holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    id: u64,
    name: String,
    tags: Vec<String>,
    balance: f64,
    note: Option<String>,
    is_active: bool,
}

/// A state whose JSON, without white space, is about so many bytes; always the same.
pub fn state(bytes: usize) -> Vec<Record> {
    const OF_ONE: usize = 136;
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    (0..(bytes / OF_ONE).max(1) as u64)
        .map(|id| Record {
            id,
            name: format!("component {:016x}", next()),
            tags: (0..next() % 4).map(|_| format!("tag-{}", next() % 1000)).collect(),
            balance: (next() % 100_000_000) as f64 / 100.0,
            note: (next() % 2 == 0).then(|| format!("\"quoted\"\tand {}", next() % 1_000_000)),
            is_active: next() % 3 > 0,
        })
        .collect()
}
