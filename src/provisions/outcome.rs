//! A request that must not be carried out twice unnoticed: sent, looked after, and sent again only if that is safe.
//!
//! It knows nothing of what is requested. The caller says how to send, and how to look whether it is done.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::retry::{Backoff, CallPolicy, Decision, Jitter};
use crate::transport::call_budget::CallBudget;
use crate::transport::connections::Reuse;

/// How a request is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) policy: CallPolicy,
    pub(super) budget: CallBudget,
    /// The pause between two looks; it doubles after each look that fails.
    pub(super) poll_interval: Duration,
    /// How long a request that is in doubt may still arrive.
    pub(super) late_arrival: Duration,
    pub(super) in_doubt: InDoubt,
    /// When a request of an earlier call was sent at the latest, whose outcome is in doubt.
    pub(super) earlier: Option<Instant>,
}

/// What may follow a request whose outcome is in doubt.
#[derive(Debug, Clone, Copy)]
pub(super) enum InDoubt {
    /// The same request, because a second one does no harm.
    Repeat,
    /// The same request, when the first cannot arrive any more.
    RepeatAfterLateArrival,
    /// No request.
    Stop,
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct RequestOutcome<T> {
    pub(super) done: T,
    pub(super) acceptance: Acceptance,
    /// It was sent more than once.
    pub(super) is_repeated: bool,
}

/// What looks have shown.
enum Looked<T> {
    Done(T),
    NotDone,
    /// Something else was done, which this error names.
    DoneOtherwise(Error),
    /// The caller may not look either.
    Forbidden,
    /// Nothing, in the time that there is: because the last look failed, or because a request can arrive after it.
    Unknown(Option<Error>),
}

impl Request {
    /// Sends a request until its outcome is known. `send` is told which connections the request may go over.
    ///
    /// After every failure, whatever the response says, it looks whether the request is done, before it sends it again or
    /// fails. After a refusal that would be the last word, a look that fails is made again as long as there is time. Before
    /// it fails, a look begins when no request can arrive any more.
    ///
    /// The error is the first one that leaves the outcome in doubt, because that doubt stays whatever a later request
    /// gets. A refusal leaves it in doubt too, if no such look has succeeded.
    pub(super) async fn until_known<T, S, L>(
        &self,
        mut send: impl FnMut(Reuse) -> S,
        mut look: impl FnMut() -> L,
    ) -> Result<RequestOutcome<T>, Error>
    where
        S: Future<Output = Result<T, Error>>,
        L: Future<Output = Result<Option<T>, Error>>,
    {
        let mut requests = 0_u32;
        let mut policy = self.policy;
        let mut is_renewed = false;
        let mut doubt: Option<Error> = None;
        let mut last: Option<Error> = None;
        // When no request that is in doubt can arrive any more.
        let mut settled = self.earlier.map(|sent| sent + self.late_arrival);
        loop {
            // A kept connection may break when it is used, and leave a request in doubt.
            let reuse = match self.in_doubt {
                InDoubt::Repeat | InDoubt::RepeatAfterLateArrival if settled.is_none() => Reuse::Allowed,
                InDoubt::Repeat | InDoubt::RepeatAfterLateArrival | InDoubt::Stop => Reuse::Never,
            };
            let error = match send(reuse).await {
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
            let failed = Instant::now();
            if error.is_doubtful() {
                doubt.get_or_insert_with(|| error.clone());
                settled = Some(failed + self.late_arrival);
            }
            let next = match policy.after(&error, self.budget.left_to_send(), fastrand::f64()) {
                // The look opens another session.
                Decision::Stop(()) if error.refuses_token() && !std::mem::replace(&mut is_renewed, true) => {
                    Some(failed)
                }
                Decision::Stop(()) => None,
                Decision::RetryAfter(pause) => Some(failed + pause),
            };
            // When to send it again, and when the look that decides on that begins at the earliest.
            let (next, look_at) = match (next, self.in_doubt) {
                (Some(next), _) if doubt.is_none() => (Some(next), failed),
                (Some(next), InDoubt::Repeat) => (Some(next), next),
                (Some(next), InDoubt::RepeatAfterLateArrival) => {
                    let next = settled.map_or(next, |settled| settled.max(next));
                    (Some(next), next)
                }
                (Some(_), InDoubt::Stop) | (None, _) => (None, settled.unwrap_or(failed)),
            };
            match self.look_until(look_at, &error, doubt.is_some(), &mut look).await {
                Looked::Done(done) => {
                    let acceptance = if doubt.is_some() { Acceptance::Found } else { Acceptance::Already };
                    return Ok(RequestOutcome { done, acceptance, is_repeated: requests > 1 });
                }
                Looked::NotDone => {}
                Looked::DoneOtherwise(found) if found.kind() == ErrorKind::Duplicate => return Err(found),
                Looked::DoneOtherwise(found) => return Err(doubt.unwrap_or(found)),
                Looked::Forbidden => {
                    let why = "a look at the outcome is not allowed either";
                    return Err(doubt.unwrap_or_else(|| error.forbidden(why).in_doubt(None)));
                }
                Looked::Unknown(failure) => {
                    let pause = failure.as_ref().and_then(Error::retry_after).unwrap_or_default();
                    return Err(doubt.unwrap_or_else(|| error.in_doubt(failure).passing_after(pause)));
                }
            }
            let Some(next) = next else { return Err(doubt.unwrap_or(error)) };
            sleep_until(next).await;
            last = Some(error);
        }
    }

    /// Looks until a look has succeeded that began at this time or later. In doubt, a look that fails is the last.
    async fn look_until<T, L>(
        &self,
        at: Instant,
        refusal: &Error,
        is_in_doubt: bool,
        mut look: impl FnMut() -> L,
    ) -> Looked<T>
    where
        L: Future<Output = Result<Option<T>, Error>>,
    {
        // Both the request and the look say that there is no such object.
        let is_gone = |seen: &Error| {
            seen.is_from_bunq() && [seen, refusal].iter().all(|error| error.kind() == ErrorKind::NotFound)
        };
        let max = self.policy.settings().max_backoff.max(self.poll_interval);
        let backoff = Backoff { initial: self.poll_interval, max, jitter: Jitter::None };
        let mut failures = 0;
        loop {
            let is_last = Instant::now() >= at;
            let seen = match look().await {
                Err(seen) if is_gone(&seen) => Ok(None),
                Err(seen) if seen.kind() == ErrorKind::Forbidden && is_403(refusal) => return Looked::Forbidden,
                seen => seen,
            };
            let pause = match seen {
                Ok(Some(done)) => return Looked::Done(done),
                Ok(None) if is_last => return Looked::NotDone,
                Err(found) if found.kind() == ErrorKind::Duplicate => return Looked::DoneOtherwise(found),
                Err(found) if found.kind() == ErrorKind::Unattainable && is_last => {
                    return Looked::DoneOtherwise(found);
                }
                Err(failure) if failure.kind() != ErrorKind::Unattainable => {
                    failures += 1;
                    let pause = backoff.pause(failures, 0.0).max(failure.retry_after().unwrap_or_default());
                    // What is wrong on this machine stays so.
                    let is_hopeless = failure.sent() == Sent::No && !failure.is_retryable();
                    if is_in_doubt || is_hopeless || pause >= self.budget.left_to_send() {
                        return Looked::Unknown(Some(failure));
                    }
                    pause
                }
                Ok(None) | Err(_) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left >= self.budget.left_to_send() {
                        return Looked::Unknown(None);
                    }
                    left.min(self.poll_interval)
                }
            };
            sleep(pause).await;
        }
    }
}

/// Whether bunq itself has refused a request with 403, in whatever words.
fn is_403(refusal: &Error) -> bool {
    refusal.is_from_bunq() && refusal.status() == Some(403)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use super::*;
    use crate::error::CallMetadata;
    use crate::operation::Operation;
    use crate::retry::RetryPolicy;
    use crate::transport::rate_limit::RateLimits;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends a request that is lost on its way and arrives so late; how often it is sent until it is found.
    async fn sent(arrives_after: Duration, looking_takes: Duration) -> u32 {
        let rank = RateLimits::new(false, &HashMap::new()).next_rank();
        let request = Request {
            policy: CallPolicy::new(RetryPolicy::default(), true),
            budget: CallBudget::after(120 * SECOND, rank),
            poll_interval: 2 * SECOND,
            late_arrival: 10 * SECOND,
            in_doubt: InDoubt::RepeatAfterLateArrival,
            earlier: None,
        };
        let (start, sent) = (Instant::now(), Cell::new(0));
        let send = |_| async {
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
        test_timeout::start();
        for looking_takes in [Duration::ZERO, SECOND, 3 * SECOND, 7 * SECOND, 30 * SECOND] {
            for seconds in 0..=10 {
                assert_eq!(sent(seconds * SECOND, looking_takes).await, 1, "{seconds} s, {looking_takes:?}");
            }
            assert_eq!(sent(15 * SECOND + looking_takes, looking_takes).await, 2, "{looking_takes:?}");
        }
    }
}
