//! Sends a request that must not be carried out twice unnoticed, checks what became of it, and sends it again only if that is safe.
//!
//! It knows nothing of what is requested. The caller says how to send, and how to check whether it is done.

mod checks;
mod in_flight;
mod looked;
mod once;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::checks::CheckAttempts;
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
