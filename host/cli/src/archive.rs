//! A store as an archive in the format of tar: its files as they are.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, HeaderMode};
use tempfile::TempDir;

use crate::failure::{Failure, Subject};
use crate::output::{STDOUT, Stream};
use crate::signals::end_tidily;

pub const STDIN: Subject = Subject::Stream("standard input");

/// The block that an archive is made of, in bytes. It ends in blocks of zeros.
const BLOCK: usize = 512;

/// A directory of this process's own, below `TMPDIR`. It is gone when this is dropped, and after INT, TERM and HUP.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Result<Self, Failure> {
        let made = TempDir::with_prefix("minisnap-").and_then(|dir| {
            let path = dir.path().to_owned();
            end_tidily(move || {
                // What is being made there meanwhile may be in the way.
                let _ = (0..100).find(|_| fs::remove_dir_all(&path).is_ok());
            })?;
            Ok(Scratch(dir))
        });
        made.map_err(|error| Failure::file("make a directory", &std::env::temp_dir(), &error))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Unpacks the files of the archive on standard input, and returns the folders in it, which are left out.
pub fn unpack(into: &Path) -> Result<Vec<String>, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::refused(2, "standard input is a terminal, and no archive", "redirect it"));
    }
    let mut input = Input { input: io::stdin().lock(), zeros: 0 };
    let unpacked = unpack_from(&mut input, into);
    let unpacked = unpacked.and_then(|folders| match input.zeros < BLOCK {
        true => Err(io::Error::other("the archive is cut short: its end is missing")),
        // Whoever writes it is not done.
        false => io::copy(&mut input, &mut io::sink()).map(|_| folders),
    });
    unpacked.map_err(|error| {
        let help = "give what `minisnap copy DIR -` or `tar -c` has written, not compressed";
        Failure::refused(10, format!("standard input cannot be unpacked: {error}"), help)
    })
}

fn unpack_from(input: impl Read, into: &Path) -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    let mut archive = Archive::new(input);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let parts: Vec<Component<'_>> = path.components().filter(|part| *part != Component::CurDir).collect();
        match parts[..] {
            [Component::Normal(name)] if entry.header().entry_type().is_file() => {
                let mut file = File::create_new(into.join(name)).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => odd(&path, "is in it twice"),
                    _ => error,
                })?;
                let size = io::copy(&mut entry, &mut file)?;
                if size != entry.size() {
                    return Err(io::Error::other(format!(
                        "the archive is cut short in `{}`",
                        path.display()
                    )));
                }
                // Of a pair that another program wrote, its times tell which file is newer.
                let modified = entry.header().mtime()?;
                let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified);
                file.set_modified(modified)?;
            }
            [Component::Normal(folder), _, ..] => {
                let folder = folder.to_string_lossy().into_owned();
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
            [Component::Normal(_)] if !entry.header().entry_type().is_dir() => {
                return Err(odd(&path, "is no file but a link or the like: give tar --hard-dereference"));
            }
            _ => {}
        }
    }
    Ok(folders)
}

fn odd(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("`{}` {what}", path.display()))
}

/// Writes the files in a directory, which has nothing else, to standard output.
pub fn pack(dir: &Path) -> Result<(), Failure> {
    let packed = files(dir).and_then(|files| {
        let mut archive = Builder::new(BufWriter::new(Stream::stdout()));
        archive.mode(HeaderMode::Complete);
        archive.sparse(false);
        for (name, path) in files {
            archive.append_path_with_name(path, name)?;
        }
        archive.into_inner()?.flush()
    });
    packed.map_err(|error| Failure::unwritten(STDOUT, &error))
}

/// The names of the files in a directory, sorted, with their paths.
fn files(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<_> = entries
        .iter()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    files.sort();
    Ok(files)
}

/// What is read, and how many zeros it has ended in so far.
struct Input<R> {
    input: R,
    zeros: usize,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let zeros = buffer[..read].iter().rev().take_while(|&&byte| byte == 0).count();
        self.zeros = if zeros == read { self.zeros.saturating_add(zeros) } else { zeros };
        Ok(read)
    }
}
