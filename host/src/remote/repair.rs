//! Rebuilding a head that is damaged, or was deleted, from the generations that there are.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::{Error as Told, ObjectStoreExt, PutMode};
use serde::Deserialize;

use super::ask::{Patience, again, random};
use super::bucket::MAX_HEAD;
use super::failure::Failure;
use super::files::Sum;
use super::head::{FORMAT, Generation, Head, LISTED, Version};
use super::protocol::{Answer, Request};
use super::store::{RemoteStore, milliseconds};
use crate::error::{Error, Result};

/// How far the epoch of a rebuilt head is above those that are known: hosts that never put a generation may have had higher
/// ones, and what they put late must not be taken for newer than what is put from here on.
const LEAP: u64 = 1000;

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
    /// Those that are kept, and not restored: a later call has replaced or undone them, or they were put by a host from which the store had
    /// been taken over. Newest first.
    pub undone: Vec<Generation>,
}

/// An object of a generation, by what its key says: which call of which owner has put it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Put {
    epoch: u64,
    count: u64,
    claim: String,
    seq: u64,
    /// The lowest number of which generations that were there before gave way.
    gone: u64,
    key: String,
}

impl Put {
    fn is_of_one_call(&self, other: &Put) -> bool {
        (self.epoch, self.count, &self.claim) == (other.epoch, other.count, &other.claim)
    }

    /// Of `g/EPOCH-CLAIM-COUNT/snapshot_SEQ.json`, or, of a copy, `g/EPOCH-CLAIM-COUNT-GONE/snapshot_SEQ.json`.
    fn of(key: String) -> Option<Put> {
        let (owner, file) = key.strip_prefix("g/")?.split_once('/')?;
        let mut owner = owner.split('-');
        let (epoch, claim, count) =
            (owner.next()?.parse().ok()?, owner.next()?.to_owned(), owner.next()?.parse().ok()?);
        let seq = file.strip_prefix("snapshot_")?.strip_suffix(".json")?.parse().ok()?;
        let gone = owner.next().map_or(Ok(seq), str::parse).ok()?;
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

        let mut puts: Vec<Put> = self.keys(deadline)?.into_iter().filter_map(Put::of).collect();
        puts.sort();
        if puts.len() > LISTED {
            let (most, all) = (LISTED, puts.len());
            let what =
                format!("`{url}/g` has {all} generations, and a head lists {most}: move the oldest away");
            return Err(Error::other(what));
        }
        let epoch = puts.iter().map(|put| put.epoch).fold(known, u64::max) + LEAP;
        let (mut generations, mut undone) = (Vec::new(), Vec::new());
        // What the calls that came later have put, and the lowest number that gave way to them.
        let (mut later, mut gone) = (BTreeSet::new(), None::<u64>);
        let calls: Vec<&[Put]> = puts.chunk_by(Put::is_of_one_call).collect();
        for puts in calls.into_iter().rev() {
            for put in puts {
                let read = again(&url, "repair", patience(), async || self.read(put).await);
                let Some(generation) = bucket.block_on(read)?? else { continue };
                let counts = gone.is_none_or(|gone| put.seq < gone) && !later.contains(&put.seq);
                if counts { &mut generations } else { &mut undone }.push(generation);
            }
            later.extend(puts.iter().map(|put| put.seq));
            gone = puts.iter().map(|put| put.gone).chain(gone).min();
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
            epoch,
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

    /// Looks what is wrong with the head.
    async fn look(&self) -> std::result::Result<Found, Failure> {
        #[derive(Deserialize)]
        struct Epoch {
            epoch: u64,
        }
        let path = self.bucket.path(&format!("{}/head.json", self.name));
        let failed = |told: &Told| Failure::of(&format!("get {}", self.bucket.url(&path)), told);
        let problem = match self.bucket.carry(&self.name, &Request::GetHead, None).await {
            Ok(Answer::Head(None)) => {
                let what = format!("{} is not there", self.bucket.url(&path));
                return Ok(Found::Broken(PutMode::Create, what, 0));
            }
            Ok(_) => return Ok(Found::Sound),
            Err(Failure::Final(Error::Corrupt(problem))) => problem,
            Err(failure) => return Err(failure),
        };
        let got = self.bucket.objects.get(&path).await.map_err(|told| failed(&told))?;
        let etag = got.meta.e_tag.clone().ok_or_else(|| self.bucket.without_etag())?;
        let text = match got.meta.size {
            ..=MAX_HEAD => got.bytes().await.map_err(|told| failed(&told))?,
            _ => bytes::Bytes::new(),
        };
        let epoch = serde_json::from_slice(&text).map_or(0, |Epoch { epoch }| epoch);
        let epoch = if epoch <= HIGHEST { epoch } else { 0 };
        Ok(Found::Broken(self.bucket.update(etag), problem, epoch))
    }

    /// Reads a generation, if it is there still.
    async fn read(&self, put: &Put) -> std::result::Result<Option<Generation>, Failure> {
        let path = self.bucket.path(&format!("{}/{}", self.name, put.key));
        let failed = |told: &Told| Failure::of(&format!("get {}", self.bucket.url(&path)), told);
        let got = match self.bucket.objects.get(&path).await {
            Err(told @ Told::NotFound { .. }) => {
                return match failed(&told) {
                    Failure::Refused(_) => Ok(None),
                    failure => Err(failure),
                };
            }
            got => got.map_err(|told| failed(&told))?,
        };
        let written = milliseconds(got.meta.last_modified.into());
        let (mut sum, mut pieces) = (Sum::default(), got.into_stream());
        while let Some(piece) = pieces.try_next().await.map_err(|told| failed(&told))? {
            sum.add(&piece);
        }
        let Put { seq, key, .. } = put.clone();
        Ok(Some(Generation { seq, key, size: sum.size(), sum: sum.text(), written }))
    }

    /// Puts the head where it is missing, or in the place of the one that was found.
    fn put_back(&self, head: &Head, over: PutMode, deadline: Duration) -> Result<()> {
        let path = self.bucket.path(&format!("{}/head.json", self.name));
        let text = serde_json::to_vec_pretty(head).expect("a head is JSON");
        let put = async || {
            let failure = match self.bucket.put_if(&path, text.clone().into(), over.clone()).await {
                Ok(_) => return Ok(true),
                Err(Failure::Final(error)) => return Err(Failure::Final(error)),
                Err(failure) => failure,
            };
            // It may have been done.
            match self.bucket.carry(&self.name, &Request::GetHead, None).await {
                Ok(Answer::Head(Some((found, _)))) => Ok(found.version == head.version),
                _ => Err(failure.passing()),
            }
        };
        let url = self.url();
        let put = self.bucket.block_on(again(&url, "repair", Patience::new(deadline), put))?;
        match put {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(Error::Busy(format!("the head of `{url}` was changed meanwhile: nothing was done")))
            }
            Err(Error::DeadlineExceeded(what)) => {
                Err(Error::InDoubt(format!("{what}; it may be in place: repair it again")))
            }
            Err(error) => Err(error),
        }
    }
}
