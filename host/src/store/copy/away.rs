//! Copying to an object store: everything is put first, and one commit makes it count.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::{Identity, Original, generation, open};
use super::plan::{Found, Plan};
use super::{Copied, Result, Source, Target};
use crate::error::{self, Error};
use crate::snapshot::Layout;
use crate::staged::Staging;
use crate::store::SnapshotStore;

impl SnapshotStore {
    /// Carries a plan out. `None` if what is to be copied is not there any more, and nothing was.
    pub(super) fn carry_out_away(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Copied>> {
        let gone = plan.gone;
        self.ask(|staging, time| staging.begin_copy(gone, time)).map_err(Target)?;
        // Unless it comes to its end, it is given up in the end.
        let Some((copied, damaged)) = self.put_all(from, plan, progress)? else { return Ok(None) };
        // What is read there next is got from there.
        self.ask(|staging, _| staging.forget("")).map_err(Target)?;
        self.ask(|staging, time| staging.end_copy(&copied.replaced, &damaged, time)).map_err(Target)?;
        Ok(Some(copied))
    }

    /// Puts what is to be copied; returns what that was, and the numbers of what is damaged there.
    fn put_all(
        &mut self,
        from: &mut SnapshotStore,
        plan: Plan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<(Copied, Vec<u64>)>> {
        let Plan { mut copied, as_files, seqs, files, .. } = plan;
        let newest = seqs.first().map(|(seq, _)| *seq);
        let mut damaged = Vec::new();
        for (seq, found) in seqs.into_iter().filter(|(_, found)| *found != Found::SameState) {
            let put = match as_files {
                true => self.put_file(from, seq, &files, progress)?,
                false => self.put_state(from, seq, copied.layout, progress)?,
            };
            match found {
                _ if put => damaged.extend((found == Found::Damaged).then_some(seq)),
                // As if it had been pruned before.
                Found::Nothing | Found::Damaged if Some(seq) != newest => {
                    copied.copied.retain(|other| *other != seq);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some((copied, damaged)))
    }

    /// Puts the file of a generation. Returns whether it was there still, as it was when it was checked.
    fn put_file(
        &mut self,
        from: &mut SnapshotStore,
        seq: u64,
        checked: &BTreeMap<u64, Identity>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let original = from.original(seq, checked.get(&seq)).map_err(Source)?;
        let Some(Original { file, path, modified }) = original else { return Ok(false) };
        // Whatever becomes of its name, it stays what it is.
        self.put((&file, &path), seq, modified, progress).map_err(Target)?;
        Ok(true)
    }

    /// Puts a state, which the component lays out first. Returns whether it was there still.
    fn put_state(
        &mut self,
        from: &mut SnapshotStore,
        seq: u64,
        layout: Layout,
        progress: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        if !self.copy_state(from, seq, layout, &mut |_| ())? {
            return Ok(false);
        }
        let made = self.away(|staging, _| staging.made("", seq)).map_err(Target)?;
        let path = made.map_or_else(|| self.grant.dir.join(generation(seq)), |(path, ..)| path);
        let file = open(&path).map_err(|error| Target(Error::io("open", &path, error)))?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
        self.put((&file, &path), seq, modified, progress).map_err(Target)?;
        Ok(true)
    }

    fn put(
        &mut self,
        file: (&File, &Path),
        seq: u64,
        modified: Option<SystemTime>,
        progress: &mut dyn FnMut(u64),
    ) -> error::Result<()> {
        self.ask(|staging, time| staging.put(file, seq, modified, time))?;
        progress(file.0.metadata().map_or(0, |metadata| metadata.len()));
        Ok(())
    }

    /// Asks the object store.
    fn ask(&mut self, ask: impl FnOnce(&mut Staging, Duration) -> error::Result<()>) -> error::Result<()> {
        self.away(ask)?.ok_or_else(|| Error::other("it is in no object store".to_owned()))
    }
}
