//! Reading one generation, without a lock and without changing anything.
//!
//! A generation's file is only ever renamed into place whole, and never changed: what was opened is one generation,
//! whatever happens to its name meanwhile.

use std::io;

use super::envelope;
use crate::body::{Body, Failure, Scanned, State};
use crate::damage;
use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files::{self, retry};
use crate::json;

/// What became of the name of a generation.
#[derive(Debug)]
pub enum Generation<R> {
    /// It is sound.
    Sound(Found<R>),
    /// Its content is wrong.
    Damaged(Damage),
    /// It cannot be read now, which may pass: nothing is known of its content.
    Unreadable(Error),
    /// There is none: it was removed, or set aside.
    Gone,
}

/// What is wrong with a generation.
#[derive(Debug)]
pub struct Damage {
    /// What it is, with the name of the file.
    pub problem: String,
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
/// # Errors
///
/// [`TooLarge`](Error::TooLarge), or [`Io`](Error::Io) if the state does not fit into the memory.
pub fn read<D: Dir>(dir: &D, seq: u64, wanted: State) -> Result<Generation<D::Reader>> {
    let name = &files::generation(seq);
    let unreadable = |error: &io::Error| Ok(Generation::Unreadable(Error::io("read", name, error)));
    let entry = match retry(|| dir.entry(name)) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(Generation::Gone),
        Err(error) => return unreadable(&error),
    };
    let damaged = |problem| {
        let problem = damage::explain(dir, problem);
        Ok(Generation::Damaged(Damage { problem, entry }))
    };
    if entry.kind != Kind::File {
        return damaged(files::not_a_file(name, entry.kind));
    }
    let file = match retry(|| dir.open(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Generation::Gone),
        Err(error) => return unreadable(&error),
    };

    let outline = match envelope::outline(&file, seq) {
        Ok(Ok(outline)) => outline,
        Ok(Err(problem)) => return damaged(problem),
        Err(error) => return unreadable(&error),
    };
    let extent = outline.extent;
    let mut body = Body::new(file, extent, outline.start);
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

/// Whether the file of the generation `seq` ends as this store ends its files; what lies before is not read.
pub fn is_ours<D: Dir>(dir: &D, seq: u64) -> bool {
    let name = files::generation(seq);
    let Ok(Some(Entry { kind: Kind::File, .. })) = retry(|| dir.entry(&name)) else { return false };
    let Ok(file) = retry(|| dir.open(&name)) else { return false };
    matches!(envelope::outline(&file, seq), Ok(Ok(outline)) if outline.sum.is_some())
}
