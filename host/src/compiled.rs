//! The store component's compiled code, kept in a file for the next process: loading that takes a thousandth of the time
//! that compiling takes, and a tenth of what wasmtime's own cache takes, which compresses.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::debug;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::COMPONENT;

/// How much of a file is summed at a time, in bytes.
const PIECE: usize = 64 << 10;

/// What was written longer ago than this may be of a version that is not used any more.
const OLD: Duration = Duration::from_secs(60 * 60 * 24 * 30);

/// The component, from `folder` if it was kept there, and else compiled and kept there. That it cannot be kept only
/// takes longer.
pub(crate) fn load(engine: &Engine, folder: &Path) -> wasmtime::Result<Component> {
    let path = match check(folder) {
        Ok(()) => folder.join(name(engine)),
        Err(error) => {
            debug!(folder = %folder.display(), %error, "compiled code is not kept");
            return Component::new(engine, COMPONENT);
        }
    };
    match check_sum(&path) {
        Ok(()) => match deserialize(engine, &path) {
            Ok(component) => return Ok(component),
            Err(error) => debug!(path = %path.display(), %error, "compiled code that cannot be used"),
        },
        Err(error) => debug!(path = %path.display(), %error, "no compiled code"),
    }
    let component = Component::new(engine, COMPONENT)?;
    if let Err(error) = keep(&path, &component.serialize()?) {
        debug!(path = %path.display(), %error, "compiled code was not kept");
    }
    Ok(component)
}

/// Makes the folder if it is not there, and refuses one that others may write: what lies in it will be run.
fn check(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::symlink_metadata(folder)?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || !is_ours || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it must be a folder of this user, which no other may write"));
        }
    }
    Ok(())
}

/// The file for this component, compiled by an engine that is configured like this one, of this version of wasmtime, on
/// this kind of processor.
fn name(engine: &Engine) -> String {
    let mut compatibility = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let mut key = blake3::Hasher::new();
    key.update(COMPONENT).update(&compatibility.finish().to_le_bytes());
    format!("store-{}.cwasm", &key.finalize().to_hex()[..32])
}

/// Where the sum of a file lies, in the format of `b3sum`.
fn sum_of(path: &Path) -> PathBuf {
    path.with_extension("b3")
}

fn sum_line(sum: blake3::Hash, path: &Path) -> String {
    format!("{sum}  {}\n", path.file_name().unwrap_or_default().display())
}

/// Whether a file is what was written.
fn check_sum(path: &Path) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    let mut sum = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => sum.update(&piece[..read]),
        };
    }
    if fs::read_to_string(sum_of(path))? == sum_line(sum.finalize(), path) {
        Ok(())
    } else {
        Err(io::Error::other("it is not what was written"))
    }
}

#[expect(unsafe_code, reason = "compiled code is run as it is")]
fn deserialize(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: its sum shows that it is what this program has written, into a folder that only its user writes, where
    // files are replaced and never changed. Whether it is of this version and for this processor, wasmtime checks.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Writes compiled code and its sum, and removes what is old.
fn keep(path: &Path, code: &[u8]) -> io::Result<()> {
    write(path, code)?;
    write(&sum_of(path), sum_line(blake3::hash(code), path).as_bytes())?;
    for old in old_files(path)? {
        fs::remove_file(old)?;
    }
    Ok(())
}

/// Writes a file, all of it or nothing. Nothing is synced: what a power cut takes of it, the sum shows.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(std::process::id().to_string());
    let written = fs::File::create_new(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

/// The other files of this kind that are old, left by processes that were killed included.
fn old_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut old = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(Path::new("")))? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with("store-");
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
        if is_ours && entry.path() != path && age.is_ok_and(|age| age > OLD) {
            old.push(entry.path());
        }
    }
    Ok(old)
}
