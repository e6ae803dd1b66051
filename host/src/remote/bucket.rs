//! A bucket of an object store, and one request to it.

use std::num::NonZeroUsize;
use std::path::Path as FilePath;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fmt, fs};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as Told, GetResult, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use super::ask::{Patience, again};
use super::check::{self, Checked};
use super::connect::{self, Expires, Location};
use super::failure::Failure;
use super::head::{FORMAT, Head};
use super::protocol::{Answer, Request};
use super::upload::Local;
use crate::blocking::check_may_block;
use crate::error::{Error, Result};

/// The name of the head.
const HEAD: &str = "head.json";

/// The folder of the generations.
const GENERATIONS: &str = "g";

/// The largest head, in bytes: some 40,000 generations.
pub(super) const MAX_HEAD: u64 = 8 << 20;

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

    /// The same with the credentials in a file: [`Remote::credentials`](super::Remote::credentials).
    ///
    /// # Errors
    ///
    /// As `connect`, and [`Error::AccessDenied`] if others than this user may read the file.
    pub fn connect_by(location: Location, credentials: &FilePath) -> Result<Bucket> {
        let objects = connect::by_file(&location, credentials)?;
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
    /// [`Error::Io`] if it does not, or a lifecycle rule deletes what is put, which says what it did;
    /// [`Error::AccessDenied`], [`Error::DeadlineExceeded`].
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
        check_may_block()?;
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

    /// Asks the server once, for the store of this name. A generation is put from a file, and got into a folder.
    pub(super) async fn carry(
        &self,
        name: &str,
        request: &Request,
        local: &Local<'_>,
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
                let file = local.path.expect("a generation has a file");
                let source = fs::File::open(file).map_err(|e| Failure::Final(Error::io("read", file, e)))?;
                let put =
                    self.put_file(&at(&generation.key), generation, &source, file, local.ahead.take()).await;
                put.map(|()| Answer::Done)
            }
            Request::GetGeneration(generation) => {
                let folder = local.path.expect("a generation is got into a folder");
                self.get_file(&at(&generation.key), generation, folder).await
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
        self.put_told(path, text, mode).await.map(|(etag, _)| etag)
    }

    /// The same with whether it expires.
    pub(super) async fn put_told(
        &self,
        path: &Path,
        text: Bytes,
        mode: PutMode,
    ) -> std::result::Result<(String, Option<Expires>), Failure> {
        let failed = |told: &Told| Failure::of(&format!("put {}", self.url(path)), told);
        let put =
            self.objects.put_opts(path, text.into(), mode.into()).await.map_err(|told| failed(&told))?;
        let etag = put.e_tag.ok_or_else(|| self.without_etag())?;
        Ok((etag, put.extensions.get::<Expires>().cloned()))
    }

    pub(super) fn without_etag(&self) -> Failure {
        let location = &self.location;
        Failure::Final(Error::other(format!(
            "cannot use `{location}`: the server gives no ETag of an object"
        )))
    }

    /// Gets a small object with its ETag, or `None` if there is none.
    pub(super) async fn get(&self, path: &Path) -> std::result::Result<Option<(Bytes, String)>, Failure> {
        let Some(got) = self.object(path).await? else { return Ok(None) };
        if got.meta.size > MAX_HEAD {
            let url = self.url(path);
            return Err(Failure::Final(Error::Corrupt(format!(
                "{url} has more than {MAX_HEAD} bytes; rebuild it by minisnap remote repair"
            ))));
        }
        let etag = got.meta.e_tag.clone().ok_or_else(|| self.without_etag())?;
        let text = got.bytes().await.map_err(|told| self.cut_off(path, &told))?;
        Ok(Some((text, etag)))
    }

    /// Asks for an object, or `None` if there is none.
    pub(super) async fn object(&self, path: &Path) -> std::result::Result<Option<GetResult>, Failure> {
        let told = match self.objects.get(path).await {
            Ok(got) => return Ok(Some(got)),
            Err(told) => told,
        };
        match Failure::of(&format!("get {}", self.url(path)), &told) {
            // But where there is no bucket.
            Failure::Refused(_) if matches!(told, Told::NotFound { .. }) => Ok(None),
            failure => Err(failure),
        }
    }

    /// Why the rest of an object was not got. What became of the object, another request says.
    pub(super) fn cut_off(&self, path: &Path, told: &Told) -> Failure {
        Failure::Passing(Failure::of(&format!("get {}", self.url(path)), told).into_error().to_line())
    }

    /// The same where nothing else says so.
    pub(super) fn cut_short(&self, path: &Path, came: u64, size: u64) -> Failure {
        Failure::Passing(format!("cannot get {}: {came} of {size} bytes came", self.url(path)))
    }

    async fn get_head(&self, path: &Path) -> std::result::Result<Answer, Failure> {
        let Some((text, etag)) = self.get(path).await? else { return Ok(Answer::Head(None)) };
        Ok(Answer::Head(Some((self.head_of(path, &text)?, etag))))
    }

    /// The head that this text is.
    pub(super) fn head_of(&self, path: &Path, text: &[u8]) -> std::result::Result<Head, Failure> {
        #[derive(Deserialize)]
        struct Any {
            format: u64,
        }
        let damaged = |error: serde_json::Error| {
            Failure::Final(Error::Corrupt(format!(
                "{} is no head of a store: {error}; rebuild it by minisnap remote repair",
                self.url(path)
            )))
        };
        // That of a later version may be damaged, too, and is no less its own.
        let format = match serde_json::from_slice(text) {
            Ok(Any { format }) => format,
            Err(error) => number_in(text, "format")
                .filter(|format| *format > u64::from(FORMAT))
                .ok_or_else(|| damaged(error))?,
        };
        if format != u64::from(FORMAT) {
            let url = self.url(path);
            return Err(Failure::Final(Error::other(format!(
                "{url} has the format {format}, which another version of minisnap wrote: use that one"
            ))));
        }
        serde_json::from_slice(text).map_err(damaged)
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

    /// The names of the folders in a folder, sorted.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`], [`Error::Io`], [`Error::DeadlineExceeded`].
    pub(super) fn folders(&self, folder: &str, deadline: Duration) -> Result<Vec<String>> {
        let folder = self.path(folder);
        let what = format!("list {}", self.url(&folder));
        let list = async || {
            let listed = self.objects.list_with_delimiter(Some(&folder)).await;
            listed.map_err(|told| Failure::of(&what, &told))
        };
        let listed = self.block_on(again(&self.location, "list", Patience::new(deadline), list))??;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut names: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
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

/// A number in a head that may be cut off or changed.
pub(super) fn number_in(text: &[u8], member: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    let digits = text.split_once(&format!("\"{member}\":"))?.1.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}
