//! Reading the pair layout without a lock and without changing anything.
//!
//! What a crash left is read as [`settle`](crate::pair::settle) would settle it. A snapshot whose sums
//! match is right whatever happened meanwhile, since one file holds both sums. Anything else is only
//! believed when nothing changed while it was read.

use std::io::{self, Read};

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
        let state = wanted.read(dir, &before);
        let verified = matches!(&state, Ok(Some(state)) if before.judge(state).1 == Verdict::Verified);
        if verified || before == Stamp::take(dir)? {
            if !before.places.anything() {
                check_no_other_layout(dir)?;
                return Err(Error::NotFound);
            }
            let found = conclude(&before, state?)?;
            before.places.make_durable(dir)?;
            return Ok(found);
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
        if before.anything() {
            before.make_durable(dir)?;
            return Ok(true);
        }
        if before == Places::look(dir)? {
            check_no_other_layout(dir)?;
            return Ok(false);
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
    let places = &stamp.places;
    if !places.anything() {
        check_no_other_layout(dir)?;
        return Ok(None);
    }
    // What is not a file could not be replaced either.
    places.state.check_file()?;
    let Some(text) = &stamp.seq else { return Err(missing(SEQ)) };
    if let Some(sums) = &stamp.sums {
        let Some(written) = Sums::parse(sums) else { return Err(unreadable_sums(places)) };
        if written.seq != sum::of(text) {
            let state = State::Sum.read(dir, &stamp)?;
            if state.is_some_and(|state| state.sum == written.state) {
                return Err(differs(&places.seq, &places.state, places));
            }
        }
    }
    files::parse_seq(text, &places.seq.name).map(Some)
}

/// Whether the number that native minisnap left waiting belongs to the state in place: it does unless there is no
/// state, or the sums vouch for the pair as it is.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt) if it does and cannot be read, [`AccessDenied`](Error::AccessDenied) or
/// [`Io`](Error::Io).
pub fn waiting_number_belongs<D: Dir>(dir: &D) -> Result<bool> {
    let stamp = Stamp::take(dir)?;
    let (Some(state), Some(waiting)) = (State::Sum.read(dir, &stamp)?, &stamp.waiting) else {
        return Ok(false);
    };
    if stamp.judge(&state).1 == Verdict::Verified {
        return Ok(false);
    }
    files::parse_seq(waiting, NATIVE_SEQ_TMP).map(|_| true)
}

/// Where each file of the snapshot is to be read.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    state: Place,
    seq: Place,
    sums: Place,
    /// The number that native minisnap left when it crashed between its renames.
    waiting: Option<Place>,
    /// Whether there is something to settle.
    unsettled: bool,
}

impl Places {
    fn look<D: Dir>(dir: &D) -> Result<Self> {
        let committed = matches!(Place::look(dir, COMMIT)?.entry, Some(Entry { kind: Kind::Dir, .. }));
        let waiting = match Place::look(dir, NATIVE_STATE_TMP)?.is_empty() {
            true => Some(Place::look(dir, NATIVE_SEQ_TMP)?).filter(|waiting| !waiting.is_empty()),
            false => None,
        };
        let place = |name: &str| {
            if committed {
                let waiting = Place::look(dir, format!("{COMMIT}/{name}"))?;
                if !waiting.is_empty() {
                    return Ok(waiting);
                }
            }
            Place::look(dir, name)
        };
        let (state, seq, sums) = (place(STATE)?, place(SEQ)?, place(SUMS)?);
        // A number of ours that waits to be moved into place will replace native minisnap's.
        let waiting = waiting.filter(|_| seq.name == SEQ);
        let unsettled = committed || waiting.is_some();
        Ok(Places { state, seq, sums, waiting, unsettled })
    }

    /// Makes durable what was read, where its writer may not have: without this sync, a power cut could take back
    /// a snapshot that was already returned, and with it the log records that its caller dropped.
    fn make_durable<D: Dir>(&self, dir: &D) -> Result<()> {
        if !self.unsettled {
            return Ok(());
        }
        match dir.sync("") {
            // Nothing is pending on a file system that cannot be written.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            result => result.map_err(|e| Error::io("sync", files::WHOLE, &e)),
        }
    }

    fn anything(&self) -> bool {
        !(self.state.is_empty() && self.seq.is_empty() && self.sums.is_empty())
    }
}

/// The snapshot without its state: equal before and after something was read, it did not change meanwhile.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    places: Places,
    seq: Option<Vec<u8>>,
    sums: Option<Vec<u8>>,
    waiting: Option<Vec<u8>>,
}

impl Stamp {
    fn take<D: Dir>(dir: &D) -> Result<Self> {
        let places = Places::look(dir)?;
        let seq = places.seq.read_small(dir)?;
        let sums = places.sums.read_small(dir)?;
        let waiting = match &places.waiting {
            Some(waiting) => waiting.read_small(dir)?,
            None => None,
        };
        Ok(Stamp { places, seq, sums, waiting })
    }

    /// The number that goes with `state`, where it lies, and what the sums say of the two.
    fn judge(&self, state: &Text) -> (Option<(&[u8], &Place)>, Verdict) {
        let judge =
            |seq: &[u8]| sum::judge(self.sums.as_deref(), Sums { state: state.sum, seq: sum::of(seq) });
        let in_place = self.seq.as_deref().map(|seq| ((seq, &self.places.seq), judge(seq)));
        if let Some((seq, Verdict::Verified)) = in_place {
            return (Some(seq), Verdict::Verified);
        }
        match (&self.waiting, &self.places.waiting) {
            (Some(waiting), Some(place)) => (Some((waiting, place)), judge(waiting)),
            _ => in_place.map_or((None, Verdict::Unverified), |(seq, verdict)| (Some(seq), verdict)),
        }
    }

