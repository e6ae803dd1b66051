//! Putting the file of a generation: whole, or in parts, which may begin while the component still makes it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path as FilePath;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::timeout;

use super::bucket::Bucket;
use super::failure::Failure;
use super::files::Sum;
use super::head::Generation;
use crate::error::{Error, Result};

/// A larger file is put in parts of this size.
const PART: usize = 8 << 20;

/// How many parts are on their way at a time.
const PARTS: usize = 4;

/// How long it may take to remove the parts of what does not become an object.
const ABORT: Duration = Duration::from_secs(60);

/// The files of this machine that a request reads or writes.
#[derive(Default)]
pub(super) struct Local<'l> {
    /// The file that is put, or the folder into which one is got.
    pub(super) path: Option<&'l FilePath>,
    /// What was put of the file already.
    pub(super) ahead: Cell<Option<Upload>>,
}

/// A file of which parts are put while it is made. It is no object before all of it is put; if this is dropped before that, the
/// parts are removed.
pub(crate) struct Ahead {
    /// The folder of the object.
    folder: String,
    grown: watch::Sender<()>,
    /// Ends with the parts that are put, or on their way.
    task: JoinSet<std::result::Result<Option<Upload>, Failure>>,
}

impl Ahead {
    /// Has the parts put that the file has by now. Waits for nothing.
    pub(super) fn grown(&self) {
        self.grown.send_replace(());
    }

    /// What was put of the file, which is whole now, and the folder of its object.
    async fn end(mut self) -> Option<(String, Upload)> {
        drop(self.grown);
        let put = self.task.join_next().await?.ok()?;
        let upload = put.inspect_err(|failure| tracing::debug!(?failure, "nothing was put ahead")).ok()??;
        Some((self.folder, upload))
    }
}

/// A file that is being put in parts. If it is dropped before it is finished, they are removed, for which nobody waits.
pub(super) struct Upload {
    /// What takes the parts, until they are an object.
    object: Option<Box<dyn MultipartUpload>>,
    on_their_way: JoinSet<object_store::Result<()>>,
    /// Of what was put so far.
    pub(super) sum: Sum,
    /// What it is called in messages.
    url: String,
    runtime: Handle,
    /// Until the end, no other of its store is put ahead.
    one: Option<OwnedSemaphorePermit>,
}

impl Upload {
    async fn begin(
        objects: &dyn ObjectStore,
        path: &Path,
        url: String,
        one: Option<OwnedSemaphorePermit>,
    ) -> std::result::Result<Upload, Failure> {
        let begun = objects.put_multipart(path).await;
        let object = Some(begun.map_err(|told| Failure::of(&format!("put {url}"), &told))?);
        let (on_their_way, sum) = (JoinSet::new(), Sum::default());
        Ok(Upload { object, on_their_way, sum, url, runtime: Handle::current(), one })
    }

    fn object(&mut self) -> &mut dyn MultipartUpload {
        self.object.as_deref_mut().expect("it is there until it is finished")
    }

    /// Waits until no more parts than these are on their way, and looks what became of the others.
    async fn wait(&mut self, parts: usize) -> std::result::Result<(), Failure> {
        loop {
            let put = match self.on_their_way.try_join_next() {
                None if self.on_their_way.len() > parts => self.on_their_way.join_next().await,
                put => put,
            };
            match put {
                None => return Ok(()),
                Some(Ok(put)) => put.map_err(|told| Failure::of(&format!("put {}", self.url), &told))?,
                Some(Err(_)) => {
                    return Err(Failure::Passing(format!("cannot put {}: a part was given up", self.url)));
                }
            }
        }
    }

    /// Waits until another part may be put, but not when the file is whole: its commit has the deadline.
    async fn has_room(&mut self, grown: &mut watch::Receiver<()>) -> std::result::Result<bool, Failure> {
        let (room, whole) =
            (pin!(self.wait(PARTS - 1)), pin!(async { while grown.changed().await.is_ok() {} }));
        match select(room, whole).await {
            Either::Left((room, _)) => room.map(|()| true),
            Either::Right(_) => Ok(false),
        }
    }

    /// Puts the next part of a file, of this size at most.
    fn put(&mut self, file: &File, size: u64) -> io::Result<()> {
        let part = next_part(file, &mut self.sum, size)?;
        let put = self.object().put_part(part.into());
        self.on_their_way.spawn(put);
        Ok(())
    }

    /// Makes the parts an object.
    async fn finish(mut self) -> std::result::Result<(), Failure> {
        self.wait(0).await?;
        let finished = self.object().complete().await;
        finished.map_err(|told| Failure::of(&format!("put {}", self.url), &told))?;
        self.object = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        let (mut on_their_way, one) = (std::mem::take(&mut self.on_their_way), self.one.take());
        let url = std::mem::take(&mut self.url);
        self.runtime.spawn(async move {
            on_their_way.shutdown().await;
            if let Ok(Err(told)) = timeout(ABORT, object.abort()).await {
                let failure = Failure::of(&format!("remove parts of {url}"), &told);
                tracing::debug!(?failure, "parts are left");
            }
            drop(one);
        });
    }
}

