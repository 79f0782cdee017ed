//! bunq's rate limits: at most a number of calls of an operation within any period of a given length.
//!
//! The windows roll, as bunq's do; a token bucket would let nearly twice as many calls through. bunq counts a call when
//! it arrives, at some time between sending and response, so a permit becomes free when a whole window has passed since
//! the response. A call never waits past its deadline: if a permit takes longer, it fails at once.
//!
//! A window is one queue for the partner and all its users: turn by turn among them, first come first served within each. A call
//! takes a rank when it begins, and a ticket with that rank whenever it waits, so that its retries keep its place. A future that is
//! not polled when its turn comes is passed over until it is polled again. The calls that open the partner's own session go before
//! all others.
//!
//! If bunq counts by session ([`LimitScope`]), the calls that take a session have windows for each caller.
//!
//! Other programs may call from the same address. After a 429 the window is closed for a random time, which grows with
//! each further 429, and calls are sent one at a time until bunq accepts one. What an unsigned 429 asks for is a claim:
//! it is kept until bunq accepts a call, and for at most a minute.
//!
//! If other clients share a limit, its permits come from a [`PermitStore`]. The queue is the same; the first call in it that has no
//! permit yet asks the store when the window, as known here, has room. What the store grants belongs to the queue: whoever is first
//! when a permit is free is sent with it. Estimates use only what is known here. The session of a user waits elsewhere between its
//! attempts: as long as it is [`Expected`], the store keeps the place of the client.

pub(crate) mod memory;
mod queue;
mod scope;
mod shared;
pub(crate) mod store;
mod throttled;
#[cfg(test)]
mod turns;
mod usage;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use self::queue::QueueCaller;
pub(crate) use self::queue::Rank;
pub use self::scope::LimitScope;
pub(crate) use self::shared::Share;
use self::store::{PermitStore, PermitWindow};
pub(crate) use self::throttled::{MAX_UNPROVEN_PAUSE, Throttled, named_limit};
use self::window::Window;
pub(crate) use self::window::{Expected, NoPermit, Permit, Place};
use crate::operation::{Auth, Operation, RateLimit};
use crate::sync::lock;

/// Identifies the caller of a client: the bank, the API key, and whether it is the partner's or a user's.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) base_url: Arc<str>,
    pub(crate) api_key_fingerprint: Arc<str>,
    pub(crate) role: Role,
    /// Tells the callers of shared limits apart.
    number: u64,
}

impl Caller {
    /// Its place in the queue of an operation. All of a partner's calls stand still without its session.
    fn in_queue_of(&self, operation: &Operation) -> QueueCaller {
        QueueCaller { number: self.number, is_urgent: self.role == Role::Partner && operation.auth != Auth::Session }
    }
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

/// The rate limits of all operations for one caller. Those of a partner and its users belong together.
#[derive(Debug)]
pub(crate) struct RateLimits {
    rules: Arc<Rules>,
    /// The windows that were used.
    windows: Mutex<HashMap<&'static str, Arc<Window>>>,
    /// The partner's limits, for calls of a user that take no session; `None` if these are the partner's.
    partners: Option<Arc<Self>>,
}

/// What the limits of a partner and its users have in common.
#[derive(Debug)]
struct Rules {
    set: HashMap<&'static str, RateLimit>,
    /// Whether the document's limits apply to operations that are not in `set`.
    documented: bool,
    scope: LimitScope,
    /// `None` if no other client shares the limits.
    store: Option<Arc<dyn PermitStore>>,
    ranks: AtomicU64,
    callers: AtomicU64,
}

impl RateLimits {
    /// The limits in `set`. Other operations have the document's limits if `documented`, otherwise none. If there is a store, permits
    /// come from it.
    pub(crate) fn new(
        documented: bool,
        set: HashMap<&'static str, RateLimit>,
        scope: LimitScope,
        store: Option<Arc<dyn PermitStore>>,
    ) -> Self {
        let (ranks, callers) = (AtomicU64::new(0), AtomicU64::new(0));
        let rules = Rules { set, documented, scope, store, ranks, callers };
        Self { rules: Arc::new(rules), windows: Mutex::default(), partners: None }
    }

    /// No limit at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(false, HashMap::new(), LimitScope::default(), None)
    }

    /// The limits of a user of the partner that these are the limits of.
    pub(crate) fn for_user(self: &Arc<Self>) -> Arc<Self> {
        match self.rules.scope {
            LimitScope::Address => Arc::clone(self),
            LimitScope::Session => {
                let (rules, partners) = (Arc::clone(&self.rules), Some(Arc::clone(self)));
                Arc::new(Self { rules, windows: Mutex::default(), partners })
            }
        }
    }

    /// The store of the permits, if other clients share the limits.
    pub(crate) fn store(&self) -> Option<&Arc<dyn PermitStore>> {
        self.rules.store.as_ref()
    }

