//! The store component, compiled and linked.

use std::fmt;
use std::path::Path;
#[cfg(feature = "cache")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{Span, debug};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::calls::{Calls, GRACE, MAX_CALLS, Submitted, Target};
use crate::clock::Deadline;
use crate::error::{Error, Result};
use crate::grant::{Access, Grant, span};
use crate::idle::Idle;
use crate::instance::Instance;
use crate::memory::Budget;
use crate::metrics::{Event, Labels};
use crate::staged::Buckets;
use crate::store::{Shared, SnapshotStore};

/// The store component that this crate embeds, for composing it with others.
pub const COMPONENT: &[u8] = include_bytes!(env!("MINISNAP_COMPONENT_FILE"));

/// How many instances wait for their next call, unless the host says otherwise.
const MAX_IDLE: usize = 64;

/// The most memory that all instances have together, unless the host says otherwise: as much as one alone can ever have,
/// so that no restore is refused while it is the only one.
const MAX_MEMORY: usize = u32::MAX as usize;

/// The store component, ready to open stores. Made once a process; clones share everything.
///
/// It has an engine of its own, whatever the host's other engines are like: with fuel, epochs, asynchronous calls, or a
/// pool of instances.
#[derive(Clone)]
pub struct Minisnap {
    shared: Arc<Shared>,
}

/// How a [`Minisnap`] is made.
#[derive(Debug)]
#[must_use]
pub struct MinisnapBuilder {
    config: Config,
    #[cfg(feature = "cache")]
    cache: Option<PathBuf>,
    max_idle: usize,
    max_memory: usize,
    max_calls: usize,
    buckets: Buckets,
}

impl MinisnapBuilder {
    /// Sets how the engine is configured: with a pool for instances, say. Interruption by epochs is always on: it ends calls
    /// at their [deadlines](Grant::deadline).
    pub fn config(self, config: Config) -> Self {
        MinisnapBuilder { config, ..self }
    }

    /// Keeps compiled code in the directory `folder` for the next process, which then starts in a hundredth of the time:
    /// files `component-*.cwasm`, of which those that are older than 30 days, or more than 64, are removed when another one is
    /// written. The directory is made if it does not exist. It is no error if nothing can be kept.
    ///
    /// What lies there is run with all rights of this process: a directory or a file that is another user's, or that others
    /// may write, is not used.
    #[cfg(feature = "cache")]
    pub fn cache(self, folder: impl Into<PathBuf>) -> Self {
        MinisnapBuilder { cache: Some(folder.into()), ..self }
    }

    /// Sets how many idle instances of the store component are kept for the next calls of their stores; 64 unless set. Those
    /// that were not called for longest are dropped first, and made again when they are called.
    pub fn max_idle(self, instances: usize) -> Self {
        MinisnapBuilder { max_idle: instances, ..self }
    }

    /// Sets the most memory that all instances of the store component have together, in bytes; 4 GiB unless set, which is what
    /// one alone can have at most. Where a call needs more, idle instances are dropped; if that is not enough, it is
    /// [`Error::Io`], and costs no data.
    ///
    /// Creating a state, and reading one in chunks, needs less than 8 MiB; restoring one needs its size beside that. How much
    /// of it one store can have, its grant [says](Grant::max_memory).
    pub fn max_memory(self, bytes: usize) -> Self {
        MinisnapBuilder { max_memory: bytes, ..self }
    }

    /// Sets how many calls of all stores run at once; 512 unless set. A file system gets a quarter of them, and a directory
    /// a quarter of that, but at least one each, so that one that hangs leaves the rest to others. Further calls wait for
    /// their turn until their [deadlines](Grant::deadline), and are [`Error::DeadlineExceeded`] then.
    pub fn max_calls(self, calls: usize) -> Self {
        MinisnapBuilder { max_calls: calls, ..self }
    }

    /// Has this bucket used for all grants that name its [place](crate::remote::Location) and no credentials. Others are connected
    /// when they are first needed, by the variables of the environment.
    #[cfg(feature = "remote")]
    pub fn bucket(self, bucket: crate::remote::Bucket) -> Self {
        self.buckets.add(bucket);
        self
    }

    /// Compiles the store component, which takes a fraction of a second, or loads the compiled code that was kept.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if such an engine cannot run it: if it counts fuel, say, of which calls of the store component
    /// have none.
    pub fn build(self) -> Result<Minisnap> {
        let shared = self.link().map_err(Error::Component)?;
        Ok(Minisnap { shared: Arc::new(shared) })
    }

    fn link(mut self) -> wasmtime::Result<Shared> {
        self.config.epoch_interruption(true);
        let engine = Engine::new(&self.config)?;
        if wasmtime::Store::new(&engine, ()).get_fuel().is_ok() {
            return Err(wasmtime::Error::msg(
                "the engine of the snapshot store must not count fuel, of which its calls have none: remove \
                 `Config::consume_fuel`; a deadline limits them",
            ));
        }
        let component = self.compile(&engine)?;
        let idle = Arc::new(Idle::new(self.max_idle, Instance::evict));
        let waiting = idle.clone();
        let budget = Budget::new(self.max_memory, move || waiting.drop_oldest());
        let calls = Arc::new(Calls::new(self.max_calls));
        let engine = crate::engine::Engine::new(&engine, &component, budget)?;
        Ok(Shared { engine, idle, calls, buckets: self.buckets })
    }

