//! The window of one operation: who is next, and when.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Span;

use super::queue::{GRACE, Queue, QueueCaller, Rank, Ticket};
use super::shared::{Asked, LONGEST_ASKING, Promise, Promises, Share};
use super::store::{Priority, Settlement, Taken};
use super::throttled::Throttled;
use super::usage::Usage;
use crate::error::Error;
use crate::operation::RateLimit;
use crate::sync::lock;
use crate::text::duration;
use crate::transport::spans::{Awaited, wait};
use crate::transport::{metrics, runtime};

/// A wait of at least this length is logged at the level INFO.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How long before its turn the request of a call is signed. A signature takes about a millisecond of CPU time, which
/// must not be spent while a permit is held.
const LEAD: Duration = Duration::from_millis(50);

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
    promises: Promises,
    /// How many [`Expected`] there are.
    expected: usize,
}

impl WindowState {
    /// Adds a call to the queue, and estimates its turn.
    fn enter(&mut self, caller: QueueCaller, rank: Rank, is_retry: bool, now: Instant) -> (Ticket, Instant) {
        let ticket = Ticket { caller, rank, number: self.tickets };
        self.tickets += 1;
        self.waiting.enter(ticket, is_retry, now);
        self.promises.enter(&ticket, now);
        (ticket, self.estimate(&ticket, now).0)
    }

    /// Estimates the turn of a call, and counts the calls before it.
    fn estimate(&mut self, ticket: &Ticket, now: Instant) -> (Instant, usize) {
        self.usage.prune(now);
        let ahead = self.waiting.ahead(ticket, now);
        let turn = self.turn(now, ahead);
        self.waiting.note_turn(ticket, turn);
        (turn, ahead)
    }

    /// When a call with `ahead` others before it can be sent, as far as that is known here.
    fn turn(&self, now: Instant, ahead: usize) -> Instant {
        let turn = self.usage.turn(now, ahead, now);
        match (self.promises.get(ahead), self.promises.told()) {
            (Some(promise), _) => turn.max(promise.at),
            (None, Some(until)) => turn.max(self.usage.turn(now, ahead - self.promises.len(), until)),
            (None, None) => turn,
        }
    }

    /// Takes a permit if the turn of the call has come.
    fn take(&mut self, ticket: &Ticket, now: Instant, is_shared: bool) -> Take {
        let (turn, ahead) = self.estimate(ticket, now);
        if is_shared && ahead >= self.promises.len() {
            return self.ask(ticket, now, turn, ahead);
        }
        if turn > now {
            return Take::At { turn, wake: turn };
        }
        if self.usage.awaits_a_response() {
            return Take::AfterAResponse;
        }
        // After a refusal only the first call in the queue is sent.
        if self.usage.is_refused() && ahead > 0 {
            return Take::later(now);
        }
        let promise = self.promises.next();
        if let Some(promise) = promise {
            if !promise.is_usable(now) {
                self.promises.forget_told();
                return Take::Outdated(promise);
            }
            self.begin(ticket, now);
            return Take::Taken(Some(promise));
        }
        self.begin(ticket, now);
        Take::Taken(None)
    }

    /// Asks the store if nobody does, and the call is the first that it has promised no permit.
    fn ask(&mut self, ticket: &Ticket, now: Instant, turn: Instant, ahead: usize) -> Take {
        if self.usage.awaits_a_response() && self.promises.len() == 0 {
            return Take::AfterAResponse;
        }
        if let Some(by) = self.promises.answer_by(now) {
            return Take::AfterAnAnswer(by);
        }
        if ahead > self.promises.len() {
            return if turn > now { Take::At { turn, wake: turn } } else { Take::later(now) };
        }
        // What is free soon can be promised.
        let here = self.usage.turn(now, ahead, now);
        let ask_at = here.checked_sub(LEAD).unwrap_or(here).max(self.promises.told().unwrap_or(now));
        if ask_at > now {
            // It has the first promise if those before it are not polled.
            let unclaimed = self.promises.get(0).map_or(ask_at, |promise| promise.at + GRACE);
            let wake = if unclaimed > now { ask_at.min(unclaimed) } else { ask_at };
            return Take::At { turn, wake };
        }
        self.promises.ask(ticket, now);
        Take::Ask
    }

    /// A call has left. Returns the permits that nobody has used, if the store is to be told that no call waits any more. One that is
    /// expected has the place in the store.
    fn leave(&mut self) -> Option<Vec<u128>> {
        if !self.waiting.is_empty() {
            return None;
        }
        if self.expected > 0 {
            self.promises.ask_anew(Instant::now());
            return None;
        }
        self.promises.withdraw()
    }

    /// Records that a call has its permit.
    fn begin(&mut self, ticket: &Ticket, now: Instant) {
        self.waiting.serve(ticket, now);
        self.usage.begin();
    }
}

/// The result of an attempt to take a permit.
enum Take {
    /// It has one: of the store, if there is a store.
    Taken(Option<Promise>),
    /// The permit of the store may not be used any more.
    Outdated(Promise),
    /// Ask the store.
    Ask,
    /// The turn comes at a time, as far as that is known. Try again at `wake`.
    At { turn: Instant, wake: Instant },
    /// Try again when the call in flight has its response.
    AfterAResponse,
    /// Try again when the store has answered another call, or at this time.
    AfterAnAnswer(Instant),
}

impl Take {
    /// Another call goes first, which may not be polled.
    fn later(now: Instant) -> Self {
        Self::At { turn: now + GRACE, wake: now + GRACE }
    }
}

