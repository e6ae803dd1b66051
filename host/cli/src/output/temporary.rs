//! The temporary file that becomes an output.
//!
//! It has no name while it is written (`O_TMPFILE`), so nothing is left however this process ends. To replace an
//! existing file, it needs a name for the rename; where the file system has no unnamed files (NFS, for example), it
//! needs one from the start. While it has one, a thread waits for INT, TERM and HUP, removes the name and ends the
//! process: that works while the main thread is blocked on a disk. Only SIGKILL in that moment leaves the name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::signals::end_tidily;

/// The temporary name to remove on a signal. Locked while the name is created, renamed or removed.
static NAMED: Mutex<Option<(OwnedFd, OsString)>> = Mutex::new(None);

/// How many names to try: an earlier process with the same ID may have left some.
const NAMES: u32 = 1000;

/// A file that is going to replace another one in its folder. Dropping it removes it.
pub struct Temporary<'f> {
    folder: &'f OwnedFd,
    file: File,
    name: Option<OsString>,
}

impl<'f> Temporary<'f> {
    pub fn new(folder: &'f OwnedFd, mode: Mode) -> io::Result<Self> {
        if let Some(file) = nameless(folder, mode) {
            return Ok(Temporary { folder, file: file.into(), name: None });
        }
        end_tidily(remove_named)?;
        let for_a_signal = folder.try_clone()?;
        let mut named = named();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let (file, name) = under_a_free_name(|name| openat(folder, name, flags, mode))?;
        *named = Some((for_a_signal, name.clone()));
        Ok(Temporary { folder, file: file.into(), name: Some(name) })
    }

    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Renames it to `to`, atomically replacing what has that name.
    pub fn rename(mut self, to: &OsStr) -> io::Result<()> {
        if self.name.is_none() {
            if self.link(to).is_ok() {
                return Ok(());
            }
            end_tidily(remove_named)?;
        }
        // The thread waits for this lock before it ends the process.
        let mut named = named();
        let name = match self.name.take() {
            Some(name) => name,
            None => under_a_free_name(|name| self.link(name))?.1,
        };
        let renamed = renameat(self.folder, &name, self.folder, to);
        if renamed.is_err() {
            let _ = unlinkat(self.folder, &name, AtFlags::empty());
        }
        *named = None;
        Ok(renamed?)
    }

    /// Gives it a name, unless that exists.
    fn link(&self, name: &OsStr) -> rustix::io::Result<()> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, file, self.folder, name, AtFlags::SYMLINK_FOLLOW)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let mut named = named();
            let _ = unlinkat(self.folder, name, AtFlags::empty());
            *named = None;
        }
    }
}

/// A file without a name, if the file system has those and `link` can work.
fn nameless(folder: &OwnedFd, mode: Mode) -> Option<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    std::path::Path::new("/proc/self/fd").exists().then(|| openat(folder, ".", flags, mode).ok()).flatten()
}

fn under_a_free_name<T>(make: impl Fn(&OsStr) -> rustix::io::Result<T>) -> rustix::io::Result<(T, OsString)> {
    let process = std::process::id();
    for count in 0..NAMES {
        let name = OsString::from(format!(".minisnap-{process}-{count}"));
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return made.map(|made| (made, name)),
        }
    }
    Err(Errno::EXIST)
}

/// Removes the temporary name, and lets no other appear.
fn remove_named() {
    let named = named();
    if let Some((folder, name)) = &*named {
        let _ = unlinkat(folder, name, AtFlags::empty());
    }
    std::mem::forget(named);
}

fn named() -> MutexGuard<'static, Option<(OwnedFd, OsString)>> {
    NAMED.lock().unwrap_or_else(PoisonError::into_inner)
}
