//! Whether a failed attempt is followed by another, as a pure function.
//!
//! The time left and the random factor are passed in, and the caller sleeps. The error decides whether a request may run
//! twice.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

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
    /// is not counted, nor the one after another installation was read from the store, nor one that bunq refuses with 429. `create` and `close` send their request at most this
    /// often too; each of those calls has this many attempts.
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
    /// It passes by itself.
    is_transient: bool,
    is_signature: bool,
    /// bunq refuses it for its rate alone.
    is_throttling: bool,
    /// The attempts so far, without those that bunq refused for their rate.
    attempts: u32,
    /// How long bunq asks to wait.
    retry_after: Option<Duration>,
}

impl Failure {
    /// `is_governed` says that the operation has a rate limit, whose window keeps the pause after a 429: the call waits
    /// for its turn there, and keeps its place.
    pub(crate) fn new(error: &Error, attempts: u32, is_governed: bool) -> Self {
        let is_throttling = error.is_throttling();
        Self {
            is_transient: error.is_retryable(),
            is_signature: error.kind() == ErrorKind::Signature,
            is_throttling,
            attempts,
            retry_after: error.retry_after().filter(|_| !(is_throttling && is_governed)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Stop,
    RetryAfter(Duration),
}

/// Decides on a failure with `left` of the call's time to go; `jitter` is random from 0 to 1. The caller has made sure
/// that the request may be sent again.
pub(crate) fn decide(failure: &Failure, policy: &RetryPolicy, left: Duration, jitter: f64) -> Decision {
    // A response that cannot be verified may be an accident once. A second one is not.
    let max_attempts = if failure.is_signature { policy.max_attempts.min(2) } else { policy.max_attempts };
    if !failure.is_transient || (failure.attempts >= max_attempts && !failure.is_throttling) {
        return Decision::Stop;
    }
    let pause = if failure.is_throttling {
        // It has its jitter already.
        failure.retry_after.unwrap_or_default()
    } else {
        let doublings = failure.attempts.saturating_sub(1).min(31);
        let longest = policy.initial_backoff.saturating_mul(1 << doublings).min(policy.max_backoff);
        longest.mul_f64(jitter.clamp(0.0, 1.0)).max(failure.retry_after.unwrap_or_default())
    };
    // A pause must not outlast the call.
    if pause >= left { Decision::Stop } else { Decision::RetryAfter(pause) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Sent;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy =
        RetryPolicy { max_attempts: 4, initial_backoff: SECOND, max_backoff: Duration::from_secs(10) };

    fn failure(kind: ErrorKind) -> Failure {
        Failure::new(&Error::new(kind, Sent::Maybe, ""), 1, false)
    }

    fn is_retried(failure: Failure) -> bool {
        decide(&failure, &POLICY, 60 * SECOND, 1.0) != Decision::Stop
    }

    #[test]
    fn transient_failures_are_retried() {
        test_timeout::start();
        use ErrorKind::*;
        for kind in [Connect, Connection, Timeout, Server, Signature, RateLimited, Maintenance] {
            assert!(is_retried(failure(kind)), "{kind:?}");
        }
        for kind in [InvalidResponse, Unauthorized, Forbidden, NotFound, Rejected, InvalidInput, Context, Internal] {
            assert!(!is_retried(failure(kind)), "{kind:?}");
        }
    }

    #[test]
    fn attempts_are_counted() {
        test_timeout::start();
        let at = |kind, attempts| is_retried(Failure { attempts, ..failure(kind) });
        assert_eq!([1, 2, 3, 4, 5].map(|attempts| at(ErrorKind::Connect, attempts)), [true, true, true, false, false]);
        assert_eq!([1, 2, 3].map(|attempts| at(ErrorKind::Signature, attempts)), [true, false, false]);
    }

    #[test]
    fn a_429_is_waited_for_as_long_as_there_is_time() {
        test_timeout::start();
        let throttled =
            Failure { is_throttling: true, retry_after: Some(30 * SECOND), ..failure(ErrorKind::RateLimited) };
        for attempts in [0, 4, 1000] {
            let failure = Failure { attempts, ..throttled };
            assert_eq!(decide(&failure, &POLICY, 31 * SECOND, 1.0), Decision::RetryAfter(30 * SECOND), "{attempts}");
            assert_eq!(decide(&failure, &POLICY, 30 * SECOND, 1.0), Decision::Stop, "{attempts}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum_with_full_jitter() {
        test_timeout::start();
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
        test_timeout::start();
        let asked = |retry_after| Failure { retry_after: Some(retry_after), ..failure(ErrorKind::RateLimited) };
        assert_eq!(decide(&asked(30 * SECOND), &POLICY, 60 * SECOND, 1.0), Decision::RetryAfter(30 * SECOND));
        assert_eq!(decide(&asked(SECOND / 10), &POLICY, 60 * SECOND, 1.0), Decision::RetryAfter(SECOND));
    }

    #[test]
    fn a_pause_does_not_outlast_the_call() {
        test_timeout::start();
        let connect = failure(ErrorKind::Connect);
        assert_eq!(decide(&connect, &POLICY, SECOND, 1.0), Decision::Stop);
        assert_eq!(decide(&connect, &POLICY, SECOND, 0.9), Decision::RetryAfter(SECOND.mul_f64(0.9)));
    }
}
