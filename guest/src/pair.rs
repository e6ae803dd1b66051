//! The pair layout: which snapshot is stored, read without a lock and without changing anything.
//!
//! What a crash left is read as `settle` would settle it. A snapshot whose sums
//! match is right whatever happened meanwhile, since one file holds both sums. Anything else is only
//! believed when nothing changed while it was read.

mod stamp;
mod sums;

use crate::body::{Body, Extent, Failure, Found, Scanned, State};
use crate::catalog::{Contents, NATIVE_SEQ_TMP, NEW_SEQ, NEW_STATE, SEQ, STATE, SUMS};
use crate::damage;
use crate::dir::{ATTEMPTS, Dir, Entry, ReadAt};
use crate::error::{Error, Result};
use crate::files::Place;
use crate::sum::Sum;
use stamp::{Small, Stamp, are_newer};
pub use sums::Sums;

/// Reads the stored snapshot and checks all of it.
pub fn snapshot<D: Dir>(dir: &D, wanted: State) -> Result<Found<D::Reader>> {
    examine(dir, wanted)?.map_err(|damage| Error::Corrupt(damage.problem))
}

/// What is wrong with a snapshot.
pub struct Damage {
    /// What it is, with the name of the file.
    pub problem: String,
    /// The number, if the sums vouch for it.
    pub seq: Option<u64>,
    /// The file of the state, if there is one.
    pub entry: Option<Entry>,
}

/// The same, for whoever wants to know more of a snapshot that is damaged.
pub fn examine<D: Dir>(dir: &D, wanted: State) -> Result<std::result::Result<Found<D::Reader>, Damage>> {
    for _ in 0..ATTEMPTS {
        if let Some(found) = in_place(dir, wanted)? {
            return Ok(Ok(found));
        }
        let before = Stamp::take(dir)?;
        let found = find(dir, &before, wanted);
        if before == Stamp::take(dir)? {
            return match found {
                _ if !before.anything() => Err(Error::NotFound),
                Err(Error::Corrupt(problem)) => {
                    let problem = damage::explain(dir, problem);
                    let seq = before.vouched_seq().and_then(|seq| seq.parse().ok());
                    Ok(Err(Damage { problem, seq, entry: before.state.entry }))
                }
                found => found.map(Ok),
            };
        }
    }
    Err(Error::rewritten())
}

/// The number of the stored snapshot, sound or not, beside any writer. Syncs nothing: whoever relies on the answer does.
///
/// Does not read the state, unless a crash left something that may be the stored one, or nothing vouches for the number.
pub fn newest_seq<D: Dir>(dir: &D, contents: &Contents) -> Result<u64> {
    // Until there are new sums, no file of a create is in place.
    if !contents.new_sums
        && contents.native_temporaries == 0
        && let Some((_, seq)) = vouched_in_place(dir)?
    {
        return seq.parse();
    }
    match examine(dir, State::Sum)? {
        Ok(Found { seq, .. }) | Err(Damage { seq: Some(seq), .. }) => Ok(seq),
        // As a create judges it.
        Err(_) => newest(dir)?.map(|newest| newest.seq).ok_or(Error::NotFound),
    }
}

/// What a create must know of the snapshot that it replaces.
pub struct Newest {
    /// Its number.
    pub seq: u64,
    /// Whether native minisnap wrote it over a snapshot of this store, the sums of which are still there.
    pub is_over_ours: bool,
}

/// The stored snapshot of a directory that is settled and that nobody else writes, or `None` if there is none. One whose number
/// cannot be trusted is [`Corrupt`](Error::Corrupt).
///
/// Does not read the state, unless times say that it is newer than the sums.
pub fn newest<D: Dir>(dir: &D) -> Result<Option<Newest>> {
    let sums = Small::look(dir, SUMS)?;
    let seq = Small::look(dir, SEQ)?;
    match trusted(&Place::look(dir, STATE)?, seq.as_ref(), sums.as_ref()) {
        Err(Error::Corrupt(problem)) => Err(Error::Corrupt(damage::explain(dir, problem))),
        // Many a copy makes new times, and keeps what the sums vouch for.
        Ok(Some(Newest { seq, is_over_ours: true })) => {
            Ok(Some(Newest { seq, is_over_ours: in_place(dir, State::Sum)?.is_none() }))
        }
        newest => newest,
    }
}

fn trusted(state: &Place, seq: Option<&Small>, sums: Option<&Small>) -> Result<Option<Newest>> {
    if state.is_empty() && seq.is_none() && sums.is_none() {
        return Ok(None);
    }
    // What is not a file could not be replaced either.
    state.check_file()?;
    let Some(seq) = seq else { return Err(missing(SEQ)) };
    let mut is_over_ours = false;
    if let Some(sums) = sums {
        let Some(written) = Sums::parse(&sums.text) else { return Err(damaged_sums()) };
        is_over_ours = are_newer(&[state, &seq.place], &sums.place);
        if written.seq != Sum::of(&seq.text) && !is_over_ours {
            return Err(differs(SEQ, STATE));
        }
    }
    Ok(Some(Newest { seq: seq.parse()?, is_over_ours }))
}

