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
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;

/// How long a call waits for the response to another before it asks for a permit again.
const RESPONSE_PAUSE: Duration = Duration::from_millis(50);

/// Permits in memory, for clients of one process that call from one address: for example, partners with a key each. Clones
/// share the permits.
///
/// It counts the calls of each operation at each bank, whatever the API key; those that count [by session](LimitScope::Session), for
/// each API key. If the clients have different limits, all of them apply. Of the calls of several clients, the one that asks first
/// goes first, whatever its [`Priority`].
///
/// A window of a session in which nothing counts any more is forgotten.
#[derive(Clone, Default)]
pub struct MemoryPermits(Arc<Mutex<Windows>>);

#[derive(Default)]
struct Windows {
    /// Those of addresses, by bank and operation: there are few of them.
    of_addresses: HashMap<(Arc<str>, &'static str), Usage>,
    of_sessions: SessionWindows,
    /// What each client has announced, by bank and operation.
    announced: HashMap<(Arc<str>, &'static str), HashMap<u128, Announced>>,
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
    usages: HashMap<(Arc<str>, &'static str, Arc<str>), Usage>,
    /// How many were left when idle ones were removed last.
    left: usize,
}

/// So many windows of sessions are never searched for idle ones: they have about half a megabyte.
const FEW: usize = 1000;

impl SessionWindows {
    /// Removes the idle ones when there are twice as many as were left, so that each window is looked at about once.
    fn tidy(&mut self, now: Instant) {
        if self.usages.len() < FEW.max(2 * self.left) {
            return;
        }
        self.usages.retain(|_, usage| {
            usage.prune(now);
            !usage.is_idle()
        });
        self.usages.shrink_to(FEW);
        self.left = self.usages.len();
    }
}

impl MemoryPermits {
    /// Makes a store in which every permit is free.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, window: &PermitWindow, act: impl FnOnce(&mut Usage) -> T) -> T {
        let Windows { of_addresses, of_sessions, .. } = &mut *lock(&self.0);
        let (bank, operation, new) = (Arc::clone(&window.base_url), window.operation.id, || Usage::new(window.limit));
        act(match window.scope {
            LimitScope::Address => of_addresses.entry((bank, operation)).or_insert_with(new),
            LimitScope::Session => {
                of_sessions.tidy(Instant::now());
                let key = (bank, operation, Arc::clone(&window.api_key_fingerprint));
                of_sessions.usages.entry(key).or_insert_with(new)
            }
        })
    }
}

impl fmt::Debug for MemoryPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryPermits")
    }
}

impl PermitStore for MemoryPermits {
    fn take<'a>(&'a self, window: &'a PermitWindow, _priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async {
            Ok(self.with(window, |usage| {
                let now = Instant::now();
                usage.add_limit(window.limit);
                usage.prune(now);
                let wait = usage.turn(now, 0, now).saturating_duration_since(now);
                if !wait.is_zero() {
                    return Taken::NotBefore(wait);
                }
                if usage.awaits_a_response() {
                    return Taken::NotBefore(RESPONSE_PAUSE);
                }
                usage.begin();
                Taken::Granted(Grant::new(0))
            }))
        })
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        _id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.with(window, |usage| usage.settle(&settlement, Instant::now()));
        Box::pin(async { Ok(()) })
    }

    /// The call may have arrived.
    fn abandon(&self, window: &PermitWindow, _id: u128) {
        self.with(window, |usage| usage.settle(&Settlement::Unknown, Instant::now()));
    }

    fn announce<'a>(
        &'a self,
        window: &'a PermitWindow,
        WaitingSessions { client, number, deadlines, candidate, lease }: WaitingSessions,
    ) -> BoxFuture<'a, Result<OtherSessions, Error>> {
        let now = Instant::now();
        let later = |time| now.checked_add(time).unwrap_or(now);
        let not_before = self.with(window, |usage| {
            usage.prune(now);
            usage.turn(now, 0, now).saturating_duration_since(now)
        });
        let key = (Arc::clone(&window.base_url), window.operation.id);
        let mut windows = lock(&self.0);
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
    use crate::operation::{Operation, RateLimit};
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
        let kept = || lock(&permits.0).of_sessions.usages.len();
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
        let kept = || lock(&permits.0).of_sessions.usages.len();
        let before = kept();
        for user in 0..2 * users {
            permits.take(&window(user), Priority::default()).await.unwrap();
            permits.settle(&window(user), 0, Settlement::Unknown).await.unwrap();
            tokio::time::advance(PER).await;
        }
        assert!(before > users && kept() <= FEW, "{before} {}", kept());
    }
}
