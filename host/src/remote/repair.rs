//! Rebuilding a head that is damaged, or was deleted, from the generations that there are.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::PutMode;
use object_store::path::Path;

use super::ask::{Patience, again, random};
use super::bucket::{MAX_HEAD, number_in};
use super::failure::Failure;
use super::files::Sum;
use super::head::{FORMAT, Generation, Head, LISTED, Version};
use super::protocol::{Answer, Request};
use super::store::{RemoteStore, milliseconds};
use super::upload::Local;
use crate::error::{Error, Result};

/// How far the epoch of a rebuilt head is above those that are known: hosts that never put a generation may have had higher
/// ones, and what they put late must not be taken for newer than what is put from here on.
const LEAP: u64 = 1 << 20;

/// Higher epochs are none: what has them was written by something else.
const HIGHEST: u64 = 1 << 40;

/// What was rebuilt of a store, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// What is wrong with the head.
    pub problem: String,
    /// The generations that are restored from here on, newest first.
    pub generations: Vec<Generation>,
    /// Those that are kept, and not restored: a later call has replaced or undone them, or they were put by a host from which the
    /// store had been taken over. Newest first.
    pub undone: Vec<Generation>,
}

/// An object of a generation, by what its key says: which call of which owner has put it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Put {
    epoch: u64,
    count: u64,
    claim: String,
    seq: u64,
    /// What was there under a number from this one on was undone then, or gave way to this call.
    gone: u64,
    key: String,
}

impl Put {
    fn is_of_one_call(&self, other: &Put) -> bool {
        (self.epoch, self.count, &self.claim) == (other.epoch, other.count, &other.claim)
    }

    /// Of `g/EPOCH-CLAIM-COUNT-GONE/snapshot_SEQ.json`.
    fn of(key: String) -> Option<Put> {
        let (owner, file) = key.strip_prefix("g/")?.split_once('/')?;
        let [epoch, claim, count, gone] = owner.split('-').collect::<Vec<_>>().try_into().ok()?;
        let (epoch, count, gone) = (epoch.parse().ok()?, count.parse().ok()?, gone.parse().ok()?);
        let seq = file.strip_prefix("snapshot_")?.strip_suffix(".json")?.parse().ok()?;
        let claim = claim.to_owned();
        (epoch <= HIGHEST).then_some(Put { epoch, count, claim, seq, gone, key })
    }
}

/// What lies where the head should be.
enum Found {
    Sound,
    /// What it can be replaced by, what is wrong, and its epoch if that can still be read.
    Broken(PutMode, String, u64),
}

impl RemoteStore {
    /// Rebuilds the head, if it is damaged or was deleted, from the generations that there are; all of them are read. Returns
    /// what was done, or would be, or `None` if the head is sound. No generation is deleted, and nobody has the store afterwards.
    ///
    /// What a rollback has undone is restored again, unless something was created since; so is what was put by a create that
    /// failed, or was in doubt.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is neither a head nor a generation, [`Error::Corrupt`] if there is a damaged head and no
    /// generation, [`Error::Busy`] if the head was changed meanwhile, [`Error::AccessDenied`], [`Error::Io`],
    /// [`Error::InDoubt`], [`Error::DeadlineExceeded`].
    pub fn repair(&self, dry_run: bool, deadline: Duration) -> Result<Option<Repaired>> {
        let (bucket, url) = (&self.bucket, self.url());
        let patience = || Patience::new(deadline);
        if !dry_run {
            bucket.check_within(patience())?;
        }
        let look = again(&url, "repair", patience(), async || self.look().await);
        let Found::Broken(over, problem, known) = bucket.block_on(look)?? else { return Ok(None) };

        let puts = self.puts(deadline)?;
        let highest = puts.iter().map(|put| put.epoch).fold(known, u64::max);
        let (mut generations, mut undone) = (Vec::new(), Vec::new());
        // What the calls that came later have put, and the lowest number that gave way to them.
        let (mut later, mut gone) = (BTreeSet::new(), None::<u64>);
        let calls: Vec<&[Put]> = puts.chunk_by(Put::is_of_one_call).collect();
        for puts in calls.into_iter().rev() {
            let mut seqs = Vec::new();
            for put in puts {
                let read = again(&url, "repair", patience(), async || self.read(put).await);
                // One that is being deleted made nothing give way that is there.
                let Some(generation) = bucket.block_on(read)?? else { continue };
                seqs.push(put.seq);
                let counts = gone.is_none_or(|gone| put.seq < gone) && !later.contains(&put.seq);
                if counts { &mut generations } else { &mut undone }.push(generation);
            }
            if let (Some(put), false) = (puts.first(), seqs.is_empty()) {
                gone = Some(gone.map_or(put.gone, |gone| gone.min(put.gone)));
            }
            later.extend(seqs);
        }
        if self.puts(deadline)? != puts {
            return Err(Error::Busy(format!("what is in `{url}/g` changes: repair it when nobody uses it")));
        }
        generations.sort_by_key(|generation: &Generation| Reverse(generation.seq));
        if generations.is_empty() {
            return Err(match over {
                PutMode::Create => Error::NotFound,
                _ => Error::Corrupt(format!("{problem}, and there is no generation in `{url}/g`")),
            });
        }
        undone.sort_by_key(|generation| Reverse(generation.seq));
        let head = Head {
            format: FORMAT,
            epoch: highest + LEAP,
            owner: None,
            version: Version { claim: random()?, commit: 1 },
            generations,
            damaged: Vec::new(),
            undone,
            dropped: Vec::new(),
            replaced: Vec::new(),
        };
        if !dry_run {
            self.put_back(&head, over, deadline)?;
        }
        let Head { generations, undone, .. } = head;
        Ok(Some(Repaired { problem, generations, undone }))
    }

