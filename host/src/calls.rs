//! Limits how many calls of all stores run at once, in all, on one file system and in one directory: a file system that
//! hangs cannot hold up the others.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::Span;

use crate::clock::Deadline;
use crate::error::{Error, Result};

/// How many calls run at once, unless the host says otherwise.
pub(crate) const MAX_CALLS: usize = 512;

/// A file system may take a fourth of the calls, and a directory a fourth of those.
const SHARE: usize = 4;

/// How long after its deadline a caller stops waiting for a call. A call that can be interrupted reports its own error before.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// How long a thread waits for its next call.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What a call works on.
#[derive(Debug)]
pub(crate) struct Target {
    /// The directory, an absolute path.
    pub(crate) dir: PathBuf,
    /// Its file system, where that is known.
    device: Option<Key>,
    key: Key,
}

/// What has a share of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// A file system's device.
    Device(u64),
    /// The path of a directory, or the URL of a store or a server, hashed: where two are taken for one, they share.
    Dir(u64),
}

impl Key {
    fn of(dir: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        dir.hash(&mut hasher);
        Key::Dir(hasher.finish())
    }
}

/// The calls that are running, those that wait for their turn, and the threads for those whose callers may not block.
pub(crate) struct Calls {
    most: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of the next call.
    next: u64,
    running: Vec<Call>,
    /// How many of them use each file system and directory.
    shares: HashMap<Key, usize>,
    /// In the order in which they came. A call whose file system or directory has its share is passed over.
    waiting: VecDeque<(Call, Start)>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// Threads that were notified and have not run yet.
    woken: usize,
}

struct Call {
    number: u64,
    target: Arc<Target>,
    deadline: Deadline,
}

/// How a call begins.
enum Start {
    /// In its caller's thread, which waits for this.
    Here(SyncSender<()>),
    /// In a thread for calls.
    InThread(Job),
}

/// Makes the call, or reports the error for which it did not begin.
type Job = Box<dyn FnOnce(Result<()>) + Send>;

/// The right of a call to run in its caller's thread, until this is dropped.
pub(crate) struct Turn {
    calls: Arc<Calls>,
    number: u64,
}

/// A call that was submitted. Dropping this before the call has begun withdraws it.
pub(crate) struct Submitted {
    calls: Arc<Calls>,
    number: u64,
}

impl Target {
    /// A directory, on the device that its path says.
    pub(crate) fn new(dir: PathBuf) -> Self {
        let device = crate::location::device_of(&dir);
        let key = Key::of(&dir);
        Target { dir, device: device.map(Key::Device), key }
    }

    /// A store in an object store, whose calls are of one server.
    #[cfg(feature = "remote")]
    pub(crate) fn remote(server: PathBuf, store: PathBuf) -> Self {
        Target { device: Some(Key::of(&server)), key: Key::of(&store), dir: store }
    }

    /// The same directory, now that it is known to be on this device.
    pub(crate) fn on_device(&self, device: u64) -> Self {
        Target { dir: self.dir.clone(), device: Some(Key::Device(device)), key: self.key }
    }

    /// Whether it is known to be on this device.
    pub(crate) fn is_on_device(&self, device: u64) -> bool {
        self.device == Some(Key::Device(device))
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        self.device.into_iter().chain([self.key])
    }
}

impl Calls {
    /// Lets `most` calls run at once.
    pub(crate) fn new(most: usize) -> Self {
        Calls { most: most.max(1), state: Mutex::default(), work: Condvar::new() }
    }

    /// Waits for the turn of a call in this thread.
    ///
    /// # Errors
    ///
    /// [`Error::DeadlineExceeded`] if the directory hangs, or no turn came before the deadline.
    pub(crate) fn turn(self: &Arc<Self>, target: &Arc<Target>, deadline: Deadline) -> Result<Turn> {
        let mut state = self.lock();
        let call = state.call(target, deadline);
        state.check_answers(&call)?;
        let turn = Turn { calls: self.clone(), number: call.number };
        if state.has_room(self.most, &call) {
            state.begin(call);
            return Ok(turn);
        }
        let (begin, begun) = sync_channel(1);
        state.waiting.push_back((call, Start::Here(begin)));
        drop(state);
        let has_begun = begun.recv_timeout(deadline.left()).is_ok();
        if !has_begun && self.lock().withdraw(turn.number).is_some() {
            return Err(not_begun());
        }
        Ok(turn)
    }

