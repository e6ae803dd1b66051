//! Reading the pair layout without a lock and without changing anything.
//!
//! What a crash left is read as [`settle`](super::settle) would settle it. A snapshot whose sums
//! match is right whatever happened meanwhile, since one file holds both sums. Anything else is only
//! believed when nothing changed while it was read.

use std::io;
use std::time::SystemTime;

use crate::body::{Body, Extent, Failure, Scanned, State};
use crate::damage;
use crate::dir::{Dir, Entry, Kind};
use crate::error::{Error, Result};
use crate::files::{self, COMMIT, NATIVE_SEQ_TMP, NATIVE_STATE_TMP, Place, SEQ, STATE, SUMS};
use crate::json;
use crate::layout::ATTEMPTS;
use crate::sum::{Sum, Sums, Verdict};

/// A stored snapshot, as far as it was asked for.
#[derive(Debug)]
pub struct Found<R> {
    /// The sequence number.
    pub seq: u64,
    /// Whether the sums vouch for it; otherwise another program wrote it.
    pub verified: bool,
    /// When the state was written, where the file system has that.
    pub modified: Option<SystemTime>,
    /// The state as it was read.
    pub state: Scanned,
    /// The same state, to be read again.
    pub body: Body<R>,
}

/// Reads the stored snapshot and checks all of it.
///
/// # Errors
///
/// [`NotFound`](Error::NotFound), [`Corrupt`](Error::Corrupt), [`TooLarge`](Error::TooLarge),
/// [`AccessDenied`](Error::AccessDenied), [`Busy`](Error::Busy) or [`Io`](Error::Io).
pub fn snapshot<D: Dir>(dir: &D, wanted: State) -> Result<Found<D::Reader>> {
    examine(dir, wanted)?.map_err(|damage| Error::Corrupt(damage.problem))
}

/// What is wrong with a snapshot.
#[derive(Debug)]
pub struct Damage {
    /// What it is, with the name of the file.
    pub problem: String,
    /// The number, if the sums vouch for it.
    pub seq: Option<u64>,
    /// The file of the state, if there is one.
    pub entry: Option<Entry>,
}

/// The same, for whoever wants to know more of a snapshot that is damaged.
///
/// # Errors
///
/// As [`snapshot`], but [`Corrupt`](Error::Corrupt).
pub fn examine<D: Dir>(dir: &D, wanted: State) -> Result<std::result::Result<Found<D::Reader>, Damage>> {
    for _ in 0..ATTEMPTS {
        let before = Stamp::take(dir)?;
        let state = Text::read(dir, &before, wanted);
        let verified = matches!(&state, Ok(Some(state)) if before.judge(state).1 == Verdict::Verified);
        if verified || before == Stamp::take(dir)? {
            if !before.places.anything() {
                return Err(Error::NotFound);
            }
            let found = match state.and_then(|state| conclude(&before, state)) {
                Err(Error::Corrupt(problem)) => {
                    let problem = damage::explain(dir, problem);
                    let seq = before.seq.as_deref().filter(|_| before.vouches());
                    let seq = seq.and_then(|seq| files::parse_seq(seq, SEQ).ok());
                    return Ok(Err(Damage { problem, seq, entry: before.places.state.entry }));
                }
                found => found?,
            };
            before.places.make_durable(dir)?;
            return Ok(Ok(found));
        }
    }
    Err(Error::Busy)
}

/// Whether there is a snapshot, sound or not, beside any writer: a file that it moves is looked for where it comes from
/// first. Syncs nothing: whoever relies on the answer does.
///
/// # Errors
///
/// [`AccessDenied`](Error::AccessDenied) or [`Io`](Error::Io).
pub fn exists<D: Dir>(dir: &D) -> Result<bool> {
    Ok(Places::look(dir)?.anything())
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
    match trusted_seq(&Stamp::take(dir)?) {
        Err(Error::Corrupt(problem)) => Err(Error::Corrupt(damage::explain(dir, problem))),
        seq => seq,
    }
}

fn trusted_seq(stamp: &Stamp) -> Result<Option<u64>> {
    let places = &stamp.places;
    if !places.anything() {
        return Ok(None);
    }
    // What is not a file could not be replaced either.
    places.state.check_file()?;
    let Some(text) = &stamp.seq else { return Err(missing(SEQ)) };
    if let Some(sums) = &stamp.sums {
        let Some(written) = Sums::parse(sums) else { return Err(unreadable_sums(places)) };
        if written.seq != Sum::of(text) && !places.are_newer_than_sums(&places.seq) {
            return Err(differs(&places.seq, &places.state, places));
        }
    }
    files::parse_seq(text, &places.seq.name).map(Some)
}

