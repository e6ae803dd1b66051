//! Reading the pair layout without a lock and without writing.
//!
//! What a crash left is read as [`settle`](crate::pair::settle) would settle it. A snapshot whose sums
//! match is right whatever happened meanwhile, since one file holds both sums. Anything else is only
//! believed when nothing changed while it was read.

use std::io::Read;

use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files::{self, COMMIT, NATIVE_SEQ_TMP, NATIVE_STATE_TMP, Place, SEQ, STATE, SUMS};
use crate::json;
use crate::sum::{self, Hash, Sums, Verdict};

/// How often a snapshot that changes while it is read is read again.
const ATTEMPTS: usize = 100;

/// A file is read and summed in pieces of this many bytes: what a WASI host gives at most, and what fits
/// into a processor's cache.
const PIECE: usize = 64 * 1024;

/// A stored snapshot, as far as it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The sequence number.
    pub seq: u64,
    /// The size of the state in bytes.
    pub size: u64,
    /// Whether the sums vouch for it; otherwise another program wrote it.
    pub verified: bool,
    /// The state, if it was to be kept.
    pub state: Vec<u8>,
}

/// What to do with the state while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Keep it, unless it is larger than a limit in bytes.
    Keep {
        /// The limit.
        max_size: u64,
    },
    /// Only sum it.
    Sum,
}

/// Reads the stored snapshot and checks all of it.
///
/// # Errors
///
/// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`TooLarge`](Error::TooLarge),
/// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
pub fn snapshot<D: Dir>(dir: &D, wanted: State) -> Result<Found> {
    for _ in 0..ATTEMPTS {
        let before = Stamp::take(dir)?;
        let read = wanted.read(dir, &before.places.state);
        let sums = match (&read, &before.seq) {
            (Ok(Some(state)), Some(seq)) => Some(Sums { state: state.sum, seq: sum::of(seq) }),
            _ => None,
        };
        let verdict = sums.map(|sums| sum::judge(before.sums.as_deref(), sums));
        if verdict == Some(Verdict::Verified) || before == Stamp::take(dir)? {
            return conclude(dir, before, read?, verdict);
        }
    }
    Err(Error::Busy)
}

/// Whether there is a snapshot, sound or not.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
pub fn exists<D: Dir>(dir: &D) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        let before = Places::look(dir)?;
        if before.anything() || before == Places::look(dir)? {
            return Ok(before.anything());
        }
    }
    Err(Error::Busy)
}

/// The number of the stored snapshot in a directory that is settled and that nobody else writes, or
/// `None` if there is no snapshot.
///
/// Does not read the state as long as the sums vouch for the number.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt) if there is a snapshot whose number cannot be trusted,
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn newest_seq<D: Dir>(dir: &D) -> Result<Option<u64>> {
    let stamp = Stamp::take(dir)?;
    if !stamp.places.anything() {
        return Ok(None);
    }
    let Some(text) = stamp.seq else { return Err(missing(SEQ)) };
    if let Some(sums) = &stamp.sums {
        let Some(written) = Sums::parse(sums) else { return Err(unreadable_sums()) };
        if written.seq != sum::of(&text) {
            let state = State::Sum.read(dir, &stamp.places.state)?;
            if state.is_some_and(|state| state.sum == written.state) {
                return Err(differs(SEQ, STATE));
            }
        }
    }
    files::parse_seq(&text, SEQ).map(Some)
}

/// Where each file of the snapshot is to be read.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    state: Place,
    seq: Place,
    sums: Place,
}

impl Places {
    fn look<D: Dir>(dir: &D) -> Result<Self> {
        let committed = matches!(Place::look(dir, COMMIT)?.entry, Some(Entry { kind: Kind::Dir, .. }));
        let native_commit =
            Place::look(dir, NATIVE_STATE_TMP)?.is_empty() && !Place::look(dir, NATIVE_SEQ_TMP)?.is_empty();
        let place = |name: &str| {
            if committed {
                let waiting = Place::look(dir, format!("{COMMIT}/{name}"))?;
                if !waiting.is_empty() {
                    return Ok(waiting);
                }
            }
            Place::look(dir, if native_commit && name == SEQ { NATIVE_SEQ_TMP } else { name })
        };
        Ok(Places { state: place(STATE)?, seq: place(SEQ)?, sums: place(SUMS)? })
    }

