//! What operators graph, as events with numbers.
//!
//! The events have the target `bunq_partner::metrics`, the level DEBUG and no text. Their fields are named as
//! `MetricsLayer` of the crate `tracing-opentelemetry` reads them: it makes metrics of them, by operation, without further
//! work. Times are in seconds.

use std::time::Duration;

use tracing::{Level, event};

use crate::operation::Operation;

const TARGET: &str = "bunq_partner::metrics";

/// So many more calls wait for a permit, or fewer.
pub(super) fn waiting(operation: &str, change: i64) {
    event!(target: TARGET, Level::DEBUG, counter.bunq.client.permit.waiting = change, bunq.operation = operation);
}

/// A call has its permit.
pub(super) fn permitted(operation: &str, wait: Duration) {
    let wait = wait.as_secs_f64();
    event!(target: TARGET, Level::DEBUG, histogram.bunq.client.permit.wait = wait, bunq.operation = operation);
}

/// bunq has refused an attempt for its rate.
pub(super) fn throttled(operation: &Operation) {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.throttled = 1_i64, bunq.operation = operation.id);
}

/// A call is attempted again.
pub(super) fn retried(operation: &Operation) {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.retries = 1_i64, bunq.operation = operation.id);
}

/// A session was opened.
pub(crate) fn session_opened() {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.sessions_opened = 1_i64);
}
