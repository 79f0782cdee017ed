//! bunq's rate limits: at most so many calls of an operation within any period of a given length.
//!
//! The windows roll, as bunq's do; a token bucket would let nearly twice as many calls through. bunq counts a call when
//! it arrives, which is some time between its sending and its response, so a permit is free again only when the window
//! has passed since the response. A wait never goes past its deadline: it fails at once if a permit takes longer.
//!
//! Who came first is served first. A call takes a rank when it begins, and a ticket with that rank whenever it waits, so
//! that its retries do not go to the end of the queue. A future that is not polled when its turn comes is passed over
//! until it is polled again.
//!
//! Others may use the address too. After a 429 the window is closed for a random time, which grows with each further 429,
//! and one call goes at a time until bunq accepts one. What a 429 asks for that bunq has not signed is a claim: it is kept
//! until bunq accepts a call, and for a minute at most.
//!
//! If others share a limit, its permits come from a [`PermitStore`]. The queue is the same; who is first asks the store when
//! the window has room by what is known here. What is known here also gives the estimates, which ask no store.

pub(crate) mod memory;
pub(crate) mod store;
mod throttled;
mod usage;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use self::store::{Grant, PermitStore, PermitWindow, Settlement, Taken};
pub(crate) use self::throttled::{MAX_UNPROVEN_PAUSE, Throttled, named_limit};
use self::usage::Usage;
use super::metrics;
use crate::error::Error;
use crate::operation::{Operation, RateLimit};
use crate::sync::lock;

/// A wait of at least this length is logged at the level INFO.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How long after its turn a future may be polled before it is passed over.
const GRACE: Duration = Duration::from_millis(50);

/// How long before its turn the request of a call is signed. A signature takes about a millisecond of the thread's time:
/// what waits for long does not hold up the others with it.
const LEAD: Duration = Duration::from_millis(50);

/// A call that has asked the store for longer no longer keeps others from asking: its future may not be polled.
const LONGEST_ASKING: Duration = Duration::from_secs(1);

/// A call waits at least this long before it asks the store again.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// How long a call waits for the store to settle its permit.
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// The place of a call among all that share their limits: the lower, the earlier it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    number: u64,
    began: Instant,
}

/// Who makes the calls of a client.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) base_url: Arc<str>,
    pub(crate) api_key_fingerprint: Arc<str>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// Why a call gets no permit.
#[derive(Debug)]
pub(crate) enum NoPermit {
    /// The estimated wait goes past the deadline.
    TooLate(Duration),
    /// The store has failed.
    Failed(Error),
}

/// The rate limits of all operations, shared by all that call from this address.
#[derive(Debug)]
pub(crate) struct RateLimits {
    windows: HashMap<&'static str, Arc<Window>>,
    /// `None`: nobody else shares the limits.
    store: Option<Arc<dyn PermitStore>>,
    ranks: AtomicU64,
}

impl RateLimits {
    /// The limits in `set`; for other operations the document's if `documented`, or else none.
    pub(crate) fn new(documented: bool, set: &HashMap<&'static str, RateLimit>) -> Self {
        let window = |operation: &'static Operation| {
            let limit = set.get(operation.id).copied().or(documented.then_some(operation.rate_limit));
            limit.map(|limit| (operation.id, Arc::new(Window::new(operation.id, limit))))
        };
        Self { windows: Operation::ALL.iter().filter_map(window).collect(), store: None, ranks: AtomicU64::new(0) }
    }

    /// The same limits, with their permits from this store.
    pub(crate) fn with_store(self, store: Option<Arc<dyn PermitStore>>) -> Self {
        Self { store, ..self }
    }

    /// The store of the permits, if others share the limits.
    pub(crate) fn store(&self) -> Option<&Arc<dyn PermitStore>> {
        self.store.as_ref()
    }

    /// The rank of a call that begins now.
    pub(crate) fn next_rank(&self) -> Rank {
        Rank { number: self.ranks.fetch_add(1, Ordering::Relaxed), began: Instant::now() }
    }

    /// How long one call of `operation` takes of its limit; zero if it has none.
    pub(crate) fn interval(&self, operation: &Operation) -> Duration {
        let window = self.windows.get(operation.id);
        window.map_or(Duration::ZERO, |window| {
            window.state().usage.limits().map(|limit| limit.per / limit.calls.max(1)).max().unwrap_or_default()
        })
    }

    /// Whether `operation` has a limit, so that the pauses that bunq asks for are kept here.
    pub(crate) fn governs(&self, operation: &Operation) -> bool {
        self.windows.contains_key(operation.id)
    }

    /// How long a call of `operation` would wait for its permit if it began now, behind all that wait.
    pub(crate) fn expected_wait(&self, operation: &Operation) -> Duration {
        let Some(window) = self.windows.get(operation.id) else { return Duration::ZERO };
        let (mut state, now) = (window.state(), Instant::now());
        state.usage.prune(now);
        let ahead = state.waiting.len();
        state.usage.turn(now, ahead).saturating_duration_since(now)
    }

    /// Waits in the queue for one call of `operation`, if it has a limit, until its permit is so near that the request can
    /// be signed.
    ///
    /// # Errors
    ///
    /// The estimated wait, if it goes past the deadline.
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
    /// The turns of those that wait come earlier than they were told.
    moved_up: Notify,
}

