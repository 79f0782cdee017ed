//! Whether a row fails, or everything does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::record::is_refused;
use crate::error::{Error, ErrorKind};
use crate::operation::{Auth, Operation};

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
    state: Mutex<OutageState>,
}

#[derive(Debug)]
struct OutageState {
    last_success: Instant,
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
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, state: Mutex::new(OutageState { last_success: Instant::now(), unauthorized: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, OutageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// bunq has answered a row, whatever it says about it.
    pub(super) fn over(&self) {
        *self.state() = OutageState { last_success: Instant::now(), unauthorized: 0 };
    }

    /// Says what to do after a failure of a row that was begun at this time; `jitter` is random from 0 to 1.
    pub(super) fn after(&self, error: &Error, failures: &mut Failures, began: Instant, jitter: f64) -> Next {
        let mut state = self.state();
        match error.kind() {
            ErrorKind::Context | ErrorKind::Internal | ErrorKind::Journal => return Next::GiveUpAll,
            // No session can be opened.
            _ if !error.is_retryable() && is_of_session(error.operation()) => return Next::GiveUpAll,
            ErrorKind::Unauthorized if !error.is_retryable() => {
                state.unauthorized += 1;
                return if state.unauthorized >= MAX_UNAUTHORIZED { Next::GiveUpAll } else { Next::GiveUpRow };
            }
            _ if is_refused(error) => return Next::GiveUpRow,
            _ => {}
        }
        // Others succeed, or bunq itself says that it fails with this one.
        let is_bunqs =
            error.kind() == ErrorKind::InvalidResponse || (error.kind() == ErrorKind::Server && error.is_from_bunq());
        let is_own = is_bunqs || state.last_success > began;
        failures.strikes += u32::from(is_own);
        if failures.strikes >= MAX_STRIKES {
            return Next::GiveUpRow;
        }
        if state.last_success.elapsed() >= self.timeout {
            return Next::GiveUpAll;
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.pauses.min(6)).min(LONGEST_PAUSE);
        failures.pauses += 1;
        let pause = longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Next::RetryAfter(error.retry_after().map_or(pause, |asked| pause.max(asked.min(LONGEST_PAUSE))))
    }
}

fn is_of_session(operation: Option<&'static Operation>) -> bool {
    operation.is_some_and(|operation| operation.auth != Auth::Session)
}
