//! A bucket of an object store, and one request to it.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path as FilePath;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error as Told, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion, WriteMultipart,
};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};
use xxhash_rust::xxh3::Xxh3;

use super::ask::{Patience, again};
use super::check::{self, Checked};
use super::connect::{self, Location};
use super::failure::Failure;
use super::head::{FORMAT, Generation, Head};
use super::protocol::{Answer, Request};
use crate::error::{Error, Result};

/// The name of the head.
const HEAD: &str = "head.json";

/// The folder of the generations.
const GENERATIONS: &str = "g";

/// The largest head, in bytes: some 40,000 generations.
const MAX_HEAD: u64 = 8 << 20;

/// A larger file is put in parts of this size.
const PART: usize = 8 << 20;

/// How many parts are on their way at a time.
const PARTS: usize = 4;

/// A bucket of an object store, of which every call blocks. Its requests run in a thread of its own.
pub struct Bucket {
    location: Location,
    pub(super) objects: Arc<dyn ObjectStore>,
    /// What was seen of the server, once it was.
    checked: OnceLock<Checked>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // Where this may not block, too.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bucket {
    /// A bucket of a server that speaks S3's protocol, with the credentials that the variables of AWS's SDKs give:
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; or `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`;
    /// or those of a container, or of the machine whose `AWS_METADATA_ENDPOINT` is set. It trusts the certificates that the
    /// system does, and those in the file of `AWS_CA_BUNDLE`. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] if there are no credentials, [`Error::Io`] if something is not what it should be.
    pub fn connect(location: Location) -> Result<Bucket> {
        let objects = connect::by_variables(&location)?;
        Bucket::new(location, Arc::new(objects))
    }

