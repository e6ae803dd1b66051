//! The instances of all stores: their memory, and those that wait for the next call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime::component::ResourceAny;

use crate::instance::{Instance, Stream};

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

    /// Looks at a stream that is open in the instance that waits here.
    pub(crate) fn with_stream<R>(
        &self,
        stream: ResourceAny,
        look: impl FnOnce(&mut Stream) -> R,
    ) -> Option<R> {
        lock(&self.0).as_mut()?.stream(stream).map(look)
    }

    /// Whether a writer of the store of this name is open in the instance that waits here.
    pub(crate) fn has_writer(&self, name: &str) -> bool {
        let is_writer = |stream: &Stream| stream.locked.is_some() && stream.name == name;
        lock(&self.0).as_ref().is_some_and(|instance| instance.streams.iter().any(is_writer))
    }

    /// Whether an instance waits here that has streams open.
    pub(crate) fn has_streams(&self) -> bool {
        lock(&self.0).as_ref().is_some_and(|instance| !instance.streams.is_empty())
    }
}

/// What all instances share.
pub(crate) struct Instances {
    max_idle: usize,
    max_memory: usize,
    /// The memory that they have, in bytes.
    memory: AtomicUsize,
    /// Held by whoever makes room, so that nobody is refused what another one is about to free.
    making_room: Mutex<()>,
    /// The slots in which an instance may wait, the least recently used first.
    slots: Mutex<VecDeque<Weak<Mutex<Option<Instance>>>>>,
}

impl Instances {
    /// Keeps `max_idle` idle instances, and those that have streams open; together, all have `max_memory` bytes at most.
    pub(crate) fn new(max_idle: usize, max_memory: usize) -> Self {
        Instances {
            max_idle,
            max_memory,
            memory: AtomicUsize::new(0),
            making_room: Mutex::default(),
            slots: Mutex::default(),
        }
    }

    /// The same with another limit on those that wait.
    pub(crate) fn with_max_idle(&self, max_idle: usize) -> Self {
        Self::new(max_idle, self.max_memory)
    }

    /// The same with another limit on their memory, in bytes.
    pub(crate) fn with_max_memory(&self, max_memory: usize) -> Self {
        Self::new(self.max_idle, max_memory)
    }

    /// The most memory that all may have together, in bytes.
    pub(crate) fn max_memory(&self) -> usize {
        self.max_memory
    }

    /// Lets an instance have so many bytes more, for which idle instances make room; or not.
    pub(crate) fn allow(&self, bytes: usize) -> bool {
        let is_allowed = || {
            let more = |memory: usize| memory.checked_add(bytes).filter(|memory| *memory <= self.max_memory);
            self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        if is_allowed() {
            return true;
        }
        let _alone = lock(&self.making_room);
        is_allowed() || {
            self.drop_idle(0);
            is_allowed()
        }
    }

    /// Takes bytes back that were allowed.
    pub(crate) fn take_back(&self, bytes: usize) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Puts an instance into its slot, and drops the one that has waited longest, if they are too many.
    pub(crate) fn put(&self, slot: &Slot, instance: Instance) {
        slot.put(instance);
        let this = Arc::downgrade(&slot.0);
        let mut slots = lock(&self.slots);
        if slots.back().is_some_and(|last| last.ptr_eq(&this)) && self.max_idle > 0 {
            return;
        }
        slots.retain(|slot| !slot.ptr_eq(&this) && slot.strong_count() > 0);
        slots.push_back(this);
        drop(slots);
        self.drop_idle(self.max_idle);
    }

    /// Drops idle instances until `most` are left, those first that have waited longest.
    fn drop_idle(&self, most: usize) {
        let mut slots = lock(&self.slots);
        let too_many = slots.len().saturating_sub(most);
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
