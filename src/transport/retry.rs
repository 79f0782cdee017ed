//! Whether a failed attempt is followed by another, as a pure function.
//!
//! The time left and the random factor are passed in, and the caller sleeps. The error decides whether a request may run
//! twice.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::operation::Operation;

/// How often, and after which pauses, a failed call is attempted again.
///
/// Only what is safe is attempted again: a request that surely was not carried out, or one that may be carried out
/// twice without harm. The whole of a call, pauses included, is bounded by
/// [`ClientBuilder::operation_timeout`](crate::ClientBuilder::operation_timeout).
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
    /// How many attempts a call has, the first included. The default is 4. The one attempt after a session is renewed
    /// is not counted. `create` and `close` send their request at most this often too; each of those
    /// calls has this many attempts.
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

/// What is known of an attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    /// The request may be sent again: see [`Error::permits_repeating`].
    pub(crate) may_repeat: bool,
    /// The attempts so far.
    pub(crate) attempts: u32,
    /// How long bunq asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// The failure of a call, which itself is repeated.
    pub(crate) fn of_call(error: &Error, operation: &Operation, attempts: u32) -> Self {
        Self { may_repeat: error.permits_repeating(operation), ..Self::after_check(error, attempts) }
    }

    /// The failure of a request that a check has shown not to be carried out.
    pub(crate) fn after_check(error: &Error, attempts: u32) -> Self {
        Self { kind: error.kind(), may_repeat: true, attempts, retry_after: error.retry_after() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Stop,
    RetryAfter(Duration),
}

/// Decides on a failure with `left` of the call's time to go; `jitter` is random from 0 to 1.
pub(crate) fn decide(failure: &Failure, policy: &RetryPolicy, left: Duration, jitter: f64) -> Decision {
    // A response that cannot be verified may be an accident once. A second one is not.
    let max_attempts =
        if failure.kind == ErrorKind::Signature { policy.max_attempts.min(2) } else { policy.max_attempts };
    if !failure.may_repeat || !failure.kind.is_transient() || failure.attempts >= max_attempts {
        return Decision::Stop;
    }
    let doublings = failure.attempts.saturating_sub(1).min(31);
    let longest = policy.initial_backoff.saturating_mul(1 << doublings).min(policy.max_backoff);
    let pause = longest.mul_f64(jitter.clamp(0.0, 1.0)).max(failure.retry_after.unwrap_or_default());
    // A pause must not outlast the call.
    if pause >= left { Decision::Stop } else { Decision::RetryAfter(pause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy =
        RetryPolicy { max_attempts: 4, initial_backoff: SECOND, max_backoff: Duration::from_secs(10) };

    fn failure(kind: ErrorKind) -> Failure {
        Failure { kind, may_repeat: true, attempts: 1, retry_after: None }
    }

    fn is_retried(failure: Failure) -> bool {
        decide(&failure, &POLICY, 60 * SECOND, 1.0) != Decision::Stop
    }

    #[test]
    fn transient_failures_are_retried_if_that_is_safe() {
        use ErrorKind::*;
        for kind in [Connect, Connection, Timeout, Server, Signature, RateLimited, Maintenance] {
            assert!(is_retried(failure(kind)), "{kind:?}");
            assert!(!is_retried(Failure { may_repeat: false, ..failure(kind) }), "{kind:?}");
        }
        for kind in [InvalidResponse, Unauthorized, NotFound, Rejected, InvalidInput, Context, Internal] {
            assert!(!is_retried(failure(kind)), "{kind:?}");
        }
    }

    #[test]
    fn attempts_are_counted() {
        let at = |kind, attempts| is_retried(Failure { attempts, ..failure(kind) });
        assert_eq!([1, 2, 3, 4, 5].map(|attempts| at(ErrorKind::Connect, attempts)), [true, true, true, false, false]);
        assert_eq!([1, 2, 3].map(|attempts| at(ErrorKind::Signature, attempts)), [true, false, false]);
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum_with_full_jitter() {
        let policy = POLICY.max_attempts(u32::MAX);
        let pause = |attempts, chance| {
            decide(&Failure { attempts, ..failure(ErrorKind::Connect) }, &policy, Duration::MAX, chance)
        };
        let longest = [1, 2, 3, 4, 5, 6, 4_000_000_000].map(|attempts| pause(attempts, 1.0));
        assert_eq!(longest, [1, 2, 4, 8, 10, 10, 10].map(|seconds| Decision::RetryAfter(seconds * SECOND)));
        assert_eq!(pause(3, 0.5), Decision::RetryAfter(2 * SECOND));
        assert_eq!(pause(3, 0.0), Decision::RetryAfter(Duration::ZERO));
        assert_eq!(pause(3, f64::NAN.max(0.0)), Decision::RetryAfter(Duration::ZERO));
    }

    #[test]
    fn the_pause_is_no_shorter_than_bunq_asks_for() {
        let asked = |retry_after| Failure { retry_after: Some(retry_after), ..failure(ErrorKind::RateLimited) };
        assert_eq!(decide(&asked(30 * SECOND), &POLICY, 60 * SECOND, 1.0), Decision::RetryAfter(30 * SECOND));
        assert_eq!(decide(&asked(SECOND / 10), &POLICY, 60 * SECOND, 1.0), Decision::RetryAfter(SECOND));
    }

    #[test]
    fn a_pause_does_not_outlast_the_call() {
        let connect = failure(ErrorKind::Connect);
        assert_eq!(decide(&connect, &POLICY, SECOND, 1.0), Decision::Stop);
        assert_eq!(decide(&connect, &POLICY, SECOND, 0.9), Decision::RetryAfter(SECOND.mul_f64(0.9)));
    }
}
