//! Permits in memory, for the clients of one process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::scope::LimitScope;
use super::store::{Grant, OtherSessions, PermitStore, PermitWindow, Priority, Settlement, Taken, WaitingSessions};
use super::usage::Usage;
use crate::error::Error;
use crate::operation::RateLimit;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;

/// How long a call waits for the response to another before it asks for a permit again.
const RESPONSE_PAUSE: Duration = Duration::from_millis(50);

/// So long a client that was told to ask again may be late before others go.
const GRACE: Duration = Duration::from_secs(1);

/// Permits in memory, for clients of one process that call from one address: for example, partners with a key each. Clones
/// share the permits; give each client a clone of its own, by which it is known.
///
/// It counts the calls of each operation at each bank, whatever the API key; those that count [by session](LimitScope::Session), for
/// each API key. If the clients have different limits, all of them apply. Of the clients that wait, those with an urgent call go first,
/// then those with a session by its deadline, then the others in turn: the one goes first that has asked first since it had a permit.
///
/// A window of a session in which nothing counts any more is forgotten.
#[derive(Default)]
pub struct MemoryPermits {
    windows: Arc<Mutex<Windows>>,
    /// Tells the clones apart.
    client: u64,
}

#[derive(Default)]
struct Windows {
    /// How many clones there were.
    clients: u64,
    /// Those of addresses, by bank and operation: there are few of them.
    of_addresses: HashMap<(Arc<str>, &'static str), Window>,
    of_sessions: SessionWindows,
    /// What each client has announced, by bank and operation.
    announced: HashMap<(Arc<str>, &'static str), HashMap<u128, Announced>>,
}

struct Window {
    usage: Usage,
    /// The clients that were told to ask again.
    waiting: Vec<Waiting>,
}

/// A client that waits for a permit.
struct Waiting {
    client: u64,
    is_urgent: bool,
    deadline: Option<Instant>,
    /// When it asked first since it had a permit.
    since: Instant,
    /// When it asks again.
    asks_at: Instant,
}

impl Waiting {
    fn goes_before(&self, other: &Self) -> bool {
        let order = |one: &Self| (!one.is_urgent, one.deadline.is_none(), one.deadline, one.since, one.client);
        order(self) < order(other)
    }
}

impl Window {
    fn new(limit: RateLimit) -> Self {
        Self { usage: Usage::new(limit), waiting: Vec::new() }
    }

    fn take(&mut self, client: u64, limit: RateLimit, priority: Priority) -> Taken {
        let now = Instant::now();
        self.usage.add_limit(limit);
        self.usage.prune(now);
        let since = self.waiting.iter().find(|one| one.client == client).map_or(now, |one| one.since);
        self.waiting.retain(|one| one.client != client && one.asks_at + GRACE > now);
        let Priority { is_urgent, deadline, .. } = priority;
        let deadline = deadline.and_then(|time| now.checked_add(time));
        let mut own = Waiting { client, is_urgent, deadline, since, asks_at: now };
        let ahead = self.waiting.iter().filter(|one| one.goes_before(&own)).count();
        // Those that are ahead may leave without a word, so nobody is told to wait for them for long.
        let turn = self.usage.turn(now, ahead, now).min(self.usage.turn(now, 0, now) + GRACE);
        own.asks_at = match self.usage.is_refused() && ahead > 0 || self.usage.awaits_a_response() {
            true => turn.max(now + RESPONSE_PAUSE),
            false => turn,
        };
        if own.asks_at > now {
            let wait = own.asks_at - now;
            self.waiting.push(own);
            return Taken::NotBefore(wait);
        }
        self.usage.begin();
        Taken::Granted(Grant::new(0))
    }
}

/// The sessions that a client has waiting.
struct Announced {
    number: u64,
    deadlines: Vec<Instant>,
    candidate: Option<Instant>,
    until: Instant,
}

/// The windows of sessions, by bank, operation and API key.
#[derive(Default)]
struct SessionWindows {
    windows: HashMap<(Arc<str>, &'static str, Arc<str>), Window>,
    /// How many were left when idle ones were removed last.
    left: usize,
}

/// So many windows of sessions are never searched for idle ones: they have about half a megabyte.
const FEW: usize = 1000;

impl SessionWindows {
    /// Removes the idle ones when there are twice as many as were left, so that each window is looked at about once.
    fn tidy(&mut self, now: Instant) {
        if self.windows.len() < FEW.max(2 * self.left) {
            return;
        }
        self.windows.retain(|_, Window { usage, .. }| {
            usage.prune(now);
            !usage.is_idle()
        });
        self.windows.shrink_to(FEW);
        self.left = self.windows.len();
    }
}

impl MemoryPermits {
    /// Makes a store in which every permit is free.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, window: &PermitWindow, act: impl FnOnce(&mut Window) -> T) -> T {
        let Windows { of_addresses, of_sessions, .. } = &mut *lock(&self.windows);
        let (bank, operation, new) = (Arc::clone(&window.base_url), window.operation.id, || Window::new(window.limit));
        act(match window.scope {
            LimitScope::Address => of_addresses.entry((bank, operation)).or_insert_with(new),
            LimitScope::Session => {
                of_sessions.tidy(Instant::now());
                let key = (bank, operation, Arc::clone(&window.api_key_fingerprint));
                of_sessions.windows.entry(key).or_insert_with(new)
            }
        })
    }
}

/// Another client that shares the permits.
impl Clone for MemoryPermits {
    fn clone(&self) -> Self {
        let mut windows = lock(&self.windows);
        windows.clients += 1;
        Self { windows: Arc::clone(&self.windows), client: windows.clients }
    }
}

impl fmt::Debug for MemoryPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryPermits")
    }
}

