//! The window of one operation: who is next, and when.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Span;

use super::queue::{GRACE, Queue, QueueCaller, Rank, Ticket};
use super::store::{Grant, PermitStore, PermitWindow, Settlement, Taken};
use super::throttled::Throttled;
use super::usage::Usage;
use crate::error::Error;
use crate::operation::RateLimit;
use crate::sync::lock;
use crate::text::duration;
use crate::transport::metrics;
use crate::transport::spans::{Awaited, wait};

/// A wait of at least this length is logged at the level INFO.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How long before its turn the request of a call is signed. A signature takes about a millisecond of CPU time, which
/// must not be spent while a permit is held.
const LEAD: Duration = Duration::from_millis(50);

/// After this time without an answer from the store, another call may ask: the future that asked may not be polled.
const LONGEST_ASKING: Duration = Duration::from_secs(1);

/// The shortest time before a call asks the store again.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The longest time that a call waits for the store to settle its permit.
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// Why a call got no permit.
#[derive(Debug)]
pub(crate) enum NoPermit {
    /// The estimated wait goes past the deadline.
    TooLate(Duration),
    /// The store failed.
    Failed(Error),
}

/// The window of one operation.
#[derive(Debug)]
pub(super) struct Window {
    operation: &'static str,
    pub(super) limit: RateLimit,
    state: Mutex<WindowState>,
    /// The turns of waiting calls may come earlier than estimated.
    moved_up: Notify,
}

#[derive(Debug)]
struct WindowState {
    usage: Usage,
    waiting: Queue,
    tickets: u64,
    /// The call that is asking the store, and since when.
    asking: Option<(Ticket, Instant)>,
    /// Other clients have taken permits that were free as far as known here. Calls then ask strictly in their order.
    is_contended: bool,
}

impl WindowState {
    /// Adds a call to the queue, and estimates its turn.
    fn enter(&mut self, caller: QueueCaller, rank: Rank, is_retry: bool, now: Instant) -> (Ticket, Instant) {
        let ticket = Ticket { caller, rank, number: self.tickets };
        self.tickets += 1;
        self.waiting.enter(ticket, is_retry, now);
        (ticket, self.estimate(&ticket, now).0)
    }

    /// Estimates the turn of a call, and counts the calls before it.
    fn estimate(&mut self, ticket: &Ticket, now: Instant) -> (Instant, usize) {
        self.usage.prune(now);
        let ahead = self.waiting.ahead(ticket, now);
        let turn = self.usage.turn(now, ahead);
        self.waiting.note_turn(ticket, turn);
        (turn, ahead)
    }

    /// Takes a permit if the turn of the call has come. If permits come from a store, the call may then ask for one.
    fn take(&mut self, ticket: &Ticket, now: Instant, is_shared: bool) -> Take {
        let (turn, ahead) = self.estimate(ticket, now);
        if turn > now {
            return Take::At(turn);
        }
        if self.usage.awaits_a_response() {
            return Take::AfterAResponse;
        }
        // After a refusal only the first call in the queue is sent.
        if (self.usage.is_refused() || self.is_contended) && ahead > 0 {
            return Take::At(now + GRACE);
        }
        if !is_shared {
            self.begin(ticket, now);
            return Take::Taken;
        }
        match self.asking {
            Some((_, since)) if since + LONGEST_ASKING > now => Take::AfterAnAnswer(since + LONGEST_ASKING),
            _ => {
                self.asking = Some((*ticket, now));
                Take::Ask
            }
        }
    }

    /// Records that a call has its permit.
    fn begin(&mut self, ticket: &Ticket, now: Instant) {
        self.waiting.serve(ticket, now);
        self.usage.begin();
    }
}

/// The result of an attempt to take a permit.
enum Take {
    Taken,
    /// Ask the store.
    Ask,
    /// Try again at this time.
    At(Instant),
    /// Try again when the call in flight has its response.
    AfterAResponse,
    /// Try again when the store has answered another call, or at this time.
    AfterAnAnswer(Instant),
}

