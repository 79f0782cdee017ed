//! The sandbox's time and numbers.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A clock that never goes back: the time of day at its start and the time passed since then, which a test can pause.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    started: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Timestamp::now(), started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        after(self.start, self.started.elapsed())
    }
}

/// `duration` after `time`, or the last moment that there is.
pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// As bunq writes a time: UTC, microseconds, a space, no zone.
pub(crate) fn in_bunqs_form(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()
}

/// The ids of all objects: one series.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(1000)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.saturating_add(1);
        self.0
    }
}

/// A text that cannot be guessed.
pub(crate) fn random_token() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_bunq_writes_them() {
        test_timeout::start();
        let time: Timestamp = "2025-08-13T14:45:18.62155Z".parse().unwrap();
        assert_eq!(in_bunqs_form(time), "2025-08-13 14:45:18.621550");
    }

    #[test]
    fn time_ends_without_a_panic() {
        test_timeout::start();
        assert_eq!(after(Timestamp::now(), Duration::MAX), Timestamp::MAX);
    }
}
