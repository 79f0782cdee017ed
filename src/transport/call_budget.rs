//! The budget of a call: its time, the least time of its last attempt, and its place in the queue for permits.

use std::fmt;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::rate_limit::Rank;
use crate::error::{Error, ErrorKind, Sent};

/// The least time that an attempt gets, unless a tenth of the call's time is less.
const MIN_ATTEMPT: Duration = Duration::from_secs(1);

/// Longer than any call, and short enough for every clock.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The time and the place in the queue of a call. All calls of one verb share them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallBudget {
    at: Instant,
    min_attempt: Duration,
    rank: Rank,
}

impl CallBudget {
    /// The budget of a call that begins now with this rank and may take at most `timeout`.
    pub(crate) fn after(timeout: Duration, rank: Rank) -> Self {
        let timeout = timeout.min(MAX_TIMEOUT);
        Self { at: Instant::now() + timeout, min_attempt: (timeout / 10).min(MIN_ATTEMPT), rank }
    }

    /// The same budget, of a call that is sent within this time from now or not at all.
    #[must_use]
    pub(crate) fn sent_within(self, time: Duration) -> Self {
        Self { min_attempt: self.min_attempt.max(self.left().saturating_sub(time)), ..self }
    }

    pub(crate) fn rank(self) -> Rank {
        self.rank
    }

    /// The latest time at which an attempt may begin. A later one would be cut short and leave the outcome in doubt.
    pub(crate) fn send_by(self) -> Instant {
        self.at.checked_sub(self.min_attempt).unwrap_or(self.at)
    }

    /// The time left.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The time left in which an attempt can begin.
    pub(crate) fn left_to_send(self) -> Duration {
        self.send_by().saturating_duration_since(Instant::now())
    }

    /// Takes a lock that another call of the same verb may hold.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] with this problem, if it is not free in the time left.
    pub(crate) async fn lock<T>(self, lock: &Mutex<T>, problem: impl fmt::Display) -> Result<MutexGuard<'_, T>, Error> {
        timeout(self.left(), lock.lock()).await.map_err(|_| Error::new(ErrorKind::Timeout, Sent::No, problem))
    }

    /// The same budget, extended if it leaves less than an attempt of `timeout` needs.
    #[must_use]
    pub(crate) fn with_time_for(self, timeout: Duration) -> Self {
        Self { at: self.at.max(Instant::now() + timeout + self.min_attempt), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate_limit::RateLimits;
    use super::*;

    fn after(timeout: Duration) -> CallBudget {
        CallBudget::after(timeout, RateLimits::none().next_rank())
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_begins_in_time() {
        test_timeout::start();
        let second = Duration::from_secs(1);
        for (timeout, left_to_send) in
            [(120 * second, 119 * second), (second, 9 * second / 10), (Duration::ZERO, Duration::ZERO)]
        {
            let budget = after(timeout);
            assert_eq!((budget.left(), budget.left_to_send()), (timeout, left_to_send));
        }
        assert_eq!(after(Duration::MAX).left(), MAX_TIMEOUT);
        for (time, left_to_send) in [(5 * second, 5 * second), (200 * second, 119 * second)] {
            let budget = after(120 * second).sent_within(time);
            assert_eq!((budget.left(), budget.left_to_send()), (120 * second, left_to_send));
        }
    }
}