impl PermitStore for MemoryPermits {
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async move { Ok(self.with(window, |known| known.take(self.client, window.limit, priority))) })
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        _id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.with(window, |Window { usage, .. }| usage.settle(&settlement, Instant::now()));
        Box::pin(async { Ok(()) })
    }

    /// The call may have arrived.
    fn abandon(&self, window: &PermitWindow, _id: u128) {
        self.with(window, |Window { usage, .. }| usage.settle(&Settlement::Unknown, Instant::now()));
    }

    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        self.with(window, |Window { waiting, .. }| waiting.retain(|one| one.client != self.client));
        for id in unused {
            self.abandon(window, *id);
        }
    }

    fn announce<'a>(
        &'a self,
        window: &'a PermitWindow,
        WaitingSessions { client, number, deadlines, candidate, lease }: WaitingSessions,
    ) -> BoxFuture<'a, Result<OtherSessions, Error>> {
        let now = Instant::now();
        let later = |time| now.checked_add(time).unwrap_or(now);
        let not_before = self.with(window, |Window { usage, .. }| {
            usage.prune(now);
            usage.turn(now, 0, now).saturating_duration_since(now)
        });
        let key = (Arc::clone(&window.base_url), window.operation.id);
        let mut windows = lock(&self.windows);
        let announced = windows.announced.entry(key).or_default();
        announced.retain(|_, announced| announced.until > now);
        if announced.get(&client).is_none_or(|last| last.number < number) {
            let (deadlines, candidate) = (deadlines.into_iter().map(later).collect(), candidate.map(later));
            announced.insert(client, Announced { number, deadlines, candidate, until: later(lease) });
        }
        let others = || announced.iter().filter(|(other, _)| **other != client).map(|(_, announced)| announced);
        let left = |deadline: &Instant| deadline.saturating_duration_since(now);
        let deadlines = others().flat_map(|other| &other.deadlines).map(left).collect();
        let candidates = others().flat_map(|other| &other.candidate).map(left).collect();
        let others = OtherSessions::new(deadlines, candidates).not_before(not_before);
        Box::pin(async { Ok(others) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::transport::rate_limit::store::Refusal;

    const PER: Duration = Duration::from_secs(3);

    fn window(user: usize) -> PermitWindow {
        PermitWindow {
            operation: &Operation::GET_ATTACHMENT,
            limit: RateLimit::new(1, PER),
            scope: LimitScope::Session,
            base_url: "https://bunq.test".into(),
            api_key_fingerprint: format!("fingerprint/{user}").into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_are_over_leave_nothing_and_what_counts_stays() {
        test_timeout::start();
        const USERS: usize = 100_000;
        let permits = MemoryPermits::new();
        let take = async |user| permits.take(&window(user), Priority::default()).await.unwrap();
        let settle = async |user, settlement| permits.settle(&window(user), 0, settlement).await.unwrap();
        let kept = || lock(&permits.windows).of_sessions.windows.len();
        let granted = Taken::Granted(Grant::new(0));
        let pause = 2000 * PER;
        let (in_flight, refused, counts) = (USERS, USERS + 1, USERS + 2);
        assert_eq!([take(in_flight).await, take(refused).await], [granted; 2]);
        settle(refused, Settlement::Refused(Refusal { pause, limit: None, claim: None })).await;
        for user in 0..USERS {
            assert_eq!(take(user).await, granted);
            settle(user, Settlement::Admitted).await;
            // A hundred of them count at a time.
            tokio::time::advance(PER / 100).await;
            assert!(kept() <= FEW, "{user}: {}", kept());
        }
        assert_eq!(take(counts).await, granted);
        settle(counts, Settlement::Unknown).await;
        for user in 0..FEW {
            take(user).await;
            settle(user, Settlement::Admitted).await;
        }
        assert_eq!(take(in_flight).await, Taken::NotBefore(PER));
        assert_eq!(take(counts).await, Taken::NotBefore(PER));
        assert!(matches!(take(refused).await, Taken::NotBefore(left) if left == pause - PER / 100 * USERS as u32));
    }

    /// Each time one of them, whoever asks first.
    #[tokio::test(start_paused = true)]
    async fn clients_that_wait_go_in_their_order() {
        test_timeout::start();
        let permits = MemoryPermits::new();
        let take = async |client: &MemoryPermits, priority| client.take(&window(0), priority).await.unwrap();
        let granted = Taken::Granted(Grant::new(0));
        let due = |seconds| Priority { deadline: Some(Duration::from_secs(seconds)), ..Priority::default() };
        let urgent = Priority { is_urgent: true, ..Priority::default() };
        let usual = Priority::default();
        let clients: Vec<_> =
            [usual, usual, due(600), due(60), urgent].map(|priority| (permits.clone(), priority)).into();
        assert_eq!(take(&permits, usual).await, granted);
        let (mut order, mut waiting) = (Vec::new(), vec![0, 1, 2, 3, 4]);
        for round in 0..6 {
            permits.settle(&window(0), 0, Settlement::Admitted).await.unwrap();
            for client in &waiting {
                assert_ne!(take(&clients[*client].0, clients[*client].1).await, granted);
            }
            tokio::time::advance(PER).await;
            let mut served = Vec::new();
            for client in &waiting {
                if take(&clients[*client].0, clients[*client].1).await == granted {
                    served.push(*client);
                }
            }
            assert_eq!(served.len(), 1, "{round} {served:?}");
            order.append(&mut served);
            // The first goes on asking.
            waiting.retain(|client| *client == 0 || !order.contains(client));
        }
        assert_eq!(order, [4, 3, 2, 0, 1, 0]);
    }

    /// Nor does one that has withdrawn.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_come_back_holds_no_other_up() {
        test_timeout::start();
        let (permits, others) = (MemoryPermits::new(), MemoryPermits::clone);
        let urgent = Priority { is_urgent: true, ..Priority::default() };
        let granted = Taken::Granted(Grant::new(0));
        let (urgent_one, usual) = (others(&permits), others(&permits));
        let take = async |client: &MemoryPermits, priority| client.take(&window(0), priority).await.unwrap();
        for withdraws in [false, true] {
            assert_eq!(take(&permits, Priority::default()).await, granted);
            permits.settle(&window(0), 0, Settlement::Admitted).await.unwrap();
            assert_eq!(take(&urgent_one, urgent).await, Taken::NotBefore(PER));
            assert_eq!(take(&usual, Priority::default()).await, Taken::NotBefore(PER + GRACE));
            if withdraws {
                urgent_one.withdraw(&window(0), &[]);
            }
            tokio::time::advance(PER + GRACE).await;
            assert_eq!(take(&usual, Priority::default()).await, granted);
            usual.settle(&window(0), 0, Settlement::Admitted).await.unwrap();
            tokio::time::advance(PER).await;
        }
    }

    /// They are bounded by what counts, not by a number: none of a flood of users is forgotten.
    #[tokio::test(start_paused = true)]
    async fn no_window_that_counts_is_forgotten_in_a_flood() {
        test_timeout::start();
        let permits = MemoryPermits::new();
        let users = 10 * FEW;
        for user in 0..users {
            permits.take(&window(user), Priority::default()).await.unwrap();
            permits.settle(&window(user), 0, Settlement::Admitted).await.unwrap();
        }
        for user in 0..users {
            assert_eq!(permits.take(&window(user), Priority::default()).await.unwrap(), Taken::NotBefore(PER));
        }
        tokio::time::advance(PER).await;
        permits.take(&window(users), Priority::default()).await.unwrap();
        let kept = || lock(&permits.windows).of_sessions.windows.len();
        let before = kept();
        for user in 0..2 * users {
            permits.take(&window(user), Priority::default()).await.unwrap();
            permits.settle(&window(user), 0, Settlement::Unknown).await.unwrap();
            tokio::time::advance(PER).await;
        }
        assert!(before > users && kept() <= FEW, "{before} {}", kept());
    }
}
