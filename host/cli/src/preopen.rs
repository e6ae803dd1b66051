//! `--dir` and logs: folders of the host that `minisnap run` gives to a component beside its snapshots.

use std::path::{Component, Path, PathBuf};

use minisnap_host::{Folder, FolderError, Grant};
use wasmtime_wasi::FsPerms;

use crate::failure::{Failure, shell_word};
use crate::stores::Wait;

/// A folder of the host, and what the component calls it.
#[derive(Clone)]
pub struct Preopen {
    pub host: PathBuf,
    pub guest: String,
    pub perms: FsPerms,
}

impl std::str::FromStr for Preopen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (text, perms) = match text.strip_suffix(":ro") {
            Some(text) => (text, FsPerms::ReadOnly),
            None => (text, FsPerms::ReadWrite),
        };
        match text.split_once("::") {
            Some((host, guest)) if !host.is_empty() && !guest.is_empty() && !goes_up(guest) => {
                Ok(Preopen { host: host.into(), guest: guest.to_owned(), perms })
            }
            _ => Err(
                "give a folder and what the component calls it, such as ./data::/data or ./data::/data:ro",
            ),
        }
    }
}

/// Whether a path in the component leaves where it begins.
fn goes_up(guest: &str) -> bool {
    Path::new(guest).components().any(|part| matches!(part, Component::ParentDir | Component::Prefix(_)))
}

/// Opens each folder, if none gives access to what is `protected`: a component that can write there could change others'
/// snapshots, or whom it is taken for, or what the next run executes. What it may write, it has for itself.
pub fn open(given: &[Preopen], protected: &[&Path]) -> Result<Vec<Folder>, Failure> {
    let mut folders: Vec<Folder> = Vec::new();
    for (at, dir) in given.iter().enumerate() {
        if given[..at].iter().any(|other| is_same(&other.guest, &dir.guest)) {
            let what = format!("--dir gives two directories the name `{}`", dir.guest);
            return Err(Failure::refused(2, what, "give each a name of its own"));
        }
        let open = || {
            let mut folder = Folder::open(&dir.host)?;
            protected.iter().try_for_each(|path| folder.check_apart(path))?;
            // It may have the same one under several names.
            let is_locked = |(other, given): (&Folder, &Preopen)| {
                given.perms == FsPerms::ReadWrite && folder.is_same(other)
            };
            if dir.perms == FsPerms::ReadWrite && !folders.iter().zip(given).any(is_locked) {
                folder.lock()?;
            }
            Ok(folder)
        };
        folders.push(open().map_err(|error| failure(dir, error))?);
    }
    Ok(folders)
}

/// Checks that no folder has the name of a log that is granted.
pub fn check_names(grant: &Grant, given: &[Preopen]) -> Result<(), Failure> {
    if grant.log_dir().is_none() || !given.iter().any(|other| is_same(&other.guest, Grant::LOG)) {
        return Ok(());
    }
    let what = format!("--dir gives the name `{}`, which is that of the granted log", Grant::LOG);
    Err(Failure::refused(2, what, "give another name, or remove `log` from the grants file"))
}

/// Makes and opens the folder of the component's log, if it is granted one, with no access to what is `protected`; and holds
/// it, once nobody else does.
pub fn open_log(grant: &Grant, wait: &Wait, protected: &[&Path]) -> Result<Option<Folder>, Failure> {
    let Some(dir) = grant.log_dir() else { return Ok(None) };
    let log = wait.for_its_end(|| grant.open_log()).map_err(Failure::about(dir))?;
    for path in protected {
        log.iter().try_for_each(|log| log.check_apart(path)).map_err(|error| {
            let help = "name a folder as `logs` in the grants file that neither holds that nor lies in it";
            Failure::refused(2, format!("the log: {error}"), help)
        })?;
    }
    Ok(log)
}

/// Whether a component takes both for one directory.
fn is_same(guest: &str, other: &str) -> bool {
    let parts = |guest| {
        let parts = Path::new(guest).components();
        parts.filter(|part| matches!(part, Component::Normal(_))).map(Component::as_os_str)
    };
    parts(guest).eq(parts(other))
}

fn failure(Preopen { host, guest, .. }: &Preopen, error: FolderError) -> Failure {
    match error {
        FolderError::Open { path, error } => Failure::file("open", &path, &error),
        error @ FolderError::Link { .. } => Failure::refused(
            2,
            format!("--dir `{}`: {error}, which a component may have planted", host.display()),
            format!(
                "if it leads where you mean, name what it leads to: --dir \"$(realpath {})\"::{guest}",
                shell_word(host)
            ),
        ),
        error @ FolderError::Busy { .. } => Failure::refused(
            9,
            format!("--dir {error}"),
            "wait until that ends, or give it to be read only, with `:ro`",
        ),
        error => Failure::refused(
            2,
            format!("--dir {error}"),
            "give a folder that neither holds that nor lies in it",
        ),
    }
}