    /// Runs a job in a thread when its turn comes. With a deadline, it fails at once if its directory hangs.
    pub(crate) fn submit(
        self: &Arc<Self>,
        target: &Arc<Target>,
        deadline: Deadline,
        job: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Submitted {
        let (span, runtime) = (Span::current(), Handle::try_current().ok());
        let mut state = self.lock();
        let call = state.call(target, deadline);
        let submitted = Submitted { calls: self.clone(), number: call.number };
        let job: Job = Box::new(move |turn| {
            // For what the host does in its call.
            let _runtime = runtime.as_ref().filter(|_| turn.is_ok()).map(Handle::enter);
            span.in_scope(|| job(turn));
        });
        if let Err(error) = state.check_answers(&call)
            && !deadline.is_never()
        {
            drop(state);
            job(Err(error));
            return submitted;
        }
        state.waiting.push_back((call, Start::InThread(job)));
        let refused = match self.begin_next(&mut state) {
            Ok(()) => None,
            Err(error) => state.withdraw(submitted.number).map(|start| (start, error)),
        };
        drop(state);
        if let Some((Start::InThread(job), error)) = refused {
            job(Err(Error::other(format!("no thread can be started for the call: {error}; try again"))));
        }
        submitted
    }

    /// Begins the call whose turn it is, if there is one.
    ///
    /// It is called whenever a call comes or ends: one more can begin then, at most.
    ///
    /// # Errors
    ///
    /// As a thread is started for it.
    fn begin_next(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let Some(next) = state.next(self.most) else { return Ok(()) };
        if let Start::InThread(_) = state.waiting[next].1 {
            return self.wake_a_thread(state);
        }
        if let Some((call, Start::Here(begin))) = state.waiting.remove(next) {
            state.begin(call);
            // A caller that has given up finds that it has begun.
            let _ = begin.send(());
        }
        Ok(())
    }

    fn wake_a_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if state.idle > 0 {
            state.idle -= 1;
            state.woken += 1;
            self.work.notify_one();
        } else if state.threads < self.most {
            let calls = self.clone();
            thread::Builder::new().name("minisnap-call".to_owned()).spawn(move || calls.work())?;
            state.threads += 1;
        }
        // Otherwise, each thread makes a call, or comes to look for one.
        Ok(())
    }

    /// Makes calls until there have been none for a while.
    fn work(self: Arc<Self>) {
        let mut state = self.lock();
        loop {
            while let Some(next) = state.next(self.most) {
                let Some((call, start)) = state.waiting.remove(next) else { break };
                let number = call.number;
                state.begin(call);
                match start {
                    Start::Here(begin) => drop(begin.send(())),
                    Start::InThread(job) => {
                        drop(state);
                        // Whoever waits for it learns of a panic from what the job has dropped.
                        let _ = catch_unwind(AssertUnwindSafe(|| job(Ok(()))));
                        state = self.lock();
                        state.end(number);
                    }
                }
            }
            state.idle += 1;
            let sleeping = |state: &mut State| state.woken == 0;
            let waited = self.work.wait_timeout_while(state, KEEP_ALIVE, sleeping);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.woken == 0 {
                state.idle -= 1;
                state.threads -= 1;
                return;
            }
            state.woken -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn call(&mut self, target: &Arc<Target>, deadline: Deadline) -> Call {
        self.next += 1;
        Call { number: self.next, target: target.clone(), deadline }
    }

    /// Whether a call can begin.
    fn has_room(&self, most: usize, call: &Call) -> bool {
        let has_room = |key| {
            let share = match key {
                Key::Device(_) => most / SHARE,
                Key::Dir(_) => most / SHARE / SHARE,
            };
            self.shares.get(&key).is_none_or(|running| *running < share.max(1))
        };
        self.running.len() < most && call.target.keys().all(has_room)
    }

    /// The waiting call whose turn it is.
    fn next(&self, most: usize) -> Option<usize> {
        // One whose time is over is left to its caller, who takes it back.
        let is_in_time = |call: &Call| call.deadline.late().is_none();
        self.waiting.iter().position(|(call, _)| is_in_time(call) && self.has_room(most, call))
    }

    fn begin(&mut self, call: Call) {
        for key in call.target.keys() {
            *self.shares.entry(key).or_default() += 1;
        }
        self.running.push(call);
    }

    fn end(&mut self, number: u64) {
        let Some(at) = self.running.iter().position(|call| call.number == number) else { return };
        let call = self.running.swap_remove(at);
        for key in call.target.keys() {
            if let Entry::Occupied(mut share) = self.shares.entry(key) {
                *share.get_mut() -= 1;
                if *share.get() == 0 {
                    share.remove();
                }
            }
        }
    }

    /// Takes back a call that has not begun.
    fn withdraw(&mut self, number: u64) -> Option<Start> {
        let at = self.waiting.iter().position(|(call, _)| call.number == number)?;
        self.waiting.remove(at).map(|(_, start)| start)
    }

    /// Checks that no call on this directory has been running for longer than it may.
    fn check_answers(&self, next: &Call) -> Result<()> {
        let is_there =
            |call: &&Call| call.target.key == next.target.key && call.target.dir == next.target.dir;
        let mut late = self.running.iter().filter(is_there).filter_map(|call| call.deadline.late());
        let Some(late) = late.find(|late| *late > GRACE) else { return Ok(()) };
        Err(Error::DeadlineExceeded(format!(
            "the directory `{}` does not answer: a call that should have ended {late:.1?} ago still waits for its file \
             system; try again once it answers",
            next.target.dir.display()
        )))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.calls.lock();
        state.end(self.number);
        if let Err(error) = self.calls.begin_next(&mut state) {
            // The next call waits until another one comes or ends, or for its deadline.
            tracing::warn!(%error, "no thread can be started for a call");
        }
    }
}

impl Submitted {
    /// Withdraws the call if it has not begun: its job gets the error.
    pub(crate) fn withdraw(&self) -> bool {
        let withdrawn = self.calls.lock().withdraw(self.number);
        match withdrawn {
            Some(Start::InThread(job)) => job(Err(not_begun())),
            Some(Start::Here(_)) | None => return false,
        }
        true
    }

    /// Lets it begin whenever its turn comes.
    pub(crate) fn detach(mut self) {
        // Which no call has.
        self.number = 0;
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        self.withdraw();
    }
}

fn not_begun() -> Error {
    Error::DeadlineExceeded(
        "the call did not begin before its deadline, since too many others are running or the file system does not \
         answer: no snapshot was changed; try again"
            .to_owned(),
    )
}
