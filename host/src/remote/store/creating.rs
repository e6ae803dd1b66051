//! Creating a generation, whose object may be put while the file is being made.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{RemoteStore, milliseconds};
use crate::error::Result;
use crate::remote::ask::Patience;
use crate::remote::head::{Generation, Limits};
use crate::remote::upload::{Ahead, Local, Upload};

impl RemoteStore {
    /// Begins to put a file that is being made for the generation with this number, or not: if it cannot be opened, the store
    /// is not open for writing, or of another file parts are still being put, or removed.
    pub(in crate::remote) fn put_ahead(&mut self, name: &Path, seq: u64) -> Option<Ahead> {
        let writer = self.writer.as_deref_mut().filter(|writer| writer.is_owner())?;
        let one = Arc::clone(&self.one_ahead).try_acquire_owned().ok()?;
        let file = File::open(name).ok()?;
        let folder = writer.folder_of(seq);
        let key = Generation::new(&folder, seq, 0, String::new(), 0).key;
        let path = self.bucket.path(&format!("{}/{key}", self.name));
        Some(self.bucket.put_ahead(path, folder, (file, name), one))
    }

    /// As [`create`](Self::create), of a file of which size and sum are known, and parts may have been put.
    pub(in crate::remote) fn create_of(
        &mut self,
        (file, size, sum): (&Path, u64, String),
        seq: u64,
        limits: Limits,
        ahead: Option<(String, Upload)>,
        deadline: Duration,
    ) -> Result<()> {
        let patience = Patience::new(deadline);
        let written = milliseconds(SystemTime::now());
        let is_for = |folder: &str| self.writer.as_ref().is_some_and(|writer| writer.is_for(folder, seq));
        let (folder, ahead) = ahead.filter(|(folder, _)| is_for(folder)).unzip();
        let local = Local { path: Some(file), ahead: ahead.into() };
        self.change("create", patience, local, |writer| match folder {
            Some(folder) => writer.insert_in(Generation::new(&folder, seq, size, sum, written), limits),
            None => writer.insert(seq, size, sum, written, limits),
        })
    }
}
