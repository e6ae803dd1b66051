//! Adding generations of any numbers, in one commit.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{RemoteStore, milliseconds};
use crate::error::{Error, Result};
use crate::remote::ask::{Patience, again};
use crate::remote::files::sum_of_open;
use crate::remote::head::{Copying, Generation};
use crate::remote::protocol::Writer;
use crate::remote::upload::Local;

impl RemoteStore {
    /// Begins a copy, to which give way the generations from the number `gone` on. Returns the folder of its objects.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if the store was taken over, and as [`restore`](Self::restore).
    pub(in crate::remote) fn begin_copy(&mut self, gone: u64, deadline: Duration) -> Result<String> {
        self.check_owner(deadline)?;
        Ok(self.writing()?.folder(gone))
    }

    /// Puts a file, which the store component has laid out, for a [copy](Self::copy) that adds it, or has it
    /// [abandoned](Self::abandon). It is open, and has this name.
    pub(in crate::remote) fn put(
        &mut self,
        folder: &str,
        (file, name): (&File, &Path),
        seq: u64,
        written: Option<SystemTime>,
        deadline: Duration,
    ) -> Result<Generation> {
        let patience = Patience::new(deadline);
        self.writing()?;
        let (size, sum) = sum_of_open(file).map_err(|error| Error::io("read", name, error))?;
        let written = milliseconds(written.unwrap_or_else(SystemTime::now));
        let generation = Generation::new(folder, seq, size, sum, written);
        let path = self.bucket.path(&format!("{}/{}", self.name, generation.key));
        let put = async || self.bucket.put_file(&path, &generation, file, name, None).await;
        let put = self.bucket.block_on(again(&self.url(), "copy", patience, put));
        match put.flatten() {
            Ok(()) => Ok(generation),
            Err(error) => {
                // It may come yet.
                self.writing()?.lose(generation);
                Err(error)
            }
        }
    }

    fn writing(&mut self) -> Result<&mut Writer> {
        let url = self.url();
        let writer = self.writer.as_deref_mut();
        writer.ok_or_else(|| Error::denied(format!("`{url}` is not open for writing")))
    }

    /// Makes the generations that were put ones of this store.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub(in crate::remote) fn copy(&mut self, copying: Copying, deadline: Duration) -> Result<()> {
        self.change("copy", Patience::new(deadline), Local::default(), |writer| writer.copy(copying))
    }

    /// Deletes what was put, and is not added.
    pub(in crate::remote) fn abandon(&mut self, generations: Vec<Generation>) {
        if let Some(writer) = &mut self.writer {
            writer.abandon(generations);
        }
        self.tidy();
    }
}