/// Whether the number that native minisnap left waiting belongs to the state in place: it does unless there is no
/// state, or the sums vouch for the pair that is in place.
///
/// # Errors
///
/// [`Corrupt`](Error::Corrupt) if it does and cannot be read, [`AccessDenied`](Error::AccessDenied) or
/// [`Io`](Error::Io).
pub fn waiting_number_belongs<D: Dir>(dir: &D) -> Result<bool> {
    let stamp = Stamp::take(dir)?;
    let (Some(state), Some(waiting)) = (Text::read(dir, &stamp, State::Sum)?, &stamp.waiting) else {
        return Ok(false);
    };
    // They may vouch for the state with the waiting number.
    if let (Some((_, place)), Verdict::Verified) = stamp.judge(&state)
        && place.name != NATIVE_SEQ_TMP
    {
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

    fn make_durable<D: Dir>(&self, dir: &D) -> Result<()> {
        if self.unsettled { files::make_durable(dir) } else { Ok(()) }
    }

    /// Whether the state, and the number that lies at `seq`, were written after the sums: native minisnap always writes
    /// both, and never the sums. What a slow copy tore, or what is damaged, is as old as it was.
    fn are_newer_than_sums(&self, seq: &Place) -> bool {
        let written = |place: &Place| place.entry.and_then(|entry| entry.modified);
        match (written(&self.state), written(seq), written(&self.sums)) {
            (Some(state), Some(seq), Some(sums)) => state > sums && seq > sums,
            _ => false,
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
    fn judge<R>(&self, state: &Text<R>) -> (Option<(&[u8], &Place)>, Verdict) {
        let judge = |seq: &[u8], place: &Place| {
            let found = Sums { state: state.scanned.sum, seq: Sum::of(seq) };
            Verdict::of(self.sums.as_deref(), self.places.are_newer_than_sums(place), found)
        };
        let in_place = self.seq.as_deref();
        let in_place = in_place.map(|seq| ((seq, &self.places.seq), judge(seq, &self.places.seq)));
        if let Some((seq, Verdict::Verified)) = in_place {
            return (Some(seq), Verdict::Verified);
        }
        match (&self.waiting, &self.places.waiting) {
            (Some(waiting), Some(place)) => (Some((waiting, place)), judge(waiting, place)),
            _ => in_place.map_or((None, Verdict::Unverified), |(seq, verdict)| (Some(seq), verdict)),
        }
    }

    /// Whether the sums vouch for the number, so that they will tell of the state too.
    fn vouches(&self) -> bool {
        let written = self.sums.as_deref().and_then(Sums::parse);
        let seq = self.seq.as_deref().map(Sum::of);
        self.waiting.is_none()
            && written.map(|sums| sums.seq) == seq
            && seq.is_some()
            && !self.places.are_newer_than_sums(&self.places.seq)
    }
}

/// A state that was read.
struct Text<R> {
    scanned: Scanned,
    body: Body<R>,
}

impl<R: io::Read + io::Seek> Text<R> {
    /// Reads the state that belongs to `stamp`, or `None` if there is none; checks that it is JSON unless the sums show
    /// what it is.
    fn read<D: Dir<Reader = R>>(dir: &D, stamp: &Stamp, wanted: State) -> Result<Option<Self>> {
        let place = &stamp.places.state;
        let Some(file) = place.open(dir)? else { return Ok(None) };
        let failed = |error: &io::Error| match Error::io("read", &place.name, error) {
            Error::Io(problem) => {
                Error::Io(format!("{problem}; try again, or take all of it from one backup"))
            }
            other => other,
        };
        let mut body = Body::new(file, Extent::WHOLE).map_err(|error| failed(&error))?;
        let expected = place.entry.map_or(0, |entry| entry.size);
        match body.scan(wanted, expected, !stamp.vouches()) {
            Ok(scanned) => Ok(Some(Text { scanned, body })),
            Err(Failure::Read(error)) => Err(failed(&error)),
            Err(Failure::Refused(error)) => Err(error),
        }
    }
}

/// Judges what was read while nothing changed, or what the sums vouch for.
fn conclude<R>(stamp: &Stamp, state: Option<Text<R>>) -> Result<Found<R>> {
    let places = &stamp.places;
    let Some(state) = state else { return Err(missing(STATE)) };
    let (seq, verdict) = stamp.judge(&state);
    let Some((seq, seq_place)) = seq else { return Err(missing(SEQ)) };
    let verified = match verdict {
        Verdict::Verified => true,
        Verdict::Unverified => false,
        Verdict::StateDiffers => return Err(differs(&places.state, seq_place, places)),
        Verdict::SeqDiffers => return Err(differs(seq_place, &places.state, places)),
        Verdict::BothDiffer => return Err(torn(seq_place, places)),
        Verdict::Unreadable => return Err(unreadable_sums(places)),
    };
    let seq = files::parse_seq(seq, &seq_place.name)?;
    // Without sums, that it can be read at all is all that shows damage.
    if let (false, Err(error)) = (verified, &state.scanned.json) {
        let name = &places.state.name;
        return Err(match error {
            json::Error::Invalid(invalid) => Error::Corrupt(format!(
                "`{name}` is not valid JSON: {invalid}; take it and `{SEQ}` from one backup"
            )),
            json::Error::Write(error) => Error::io("check", name, error),
        });
    }
    let modified = places.state.entry.and_then(|entry| entry.modified);
    Ok(Found { seq, verified, modified, state: state.scanned, body: state.body })
}

fn missing(name: &str) -> Error {
    Error::Corrupt(format!(
        "`{name}` is missing, and other files of the snapshot are there: \
         take all of them from one backup, or move them away to start with none"
    ))
}

fn differs(damaged: &Place, other: &Place, places: &Places) -> Error {
    let (damaged, other, sums) = (&damaged.name, &other.name, &places.sums.name);
    Error::Corrupt(format!(
        "`{damaged}` is not what was written with `{other}`: take both from one backup, \
         or, if another program wrote it, remove `{sums}` to accept the two as they are"
    ))
}

fn torn(seq: &Place, places: &Places) -> Error {
    let (state, seq, sums) = (&places.state.name, &seq.name, &places.sums.name);
    Error::Corrupt(format!(
        "`{state}` and `{seq}` are not what was written with `{sums}`: take all from one backup, or, if another program \
         wrote them, remove `{sums}` to accept the two as they are"
    ))
}

fn unreadable_sums(places: &Places) -> Error {
    let (state, seq, sums) = (&places.state.name, &places.seq.name, &places.sums.name);
    Error::Corrupt(format!(
        "`{sums}` does not hold two sums: remove it to accept `{state}` and `{seq}` unverified"
    ))
}
