//! Decides whether a row fails, or everything does, and waits until an outage is over.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::journal::Ledger;
use super::record::{is_about_the_key, is_refused};
use crate::error::{Error, ErrorKind};
use crate::operation::{Auth, Operation};
use crate::provisions::Provisions;
use crate::retry::{self, Attempts, Backoff, Decision, Jitter, Policy};
use crate::sync::lock;
use crate::transport::health::Health;
use crate::transport::shutdown::Shutdown;

/// How often a row may fail while others succeed.
const MAX_STRIKES: u32 = 3;

/// After so many refusals of the key in succession, the key itself is taken to be refused.
const MAX_UNAUTHORIZED: u32 = 20;

/// The pauses before a row is tried again.
const BACKOFF: Backoff =
    Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60), jitter: Jitter::Half };

/// What the rows of an operation know of each other.
#[derive(Debug)]
pub(super) struct Outage {
    timeout: Duration,
    health: Arc<Health>,
    /// How many calls had succeeded before the operation.
    successes_before: u64,
    state: Mutex<OutageState>,
}

#[derive(Debug, Default)]
struct OutageState {
    last_success: Option<Instant>,
    /// Since when everything has failed that was tried.
    failing_since: Option<Instant>,
    unauthorized: u32,
}

/// The failures of one row.
#[derive(Debug, Default)]
pub(super) struct Failures {
    strikes: u32,
    pauses: u32,
}

/// What is given up for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GiveUp {
    Row,
    All,
}

impl Outage {
    pub(super) fn new(timeout: Duration, health: Arc<Health>) -> Self {
        let successes_before = health.successes();
        Self { timeout, health, successes_before, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, OutageState> {
        lock(&self.state)
    }

    /// bunq has answered a row, whatever it says about it.
    pub(super) fn over(&self) {
        *self.state() = OutageState { last_success: Some(Instant::now()), ..OutageState::default() };
    }

    /// bunq has answered a read, which says nothing of the rows that fail.
    fn answered(&self) {
        self.state().failing_since = None;
    }

    /// Decides on a failure of a row that was begun at this time; `chance` is random from 0 to 1.
    pub(super) fn after(
        &self,
        error: &Error,
        failures: &mut Failures,
        began: Instant,
        chance: f64,
    ) -> Decision<GiveUp> {
        let mut state = self.state();
        let has_worked = state.last_success.is_some() || self.health.successes() > self.successes_before;
        match error.kind() {
            // What has worked may work again.
            _ if error.is_misconfiguration() && !has_worked => return Decision::Stop(GiveUp::All),
            ErrorKind::ShutDown => return Decision::Stop(GiveUp::Row),
            // Its store may be reached again.
            ErrorKind::Context if error.is_retryable() => {}
            ErrorKind::Context | ErrorKind::Internal | ErrorKind::Storage => return Decision::Stop(GiveUp::All),
            // No session can be opened.
            _ if !error.is_retryable() && is_of_session(error.operation()) => return Decision::Stop(GiveUp::All),
            _ if is_about_the_key(error) => {
                state.unauthorized += 1;
                return Decision::Stop(if state.unauthorized >= MAX_UNAUTHORIZED { GiveUp::All } else { GiveUp::Row });
            }
            _ if is_refused(error) => return Decision::Stop(GiveUp::Row),
            _ => {}
        }
        // Others succeed meanwhile, or bunq itself says that it fails with this one, and others have just succeeded.
        let is_bunqs =
            error.kind() == ErrorKind::InvalidResponse || (error.kind() == ErrorKind::Server && error.is_from_bunq());
        let is_own = state.last_success.is_some_and(|last| last > began || (is_bunqs && last.elapsed() < BACKOFF.max));
        failures.strikes += u32::from(is_own);
        if state.failing_since.get_or_insert(began).elapsed() >= self.timeout {
            return Decision::Stop(GiveUp::All);
        }
        if failures.strikes >= MAX_STRIKES {
            return Decision::Stop(GiveUp::Row);
        }
        failures.pauses += 1;
        let asked = error.retry_after().unwrap_or_default().min(BACKOFF.max);
        Decision::RetryAfter(BACKOFF.pause(failures.pauses, chance).max(asked))
    }
}

/// What all parts of a run know.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) provisions: Provisions,
    pub(super) ledger: Ledger,
    pub(super) outage: Outage,
    /// No request begins after it.
    pub(super) shutdown: Shutdown,
    /// No row begins after it, and none is tried again.
    pub(super) over: Shutdown,
    /// What ends the run.
    pub(super) failure: Mutex<Option<Error>>,
}

impl Run {
    /// Whether no further row begins.
    pub(super) fn is_ending(&self) -> bool {
        self.shutdown.has_begun() || self.over.has_begun()
    }

    /// Waits until no further row begins.
    pub(super) async fn ending(&self) {
        select(pin!(self.shutdown.begun()), pin!(self.over.begun())).await;
    }

    /// Waits for this long; says whether the end has begun meanwhile.
    pub(super) async fn ends_within(&self, pause: Duration) -> bool {
        timeout(pause, self.ending()).await.is_ok()
    }

    /// Reads from bunq until that succeeds; `None` if the end of the run has begun before.
    pub(super) async fn until_done<T, F>(&self, read: impl FnMut() -> F + Send) -> Result<Option<T>, Error>
    where
        T: Send,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let reads = &mut Reads { run: self, read, failures: Failures::default() };
        let done = match retry::repeat(reads).await {
            Err((error, ())) if error.kind() == ErrorKind::ShutDown => None,
            done => done.map_err(|(error, ())| error)?,
        };
        match done {
            Some(_) => self.outage.answered(),
            // It may be that of the client.
            None => self.over.begin(),
        }
        Ok(done)
    }
}

