//! Metrics for operators, as events with numbers.
//!
//! The events have the target `bunq_partner::metrics`, the level DEBUG and no text. The names of their fields are those
//! that `MetricsLayer` of the crate `tracing-opentelemetry` turns into metrics by operation, without further work.
//! Times are in seconds.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, event};

use crate::operation::Operation;

const TARGET: &str = "bunq_partner::metrics";

/// The number of calls that wait for a permit has changed by `change`.
pub(super) fn waiting(operation: &str, change: i64) {
    event!(target: TARGET, Level::DEBUG, counter.bunq.client.permit.waiting = change, bunq.operation = operation);
}

/// A call has got its permit.
pub(super) fn permitted(operation: &str, wait: Duration) {
    let wait = wait.as_secs_f64();
    event!(target: TARGET, Level::DEBUG, histogram.bunq.client.permit.wait = wait, bunq.operation = operation);
}

/// bunq has refused an attempt because of its rate limit.
pub(super) fn throttled(operation: &Operation) {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.throttled = 1_i64, bunq.operation = operation.id);
}

/// The client attempts a call again.
pub(super) fn retried(operation: &Operation) {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.retries = 1_i64, bunq.operation = operation.id);
}

/// The client has opened a session.
pub(crate) fn session_opened() {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.sessions_opened = 1_i64);
}

/// A wait for the lock of a kept context or user, which ends with this: the lock is held then, or nobody waits for it any more.
pub(crate) struct LockWait {
    of: &'static str,
    start: Instant,
}

impl LockWait {
    pub(crate) fn begin(of: &'static str) -> Self {
        Self { of, start: Instant::now() }
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        let wait = self.start.elapsed().as_secs_f64();
        event!(target: TARGET, Level::DEBUG, histogram.bunq.client.lock.wait = wait, bunq.lock.of = self.of);
    }
}

/// Nobody has activated the credential of a user, and it expires soon.
pub(crate) fn credential_expiring() {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.credentials_expiring = 1_i64);
}

/// The credential of a user has expired unused.
pub(crate) fn credential_expired() {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.credentials_expired = 1_i64);
}

/// The receiver has answered a call of bunq's, or of whoever calls.
#[cfg(feature = "webhook")]
pub(crate) fn called(outcome: &str) {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.webhook.calls = 1_i64, bunq.webhook.outcome = outcome);
}

/// So often something has come of what calls and looks say.
#[cfg(feature = "webhook")]
pub(crate) fn changed(outcome: &str, count: u64) {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.webhook.changes = count, bunq.webhook.outcome = outcome);
}