    /// The same with these credentials, and no variables but `AWS_CA_BUNDLE`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_as(location: Location, key: &str, secret: &str) -> Result<Bucket> {
        let objects = connect::by_key(&location, key, secret)?;
        Bucket::new(location, Arc::new(objects))
    }

    /// A bucket of any object store, which the location names.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system gives no thread.
    pub fn new(location: Location, objects: Arc<dyn ObjectStore>) -> Result<Bucket> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("minisnap-remote").enable_all().build();
        let runtime = runtime.map_err(|error| Error::other(format!("cannot start a thread: {error}")))?;
        Ok(Bucket { location, objects, checked: OnceLock::new(), runtime: Some(runtime) })
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until this is dropped")
    }

    /// Tries whether the server keeps the conditions of a PUT, unless this was tried before, with an object that is deleted
    /// again.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it does not, which says what it did; [`Error::AccessDenied`], [`Error::DeadlineExceeded`].
    pub fn check(&self, deadline: Duration) -> Result<Checked> {
        self.check_within(Patience::new(deadline))
    }

    pub(super) fn check_within(&self, patience: Patience) -> Result<Checked> {
        if let Some(checked) = self.checked.get() {
            return Ok(*checked);
        }
        let tried = again(&self.location, "check", patience, async || check::conditions(self).await);
        let checked = self.block_on(tried)??;
        Ok(*self.checked.get_or_init(|| checked))
    }

    /// Has several requests race for one condition, a few times, besides what [`check`](Self::check) does: one of them must win.
    ///
    /// # Errors
    ///
    /// As `check`.
    pub fn check_race(&self, racers: NonZeroUsize, deadline: Duration) -> Result<Checked> {
        let patience = Patience::new(deadline);
        let checked = self.check_within(patience)?;
        self.block_on(again(&self.location, "check", patience, async || check::race(self, racers).await))??;
        Ok(checked)
    }

    /// Runs a future in this thread, which must not be a task's.
    pub(super) fn block_on<R>(&self, future: impl Future<Output = R>) -> Result<R> {
        crate::store::check_may_block()?;
        Ok(self.runtime().block_on(future))
    }

    /// The key of an object, below the prefix.
    pub(super) fn path(&self, key: &str) -> Path {
        let prefix = self.location.prefix.split('/').filter(|part| !part.is_empty());
        prefix.chain(key.split('/')).collect()
    }

    /// An object as messages name it.
    pub(super) fn url(&self, path: &Path) -> String {
        format!("`s3://{}/{path}`", self.location.bucket)
    }

    /// Asks the server once, for the store of this name. A generation's file is read from `file`, or written to it.
    pub(super) async fn carry(
        &self,
        name: &str,
        request: &Request,
        file: Option<&FilePath>,
    ) -> std::result::Result<Answer, Failure> {
        let at = |key: &str| self.path(&format!("{name}/{key}"));
        match request {
            Request::GetHead => self.get_head(&at(HEAD)).await,
            Request::PutHead(head, over) => {
                let mode = match over {
                    None => PutMode::Create,
                    Some(etag) => self.update(etag.clone()),
                };
                let text = serde_json::to_vec_pretty(head).expect("a head is JSON");
                self.put_if(&at(HEAD), text.into(), mode).await.map(Answer::Put)
            }
            Request::PutGeneration(generation) => {
                let file = file.expect("a generation has a file");
                self.put_file(&at(&generation.key), generation, file).await.map(|()| Answer::Done)
            }
            Request::GetGeneration(generation) => {
                let file = file.expect("a generation has a file");
                self.get_file(&at(&generation.key), generation, file).await
            }
            Request::List => self.list(name).await.map(Answer::Keys),
            Request::Delete(key) => self.delete(&at(key)).await.map(|()| Answer::Done),
        }
    }

    /// The condition that an object has this ETag, as the server wants it.
    pub(super) fn update(&self, etag: String) -> PutMode {
        let is_unquoted = self.checked.get().is_some_and(|checked| checked.unquoted);
        let e_tag = Some(if is_unquoted { etag.trim_matches('"').to_owned() } else { etag });
        PutMode::Update(UpdateVersion { e_tag, version: None })
    }

    /// Puts an object on a condition, and returns its ETag.
    pub(super) async fn put_if(
        &self,
        path: &Path,
        text: Bytes,
        mode: PutMode,
    ) -> std::result::Result<String, Failure> {
        let failed = |told: &Told| Failure::of(&format!("put {}", self.url(path)), told);
        let put =
            self.objects.put_opts(path, text.into(), mode.into()).await.map_err(|told| failed(&told))?;
        put.e_tag.ok_or_else(|| self.without_etag())
    }

    fn without_etag(&self) -> Failure {
        let location = &self.location;
        Failure::Final(Error::other(format!(
            "cannot use `{location}`: the server gives no ETag of an object"
        )))
    }

    /// Gets a small object with its ETag, or `None` if there is none.
    pub(super) async fn get(&self, path: &Path) -> std::result::Result<Option<(Bytes, String)>, Failure> {
        let failed = |told: &Told| Failure::of(&format!("get {}", self.url(path)), told);
        let got = match self.objects.get(path).await {
            Err(told @ Told::NotFound { .. }) => {
                return match failed(&told) {
                    // But where there is no bucket.
                    Failure::Refused(_) => Ok(None),
                    failure => Err(failure),
                };
            }
            got => got.map_err(|told| failed(&told))?,
        };
        if got.meta.size > MAX_HEAD {
            let url = self.url(path);
            return Err(Failure::Final(Error::Corrupt(format!("{url} has more than {MAX_HEAD} bytes"))));
        }
        let etag = got.meta.e_tag.clone().ok_or_else(|| self.without_etag())?;
        let text = got.bytes().await.map_err(|told| failed(&told))?;
        Ok(Some((text, etag)))
    }

    async fn get_head(&self, path: &Path) -> std::result::Result<Answer, Failure> {
        #[derive(Deserialize)]
        struct Any {
            format: u32,
        }
        let Some((text, etag)) = self.get(path).await? else { return Ok(Answer::Head(None)) };
        let damaged = |error: serde_json::Error| {
            Failure::Final(Error::Corrupt(format!("{} is no head of a store: {error}", self.url(path))))
        };
        let Any { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format != FORMAT {
            let url = self.url(path);
            return Err(Failure::Final(Error::other(format!(
                "{url} has the format {format}, which a newer version of minisnap has written: use that one"
            ))));
        }
        let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
        Ok(Answer::Head(Some((head, etag))))
    }

    /// Puts a file, if it is what the generation says.
    async fn put_file(
        &self,
        path: &Path,
        generation: &Generation,
        file: &FilePath,
    ) -> std::result::Result<(), Failure> {
        let failed = |told: &Told| Failure::of(&format!("put {}", self.url(path)), told);
        let unread = |error| Failure::Final(Error::io("read", file, error));
        let mut source = fs::File::open(file).map_err(unread)?;
        let mut sum = Xxh3::new();
        let mut next = |left: u64| {
            let size = left.min(PART as u64);
            let mut part = Vec::with_capacity(usize::try_from(size).expect("a part is small"));
            Read::by_ref(&mut source).take(size).read_to_end(&mut part).map_err(unread)?;
            sum.update(&part);
            let left = left - part.len() as u64;
            if part.len() as u64 != size || left == 0 && sum_text(&sum) != generation.sum {
                let what = format!("`{}` was changed while it was being put", file.display());
                return Err(Failure::Final(Error::other(what)));
            }
            Ok((PutPayload::from(part), left))
        };
        if generation.size <= PART as u64 {
            let (whole, _) = next(generation.size)?;
            return self.objects.put(path, whole).await.map(drop).map_err(|told| failed(&told));
        }
        let upload = self.objects.put_multipart(path).await.map_err(|told| failed(&told))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut left = generation.size;
        let put = loop {
            if left == 0 {
                break Ok(());
            }
            match next(left) {
                Ok((part, rest)) => {
                    left = rest;
                    part.into_iter().for_each(|part| upload.put(part));
                }
                Err(changed) => break Err(changed),
            }
            if let Err(told) = upload.wait_for_capacity(PARTS).await {
                break Err(failed(&told));
            }
        };
        match put {
            Ok(()) => upload.finish().await.map(drop).map_err(|told| failed(&told)),
            Err(failure) => {
                let _ = upload.abort().await;
                Err(failure)
            }
        }
    }

    async fn get_file(
        &self,
        path: &Path,
        generation: &Generation,
        file: &FilePath,
    ) -> std::result::Result<Answer, Failure> {
        let failed = |told: &Told| Failure::of(&format!("get {}", self.url(path)), told);
        let unwritten = |error| Failure::Final(Error::io("write", file, error));
        let got = match self.objects.get(path).await {
            Err(told @ Told::NotFound { .. }) => {
                return match failed(&told) {
                    Failure::Refused(_) => Ok(Answer::Missing),
                    failure => Err(failure),
                };
            }
            got => got.map_err(|told| failed(&told))?,
        };
        if got.meta.size != generation.size {
            return Ok(Answer::Damaged);
        }
        let mut target = fs::File::create(file).map_err(unwritten)?;
        let (mut sum, mut size) = (Xxh3::new(), 0);
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|told| failed(&told))? {
            sum.update(&piece);
            size += piece.len() as u64;
            target.write_all(&piece).map_err(unwritten)?;
        }
        match size == generation.size && sum_text(&sum) == generation.sum {
            true => Ok(Answer::Done),
            false => Ok(Answer::Damaged),
        }
    }

    /// The keys of all generations of the store of this name, below its own.
    async fn list(&self, name: &str) -> std::result::Result<Vec<String>, Failure> {
        let below = self.path(name);
        let folder = self.path(&format!("{name}/{GENERATIONS}"));
        let what = format!("list {}", self.url(&folder));
        let listed = self.objects.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let objects = listed.map_err(|told| Failure::of(&what, &told))?;
        let key = |path: &Path| {
            path.as_ref().strip_prefix(below.as_ref()).map(|key| key.trim_start_matches('/').to_owned())
        };
        Ok(objects.iter().filter_map(|object| key(&object.location)).collect())
    }

    /// Deletes an object, which may be gone.
    pub(super) async fn delete(&self, path: &Path) -> std::result::Result<(), Failure> {
        delete(&*self.objects, path, &self.url(path)).await
    }
}

/// The same without its bucket, in a task.
pub(super) async fn delete(
    objects: &dyn ObjectStore,
    path: &Path,
    url: &str,
) -> std::result::Result<(), Failure> {
    match objects.delete(path).await {
        Ok(()) => Ok(()),
        Err(told) => match Failure::of(&format!("delete {url}"), &told) {
            // It was gone.
            Failure::Refused(_) => Ok(()),
            failure => Err(failure),
        },
    }
}

pub(super) fn sum_text(sum: &Xxh3) -> String {
    format!("{:032x}", sum.digest128())
}
