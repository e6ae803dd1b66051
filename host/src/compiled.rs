//! Compiled code, kept in a file for the next process: loading that takes a hundredth of the time that compiling takes,
//! and a fraction of what wasmtime's own cache takes, which compresses.
//!
//! What lies there is executed. Folder and file must be this user's, and nobody else may write them: that keeps others
//! out. The sum beside the code only finds damage, for whoever can write the code can write its sum.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::debug;
use wasmtime::Engine;
use wasmtime::component::Component;

/// What names of files start and end with.
const COMPONENT: &str = "component-";
const KEPT: &str = ".cwasm";
const TEMPORARY: &str = ".cwasm-tmp";

/// What was written longer ago than this may be of a version that is not used any more.
const OLD: Duration = Duration::from_secs(60 * 60 * 24 * 30);

/// How many files are kept at most.
const MAX_KEPT: usize = 64;

/// Compiles a component, as [`Component::new`], and keeps compiled code in the directory `folder` for the next process, as
/// [`MinisnapBuilder::cache`](crate::MinisnapBuilder::cache) does; the directory may be the same.
///
/// # Errors
///
/// As [`Component::new`].
pub fn load_cached(engine: &Engine, component: &[u8], folder: &Path) -> wasmtime::Result<Component> {
    let name = name(engine, component);
    match kept(engine, folder, &name) {
        Ok(component) => return Ok(component),
        Err(error) => debug!(folder = %folder.display(), name, %error, "no compiled code"),
    }
    let component = Component::new(engine, component)?;
    let kept = component.serialize().map_err(io::Error::other).and_then(|code| keep(folder, &name, &code));
    if let Err(error) = kept {
        debug!(folder = %folder.display(), name, %error, "compiled code is not kept");
    }
    Ok(component)
}

/// The file for this component, compiled by an engine that is configured like this one, of this version of wasmtime, for
/// this kind of processor.
fn name(engine: &Engine, component: &[u8]) -> String {
    let mut compatibility = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let mut key = blake3::Hasher::new();
    key.update(component).update(&compatibility.finish().to_le_bytes());
    format!("{COMPONENT}{}{KEPT}", &key.finalize().to_hex()[..32])
}

/// The component from its file, which is opened once: what is checked is what is run.
fn kept(engine: &Engine, folder: &Path, name: &str) -> wasmtime::Result<Component> {
    let mut file = open(folder, name)?;
    check_sum(&mut file)?;
    deserialize(engine, file)
}

/// Whether a file is what was written: code, and its sum.
fn check_sum(file: &mut File) -> io::Result<()> {
    let wrong = || io::Error::other("it is not what was written");
    let code = file.metadata()?.len().checked_sub(blake3::OUT_LEN as u64).ok_or_else(wrong)?;
    let mut sum = blake3::Hasher::new();
    sum.update_reader(Read::take(&mut *file, code))?;
    let mut written = Vec::new();
    file.read_to_end(&mut written)?;
    if written == sum.finalize().as_bytes() { Ok(()) } else { Err(wrong()) }
}

/// Opens a file of this user in a folder of this user, neither of which another may write, and no link to one.
fn open(folder: &Path, name: &str) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    // From here on, neither can become another.
    let folder = open_folder(folder)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    check_owner(&file)?;
    Ok(file)
}

fn open_folder(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::open(folder, flags, Mode::empty())?);
    check_owner(&folder)?;
    Ok(folder)
}

fn check_owner(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    if metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other("another user may write it"))
    }
}

/// Maps the code of the file itself, which has no other name that could lead elsewhere.
#[expect(unsafe_code, reason = "compiled code is run as it is")]
fn deserialize(engine: &Engine, file: File) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    // SAFETY: this file is open and has been checked: only this user can write it and its folder, and no component does,
    // as no `--dir` holds them; so it is what this program wrote, which never writes to a file that has its name already.
    // Its sum shows that it is not damaged. Whether it is of this version and for this processor, wasmtime checks.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Writes compiled code and its sum, all of it or nothing, and removes what is old. Nothing is synced: what a power cut
/// takes of it, the sum shows.
fn keep(folder: &Path, name: &str, code: &[u8]) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    open_folder(folder)?;

    // For this user alone, as such files are made.
    let mut file = tempfile::Builder::new().prefix(COMPONENT).suffix(TEMPORARY).tempfile_in(folder)?;
    file.write_all(code)?;
    file.write_all(blake3::hash(code).as_bytes())?;
    file.persist(folder.join(name))?;
    if let Err(error) = remove_old(folder, name) {
        debug!(folder = %folder.display(), %error, "compiled code that is old was not removed");
    }
    Ok(())
}

/// Removes the other files of this kind that are old or too many, those that a process left when it was killed included.
fn remove_old(folder: &Path, name: &str) -> io::Result<()> {
    let now = SystemTime::now();
    let mut found: Vec<(Duration, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && entry.file_name() != name && is_ours(&entry.file_name()) {
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            found.push((age, entry.path()));
        }
    }
    found.sort();
    let is_left = |(at, (age, _)): &(usize, &(Duration, PathBuf))| *age > OLD || at + 1 >= MAX_KEPT;
    found.iter().enumerate().filter(is_left).try_for_each(|(_, (_, path))| fs::remove_file(path))
}

/// Whether a name is one that this module makes.
fn is_ours(name: &OsStr) -> bool {
    let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(COMPONENT)) else { return false };
    let is_key = |key: &str| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_random =
        |random: &str| random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    rest.strip_suffix(KEPT).is_some_and(is_key) || rest.strip_suffix(TEMPORARY).is_some_and(is_random)
}
