//! A request that must not be carried out twice unnoticed: sent, looked after, and sent again only if that is safe.
//!
//! It knows nothing of what is requested. The caller says how to send, and how to look whether it is done.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::waiter::Acceptance;
use crate::error::{Error, ErrorKind, Sent};
use crate::transport::deadline::Deadline;
use crate::transport::retry::{self, Decision, Failure, RetryPolicy};

/// How a request is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) policy: RetryPolicy,
    /// The operation has a rate limit, whose window keeps the pauses after a 429.
    pub(super) is_governed: bool,
    pub(super) deadline: Deadline,
    /// The pause between two looks.
    pub(super) poll_interval: Duration,
    /// How long a request that is in doubt may still arrive, and is looked for, before another is sent. `None`: no other
    /// is sent after one in doubt.
    pub(super) late_arrival: Option<Duration>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct RequestOutcome<T> {
    pub(super) done: T,
    pub(super) acceptance: Acceptance,
    /// It was sent more than once.
    pub(super) is_repeated: bool,
}

impl Request {
    /// Sends a request until its outcome is known.
    ///
    /// After every failure, whatever the response says, it looks whether the request is done, before it sends it again or
    /// fails. The error is the first one that leaves the outcome in doubt, because that doubt stays whatever a later
    /// request gets.
    pub(super) async fn until_known<T, S, L>(
        &self,
        mut send: impl FnMut() -> S,
        mut look: impl FnMut() -> L,
    ) -> Result<RequestOutcome<T>, Error>
    where
        S: Future<Output = Result<T, Error>>,
        L: Future<Output = Result<Option<T>, Error>>,
    {
        let (mut requests, mut counted) = (0_u32, 0);
        let mut is_renewed = false;
        let mut doubt: Option<Error> = None;
        let mut last: Option<Error> = None;
        // Something was found that was done before, which says nothing of this request.
        let mut is_over = false;
        loop {
            let error = match send().await {
                Ok(done) => {
                    return Ok(RequestOutcome { done, acceptance: Acceptance::Accepted, is_repeated: requests > 0 });
                }
                Err(error) => error,
            };
            if error.sent() == Sent::No {
                let is_out_of_time = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::RateLimited);
                return Err(doubt.or(last.filter(|_| is_out_of_time)).unwrap_or(error));
            }
            requests += 1;
            counted += u32::from(!error.is_throttling());
            let failed = Instant::now();
            let next = match retry::decide(
                &Failure::new(&error, counted, self.is_governed),
                &self.policy,
                self.deadline.left_to_send(),
                fastrand::f64(),
            ) {
                // The look opens another session.
                Decision::Stop if error.refuses_token() && !std::mem::replace(&mut is_renewed, true) => Some(failed),
                Decision::Stop => None,
                Decision::RetryAfter(pause) => Some(failed + pause),
            };
            if error.is_doubtful() {
                doubt.get_or_insert_with(|| error.clone());
            }
            let next = match (&doubt, self.late_arrival) {
                (Some(_), None) => None,
                (Some(_), Some(late_arrival)) => next.map(|next| next.max(failed + late_arrival)),
                (None, _) => next,
            };
            loop {
                // Only a look that begins when nothing can arrive any more says that nothing has arrived.
                let is_last = next.is_none_or(|next| Instant::now() >= next);
                match look().await {
                    Ok(Some(done)) => {
                        let acceptance = if doubt.is_some() { Acceptance::Found } else { Acceptance::Already };
                        return Ok(RequestOutcome { done, acceptance, is_repeated: requests > 1 });
                    }
                    Ok(None) => {}
                    Err(found) if found.kind() == ErrorKind::Duplicate => return Err(found),
                    Err(found) if found.kind() == ErrorKind::Unattainable => match doubt {
                        None => return Err(found),
                        Some(_) => is_over = true,
                    },
                    // Whether it was done before is not known then, and the refusal is not the last word.
                    Err(look) if look.is_retryable() => {
                        let pause = look.retry_after().unwrap_or_default();
                        return Err(doubt.unwrap_or_else(|| error.passing_after(pause)));
                    }
                    Err(_) => return Err(doubt.unwrap_or(error)),
                }
                let Some(next) = next else { return Err(doubt.unwrap_or(error)) };
                if is_last && is_over {
                    return Err(doubt.unwrap_or(error));
                }
                if is_last {
                    break;
                }
                let left = next.saturating_duration_since(Instant::now());
                if left >= self.deadline.left_to_send() {
                    return Err(doubt.unwrap_or(error));
                }
                if doubt.is_none() {
                    // Nothing is on its way.
                    sleep_until(next).await;
                    break;
                }
                sleep(left.min(self.poll_interval)).await;
            }
            last = Some(error);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use super::*;
    use crate::error::CallMetadata;
    use crate::operation::Operation;
    use crate::transport::rate_limit::RateLimits;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends a request that is lost on its way and arrives so late; how often it is sent until it is found.
    async fn sent(arrives_after: Duration, looking_takes: Duration) -> u32 {
        let rank = RateLimits::new(false, &HashMap::new()).next_rank();
        let request = Request {
            policy: RetryPolicy::default(),
            is_governed: true,
            deadline: Deadline::after(120 * SECOND, rank),
            poll_interval: 2 * SECOND,
            late_arrival: Some(10 * SECOND),
        };
        let (start, sent) = (Instant::now(), Cell::new(0));
        let send = || async {
            sent.set(sent.get() + 1);
            let metadata = CallMetadata::new(&Operation::CREATE_PROVISION, 1);
            Err(Error::new(ErrorKind::Connection, Sent::Maybe, "lost").with_metadata(metadata))
        };
        let look = || async {
            let has_arrived = start.elapsed() >= arrives_after;
            sleep(looking_takes).await;
            Ok(has_arrived.then_some(()))
        };
        let outcome = request.until_known(send, look).await.unwrap();
        assert_eq!(outcome.acceptance, Acceptance::Found);
        sent.get()
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_in_time_is_not_sent_again_however_long_a_look_takes() {
        for looking_takes in [Duration::ZERO, SECOND, 3 * SECOND, 7 * SECOND, 30 * SECOND] {
            for seconds in 0..=10 {
                assert_eq!(sent(seconds * SECOND, looking_takes).await, 1, "{seconds} s, {looking_takes:?}");
            }
            assert_eq!(sent(15 * SECOND + looking_takes, looking_takes).await, 2, "{looking_takes:?}");
        }
    }
}
