//! Where a call may block.

use std::panic::catch_unwind;

use tokio::runtime;

use crate::error::{Error, Result};

/// Whether this thread may wait for a future, as WASI's calls do: not in a task of a runtime, nor where the thread is ending.
pub(crate) fn may_block() -> bool {
    match runtime::Handle::try_current() {
        // Tokio does not tell, but panics.
        Ok(runtime) => catch_unwind(|| runtime.block_on(async {})).is_ok(),
        Err(error) => !error.is_thread_local_destroyed(),
    }
}

/// Refuses a call that blocks where none may be made.
pub(crate) fn check_may_block() -> Result<()> {
    match may_block() {
        true => Ok(()),
        false => Err(Error::other(
            "a call that blocks was made in a task of an asynchronous runtime: make it by `SnapshotCtx::call`, or in \
             `spawn_blocking`",
        )),
    }
}
