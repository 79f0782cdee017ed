//! A request that must not be carried out twice unnoticed: sent, looked after, and sent again only if that is safe.
//!
//! It knows nothing of what is requested. The caller says how to send, and how to look whether it is done.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::in_flight::InFlight;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::retry::{self, Attempts, Backoff, CallPolicy, Decision, Jitter, Policy};
use crate::transport::call_budget::CallBudget;
use crate::transport::connections::Reuse;

/// How a request is sent until its outcome is known.
#[derive(Debug)]
pub(super) struct Reconcile<'a> {
    pub(super) policy: CallPolicy,
    pub(super) budget: CallBudget,
    /// The pause between two looks; it doubles after each look that fails.
    pub(super) poll_interval: Duration,
    /// How long a request that is in doubt may still arrive.
    pub(super) late_arrival: Duration,
    pub(super) in_doubt: InDoubt,
    /// The requests of earlier calls. Those of this one whose outcome is in doubt are added.
    pub(super) in_flight: &'a mut InFlight,
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
pub(super) struct Reconciled<T> {
    pub(super) done: T,
    pub(super) acceptance: Acceptance,
    /// The requests before the last one.
    pub(super) earlier: InFlight,
}

impl Reconcile<'_> {
    /// Sends a request until its outcome is known. `send` is told which connections the request may go over.
    ///
    /// After every failure, whatever the response says, it looks whether the request is done, before it sends it again or
    /// fails. After a refusal that would be the last word, a look that fails is made again as long as there is time. Before
    /// it fails, a look begins when no request can arrive any more.
    ///
    /// The error is the first one that leaves the outcome in doubt, because that doubt stays whatever a later request
    /// gets. A refusal leaves it in doubt too, if no such look has succeeded.
    pub(super) async fn until_known<T, S, L>(
        self,
        send: impl FnMut(Reuse) -> S + Send,
        look: impl FnMut() -> L + Send,
    ) -> Result<Reconciled<T>, Error>
    where
        T: Send,
        S: Future<Output = Result<T, Error>> + Send,
        L: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let earlier = *self.in_flight;
        let (sent, is_renewed, doubt, last) = (earlier, false, None, None);
        let mut requests = Requests { of: self, send, look, sent, earlier, is_renewed, doubt, last };
        let (error, stop) = match retry::repeat(&mut requests).await {
            Ok(done) => return Ok(done),
            Err(ended) => ended,
        };
        match stop {
            Stop::NotSent => {
                let is_out_of_time = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::RateLimited);
                Err(requests.doubt.or(requests.last.filter(|_| is_out_of_time)).unwrap_or(error))
            }
            Stop::Known(known) => Err(known),
            Stop::Refused => match requests.look_until(Instant::now() + requests.sent.left(), &error).await {
                Some(known) => known,
                None => Err(requests.doubt.unwrap_or(error)),
            },
        }
    }
}

/// The requests of one verb.
struct Requests<'a, S, L> {
    of: Reconcile<'a>,
    send: S,
    look: L,
    /// All that were sent, those of earlier calls included, and those among them before the last one.
    sent: InFlight,
    earlier: InFlight,
    is_renewed: bool,
    /// The first failure that leaves the outcome in doubt, and the last failure.
    doubt: Option<Error>,
    last: Option<Error>,
}

/// Why a request is not sent again.
enum Stop {
    /// Nothing was sent.
    NotSent,
    /// A look has the last word.
    Refused,
    /// A look has had it: this is the error.
    Known(Error),
}

impl<S, L> Policy for Requests<'_, S, L> {
    type Failure = Error;
    type Stop = Stop;

    fn after(&mut self, error: &Error, _: Instant, chance: f64) -> Decision<Stop> {
        if error.sent() == Sent::No {
            return Decision::Stop(Stop::NotSent);
        }
        self.sent = self.sent.and(InFlight::until(Instant::now()));
        if error.is_doubtful() {
            self.doubt.get_or_insert_with(|| error.clone());
            self.may_arrive();
        }
        let pause = match self.of.policy.after(error, self.of.budget.left_to_send(), chance) {
            Decision::RetryAfter(pause) => pause,
            // The look opens another session.
            Decision::Stop(()) if error.refuses_token() && !std::mem::replace(&mut self.is_renewed, true) => {
                Duration::ZERO
            }
            Decision::Stop(()) => return Decision::Stop(Stop::Refused),
        };
        match self.of.in_doubt {
            _ if self.doubt.is_none() => Decision::RetryAfter(pause),
            InDoubt::Repeat => Decision::RetryAfter(pause),
            InDoubt::RepeatAfterLateArrival => Decision::RetryAfter(pause.max(self.sent.left())),
            InDoubt::Stop => Decision::Stop(Stop::Refused),
        }
    }
}

