//! Snapshots in an object store, which any node restores and one at a time writes.
//!
//! A [`Bucket`] is where they lie, a [`RemoteStore`] is the snapshots of one component: whole files, of which it knows no more
//! than their numbers, sizes and sums. `host/REMOTE.md` says how none is lost, and by whom they are changed.

mod ask;
mod bucket;
mod check;
mod connect;
mod failure;
mod files;
mod folder;
mod grant;
#[doc(hidden)]
pub mod head;
#[doc(hidden)]
pub mod protocol;
mod repair;
mod staging;
mod store;
mod upload;

pub use bucket::Bucket;
pub use check::Checked;
pub use connect::Location;
pub(crate) use grant::Buckets;
pub use grant::Remote;
pub use head::{Generation, Head, Limits};
pub use protocol::{Skipped, TakeOver, Wanted, Why};
pub use repair::Repaired;
pub(crate) use staging::Staging;
pub use store::{Found, RemoteStore};
pub(crate) use upload::Ahead;