    fn anything(&self) -> bool {
        !(self.state.is_empty() && self.seq.is_empty() && self.sums.is_empty())
    }
}

/// The snapshot without its state: equal before and after something was read, it did not change
/// meanwhile.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    places: Places,
    seq: Option<Vec<u8>>,
    sums: Option<Vec<u8>>,
}

impl Stamp {
    fn take<D: Dir>(dir: &D) -> Result<Self> {
        let places = Places::look(dir)?;
        let seq = places.seq.read_small(dir)?;
        let sums = places.sums.read_small(dir)?;
        Ok(Stamp { places, seq, sums })
    }
}

/// A state that was read.
struct Text {
    sum: Hash,
    size: u64,
    kept: Vec<u8>,
}

impl State {
    /// Reads the state at `place`, or `None` if there is none.
    fn read<D: Dir>(self, dir: &D, place: &Place) -> Result<Option<Text>> {
        let Some(mut file) = place.open(dir)? else { return Ok(None) };
        let name = &place.name;
        let mut text = Vec::new();
        if let State::Keep { max_size } = self {
            let size = place.entry.map_or(0, |entry| entry.size);
            if size > max_size {
                return Err(Error::TooLarge(max_size));
            }
            let fits = usize::try_from(size).is_ok_and(|size| text.try_reserve_exact(size).is_ok());
            if !fits {
                return Err(Error::Io(format!("cannot read `{name}`: {size} bytes do not fit into memory")));
            }
        }
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            let start = text.len();
            let piece = file.by_ref().take(PIECE as u64).read_to_end(&mut text);
            let piece = piece.map_err(|e| Error::io("read", name, &e))?;
            hasher.update(&text[start..]);
            size += piece as u64;
            match self {
                _ if piece == 0 => break,
                State::Sum => text.clear(),
                State::Keep { max_size } if size > max_size => return Err(Error::TooLarge(max_size)),
                State::Keep { .. } => {}
            }
        }
        Ok(Some(Text { sum: hasher.finalize(), size, kept: text }))
    }
}

/// Judges what was read while nothing changed, or what the sums vouch for.
fn conclude<D: Dir>(dir: &D, stamp: Stamp, state: Option<Text>, verdict: Option<Verdict>) -> Result<Found> {
    if !stamp.places.anything() {
        return Err(Error::NotFound);
    }
    let Some(state) = state else { return Err(missing(STATE)) };
    let Some(seq) = stamp.seq else { return Err(missing(SEQ)) };
    let verified = match verdict {
        Some(Verdict::Verified) => true,
        Some(Verdict::Unverified) | None => false,
        Some(Verdict::StateDiffers) => return Err(differs(STATE, SEQ)),
        Some(Verdict::SeqDiffers) => return Err(differs(SEQ, STATE)),
        Some(Verdict::Unreadable) => return Err(unreadable_sums()),
    };
    let seq = files::parse_seq(&seq, &stamp.places.seq.name)?;
    if !verified {
        check_json(dir, &stamp.places.state, &state)?;
    }
    Ok(Found { seq, size: state.size, verified, state: state.kept })
}

/// Without sums, that it can be read at all is all that shows damage.
fn check_json<D: Dir>(dir: &D, place: &Place, state: &Text) -> Result<()> {
    let checked = if state.kept.is_empty() {
        match place.open(dir)? {
            Some(file) => json::check(file),
            None => return Err(Error::Busy),
        }
    } else {
        json::check(state.kept.as_slice())
    };
    checked.map_err(|error| match error {
        json::Error::Invalid(invalid) => Error::Corrupt(format!(
            "`{STATE}` is not valid JSON: {invalid}; take it and `{SEQ}` from a backup"
        )),
        json::Error::Write(error) => Error::io("read", STATE, &error),
    })
}

fn missing(name: &str) -> Error {
    Error::Corrupt(format!(
        "`{name}` is missing, and other files of the snapshot are there: \
         take it from a backup, or move them away to start with none"
    ))
}

fn differs(name: &str, other: &str) -> Error {
    Error::Corrupt(format!(
        "`{name}` is not what was written with `{other}`: take both from a backup, \
         or, if another program wrote it, remove `{SUMS}` to accept the two as they are"
    ))
}

fn unreadable_sums() -> Error {
    Error::Corrupt(format!(
        "`{SUMS}` does not hold two sums: remove it to accept `{STATE}` and `{SEQ}` unverified"
    ))
}