/// A place in the queue: the rank of the call, and a number that sets it apart from others of the same call.
type Ticket = (Rank, u64);

#[derive(Debug)]
struct WindowState {
    usage: Usage,
    /// The calls that wait, first to last, and when the turn of each comes.
    waiting: BTreeMap<Ticket, Instant>,
    tickets: u64,
    /// The call that asks the store, and since when.
    asking: Option<(Ticket, Instant)>,
    /// Others have taken permits that were free by what is known here, so the calls here ask in their order.
    is_contended: bool,
}

impl WindowState {
    /// How many calls go before the one with this ticket. Those whose turn has come and who were not polled are passed
    /// over.
    fn ahead_of(&self, ticket: Ticket, now: Instant) -> usize {
        self.waiting.range(..ticket).filter(|(_, turn)| **turn + GRACE > now).count()
    }

    /// Puts a call into the queue; says when its turn comes.
    fn enter(&mut self, rank: Rank, now: Instant) -> (Ticket, Instant) {
        let ticket = (rank, self.tickets);
        self.tickets += 1;
        (ticket, self.look(ticket, now).0)
    }

    /// When the turn of a call comes, as far as is known now, and how many go before it.
    fn look(&mut self, ticket: Ticket, now: Instant) -> (Instant, usize) {
        self.usage.prune(now);
        let ahead = self.ahead_of(ticket, now);
        let turn = self.usage.turn(now, ahead);
        self.waiting.insert(ticket, turn);
        (turn, ahead)
    }

    /// Takes a permit, if the turn of the call has come; or lets it ask for one, if permits come from a store.
    fn take(&mut self, ticket: Ticket, now: Instant, is_shared: bool) -> Take {
        let (turn, ahead) = self.look(ticket, now);
        if turn > now {
            return Take::At(turn);
        }
        if self.usage.awaits_a_response() {
            return Take::AfterAResponse;
        }
        // After a refusal the first of the queue goes.
        if (self.usage.is_refused() || self.is_contended) && ahead > 0 {
            return Take::At(now + GRACE);
        }
        if !is_shared {
            self.waiting.remove(&ticket);
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

    /// Takes a call out of the queue, if it still waits; says whether the turns of others come earlier.
    fn leave(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket).is_some() && self.waiting.range(ticket..).next().is_some()
    }
}

/// What becomes of a call that wants its permit.
enum Take {
    Taken,
    /// The store is to be asked.
    Ask,
    /// Not before this.
    At(Instant),
    /// When the call in flight has its response, whenever that is.
    AfterAResponse,
    /// When the store has answered another call, or at this time.
    AfterAnAnswer(Instant),
}

impl Window {
    fn new(operation: &'static str, limit: RateLimit) -> Self {
        let state = WindowState {
            usage: Usage::new(limit),
            waiting: BTreeMap::new(),
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
        let place = Place { window: Arc::clone(self), share: None, start, deadline, ticket, is_waiting: false };
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

    /// A call with a permit is over.
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

/// A window that others share.
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
    is_waiting: bool,
}

impl Place {
    async fn approach(&mut self) -> Result<(), Duration> {
        let window = Arc::clone(&self.window);
        loop {
            let moved_up = window.moved_up.notified();
            let now = Instant::now();
            let (turn, _) = window.state().look(self.ticket, now);
            let wait = turn.saturating_duration_since(now);
            if wait <= LEAD {
                return Ok(());
            }
            if turn > self.deadline {
                return Err(wait);
            }
            self.wait();
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
                    self.wait();
                    if let Some(granted) = self.ask().await? {
                        return Ok(self.permitted(Some(granted)));
                    }
                }
                Take::At(turn) if turn > self.deadline => {
                    return Err(NoPermit::TooLate(turn.saturating_duration_since(now)));
                }
                // Either way the turn is looked at again.
                Take::At(turn) => {
                    self.wait();
                    drop(timeout_at(turn, moved_up).await);
                }
                Take::AfterAResponse => {
                    self.wait();
                    if timeout_at(self.deadline, moved_up).await.is_err() {
                        return Err(NoPermit::TooLate(Duration::ZERO));
                    }
                }
                Take::AfterAnAnswer(_) if now >= self.deadline => return Err(self.unanswered()),
                Take::AfterAnAnswer(until) => {
                    self.wait();
                    drop(timeout_at(until.min(self.deadline), moved_up).await);
                }
            }
        }
    }

