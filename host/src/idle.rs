//! The instances that wait for the next call of their stores: those that have waited longest are dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::instance::Instance;

/// Where a store keeps its instance between two calls, unless it was dropped since.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Instance>>>);

impl Slot {
    pub(crate) fn take(&self) -> Option<Instance> {
        lock(&self.0).take()
    }

    pub(crate) fn put(&self, instance: Instance) {
        *lock(&self.0) = Some(instance);
    }

    /// Whether an instance waits here that has streams open.
    pub(crate) fn has_streams(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|instance| !instance.streams.is_empty())
    }
}

/// The slots in which an instance may wait, the least recently used first.
pub(crate) struct Idle {
    most: usize,
    slots: Mutex<VecDeque<Weak<Mutex<Option<Instance>>>>>,
}

impl Idle {
    /// Keeps as many instances as `most`, and those that have streams open.
    pub(crate) fn new(most: usize) -> Self {
        Idle { most, slots: Mutex::default() }
    }

    /// Puts an instance into its slot, and drops the one that has waited longest, if they are too many.
    pub(crate) fn put(&self, slot: &Slot, instance: Instance) {
        slot.put(instance);
        let this = Arc::downgrade(&slot.0);
        let mut slots = lock(&self.slots);
        if slots.back().is_some_and(|last| last.ptr_eq(&this)) && self.most > 0 {
            return;
        }
        slots.retain(|slot| !slot.ptr_eq(&this) && slot.strong_count() > 0);
        slots.push_back(this);
        let too_many = slots.len().saturating_sub(self.most);
        let oldest: Vec<_> = slots.drain(..too_many).collect();
        drop(slots);
        for slot in oldest.iter().filter_map(Weak::upgrade) {
            // An instance that is being called has been taken from its slot.
            drop(lock(&slot).take_if(|instance| instance.streams.is_empty()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
