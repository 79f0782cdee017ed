//! Metrics for operators, as events with numbers, like those of the library.

use std::time::Duration;

use tracing::{Level, event};

const TARGET: &str = "bunq_partner::metrics";

/// The database has answered a statement about permits, or failed to, in a time.
pub(super) fn asked(statement: &str, time: Duration) {
    let time = time.as_secs_f64();
    event!(target: TARGET, Level::DEBUG, histogram.bunq.client.permit.store = time, bunq.permit.statement = statement);
}

/// The lease of a permit has ended while its call lasted.
pub(super) fn lost() {
    event!(target: TARGET, Level::DEBUG, monotonic_counter.bunq.client.permit.leases_lost = 1_i64);
}