impl Window {
    pub(super) fn new(operation: &'static str, limit: RateLimit) -> Self {
        let (usage, waiting) = (Usage::new(limit), Queue::default());
        let state = WindowState { usage, waiting, tickets: 0, promises: Promises::default(), expected: 0 };
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
        state.turn(now, state.waiting.ahead_of_next(caller, now)).saturating_duration_since(now)
    }

    /// When a call would have its turn that has all calls of the queue before it, and `ahead` more, of which none is sent before a time.
    pub(super) fn turn(&self, now: Instant, ahead: usize, not_before: Instant) -> Instant {
        let mut state = self.state();
        state.usage.prune(now);
        let ahead = state.waiting.coming(now).saturating_add(ahead);
        // What the store has told a call is about that call: another may go before it.
        state.usage.turn(now, ahead, not_before)
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

    /// Keeps the place in the store, and what it has promised, though no call waits.
    pub(super) fn expect(self: &Arc<Self>, share: Share) -> Expected {
        self.state().expected += 1;
        Expected { window: Arc::clone(self), share }
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
        share: Option<Share>,
    ) -> Result<Place, Duration> {
        let start = Instant::now();
        let (ticket, turn) = self.state().enter(caller, rank, is_retry, start);
        let place = Place { window: Arc::clone(self), share, start, deadline, ticket, waiting: None };
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

    /// Gives a promise back that no call has used by then: the future of its call may not be polled, and the store holds the permit for as
    /// long as it is promised.
    fn withdraw_unused(self: &Arc<Self>, id: u128, by: Instant, is_closed: oneshot::Receiver<Infallible>) {
        let window = Arc::clone(self);
        let watching = async move {
            if timeout_at(by, is_closed).await.is_ok() {
                return;
            }
            let mut state = window.state();
            let Some(unused) = state.promises.unused(id) else { return };
            state.promises.forget_told();
            drop(state);
            unused.withdraw();
            window.moved_up.notify_waiters();
        };
        runtime::spawn(Span::none(), Box::pin(watching));
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

/// The place of a call in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    window: Arc<Window>,
    share: Option<Share>,
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
                Take::Taken(promise) => return Ok(self.permitted(promise)),
                Take::Outdated(promise) => promise.withdraw(),
                Take::Ask => {
                    self.wait(None);
                    self.ask().await?;
                }
                Take::At { turn, .. } if turn > self.deadline => {
                    return Err(NoPermit::TooLate(turn.saturating_duration_since(now)));
                }
                // Either way the turn is estimated again.
                Take::At { turn, wake } => {
                    self.wait(Some(turn.saturating_duration_since(now)));
                    drop(timeout_at(wake, moved_up).await);
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

    fn permitted(&self, promise: Option<Promise>) -> Permit {
        metrics::permitted(self.window.operation, self.start.elapsed());
        let granted = promise.map(|Promise { share, id, .. }| (share, id));
        Permit { window: Arc::clone(&self.window), granted, is_settled: false }
    }

    /// How soon the call must have its permit, among those of other clients.
    fn priority(&self, now: Instant) -> Priority {
        let Ticket { caller, rank, .. } = self.ticket;
        Priority {
            waited: now.saturating_duration_since(rank.began),
            is_urgent: caller.is_urgent,
            deadline: rank.due.map(|due| due.saturating_duration_since(now)),
        }
    }

    /// Asks the store for a permit, and notes its answer.
    async fn ask(&self) -> Result<(), NoPermit> {
        let Some(share) = &self.share else { return Ok(()) };
        let asking = Asking(self);
        let asked = Asked::now();
        let mut answer = share.store.take(&share.window, self.priority(Instant::now()));
        let taken = loop {
            let by = self.deadline.min(Instant::now() + LONGEST_ASKING / 2);
            match timeout_at(by, &mut answer).await {
                Ok(taken) => break taken.map_err(NoPermit::Failed)?,
                Err(_) if by == self.deadline => return Err(self.unanswered()),
                Err(_) => self.window.state().promises.still_asks(&self.ticket, Instant::now()),
            }
        };
        let (mut state, now) = (self.window.state(), Instant::now());
        match taken {
            Taken::NotBefore(pause) => state.promises.not_before(&self.ticket, pause, now),
            Taken::Granted(grant) => {
                let is_closed = state.promises.granted(share.clone(), grant, asked, now);
                if let Some(by) = grant.send_within.and_then(|time| asked.after(time)) {
                    self.window.withdraw_unused(grant.id, by, is_closed);
                }
            }
        }
        drop(state);
        drop(asking);
        Ok(())
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
        state.promises.asked(&self.0.ticket);
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
        let mut state = self.window.state();
        let others_move_up = state.waiting.remove(&self.ticket);
        let unused = state.leave();
        drop(state);
        if others_move_up {
            self.window.moved_up.notify_waiters();
        }
        if let Some((unused, Share { store, window })) = unused.zip(self.share.as_ref()) {
            store.withdraw(window, &unused);
        }
    }
}

/// Exists while a call is expected that waits for its turn elsewhere, between its attempts.
#[derive(Debug)]
pub(crate) struct Expected {
    window: Arc<Window>,
    share: Share,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut state = self.window.state();
        state.expected -= 1;
        let unused = state.leave();
        drop(state);
        if let Some(unused) = unused {
            self.share.store.withdraw(&self.share.window, &unused);
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
