//! The snapshots of one component in an object store: files that are put there and got from there, whole.

mod copying;
mod creating;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ask::{Call, Patience, again, random};
use super::bucket::{Bucket, delete};
use super::files::sum_of;
use super::head::{Generation, Head, Limits, Refusal};
use super::protocol::{
    Answer, Ended, GivenUp, Opened, Opening, Read, Reading, Request, Skipped, TakeOver, Wanted, Writer,
};
use super::upload::Local;
use crate::blocking::check_may_block;
use crate::error::{Error, Result};

/// How many objects are being deleted at a time.
const DELETES: usize = 8;

/// How long that may take for one: it is tried again later.
const DELETE: Duration = Duration::from_secs(60);

/// The snapshots of one component in a bucket, each a file.
pub struct RemoteStore {
    pub(super) bucket: Arc<Bucket>,
    /// The component's name, below the bucket's prefix.
    pub(super) name: String,
    writer: Option<Box<Writer>>,
    /// Whether a change was given up that may come to be in place.
    in_doubt: bool,
    /// The keys of objects that are being deleted, and which of them are gone.
    deleting: HashSet<String>,
    gone: (Sender<Deleted>, Receiver<Deleted>),
    /// Those of which the deletion is on its way.
    few: Arc<Semaphore>,
    /// The file of which parts are put while it is made, until they are an object, or removed.
    one_ahead: Arc<Semaphore>,
}

/// The key of an object, and whether it was deleted.
type Deleted = (String, bool);

