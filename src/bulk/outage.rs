//! Whether a row fails, or everything does.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::Instant;

use super::record::{is_about_the_key, is_refused};
use super::shutdown::Shutdown;
use crate::error::{Error, ErrorKind};
use crate::operation::{Auth, Operation};
use crate::sync::lock;
use crate::transport::health::Health;

/// How often a row may fail while others succeed.
const MAX_STRIKES: u32 = 3;

/// How many rows in a row bunq may refuse for the key, before that is taken for the key's own failure.
const MAX_UNAUTHORIZED: u32 = 20;

/// The pause before a row is tried again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try the row again after this pause.
    RetryAfter(Duration),
    /// Give the row up.
    GiveUpRow,
    /// Give everything up for now.
    GiveUpAll,
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

    /// bunq has answered a look, which says nothing of the rows that fail.
    fn answered(&self) {
        self.state().failing_since = None;
    }

    /// Says what to do after a failure of a row that was begun at this time; `jitter` is random from 0 to 1.
    pub(super) fn after(&self, error: &Error, failures: &mut Failures, began: Instant, jitter: f64) -> Next {
        let mut state = self.state();
        let has_worked = state.last_success.is_some() || self.health.successes() > self.successes_before;
        match error.kind() {
            // What has worked may work again.
            _ if error.is_misconfiguration() && !has_worked => return Next::GiveUpAll,
            ErrorKind::Context | ErrorKind::Internal | ErrorKind::Storage => return Next::GiveUpAll,
            // No session can be opened.
            _ if !error.is_retryable() && is_of_session(error.operation()) => return Next::GiveUpAll,
            _ if is_about_the_key(error) => {
                state.unauthorized += 1;
                return if state.unauthorized >= MAX_UNAUTHORIZED { Next::GiveUpAll } else { Next::GiveUpRow };
            }
            _ if is_refused(error) => return Next::GiveUpRow,
            _ => {}
        }
        // Others succeed meanwhile, or bunq itself says that it fails with this one, and others have just succeeded.
        let is_bunqs =
            error.kind() == ErrorKind::InvalidResponse || (error.kind() == ErrorKind::Server && error.is_from_bunq());
        let is_own =
            state.last_success.is_some_and(|last| last > began || (is_bunqs && last.elapsed() < LONGEST_PAUSE));
        failures.strikes += u32::from(is_own);
        if state.failing_since.get_or_insert(began).elapsed() >= self.timeout {
            return Next::GiveUpAll;
        }
        if failures.strikes >= MAX_STRIKES {
            return Next::GiveUpRow;
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.pauses.min(6)).min(LONGEST_PAUSE);
        failures.pauses += 1;
        let pause = longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Next::RetryAfter(error.retry_after().map_or(pause, |asked| pause.max(asked.min(LONGEST_PAUSE))))
    }
}

/// What waits for an outage to be over, unless the end has begun.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) outage: Arc<Outage>,
    pub(super) shutdown: Shutdown,
}

impl Patience {
    /// Looks at bunq until that succeeds; `None` if the end has begun before.
    pub(super) async fn until_done<T, F>(&self, mut look: impl FnMut() -> F) -> Result<Option<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = Failures::default();
        loop {
            let began = Instant::now();
            let Either::Left((looked, _)) = select(pin!(look()), pin!(self.shutdown.begun())).await else {
                return Ok(None);
            };
            let error = match looked {
                Ok(done) => {
                    self.outage.answered();
                    return Ok(Some(done));
                }
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => error,
            };
            match self.outage.after(&error, &mut failures, began, fastrand::f64()) {
                Next::GiveUpAll => return Err(error),
                Next::RetryAfter(pause) => _ = self.shutdown.within(pause).await,
                Next::GiveUpRow => _ = self.shutdown.within(LONGEST_PAUSE).await,
            }
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
    use crate::error::Sent;

    #[tokio::test(start_paused = true)]
    async fn what_has_failed_alone_is_given_up_with_everything() {
        test_timeout::start();
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        let outage = Outage::new(hour, Arc::default());
        let error = Error::new(ErrorKind::Connection, Sent::No, "the connection broke");
        let mut failures = Failures::default();
        for strikes in 1..=MAX_STRIKES {
            let began = Instant::now();
            advance(second).await;
            outage.over();
            let next = outage.after(&error, &mut failures, began, 0.0);
            assert_eq!(next == Next::GiveUpRow, strikes == MAX_STRIKES, "{next:?}");
        }
        advance(hour).await;
        assert_eq!(outage.after(&error, &mut failures, Instant::now(), 0.0), Next::GiveUpAll);
    }
}