impl<T, S, L, SF, LF> Attempts for Requests<'_, S, L>
where
    T: Send,
    S: FnMut(Reuse) -> SF + Send,
    L: FnMut() -> LF + Send,
    SF: Future<Output = Result<T, Error>> + Send,
    LF: Future<Output = Result<Option<T>, Error>> + Send,
{
    type Done = Reconciled<T>;

    async fn attempt(&mut self) -> Result<Reconciled<T>, Error> {
        // A kept connection may break when it is used, and leave a request in doubt.
        let reuse = match self.of.in_doubt {
            InDoubt::Repeat | InDoubt::RepeatAfterLateArrival if !self.of.in_flight.is_any() => Reuse::Allowed,
            InDoubt::Repeat | InDoubt::RepeatAfterLateArrival | InDoubt::Stop => Reuse::Never,
        };
        // They get their time again: one that is later than expected would make a second.
        self.earlier = self.sent.prolonged(Instant::now() + self.of.late_arrival);
        let done = (self.send)(reuse).await?;
        Ok(Reconciled { done, acceptance: Acceptance::Accepted, earlier: self.earlier })
    }

    async fn pause(&mut self, error: &Error, time: Duration) -> ControlFlow<Result<Reconciled<T>, Stop>> {
        let now = Instant::now();
        let next = now + time;
        // The look that decides whether it is sent again begins at this time or later.
        let look_at = if self.doubt.is_some() { next } else { now };
        if let Some(known) = self.look_until(look_at, error).await {
            return ControlFlow::Break(known.map_err(Stop::Known));
        }
        sleep_until(next).await;
        self.last = Some(error.clone());
        ControlFlow::Continue(())
    }
}

impl<S, L> Requests<'_, S, L> {
    /// The outcome of the last request is in doubt.
    fn may_arrive(&mut self) {
        let until = InFlight::until(Instant::now() + self.of.late_arrival);
        *self.of.in_flight = self.of.in_flight.and(until);
        self.sent = self.sent.and(until);
    }

    /// Looks until a look has succeeded that began at this time or later. `None`: nothing is done.
    async fn look_until<T, F>(&mut self, at: Instant, refusal: &Error) -> Option<Result<Reconciled<T>, Error>>
    where
        T: Send,
        L: FnMut() -> F + Send,
        F: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let Reconcile { budget, poll_interval, .. } = self.of;
        let max = self.of.policy.settings().max_backoff.max(poll_interval);
        let backoff = Backoff { initial: poll_interval, max, jitter: Jitter::None };
        let (is_in_doubt, failures) = (self.doubt.is_some(), 0);
        let look = &mut self.look;
        let mut looks = Looks { look, at, refusal, is_in_doubt, budget, poll_interval, backoff, failures };
        let stop = match retry::repeat(&mut looks).await {
            Ok(done) => {
                let acceptance = if is_in_doubt { Acceptance::Found } else { Acceptance::Already };
                return Some(Ok(Reconciled { done, acceptance, earlier: self.earlier }));
            }
            Err((_, stop)) => stop,
        };
        let doubt = self.doubt.clone();
        if doubt.is_none() && matches!(stop, Looked::Forbidden | Looked::Unknown(_)) {
            self.may_arrive();
        }
        Some(Err(match stop {
            Looked::NotDone => return None,
            Looked::DoneOtherwise(found) if found.kind() == ErrorKind::Duplicate => found,
            Looked::DoneOtherwise(found) => doubt.unwrap_or(found),
            Looked::Forbidden => {
                let why = "a look at the outcome is not allowed either";
                doubt.unwrap_or_else(|| refusal.clone().forbidden(why).in_doubt(None))
            }
            Looked::Unknown(failure) => {
                let pause = failure.as_ref().and_then(Error::retry_after).unwrap_or_default();
                doubt.unwrap_or_else(|| refusal.clone().in_doubt(failure).passing_after(pause))
            }
        }))
    }
}

