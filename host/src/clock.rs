//! The time that calls may take: deadlines, and an engine's epoch, which is moved on while any call into the component is
//! running and ends those that are late.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// How long an epoch is.
const EPOCH: Duration = Duration::from_millis(10);

/// How late an epoch may be, of which a call that has just begun loses as much.
const CAUGHT_UP: Duration = Duration::from_millis(50);

/// Moves an engine's epoch on, in a thread of its own, which sleeps while no call is running. Ends when this is dropped.
pub(crate) struct Clock(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many calls are running.
    running: usize,
    /// Whether the thread waits for one.
    waiting: bool,
    ended: bool,
}

impl Clock {
    pub(crate) fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let (clock, engine) = (shared.clone(), engine.weak());
        thread::Builder::new().name("minisnap-clock".to_owned()).spawn(move || {
            let mut next = Instant::now();
            while clock.wait_for_a_call() {
                // A little late, it catches up; after a pause, it begins anew.
                let now = Instant::now();
                let is_late = now.saturating_duration_since(next) > CAUGHT_UP;
                next = if is_late { now } else { next } + EPOCH;
                thread::sleep(next.saturating_duration_since(now));
                // Without an engine, there is no clock either.
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Clock(shared))
    }

    /// Says that a call is running, until what is returned is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        let mut state = self.0.lock();
        state.running += 1;
        if state.waiting {
            self.0.changed.notify_one();
        }
        Running(&self.0)
    }

    /// How many epochs make up a time, and one more: the present one has begun.
    pub(crate) fn epochs(time: Duration) -> u64 {
        let epochs = time.as_nanos().div_ceil(EPOCH.as_nanos()).saturating_add(1);
        // Added to the present epoch, it must not overflow.
        u64::try_from(epochs).unwrap_or(u64::MAX).min(u64::MAX / 2)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a call is running; false at the end.
    fn wait_for_a_call(&self) -> bool {
        let waiting = |state: &mut State| {
            state.waiting = state.running == 0 && !state.ended;
            state.waiting
        };
        let state = self.changed.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }
}

/// When something must have ended, if ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline(None);

    /// So much time from now; never, if that is more than a clock can tell.
    pub(crate) fn after(time: Duration) -> Self {
        Deadline(Instant::now().checked_add(time))
    }

    /// The earlier one of two.
    pub(crate) fn or(self, other: Deadline) -> Self {
        Deadline(self.0.into_iter().chain(other.0).min())
    }

    /// How much time is left.
    pub(crate) fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// How long it has been over, if it is.
    pub(crate) fn late(self) -> Option<Duration> {
        Instant::now().checked_duration_since(self.0?)
    }

    pub(crate) fn is_never(self) -> bool {
        self.0.is_none()
    }
}

/// A call that is running.
pub(crate) struct Running<'c>(&'c Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}
