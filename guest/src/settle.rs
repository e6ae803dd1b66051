//! What a crash left, ours or native minisnap's, is finished or removed before anything is built on it.

use crate::catalog::{Contents, NATIVE_SEQ_TMP, NATIVE_STATE_TMP, SEQ, SUMS};
use crate::commit::{move_into_place, remove_new};
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::files::{Place, remove_file, remove_temporary, sync_dir};
use crate::pair;

/// Settles a directory that was synced since the crash. After an error, another attempt goes on where this one stopped.
pub fn settle<D: Dir>(dir: &D, contents: &Contents) -> Result<()> {
    for name in &contents.temporaries {
        remove_temporary(dir, name)?;
    }
    // First, since native minisnap's number in place of ours would look as if ours had been renamed.
    if contents.pair_temporaries > 0 {
        move_into_place(dir, &pair::stored_names(dir)?)?;
        remove_new(dir)?;
        // So that what follows builds on what is durable.
        sync_dir(dir)?;
    }
    if contents.native_temporaries > 0 { settle_native(dir) } else { Ok(()) }
}

/// Native 0.1.2 renames its two temporaries one after the other. Where the first rename happened and
/// the second did not, the number still waiting belongs to the state in place; where neither did, both
/// are of a snapshot that was never committed.
fn settle_native<D: Dir>(dir: &D) -> Result<()> {
    let state = Place::look(dir, NATIVE_STATE_TMP)?;
    let seq = Place::look(dir, NATIVE_SEQ_TMP)?;
    match (state.is_empty(), seq.is_empty()) {
        (true, true) => return Ok(()),
        (true, false) => {
            if pair::native_number_belongs(dir)? {
                dir.rename(NATIVE_SEQ_TMP, SEQ).map_err(|e| Error::io("rename", NATIVE_SEQ_TMP, &e))?;
            } else {
                remove_temporary(dir, NATIVE_SEQ_TMP)?;
            }
        }
        (false, no_seq) => {
            // The number goes first and durably: alone, it would be taken for that of the state in place.
            if !no_seq {
                remove_temporary(dir, NATIVE_SEQ_TMP)?;
                sync_dir(dir)?;
            }
            remove_temporary(dir, NATIVE_STATE_TMP)?;
        }
    }
    // So that what follows builds on what is durable.
    sync_dir(dir)
}

/// Removes sums that native minisnap has written over, durably: they could vouch for a new snapshot before its commit.
pub fn remove_stale_sums<D: Dir>(dir: &D) -> Result<()> {
    remove_file(dir, SUMS)?;
    sync_dir(dir)
}
