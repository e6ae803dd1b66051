//! Snapshots in an object store, which any node restores and one at a time writes.
//!
//! A [`Bucket`] is where they lie, a [`RemoteStore`] is the snapshots of one component: whole files, of which it knows no more
//! than their numbers, sizes and sums. `host/REMOTE.md` says how none is lost, and by whom they are changed.

mod ask;
mod bucket;
mod check;
mod connect;
mod failure;
#[doc(hidden)]
pub mod head;
#[doc(hidden)]
pub mod protocol;
mod store;

pub use bucket::Bucket;
pub use check::Checked;
pub use connect::Location;
pub use head::{Generation, Head, Limits};
pub use protocol::{Skipped, TakeOver, Wanted, Why};
pub use store::{Found, RemoteStore};
