//! An object store whose requests are counted, and are lost, late, doubled and answered wrongly, as it comes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UpdateVersion,
    UploadPart,
};

use crate::random::Random;

/// Passes requests on to another object store, or not.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    random: Mutex<Random>,
    /// Of how many requests one goes wrong, or 0 for none.
    one_in: u64,
    counts: Arc<Counts>,
    /// How much later each PUT is done whose condition is an ETag, if it is at all.
    late: Mutex<Option<Duration>>,
    /// How many requests are answered before none is any more, if that comes.
    left: Mutex<Option<u64>>,
    /// Whether no DELETE is ever answered.
    hangs: AtomicBool,
    /// Whether no part is taken.
    refuses: Arc<AtomicBool>,
}

/// How many requests were made, by what they are.
#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    fn add(&self, what: &'static str) {
        *self.0.lock().expect("counting does not panic").entry(what).or_default() += 1;
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Lost,
    AnswerLost,
    /// It is done, and the answer says that its condition was not met.
    Denied,
    /// It is done this much later, and nobody is told.
    Late(Duration),
    /// It is done, and once more this much later.
    Doubled(Duration),
}

impl Faulty {
    /// Of `one_in` requests one goes wrong, or none for 0.
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, one_in: u64) -> Self {
        Faulty {
            inner,
            random: Mutex::new(Random::of(seed)),
            one_in,
            counts: Arc::default(),
            late: Mutex::default(),
            left: Mutex::default(),
            hangs: AtomicBool::new(false),
            refuses: Arc::default(),
        }
    }

    /// From here on, no part of an object is taken, or each again.
    pub fn refuse_parts(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Cuts the connection after this many requests; or lets all through again.
    pub fn cut_after(&self, requests: Option<u64>) {
        *self.left.lock().expect("it does not panic") = requests;
    }

    /// From here on, no DELETE is answered, nor done.
    pub fn hang_deletes(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is cut before this request.
    fn is_cut(&self) -> bool {
        let mut left = self.left.lock().expect("it does not panic");
        let is_cut = *left == Some(0);
        if let Some(left) = &mut *left {
            *left = left.saturating_sub(1);
        }
        is_cut
    }

    /// From here on, each PUT whose condition is an ETag is done this much later, and nobody is told; or at once again.
    pub fn make_swaps_late(&self, late: Option<Duration>) {
        *self.late.lock().expect("it does not panic") = late;
    }

    /// How many requests were made since the last time, by what they are.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.counts.0.lock().expect("counting does not panic"))
    }

    fn count(&self, what: &'static str) {
        self.counts.add(what);
    }

    fn fate(&self) -> Fate {
        if self.is_cut() {
            return Fate::Lost;
        }
        let mut random = self.random.lock().expect("it does not panic");
        if self.one_in == 0 || random.below(self.one_in) != 0 {
            return Fate::Done;
        }
        let later = random.time(Duration::from_millis(60));
        match random.below(5) {
            0 => Fate::Lost,
            1 => Fate::AnswerLost,
            2 => Fate::Denied,
            3 => Fate::Late(later),
            _ => Fate::Doubled(later),
        }
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "the connection was lost".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.count(match opts.mode {
            PutMode::Overwrite => "PUT",
            PutMode::Create => "PUT if none",
            PutMode::Update(_) => "PUT if match",
        });
        let late = *self.late.lock().expect("it does not panic");
        let fate = match (&opts.mode, late) {
            (PutMode::Update(_), Some(late)) => Fate::Late(late),
            _ => self.fate(),
        };
        if let Fate::Late(later) | Fate::Doubled(later) = fate {
            let (inner, location) = (Arc::clone(&self.inner), location.clone());
            let (payload, opts) = (payload.clone(), opts.clone());
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                let _ = inner.put_opts(&location, payload, opts).await;
            });
        }
        match fate {
            Fate::Lost | Fate::Late(_) => Err(lost()),
            Fate::Done | Fate::Doubled(_) => self.inner.put_opts(location, payload, opts).await,
            Fate::AnswerLost => self.inner.put_opts(location, payload, opts).await.and(Err(lost())),
            Fate::Denied => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(Error::Precondition { path: location.to_string(), source: "it was sent again".into() })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let is_refused = self.refuses.load(Ordering::SeqCst);
        self.count("POST");
        if is_refused {
            return Err(lost());
        }
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        let (counts, refuses) = (Arc::clone(&self.counts), Arc::clone(&self.refuses));
        Ok(Box::new(Parts { inner, counts, refuses }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.count("GET");
        match self.fate() {
            Fate::Lost | Fate::AnswerLost => Err(lost()),
            _ => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.count("DELETE");
        if self.hangs.load(Ordering::Relaxed) {
            return stream::pending().boxed();
        }
        let (inner, fate) = (Arc::clone(&self.inner), self.fate());
        let delete = move |location: Result<Path>| {
            let inner = Arc::clone(&inner);
            async move {
                let location = location?;
                if fate == Fate::Lost {
                    return Err(lost());
                }
                inner.delete(&location).await?;
                if fate == Fate::AnswerLost { Err(lost()) } else { Ok(location) }
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.count("LIST");
        match self.fate() {
            Fate::Lost | Fate::AnswerLost => stream::once(async { Err(lost()) }).boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.count("LIST");
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An object that is put in parts, which are counted.
#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    counts: Arc<Counts>,
    refuses: Arc<AtomicBool>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let refuses = self.refuses.load(Ordering::SeqCst);
        self.counts.add("PART");
        match refuses {
            true => async { Err(lost()) }.boxed(),
            false => self.inner.put_part(part),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.counts.add("COMPLETE");
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.counts.add("ABORT");
        self.inner.abort().await
    }
}

/// What an object store does wrong with conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neglect {
    /// It takes no notice of `If-None-Match`.
    IfNoneMatch,
    /// It takes no notice of `If-Match`.
    IfMatch,
    /// It refuses each `If-Match`.
    Refuses,
    /// It says that a condition was not met, and puts the object.
    DoesItAnyway,
    /// It looks whether a condition is met, and puts the object a little later.
    LooksFirst,
    /// It makes an object on the condition of what is not there.
    MakesWhatIsGone,
    /// It gives ETags with quotes, and wants them without, which is not wrong.
    WantsNoQuotes,
}

/// An object store in memory that is careless about conditions.
#[derive(Debug)]
pub struct Careless {
    inner: InMemory,
    neglect: Neglect,
    /// Whether it does all right for now.
    is_careful: AtomicBool,
}

impl Careless {
    /// That does this wrong.
    pub fn new(neglect: Neglect) -> Self {
        Careless { inner: InMemory::new(), neglect, is_careful: AtomicBool::new(false) }
    }

    /// Does all right from here on, or not any more.
    pub fn set_careful(&self, is_careful: bool) {
        self.is_careful.store(is_careful, Ordering::SeqCst);
    }
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Careless({:?})", self.neglect)
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let refused =
            || Error::Precondition { path: location.to_string(), source: "it does not match".into() };
        if self.is_careful.load(Ordering::SeqCst) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let mode = match (self.neglect, opts.mode) {
            (Neglect::IfNoneMatch, PutMode::Create) | (Neglect::IfMatch, PutMode::Update(_)) => {
                PutMode::Overwrite
            }
            (Neglect::Refuses, PutMode::Update(_)) => return Err(refused()),
            (Neglect::MakesWhatIsGone, PutMode::Update(_)) if self.inner.head(location).await.is_err() => {
                PutMode::Overwrite
            }
            (Neglect::LooksFirst, PutMode::Update(given)) => {
                if self.inner.head(location).await?.e_tag != given.e_tag {
                    return Err(refused());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                PutMode::Overwrite
            }
            (Neglect::WantsNoQuotes, PutMode::Update(given)) => match given.e_tag {
                Some(etag) if !etag.contains('"') => {
                    PutMode::Update(UpdateVersion { e_tag: Some(format!("\"{etag}\"")), ..given })
                }
                _ => return Err(refused()),
            },
            (_, mode) => mode,
        };
        match self.inner.put_opts(location, payload.clone(), mode.into()).await {
            Err(_) if self.neglect == Neglect::DoesItAnyway => {
                self.inner.put(location, payload).await?;
                return Err(refused());
            }
            put => put,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