    /// Whether the sums vouch for the number, so that they will tell of the state too.
    fn vouches(&self) -> bool {
        let written = self.sums.as_deref().and_then(Sums::parse);
        let seq = self.seq.as_deref().map(sum::of);
        self.waiting.is_none() && written.map(|sums| sums.seq) == seq && seq.is_some()
    }
}

/// A state that was read.
struct Text {
    sum: Hash,
    size: u64,
    kept: Vec<u8>,
    /// Whether it is JSON, unless the sums show what it is.
    json: std::result::Result<(), json::Error>,
}

impl State {
    /// Reads the state that belongs to `stamp`, or `None` if there is none.
    fn read<D: Dir>(self, dir: &D, stamp: &Stamp) -> Result<Option<Text>> {
        let place = &stamp.places.state;
        let name = &place.name;
        let Some(mut file) = place.open(dir)? else { return Ok(None) };
        let expected = place.entry.map_or(0, |entry| entry.size);
        let mut kept = Vec::new();
        self.make_room(&mut kept, expected, name)?;

        let mut hasher = blake3::Hasher::new();
        let mut checker = if stamp.vouches() { None } else { Some(json::Bytes::new(io::sink())) };
        let mut json = Ok(());
        let mut size = 0;
        let mut piece = vec![0; PIECE];
        loop {
            let read = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", name, &error)),
            };
            let bytes = &piece[..read];
            size += read as u64;
            hasher.update(bytes);
            if json.is_ok()
                && let Some(checker) = &mut checker
            {
                json = checker.push(bytes);
            }
            if self != State::Sum {
                self.make_room(&mut kept, size, name)?;
                kept.extend_from_slice(bytes);
            }
        }
        if json.is_ok()
            && let Some(checker) = checker
        {
            json = checker.finish().map(|_| ());
        }
        Ok(Some(Text { sum: hasher.finalize(), size, kept, json }))
    }

    /// Makes room for a state of `size` bytes, if it is to be kept.
    fn make_room(self, kept: &mut Vec<u8>, size: u64, name: &str) -> Result<()> {
        let State::Keep { max_size } = self else { return Ok(()) };
        if size > max_size {
            return Err(Error::TooLarge(max_size));
        }
        let more = usize::try_from(size).map(|size| size.saturating_sub(kept.len()));
        match more.is_ok_and(|more| kept.try_reserve_exact(more).is_ok()) {
            true => Ok(()),
            false => Err(Error::Io(format!(
                "cannot read `{name}`: its {size} bytes do not fit into the memory that the host allows"
            ))),
        }
    }
}

/// Judges what was read while nothing changed, or what the sums vouch for.
fn conclude(stamp: &Stamp, state: Option<Text>) -> Result<Found> {
    let places = &stamp.places;
    let Some(state) = state else { return Err(missing(STATE)) };
    let (seq, verdict) = stamp.judge(&state);
    let Some((seq, seq_place)) = seq else { return Err(missing(SEQ)) };
    let verified = match verdict {
        Verdict::Verified => true,
        Verdict::Unverified => false,
        Verdict::StateDiffers => return Err(differs(&places.state, seq_place, places)),
        Verdict::SeqDiffers => return Err(differs(seq_place, &places.state, places)),
        Verdict::Unreadable => return Err(unreadable_sums(places)),
    };
    let seq = files::parse_seq(seq, &seq_place.name)?;
    // Without sums, that it can be read at all is all that shows damage.
    if let (false, Err(error)) = (verified, state.json) {
        let name = &places.state.name;
        return Err(match error {
            json::Error::Invalid(invalid) => Error::Corrupt(format!(
                "`{name}` is not valid JSON: {invalid}; take it and `{SEQ}` from a backup"
            )),
            json::Error::Write(error) => Error::io("check", name, &error),
        });
    }
    Ok(Found { seq, size: state.size, verified, state: state.kept })
}

/// A directory of minisnap 0.1.3 must not be taken for one without a snapshot.
fn check_no_other_layout<D: Dir>(dir: &D) -> Result<()> {
    let names = dir.list("").map_err(|e| Error::io("list", files::WHOLE, &e))?;
    match names.iter().find(|name| files::is_numbered(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Io(format!(
            "`{name}` is a snapshot in the layout of minisnap 0.1.3, which this store does not read: \
             grant another directory"
        ))),
    }
}

fn missing(name: &str) -> Error {
    Error::Corrupt(format!(
        "`{name}` is missing, and other files of the snapshot are there: \
         take it from a backup, or move them away to start with none"
    ))
}

fn differs(damaged: &Place, other: &Place, places: &Places) -> Error {
    let (damaged, other, sums) = (&damaged.name, &other.name, &places.sums.name);
    Error::Corrupt(format!(
        "`{damaged}` is not what was written with `{other}`: take both from a backup, \
         or, if another program wrote it, remove `{sums}` to accept the two as they are"
    ))
}

fn unreadable_sums(places: &Places) -> Error {
    let (state, seq, sums) = (&places.state.name, &places.seq.name, &places.sums.name);
    Error::Corrupt(format!(
        "`{sums}` does not hold two sums: remove it to accept `{state}` and `{seq}` unverified"
    ))
}