/// What was found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The head that names it, or `None` if nothing was ever stored.
    pub head: Option<Head>,
    /// The generation whose file was got.
    pub generation: Option<Generation>,
    /// Those that were wanted before it, newest first, and are missing or damaged.
    pub skipped: Vec<Skipped>,
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl RemoteStore {
    /// The store of this name, for reading: nothing is asked yet.
    pub fn new(bucket: Arc<Bucket>, name: impl Into<String>) -> RemoteStore {
        RemoteStore {
            bucket,
            name: name.into(),
            writer: None,
            in_doubt: false,
            deleting: HashSet::new(),
            gone: channel(),
            few: Arc::new(Semaphore::new(DELETES)),
            one_ahead: Arc::new(Semaphore::new(1)),
        }
    }

    /// Has parts of one file at a time put ahead in this store and another.
    pub(super) fn put_ahead_beside(&mut self, other: &RemoteStore) {
        self.one_ahead = Arc::clone(&other.one_ahead);
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("{}/{}", self.bucket.location(), self.name)
    }

    fn call(&self, what: &'static str, patience: Patience) -> Call<'_> {
        Call { bucket: &self.bucket, store: &self.name, what, patience }
    }

    /// Takes the store over for writing, for this node. Whoever had it can change nothing any more.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if another has it, from whom it may not be taken; [`Error::Io`], also if the server does not keep the
    /// conditions on which all rests, or if the head was deleted; [`Error::Corrupt`] if it is damaged;
    /// [`Error::AccessDenied`]; [`Error::DeadlineExceeded`].
    pub fn open(&mut self, node: &str, take_over: TakeOver, deadline: Duration) -> Result<()> {
        let patience = Patience::new(deadline);
        self.bucket.check_within(patience)?;
        let call = self.call("open", patience);
        let mut opening = Opening::new(node, take_over, random()?);
        let opened = self.bucket.block_on(async {
            let opened = call.run(&mut opening, Local::default()).await;
            let Ok(Opened::Own(mut writer)) = opened else { return opened };
            // What is not listed now costs space only, until it is listed.
            let list = async { self.bucket.carry(&self.name, &Request::List, &Local::default()).await };
            if let Ok(Ok(Answer::Keys(keys))) = timeout(patience.left(), list).await {
                writer.sweep(keys);
            }
            Ok(Opened::Own(writer))
        })?;
        match opened? {
            Opened::Own(writer) => {
                self.writer = Some(writer);
                self.tidy();
                Ok(())
            }
            Opened::Busy(owner) => Err(Error::Busy(format!(
                "`{}` is in use by the node {owner}: wait until it lets go, or take it over",
                self.url()
            ))),
            Opened::HeadLost => Err(self.head_lost()),
        }
    }

    /// The head, as far as this store knows it, which is open for writing, or `None` if it is not.
    pub fn head(&self) -> Option<&Head> {
        self.writer.as_ref().map(|writer| writer.head())
    }

    /// Makes a file, which the store component has laid out, the newest generation, with this number.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::NoSpace`], [`Error::AccessDenied`]; [`Error::Busy`] if the store was taken over;
    /// [`Error::InDoubt`] if the generation may be in place, or come to be; [`Error::Io`], [`Error::DeadlineExceeded`] if it is
    /// not, nor ever will be.
    pub fn create(&mut self, file: &Path, seq: u64, limits: Limits, deadline: Duration) -> Result<()> {
        let (size, sum) = sum_of(file).map_err(|error| Error::io("read", file, error))?;
        self.create_of((file, size, sum), seq, limits, None, deadline)
    }

    /// Makes the generation with this number the newest, by undoing those above it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and as [`create`](Self::create).
    pub fn rollback(&mut self, seq: u64, deadline: Duration) -> Result<()> {
        self.change("rollback", Patience::new(deadline), Local::default(), |writer| writer.rollback(seq))
    }

    /// Removes all generations.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn clear(&mut self, deadline: Duration) -> Result<()> {
        self.change("clear", Patience::new(deadline), Local::default(), Writer::clear)
    }

    /// Leaves the store to whoever opens it next, after what is to be deleted was, and parts that were put ahead are removed, if
    /// that takes no more than half of the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::DeadlineExceeded`]: it may be left, or not, and is not written any more.
    pub fn release(&mut self, deadline: Duration) -> Result<()> {
        let patience = Patience::new(deadline);
        // What cannot be deleted is left to the next owner: to let go comes first.
        let deletes = Patience::new(deadline / 2);
        let no_parts = async { timeout(deletes.left(), self.one_ahead.acquire()).await.is_ok() };
        self.bucket.block_on(no_parts)?;
        if self.writer.as_ref().is_none_or(|writer| !writer.is_owner()) {
            self.writer = None;
            return Ok(());
        }
        while !self.deleting.is_empty() {
            match self.gone.1.recv_timeout(deletes.left()) {
                Ok(deleted) => self.told(deleted),
                Err(_) => break,
            }
        }
        let released = self.change("release", patience, Local::default(), Writer::release);
        self.writer = None;
        released
    }

    /// Finds out what became of changes that were in doubt: none of them comes to be in place after this. Who was fenced need not.
    pub(super) fn confirm(&mut self, deadline: Duration) -> Result<()> {
        if !self.in_doubt {
            return Ok(());
        }
        match self.change("restore", Patience::new(deadline), Local::default(), Writer::confirm) {
            Err(Error::Busy(_)) => Ok(()),
            // It changes nothing itself.
            Err(Error::InDoubt(what)) => Err(Error::other(what)),
            confirmed => confirmed,
        }
    }

    /// Refuses if the store was taken over, or released, since it was opened.
    pub(super) fn check_owner(&self, deadline: Duration) -> Result<()> {
        let found = self.find(Wanted::Head, Path::new(""), deadline)?.head;
        let claim = self.head().map(|head| &head.version.claim);
        match found {
            Some(head) if head.owner.is_some() && Some(&head.version.claim) == claim => Ok(()),
            head => Err(self.fenced(head.and_then(|head| head.owner))),
        }
    }

    fn change(
        &mut self,
        what: &'static str,
        patience: Patience,
        local: Local<'_>,
        begin: impl FnOnce(&mut Writer),
    ) -> Result<()> {
        while let Ok(deleted) = self.gone.1.try_recv() {
            self.told(deleted);
        }
        if self.writer.is_some() {
            check_may_block()?;
        }
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::denied(format!("`{}` is not open for writing", self.url())));
        };
        begin(&mut writer);
        let call = self.call(what, patience);
        let ended = self.bucket.block_on(call.run(&mut *writer, local));
        let given_up = writer.give_up();
        self.in_doubt = match &ended {
            Ok(Ok(Ended::Refused(_))) => self.in_doubt,
            Ok(Ok(_)) => false,
            _ => self.in_doubt || given_up == GivenUp::InDoubt,
        };
        self.writer = Some(writer);
        self.tidy();
        match ended.flatten() {
            Ok(Ended::Committed) => Ok(()),
            Ok(Ended::Refused(refusal)) => Err(self.refused(refusal)),
            Ok(Ended::Fenced { owner, in_doubt: false }) => Err(self.fenced(owner)),
            Ok(Ended::Fenced { in_doubt: true, .. }) => Err(Error::InDoubt(format!(
                "`{}` was taken over so often meanwhile that nobody knows whether this was done: restore tells",
                self.url()
            ))),
            Ok(Ended::HeadLost { in_doubt: false }) => Err(self.head_lost()),
            Ok(Ended::HeadLost { in_doubt: true }) => Err(Error::InDoubt(self.head_lost().to_line())),
            Err(error) if given_up == GivenUp::InDoubt => Err(Error::InDoubt(format!(
                "{}; it may be in place, or come to be: restore tells",
                error.to_line()
            ))),
            Err(error) => Err(error),
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Stale { newest } => Error::Stale(newest),
            Refusal::NotFound => Error::NotFound,
            Refusal::NoSpace => Error::NoSpace(
                format!(
                    "the new snapshot does not fit beside the newest one into what `{}` may hold",
                    self.url()
                )
                .into(),
            ),
            Refusal::Full { generations } => Error::NoSpace(
                format!(
                    "`{}` lists {generations} generations, as many as it can: keep fewer, or clear it",
                    self.url()
                )
                .into(),
            ),
            Refusal::Undeleted { objects } => Error::denied(format!(
                "{objects} objects of `{}` that nothing needs cannot be deleted: allow that to these credentials",
                self.url()
            )),
        }
    }

    fn fenced(&self, owner: Option<String>) -> Error {
        let url = self.url();
        Error::Busy(match owner {
            Some(owner) => format!("`{url}` was taken over by the node {owner}: nothing was changed"),
            None => format!("`{url}` was taken over, and released since: open it again"),
        })
    }

    fn head_lost(&self) -> Error {
        Error::other(format!(
            "`{0}/head.json` is not there, which names the snapshots in `{0}/g`: somebody has deleted it. Nothing is changed \
             before it is put back, or rebuilt by minisnap remote repair",
            self.url()
        ))
    }

    fn unsound(&self, skipped: &[Skipped]) -> String {
        let url = self.url();
        let problem = |Skipped { generation, why }: &Skipped| format!("`{url}/{}` {why}", generation.key);
        let problems: Vec<String> = skipped.iter().map(problem).collect();
        format!("no generation can be restored: {}", problems.join("; "))
    }

    /// Gets the file of a generation into `folder`, under its [name](Generation::file_name), or only the head. A file of that name
    /// is left as it is if it is what was put, and replaced otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Corrupt`] if the head is damaged, or all generations that are wanted are, [`Error::AccessDenied`],
    /// [`Error::DeadlineExceeded`].
    pub fn restore(&self, wanted: Wanted, folder: &Path, deadline: Duration) -> Result<Found> {
        let found = self.find(wanted, folder, deadline)?;
        match found.generation {
            None if !found.skipped.is_empty() => Err(Error::Corrupt(self.unsound(&found.skipped))),
            _ => Ok(found),
        }
    }

    /// The same, where it is no error that nothing is sound.
    pub(super) fn find(&self, wanted: Wanted, folder: &Path, deadline: Duration) -> Result<Found> {
        let call = self.call("restore", Patience::new(deadline));
        let mut reading = Reading::new(wanted);
        match self
            .bucket
            .block_on(call.run(&mut reading, Local { path: Some(folder), ..Local::default() }))??
        {
            // Which this very opening has put.
            Read::Found { head: None, .. } if self.head().is_some() => Err(self.head_lost()),
            Read::Found { head, generation, skipped } => Ok(Found { head, generation, skipped }),
            Read::HeadLost => Err(self.head_lost()),
        }
    }

    /// The keys of the files of all generations, also of those that no head names, or names yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::AccessDenied`], [`Error::DeadlineExceeded`].
    pub fn keys(&self, deadline: Duration) -> Result<Vec<String>> {
        let list = async || self.bucket.carry(&self.name, &Request::List, &Local::default()).await;
        let url = self.url();
        match self.bucket.block_on(again(&url, "list", Patience::new(deadline), list))?? {
            Answer::Keys(keys) => Ok(keys),
            _ => Ok(Vec::new()),
        }
    }

    /// Deletes what is to be, in another thread: nobody waits for it.
    fn tidy(&mut self) {
        let Some(writer) = &self.writer else { return };
        for key in writer.to_delete() {
            if self.deleting.insert(key.clone()) {
                let path = self.bucket.path(&format!("{}/{key}", self.name));
                let (objects, url) = (Arc::clone(&self.bucket.objects), self.bucket.url(&path));
                let (few, gone) = (Arc::clone(&self.few), self.gone.0.clone());
                self.bucket.runtime().spawn(async move {
                    let turn = few.acquire().await;
                    let deleted = timeout(DELETE, delete(&*objects, &path, &url)).await;
                    if let Ok(Err(failure)) = &deleted {
                        tracing::debug!(?failure, "an object is not deleted");
                    }
                    drop(turn);
                    let _ = gone.send((key, matches!(deleted, Ok(Ok(())))));
                });
            }
        }
    }

    fn told(&mut self, (key, is_gone): Deleted) {
        // One that is not is tried again.
        self.deleting.remove(&key);
        if let Some(writer) = &mut self.writer
            && is_gone
        {
            writer.deleted(&key);
        }
    }
}

/// Since 1970-01-01T00:00:00Z.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
