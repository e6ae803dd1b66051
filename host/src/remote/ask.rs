//! Asks an object store what a machine of the protocol wants to know, until that ends or a deadline is over.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::bucket::{Bucket, overdue};
use super::failure::Failure;
use super::protocol::{Answer, Machine, Next};
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

/// Tries something until it succeeds, or fails for good.
pub(super) async fn again<R>(attempt: impl AsyncFn() -> std::result::Result<R, Failure>) -> Result<R> {
    let mut pause = Pause::FIRST;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Failure::Passing(said)) => {
                tracing::debug!(said, "it is tried again");
                sleep(pause.next()).await;
            }
            Err(failure) => return Err(failure.into_error()),
        }
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
    pub(super) begun: Instant,
    pub(super) deadline: Duration,
}

impl Call<'_> {
    /// Runs a machine to its end, with the file of the generation that it puts or gets.
    ///
    /// After an error, what the machine has asked for may have been done, or may yet be.
    pub(super) async fn run<M: Machine>(&self, machine: &mut M, file: Option<&Path>) -> Result<M::Ended> {
        let until = self.begun + self.deadline;
        let (mut pause, mut failed) = (Pause::FIRST, None);
        loop {
            let request = match machine.next() {
                Next::Ask(request) => request,
                Next::End(ended) => return Ok(ended),
            };
            // A condition that was not met is looked at, at once for the first time.
            let is_first = failed.is_none();
            let must_wait = match timeout_at(until, self.bucket.carry(self.store, &request, file)).await {
                Err(_) => return Err(self.overdue(failed)),
                Ok(Ok(answer)) => {
                    machine.tell(answer);
                    false
                }
                Ok(Err(Failure::Final(error))) => return Err(error),
                Ok(Err(Failure::Refused(said))) => {
                    machine.tell(Answer::Failed);
                    failed = Some(said);
                    !is_first
                }
                Ok(Err(Failure::Passing(said))) => {
                    tracing::debug!(said, "a request is made again");
                    machine.tell(Answer::Failed);
                    failed = Some(said);
                    true
                }
            };
            if must_wait {
                let wake = Instant::now() + pause.next();
                if wake >= until {
                    return Err(self.overdue(failed));
                }
                sleep_until(wake).await;
            }
        }
    }

    fn overdue(&self, failed: Option<String>) -> Error {
        let url = format!("{}/{}", self.bucket.location(), self.store);
        match (overdue(self.what, &url, self.deadline), failed) {
            (Error::DeadlineExceeded(what), Some(said)) => {
                Error::DeadlineExceeded(format!("{what}; at last: {said}"))
            }
            (error, _) => error,
        }
    }
}
