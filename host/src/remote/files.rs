//! The files of generations: how they are got into a folder, and their sums.

use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path as FilePath;

use futures_util::TryStreamExt;
use object_store::path::Path;
use xxhash_rust::xxh3::Xxh3;

use super::bucket::Bucket;
use super::failure::Failure;
use super::head::Generation;
use super::protocol::Answer;
use crate::error::Error;

/// A file is summed in pieces of this size.
const BUFFER: usize = 64 << 10;

/// What a file is called in its folder until all of it was got.
const FETCHED: &str = "fetched.tmp";

impl Bucket {
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
        let (file, fetched) = (folder.join(generation.file_name()), folder.join(FETCHED));
        if sum_of(&file).is_ok_and(|(size, sum)| generation.is(size, &sum)) {
            return Ok(Answer::Done);
        }
        let placed = match self.fetch(path, generation, &fetched).await {
            // Nobody syncs it, and what the disk has lost is no damage of the object.
            Ok(Answer::Done) if !sum_of(&fetched).is_ok_and(|(size, sum)| generation.is(size, &sum)) => {
                Err(Failure::Final(Error::other(lost(&fetched))))
            }
            Ok(Answer::Done) => {
                // When it was written is for people.
                let written = generation.time();
                let opened = fs::File::options().append(true).open(&fetched);
                let _ = opened.and_then(|it| it.set_modified(written));
                let renamed = fs::rename(&fetched, &file);
                let renamed = renamed.map_err(|error| Error::io("rename", &fetched, error));
                renamed.map(|()| Answer::Done).map_err(Failure::Final)
            }
            other => other,
        };
        if !matches!(placed, Ok(Answer::Done)) {
            let _ = fs::remove_file(&fetched);
        }
        placed
    }

    /// Gets an object into a file, and says whether it is what was put.
    async fn fetch(
        &self,
        path: &Path,
        generation: &Generation,
        file: &FilePath,
    ) -> std::result::Result<Answer, Failure> {
        let Some(got) = self.object(path).await? else { return Ok(Answer::Missing) };
        if got.meta.size != generation.size {
            return Ok(Answer::Damaged);
        }
        // Where nothing is found, no folder is made.
        let (mut target, mut sum) = (create(file)?, Sum::default());
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|told| self.cut_off(path, &told))? {
            sum.add(&piece);
            let written = target.write_all(&piece);
            written.map_err(|error| Failure::Final(Error::io("write", file, error)))?;
        }
        if sum.size() != generation.size {
            return Err(self.cut_short(path, sum.size(), generation.size));
        }
        Ok(if generation.is(sum.size(), &sum.text()) { Answer::Done } else { Answer::Damaged })
    }
}

/// Makes a file, and the folder in which it lies if that is not there.
fn create(file: &FilePath) -> std::result::Result<fs::File, Failure> {
    let folder = file.parent().unwrap_or(file);
    make_private(folder).map_err(|error| Failure::Final(Error::io("make the directory", folder, error)))?;
    fs::File::create(file).map_err(|error| Failure::Final(Error::io("write", file, error)))
}

/// Makes a directory for this user alone, and what lies above it, if it is not there.
pub(super) fn make_private(folder: &FilePath) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The size of a file, and its sum.
pub(super) fn sum_of(file: &FilePath) -> io::Result<(u64, String)> {
    sum_of_open(&fs::File::open(file)?)
}

/// The same of one that is open.
pub(super) fn sum_of_open(mut file: &fs::File) -> io::Result<(u64, String)> {
    let mut sum = Sum::default();
    file.rewind()?;
    sum.add_all(file)?;
    Ok((sum.size, sum.text()))
}

/// How many bytes the last line of a generation's file takes, and the end.
const LAST_LINE: u64 = 48;

/// The size and the sum of a file that the component has made, or `None` if it is not what was written: the last line says what
/// all before it comes to. Where nothing is synced, nobody else tells what a disk has lost. It goes on from what was summed.
pub(super) fn sum_of_made(file: &FilePath, summed: &Sum) -> io::Result<Option<(u64, String)>> {
    let mut file = fs::File::open(file)?;
    let end = file.metadata()?.len().saturating_sub(LAST_LINE);
    let mut sum = if summed.size() <= end { summed.clone() } else { Sum::default() };
    file.seek(SeekFrom::Start(sum.size()))?;
    sum.add_all((&mut file).take(end - sum.size()))?;
    let expected = format!("  \"xxh128\": \"{}\"\n}}", sum.text());
    let mut last = Vec::new();
    file.read_to_end(&mut last)?;
    sum.add(&last);
    Ok((last == expected.as_bytes()).then(|| (sum.size(), sum.text())))
}

/// That a file is not what was written to it.
pub(super) fn lost(file: &FilePath) -> String {
    let file = file.display();
    format!("`{file}` is not what was written there: see that this machine's disk is sound, and has room")
}

/// The sum of what was added.
#[derive(Clone, Default)]
pub(super) struct Sum {
    sum: Xxh3,
    size: u64,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn add_all(&mut self, bytes: impl Read) -> io::Result<()> {
        io::copy(&mut BufReader::with_capacity(BUFFER, bytes), self).map(drop)
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
