//! What only a host does to a store: `snapshot-maintenance.wit`.

use tracing::warn;

use crate::error::{Error, Result};
use crate::grant::span;
use crate::metrics::Event;
use crate::snapshot::Layout;
use crate::store::SnapshotStore;

impl SnapshotStore {
    /// The layout of the snapshots that the directory holds.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Corrupt`] if there is only something like a snapshot, [`Error::AccessDenied`],
    /// [`Error::Busy`], [`Error::Io`], [`Error::Component`].
    pub fn layout(&mut self) -> Result<Layout> {
        if let Some(listed) = self.listed("")? {
            return if listed.is_empty() { Err(Error::NotFound) } else { Ok(Layout::Numbered) };
        }
        let layout = self.with_instance("layout-of", |instance| {
            let maintenance = instance.bindings.arcella_minisnap_snapshot_maintenance();
            maintenance.call_layout_of(&mut instance.store, instance.this)
        });
        layout?.map(Into::into).ok_or(Error::NotFound)
    }

    /// Settles what an earlier crash left: finishes or removes it, as every call that writes does first. Returns how many
    /// files it left.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::NoSpace`], [`Error::AccessDenied`], [`Error::Busy`], [`Error::Io`],
    /// [`Error::Component`].
    pub fn settle(&mut self) -> Result<u64> {
        self.check_granted()?;
        let _span = span!("settle", self.grant, self.grant.dir).entered();
        let leftovers = self.in_one_turn(|store| {
            store.check_replaceable("")?;
            let result = store.with_instance("settle", |instance| {
                let maintenance = instance.bindings.arcella_minisnap_snapshot_maintenance();
                maintenance.call_settle(&mut instance.store, instance.this)
            });
            store.explain(result)
        })?;
        if leftovers > 0 {
            self.count(Event::Settled(leftovers));
            warn!(leftovers, "what an earlier crash left was finished or removed");
        }
        self.settled = true;
        Ok(leftovers)
    }

    /// Makes the generation with the number `seq` the newest, durably: undoes those above it, and returns their numbers, newest
    /// first. They are renamed to `snapshot_{20 digits}.json.undone`, which only `clear` counts or removes. Whoever restores
    /// meanwhile, or after a crash, finds the snapshot that was newest or this generation.
    ///
    /// The log still holds the records of what was undone: whoever replays it must leave those out.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no such generation, [`Error::Corrupt`] if it is damaged, [`Error::AccessDenied`],
    /// [`Error::Busy`] while a component has a writer open, [`Error::Io`], also of a pair, [`Error::InDoubt`],
    /// [`Error::Component`].
    pub fn rollback(&mut self, seq: u64) -> Result<Vec<u64>> {
        self.check_granted()?;
        let _span = span!("rollback", self.grant, self.grant.dir, seq).entered();
        let undone = self.in_one_turn(|store| {
            if let Some(undone) = store.rollback_away(seq)? {
                return Ok(Some(undone));
            }
            store.settle_first("")?;
            let result = store.with_instance("rollback", |instance| {
                let maintenance = instance.bindings.arcella_minisnap_snapshot_maintenance();
                maintenance.call_rollback(&mut instance.store, instance.this, seq)
            });
            store.explain(result)
        })?;
        undone.ok_or(Error::NotFound)
    }

    /// What an earlier crash left is settled by whatever writes; the first time, of the component's own store, it is told of.
    pub(super) fn settle_first(&mut self, name: &str) -> Result<()> {
        if self.settled || !name.is_empty() { self.check_replaceable(name) } else { self.settle().map(drop) }
    }
}
