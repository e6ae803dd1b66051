//! What waits for the next use, up to a limit: what was not used for longest is dropped first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What waits in the slots of all owners.
pub(crate) struct Idle<T> {
    most: usize,
    /// What becomes of one that is dropped for another.
    evict: fn(T),
    waiting: Mutex<Waiting<T>>,
}

struct Waiting<T> {
    /// The number of the next one that is put.
    next: u64,
    /// The slots in which one waits, by when it was put there.
    slots: BTreeMap<u64, Weak<Mutex<Content<T>>>>,
}

/// A place of one owner, in which something can wait.
pub(crate) struct Slot<T> {
    content: Arc<Mutex<Content<T>>>,
    idle: Arc<Idle<T>>,
}

/// What is in a slot, and under which number it waits there; without one, it stays.
struct Content<T> {
    value: Option<T>,
    number: Option<u64>,
}

impl<T> Idle<T> {
    /// Lets `most` wait.
    pub(crate) fn new(most: usize, evict: fn(T)) -> Self {
        Idle { most, evict, waiting: Mutex::new(Waiting { next: 0, slots: BTreeMap::new() }) }
    }

    /// Another slot.
    pub(crate) fn slot(self: &Arc<Self>) -> Slot<T> {
        Slot { content: Arc::new(Mutex::new(Content { value: None, number: None })), idle: self.clone() }
    }

    /// Drops what has waited longest, or says that nothing waits.
    pub(crate) fn drop_oldest(&self) -> bool {
        self.drop_beyond(0)
    }

    /// Drops what has waited longest, if more than `most` wait.
    fn drop_beyond(&self, most: usize) -> bool {
        let mut waiting = lock(&self.waiting);
        let oldest = if waiting.slots.len() > most { waiting.slots.pop_first() } else { None };
        drop(waiting);
        let Some((number, slot)) = oldest else { return false };
        // It may have been taken just now.
        let value = slot.upgrade().and_then(|slot| {
            let mut content = lock(&slot);
            if content.number == Some(number) { content.value.take() } else { None }
        });
        if let Some(value) = value {
            (self.evict)(value);
        }
        true
    }
}

impl<T> Slot<T> {
    /// Takes what is in the slot.
    pub(crate) fn take(&self) -> Option<T> {
        let mut content = lock(&self.content);
        let (value, number) = (content.value.take(), content.number.take());
        drop(content);
        if let Some(number) = number {
            lock(&self.idle.waiting).slots.remove(&number);
        }
        value
    }

    /// Puts something into the slot, which is empty, to stay there.
    pub(crate) fn keep(&self, value: T) {
        *lock(&self.content) = Content { value: Some(value), number: None };
    }

    /// Puts something into the slot, which is empty, to wait there; drops what has waited longest, if too many do.
    pub(crate) fn put(&self, value: T) {
        let mut waiting = lock(&self.idle.waiting);
        let number = waiting.next;
        waiting.next += 1;
        *lock(&self.content) = Content { value: Some(value), number: Some(number) };
        waiting.slots.insert(number, Arc::downgrade(&self.content));
        drop(waiting);
        // One more waits than before.
        self.idle.drop_beyond(self.idle.most);
    }

    /// Looks at what is in the slot.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        lock(&self.content).value.as_mut().map(look)
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_dropped_first() {
        let idle = Arc::new(Idle::new(2, drop));
        let slots: Vec<Slot<usize>> = (0..4).map(|_| idle.slot()).collect();
        slots[3].keep(3);
        for number in [0, 1] {
            slots[number].put(number);
        }
        assert_eq!(slots[0].take(), Some(0));
        slots[0].put(0);
        slots[2].put(2);
        assert_eq!(slots.iter().map(Slot::take).collect::<Vec<_>>(), [Some(0), None, Some(2), Some(3)]);
        // What has gone with its slot takes nobody's place.
        slots[0].put(0);
        drop(slots);
        let slots = [idle.slot(), idle.slot()];
        slots[0].put(0);
        slots[1].put(1);
        assert_eq!(slots[0].take(), Some(0));
        slots[0].put(0);
        assert!(idle.drop_oldest() && slots[1].take().is_none());
        assert!(idle.drop_oldest() && slots[0].take().is_none());
        assert!(!idle.drop_oldest());
    }
}
