//! Whether a call that has failed is attempted again.

use std::time::Duration;

use super::{Backoff, Decision, Jitter};
use crate::error::{Error, ErrorKind};

/// How often, and after which pauses, a failed call is attempted again.
///
/// Only what is safe is attempted again: a request that was certainly not carried out, or one that may be carried out
/// twice without harm. [`ClientBuilder::operation_timeout`](crate::ClientBuilder::operation_timeout) bounds the whole
/// call, including the pauses.
///
/// ```
/// use std::time::Duration;
/// use bunq_partner::RetryPolicy;
///
/// let patient = RetryPolicy::default().max_attempts(10).max_backoff(Duration::from_secs(60));
/// let none = RetryPolicy::default().max_attempts(1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The number of attempts of a call, including the first. The default is 4. Not counted are the attempt after a session
    /// is renewed, the one after another installation is read from the store, and those that bunq refuses with 429. `create`
    /// and `close` send their request at most this often too; each of those calls has this many attempts.
    pub max_attempts: u32,
    /// The longest pause before the second attempt; it doubles with each further one. The default is 500 ms. The pause
    /// is random between zero and the longest (full jitter), so that clients do not come back together.
    pub initial_backoff: Duration,
    /// No pause is longer than this, unless bunq asks for a longer one. The default is 20 s.
    pub max_backoff: Duration,
}

impl RetryPolicy {
    /// Sets [`max_attempts`](Self#structfield.max_attempts).
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets [`initial_backoff`](Self#structfield.initial_backoff).
    #[must_use]
    pub const fn initial_backoff(mut self, backoff: Duration) -> Self {
        self.initial_backoff = backoff;
        self
    }

    /// Sets [`max_backoff`](Self#structfield.max_backoff).
    #[must_use]
    pub const fn max_backoff(mut self, backoff: Duration) -> Self {
        self.max_backoff = backoff;
        self
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 4, initial_backoff: Duration::from_millis(500), max_backoff: Duration::from_secs(20) }
    }
}

/// The policy of calls, and of requests that take several calls. The caller has made sure that the request may be sent
/// again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallPolicy {
    settings: RetryPolicy,
    /// The operation has a rate limit. After a 429 the call then waits in the limit's queue, where it keeps its place.
    is_governed: bool,
    /// The attempts so far, without those that bunq refused with 429.
    attempts: u32,
}

impl CallPolicy {
    pub(crate) fn new(settings: RetryPolicy, is_governed: bool) -> Self {
        Self { settings, is_governed, attempts: 0 }
    }

    pub(crate) fn settings(&self) -> RetryPolicy {
        self.settings
    }

    /// Counts a failed attempt.
    pub(crate) fn count(&mut self, error: &Error) {
        self.attempts += u32::from(!error.is_throttling());
    }