    /// Another caller within these limits.
    pub(crate) fn caller(&self, base_url: Arc<str>, api_key_fingerprint: Arc<str>, role: Role) -> Caller {
        Caller { base_url, api_key_fingerprint, role, number: self.rules.callers.fetch_add(1, Ordering::Relaxed) }
    }

    /// The rank of a call that begins now.
    pub(crate) fn next_rank(&self) -> Rank {
        Rank { number: self.rules.ranks.fetch_add(1, Ordering::Relaxed), began: Instant::now(), due: None }
    }

    fn limit(&self, operation: &Operation) -> Option<RateLimit> {
        let documented = self.rules.documented.then_some(operation.rate_limit);
        self.rules.set.get(operation.id).copied().or(documented)
    }

    /// The window of an operation, which is made when it is first used. `None` if the operation has no limit.
    fn window(&self, operation: &Operation) -> Option<Arc<Window>> {
        match &self.partners {
            Some(partners) if operation.auth != Auth::Session => partners.window(operation),
            _ => {
                let limit = self.limit(operation)?;
                let mut windows = lock(&self.windows);
                let window = windows.entry(operation.id).or_insert_with(|| Arc::new(Window::new(operation.id, limit)));
                Some(Arc::clone(window))
            }
        }
    }

    /// The length of the window, divided by the number of calls; zero if `operation` has no limit.
    pub(crate) fn interval(&self, operation: &Operation) -> Duration {
        self.window(operation).map_or(Duration::ZERO, |window| window.interval())
    }

    /// Whether `operation` has a limit. If so, the pauses that bunq asks for are kept here.
    pub(crate) fn governs(&self, operation: &Operation) -> bool {
        self.limit(operation).is_some()
    }

    /// How long a call of `operation` would wait for its permit if this caller joined the queue now.
    pub(crate) fn expected_wait(&self, operation: &Operation, caller: &Caller) -> Duration {
        let wait = |window: Arc<Window>| window.expected_wait(caller.in_queue_of(operation));
        self.window(operation).map_or(Duration::ZERO, wait)
    }

    /// When a call of `operation` would have its permit that has all calls of the queue before it, and `ahead` more, of which none is sent
    /// before a time; not after `now` if that is at once. `None` if the operation has no limit.
    pub(crate) fn turn(
        &self,
        operation: &Operation,
        now: Instant,
        ahead: usize,
        not_before: Instant,
    ) -> Option<Instant> {
        self.window(operation).map(|window| window.turn(now, ahead, not_before))
    }

    /// How many calls of `operation` wait for their permits or have one.
    pub(crate) fn in_progress(&self, operation: &Operation) -> usize {
        self.window(operation).map_or(0, |window| window.in_progress())
    }

    /// How many calls of `operation` can begin at once; `None` if it has no limit.
    pub(crate) fn at_once(&self, operation: &Operation) -> Option<usize> {
        self.window(operation).map(|window| window.at_once())
    }

    /// The window of an operation in the store. `None` if no other client shares the limits, or the operation has none.
    pub(crate) fn share(&self, operation: &'static Operation, caller: &Caller) -> Option<Share> {
        self.share_of(operation, self.limit(operation)?, caller)
    }

    fn share_of(&self, operation: &'static Operation, limit: RateLimit, caller: &Caller) -> Option<Share> {
        let scope = if operation.auth == Auth::Session { self.rules.scope } else { LimitScope::Address };
        self.store().map(|store| Share {
            store: Arc::clone(store),
            window: PermitWindow {
                operation,
                limit,
                scope,
                base_url: Arc::clone(&caller.base_url),
                api_key_fingerprint: Arc::clone(&caller.api_key_fingerprint),
            },
        })
    }

    /// Keeps the place of this client in the store, and what is promised to it, while a call is expected that waits for its turn elsewhere.
    pub(crate) fn expect(&self, share: &Share) -> Option<Expected> {
        self.window(share.window.operation).map(|window| window.expect(share.clone()))
    }

    /// Waits in the queue until a call of `operation` will soon have its permit, so that its request can be signed. `None`
    /// if the operation has no limit. `is_retry` if the call has been sent before.
    pub(crate) async fn approach(
        &self,
        operation: &'static Operation,
        rank: Rank,
        is_retry: bool,
        deadline: Instant,
        caller: &Caller,
    ) -> Result<Option<Place>, NoPermit> {
        let Some(window) = self.window(operation) else { return Ok(None) };
        let share = self.share_of(operation, window.limit, caller);
        let place = window.join(caller.in_queue_of(operation), rank, is_retry, deadline, share);
        let mut place = place.map_err(NoPermit::TooLate)?;
        place.approach().await.map_err(NoPermit::TooLate)?;
        Ok(Some(place))
    }
}
