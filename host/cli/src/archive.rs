//! A store as an archive in the format of tar: its files as they are.

use std::cell::Cell;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::mem::ManuallyDrop;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tar::{Archive, Builder, Entry, EntryType, HeaderMode};
use tempfile::TempDir;

use crate::failure::{Failure, Subject};
use crate::output::{STDOUT, Stream};
use crate::progress::Progress;
use crate::signals::end_tidily;

pub const STDIN: Subject = Subject::Stream("standard input");

/// The block that an archive is made of, in bytes. It ends in blocks of zeros.
const BLOCK: usize = 512;

/// The most that the headers of one entry may have, in bytes.
const MAX_HEADERS: usize = 1 << 20;

/// Makes a directory of this process's own, below `TMPDIR`. It is gone when it is dropped, and after INT, TERM and HUP.
pub fn scratch() -> Result<TempDir, Failure> {
    let made = TempDir::with_prefix("minisnap-").and_then(|dir| {
        let path = dir.path().to_owned();
        end_tidily(move || {
            // What is being made there meanwhile may be in the way.
            let _ = (0..100).find(|_| fs::remove_dir_all(&path).is_ok());
        })?;
        Ok(dir)
    });
    made.map_err(|error| Failure::file("make a directory", &env::temp_dir(), &error))
}

/// Unpacks the files of the archive on standard input, and returns the folders in it, which are left out.
pub fn unpack(into: &Path) -> Result<Vec<String>, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::refused(2, "standard input is a terminal, and no archive", "redirect it"));
    }
    let state = State { zeros: Cell::new(0), headers: Cell::new(Some(MAX_HEADERS)) };
    let progress = Progress::new("unpacking", None);
    let mut input = Input { input: io::stdin().lock(), state: &state, progress: &progress };
    let unpacked = unpack_from(&mut input, &state, into).and_then(|folders| {
        if state.zeros.get() < BLOCK {
            return Err(io::Error::other("the archive is cut short: its end is missing"));
        }
        // Whoever writes it is not done.
        state.headers.set(None);
        io::copy(&mut input, &mut io::sink()).map(|_| folders)
    });
    unpacked.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let what = format!("`{}` has no room for the archive: {error}", env::temp_dir().display());
            Failure::refused(7, what, "free space there, or set TMPDIR to another folder")
        }
        _ => {
            let help = "give what `minisnap copy DIR -` or `tar -C DIR -c .` has written, not compressed";
            Failure::refused(10, format!("standard input cannot be unpacked: {error}"), help)
        }
    })
}

fn unpack_from(input: impl Read, state: &State, into: &Path) -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    let mut archive = Archive::new(input);
    for entry in archive.entries()? {
        let mut entry = entry?;
        state.headers.set(None);
        let path = entry.path()?.into_owned();
        let parts: Vec<Component<'_>> = path.components().filter(|part| *part != Component::CurDir).collect();
        if !parts.iter().all(|part| matches!(part, Component::Normal(_))) {
            return Err(odd(&path, "leads out of the archive"));
        }
        match (&parts[..], entry.header().entry_type()) {
            (_, EntryType::XGlobalHeader) | ([] | [_], EntryType::Directory) => {}
            ([Component::Normal(name)], EntryType::Regular) => {
                unpack_file(&mut entry, &path, &into.join(name))?
            }
            ([_], EntryType::Link) => return Err(odd(&path, "is a hard link: give tar --hard-dereference")),
            ([_], EntryType::Symlink) => return Err(odd(&path, "is a symlink: give tar --dereference")),
            ([] | [_], _) => return Err(odd(&path, "is no regular file")),
            ([folder, _, ..], _) => {
                let folder = folder.as_os_str().to_string_lossy().into_owned();
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
                io::copy(&mut entry, &mut io::sink())?;
            }
        }
        // What follows is the next entry's headers, or the end.
        state.zeros.set(0);
        state.headers.set(Some(MAX_HEADERS));
    }
    Ok(folders)
}

fn unpack_file(entry: &mut Entry<'_, impl Read>, path: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::create_new(to).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => odd(path, "is in it twice"),
        _ => error,
    })?;
    if io::copy(entry, &mut file)? != entry.size() {
        return Err(odd(path, "is cut short"));
    }
    // Of which an archive keeps whole seconds.
    let modified = entry.header().mtime().map(Duration::from_secs);
    if let Some(modified) = modified.ok().and_then(|since| UNIX_EPOCH.checked_add(since)) {
        let _ = file.set_modified(modified);
    }
    Ok(())
}

fn odd(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("`{}` {what}", path.display()))
}

/// Writes the files in a directory, which has nothing else, to standard output, the newest generation first.
pub fn pack(dir: &Path) -> Result<(), Failure> {
    let progress = Progress::new("packing", None);
    let packed = files(dir).and_then(|files| {
        // Dropping it would end the archive as if it were whole.
        let mut archive = ManuallyDrop::new(Builder::new(BufWriter::new(Stream::stdout())));
        archive.mode(HeaderMode::Complete);
        archive.sparse(false);
        for (name, path) in files {
            let mut file = File::open(&path)?;
            archive.append_file(name, &mut file)?;
            progress.advance(file.metadata()?.len());
        }
        ManuallyDrop::into_inner(archive).into_inner()?.flush()
    });
    packed.map_err(|error| Failure::unwritten(STDOUT, &error))
}

/// The names of the files in a directory, with their paths, the last one first.
fn files(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut files: Vec<_> = entries.iter().map(|entry| (name(entry), entry.path())).collect();
    files.sort();
    files.reverse();
    Ok(files)
}

/// What is known of what was read of an archive.
struct State {
    /// How many zeros it has ended in so far, since the last entry.
    zeros: Cell<usize>,
    /// How many bytes of headers may come, unless an entry's contents do.
    headers: Cell<Option<usize>>,
}

struct Input<'s, R> {
    input: R,
    state: &'s State,
    progress: &'s Progress,
}

impl<R: Read> Read for Input<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let zeros = buffer[..read].iter().rev().take_while(|&&byte| byte == 0).count();
        let before = if zeros == read { self.state.zeros.get() } else { 0 };
        self.state.zeros.set(before.saturating_add(zeros));
        if let Some(left) = self.state.headers.get() {
            let left = left.checked_sub(read).ok_or_else(|| io::Error::other("its headers are too large"))?;
            self.state.headers.set(Some(left));
        }
        self.progress.advance(read as u64);
        Ok(read)
    }
}
