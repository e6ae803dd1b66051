//! What a directory shows of why a snapshot found no room in it, or access was denied: the store does not tell.

use std::fs;
use std::path::Path;

use super::failure::shell_word;

/// What is wrong, and what to do next.
pub struct Diagnosis {
    pub what: String,
    pub help: String,
}

impl Diagnosis {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnosis { what: what.into(), help: help.into() }
    }
}

/// What is full: the disk, or the directory, which may hold `max_total` bytes if that is limited.
///
/// Whichever leaves less room was met first. How much the limit leaves is not known exactly, because some of the
/// generations can make room.
pub fn full(dir: &Path, max_total: Option<u64>) -> Diagnosis {
    let path = shell_word(dir);
    let disk = || {
        let help = format!("free space on that disk: df -h {path}; a stored snapshot is unharmed");
        Diagnosis::new("the disk or a quota is full", help)
    };
    let Some(max_total) = max_total else { return disk() };
    let least = max_total.saturating_sub(held(dir, |_| true));
    let most = max_total.saturating_sub(held(dir, |name| !name.starts_with(b"snapshot_")));
    match free(dir) {
        Some(free) if free < least => disk(),
        Some(free) if free >= most => Diagnosis::new(
            format!(
                "the directory is full: the new snapshot and what must stay beside it are more than the {max_total} \
                 bytes of `--max-total`"
            ),
            format!("give a larger --max-total, or move files away, of which *.damaged count: ls -la {path}"),
        ),
        _ => Diagnosis::new(
            format!("the disk, a quota, or the directory is full, which may hold {max_total} bytes"),
            format!(
                "free space on that disk: df -h {path}; or give a larger --max-total; a stored snapshot is unharmed"
            ),
        ),
    }
}

/// The bytes of those files in a directory that count, by their names, as far as they can be told.
fn held(dir: &Path, counts: impl Fn(&[u8]) -> bool) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| counts(entry.file_name().as_encoded_bytes()));
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file);
    files.map(|file| file.len()).sum()
}

/// The bytes that are free on the disk of a directory.
#[cfg(unix)]
fn free(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let is_root = rustix::process::geteuid().is_root();
    match if is_root { (stat.f_bfree, stat.f_ffree) } else { (stat.f_bavail, stat.f_favail) } {
        // Some file systems count no inodes.
        (_, 0) if stat.f_files > 0 => Some(0),
        (blocks, _) => blocks.checked_mul(stat.f_frsize),
    }
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// What is denied in a directory, or to a directory that is to be made.
pub fn denied(dir: &Path) -> Diagnosis {
    let denied = "access to the snapshot directory is denied";
    match reason(dir) {
        Some(Diagnosis { what, help }) => Diagnosis::new(format!("{denied}: {what}"), help),
        None => Diagnosis::new(denied, format!("see who may read and write: ls -la {}", shell_word(dir))),
    }
}

#[cfg(unix)]
fn reason(dir: &Path) -> Option<Diagnosis> {
    use rustix::fs::Access;
    use rustix::io::Errno;
    use std::io::ErrorKind;

    let path = shell_word(dir);
    let see_all = || format!("see who may read and write: ls -la {path}");
    match fs::metadata(dir) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dir = std::path::absolute(dir).ok()?;
            let above = fs::canonicalize(dir.ancestors().skip(1).find(|above| above.exists())?).ok()?;
            let what = format!("it would be made in `{}`, which this user may not write", above.display());
            return Some(Diagnosis::new(what, format!("see who may: ls -ld {}", shell_word(&above))));
        }
        Err(_) => {
            let help = format!("see who may enter which: namei -l {path}");
            return Some(Diagnosis::new("a folder above it may not be entered", help));
        }
    }
    if may(dir, Access::READ_OK | Access::EXEC_OK).is_err() {
        return Some(Diagnosis::new("this user may not list it", see_all()));
    }
    let files = fs::read_dir(dir).ok()?.flatten();
    let files = files.filter(|file| file.file_name().as_encoded_bytes().starts_with(b"snapshot"));
    for file in files {
        if may(&file.path(), Access::READ_OK) == Err(Errno::ACCESS) {
            let name = file.file_name();
            return Some(Diagnosis::new(
                format!("this user may not read `{}`", name.to_string_lossy()),
                see_all(),
            ));
        }
    }
    match may(dir, Access::WRITE_OK | Access::EXEC_OK) {
        Err(Errno::ROFS) => {
            let help = format!("see how it is mounted: findmnt -T {path}");
            Some(Diagnosis::new("its file system is read-only", help))
        }
        Err(_) => Some(Diagnosis::new("this user may not write in it", see_all())),
        Ok(()) => None,
    }
}

/// What the system says of an access by this process.
#[cfg(unix)]
fn may(path: &Path, access: rustix::fs::Access) -> rustix::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, accessat};
    accessat(CWD, path, access, AtFlags::EACCESS)
}

#[cfg(not(unix))]
fn reason(_: &Path) -> Option<Diagnosis> {
    None
}
