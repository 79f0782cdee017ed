//! Sends a request that must not be carried out twice unnoticed, checks what became of it, and sends it again only if that is safe.
//!
//! It knows nothing of what is requested. The caller says how to send, and how to check whether it is done.

mod in_flight;
mod looked;
mod once;

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use self::in_flight::{InFlight, Requests};
pub(crate) use self::looked::Looked;
pub(crate) use self::once::Once;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::retry::{self, Attempts, Backoff, CallPolicy, Decision, Jitter, Policy};
use crate::transport::call_budget::CallBudget;
use crate::transport::connections::Reuse;
use crate::transport::spans::{self, Awaited};

/// How a request is sent until its outcome is known.
#[derive(Debug)]
pub(crate) struct Reconcile<'a> {
    pub(crate) policy: CallPolicy,
    pub(crate) budget: CallBudget,
    /// The pause between two checks; it doubles after each check that fails.
    pub(crate) poll_interval: Duration,
    /// How long a request that is in doubt may still arrive.
    pub(crate) late_arrival: Duration,
    pub(crate) in_doubt: InDoubt,
    /// The requests of earlier calls. Those of this one whose outcome is in doubt are added.
    pub(crate) in_flight: &'a mut InFlight,
}

/// The times of the checks of a verb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VerbConfig {
    /// The pause between two checks.
    pub(crate) poll_interval: Duration,
    /// How long a request that is in doubt may still arrive.
    pub(crate) late_arrival: Duration,
}

/// What may follow a request whose outcome is in doubt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InDoubt {
    /// The same request, because a second one does no harm.
    Repeat,
    /// The same request, when the first cannot arrive any more.
    RepeatAfterLateArrival,
    /// No request.
    Stop,
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) struct Reconciled<T> {
    pub(crate) done: T,
    pub(crate) acceptance: Acceptance,
    /// The requests before the last one.
    pub(crate) earlier: InFlight,
}

impl Reconcile<'_> {
    /// Sends a request until its outcome is known. `send` is told which connections the request may go over.
    ///
    /// After every failure, whatever the response says, it checks whether the request is done, before it sends it again or
    /// fails. After a refusal that would be final, it repeats a check that fails as long as there is time. Before
    /// it fails, a check begins when no request can arrive any more.
    ///
    /// The error is the first one that leaves the outcome in doubt, because that doubt stays whatever a later request
    /// gets. A refusal leaves it in doubt too, if no such check has succeeded.
    pub(crate) async fn until_known<T, S, C>(
        self,
        send: impl FnMut(Reuse) -> S + Send,
        check: impl FnMut() -> C + Send,
    ) -> Result<Reconciled<T>, Error>
    where
        T: Send,
        S: Future<Output = Result<T, Error>> + Send,
        C: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let earlier = *self.in_flight;
        let (sent, is_renewed, doubt, last) = (earlier, false, None, None);
        let mut requests = RequestAttempts { of: self, send, check, sent, earlier, is_renewed, doubt, last };
        match retry::repeat(&mut requests).await {
            Ok(done) => Ok(done),
            Err((_, Some(known))) => Err(known),
            Err((refusal, None)) => {
                let known = requests.check_until(Instant::now() + requests.sent.left(), &refusal).await;
                known.unwrap_or_else(|| Err(requests.doubt.unwrap_or(refusal)))
            }
        }
    }
}

/// The requests of one verb.
struct RequestAttempts<'a, S, C> {
    of: Reconcile<'a>,
    send: S,
    check: C,
    /// All that were sent, those of earlier calls included, and those among them before the last one.
    sent: InFlight,
    earlier: InFlight,
    is_renewed: bool,
    /// The first failure that leaves the outcome in doubt, and the last failure.
    doubt: Option<Error>,
    last: Option<Error>,
}

impl<S, C> Policy for RequestAttempts<'_, S, C> {
    type Failure = Error;
    /// The error to fail with; `None` if a check decides.
    type Stop = Option<Error>;

    fn after(&mut self, error: &Error, _: Instant, chance: f64) -> Decision<Option<Error>> {
        if error.sent() == Sent::No {
            let is_out_of_time = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::RateLimited);
            let known = self.doubt.as_ref().or(self.last.as_ref().filter(|_| is_out_of_time)).unwrap_or(error);
            return Decision::Stop(Some(known.clone()));
        }
        self.sent = self.sent.and(InFlight::until(Instant::now()));
        if error.is_doubtful() {
            self.doubt.get_or_insert_with(|| error.clone());
            self.may_arrive();
        }
        let pause = match self.of.policy.after(error, self.of.budget.left_to_send(), chance) {
            Decision::RetryAfter(pause) => pause,
            // The check opens another session.
            Decision::Stop(()) if error.refuses_token() && !std::mem::replace(&mut self.is_renewed, true) => {
                Duration::ZERO
            }
            Decision::Stop(()) => return Decision::Stop(None),
        };
        match self.of.in_doubt {
            _ if self.doubt.is_none() => Decision::RetryAfter(pause),
            InDoubt::Repeat => Decision::RetryAfter(pause),
            InDoubt::RepeatAfterLateArrival => Decision::RetryAfter(pause.max(self.sent.left())),
            InDoubt::Stop => Decision::Stop(None),
        }
    }
}