/// Reads from bunq. Failures are judged like those of rows, but a read is given up only with everything.
struct Reads<'a, R> {
    run: &'a Run,
    read: R,
    failures: Failures,
}

impl<R> Policy for Reads<'_, R> {
    type Failure = Error;
    type Stop = ();

    fn after(&mut self, error: &Error, began: Instant, chance: f64) -> Decision<()> {
        if !error.is_retryable() {
            return Decision::Stop(());
        }
        match self.run.outage.after(error, &mut self.failures, began, chance) {
            Decision::RetryAfter(pause) => Decision::RetryAfter(pause),
            Decision::Stop(GiveUp::Row) => Decision::RetryAfter(BACKOFF.max),
            Decision::Stop(GiveUp::All) => Decision::Stop(()),
        }
    }
}

impl<T, R, F> Attempts for Reads<'_, R>
where
    T: Send,
    R: FnMut() -> F + Send,
    F: Future<Output = Result<T, Error>> + Send,
{
    /// `None`: the end of the run has begun before.
    type Done = Option<T>;

    async fn attempt(&mut self) -> Result<Option<T>, Error> {
        // The end comes first: no request of the read begins after it.
        match select(pin!(self.run.ending()), pin!((self.read)())).await {
            Either::Left(_) => Ok(None),
            Either::Right((read, _)) => read.map(Some),
        }
    }

    async fn pause(&mut self, _: &Error, time: Duration) -> ControlFlow<Result<Option<T>, ()>> {
        match self.run.ends_within(time).await {
            true => ControlFlow::Break(Ok(None)),
            false => ControlFlow::Continue(()),
        }
    }
}

fn is_of_session(operation: Option<&'static Operation>) -> bool {
    operation.is_some_and(|operation| operation.auth != Auth::Session)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::error::{CallMetadata, Sent};

    const SECOND: Duration = Duration::from_secs(1);

    fn failure(kind: ErrorKind, operation: &'static Operation) -> Error {
        Error::new(kind, Sent::Responded, "").with_metadata(CallMetadata::new(operation, 1))
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_has_its_decision() {
        test_timeout::start();
        use ErrorKind::*;
        let (row, all) = (Decision::Stop(GiveUp::Row), Decision::Stop(GiveUp::All));
        let again = |seconds: f64| Decision::RetryAfter(Duration::from_secs_f64(seconds));
        let closing = |kind| failure(kind, &Operation::UPDATE_PROVISION);
        let misconfigured = || closing(Connect).due_to_a_setting(true);
        let asks = |seconds: u32| closing(Maintenance).with_retry_after(Some(seconds * SECOND));
        // What is decided where no call has succeeded, and where one has just succeeded.
        for (error, before, after) in [
            (closing(Connection), again(0.5), again(0.5)),
            (asks(10), again(10.0), again(10.0)),
            (asks(3600), again(60.0), again(60.0)),
            (misconfigured(), all, again(0.5)),
            (closing(ShutDown), row, row),
            (closing(Internal), all, all),
            (closing(Storage), all, all),
            (failure(Rejected, &Operation::CREATE_SESSION).with_refusal(true, &[], None), all, all),
            (closing(Forbidden), row, row),
            (closing(Rejected).with_refusal(true, &[], None), row, row),
            // It says nothing of what was requested.
            (failure(NotFound, &Operation::GET_PROVISION).with_refusal(true, &[], None), again(0.5), again(0.5)),
        ] {
            let outage = Outage::new(3600 * SECOND, Arc::default());
            let after_failure = |outage: &Outage| outage.after(&error, &mut Failures::default(), Instant::now(), 0.0);
            assert_eq!(after_failure(&outage), before, "{error:?}");
            outage.over();
            advance(SECOND).await;
            assert_eq!(after_failure(&outage), after, "{error:?}, after a success");
        }
    }

    #[test]
    fn a_key_that_is_refused_for_many_rows_is_refused_for_all() {
        test_timeout::start();
        let outage = Outage::new(3600 * SECOND, Arc::default());
        let error = failure(ErrorKind::Unauthorized, &Operation::UPDATE_PROVISION).with_refusal(true, &[], None);
        let decisions =
            (1..=MAX_UNAUTHORIZED).map(|_| outage.after(&error, &mut Failures::default(), Instant::now(), 0.0));
        let decisions: Vec<_> = decisions.collect();
        let (last, others) = decisions.split_last().unwrap();
        assert_eq!(*last, Decision::Stop(GiveUp::All));
        assert!(others.iter().all(|decision| *decision == Decision::Stop(GiveUp::Row)), "{others:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_failed_by_itself_is_given_up_with_everything() {
        test_timeout::start();
        let hour = 3600 * SECOND;
        let outage = Outage::new(hour, Arc::default());
        let error = Error::new(ErrorKind::Connection, Sent::No, "the connection broke");
        let mut failures = Failures::default();
        for strikes in 1..=MAX_STRIKES {
            let began = Instant::now();
            advance(SECOND).await;
            outage.over();
            let next = outage.after(&error, &mut failures, began, 0.0);
            assert_eq!(next == Decision::Stop(GiveUp::Row), strikes == MAX_STRIKES, "{next:?}");
        }
        advance(hour).await;
        assert_eq!(outage.after(&error, &mut failures, Instant::now(), 0.0), Decision::Stop(GiveUp::All));
    }
}
