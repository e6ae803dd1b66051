//! Whether a server keeps the conditions of a PUT, which many that speak S3's protocol ignore: without them, two writers would
//! destroy each other's snapshots. And whether it keeps what is put, which a lifecycle rule may delete.

use std::num::NonZeroUsize;

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{PutMode, UpdateVersion};

use super::ask::random;
use super::bucket::Bucket;
use super::connect::Expires;
use super::failure::Failure;
use crate::error::Error;

/// What was seen of a server that keeps the conditions of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Whether it wants an ETag without the quotes in which it gives it.
    pub unquoted: bool,
}

/// What is seen, or why nothing is.
type Seen<T> = Result<T, Failure>;

/// A server that does not keep conditions.
fn unfit(bucket: &Bucket, did: &str) -> Failure {
    Failure::Final(Error::other(format!(
        "`{}` cannot hold snapshots, since its server does not keep the conditions of a PUT: {did}. Use a server that does; \
         Ceph's gateway does not in a bucket with versioning",
        bucket.location()
    )))
}

/// A bucket that deletes what is put there.
fn deletes(bucket: &Bucket, Expires(when): &Expires) -> Failure {
    Failure::Final(Error::other(format!(
        "`{}` cannot hold snapshots, since a lifecycle rule of the bucket deletes what is put there: {when}. Have the rule \
         leave out this prefix, or use another bucket",
        bucket.location()
    )))
}

/// An object of this trial alone.
struct Trial<'b> {
    bucket: &'b Bucket,
    path: Path,
}

/// What became of a PUT.
enum Put {
    Done(String),
    /// It was not done, and this is what was answered.
    Refused(Failure),
}

impl Trial<'_> {
    fn new(bucket: &Bucket) -> Seen<Trial<'_>> {
        Ok(Trial {
            bucket,
            path: bucket.path(&format!("minisnap-check-{}", random().map_err(Failure::Final)?)),
        })
    }

    /// Puts a text on a condition, and reads whether that was done, where the answer does not say so: it may be that of a request
    /// which was sent again.
    async fn put(&self, text: &str, mode: PutMode) -> Seen<Put> {
        let failure =
            match self.bucket.put_told(&self.path, Bytes::copy_from_slice(text.as_bytes()), mode).await {
                Ok((_, Some(expires))) => return Err(deletes(self.bucket, &expires)),
                Ok((etag, None)) => return Ok(Put::Done(etag)),
                Err(failure @ Failure::Refused(_)) => failure,
                // What became of it, nobody knows.
                Err(failure) => return Err(failure),
            };
        match self.get().await? {
            Some((found, etag)) if found == text => Ok(Put::Done(etag)),
            _ => Ok(Put::Refused(failure)),
        }
    }

    async fn get(&self) -> Seen<Option<(Bytes, String)>> {
        self.bucket.get(&self.path).await
    }

    fn if_match(etag: &str) -> PutMode {
        PutMode::Update(UpdateVersion { e_tag: Some(etag.to_owned()), version: None })
    }

    async fn conditions(&self) -> Seen<Checked> {
        let unfit = |did: &str| unfit(self.bucket, did);
        let first = match self.put("1", PutMode::Create).await? {
            Put::Done(etag) => etag,
            Put::Refused(failure) => return Err(failure),
        };
        if let Put::Done(_) = self.put("2", PutMode::Create).await? {
            return Err(unfit("it replaced an object although the request said `If-None-Match: *`"));
        }
        let mut is_unquoted = false;
        let mut second = self.put("3", Self::if_match(&first)).await?;
        let bare = first.trim_matches('"').to_owned();
        if matches!(second, Put::Refused(_)) && bare != first {
            is_unquoted = true;
            second = self.put("3", Self::if_match(&bare)).await?;
        }
        let Put::Done(second) = second else {
            return Err(unfit("it refused `If-Match` with the ETag that it had given"));
        };
        if second == first {
            return Err(unfit("it gave two contents one ETag"));
        }
        let stale = if is_unquoted { bare } else { first };
        if let Put::Done(_) = self.put("4", Self::if_match(&stale)).await? {
            return Err(unfit(
                "it replaced an object although the request said `If-Match` with an older ETag",
            ));
        }
        match self.get().await? {
            Some((found, _)) if found == "3" => {}
            _ => return Err(unfit("it said that it had refused a request, and did it")),
        }
        let second = if is_unquoted { second.trim_matches('"').to_owned() } else { second };
        self.bucket.delete(&self.path).await?;
        match self.put("5", Self::if_match(&second)).await? {
            Put::Done(_) => Err(unfit("it made an object although the request said `If-Match`")),
            Put::Refused(_) => Ok(Checked { unquoted: is_unquoted }),
        }
    }

    async fn race(&self, racers: NonZeroUsize) -> Seen<()> {
        let Put::Done(etag) = self.put("0", PutMode::Create).await? else {
            return Err(unfit(self.bucket, "it refused `If-None-Match: *` where there was no object"));
        };
        let texts: Vec<String> = (1..=racers.get()).map(|racer| racer.to_string()).collect();
        let puts = texts.iter().map(|text| {
            let mode = self.bucket.update(etag.clone());
            self.bucket.put_if(&self.path, Bytes::copy_from_slice(text.as_bytes()), mode)
        });
        let mut won = Vec::new();
        for (text, put) in texts.iter().zip(join_all(puts).await) {
            match put {
                Ok(_) => won.push(text),
                Err(failure @ Failure::Final(_)) => return Err(failure),
                // Whether it was refused, or its answer lost.
                Err(_) => {}
            }
        }
        let found = self.get().await?.map(|(found, _)| found);
        match won[..] {
            [one] if found.as_deref() == Some(one.as_bytes()) => Ok(()),
            [] if texts.iter().any(|text| found.as_deref() == Some(text.as_bytes())) => Ok(()),
            [] => Err(Failure::Passing(format!(
                "none of {racers} requests that raced in `{}` won",
                self.bucket.location()
            ))),
            _ => Err(unfit(
                self.bucket,
                &format!(
                    "of {racers} requests with one `If-Match`, {} were done, and the object is of {}",
                    won.len(),
                    if won.len() == 1 { "another" } else { "one of them" }
                ),
            )),
        }
    }

    /// Deletes the object, whatever came of the trial.
    async fn end<R>(self, tried: Seen<R>) -> Seen<R> {
        match self.bucket.delete(&self.path).await {
            Err(failure @ Failure::Final(_)) => tried.and(Err(failure)),
            // One that is left is in nobody's way.
            _ => tried,
        }
    }
}

/// Tries each condition.
pub(super) async fn conditions(bucket: &Bucket) -> Seen<Checked> {
    let trial = Trial::new(bucket)?;
    let tried = trial.conditions().await;
    trial.end(tried).await
}

/// Has several requests with one condition race: the first time, they do not come at the same time.
pub(super) async fn race(bucket: &Bucket, racers: NonZeroUsize) -> Seen<()> {
    for _ in 0..3 {
        let trial = Trial::new(bucket)?;
        let tried = trial.race(racers).await;
        trial.end(tried).await?;
    }
    Ok(())
}
