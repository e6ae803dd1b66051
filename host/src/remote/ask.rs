//! Asks an object store what a machine of the protocol wants to know, until that ends or a deadline is over.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::bucket::Bucket;
use super::failure::Failure;
use super::protocol::{Answer, Machine, Next};
use super::upload::Local;
use crate::error::{Error, Result};

/// How long to wait before a request is made again: longer each time, and not as long as others who wait.
struct Pause(Duration);

impl Pause {
    const FIRST: Pause = Pause(Duration::from_millis(20));
    const LONGEST: Duration = Duration::from_secs(2);

    fn next(&mut self) -> Duration {
        let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        let pause = self.0;
        self.0 = pause.mul_f64(1.5 + part).min(Self::LONGEST);
        pause
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    deadline: Duration,
    /// When it must have ended, unless that is beyond what the clock can tell.
    until: Instant,
}

impl Patience {
    /// From now on.
    pub(super) fn new(deadline: Duration) -> Self {
        const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        Patience { deadline, until: Instant::now() + deadline.min(A_YEAR) }
    }

    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits for it, or says what was last said of why it takes so long.
    async fn wait<R>(&self, future: impl Future<Output = R>, over: impl FnOnce() -> Error) -> Result<R> {
        timeout_at(self.until, future).await.map_err(|_| over())
    }

    fn over(&self, call: &str, url: &str, said: Option<&str>) -> Error {
        let said = said.map_or("the object store is too slow", |said| said);
        Error::DeadlineExceeded(format!(
            "`{call}` of `{url}` exceeded its deadline of {:?}: {said}",
            self.deadline
        ))
    }
}

/// Tries something until it succeeds, or fails for good.
pub(super) async fn again<R>(
    url: &impl Display,
    call: &str,
    patience: Patience,
    attempt: impl AsyncFn() -> std::result::Result<R, Failure>,
) -> Result<R> {
    let (mut pause, mut failed) = (Pause::FIRST, None);
    loop {
        let over = || patience.over(call, &url.to_string(), failed.as_deref());
        match patience.wait(attempt(), over).await? {
            Ok(done) => return Ok(done),
            Err(Failure::Passing(said)) => {
                tracing::debug!(said, "it is tried again");
                failed = Some(said);
            }
            Err(failure) => return Err(failure.into_error()),
        }
        let over = || patience.over(call, &url.to_string(), failed.as_deref());
        patience.wait(sleep(pause.next()), over).await?;
    }
}

/// What no other opening of a store ever has: 64 bits, as 16 hexadecimal digits.
pub(super) fn random() -> Result<String> {
    let random = getrandom::u64()
        .map_err(|error| Error::other(format!("the system gives no random number: {error}")))?;
    Ok(format!("{random:016x}"))
}

/// A call on the store of a name.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) bucket: &'c Bucket,
    pub(super) store: &'c str,
    /// What it is called in messages.
    pub(super) what: &'static str,
    pub(super) patience: Patience,
}

impl Call<'_> {
    /// Runs a machine to its end, with the file of the generation that it puts, or the folder into which it gets one.
    ///
    /// After an error, what the machine has asked for may have been done, or may yet be.
    pub(super) async fn run<M: Machine>(&self, machine: &mut M, local: Local<'_>) -> Result<M::Ended> {
        let (mut pause, mut failed) = (Pause::FIRST, None::<String>);
        loop {
            let request = match machine.next() {
                Next::Ask(request) => request,
                Next::End(ended) => return Ok(ended),
            };
            let carried = self.bucket.carry(self.store, &request, &local);
            let said = match self.patience.wait(carried, || self.over(failed.as_deref())).await? {
                Ok(answer) => {
                    machine.tell(answer);
                    continue;
                }
                Err(Failure::Final(error)) => return Err(error),
                // A condition that was not met is looked at, at once for the first time.
                Err(Failure::Refused(said)) if failed.is_none() => {
                    machine.tell(Answer::Failed);
                    failed = Some(said);
                    continue;
                }
                Err(Failure::Refused(said) | Failure::Passing(said)) => said,
            };
            tracing::debug!(said, "a request is made again");
            machine.tell(Answer::Failed);
            failed = Some(said);
            self.patience.wait(sleep(pause.next()), || self.over(failed.as_deref())).await?;
        }
    }

    fn over(&self, failed: Option<&str>) -> Error {
        self.patience.over(self.what, &format!("{}/{}", self.bucket.location(), self.store), failed)
    }
}
