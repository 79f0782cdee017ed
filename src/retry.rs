//! Whether a failed try is followed by another, as a pure function: facts in, [`Decision`] out.
//!
//! The clock, the sleep and the chance are its callers'. What counts is not the status alone but what is known of the
//! request: whether it surely never ran, or may run twice without harm.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Sent};

/// How often, and with which pauses, a failed call is tried again.
///
/// Only what is safe is ever tried again: a request that surely was not carried out, or one that may be carried out
/// twice without harm. The whole of a call, pauses included, is bounded by
/// [`ClientBuilder::call_timeout`](crate::ClientBuilder::call_timeout).
///
/// ```
/// use std::time::Duration;
/// use bunq_partner::RetryPolicy;
///
/// let patient = RetryPolicy { attempts: 10, ..RetryPolicy::default() };
/// let none = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many tries a call has, the first included. The default is 4. The one new try after a session is renewed
    /// does not count. `create` and `close`, which look before they ask again, ask no more often than this either, but
    /// each time with the tries of a call.
    pub attempts: u32,
    /// The longest pause before the second try; it doubles with each further one. The default is 500 ms. The pause is
    /// drawn anew each time between nothing and the longest (full jitter), so that clients do not come back together.
    pub backoff: Duration,
    /// No pause is longer than this, unless bunq names a longer one. The default is 20 s.
    pub backoff_cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, backoff: Duration::from_millis(500), backoff_cap: Duration::from_secs(20) }
    }
}

/// What is known of a try that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) sent: Sent,
    /// The error answer carries bunq's own signature: no proxy has made it up.
    pub(crate) signed: bool,
    /// Carrying the request out twice does no harm.
    pub(crate) repeatable: bool,
    /// The tries so far.
    pub(crate) attempts: u32,
    /// How long bunq asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn of(error: &Error, repeatable: bool, attempts: u32) -> Self {
        Self {
            kind: error.kind(),
            sent: error.sent(),
            signed: error.is_signed(),
            repeatable,
            attempts,
            retry_after: error.retry_after(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Stop,
    After(Duration),
}

/// Whether a failure of this kind passes by itself.
pub(crate) fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Connect
            | ErrorKind::Connection
            | ErrorKind::Timeout
            | ErrorKind::Signature
            | ErrorKind::RateLimited
            | ErrorKind::Maintenance
            | ErrorKind::Server
    )
}

/// Decides on a failure with `left` of the call's time to go; `chance` is drawn from 0 to 1.
pub(crate) fn decide(failure: &Failure, policy: &RetryPolicy, left: Duration, chance: f64) -> Decision {
    let refused = matches!(failure.kind, ErrorKind::RateLimited | ErrorKind::Maintenance);
    let safe = failure.repeatable || failure.sent == Sent::No || (refused && failure.signed);
    // An answer that cannot be verified may be an accident once; twice it is somebody.
    let attempts = if failure.kind == ErrorKind::Signature { policy.attempts.min(2) } else { policy.attempts };
    if !safe || !passes(failure.kind) || failure.attempts >= attempts {
        return Decision::Stop;
    }
    let doublings = failure.attempts.saturating_sub(1).min(31);
    let longest = policy.backoff.saturating_mul(1 << doublings).min(policy.backoff_cap);
    let pause = longest.mul_f64(chance.clamp(0.0, 1.0)).max(failure.retry_after.unwrap_or_default());
    // A pause that outlasts the call is of no use to anybody.
    if pause >= left { Decision::Stop } else { Decision::After(pause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy = RetryPolicy { attempts: 4, backoff: SECOND, backoff_cap: Duration::from_secs(10) };

    fn failure(kind: ErrorKind, sent: Sent) -> Failure {
        Failure { kind, sent, signed: false, repeatable: false, attempts: 1, retry_after: None }
    }

    fn retried(failure: Failure) -> bool {
        decide(&failure, &POLICY, 60 * SECOND, 1.0) != Decision::Stop
    }

    #[test]
    fn what_is_tried_again() {
        use ErrorKind::*;
        use Sent::*;
        // (kind, sent, what must not run twice, the same signed by bunq, what may)
        let cases = [
            (Connect, No, [true, true, true]),
            (Connection, Maybe, [false, false, true]),
            (Timeout, Maybe, [false, false, true]),
            (Server, Answered, [false, false, true]),
            (Signature, Answered, [false, false, true]),
            (RateLimited, Answered, [false, true, true]),
            (RateLimited, No, [true, true, true]),
            (Maintenance, Answered, [false, true, true]),
            (InvalidResponse, Answered, [false, false, false]),
            (Unauthorized, Answered, [false, false, false]),
            (NotFound, Answered, [false, false, false]),
            (Rejected, Answered, [false, false, false]),
            (InvalidInput, No, [false, false, false]),
            (Context, No, [false, false, false]),
            (Internal, No, [false, false, false]),
        ];
        for (kind, sent, expected) in cases {
            let plain = failure(kind, sent);
            let kinds = [plain, Failure { signed: true, ..plain }, Failure { repeatable: true, ..plain }];
            assert_eq!(kinds.map(retried), expected, "{kind:?} {sent:?}");
        }
    }

    #[test]
    fn tries_are_counted() {
        let at = |kind, attempts| retried(Failure { attempts, ..failure(kind, Sent::No) });
        assert_eq!([1, 2, 3, 4, 5].map(|attempts| at(ErrorKind::Connect, attempts)), [true, true, true, false, false]);
        let forged =
            |attempts| retried(Failure { attempts, repeatable: true, ..failure(ErrorKind::Signature, Sent::Answered) });
        assert_eq!([1, 2, 3].map(forged), [true, false, false]);
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_are_drawn_by_chance() {
        let policy = RetryPolicy { attempts: u32::MAX, ..POLICY };
        let pause = |attempts, chance| {
            decide(&Failure { attempts, ..failure(ErrorKind::Connect, Sent::No) }, &policy, Duration::MAX, chance)
        };
        let longest = [1, 2, 3, 4, 5, 6, 4_000_000_000].map(|attempts| pause(attempts, 1.0));
        assert_eq!(longest, [1, 2, 4, 8, 10, 10, 10].map(|seconds| Decision::After(seconds * SECOND)));
        assert_eq!(pause(3, 0.5), Decision::After(2 * SECOND));
        assert_eq!(pause(3, 0.0), Decision::After(Duration::ZERO));
        assert_eq!(pause(3, f64::NAN.max(0.0)), Decision::After(Duration::ZERO));
    }

    #[test]
    fn bunqs_own_word_on_the_pause_is_the_least() {
        let asked =
            |retry_after| Failure { retry_after: Some(retry_after), ..failure(ErrorKind::RateLimited, Sent::No) };
        assert_eq!(decide(&asked(30 * SECOND), &POLICY, 60 * SECOND, 1.0), Decision::After(30 * SECOND));
        assert_eq!(decide(&asked(SECOND / 10), &POLICY, 60 * SECOND, 1.0), Decision::After(SECOND));
    }

    #[test]
    fn a_pause_that_outlasts_the_call_is_not_begun() {
        let connect = failure(ErrorKind::Connect, Sent::No);
        assert_eq!(decide(&connect, &POLICY, SECOND, 1.0), Decision::Stop);
        assert_eq!(decide(&connect, &POLICY, SECOND, 0.9), Decision::After(SECOND.mul_f64(0.9)));
    }
}