impl Window {
    pub(super) fn new(operation: &'static str, limit: RateLimit) -> Self {
        let (usage, waiting) = (Usage::new(limit), Queue::default());
        let state = WindowState { usage, waiting, tickets: 0, asking: None, is_contended: false };
        Self { operation, limit, state: Mutex::new(state), moved_up: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        lock(&self.state)
    }

    /// The longest period of its limits, divided by the number of calls.
    pub(super) fn interval(&self) -> Duration {
        self.state().usage.limits().map(|limit| limit.per / limit.calls.max(1)).max().unwrap_or_default()
    }

    /// How long a call of this caller would wait if it joined the queue now.
    pub(super) fn expected_wait(&self, caller: QueueCaller) -> Duration {
        let (mut state, now) = (self.state(), Instant::now());
        state.usage.prune(now);
        state.usage.turn(now, state.waiting.ahead_of_next(caller, now)).saturating_duration_since(now)
    }

    /// When a call would have its turn that has all calls of the queue before it, and `ahead` more.
    pub(super) fn turn(&self, now: Instant, ahead: usize) -> Instant {
        let mut state = self.state();
        state.usage.prune(now);
        state.usage.turn(now, state.waiting.coming(now).saturating_add(ahead))
    }

    /// How many calls wait or have a permit.
    pub(super) fn in_progress(&self) -> usize {
        let state = self.state();
        state.waiting.coming(Instant::now()) + state.usage.in_flight()
    }

    /// How many calls can have a permit at once.
    pub(super) fn at_once(&self) -> usize {
        let calls = self.state().usage.limits().map(|limit| limit.calls).min();
        calls.map_or(1, |calls| calls.max(1) as usize)
    }

    /// Takes a place in the queue. `is_retry` if the call has been sent from it before.
    ///
    /// # Errors
    ///
    /// The estimated wait, if it goes past the deadline.
    pub(super) fn join(
        self: &Arc<Self>,
        caller: QueueCaller,
        rank: Rank,
        is_retry: bool,
        deadline: Instant,
    ) -> Result<Place, Duration> {
        let start = Instant::now();
        let (ticket, turn) = self.state().enter(caller, rank, is_retry, start);
        let place = Place { window: Arc::clone(self), share: None, start, deadline, ticket, waiting: None };
        let wait = turn.saturating_duration_since(start);
        if turn > deadline {
            return Err(wait);
        }
        let wait_seconds = wait.as_secs_f64();
        if wait >= LONG_WAIT {
            tracing::info!(wait_seconds, "the call waits for a permit within bunq's rate limit");
        } else if !wait.is_zero() {
            tracing::debug!(wait_seconds, "the call waits for a permit within bunq's rate limit");
        }
        Ok(place)
    }

    /// Records the end of a call that had a permit.
    fn settle(&self, settlement: &Settlement) {
        let mut state = self.state();
        let was_refused = state.usage.is_refused();
        state.usage.settle(settlement, Instant::now());
        drop(state);
        if was_refused {
            self.moved_up.notify_waiters();
        }
    }
}

/// A window that other clients share.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) store: Arc<dyn PermitStore>,
    pub(super) window: PermitWindow,
}

/// The place of a call in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    window: Arc<Window>,
    pub(super) share: Option<Share>,
    start: Instant,
    deadline: Instant,
    ticket: Ticket,
    /// The span of the wait, once the call waits.
    waiting: Option<Span>,
}

impl Place {
    /// Waits until the turn of the call is near.
    ///
    /// # Errors
    ///
    /// The estimated wait, if it goes past the deadline.
    pub(super) async fn approach(&mut self) -> Result<(), Duration> {
        let window = Arc::clone(&self.window);
        loop {
            let moved_up = window.moved_up.notified();
            let now = Instant::now();
            let (turn, _) = window.state().estimate(&self.ticket, now);
            let wait = turn.saturating_duration_since(now);
            if wait <= LEAD {
                return Ok(());
            }
            if turn > self.deadline {
                return Err(wait);
            }
            self.wait(Some(wait));
            drop(timeout(wait - LEAD, moved_up).await);
        }
    }

    /// Waits for the permit.
    ///
    /// # Errors
    ///
    /// The estimated wait, if it goes past the deadline; or the failure of the store.
    pub(crate) async fn permit(mut self) -> Result<Permit, NoPermit> {
        let window = Arc::clone(&self.window);
        loop {
            // Created before the state is read, so that nothing in between is missed.
            let moved_up = window.moved_up.notified();
            let now = Instant::now();
            let taken = window.state().take(&self.ticket, now, self.share.is_some());
            match taken {
                Take::Taken => return Ok(self.permitted(None)),
                Take::Ask => {
                    self.wait(None);
                    if let Some(granted) = self.ask().await? {
                        return Ok(self.permitted(Some(granted)));
                    }
                }
                Take::At(turn) if turn > self.deadline => {
                    return Err(NoPermit::TooLate(turn.saturating_duration_since(now)));
                }
                // Either way the turn is estimated again.
                Take::At(turn) => {
                    self.wait(Some(turn.saturating_duration_since(now)));
                    drop(timeout_at(turn, moved_up).await);
                }
                Take::AfterAResponse => {
                    self.wait(None);
                    if timeout_at(self.deadline, moved_up).await.is_err() {
                        return Err(NoPermit::TooLate(Duration::ZERO));
                    }
                }
                Take::AfterAnAnswer(_) if now >= self.deadline => return Err(self.unanswered()),
                Take::AfterAnAnswer(until) => {
                    self.wait(None);
                    drop(timeout_at(until.min(self.deadline), moved_up).await);
                }
            }
        }
    }

