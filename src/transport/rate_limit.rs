//! bunq's rate limits: at most so many calls of an operation within any period of a given length.
//!
//! The windows roll, as bunq's do; a token bucket would let nearly twice as many calls through. bunq counts a call when
//! it arrives, which is some time between its sending and its response, so a permit is free again only when the window
//! has passed since the response. A wait never goes past its deadline: it fails at once if a permit takes longer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::operation::{Operation, RateLimit};

/// The widest limit that is accepted from the words of a 429.
const MOST_CALLS: u32 = 10_000;
const LONGEST_SECONDS: u32 = 3600;

/// A wait of at least this length is logged at the level INFO.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// The rate limits of all operations, shared by all that call from this address.
#[derive(Debug)]
pub(crate) struct RateLimits {
    windows: HashMap<&'static str, Arc<Window>>,
}

impl RateLimits {
    /// The limits in `set`; for other operations the document's if `documented`, or else none.
    pub(crate) fn new(documented: bool, set: &HashMap<&'static str, RateLimit>) -> Self {
        let window = |operation: &'static Operation| {
            let limit = set.get(operation.id).copied().or(documented.then_some(operation.rate_limit));
            limit.map(|limit| (operation.id, Arc::new(Window::new(limit))))
        };
        Self { windows: Operation::ALL.iter().filter_map(window).collect() }
    }

    /// Waits for a permit for one call of `operation`, if it has a limit. The order of the waiters is not guaranteed: a
    /// free permit goes to the waiter that is polled first. Until its deadline each waiter counts when the wait of others
    /// is estimated.
    ///
    /// # Errors
    ///
    /// The estimated wait, if it goes past the deadline.
    pub(crate) async fn acquire(&self, operation: &Operation, deadline: Instant) -> Result<Option<Permit>, Duration> {
        match self.windows.get(operation.id) {
            Some(window) => window.acquire(deadline).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The window of one operation.
#[derive(Debug)]
struct Window {
    state: Mutex<WindowState>,
    finished: Notify,
}

#[derive(Debug)]
struct WindowState {
    /// All of them hold: the one that was set or documented, and the one that bunq named last.
    limits: Vec<RateLimit>,
    in_flight: usize,
    /// When the calls that still count got their responses, oldest first.
    responded: VecDeque<Instant>,
    /// bunq has refused a call: no call is sent before this.
    closed_until: Option<Instant>,
    /// The deadlines of the calls that wait.
    waiting: Vec<Instant>,
}

/// When a call can have its permit.
enum Next {
    Free,
    At(Instant),
    /// All permits are taken by calls in flight.
    AfterAResponse,
}

impl WindowState {
    fn longest(&self) -> Duration {
        self.limits.iter().map(|limit| limit.per).max().unwrap_or_default()
    }

    fn prune(&mut self, now: Instant) {
        let longest = self.longest();
        while self.responded.front().is_some_and(|responded| *responded + longest <= now) {
            self.responded.pop_front();
        }
        self.closed_until = self.closed_until.filter(|until| *until > now);
    }

    /// Removes a call that waited until `deadline`.
    fn leave(&mut self, deadline: Instant) {
        if let Some(own) = self.waiting.iter().position(|waiting| *waiting == deadline) {
            self.waiting.swap_remove(own);
        }
    }

    fn next(&mut self, now: Instant) -> Next {
        self.prune(now);
        let mut wait = self.closed_until;
        for limit in &self.limits {
            let calls = limit.calls as usize;
            let counted = self.responded.iter().filter(|responded| **responded + limit.per > now).count();
            if self.in_flight + counted < calls {
                continue;
            }
            // How many of the responses may still count when the next call goes.
            let Some(may_count) = calls.checked_sub(self.in_flight + 1) else { return Next::AfterAResponse };
            let last_to_go =
                self.responded.len().checked_sub(may_count + 1).and_then(|index| self.responded.get(index));
            wait = wait.max(last_to_go.map(|responded| *responded + limit.per));
        }
        wait.map_or(Next::Free, Next::At)
    }

    /// The estimated time of the permit for a call that has `ahead` others before it.
    fn estimate(&mut self, now: Instant, ahead: usize) -> Instant {
        self.prune(now);
        let open = self.closed_until.unwrap_or(now);
        let under = |limit: &RateLimit| {
            let (calls, per) = (limit.calls.max(1) as usize, limit.per);
            // When each permit is free again. Of those in flight that is at least a window from now.
            let counted = self.responded.iter().map(|responded| *responded + per).filter(|free| *free > now);
            let mut free: Vec<Instant> = counted.chain(std::iter::repeat_n(now + per, self.in_flight)).collect();
            free.sort_unstable();
            let free_now = calls.saturating_sub(free.len());
            let rounds = u32::try_from(ahead / calls).unwrap_or(u32::MAX);
            let permit = (ahead % calls).checked_sub(free_now).and_then(|taken| free.get(taken)).copied();
            let permit = permit.unwrap_or(now).max(open);
            permit.checked_add(per.saturating_mul(rounds)).unwrap_or(permit)
        };
        self.limits.iter().map(under).max().unwrap_or(open)
    }
}

impl Window {
    fn new(limit: RateLimit) -> Self {
        let responded = VecDeque::new();
        let state =
            WindowState { limits: vec![limit], in_flight: 0, responded, closed_until: None, waiting: Vec::new() };
        Self { state: Mutex::new(state), finished: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<Permit, Duration> {
        let start = Instant::now();
        let too_late = |at: Instant| Err(at.saturating_duration_since(Instant::now()));
        let (estimate, mut waiting) = {
            let mut state = self.state();
            // A call that waits past its deadline is not polled, and takes no permit.
            let ahead = state.waiting.iter().filter(|deadline| **deadline >= start).count();
            state.waiting.push(deadline);
            (state.estimate(start, ahead), Waiting { window: Some(self), deadline })
        };
        if estimate > deadline {
            return too_late(estimate);
        }
        let wait = estimate.saturating_duration_since(start);
        if wait >= LONG_WAIT {
            tracing::info!(?wait, "the call waits for a permit within bunq's rate limit");
        } else if !wait.is_zero() {
            tracing::debug!(?wait, "the call waits for a permit within bunq's rate limit");
        }
        loop {
            // Created before the state is read, so that no response in between is missed.
            let finished = self.finished.notified();
            let next = {
                let mut state = self.state();
                let next = state.next(Instant::now());
                if matches!(next, Next::Free) {
                    state.in_flight += 1;
                    state.leave(deadline);
                    waiting.window = None;
                }
                next
            };
            match next {
                Next::Free => return Ok(Permit { window: Arc::clone(self), throttled: None }),
                Next::At(at) if at > deadline => return too_late(at),
                Next::At(at) => sleep_until(at).await,
                Next::AfterAResponse => {
                    if timeout_at(deadline, finished).await.is_err() {
                        return too_late(deadline);
                    }
                }
            }
        }
    }
}

/// A call that waits, until it is dropped.
struct Waiting<'a> {
    window: Option<&'a Window>,
    deadline: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(window) = self.window {
            window.state().leave(self.deadline);
        }
    }
}

/// The permission to send one call. It is dropped when the response is there.
#[derive(Debug)]
pub(crate) struct Permit {
    window: Arc<Window>,
    throttled: Option<Throttled>,
}

/// What bunq says in a 429.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) retry_after: Option<Duration>,
    pub(crate) limit: Option<RateLimit>,
}

impl Permit {
    /// bunq has refused the call with 429. The limit that it names holds from now on.
    ///
    /// Returns how long no further call is sent.
    pub(crate) fn throttle(&mut self, throttled: Throttled) -> Duration {
        self.throttled = Some(throttled);
        let per = throttled.limit.map_or_else(|| self.window.state().longest(), |limit| limit.per);
        throttled.retry_after.unwrap_or(per)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.window.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.responded.push_back(now);
        if let Some(throttled) = self.throttled {
            if let Some(limit) = throttled.limit {
                // The limit that was named last holds beside the one that was set.
                state.limits.truncate(1);
                state.limits.push(limit);
            }
            let per = throttled.limit.map_or_else(|| state.longest(), |limit| limit.per);
            let until = now.checked_add(throttled.retry_after.unwrap_or(per)).unwrap_or(now);
            state.closed_until = state.closed_until.max(Some(until));
        }
        drop(state);
        self.window.finished.notify_waiters();
    }
}

/// The limit that bunq names in the words of a 429: "… maximum of 3 calls per 3 seconds …".
pub(crate) fn named_limit(message: &str) -> Option<RateLimit> {
    let number = |text: &str| text.split_whitespace().next()?.parse::<u32>().ok();
    let after = message.split_once("maximum of ")?.1;
    let calls = number(after)?;
    let seconds = number(after.split_once(" per ")?.1)?;
    // The text is not verified: a limit out of all proportion is not bunq's.
    let sane = (1..=MOST_CALLS).contains(&calls) && (1..=LONGEST_SECONDS).contains(&seconds);
    sane.then(|| RateLimit { calls, per: Duration::from_secs(seconds.into()) })
}

#[cfg(test)]
mod tests;