impl<T, S, C, SF, CF> Attempts for RequestAttempts<'_, S, C>
where
    T: Send,
    S: FnMut(Reuse) -> SF + Send,
    C: FnMut() -> CF + Send,
    SF: Future<Output = Result<T, Error>> + Send,
    CF: Future<Output = Result<Option<T>, Error>> + Send,
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

    async fn pause(&mut self, error: &Error, time: Duration) -> ControlFlow<Result<Reconciled<T>, Option<Error>>> {
        let now = Instant::now();
        let next = now + time;
        // The check that decides whether it is sent again begins at this time or later.
        let check_at = if self.doubt.is_some() { next } else { now };
        if let Some(known) = self.check_until(check_at, error).await {
            return ControlFlow::Break(known.map_err(Some));
        }
        if next > Instant::now() {
            let _waiting = spans::wait(Awaited::Retry(error), Some(next.saturating_duration_since(Instant::now())));
            sleep_until(next).await;
        }
        self.last = Some(error.clone());
        ControlFlow::Continue(())
    }
}

impl<S, C> RequestAttempts<'_, S, C> {
    /// The outcome of the last request is in doubt.
    fn may_arrive(&mut self) {
        let until = InFlight::until(Instant::now() + self.of.late_arrival);
        *self.of.in_flight = self.of.in_flight.and(until);
        self.sent = self.sent.and(until);
    }

    /// Checks until a check has succeeded that began at this time or later. `None`: nothing is done.
    async fn check_until<T, F>(&mut self, at: Instant, refusal: &Error) -> Option<Result<Reconciled<T>, Error>>
    where
        T: Send,
        C: FnMut() -> F + Send,
        F: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let Reconcile { budget, poll_interval: initial, .. } = self.of;
        let max = self.of.policy.settings().max_backoff.max(initial);
        let backoff = Backoff { initial, max, jitter: Jitter::None };
        let (check, doubt) = (&mut self.check, self.doubt.as_ref());
        let mut checks = CheckAttempts { check, at, refusal, doubt, budget, backoff, failures: 0 };
        match retry::repeat(&mut checks).await {
            Ok(done) => {
                let acceptance = if self.doubt.is_some() { Acceptance::Found } else { Acceptance::Already };
                Some(Ok(Reconciled { done, acceptance, earlier: self.earlier }))
            }
            Err((_, known)) => {
                if self.doubt.is_none() && known.as_ref().is_some_and(Error::is_doubtful) {
                    self.may_arrive();
                }
                known.map(Err)
            }
        }
    }
}