    fn unanswered(&self) -> NoPermit {
        let store = self.share.as_ref().map_or_else(String::new, |share| format!("{:?}", share.store));
        NoPermit::Failed(Error::permits(format_args!("{store} did not answer before this call's deadline")))
    }

    fn permitted(&self, granted: Option<(Share, u128)>) -> Permit {
        metrics::permitted(self.window.operation, self.start.elapsed());
        Permit { window: Arc::clone(&self.window), granted, is_settled: false }
    }

    /// Asks the store for a permit. `None` if it has none yet, or if the permit came too late to be used.
    async fn ask(&self) -> Result<Option<(Share, u128)>, NoPermit> {
        let Some(share) = &self.share else { return Ok(None) };
        let asking = Asking(self);
        let start = Instant::now();
        let answer = timeout_at(self.deadline, share.store.take(&share.window, self.ticket.rank.began.elapsed())).await;
        let taken = answer.map_err(|_| self.unanswered())?.map_err(NoPermit::Failed)?;
        let now = Instant::now();
        let granted = match taken {
            Taken::NotBefore(pause) => {
                let mut state = self.window.state();
                state.usage.close_until(now.checked_add(pause.max(SHORTEST_WAIT)).unwrap_or(now));
                state.is_contended = true;
                None
            }
            // The future may not have been polled, or the machine may have been suspended.
            Taken::Granted(Grant { id, send_within: Some(time) }) if now.duration_since(start) > time => {
                share.store.abandon(&share.window, id);
                None
            }
            Taken::Granted(Grant { id, .. }) => {
                let mut state = self.window.state();
                state.begin(&self.ticket, now);
                state.is_contended &= !state.waiting.is_empty();
                Some((share.clone(), id))
            }
        };
        drop(asking);
        Ok(granted)
    }

    /// Begins the wait, unless it has begun. `time` is how long it takes, if that is known.
    fn wait(&mut self, time: Option<Duration>) {
        if self.waiting.is_none() {
            self.waiting = Some(wait(Awaited::Permit(self.window.operation), time));
            metrics::waiting(self.window.operation, 1);
        }
    }
}

/// Exists while a call is asking the store.
struct Asking<'a>(&'a Place);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.window.state();
        state.asking = state.asking.filter(|(ticket, _)| *ticket != self.0.ticket);
        let others_wait = !state.waiting.is_empty();
        drop(state);
        if others_wait {
            self.0.window.moved_up.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.waiting.is_some() {
            metrics::waiting(self.window.operation, -1);
        }
        let others_move_up = self.window.state().waiting.remove(&self.ticket);
        if others_move_up {
            self.window.moved_up.notify_waiters();
        }
    }
}

/// The permission to send one call. It is settled when the call is over. If it is dropped before, the outcome of the call
/// counts as unknown.
#[derive(Debug)]
pub(crate) struct Permit {
    window: Arc<Window>,
    /// The store's permit, if there is a store.
    granted: Option<(Share, u128)>,
    is_settled: bool,
}

impl Permit {
    /// Settles the permit of a call that bunq refused with 429. If the refusal is signed, the limit that it names applies
    /// from now on. Returns how long no further call is sent.
    pub(crate) async fn throttle(self, throttled: Throttled, jitter: f64) -> Duration {
        let (refusal, pause) = self.window.state().usage.refusal(throttled, jitter);
        self.settle(Settlement::Refused(refusal)).await;
        pause
    }

    /// Records the outcome of the call.
    pub(crate) async fn settle(mut self, settlement: Settlement) {
        self.window.settle(&settlement);
        self.is_settled = true;
        let Some((Share { store, window }, id)) = self.granted.take() else { return };
        let settled = timeout(LONGEST_SETTLING, store.settle(&window, id, settlement)).await;
        let problem = match settled {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{store:?} has not answered in {}", duration(LONGEST_SETTLING)),
        };
        let operation = window.operation.id;
        tracing::warn!(operation, problem, "the permit of a call is not settled: its lease ends it");
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_settled {
            self.window.settle(&Settlement::Unknown);
        }
        if let Some((Share { store, window }, id)) = &self.granted {
            store.abandon(window, *id);
        }
    }
}

#[cfg(test)]
mod tests;