    fn compile(&self, engine: &Engine) -> wasmtime::Result<Component> {
        #[cfg(feature = "cache")]
        if let Some(folder) = &self.cache {
            return crate::compiled::load_cached(engine, COMPONENT, folder);
        }
        Component::new(engine, COMPONENT)
    }
}

impl Minisnap {
    /// Compiles the store component, which takes a fraction of a second.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if this machine cannot run it.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A builder, for settings other than those of [`new`](Self::new).
    ///
    /// ```
    /// # fn main() -> minisnap_host::Result<()> {
    /// let minisnap = minisnap_host::Minisnap::builder().max_idle(1000).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> MinisnapBuilder {
        MinisnapBuilder {
            config: Config::new(),
            #[cfg(feature = "cache")]
            cache: None,
            max_idle: MAX_IDLE,
            max_memory: MAX_MEMORY,
            max_calls: MAX_CALLS,
            buckets: Buckets::default(),
        }
    }

    /// Opens a store as `grant` says. It blocks, for half a second more than the grant's [deadline](Grant::deadline) at
    /// most: an asynchronous host calls [`open_async`](Self::open_async).
    ///
    /// # Errors
    ///
    /// With write access, [`Error::Busy`] if the directory is held already, and the errors of making it:
    /// [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Io`], or [`Error::DeadlineExceeded`] if its file system does not
    /// answer in time.
    pub fn open(&self, grant: Grant) -> Result<SnapshotStore> {
        let (opening, deadline) = (Opening::of(&grant), grant.deadline);
        // Only with write access is the directory touched here.
        if deadline == Duration::MAX || grant.access != Access::ReadWrite {
            let (grant, target) = locate(grant)?;
            return opening.ended(self.open_here(grant, target));
        }
        let dir = grant.dir.to_owned();
        let (answer, answered) = mpsc::channel();
        let submitted = self.submit(grant, move |store| drop(answer.send(store)))?;
        let opened = match answered.recv_timeout(deadline.saturating_add(GRACE)) {
            Err(RecvTimeoutError::Timeout) if submitted.withdraw() => answered.recv().ok(),
            opened => opened.ok(),
        };
        opening.ended(opened.unwrap_or_else(|| Err(unanswered(&dir, deadline))))
    }

    /// The same in a tokio runtime with its time driver.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_async(&self, grant: Grant) -> Result<SnapshotStore> {
        let opening = Opening::of(&grant);
        let (dir, deadline) = (grant.dir.to_owned(), grant.deadline);
        let (answer, mut answered) = oneshot::channel();
        let submitted = self.submit(grant, move |store| drop(answer.send(store)))?;
        let opened = match tokio::time::timeout(deadline.saturating_add(GRACE), &mut answered).await {
            Ok(opened) => opened.ok(),
            Err(_) if submitted.withdraw() => answered.await.ok(),
            Err(_) => None,
        };
        opening.ended(opened.unwrap_or_else(|| Err(unanswered(&dir, deadline))))
    }

    /// Opens a store in this thread, whose turn it is.
    pub(crate) fn open_here(&self, grant: Grant, target: Arc<Target>) -> Result<SnapshotStore> {
        SnapshotStore::new(self.shared.clone(), grant, target)
    }

    /// The same, and logs it.
    pub(crate) fn open_lazily(&self, grant: Grant, target: Arc<Target>) -> Result<SnapshotStore> {
        let opening = Opening::of(&grant);
        opening.ended(self.open_here(grant, target))
    }

    /// The calls of all stores.
    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.shared.calls
    }

    /// Has a store opened in a thread. One that nobody waits for any more is closed again there.
    fn submit(
        &self,
        grant: Grant,
        answer: impl FnOnce(Result<SnapshotStore>) + Send + 'static,
    ) -> Result<Submitted> {
        let (grant, target) = locate(grant)?;
        let deadline = Deadline::after(grant.deadline);
        let (minisnap, opened) = (self.clone(), target.clone());
        let job = move |turn: Result<()>| answer(turn.and_then(|()| minisnap.open_here(grant, opened)));
        Ok(self.shared.calls.submit(&target, deadline, job))
    }
}

/// What is logged of the opening of a store.
struct Opening {
    labels: Labels,
    span: Span,
    started: Instant,
}

impl Opening {
    fn of(grant: &Grant) -> Self {
        let span = span!("grant", grant, grant.dir, access = ?grant.access);
        Opening { labels: Labels::of(grant), span, started: Instant::now() }
    }

    fn ended(self, opened: Result<SnapshotStore>) -> Result<SnapshotStore> {
        match &opened {
            Ok(_) => self.span.in_scope(|| debug!(elapsed = ?self.started.elapsed(), "opened")),
            Err(error) => self.labels.count(Event::Failed(error)),
        }
        opened
    }
}

/// A grant with an absolute path, and what its calls work on.
pub(crate) fn locate(grant: Grant) -> Result<(Grant, Arc<Target>)> {
    let grant = grant.absolute()?;
    #[cfg(feature = "remote")]
    if let Some(remote) = &grant.remote {
        let target = Arc::new(Target::remote(remote.location.to_string().into(), remote.url().into()));
        return Ok((grant, target));
    }
    let target = Arc::new(Target::new(grant.dir.to_owned()));
    Ok((grant, target))
}

fn unanswered(dir: &Path, deadline: Duration) -> Error {
    Error::DeadlineExceeded(format!(
        "cannot open the directory `{}`: its file system has not answered within {deadline:?}; try again once it answers",
        dir.display()
    ))
}

impl fmt::Debug for Minisnap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minisnap").finish_non_exhaustive()
    }
}
