//! When sessions can be opened, as far as that is known.

use std::time::Duration;

use tokio::time::Instant;

use crate::operation::Operation;
use crate::transport::rate_limit::RateLimits;

/// What is left at least of each session of the partner when the next is open: sessions that last no longer would leave no turn to
/// anybody.
const LEAST_LEFT: Duration = Duration::from_secs(1);

/// When the session of the partner is opened again, and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewals {
    pub(super) next: Instant,
    /// How long each lasts until it is renewed.
    pub(super) every: Duration,
}

impl Renewals {
    /// Those from now on, without the one that is going on.
    pub(super) fn from(self, now: Instant, is_going_on: bool) -> Option<Self> {
        let next = if is_going_on && self.next <= now { now.checked_add(self.every)? } else { self.next.max(now) };
        Some(Self { next, ..self })
    }
}

pub(super) struct Forecast<'a> {
    pub(super) limits: &'a RateLimits,
    pub(super) now: Instant,
    /// All wait until then.
    pub(super) not_before: Instant,
    /// Before this the limit has no permit, as other clients have used it.
    pub(super) has_room: Instant,
    /// How many go before all that wait.
    pub(super) before: usize,
    /// How long it takes to open one.
    pub(super) exchange: Duration,
    pub(super) renewals: Option<Renewals>,
}

impl Forecast<'_> {
    /// When a session can be opened before which so many others wait.
    pub(super) fn turn(&self, ahead: usize) -> Instant {
        let operation = &Operation::CREATE_SESSION;
        let Some(turn) = self.limits.turn(operation, self.now, ahead + self.before, self.has_room) else {
            return self.not_before;
        };
        let exchanges = times(self.exchange, ahead as u128);
        let turn = turn.max(self.not_before).checked_add(exchanges).unwrap_or(turn);
        let Some(Renewals { next, every }) = self.renewals.filter(|renewals| renewals.next <= turn) else {
            return turn;
        };
        // Each renewal takes a turn too, and so has others fall into the time.
        let each = self.limits.interval(operation) + self.exchange;
        let left = every.saturating_sub(each).max(LEAST_LEFT);
        let renewals = 1 + turn.duration_since(next).as_nanos() / left.as_nanos();
        turn.checked_add(times(each, renewals)).unwrap_or(turn)
    }
}

fn times(time: Duration, count: u128) -> Duration {
    time.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}
