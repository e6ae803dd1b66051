//! Snapshots in an object store, which any node restores and one at a time writes: the protocol, and nothing that speaks to an
//! object store yet.

pub mod head;
pub mod protocol;
