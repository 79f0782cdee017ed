//! The sandbox's time and numbers.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The bank's clock, which never goes back: the time of day at its start, the time passed since then, which a test can pause, and what
/// it was advanced by.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Timestamp,
    started: Instant,
    advanced: Duration,
    /// Whether it was advanced since it was saved.
    is_changed: bool,
}

/// A clock as it is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedClock {
    time: Timestamp,
    advanced: Duration,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Timestamp::now(), started: Instant::now(), advanced: Duration::ZERO, is_changed: false }
    }

    pub(crate) fn now(&self) -> Timestamp {
        after(self.start, self.started.elapsed().saturating_add(self.advanced))
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
        self.is_changed = true;
    }

    pub(crate) fn save(&self) -> SavedClock {
        SavedClock { time: self.now(), advanced: self.advanced }
    }

    /// Whether it was advanced since this was called before.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Goes on from a saved clock: ahead of the time of day as it was, and never before the time at which it was saved.
    pub(crate) fn restore(&mut self, saved: &SavedClock) {
        self.advanced = saved.advanced;
        let behind = saved.time.duration_since(self.now());
        self.advance(behind.try_into().unwrap_or_default());
        self.is_changed = false;
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
        let mut clock = Clock::new();
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::MAX);
    }

    #[test]
    fn a_restored_clock_is_ahead_as_before_and_does_not_go_back() {
        test_timeout::start();
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let restored = |saved: &SavedClock| {
            let mut clock = Clock::new();
            clock.restore(saved);
            clock.now()
        };
        let mut clock = Clock::new();
        clock.advance(hours(2));
        assert!(clock.take_changed() && !clock.take_changed());
        // It was not running for an hour, which has passed all the same.
        let saved = SavedClock { time: after(clock.start, hours(1)), ..clock.save() };
        assert!(restored(&saved) >= after(clock.start, hours(2)));
        // The time of day was set back by an hour.
        let saved = SavedClock { time: after(clock.start, hours(3)), ..clock.save() };
        assert!(restored(&saved) >= saved.time);
        assert!(restored(&saved) < after(saved.time, hours(1)));
    }
}