/// Looks until one has succeeded that began at a certain time or later. In doubt, one that fails is the last.
struct Looks<'a, L> {
    look: L,
    at: Instant,
    refusal: &'a Error,
    is_in_doubt: bool,
    budget: CallBudget,
    poll_interval: Duration,
    backoff: Backoff,
    failures: u32,
}

/// What the last look has shown, if the request is not done.
#[derive(Debug)]
enum Looked {
    NotDone,
    /// Something else was done, which this error names.
    DoneOtherwise(Error),
    /// The caller may not look either.
    Forbidden,
    /// Nothing, in the time that there is: because the look failed, or because a request can arrive after it.
    Unknown(Option<Error>),
}

impl<L> Policy for Looks<'_, L> {
    /// The failure of a look; `None` where it shows that nothing is done.
    type Failure = Option<Error>;
    type Stop = Looked;

    fn after(&mut self, seen: &Option<Error>, began: Instant, _: f64) -> Decision<Looked> {
        let (is_last, left) = (began >= self.at, self.budget.left_to_send());
        match seen {
            Some(seen) if seen.kind() == ErrorKind::Forbidden && is_403(self.refusal) => {
                Decision::Stop(Looked::Forbidden)
            }
            None if is_last => Decision::Stop(Looked::NotDone),
            Some(found) if found.kind() == ErrorKind::Duplicate => Decision::Stop(Looked::DoneOtherwise(found.clone())),
            Some(found) if found.kind() == ErrorKind::Unattainable && is_last => {
                Decision::Stop(Looked::DoneOtherwise(found.clone()))
            }
            Some(failure) if failure.kind() != ErrorKind::Unattainable => {
                self.failures += 1;
                let pause = self.backoff.pause(self.failures, 0.0).max(failure.retry_after().unwrap_or_default());
                // What is wrong on this machine stays so.
                let is_hopeless = failure.sent() == Sent::No && !failure.is_retryable();
                if self.is_in_doubt || is_hopeless || pause >= left {
                    return Decision::Stop(Looked::Unknown(Some(failure.clone())));
                }
                Decision::RetryAfter(pause)
            }
            None | Some(_) => {
                let remaining = self.at.saturating_duration_since(Instant::now());
                if remaining >= left {
                    return Decision::Stop(Looked::Unknown(None));
                }
                Decision::RetryAfter(remaining.min(self.poll_interval))
            }
        }
    }
}

impl<T, L, F> Attempts for Looks<'_, L>
where
    T: Send,
    L: FnMut() -> F + Send,
    F: Future<Output = Result<Option<T>, Error>> + Send,
{
    type Done = T;

    async fn attempt(&mut self) -> Result<T, Option<Error>> {
        // Both the request and the look say that there is no such object.
        let is_gone = |seen: &Error| {
            seen.is_from_bunq() && [seen, self.refusal].iter().all(|error| error.kind() == ErrorKind::NotFound)
        };
        match (self.look)().await {
            Ok(done) => done.ok_or(None),
            Err(seen) => Err(Some(seen).filter(|seen| !is_gone(seen))),
        }
    }

    async fn pause(&mut self, _: &Option<Error>, time: Duration) -> ControlFlow<Result<T, Looked>> {
        sleep(time).await;
        ControlFlow::Continue(())
    }
}