/// Whether the number that native minisnap left waiting belongs to the state in place: it does unless there is no
/// state, or the sums vouch for a pair without it.
pub fn native_number_belongs<D: Dir>(dir: &D) -> Result<bool> {
    let stamp = Stamp::take(dir)?;
    match &stamp.native_seq {
        Some(native) if !stamp.state.is_empty() => match verified(dir, &stamp, State::Sum)? {
            Some((_, _, seq)) if seq.place.name != NATIVE_SEQ_TMP => Ok(false),
            _ => native.parse().map(|_| true),
        },
        _ => Ok(false),
    }
}

/// The names under which the files of the stored snapshot lie, in a directory that nobody else writes; none if nothing is to be
/// [moved](crate::commit::move_into_place). That a file of a snapshot that was committed is damaged is
/// [`Corrupt`](Error::Corrupt).
pub fn stored_names<D: Dir>(dir: &D) -> Result<Vec<String>> {
    let stamp = Stamp::take(dir)?;
    let is_in_place = |seq: &Small| seq.place.name == SEQ;
    match verified(dir, &stamp, State::Sum) {
        Ok(Some((found, sums, seq))) => {
            Ok([found.place, &sums.place, &seq.place].map(|place| place.name.clone()).to_vec())
        }
        // The number in place is the stored one, and its state is damaged or cannot be read: it may be replaced. But a new
        // one that could not be read, and may now, may be the stored one.
        Ok(None) if stamp.vouched_seq().is_some_and(is_in_place) => Ok(Vec::new()),
        Err(error) if stamp.vouched_seq().is_some_and(is_in_place) => {
            let sums = stamp.sums.as_ref().and_then(|sums| Sums::parse(&sums.text));
            match Text::read(dir, &stamp.new_state, State::Sum, false)? {
                Some(new) if sums.is_some_and(|sums| sums.state == new.scanned.sum) => Err(error),
                _ => Ok(Vec::new()),
            }
        }
        Ok(None) => match check_commit(dir, &stamp) {
            Err(Error::Corrupt(problem)) => Err(Error::Corrupt(damage::explain(dir, problem))),
            checked => checked.map(|()| Vec::new()),
        },
        Err(error) => Err(error),
    }
}

/// A state that was read.
struct Text<'p, R> {
    place: &'p Place,
    scanned: Scanned,
    body: Body<R>,
}

impl<'p, R: ReadAt> Text<'p, R> {
    /// Reads a state, or `None` if there is none; checks that it is JSON if nothing else shows what it is.
    fn read<D: Dir<Reader = R>>(
        dir: &D,
        place: &'p Place,
        wanted: State,
        check_json: bool,
    ) -> Result<Option<Self>> {
        let Some(file) = place.open(dir)? else { return Ok(None) };
        let mut body = Body::new(file, Extent::WHOLE, Vec::new());
        let expected = place.entry.map_or(0, |entry| entry.size);
        match body.scan(wanted, expected, check_json) {
            Ok(scanned) => Ok(Some(Text { place, scanned, body })),
            Err(Failure::Read(error)) => {
                let error = Error::io("read", &place.name, &error);
                Err(error.with_note("try again, or take all of it from one backup"))
            }
            Err(Failure::Refused(error)) => Err(error),
        }
    }

    fn found(self, seq: u64, verified: bool) -> Found<R> {
        Found { seq, verified, entry: self.place.entry, state: self.scanned, body: self.body }
    }
}

/// The sums in place, and the number, if they vouch for it.
fn vouched_in_place<D: Dir>(dir: &D) -> Result<Option<(Sums, Small)>> {
    let Some(sums) = Small::look(dir, SUMS)? else { return Ok(None) };
    let Some(seq) = Small::look(dir, SEQ)? else { return Ok(None) };
    let sums = Sums::parse(&sums.text).filter(|sums| sums.seq == Sum::of(&seq.text));
    Ok(sums.map(|sums| (sums, seq)))
}

/// The snapshot in place, if its sums vouch for it: then nothing else matters.
fn in_place<D: Dir>(dir: &D, wanted: State) -> Result<Option<Found<D::Reader>>> {
    let Some((written, seq)) = vouched_in_place(dir)? else { return Ok(None) };
    let state = Place::look(dir, STATE)?;
    match Text::read(dir, &state, wanted, false) {
        Ok(Some(text)) if text.scanned.sum == written.state => Ok(Some(text.found(seq.parse()?, true))),
        // Where it cannot be read, the one that is to replace it may be the stored one.
        _ => Ok(None),
    }
}

/// A state, and the sums and the number that go with it.
type Verified<'s, R> = (Text<'s, R>, &'s Small, &'s Small);