impl Bucket {
    /// Begins to put a file that is being made, as the object of this key in this folder.
    pub(super) fn put_ahead(
        &self,
        path: Path,
        folder: String,
        (file, name): (File, &FilePath),
        one: OwnedSemaphorePermit,
    ) -> Ahead {
        let (grown, told) = watch::channel(());
        let (objects, url, name) = (Arc::clone(&self.objects), self.url(&path), name.to_owned());
        let mut task = JoinSet::new();
        let follow = async move { follow(&*objects, &path, url, (&file, &name), one, told).await };
        task.spawn_on(follow, self.runtime().handle());
        Ahead { folder, grown, task }
    }

    /// What was put of a file that is whole now, and the folder of its object, or `None` if it must be put as if nothing was.
    pub(super) fn end_ahead(&self, ahead: Ahead, time: Duration) -> Result<Option<(String, Upload)>> {
        // There must be time to put all of it.
        self.block_on(async { timeout(time / 2, ahead.end()).await.ok().flatten() })
    }

    /// Puts a file, which is open and has this name, if it is what the generation says.
    pub(super) async fn put_file(
        &self,
        path: &Path,
        generation: &Generation,
        source: &File,
        file: &FilePath,
        ahead: Option<Upload>,
    ) -> std::result::Result<(), Failure> {
        let unread = |error| Failure::Final(Error::io("read", file, error));
        let changed = || {
            let file = file.display();
            Failure::Final(Error::other(format!("`{file}` was changed while it was being put")))
        };
        if generation.size <= PART as u64 {
            let mut sum = Sum::default();
            let whole = next_part(source, &mut sum, generation.size).map_err(unread)?;
            if !generation.is(sum.size(), &sum.text()) {
                return Err(changed());
            }
            let put = self.objects.put(path, whole.into()).await;
            let failed = |told| Failure::of(&format!("put {}", self.url(path)), &told);
            return put.map(drop).map_err(failed);
        }
        let mut upload = match ahead {
            Some(upload) => upload,
            None => Upload::begin(&*self.objects, path, self.url(path), None).await?,
        };
        while upload.sum.size() < generation.size {
            let before = upload.sum.size();
            upload.wait(PARTS - 1).await?;
            upload.put(source, generation.size - before).map_err(unread)?;
            if upload.sum.size() == before {
                return Err(changed());
            }
        }
        if !generation.is(upload.sum.size(), &upload.sum.text()) {
            return Err(changed());
        }
        upload.finish().await
    }
}

/// Puts the parts that a file has, each time that it has grown, but not the last one, which may be smaller.
async fn follow(
    objects: &dyn ObjectStore,
    path: &Path,
    url: String,
    (file, name): (&File, &FilePath),
    one: OwnedSemaphorePermit,
    mut grown: watch::Receiver<()>,
) -> std::result::Result<Option<Upload>, Failure> {
    // The thread is that of all requests, and a file system may hang.
    let unread = |error| Failure::Final(Error::io("read", name, error));
    let size = || block_in_place(|| file.metadata()).map(|metadata| metadata.len()).map_err(unread);
    while size()? <= PART as u64 {
        if grown.changed().await.is_err() {
            return Ok(None);
        }
    }
    let mut upload = Upload::begin(objects, path, url, Some(one)).await?;
    loop {
        while size()? > upload.sum.size() + PART as u64 && upload.has_room(&mut grown).await? {
            block_in_place(|| upload.put(file, PART as u64)).map_err(unread)?;
        }
        if grown.changed().await.is_err() {
            // What has failed long ago may be taken now.
            upload.wait(PARTS).await?;
            return Ok(Some(upload));
        }
    }
}

/// Reads what comes after all that was summed, up to so many bytes or the end of a part, and sums it.
fn next_part(mut file: &File, sum: &mut Sum, size: u64) -> io::Result<Vec<u8>> {
    let size = size.min(PART as u64);
    let mut part = Vec::with_capacity(usize::try_from(size).expect("a part is small"));
    file.seek(SeekFrom::Start(sum.size()))?;
    file.take(size).read_to_end(&mut part)?;
    sum.add(&part);
    Ok(part)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use tokio::sync::Semaphore;

    use super::*;

    /// Otherwise, its parts would take the time of the commit that goes on with them.
    #[test]
    fn what_is_put_ahead_ends_with_its_file_however_slow_the_server_is() {
        const HOUR: Duration = Duration::from_secs(3600);
        let slow = ThrottleConfig { wait_put_per_call: HOUR, ..ThrottleConfig::default() };
        let slow = Arc::new(ThrottledStore::new(InMemory::new(), slow));
        let bucket = Bucket::new("s3://bucket".parse().unwrap(), slow).unwrap();
        let (folder, one) = (tempfile::tempdir().unwrap(), Arc::new(Semaphore::new(1)));
        let name = folder.path().join("made");
        let file = File::create_new(&name).unwrap();
        file.set_len(10 * PART as u64).unwrap();
        let file = File::open(&name).unwrap();
        let one = one.try_acquire_owned().unwrap();
        let ahead = bucket.put_ahead(Path::from("g/1"), "g".to_owned(), (file, &name), one);
        ahead.grown();
        let (_, upload) =
            bucket.end_ahead(ahead, Duration::from_secs(60)).unwrap().expect("it goes on with that");
        assert_eq!(upload.sum.size(), (PARTS * PART) as u64);
    }
}
