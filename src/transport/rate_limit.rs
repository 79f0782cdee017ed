//! bunq's rate limits: at most a number of calls of an operation within any period of a given length.
//!
//! The windows roll, as bunq's do; a token bucket would let nearly twice as many calls through. bunq counts a call when
//! it arrives, at some time between sending and response, so a permit becomes free when a whole window has passed since
//! the response. A call never waits past its deadline: if a permit takes longer, it fails at once.
//!
//! The queue is first come, first served. A call takes a rank when it begins, and a ticket with that rank whenever it
//! waits, so that its retries keep its place. A future that is not polled when its turn comes is passed over until it is
//! polled again.
//!
//! Other programs may call from the same address. After a 429 the window is closed for a random time, which grows with
//! each further 429, and calls are sent one at a time until bunq accepts one. What an unsigned 429 asks for is a claim:
//! it is kept until bunq accepts a call, and for at most a minute.
//!
//! If other clients share a limit, its permits come from a [`PermitStore`]. The queue is the same; the first call in it
//! asks the store when the window, as known here, has room. Estimates use only what is known here.

pub(crate) mod memory;
pub(crate) mod store;
mod throttled;
mod usage;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Span;

use self::store::{Grant, PermitStore, PermitWindow, Settlement, Taken};
pub(crate) use self::throttled::{MAX_UNPROVEN_PAUSE, Throttled, named_limit};
use self::usage::Usage;
use super::metrics;
use super::spans::{Awaited, wait};
use crate::error::Error;
use crate::operation::{Operation, RateLimit};
use crate::sync::lock;
use crate::text::duration;

/// A wait of at least this length is logged at the level INFO.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How long after its turn a future may be polled before it is passed over.
const GRACE: Duration = Duration::from_millis(50);

/// How long before its turn the request of a call is signed. A signature takes about a millisecond of CPU time, which
/// must not be spent while a permit is held.
const LEAD: Duration = Duration::from_millis(50);

/// After this time without an answer from the store, another call may ask: the future that asked may not be polled.
const LONGEST_ASKING: Duration = Duration::from_secs(1);

/// The shortest time before a call asks the store again.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The longest time that a call waits for the store to settle its permit.
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// The order of calls that share their limits: a lower rank began earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    number: u64,
    began: Instant,
}

/// Identifies the caller of a client: the bank, the API key, and whether it is the partner's or a user's.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) base_url: Arc<str>,
    pub(crate) api_key_fingerprint: Arc<str>,
    pub(crate) role: Role,
}

/// For whom a client acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Partner,
    User,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base_url, role, .. } = self;
        f.debug_struct("Caller").field("base_url", base_url).field("role", role).finish_non_exhaustive()
    }
}

/// Why a call got no permit.
#[derive(Debug)]
pub(crate) enum NoPermit {
    /// The estimated wait goes past the deadline.
    TooLate(Duration),
    /// The store failed.
    Failed(Error),
}

/// The rate limits of all operations. Clients that know of each other share them.
#[derive(Debug)]
pub(crate) struct RateLimits {
    windows: HashMap<&'static str, Arc<Window>>,
    /// `None` if no other client shares the limits.
    store: Option<Arc<dyn PermitStore>>,
    ranks: AtomicU64,
}

impl RateLimits {
    /// The limits in `set`. Other operations have the document's limits if `documented`, otherwise none.
    pub(crate) fn new(documented: bool, set: &HashMap<&'static str, RateLimit>) -> Self {
        let window = |operation: &'static Operation| {
            let limit = set.get(operation.id).copied().or(documented.then_some(operation.rate_limit));
            limit.map(|limit| (operation.id, Arc::new(Window::new(operation.id, limit))))
        };
        Self { windows: Operation::ALL.iter().filter_map(window).collect(), store: None, ranks: AtomicU64::new(0) }
    }

    /// Takes the permits from this store.
    pub(crate) fn with_store(self, store: Option<Arc<dyn PermitStore>>) -> Self {
        Self { store, ..self }
    }

    /// The store of the permits, if other clients share the limits.
    pub(crate) fn store(&self) -> Option<&Arc<dyn PermitStore>> {
        self.store.as_ref()
    }

    /// The rank of a call that begins now.
    pub(crate) fn next_rank(&self) -> Rank {
        Rank { number: self.ranks.fetch_add(1, Ordering::Relaxed), began: Instant::now() }
    }

    /// The length of the window, divided by the number of calls; zero if `operation` has no limit.
    pub(crate) fn interval(&self, operation: &Operation) -> Duration {
        let window = self.windows.get(operation.id);
        window.map_or(Duration::ZERO, |window| {
            window.state().usage.limits().map(|limit| limit.per / limit.calls.max(1)).max().unwrap_or_default()
        })
    }

    /// Whether `operation` has a limit. If so, the pauses that bunq asks for are kept here.
    pub(crate) fn governs(&self, operation: &Operation) -> bool {
        self.windows.contains_key(operation.id)
    }

    /// How long a call of `operation` would wait for its permit if it joined the queue now.
    pub(crate) fn expected_wait(&self, operation: &Operation) -> Duration {
        let Some(window) = self.windows.get(operation.id) else { return Duration::ZERO };
        let (mut state, now) = (window.state(), Instant::now());
        state.usage.prune(now);
        let ahead = state.waiting.len();
        state.usage.turn(now, ahead).saturating_duration_since(now)
    }

    /// Waits in the queue until a call of `operation` will soon have its permit, so that its request can be signed. `None`
    /// if the operation has no limit.
    pub(crate) async fn approach(
        &self,
        operation: &'static Operation,
        rank: Rank,
        deadline: Instant,
        caller: &Caller,
    ) -> Result<Option<Place>, NoPermit> {
        let Some(window) = self.windows.get(operation.id) else { return Ok(None) };
        let mut place = window.enter(rank, deadline).map_err(NoPermit::TooLate)?;
        place.share = self.store.as_ref().map(|store| Share {
            store: Arc::clone(store),
            window: PermitWindow {
                operation,
                limit: window.limit,
                base_url: Arc::clone(&caller.base_url),
                api_key_fingerprint: Arc::clone(&caller.api_key_fingerprint),
            },
        });
        place.approach().await.map_err(NoPermit::TooLate)?;
        Ok(Some(place))
    }
}

