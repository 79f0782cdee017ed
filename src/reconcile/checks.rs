//! Checks what became of a request.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Error, ErrorKind, Sent};
use crate::retry::{Attempts, Backoff, Decision, Policy};
use crate::transport::call_budget::CallBudget;
use crate::transport::spans::{self, Awaited};

/// Checks until one has succeeded that began at a certain time or later. In doubt, one that fails is the last.
pub(super) struct CheckAttempts<'a, C> {
    pub(super) check: C,
    pub(super) at: Instant,
    pub(super) refusal: &'a Error,
    pub(super) doubt: Option<&'a Error>,
    pub(super) budget: CallBudget,
    pub(super) backoff: Backoff,
    pub(super) failures: u32,
}

impl<C> CheckAttempts<'_, C> {
    /// The outcome of the request is not known: for lack of time, or because of this failure.
    fn unknown(&self, failure: Option<&Error>) -> Error {
        let pause = failure.and_then(Error::retry_after).unwrap_or_default();
        self.refusal.clone().in_doubt(failure.cloned()).passing_after(pause)
    }
}

impl<C> Policy for CheckAttempts<'_, C> {
    /// The failure of a check; `None` if it shows that nothing is done.
    type Failure = Option<Error>;
    /// The error of the request; `None` if nothing is done.
    type Stop = Option<Error>;

    fn after(&mut self, seen: &Option<Error>, began: Instant, _: f64) -> Decision<Option<Error>> {
        let (is_last, left) = (began >= self.at, self.budget.left_to_send());
        let stop = |error: Error| Decision::Stop(Some(self.doubt.cloned().unwrap_or(error)));
        match seen {
            Some(seen) if seen.kind() == ErrorKind::Forbidden && is_403(self.refusal) => {
                stop(self.refusal.clone().forbidden("a check of the outcome is not allowed either").in_doubt(None))
            }
            None if is_last => Decision::Stop(None),
            Some(found) if found.kind() == ErrorKind::Duplicate => Decision::Stop(Some(found.clone())),
            Some(found) if found.kind() == ErrorKind::Unattainable && is_last => stop(found.clone()),
            Some(failure) if failure.kind() != ErrorKind::Unattainable => {
                self.failures += 1;
                let pause = self.backoff.pause(self.failures, 0.0).max(failure.retry_after().unwrap_or_default());
                // What is wrong on this machine stays so.
                let is_hopeless = failure.sent() == Sent::No && !failure.is_retryable();
                if self.doubt.is_some() || is_hopeless || pause >= left {
                    return stop(self.unknown(Some(failure)));
                }
                Decision::RetryAfter(pause)
            }
            None | Some(_) => {
                let remaining = self.at.saturating_duration_since(Instant::now());
                if remaining >= left {
                    return stop(self.unknown(None));
                }
                Decision::RetryAfter(remaining.min(self.backoff.initial))
            }
        }
    }
}

impl<T, C, F> Attempts for CheckAttempts<'_, C>
where
    T: Send,
    C: FnMut() -> F + Send,
    F: Future<Output = Result<Option<T>, Error>> + Send,
{
    type Done = T;

    async fn attempt(&mut self) -> Result<T, Option<Error>> {
        // Both the request and the check say that there is no such object.
        let is_gone = |seen: &Error| {
            seen.is_from_bunq() && [seen, self.refusal].iter().all(|error| error.kind() == ErrorKind::NotFound)
        };
        match (self.check)().await {
            Ok(done) => done.ok_or(None),
            Err(seen) => Err(Some(seen).filter(|seen| !is_gone(seen))),
        }
    }

    async fn pause(&mut self, _: &Option<Error>, time: Duration) -> ControlFlow<Result<T, Option<Error>>> {
        let _waiting = spans::wait(Awaited::Check(self.refusal), Some(time));
        sleep(time).await;
        ControlFlow::Continue(())
    }
}

/// Whether bunq itself has refused a request with 403, in whatever words.
fn is_403(refusal: &Error) -> bool {
    refusal.is_from_bunq() && refusal.status() == Some(403)
}