/// Checks until one has succeeded that began at a certain time or later. In doubt, one that fails is the last.
struct CheckAttempts<'a, C> {
    check: C,
    at: Instant,
    refusal: &'a Error,
    doubt: Option<&'a Error>,
    budget: CallBudget,
    backoff: Backoff,
    failures: u32,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::ready;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::CallMetadata;
    use crate::operation::Operation;
    use crate::retry::RetryPolicy;
    use crate::transport::rate_limit::RateLimits;

    const SECOND: Duration = Duration::from_secs(1);

    fn reconcile(in_doubt: InDoubt, in_flight: &mut InFlight) -> Reconcile<'_> {
        let rank = RateLimits::none().next_rank();
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
            // The check opens another session, once.
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
                let (of, send, check) = (reconcile(in_doubt, &mut in_flight), (), ());
                let (is_renewed, doubt, last) = (false, None, None);
                let mut requests = RequestAttempts { of, send, check, sent, earlier, is_renewed, doubt, last };
                let decisions: Vec<_> =
                    failures.iter().map(|failure| requests.after(failure, Instant::now(), 1.0)).collect();
                let decided = match decisions.last().unwrap() {
                    Decision::RetryAfter(pause) => Ok(*pause),
                    Decision::Stop(Some(_)) => Err("not sent"),
                    Decision::Stop(None) => Err("refused"),
                };
                assert_eq!(decided, expected, "{failures:?} {in_doubt:?}");
                let is_doubtful = failures.iter().any(Error::is_doubtful);
                let left = if is_doubtful { 10 * SECOND } else { Duration::ZERO };
                assert_eq!((in_flight.is_any(), in_flight.left()), (is_doubtful, left), "{failures:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_of_a_check_has_its_decision() {
        test_timeout::start();
        let again = |pause: u32| Ok(pause * SECOND);
        let (none, seen) = (None, |kind| Some(Error::new(kind, Sent::Responded, "")));
        let asks = |pause| Some(failure(ErrorKind::Maintenance, Sent::Responded).with_retry_after(Some(pause)));
        let of_this_machine = || Some(failure(ErrorKind::Internal, Sent::No));
        let forbidden = || Some(refusal(ErrorKind::Forbidden, 403));
        // What a check has shown that is early by so many seconds, whether the request is in doubt, and how many checks have failed.
        for (seen, early, is_in_doubt, failures, expected) in [
            (none.clone(), 0, true, 0, Err("not done")),
            (none.clone(), 1, true, 0, again(1)),
            (none.clone(), 9, true, 0, again(2)),
            (none.clone(), 200, true, 0, Err("the doubt")),
            (none, 200, false, 0, Err("doubtful")),
            (seen(ErrorKind::Duplicate), 9, true, 0, Err("Duplicate")),
            (seen(ErrorKind::Unattainable), 9, true, 0, again(2)),
            (seen(ErrorKind::Unattainable), 0, true, 0, Err("the doubt")),
            (seen(ErrorKind::Unattainable), 0, false, 0, Err("Unattainable")),
            (seen(ErrorKind::Server), 0, true, 0, Err("the doubt")),
            (seen(ErrorKind::Server), 0, false, 0, again(2)),
            (seen(ErrorKind::Server), 0, false, 2, again(8)),
            (seen(ErrorKind::Server), 0, false, 9, again(20)),
            (asks(30 * SECOND), 0, false, 0, again(30)),
            (asks(200 * SECOND), 0, false, 0, Err("doubtful")),
            (of_this_machine(), 0, false, 0, Err("doubtful")),
            (forbidden(), 0, false, 0, Err("forbidden")),
        ] {
            let refusal = refusal(ErrorKind::Rejected, if expected == Err("forbidden") { 403 } else { 400 });
            let lost = failure(ErrorKind::Connection, Sent::Maybe);
            let mut in_flight = InFlight::NONE;
            let Reconcile { budget, poll_interval, .. } = reconcile(InDoubt::Stop, &mut in_flight);
            let backoff = Backoff { initial: poll_interval, max: 20 * SECOND, jitter: Jitter::None };
            let (check, at, refusal) = ((), Instant::now() + early * SECOND, &refusal);
            let doubt = Some(&lost).filter(|_| is_in_doubt);
            let mut checks = CheckAttempts { check, at, refusal, doubt, budget, backoff, failures };
            let decided = match checks.after(&seen, Instant::now(), 1.0) {
                Decision::RetryAfter(pause) => Ok(pause),
                Decision::Stop(None) => Err("not done"),
                Decision::Stop(Some(error)) => Err(match error.kind() {
                    ErrorKind::Connection => "the doubt",
                    ErrorKind::Forbidden if error.is_doubtful() => "forbidden",
                    _ if error.is_doubtful() => "doubtful",
                    kind => kind.as_str(),
                }),
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
        for (of_request, of_check, is_doubtful) in [
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
            let outcome = reconcile.until_known(send, || ready(of_check.clone().map_or(Ok(None), Err))).await;
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.is_doubtful(), in_flight.is_any()),
                (is_doubtful, is_doubtful),
                "{error:?}, {of_check:?}"
            );
        }
    }

    /// Sends a request that is lost on its way and arrives so late; how often it is sent until it is found.
    async fn sent(arrives_after: Duration, checking_takes: Duration) -> u32 {
        let (start, sent) = (Instant::now(), AtomicU32::new(0));
        let send = |_| async {
            sent.fetch_add(1, Ordering::Relaxed);
            Err(failure(ErrorKind::Connection, Sent::Maybe))
        };
        let check = || async {
            let has_arrived = start.elapsed() >= arrives_after;
            sleep(checking_takes).await;
            Ok(has_arrived.then_some(()))
        };
        let mut in_flight = InFlight::NONE;
        let reconcile = reconcile(InDoubt::RepeatAfterLateArrival, &mut in_flight);
        let outcome = reconcile.until_known(send, check).await.unwrap();
        assert!(in_flight.is_any());
        let sent = sent.into_inner();
        assert_eq!((outcome.acceptance, outcome.earlier.is_any()), (Acceptance::Found, sent > 1));
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_in_time_is_not_sent_again_however_long_a_check_takes() {
        test_timeout::start();
        for checking_takes in [Duration::ZERO, SECOND, 3 * SECOND, 7 * SECOND, 30 * SECOND] {
            for seconds in 0..=10 {
                assert_eq!(sent(seconds * SECOND, checking_takes).await, 1, "{seconds} s, {checking_takes:?}");
            }
            assert_eq!(sent(15 * SECOND + checking_takes, checking_takes).await, 2, "{checking_takes:?}");
        }
    }
}