/// The snapshot for which sums vouch: those in place, or the new ones, where a power cut lost their rename and kept a
/// later one.
fn verified<'s, D: Dir>(dir: &D, stamp: &'s Stamp, wanted: State) -> Result<Option<Verified<'s, D::Reader>>> {
    let mut unread = Ok(None);
    for sums in [&stamp.sums, &stamp.new_sums].into_iter().flatten() {
        let Some(written) = Sums::parse(&sums.text) else { continue };
        let Some(seq) = stamp.seq_of(&written) else { continue };
        for state in [&stamp.state, &stamp.new_state] {
            if sums.place.name == SUMS || stamp.shows_a_rename(dir, state, seq)? {
                match Text::read(dir, state, wanted, false) {
                    Ok(Some(text)) if text.scanned.sum == written.state => {
                        return Ok(Some((text, sums, seq)));
                    }
                    Ok(_) => {}
                    // The other one may be the stored one.
                    Err(error) => unread = Err(error),
                }
            }
        }
    }
    unread
}

/// Reads what is stored, and judges it.
fn find<D: Dir>(dir: &D, stamp: &Stamp, wanted: State) -> Result<Found<D::Reader>> {
    if let Some((text, _, seq)) = verified(dir, stamp, wanted)? {
        return Ok(text.found(seq.parse()?, true));
    }
    check_commit(dir, stamp)?;
    let Some(text) = Text::read(dir, &stamp.state, wanted, true)? else { return Err(missing(STATE)) };
    let Some(seq) = stamp.in_place() else { return Err(missing(SEQ)) };
    let mut verified = false;
    if let Some(sums) = &stamp.sums {
        let Some(written) = Sums::parse(&sums.text) else { return Err(damaged_sums()) };
        match (written.state == text.scanned.sum, written.seq == Sum::of(&seq.text)) {
            // Now that it was read once more.
            (true, true) => verified = true,
            _ if stamp.is_newer_than_sums(seq) => {}
            (false, false) => return Err(torn(&seq.place.name)),
            (true, false) => return Err(differs(&seq.place.name, STATE)),
            (false, true) => return Err(differs(STATE, &seq.place.name)),
        }
    }
    let seq = seq.parse()?;
    // Without sums that count, that it can be read at all is all that shows damage.
    match &text.scanned.json {
        Err(invalid) if !verified => Err(Error::Corrupt(format!(
            "`{STATE}` is not valid JSON: {invalid}; take it and `{SEQ}` from one backup"
        ))),
        _ => Ok(text.found(seq, verified)),
    }
}

/// What is damaged of a snapshot that was committed and not yet moved into place, and beside what it was written.
fn damaged_commit<D: Dir>(dir: &D, stamp: &Stamp) -> Result<Option<(&'static str, &'static str)>> {
    let Some(sums) = &stamp.sums else { return Ok(None) };
    let Some(written) = Sums::parse(&sums.text) else { return Ok(None) };
    // Before its commit, a create's sums have their new name or are not made yet. Those in place match the pair in place
    // then, unless another program wrote over it.
    let is_renamed = stamp.new_sums.as_ref().is_none_or(|new| new.text == sums.text);
    if !is_renamed || stamp.in_place().is_some_and(|seq| stamp.is_newer_than_sums(seq)) {
        return Ok(None);
    }
    if stamp.seq_of(&written).is_some_and(|seq| seq.place.name == NEW_SEQ) {
        return Ok(Some((if stamp.new_state.is_empty() { STATE } else { NEW_STATE }, NEW_SEQ)));
    }
    let is_of_the_sums = |state| -> Result<bool> {
        Ok(Text::read(dir, state, State::Sum, false)?.is_some_and(|text| text.scanned.sum == written.state))
    };
    let seq = if stamp.new_seq.is_some() { NEW_SEQ } else { SEQ };
    if is_of_the_sums(&stamp.new_state)? {
        return Ok(Some((seq, NEW_STATE)));
    }
    Ok((seq == NEW_SEQ && is_of_the_sums(&stamp.state)?).then_some((seq, STATE)))
}

/// Refuses a snapshot that was committed, is not moved into place yet, and is damaged. Whatever is done then could cost
/// what is left of it.
fn check_commit<D: Dir>(dir: &D, stamp: &Stamp) -> Result<()> {
    match damaged_commit(dir, stamp)? {
        None => Ok(()),
        Some((damaged, other)) => Err(Error::Corrupt(format!(
            "`{damaged}` is not what was written with `{other}`: take `{STATE}`, `{SEQ}` and `{SUMS}` from one backup, and \
             remove those with `.new` behind their names"
        ))),
    }
}

fn missing(name: &str) -> Error {
    Error::Corrupt(format!(
        "`{name}` is missing, and other files of the snapshot are there: \
         take all of them from one backup, or move them away to start with none"
    ))
}

fn differs(damaged: &str, other: &str) -> Error {
    Error::Corrupt(format!(
        "`{damaged}` is not what was written with `{other}`: take both from one backup, or, if another program wrote \
         `{STATE}` and `{SEQ}`, remove `{SUMS}` to accept the two as they are"
    ))
}

fn torn(seq: &str) -> Error {
    Error::Corrupt(format!(
        "`{STATE}` and `{seq}` are not what was written with `{SUMS}`: take all from one backup, or, if another program \
         wrote them, remove `{SUMS}` to accept the two as they are"
    ))
}

fn damaged_sums() -> Error {
    Error::Corrupt(format!(
        "`{SUMS}` does not hold two sums: remove it to accept `{STATE}` and `{SEQ}` unverified"
    ))
}
