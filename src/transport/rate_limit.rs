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

mod throttled;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use self::throttled::{MAX_UNPROVEN_PAUSE, Throttled, named_limit};
use super::metrics;
use crate::operation::{Operation, RateLimit};
use crate::sync::lock;

/// A wait of at least this length is logged at the level INFO.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How long after its turn a future may be polled before it is passed over.
const GRACE: Duration = Duration::from_millis(50);

/// How long before its turn the request of a call is signed. A signature takes about a millisecond of the thread's time:
/// what waits for long does not hold up the others with it.
const LEAD: Duration = Duration::from_millis(50);

/// The place of a call among all that share their limits: the lower, the earlier it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u64);

/// The rate limits of all operations, shared by all that call from this address.
#[derive(Debug)]
pub(crate) struct RateLimits {
    windows: HashMap<&'static str, Arc<Window>>,
    ranks: AtomicU64,
}

impl RateLimits {
    /// The limits in `set`; for other operations the document's if `documented`, or else none.
    pub(crate) fn new(documented: bool, set: &HashMap<&'static str, RateLimit>) -> Self {
        let window = |operation: &'static Operation| {
            let limit = set.get(operation.id).copied().or(documented.then_some(operation.rate_limit));
            limit.map(|limit| (operation.id, Arc::new(Window::new(operation.id, limit))))
        };
        Self { windows: Operation::ALL.iter().filter_map(window).collect(), ranks: AtomicU64::new(0) }
    }

    /// The rank of a call that begins now.
    pub(crate) fn next_rank(&self) -> Rank {
        Rank(self.ranks.fetch_add(1, Ordering::Relaxed))
    }

    /// How long one call of `operation` takes of its limit; zero if it has none.
    pub(crate) fn interval(&self, operation: &Operation) -> Duration {
        let window = self.windows.get(operation.id);
        window.map_or(Duration::ZERO, |window| {
            window.state().limits.iter().map(|limit| limit.per / limit.calls.max(1)).max().unwrap_or_default()
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
        state.prune(now);
        let ahead = state.waiting.len();
        state.turn(now, ahead).saturating_duration_since(now)
    }

    /// Waits in the queue for one call of `operation`, if it has a limit, until its permit is so near that the request can
    /// be signed.
    ///
    /// # Errors
    ///
    /// The estimated wait, if it goes past the deadline.
    pub(crate) async fn approach(
        &self,
        operation: &Operation,
        rank: Rank,
        deadline: Instant,
    ) -> Result<Option<Place>, Duration> {
        let Some(window) = self.windows.get(operation.id) else { return Ok(None) };
        let mut place = window.enter(rank, deadline)?;
        place.approach().await?;
        Ok(Some(place))
    }
}

/// The window of one operation.
#[derive(Debug)]
struct Window {
    operation: &'static str,
    state: Mutex<WindowState>,
    /// The turns of those that wait come earlier than they were told.
    moved_up: Notify,
}

/// A place in the queue: the rank of the call, and a number that sets it apart from others of the same call.
type Ticket = (Rank, u64);

#[derive(Debug)]
struct WindowState {
    /// All of them hold: the one that was set or documented, and the one that bunq named last with its signature.
    limits: Vec<RateLimit>,
    in_flight: usize,
    /// When the calls that still count got their responses, oldest first.
    responded: VecDeque<Instant>,
    /// bunq has refused a call: no call is sent before this.
    closed_until: Option<Instant>,
    claim: Option<Claim>,
    /// How many calls bunq has refused since it accepted the last.
    refusals: u32,
    /// The calls that wait, first to last, and when the turn of each comes.
    waiting: BTreeMap<Ticket, Instant>,
    tickets: u64,
}

/// What refusals ask for that bunq has not signed, until it admits a call.
#[derive(Debug, Clone, Copy)]
struct Claim {
    closed_until: Instant,
    limit: Option<RateLimit>,
    /// When it is forgotten in any case.
    ends: Instant,
}

impl WindowState {
    /// The longest period of the limits without the claim.
    fn longest(&self) -> Duration {
        self.limits.iter().map(|limit| limit.per).max().unwrap_or_default()
    }

    fn prune(&mut self, now: Instant) {
        let claimed = self.claim.and_then(|claim| claim.limit);
        let longest = self.longest().max(claimed.map_or(Duration::ZERO, |limit| limit.per));
        while self.responded.front().is_some_and(|responded| *responded + longest <= now) {
            self.responded.pop_front();
        }
        self.closed_until = self.closed_until.filter(|until| *until > now);
        self.claim = self.claim.filter(|claim| claim.ends > now);
    }

    /// When a call can go that has `ahead` others before it; not after `now` if it is at once.
    fn turn(&self, now: Instant, ahead: usize) -> Instant {
        let open = self.closed_until.max(self.claim.map(|claim| claim.closed_until)).unwrap_or(now);
        let under = |limit: &RateLimit| {
            let (calls, per) = (limit.calls.max(1) as usize, limit.per);
            // When each permit is free again. Of those in flight that is at least a window from now.
            let counted = self.responded.iter().map(|responded| *responded + per).filter(|free| *free > now);
            let mut free: Vec<Instant> = counted.chain(std::iter::repeat_n(now + per, self.in_flight)).collect();
            free.sort_unstable();
            let rounds = u32::try_from(ahead / calls).unwrap_or(u32::MAX);
            let last_to_go = (free.len() + ahead % calls).checked_sub(calls);
            let permit = last_to_go.and_then(|index| free.get(index)).copied().unwrap_or(now).max(open);
            permit.checked_add(per.saturating_mul(rounds)).unwrap_or(permit)
        };
        let claimed = self.claim.and_then(|claim| Some(under(&claim.limit?).min(claim.ends)));
        self.limits.iter().map(under).chain(claimed).max().unwrap_or(open)
    }

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
        self.prune(now);
        let ahead = self.ahead_of(ticket, now);
        let turn = self.turn(now, ahead);
        self.waiting.insert(ticket, turn);
        (turn, ahead)
    }

    /// Takes a permit, if the turn of the call has come.
    fn take(&mut self, ticket: Ticket, now: Instant) -> Take {
        let (turn, ahead) = self.look(ticket, now);
        if turn > now {
            return Take::At(turn);
        }
        // After a refusal one call goes at a time, the first of the queue.
        if self.refusals > 0 && self.in_flight > 0 {
            return Take::AfterAResponse;
        }
        if self.refusals > 0 && ahead > 0 {
            return Take::At(now + GRACE);
        }
        self.waiting.remove(&ticket);
        self.in_flight += 1;
        Take::Taken
    }

    /// Takes a call out of the queue, if it still waits; says whether the turns of others come earlier.
    fn leave(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket).is_some() && self.waiting.range(ticket..).next().is_some()
    }
}