    /// The generations that there are, the earliest first.
    fn puts(&self, deadline: Duration) -> Result<Vec<Put>> {
        let url = self.url();
        let keys = self.keys(deadline)?;
        if keys.len() > LISTED {
            let (most, all) = (LISTED, keys.len());
            let what =
                format!("`{url}/g` has {all} generations, and a head lists {most}: move the oldest away");
            return Err(Error::other(what));
        }
        let mut puts = Vec::new();
        for key in keys {
            // What is not named is deleted by whoever opens the store next.
            let other = || Error::other(format!("`{url}/{key}` is no generation of a store: move it away"));
            puts.push(Put::of(key.clone()).ok_or_else(other)?);
        }
        puts.sort();
        Ok(puts)
    }

    /// Looks what is wrong with the head: twice, since what was garbled on its way is not, once more.
    async fn look(&self) -> std::result::Result<Found, Failure> {
        let path = self.bucket.path(&format!("{}/head.json", self.name));
        let mut seen = None;
        loop {
            let found = self.look_once(&path).await?;
            match found {
                Some((etag, problem, epoch)) if seen.as_ref() == Some(&etag) => {
                    return Ok(Found::Broken(
                        etag.map_or(PutMode::Create, |etag| self.bucket.update(etag)),
                        problem,
                        epoch,
                    ));
                }
                Some((etag, ..)) => seen = Some(etag),
                None => return Ok(Found::Sound),
            }
        }
    }

    /// The ETag of the head, if there is one, what is wrong, and its epoch as far as that can be read; `None` if it is sound.
    async fn look_once(
        &self,
        path: &Path,
    ) -> std::result::Result<Option<(Option<String>, String, u64)>, Failure> {
        let url = self.bucket.url(path);
        let Some(got) = self.bucket.object(path).await? else {
            return Ok(Some((None, format!("{url} is not there"), 0)));
        };
        let etag = got.meta.e_tag.clone().ok_or_else(|| self.bucket.without_etag())?;
        if got.meta.size > MAX_HEAD {
            return Ok(Some((Some(etag), format!("{url} has more than {MAX_HEAD} bytes"), 0)));
        }
        let text = got.bytes().await.map_err(|told| self.bucket.cut_off(path, &told))?;
        let epoch = number_in(&text, "epoch").filter(|epoch| *epoch <= HIGHEST).unwrap_or(0);
        match self.bucket.head_of(path, &text) {
            Ok(_) => Ok(None),
            Err(Failure::Final(Error::Corrupt(problem))) => Ok(Some((Some(etag), problem, epoch))),
            Err(failure) => Err(failure),
        }
    }

    /// Reads a generation, if it is there still.
    async fn read(&self, put: &Put) -> std::result::Result<Option<Generation>, Failure> {
        let path = self.bucket.path(&format!("{}/{}", self.name, put.key));
        let Some(got) = self.bucket.object(&path).await? else { return Ok(None) };
        let (written, size) = (milliseconds(got.meta.last_modified.into()), got.meta.size);
        let (mut sum, mut pieces) = (Sum::default(), got.into_stream());
        while let Some(piece) = pieces.try_next().await.map_err(|told| self.bucket.cut_off(&path, &told))? {
            sum.add(&piece);
        }
        if sum.size() != size {
            return Err(self.bucket.cut_short(&path, sum.size(), size));
        }
        let Put { seq, key, .. } = put.clone();
        Ok(Some(Generation { seq, key, size, sum: sum.text(), written }))
    }

    /// Puts the head where it is missing, or in the place of the one that was found.
    fn put_back(&self, head: &Head, over: PutMode, deadline: Duration) -> Result<()> {
        let (path, url) = (self.bucket.path(&format!("{}/head.json", self.name)), self.url());
        let text = serde_json::to_vec_pretty(head).expect("a head is JSON");
        // Whether it may be done, or come to be.
        let in_doubt = Cell::new(false);
        let put = async || {
            let failure = match self.bucket.put_if(&path, text.clone().into(), over.clone()).await {
                Ok(_) => return Ok(true),
                Err(failure @ Failure::Final(_)) => return Err(failure),
                Err(failure) => failure,
            };
            in_doubt.set(true);
            match (self.bucket.carry(&self.name, &Request::GetHead, &Local::default()).await, failure) {
                // Somebody may have opened the store since.
                (Ok(Answer::Head(Some((found, _)))), _) => {
                    Ok(found.version == head.version || found.follows(&head.version) == Some(true))
                }
                (Ok(_) | Err(Failure::Final(Error::Corrupt(_))), Failure::Refused(_)) => Ok(false),
                (_, failure) => Err(failure.passing()),
            }
        };
        let put = self.bucket.block_on(again(&url, "repair", Patience::new(deadline), put))?;
        match put {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(Error::Busy(format!("the head of `{url}` was changed meanwhile: repair it again")))
            }
            Err(error) if in_doubt.get() => {
                Err(Error::InDoubt(format!("{}; it may be in place: repair it again", error.to_line())))
            }
            Err(error) => Err(error),
        }
    }
}
