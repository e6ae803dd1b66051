//! The files of generations: how they are put, and got into a folder.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::Path as FilePath;

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as Told, GetResult, ObjectStoreExt, PutPayload, WriteMultipart};
use xxhash_rust::xxh3::Xxh3;

use super::bucket::Bucket;
use super::failure::Failure;
use super::head::Generation;
use super::protocol::Answer;
use crate::error::Error;

/// A larger file is put in parts of this size.
const PART: usize = 8 << 20;

/// How many parts are on their way at a time.
const PARTS: usize = 4;

/// What a file is called in its folder until all of it was got.
const FETCHED: &str = "fetched.tmp";

impl Bucket {
    /// Puts a file, which is open and has this name, if it is what the generation says.
    pub(super) async fn put_file(
        &self,
        path: &Path,
        generation: &Generation,
        mut source: &fs::File,
        file: &FilePath,
    ) -> std::result::Result<(), Failure> {
        let failed = |told: &Told| Failure::of(&format!("put {}", self.url(path)), told);
        let unread = |error| Failure::Final(Error::io("read", file, error));
        source.rewind().map_err(unread)?;
        let mut sum = Sum::default();
        let mut next = |left: u64| {
            let size = left.min(PART as u64);
            let mut part = Vec::with_capacity(usize::try_from(size).expect("a part is small"));
            (&mut source).take(size).read_to_end(&mut part).map_err(unread)?;
            sum.add(&part);
            let left = left - part.len() as u64;
            if part.len() as u64 != size || left == 0 && sum.text() != generation.sum {
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

    /// Gets the file of a generation into a folder, unless it is there already: what lies there is known by its sum alone.
    pub(super) async fn get_file(
        &self,
        path: &Path,
        generation: &Generation,
        folder: &FilePath,
    ) -> std::result::Result<Answer, Failure> {
        match self.get_file_once(path, generation, folder).await {
            // What was garbled on its way is not, once more.
            Ok(Answer::Damaged) => self.get_file_once(path, generation, folder).await,
            got => got,
        }
    }

    async fn get_file_once(
        &self,
        path: &Path,
        generation: &Generation,
        folder: &FilePath,
    ) -> std::result::Result<Answer, Failure> {
        let failed = |told: &Told| Failure::of(&format!("get {}", self.url(path)), told);
        let (file, part) = (folder.join(generation.file_name()), folder.join(FETCHED));
        let of = (generation.size, generation.sum.as_str());
        if sum_of(&file).is_ok_and(|(size, sum)| (size, sum.as_str()) == of) {
            return Ok(Answer::Done);
        }
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
        let fetched = fetch(got, &part, failed).await;
        let placed = match fetched {
            Ok((size, sum)) if (size, sum.as_str()) == of => {
                // When it was written is for people.
                let written = generation.time();
                let _ = fs::File::options().append(true).open(&part).and_then(|it| it.set_modified(written));
                let renamed = fs::rename(&part, &file).map_err(|error| Error::io("rename", &part, error));
                renamed.map(|()| Answer::Done).map_err(Failure::Final)
            }
            Ok(_) => Ok(Answer::Damaged),
            Err(failure) => Err(failure),
        };
        if !matches!(placed, Ok(Answer::Done)) {
            let _ = fs::remove_file(&part);
        }
        placed
    }
}

/// Makes a directory for this user alone, and what lies above it, if it is not there.
pub(super) fn make_private(folder: &FilePath) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes what comes to a file; returns its size and its sum.
async fn fetch(
    got: GetResult,
    file: &FilePath,
    failed: impl Fn(&Told) -> Failure,
) -> std::result::Result<(u64, String), Failure> {
    let unwritten = |error| Failure::Final(Error::io("write", file, error));
    // Where nothing is found, no folder is made.
    let folder = file.parent().unwrap_or(file);
    make_private(folder).map_err(|error| Failure::Final(Error::io("make the directory", folder, error)))?;
    let mut target = fs::File::create(file).map_err(unwritten)?;
    let mut sum = Sum::default();
    let mut pieces = got.into_stream();
    while let Some(piece) = pieces.try_next().await.map_err(|told| failed(&told))? {
        sum.add(&piece);
        target.write_all(&piece).map_err(unwritten)?;
    }
    Ok((sum.size, sum.text()))
}

/// The size of a file, and its sum.
pub(super) fn sum_of(file: &FilePath) -> io::Result<(u64, String)> {
    sum_of_open(&fs::File::open(file)?)
}

/// The same of one that is open.
pub(super) fn sum_of_open(mut file: &fs::File) -> io::Result<(u64, String)> {
    let mut sum = Sum::default();
    file.rewind()?;
    io::copy(&mut file, &mut sum)?;
    Ok((sum.size, sum.text()))
}

/// The sum of what was added.
#[derive(Default)]
pub(super) struct Sum {
    sum: Xxh3,
    size: u64,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn text(&self) -> String {
        format!("{:032x}", self.sum.digest128())
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