/// What becomes of a call that wants its permit.
enum Take {
    Taken,
    /// Not before this.
    At(Instant),
    /// When the call in flight has its response, whenever that is.
    AfterAResponse,
}

impl Window {
    fn new(operation: &'static str, limit: RateLimit) -> Self {
        let state = WindowState {
            limits: vec![limit],
            in_flight: 0,
            responded: VecDeque::new(),
            closed_until: None,
            claim: None,
            refusals: 0,
            waiting: BTreeMap::new(),
            tickets: 0,
        };
        Self { operation, state: Mutex::new(state), moved_up: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, WindowState> {
        lock(&self.state)
    }

    fn enter(self: &Arc<Self>, rank: Rank, deadline: Instant) -> Result<Place, Duration> {
        let start = Instant::now();
        let (ticket, turn) = self.state().enter(rank, start);
        let place = Place { window: Arc::clone(self), start, deadline, ticket, is_waiting: false };
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
}

/// The place of a call in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    window: Arc<Window>,
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
    /// The estimated wait, if it goes past the deadline.
    pub(crate) async fn permit(mut self) -> Result<Permit, Duration> {
        let window = Arc::clone(&self.window);
        loop {
            // Created before the state is read, so that nothing in between is missed.
            let moved_up = window.moved_up.notified();
            let now = Instant::now();
            let taken = window.state().take(self.ticket, now);
            match taken {
                Take::Taken => {
                    metrics::permitted(window.operation, now.saturating_duration_since(self.start));
                    return Ok(Permit { window: Arc::clone(&window), outcome: None });
                }
                Take::At(turn) if turn > self.deadline => return Err(turn.saturating_duration_since(now)),
                // Either way the turn is looked at again.
                Take::At(turn) => {
                    self.wait();
                    drop(timeout_at(turn, moved_up).await);
                }
                Take::AfterAResponse => {
                    self.wait();
                    if timeout_at(self.deadline, moved_up).await.is_err() {
                        return Err(Duration::ZERO);
                    }
                }
            }
        }
    }

    fn wait(&mut self) {
        if !std::mem::replace(&mut self.is_waiting, true) {
            metrics::waiting(self.window.operation, 1);
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

/// The permission to send one call. It is given back when the response is there.
#[derive(Debug)]
pub(crate) struct Permit {
    window: Arc<Window>,
    outcome: Option<Admission>,
}

/// Whether bunq has admitted a call within its limit.
#[derive(Debug, Clone, Copy)]
enum Admission {
    Admitted,
    /// For how long no call is sent, and for how long none would be if the refusal asked for nothing.
    Refused {
        throttled: Throttled,
        pause: Duration,
        blind_pause: Duration,
    },
}

impl Permit {
    /// bunq has admitted the call, whatever it makes of it.
    pub(crate) fn admit(mut self) {
        self.outcome = Some(Admission::Admitted);
    }

    /// bunq has refused the call with 429. The limit that it names holds from now on, if it is signed.
    ///
    /// Returns how long no further call is sent.
    pub(crate) fn throttle(mut self, throttled: Throttled, jitter: f64) -> Duration {
        let state = self.window.state();
        let [pause, blind_pause] =
            [throttled, Throttled::default()].map(|throttled| throttled.pause(state.longest(), state.refusals, jitter));
        drop(state);
        self.outcome = Some(Admission::Refused { throttled, pause, blind_pause });
        pause
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.window.state();
        let was_refused = state.refusals > 0;
        state.in_flight = state.in_flight.saturating_sub(1);
        state.responded.push_back(now);
        match self.outcome {
            Some(Admission::Refused { throttled, pause, blind_pause }) => {
                state.refusals = state.refusals.saturating_add(1);
                let until = now.checked_add(pause).unwrap_or(now);
                if throttled.is_signed {
                    state.closed_until = state.closed_until.max(Some(until));
                    if let Some(limit) = throttled.limit {
                        // The limit that was named last holds beside the one that was set.
                        state.limits.truncate(1);
                        state.limits.push(limit);
                    }
                } else {
                    // The pause that would be made anyway is no claim.
                    state.closed_until = state.closed_until.max(Some(until.min(now + blind_pause)));
                    let earlier = state.claim;
                    state.claim = Some(Claim {
                        closed_until: earlier.map_or(until, |claim| claim.closed_until.max(until)),
                        limit: throttled.limit.or(earlier.and_then(|claim| claim.limit)),
                        ends: now + MAX_UNPROVEN_PAUSE,
                    });
                }
            }
            Some(Admission::Admitted) => (state.refusals, state.claim) = (0, None),
            // It may not have arrived.
            None => {}
        }
        drop(state);
        if was_refused {
            self.window.moved_up.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