/// The window of one operation.
#[derive(Debug)]
struct Window {
    operation: &'static str,
    limit: RateLimit,
    state: Mutex<WindowState>,
    /// The turns of waiting calls may come earlier than estimated.
    moved_up: Notify,
}

/// A place in the queue: the rank of the call, and a number that is unique.
type Ticket = (Rank, u64);

#[derive(Debug)]
struct WindowState {
    usage: Usage,
    /// The waiting calls in their order, with the estimated turn of each.
    waiting: VecDeque<(Ticket, Instant)>,
    tickets: u64,
    /// The call that is asking the store, and since when.
    asking: Option<(Ticket, Instant)>,
    /// Other clients have taken permits that were free as far as known here. Calls then ask strictly in their order.
    is_contended: bool,
}

impl WindowState {
    /// Where a call stands in the queue, or would stand.
    fn position(&self, ticket: Ticket) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&ticket, |(other, _)| *other)
    }

    /// Adds a call to the queue, and estimates its turn.
    fn enter(&mut self, rank: Rank, now: Instant) -> (Ticket, Instant) {
        let ticket = (rank, self.tickets);
        self.tickets += 1;
        (ticket, self.estimate(ticket, now).0)
    }

    /// Estimates the turn of a call, and counts the calls before it, without those that were not polled when their turn came.
    fn estimate(&mut self, ticket: Ticket, now: Instant) -> (Instant, usize) {
        self.usage.prune(now);
        let position = self.position(ticket);
        let before = self.waiting.range(..position.unwrap_or_else(|position| position));
        let ahead = before.filter(|(_, turn)| *turn + GRACE > now).count();
        let turn = self.usage.turn(now, ahead);
        match position {
            Ok(position) => self.waiting[position].1 = turn,
            Err(position) => self.waiting.insert(position, (ticket, turn)),
        }
        (turn, ahead)
    }

    /// Takes a permit if the turn of the call has come. If permits come from a store, the call may then ask for one.
    fn take(&mut self, ticket: Ticket, now: Instant, is_shared: bool) -> Take {
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
            self.remove(ticket);
            self.usage.begin();
            return Take::Taken;
        }
        match self.asking {
            Some((_, since)) if since + LONGEST_ASKING > now => Take::AfterAnAnswer(since + LONGEST_ASKING),
            _ => {
                self.asking = Some((ticket, now));
                Take::Ask
            }
        }
    }

    /// Removes a call from the queue, if it still waits. Returns whether the turns of other calls come earlier.
    fn remove(&mut self, ticket: Ticket) -> bool {
        let Ok(position) = self.position(ticket) else { return false };
        self.waiting.remove(position);
        position < self.waiting.len()
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
    fn new(operation: &'static str, limit: RateLimit) -> Self {
        let state = WindowState {
            usage: Usage::new(limit),
            waiting: VecDeque::new(),
            tickets: 0,
            asking: None,
            is_contended: false,
        };
        Self { operation, limit, state: Mutex::new(state), moved_up: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        lock(&self.state)
    }

    fn enter(self: &Arc<Self>, rank: Rank, deadline: Instant) -> Result<Place, Duration> {
        let start = Instant::now();
        let (ticket, turn) = self.state().enter(rank, start);
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
struct Share {
    store: Arc<dyn PermitStore>,
    window: PermitWindow,
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
    async fn approach(&mut self) -> Result<(), Duration> {
        let window = Arc::clone(&self.window);
        loop {
            let moved_up = window.moved_up.notified();
            let now = Instant::now();
            let (turn, _) = window.state().estimate(self.ticket, now);
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
            let taken = window.state().take(self.ticket, now, self.share.is_some());
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
        let answer = timeout_at(self.deadline, share.store.take(&share.window, self.ticket.0.began.elapsed())).await;
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
                state.remove(self.ticket);
                state.is_contended &= !state.waiting.is_empty();
                state.usage.begin();
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
        let others_move_up = self.window.state().remove(self.ticket);
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
