//! Whether what is there is what is to be copied.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::files::open;
use super::plan::Found;
use super::{CHUNK, Result, Source, Target};
use crate::error::{self, Error};
use crate::snapshot::Soundness;
use crate::store::SnapshotStore;

/// How what is there compares with what is to be copied.
pub(super) struct Comparison {
    as_files: bool,
    /// How sound the generations of each store are, once it was asked for: all are read at once, which lists a directory once.
    from: Option<BTreeMap<u64, Soundness>>,
    to: Option<BTreeMap<u64, Soundness>>,
}

impl Comparison {
    pub(super) fn new(as_files: bool) -> Self {
        Comparison { as_files, from: None, to: None }
    }

    /// Compares the snapshots of this number; `None` if the one to copy is not there any more.
    pub(super) fn compare(
        &mut self,
        to: &mut SnapshotStore,
        from: &mut SnapshotStore,
        seq: u64,
    ) -> Result<Option<Found>> {
        if self.as_files {
            match has_same_file(to, from, seq)? {
                Some(true) => return Ok(Some(Found::SameState)),
                Some(false) => {}
                None => return Ok(None),
            }
            let ours = sound(&mut self.to, to, seq).map_err(Target)?;
            let theirs = sound(&mut self.from, from, seq).map_err(Source)?;
            match (ours, theirs) {
                (Some(Soundness::Damaged(_)), _) => return Ok(Some(Found::Damaged)),
                (_, Some(Soundness::Damaged(problem))) => return Err(Source(Error::Corrupt(problem))),
                // Of one state, this store makes one file.
                (Some(Soundness::Verified), Some(Soundness::Verified)) => return Ok(Some(Found::OtherState)),
                _ => {}
            }
        }
        let mut here = match to.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(Some(Found::Nothing)),
            Err(Error::Corrupt(_)) => return Ok(Some(Found::Damaged)),
            here => here.map_err(Target)?,
        };
        let mut there = match from.open_reader_at(seq) {
            Err(Error::NotFound) => return Ok(None),
            there => there.map_err(Source)?,
        };
        let is_same = is_same(
            || there.read_chunk(CHUNK as u64).map_err(Source),
            || here.read_chunk(CHUNK as u64).map_err(Target),
        )?;
        Ok(Some(if is_same { Found::SameState } else { Found::OtherState }))
    }

    /// Whether a generation that is there is sound.
    pub(super) fn is_sound(&mut self, to: &mut SnapshotStore, seq: u64) -> Result<bool> {
        let sound = sound(&mut self.to, to, seq).map_err(Target)?;
        Ok(matches!(sound, Some(Soundness::Verified | Soundness::Unverified)))
    }
}

/// How sound a generation of a store is.
pub(super) fn sound(
    known: &mut Option<BTreeMap<u64, Soundness>>,
    store: &mut SnapshotStore,
    seq: u64,
) -> error::Result<Option<Soundness>> {
    if store.staging.is_some() {
        // Each is got from elsewhere: only this one.
        return match store.open_reader_at(seq) {
            Ok(reader) => Ok(Some(reader.info().soundness.clone())),
            Err(Error::NotFound) => Ok(None),
            Err(Error::Corrupt(problem)) => Ok(Some(Soundness::Damaged(problem))),
            Err(error) => Err(error),
        };
    }
    let all = match known.take() {
        Some(all) => all,
        None => store.generations()?.into_iter().map(|info| (info.seq, info.soundness)).collect(),
    };
    match known.insert(all).get(&seq) {
        Some(Soundness::Unreadable(problem)) => Err(Error::other(problem.clone())),
        sound => Ok(sound.cloned()),
    }
}

/// Whether the files of a generation are the same, byte for byte; `None` if that of `from` is not there any more.
fn has_same_file(to: &mut SnapshotStore, from: &mut SnapshotStore, seq: u64) -> Result<Option<bool>> {
    let open = |found: error::Result<Option<(PathBuf, _)>>| match found {
        Ok(Some((path, _))) => Ok(open(&path)),
        Ok(None) => Ok(Err(io::ErrorKind::NotFound.into())),
        Err(Error::Corrupt(problem)) => Ok(Err(io::Error::other(problem))),
        Err(error) => Err(error),
    };
    let from = match open(from.file_of(seq)).map_err(Source)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        from => from,
    };
    let to = open(to.file_of(seq)).map_err(Target)?;
    // What cannot be read is not the same; why, the components say.
    let (Ok(to), Ok(from)) = (to, from) else { return Ok(Some(false)) };
    Ok(Some(is_same(|| next_chunk(&to), || next_chunk(&from)).unwrap_or_default()))
}

/// The next chunk of a file, of no bytes at its end.
pub(super) fn next_chunk(file: &File) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    file.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

/// Whether two sources give the same bytes, in whatever chunks, until each gives an empty one.
pub(super) fn is_same<E>(
    mut one: impl FnMut() -> std::result::Result<Vec<u8>, E>,
    mut other: impl FnMut() -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<bool, E> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        if left.is_empty() {
            left = one()?;
        }
        if right.is_empty() {
            right = other()?;
        }
        let size = left.len().min(right.len());
        if size == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..size] != right[..size] {
            return Ok(false);
        }
        left.drain(..size);
        right.drain(..size);
    }
}