/// Whether bunq itself has refused a request with 403, in whatever words.
fn is_403(refusal: &Error) -> bool {
    refusal.is_from_bunq() && refusal.status() == Some(403)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;
    use std::future::ready;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::CallMetadata;
    use crate::operation::Operation;
    use crate::retry::RetryPolicy;
    use crate::transport::rate_limit::RateLimits;

    const SECOND: Duration = Duration::from_secs(1);

    fn reconcile(in_doubt: InDoubt, in_flight: &mut InFlight) -> Reconcile<'_> {
        let rank = RateLimits::new(false, &HashMap::new()).next_rank();
        Reconcile {
            policy: CallPolicy::new(RetryPolicy::default().initial_backoff(SECOND), true),
            budget: CallBudget::after(120 * SECOND, rank),
            poll_interval: 2 * SECOND,
            late_arrival: 10 * SECOND,
            in_doubt,
            in_flight,
        }
    }

    fn failure(kind: ErrorKind, sent: Sent) -> Error {
        Error::new(kind, sent, "").with_metadata(CallMetadata::new(&Operation::CREATE_PROVISION, 1))
    }

    /// bunq's own refusal.
    fn refusal(kind: ErrorKind, status: u16) -> Error {
        let metadata = CallMetadata { status: Some(status), ..CallMetadata::new(&Operation::CREATE_PROVISION, 1) };
        Error::new(kind, Sent::Responded, "").with_metadata(metadata).with_refusal(true, &[], None)
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_of_a_request_has_its_decision() {
        test_timeout::start();
        let again = |pause| Ok(pause * SECOND);
        let (not_sent, refused) = (Err("not sent"), Err("refused"));
        // The decisions with `Repeat`, `RepeatAfterLateArrival` and `Stop`.
        for (failures, expected) in [
            (vec![failure(ErrorKind::Connect, Sent::No)], [not_sent; 3]),
            (vec![failure(ErrorKind::Connection, Sent::Maybe)], [again(1), again(10), refused]),
            (vec![failure(ErrorKind::Server, Sent::Responded)], [again(1), again(10), refused]),
            (vec![failure(ErrorKind::InvalidResponse, Sent::Responded)], [refused; 3]),
            (vec![refusal(ErrorKind::Rejected, 400)], [refused; 3]),
            (vec![refusal(ErrorKind::Maintenance, 491)], [again(1); 3]),
            // The look opens another session, once.
            (vec![refusal(ErrorKind::Unauthorized, 401)], [again(0); 3]),
            (vec![refusal(ErrorKind::Unauthorized, 401); 2], [refused; 3]),
            // A doubt stays.
            (
                vec![failure(ErrorKind::Connection, Sent::Maybe), refusal(ErrorKind::Maintenance, 491)],
                [again(2), again(10), refused],
            ),
            (vec![refusal(ErrorKind::Maintenance, 491); 4], [refused; 3]),
        ] {
            let all = [InDoubt::Repeat, InDoubt::RepeatAfterLateArrival, InDoubt::Stop];
            for (in_doubt, expected) in all.into_iter().zip(expected) {
                let (mut in_flight, sent, earlier) = (InFlight::NONE, InFlight::NONE, InFlight::NONE);
                let (of, send, look) = (reconcile(in_doubt, &mut in_flight), (), ());
                let (is_renewed, doubt, last) = (false, None, None);
                let mut requests = Requests { of, send, look, sent, earlier, is_renewed, doubt, last };
                let decisions: Vec<_> =
                    failures.iter().map(|failure| requests.after(failure, Instant::now(), 1.0)).collect();
                let decided = match decisions.last().unwrap() {
                    Decision::RetryAfter(pause) => Ok(*pause),
                    Decision::Stop(Stop::NotSent) => Err("not sent"),
                    Decision::Stop(Stop::Refused) => Err("refused"),
                    Decision::Stop(Stop::Known(_)) => Err("known"),
                };
                assert_eq!(decided, expected, "{failures:?} {in_doubt:?}");
                let is_doubtful = failures.iter().any(Error::is_doubtful);
                let left = if is_doubtful { 10 * SECOND } else { Duration::ZERO };
                assert_eq!((in_flight.is_any(), in_flight.left()), (is_doubtful, left), "{failures:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_of_a_look_has_its_decision() {
        test_timeout::start();
        let again = |pause: u32| Ok(pause * SECOND);
        let (none, seen) = (None, |kind| Some(failure(kind, Sent::Responded)));
        let asks = |pause| Some(failure(ErrorKind::Maintenance, Sent::Responded).with_retry_after(Some(pause)));
        let of_this_machine = || Some(failure(ErrorKind::Internal, Sent::No));
        let forbidden = || Some(refusal(ErrorKind::Forbidden, 403));
        // What has failed before a look that is early by so many seconds, and whether the request is in doubt.
        for (seen, early, is_in_doubt, failures, expected) in [
            (none.clone(), 0, true, 0, Err("not done")),
            (none.clone(), 1, true, 0, again(1)),
            (none.clone(), 9, true, 0, again(2)),
            (none, 200, true, 0, Err("unknown")),
            (seen(ErrorKind::Duplicate), 9, true, 0, Err("otherwise")),
            (seen(ErrorKind::Unattainable), 9, true, 0, again(2)),
            (seen(ErrorKind::Unattainable), 0, true, 0, Err("otherwise")),
            (seen(ErrorKind::Server), 0, true, 0, Err("unknown")),
            (seen(ErrorKind::Server), 0, false, 0, again(2)),
            (seen(ErrorKind::Server), 0, false, 2, again(8)),
            (seen(ErrorKind::Server), 0, false, 9, again(20)),
            (asks(30 * SECOND), 0, false, 0, again(30)),
            (asks(200 * SECOND), 0, false, 0, Err("unknown")),
            (of_this_machine(), 0, false, 0, Err("unknown")),
            (forbidden(), 0, false, 0, Err("forbidden")),
        ] {
            let refusal = refusal(ErrorKind::Rejected, if expected == Err("forbidden") { 403 } else { 400 });
            let mut in_flight = InFlight::NONE;
            let Reconcile { budget, poll_interval, .. } = reconcile(InDoubt::Stop, &mut in_flight);
            let backoff = Backoff { initial: poll_interval, max: 20 * SECOND, jitter: Jitter::None };
            let (look, at, refusal) = ((), Instant::now() + early * SECOND, &refusal);
            let mut looks = Looks { look, at, refusal, is_in_doubt, budget, poll_interval, backoff, failures };
            let decided = match looks.after(&seen, Instant::now(), 1.0) {
                Decision::RetryAfter(pause) => Ok(pause),
                Decision::Stop(Looked::NotDone) => Err("not done"),
                Decision::Stop(Looked::DoneOtherwise(_)) => Err("otherwise"),
                Decision::Stop(Looked::Forbidden) => Err("forbidden"),
                Decision::Stop(Looked::Unknown(_)) => Err("unknown"),
            };
            assert_eq!(decided, expected, "{seen:?} {early} {is_in_doubt} {failures}");
        }
    }

    /// A doubtful error leaves a request in flight for whoever goes on.
    #[tokio::test(start_paused = true)]
    async fn what_is_in_doubt_is_in_flight() {
        test_timeout::start();
        let lost = || failure(ErrorKind::Connection, Sent::Maybe);
        let read = |kind| Error::new(kind, Sent::Responded, "");
        for (of_request, of_look, is_doubtful) in [
            (failure(ErrorKind::Connect, Sent::No), None, false),
            (refusal(ErrorKind::Rejected, 400), None, false),
            (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Internal).before_sending()), true),
            (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Server)), true),
            (refusal(ErrorKind::Forbidden, 403), Some(read(ErrorKind::Forbidden)), true),
            (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Duplicate)), false),
            (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Unattainable)), false),
            (lost(), None, true),
            (lost(), Some(read(ErrorKind::Server)), true),
        ] {
            let mut in_flight = InFlight::NONE;
            let reconcile = reconcile(InDoubt::Stop, &mut in_flight);
            let send = |_| ready(Err::<(), _>(of_request.clone()));
            let outcome = reconcile.until_known(send, || ready(of_look.clone().map_or(Ok(None), Err))).await;
            let error = outcome.unwrap_err();
            assert_eq!((error.is_doubtful(), in_flight.is_any()), (is_doubtful, is_doubtful), "{error:?}, {of_look:?}");
        }
    }

    /// Sends a request that is lost on its way and arrives so late; how often it is sent until it is found.
    async fn sent(arrives_after: Duration, looking_takes: Duration) -> u32 {
        let (start, sent) = (Instant::now(), AtomicU32::new(0));
        let send = |_| async {
            sent.fetch_add(1, Ordering::Relaxed);
            Err(failure(ErrorKind::Connection, Sent::Maybe))
        };
        let look = || async {
            let has_arrived = start.elapsed() >= arrives_after;
            sleep(looking_takes).await;
            Ok(has_arrived.then_some(()))
        };
        let mut in_flight = InFlight::NONE;
        let reconcile = reconcile(InDoubt::RepeatAfterLateArrival, &mut in_flight);
        let outcome = reconcile.until_known(send, look).await.unwrap();
        assert!(in_flight.is_any());
        let sent = sent.into_inner();
        assert_eq!((outcome.acceptance, outcome.earlier.is_any()), (Acceptance::Found, sent > 1));
        sent
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
