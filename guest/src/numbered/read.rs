//! Reading one generation, without a lock and without changing anything.
//!
//! A generation's file is only ever renamed into place whole, and never changed: what was opened is one generation,
//! whatever happens to its name meanwhile.

use std::io;

use super::envelope;
use crate::body::{Body, Failure, Scanned, State};
use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files;
use crate::json;

/// What became of the name of a generation.
#[derive(Debug)]
pub enum Generation<R> {
    /// It is sound.
    Sound(Found<R>),
    /// It is damaged.
    Damaged(Damage),
    /// There is none: it was removed, or set aside.
    Gone,
}

/// What is wrong with a generation.
#[derive(Debug)]
pub struct Damage {
    /// What it is, with the name of the file.
    pub problem: String,
    /// Whether the file could not be read, which may pass.
    pub unreadable: bool,
    /// The file.
    pub entry: Entry,
}

/// A sound generation, as far as it was asked for.
#[derive(Debug)]
pub struct Found<R> {
    /// The sequence number.
    pub seq: u64,
    /// Whether its sum vouches for it; otherwise another program wrote it.
    pub verified: bool,
    /// Its file.
    pub entry: Entry,
    /// The state as it was read.
    pub state: Scanned,
    /// The same state, to be read again.
    pub body: Body<R>,
}

/// Reads the generation `seq` and checks all of it.
///
/// A file that cannot be read is not sound either: some file systems say so of one whose own sums differ.
///
/// # Errors
///
/// [`TooLarge`](Error::TooLarge), [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn read<D: Dir>(dir: &D, seq: u64, wanted: State) -> Result<Generation<D::Reader>> {
    let name = &files::generation(seq);
    let damage = |problem, unreadable, entry| Generation::Damaged(Damage { problem, unreadable, entry });
    let unreadable = |error: &io::Error, entry| match error.kind() {
        io::ErrorKind::PermissionDenied => Err(Error::AccessDenied),
        _ => Ok(damage(format!("`{name}` cannot be read: {error}"), true, entry)),
    };
    let entry = match dir.entry(name) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(Generation::Gone),
        Err(error) => {
            return unreadable(&error, Entry { kind: Kind::Other, size: 0, modified: None, links: 0 });
        }
    };
    let damaged = |problem: String| Ok(damage(problem, false, entry));
    let unreadable = |error: &io::Error| unreadable(error, entry);
    if entry.kind != Kind::File {
        return damaged(format!("`{name}` is not a regular file"));
    }
    if entry.links > 1 && files::has_name_elsewhere(dir, name, entry) {
        // Which may pass: nothing of it is lost.
        return Ok(damage(files::name_elsewhere(name), true, entry));
    }
    let mut file = match dir.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Generation::Gone),
        Err(error) => return unreadable(&error),
    };

    let outline = match envelope::outline(&mut file, seq) {
        Ok(Ok(outline)) => outline,
        Ok(Err(problem)) => return damaged(problem),
        Err(error) => return unreadable(&error),
    };
    let extent = outline.extent;
    let mut body = match Body::new(file, extent) {
        Ok(body) => body,
        Err(error) => return unreadable(&error),
    };
    let state = match body.scan(wanted, extent.stop - extent.start, outline.sum.is_none()) {
        Ok(state) => state,
        Err(Failure::Read(error)) => return unreadable(&error),
        Err(Failure::Refused(error)) => return Err(error),
    };
    match (outline.sum, &state.json) {
        (Some(written), _) if written != state.sum => {
            damaged(format!("`{name}` is not what was written: its sum differs"))
        }
        // Without a sum, that it can be read at all is all that shows damage.
        (None, Err(json::Error::Invalid(invalid))) => {
            damaged(format!("the state in `{name}` is not valid JSON: in it, {invalid}"))
        }
        (None, Err(json::Error::Write(error))) => Err(Error::io("check", name, error)),
        (sum, _) => Ok(Generation::Sound(Found { seq, verified: sum.is_some(), entry, state, body })),
    }
}
