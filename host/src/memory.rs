//! The memory of instances: what one may have, and what all may have together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::ResourceLimiter;

use crate::error::Error;

/// How many elements a table of an instance may have: its functions, mostly.
const MAX_TABLE: usize = 10_000;

/// The memory that all instances may have together.
pub(crate) struct Budget {
    /// In bytes.
    most: usize,
    used: AtomicUsize,
    /// Held by whoever makes room, so that nobody is refused what another one is about to free.
    making_room: Mutex<()>,
    /// Frees something that can be made again, or says that there is nothing.
    make_room: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The memory of one instance in bytes.
pub(crate) struct Memory {
    most: usize,
    peak: usize,
    size: usize,
    /// The last growth, which is given back if the system refuses it.
    growing: usize,
    budget: Arc<Budget>,
    /// Whether more was refused because all instances together have too much.
    wanted_too_much_of_all: bool,
}

impl Budget {
    /// At most `most` bytes; where more is wanted, `make_room` frees something, or says that there is nothing.
    pub(crate) fn new(most: usize, make_room: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Budget {
            most,
            used: AtomicUsize::new(0),
            making_room: Mutex::default(),
            make_room: Box::new(make_room),
        }
    }

    fn allow(&self, bytes: usize) -> bool {
        let is_allowed = || {
            let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.most);
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        if is_allowed() {
            return true;
        }
        let _alone = self.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if is_allowed() {
                return true;
            }
            if !(self.make_room)() {
                return false;
            }
        }
    }

    fn take_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Memory {
    /// At most `most` bytes, of this budget.
    pub(crate) fn new(most: usize, budget: Arc<Budget>) -> Self {
        Memory { most, peak: 0, size: 0, growing: 0, budget, wanted_too_much_of_all: false }
    }

    /// The most that it has had, in bytes.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// Why a call failed, if the budget was the cause.
    pub(crate) fn problem(&mut self) -> Option<Error> {
        std::mem::take(&mut self.wanted_too_much_of_all).then(|| {
            Error::other(format!(
                "the snapshot stores of this host have used up their memory limit of {} bytes for all together: try \
                 again later",
                self.budget.most
            ))
        })
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, size: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.most {
            return Ok(false);
        }
        let more = desired.saturating_sub(size);
        if !self.budget.allow(more) {
            self.wanted_too_much_of_all = true;
            return Ok(false);
        }
        self.growing = more;
        self.size += more;
        self.peak = self.peak.max(self.size);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let growing = std::mem::take(&mut self.growing);
        self.size -= growing;
        self.budget.take_back(growing);
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.budget.take_back(self.size);
    }
}