    fn unanswered(&self) -> NoPermit {
        let store = self.share.as_ref().map_or_else(String::new, |share| format!("{:?}", share.store));
        NoPermit::Failed(Error::permits(format_args!(
            "{store} has not answered by the time that the call had to be sent"
        )))
    }

    fn permitted(&self, granted: Option<(Share, u128)>) -> Permit {
        metrics::permitted(self.window.operation, self.start.elapsed());
        Permit { window: Arc::clone(&self.window), granted, is_settled: false }
    }

    /// Asks the store for a permit; `None` if it has none yet, or if the permit is of no use any more.
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
            // The future may not have been polled for a while, or the machine may have stood still.
            Taken::Granted(Grant { id, send_within: Some(time) }) if now.duration_since(start) > time => {
                share.store.abandon(&share.window, id);
                None
            }
            Taken::Granted(Grant { id, .. }) => {
                let mut state = self.window.state();
                state.waiting.remove(&self.ticket);
                state.is_contended &= !state.waiting.is_empty();
                state.usage.begin();
                Some((share.clone(), id))
            }
        };
        drop(asking);
        Ok(granted)
    }

    fn wait(&mut self) {
        if !std::mem::replace(&mut self.is_waiting, true) {
            metrics::waiting(self.window.operation, 1);
        }
    }
}

/// A call that asks the store, until it has its answer or is dropped.
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
        if self.is_waiting {
            metrics::waiting(self.window.operation, -1);
        }
        let others_move_up = self.window.state().leave(self.ticket);
        if others_move_up {
            self.window.moved_up.notify_waiters();
        }
    }
}

/// The permission to send one call. It is settled when the call is over; dropped before, it counts as one of which nobody
/// knows what came.
#[derive(Debug)]
pub(crate) struct Permit {
    window: Arc<Window>,
    /// The permit of the store.
    granted: Option<(Share, u128)>,
    is_settled: bool,
}

impl Permit {
    /// bunq has refused the call with 429. The limit that it names holds from now on, if it is signed.
    ///
    /// Returns how long no further call is sent.
    pub(crate) async fn throttle(self, throttled: Throttled, jitter: f64) -> Duration {
        let (refusal, pause) = self.window.state().usage.refusal(throttled, jitter);
        self.settle(Settlement::Refused(refusal)).await;
        pause
    }

    /// Tells what became of the call.
    pub(crate) async fn settle(mut self, settlement: Settlement) {
        self.window.settle(&settlement);
        self.is_settled = true;
        let Some((Share { store, window }, id)) = self.granted.take() else { return };
        let settled = timeout(LONGEST_SETTLING, store.settle(&window, id, settlement)).await;
        let problem = match settled {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{store:?} has not answered in {LONGEST_SETTLING:?}"),
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
