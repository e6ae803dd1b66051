//! Locks on directories: those that this process holds, and those of all, as Linux lists them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Deref;
#[cfg(feature = "arcella")]
use std::path::Path;

/// A file or directory that this process has locked. The lock ends with this.
///
/// Closing the file is not enough: a process that another thread is just starting has it open for a moment, too.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl From<File> for Locked {
    fn from(locked: File) -> Self {
        Locked(locked)
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // If this fails, closing the file unlocks it.
        let _ = self.0.unlock();
    }
}

/// Which process holds which directory, and whether for itself alone, as far as the system tells.
pub(crate) struct Locks(HashMap<String, (u32, bool)>);

impl Locks {
    /// Those that there are now, as Linux lists them: one line a lock, with its kind, the process and, as major:minor:inode, the
    /// file.
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/locks").unwrap_or_default();
        let lock = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields[..] {
                [_, "FLOCK", _, kind, pid, file, ..] => {
                    Some((file.to_owned(), (pid.parse().ok()?, kind == "WRITE")))
                }
                _ => None,
            }
        };
        Locks(text.lines().filter_map(lock).collect())
    }

    /// The process that has locked a directory, or one of those that share it.
    pub(crate) fn holder(&self, dir: &fs::Metadata) -> Option<u32> {
        self.lock(dir).map(|(process, _)| process)
    }

    /// The process that may write in a directory.
    #[cfg(feature = "arcella")]
    pub(crate) fn writer(&self, dir: &Path) -> Option<u32> {
        let (process, is_alone) = self.lock(&fs::metadata(dir).ok()?)?;
        is_alone.then_some(process)
    }

    fn lock(&self, dir: &fs::Metadata) -> Option<(u32, bool)> {
        use std::os::unix::fs::MetadataExt;
        let (major, minor) = (rustix::fs::major(dir.dev()), rustix::fs::minor(dir.dev()));
        let Locks(locks) = self;
        locks.get(&format!("{major:02x}:{minor:02x}:{}", dir.ino())).copied()
    }
}
