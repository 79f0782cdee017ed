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

    /// Waits for a permit for one call of `operation`, if it has a limit. The first to wait has the better chance, but
    /// no turn is reserved: a future that is not polled takes no permit. Until its own deadline it counts when the wait
    /// of others is estimated.
    ///
    /// # Errors
    ///
    /// How long a permit would take, as far as can be told, if that is past the deadline.
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
    state: Mutex<State>,
    finished: Notify,
}

#[derive(Debug)]
struct State {
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

impl State {
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

    /// When the call with `ahead` others before it can have its permit, as far as can be told.
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
        let state = State { limits: vec![limit], in_flight: 0, responded, closed_until: None, waiting: Vec::new() };
        Self { state: Mutex::new(state), finished: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
    /// bunq has refused the call with 429. The limit that it names is kept from now on.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn window(calls: u32, ms: u32) -> Arc<Window> {
        Arc::new(Window::new(RateLimit { calls, per: ms * MS }))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Wherever within its exchange bunq counts a call, no stretch of the window's length holds too many.
        #[test]
        fn no_stretch_holds_too_many(
            calls in 1_u32..5,
            exchanges in proptest::collection::vec((0_u64..40, 0_u64..60, 0.0_f64..1.0), 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let arrivals = runtime.block_on(async {
                let window = window(calls, 30);
                let mut tasks = Vec::new();
                for (pause, length, at) in exchanges {
                    tokio::time::sleep(pause as u32 * MS).await;
                    let window = Arc::clone(&window);
                    tasks.push(tokio::spawn(async move {
                        let permit = window.acquire(soon()).await.unwrap();
                        let length = length as u32 * MS;
                        let arrival = Instant::now() + length.mul_f64(at);
                        tokio::time::sleep(length).await;
                        drop(permit);
                        arrival
                    }));
                }
                let mut arrivals = Vec::new();
                for task in tasks {
                    arrivals.push(task.await.unwrap());
                }
                arrivals
            });
            for start in &arrivals {
                let within = arrivals.iter().filter(|other| *other >= start && **other < *start + 30 * MS).count();
                prop_assert!(within <= calls as usize, "{within} calls within one window of {calls}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_used_to_the_full() {
        let window = window(2, 3000);
        let start = Instant::now();
        for _ in 0..60 {
            drop(window.acquire(soon()).await.unwrap());
        }
        // 2 at once, then 2 more every 3 seconds.
        assert_eq!(Instant::now() - start, 29 * 3000 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_outlasts_the_deadline_is_not_begun() {
        let window = window(2, 1000);
        drop((window.acquire(soon()).await, window.acquire(soon()).await));
        let start = Instant::now();
        assert_eq!(window.acquire(start + 999 * MS).await.unwrap_err(), 1000 * MS);

        // Four others are waiting: the fifth permit is two windows further.
        let others: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn({
                    let window = Arc::clone(&window);
                    async move { window.acquire(soon()).await.map(drop) }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(window.acquire(start + 2999 * MS).await.unwrap_err(), 3000 * MS);
        assert_eq!(Instant::now(), start, "time was spent on a wait in vain");
        for other in others {
            other.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_on_its_way_keeps_its_place() {
        let window = window(1, 10);
        let permit = window.acquire(soon()).await.unwrap();
        tokio::time::sleep(1000 * MS).await;
        assert!(window.acquire(Instant::now() + 5 * MS).await.is_err());
        let waiting = tokio::spawn({
            let window = Arc::clone(&window);
            async move { window.acquire(soon()).await.map(|_| Instant::now()) }
        });
        tokio::time::sleep(100 * MS).await;
        drop(permit);
        let responded = Instant::now();
        assert_eq!(waiting.await.unwrap().unwrap(), responded + 10 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_costs_no_more_than_the_calls_that_are_made() {
        let window = window(u32::MAX, 1000);
        let start = Instant::now();
        drop((window.acquire(start).await.unwrap(), window.acquire(start).await.unwrap()));
        assert_eq!(Instant::now(), start);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_given_up_leaves_no_trace() {
        let window = window(1, 1000);
        drop(window.acquire(soon()).await.unwrap());
        let given_up = tokio::spawn({
            let window = Arc::clone(&window);
            async move { window.acquire(soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        given_up.abort();
        let _ = given_up.await;
        let start = Instant::now();
        drop(window.acquire(start + 1000 * MS).await.unwrap());
        assert_eq!(Instant::now(), start + 1000 * MS);
        assert!(window.state().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_past_its_deadline_is_not_reckoned_with() {
        let window = window(1, 1000);
        drop(window.acquire(soon()).await.unwrap());
        // Polled once, and then no more.
        let start = Instant::now();
        let mut stalled = Box::pin(window.acquire(start + 1500 * MS));
        assert!(futures_util::poll!(&mut stalled).is_pending());
        assert!(window.acquire(start + 1500 * MS).await.is_err(), "the other is before it");
        tokio::time::advance(2000 * MS).await;
        drop(window.acquire(Instant::now()).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn bunq_is_believed() {
        let window = window(3, 1000);
        let mut permit = window.acquire(soon()).await.unwrap();
        assert_eq!(permit.throttle(Throttled { retry_after: Some(7000 * MS), limit: None }), 7000 * MS);
        drop(permit);
        let start = Instant::now();
        drop(window.acquire(soon()).await.unwrap());
        assert_eq!(Instant::now() - start, 7000 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_bunq_names_is_kept_beside_what_was_set() {
        // Of the same rate, but shorter; and of a lower rate, but with more at once.
        for (throttled, expected) in [((1, 500), [0, 500, 1000, 1500]), ((5, 4000), [0, 0, 1000, 1000])] {
            let window = window(2, 1000);
            let mut permit = window.acquire(soon()).await.unwrap();
            let limit = RateLimit { calls: throttled.0, per: throttled.1 * MS };
            assert_eq!(permit.throttle(Throttled { retry_after: None, limit: Some(limit) }), limit.per);
            drop(permit);
            let mut times = Vec::new();
            let mut start = None;
            for _ in 0..4 {
                drop(window.acquire(soon()).await.unwrap());
                let now = Instant::now();
                times.push((now - *start.get_or_insert(now)).as_millis());
            }
            assert_eq!(times, expected, "{throttled:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_not_polled_keeps_nobody_waiting() {
        let window = window(1, 1000);
        drop(window.acquire(soon()).await.unwrap());
        let mut idle = Box::pin(window.acquire(soon()));
        assert!(futures_util::poll!(&mut idle).is_pending());
        let start = Instant::now();
        drop(window.acquire(soon()).await.unwrap());
        assert_eq!(Instant::now() - start, 1000 * MS);
    }

    #[test]
    fn the_limit_is_read_from_bunqs_words() {
        let limit = |calls, seconds| Some(RateLimit { calls, per: Duration::from_secs(seconds) });
        for (words, named) in [
            ("Too many requests. You can do a maximum of 3 calls per 3 second to this endpoint.", limit(3, 3)),
            ("You can do a maximum of 1 calls per 30 seconds to this endpoint.", limit(1, 30)),
            ("a maximum of 0 calls per 3 seconds", None),
            ("a maximum of many calls per second", None),
            ("a maximum of 2800000000 calls per 4294967295 seconds", None),
            ("a maximum of 1 calls per 86400 seconds", None),
            ("Too many requests.", None),
            ("", None),
        ] {
            assert_eq!(named_limit(words), named, "{words}");
        }
    }
}
