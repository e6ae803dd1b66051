//! Checks that a create can replace the files of a pair, before it changes anything. A create that fails after its commit
//! point cannot be finished, and every later create fails as well.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use crate::error::{Error, Result};

/// What a create replaces.
const NAMES: [&str; 3] = ["snapshot.json", "snapshot.seq", "snapshot.sum"];
/// What it makes first, and cannot make where another user's file cannot be removed.
const NEW: [&str; 3] = ["snapshot.json.new", "snapshot.seq.new", "snapshot.sum.new"];

/// Checks that this process can read the files that it makes. One that cannot would make a snapshot that nobody can
/// restore, and that no later create gets past.
///
/// # Errors
///
/// [`Error::Io`], with what to do.
pub(crate) fn check_umask() -> Result<()> {
    // Every other way to ask for it sets it, for all threads.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    match umask.and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok()) {
        Some(umask) if umask & 0o700 != 0 => Err(Error::other(format!(
            "the umask {umask:04o} denies this process access to its own files: set it to 0077 or 0022"
        ))),
        _ => Ok(()),
    }
}

/// Checks that the system lets this process replace the files of a pair in a directory.
///
/// WASI shows neither owners nor the sticky bit, nor attributes, nor mounts.
///
/// # Errors
///
/// [`Error::Io`], with what to do.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let look = |path: &Path, flags| statx(CWD, path, flags, StatxFlags::BASIC_STATS);
    // Whatever cannot be looked at, the store reports itself.
    let Ok(folder) = look(dir, AtFlags::empty()) else { return Ok(()) };
    let user = geteuid().as_raw();
    let may_replace_all =
        || capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::FOWNER));
    let only_own = Mode::from_raw_mode(folder.stx_mode.into()).contains(Mode::SVTX)
        && folder.stx_uid != user
        && !may_replace_all();
    for name in NAMES.into_iter().chain(NEW).take(if only_own { 6 } else { 3 }) {
        let file = match look(&dir.join(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(file) => file,
            Err(Errno::NOENT) => continue,
            Err(_) => return Ok(()),
        };
        let has = |attribute| file.stx_attributes.contains(attribute);
        let problem = if has(StatxAttributes::MOUNT_ROOT) {
            "something is mounted on it: unmount that, or mount the whole directory instead".to_owned()
        } else if has(StatxAttributes::IMMUTABLE) {
            "it is immutable: `chattr -i` it".to_owned()
        } else if has(StatxAttributes::APPEND) {
            "it is append-only: `chattr -a` it".to_owned()
        } else if only_own && file.stx_uid != user {
            format!(
                "it belongs to the user {}, and the directory has the sticky bit: run as that user, or `chmod -t` the \
                 directory",
                file.stx_uid
            )
        } else {
            continue;
        };
        return Err(Error::other(format!(
            "cannot rename or replace `{name}`, since {problem}; nothing was changed"
        )));
    }
    Ok(())
}