    /// Decides on a failure when `left` of the call's time is left; `chance` is random from 0 to 1.
    pub(crate) fn after(&mut self, error: &Error, left: Duration, chance: f64) -> Decision<()> {
        self.count(error);
        let RetryPolicy { max_attempts, initial_backoff, max_backoff } = self.settings;
        // One response that cannot be verified may be an accident; a second one is not.
        let max_attempts = if error.kind() == ErrorKind::Signature { max_attempts.min(2) } else { max_attempts };
        let Decision::RetryAfter(asked) = Decision::of(error) else { return Decision::Stop(()) };
        let pause = match error.is_throttling() {
            true if self.is_governed => Duration::ZERO,
            // This pause includes jitter already.
            true => asked,
            false if self.attempts >= max_attempts => return Decision::Stop(()),
            false => {
                let backoff = Backoff { initial: initial_backoff, max: max_backoff, jitter: Jitter::Full };
                backoff.pause(self.attempts, chance).max(asked)
            }
        };
        // A pause must not outlast the call.
        if pause >= left { Decision::Stop(()) } else { Decision::RetryAfter(pause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CallMetadata, Sent};
    use crate::operation::Operation;

    const SECOND: Duration = Duration::from_secs(1);

    fn failure(kind: ErrorKind) -> Error {
        Error::new(kind, Sent::Maybe, "")
    }

    /// bunq's own 429, which asks for a pause.
    fn throttled(pause: Duration) -> Error {
        let metadata = CallMetadata { status: Some(429), ..CallMetadata::new(&Operation::GET_PROVISION, 1) };
        let error = failure(ErrorKind::RateLimited).with_metadata(metadata).with_refusal(true, &[], None);
        error.with_retry_after(Some(pause))
    }

    /// The pause after a failure that follows so many others, with so much time left and this chance.
    fn pause(error: &Error, before: u32, is_governed: bool, left: Duration, chance: f64) -> Option<Duration> {
        let settings = RetryPolicy { max_attempts: 4, initial_backoff: SECOND, max_backoff: Duration::from_secs(3) };
        let mut policy = CallPolicy { attempts: before, ..CallPolicy::new(settings, is_governed) };
        match policy.after(error, left, chance) {
            Decision::RetryAfter(pause) => Some(pause),
            Decision::Stop(()) => None,
        }
    }

    #[test]
    fn transient_failures_are_retried() {
        test_timeout::start();
        use ErrorKind::*;
        let is_retried = |kind| pause(&failure(kind), 0, false, 60 * SECOND, 1.0).is_some();
        for kind in [Connect, Connection, Timeout, Server, Signature, RateLimited, Maintenance] {
            assert!(is_retried(kind), "{kind:?}");
        }
        for kind in [InvalidResponse, Unauthorized, Forbidden, NotFound, Rejected, InvalidInput, Context, Internal] {
            assert!(!is_retried(kind), "{kind:?}");
        }
    }

    #[test]
    fn pauses_follow_the_attempts_bunq_and_the_time_that_is_left() {
        test_timeout::start();
        let (connect, signature) = (failure(ErrorKind::Connect), failure(ErrorKind::Signature));
        let asks = |pause| failure(ErrorKind::Maintenance).with_retry_after(Some(pause));
        let long = 3600 * SECOND;
        for (error, before, is_governed, left, chance, expected) in [
            // The attempts are counted, and the pauses grow up to their maximum.
            (&connect, 0, false, long, 1.0, Some(SECOND)),
            (&connect, 1, false, long, 1.0, Some(2 * SECOND)),
            (&connect, 2, false, long, 1.0, Some(3 * SECOND)),
            (&connect, 3, false, long, 1.0, None),
            (&connect, 2, false, long, 0.0, Some(Duration::ZERO)),
            (&signature, 0, false, long, 1.0, Some(SECOND)),
            (&signature, 1, false, long, 1.0, None),
            // The pause is no shorter than bunq asks for.
            (&asks(30 * SECOND), 0, false, long, 1.0, Some(30 * SECOND)),
            (&asks(SECOND / 10), 0, false, long, 1.0, Some(SECOND)),
            // It does not outlast the call.
            (&connect, 0, false, SECOND, 1.0, None),
            (&connect, 0, false, SECOND, 0.9, Some(SECOND.mul_f64(0.9))),
            // A 429 is waited for as long as there is time, and by the window of the rate limit if there is one.
            (&throttled(30 * SECOND), 0, false, 31 * SECOND, 1.0, Some(30 * SECOND)),
            (&throttled(30 * SECOND), 1000, false, 31 * SECOND, 1.0, Some(30 * SECOND)),
            (&throttled(30 * SECOND), 0, false, 30 * SECOND, 1.0, None),
            (&throttled(30 * SECOND), 1000, true, SECOND, 1.0, Some(Duration::ZERO)),
            (&throttled(30 * SECOND), 0, true, Duration::ZERO, 1.0, None),
        ] {
            let case = format!("{error:?} after {before} others, {is_governed}, {left:?}, {chance}");
            assert_eq!(pause(error, before, is_governed, left, chance), expected, "{case}");
        }
    }
}
