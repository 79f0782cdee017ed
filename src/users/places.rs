//! Places for new users whose credentials expire: no more are created than can be activated in time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use futures_util::stream::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::UserClient;
use super::room::Room;
use crate::error::{Error, ErrorKind};
use crate::types::{CredentialStatus, Provision, ProvisionId};

/// Places for new users, each until its credential is activated: see [`Users::places`](crate::Users::places). Clones share them.
#[derive(Debug, Clone)]
pub struct Places(Arc<State>);

#[derive(Debug)]
struct State {
    room: Arc<Room>,
    capacity: usize,
    free: Semaphore,
    /// How many are never given back, because a credential still waits there.
    lost: AtomicUsize,
    /// Told when an item waits for a place.
    wanted: Notify,
    /// A clock that is set later makes nothing expire.
    began: (Instant, Timestamp),
}

impl Places {
    pub(super) fn new(room: Arc<Room>, capacity: usize) -> Self {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        let (free, lost, wanted) = (Semaphore::new(capacity), AtomicUsize::new(0), Notify::new());
        let began = (Instant::now(), Timestamp::now());
        Self(Arc::new(State { room, capacity, free, lost, wanted, began }))
    }

    /// Lets each item through when there is a place for it, which it takes: the requests of a [bulk
    /// operation](crate::Provisions::bulk).
    pub fn gate<S>(&self, new: S) -> impl Stream<Item = S::Item> + Send + use<S>
    where
        S: Stream<Item: Send> + Send + 'static,
    {
        let places = self.clone();
        new.then(move |new| {
            let places = places.clone();
            async move {
                if places.is_full() {
                    places.0.wanted.notify_one();
                }
                // The semaphore is never closed.
                if let Ok(place) = places.0.free.acquire().await {
                    place.forget();
                }
                new
            }
        })
    }

    /// Returns how many places there are.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Whether no place is free for now.
    pub fn is_full(&self) -> bool {
        self.0.free.available_permits() == 0
    }

    /// Waits until an item waits for a place.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Whether nobody gets a place any more: each is that of a user whose credential waits, and whose activation has failed.
    pub fn are_lost(&self) -> bool {
        self.0.lost.load(Ordering::Relaxed) >= self.0.capacity
    }

    /// Gives back the place of an item of which no user has come.
    pub fn give_back(&self) {
        self.0.free.add_permits(1);
    }

    /// Gives back the place of a user by what has become of its [activation](crate::Users::activate), unless its credential still waits:
    /// another user would wait behind it.
    pub fn settle(&self, outcome: &Result<UserClient, Error>) {
        use ErrorKind::{CredentialSpent, NotFound, RateLimited, Unattainable};
        match outcome.as_ref().map_err(Error::kind) {
            Ok(_) | Err(CredentialSpent | NotFound | RateLimited | Unattainable) => self.give_back(),
            Err(_) => _ = self.0.lost.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Reads users whom others activate, gives back the places of those whose credential was used, cannot be used any more or has
    /// expired, and removes them. Returns how many have expired unused. What could not be read is read again the next time.
    pub async fn look(&self, waiting: &mut HashSet<ProvisionId>) -> usize {
        let feed = self.0.room.provisions.feed();
        let seen = join_all(waiting.iter().map(|id| feed.nudge(*id))).await;
        let (began, clock) = self.0.began;
        let now = clock.saturating_add(began.elapsed()).unwrap_or(Timestamp::MAX);
        let mut expired = 0;
        for seen in seen.into_iter().flatten() {
            let becomes = Use::of(&seen, now);
            if becomes != Use::Waits && waiting.remove(&seen.id) {
                self.give_back();
                expired += usize::from(becomes == Use::Expired);
            }
        }
        expired
    }
}

/// What becomes of the credential of a new user.
#[derive(Debug, PartialEq, Eq)]
enum Use {
    /// It is not there yet, or is still unused.
    Waits,
    Expired,
    /// It was used, or cannot be used any more.
    Over,
}

impl Use {
    fn of(seen: &Provision, now: Timestamp) -> Self {
        match &seen.credential {
            _ if seen.status.is_over() => Self::Over,
            Some(credential) => match (&credential.status, &credential.expiry_time) {
                (Some(CredentialStatus::Active), _) => Self::Over,
                (Some(CredentialStatus::Expired), _) => Self::Expired,
                (_, Some(expiry)) if expiry.as_jiff() <= now => Self::Expired,
                _ => Self::Waits,
            },
            None => Self::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_waits_until_its_credential_is_used_or_expired() {
        test_timeout::start();
        let now = "2026-11-01T12:00:00Z".parse().unwrap();
        for (status, credential, expected) in [
            ("CREATED", "null", Use::Waits),
            ("CREATED", r#"{"status": "PENDING_FIRST_USE", "expiry_time": "2026-11-01 12:00:01"}"#, Use::Waits),
            ("ACTIVE", r#"{"status": "PENDING_FIRST_USE"}"#, Use::Waits),
            ("TOKEN_RESET_REQUESTED", r#"{"status": "PENDING_FIRST_USE"}"#, Use::Waits),
            ("CREATED", r#"{"status": "PENDING_FIRST_USE", "expiry_time": "2026-11-01 12:00:00"}"#, Use::Expired),
            ("ACTIVE", r#"{"status": "EXPIRED"}"#, Use::Expired),
            ("ACTIVE", r#"{"status": "ACTIVE", "expiry_time": "2026-11-01 11:00:00"}"#, Use::Over),
            ("CANCELLED", r#"{"status": "PENDING_FIRST_USE"}"#, Use::Over),
            ("FAILED", "null", Use::Over),
        ] {
            let json = format!(r#"{{"id": 1, "status": "{status}", "credential": {credential}}}"#);
            let seen: Provision = serde_json::from_str(&json).unwrap();
            assert_eq!(Use::of(&seen, now), expected, "{json}");
        }
    }
}
