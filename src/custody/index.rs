//! Which user an id of bunq's is of, by the entries of a custody.
//!
//! The index is made from a listing when it is first needed, and kept up to date with what this client changes. What others have added is
//! found by another listing after a miss, at most once in a minute: made-up ids cost no more than that. So a miss is final only if a
//! listing has begun since the question arose. An id that is known waits for no listing.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt as _};
use tokio::time::Instant;

use super::interface::CustodyEntry;
use crate::error::Error;
use crate::sync::lock;
use crate::types::{ProvisionId, UserId};

/// For how long after a listing a miss begins no other.
const LISTED_FOR: Duration = Duration::from_secs(60);

/// The provisions that have made the user with an id of bunq's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Granted {
    /// These, the newest first. A person may have several.
    To(Vec<ProvisionId>),
    /// None that is known, but another process may have added one since the last listing: the next can begin then.
    NotYet { look_again: Instant },
    /// None of the custody.
    Nobody,
}

/// The ids of one user: none, or one or two.
type UserIds = [Option<UserId>; 2];

#[derive(Debug, Default)]
pub(super) struct UserIndex {
    state: Mutex<State>,
    /// Held by the task that lists.
    listing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// In order. A user takes 16 bytes for each of its ids.
    known: Vec<(UserId, ProvisionId)>,
    /// The last listing; `None` before the first.
    listed: Option<Listing>,
    /// What this client has changed since the listing in progress began.
    changed: Option<HashMap<ProvisionId, UserIds>>,
}

#[derive(Debug)]
struct Listing {
    began: Instant,
    ended: Instant,
    outcome: Result<(), Error>,
}

impl UserIndex {
    /// The entry of a user is kept.
    pub(super) fn kept(&self, id: ProvisionId, ids: UserIds) {
        if ids != [None; 2] {
            lock(&self.state).change(id, ids);
        }
    }

    /// Nothing is kept of a user any more.
    pub(super) fn removed(&self, id: ProvisionId) {
        lock(&self.state).change(id, [None; 2]);
    }

    /// What is known of an id, for a question that arose at `since`; `None` if a listing has to tell.
    pub(super) fn answer(&self, user: UserId, since: Instant) -> Option<Result<Granted, Error>> {
        let state = lock(&self.state);
        let known = state.find(user);
        if !known.is_empty() {
            return Some(Ok(Granted::To(known)));
        }
        let Listing { began, ended, outcome } = state.listed.as_ref()?;
        if outcome.is_ok() && *began >= since {
            return Some(Ok(Granted::Nobody));
        }
        let look_again = *ended + LISTED_FOR;
        (Instant::now() < look_again).then(|| outcome.clone().map(|()| Granted::NotYet { look_again }))
    }

    /// Lists all entries, unless another listing meanwhile has an answer.
    pub(super) async fn list(
        &self,
        user: UserId,
        since: Instant,
        all: impl Stream<Item = Result<CustodyEntry, Error>> + Send,
    ) {
        let _listing = self.listing.lock().await;
        if self.answer(user, since).is_some() {
            return;
        }
        lock(&self.state).changed = Some(HashMap::new());
        let (mut found, began) = (Vec::new(), Instant::now());
        let listed = all.try_for_each(|entry| {
            found.extend(entry.user_ids().into_iter().flatten().map(|user| (user, entry.provision_id)));
            ready(Ok(()))
        });
        let outcome = listed.await;
        lock(&self.state).take(found, Listing { began, ended: Instant::now(), outcome });
    }
}

impl State {
    /// The provisions with an id, the newest first.
    fn find(&self, user: UserId) -> Vec<ProvisionId> {
        let end = self.known.partition_point(|(known, _)| *known <= user);
        let known = self.known[..end].iter().rev();
        known.take_while(|(known, _)| *known == user).map(|(_, id)| *id).collect()
    }

    fn change(&mut self, id: ProvisionId, ids: UserIds) {
        if let Some(changed) = &mut self.changed {
            changed.insert(id, ids);
        }
        // Before the first listing nobody has asked.
        if self.listed.is_some() {
            self.apply(id, ids);
        }
    }

    fn apply(&mut self, id: ProvisionId, ids: UserIds) {
        if ids == [None; 2] {
            self.known.retain(|(_, known)| *known != id);
        }
        for user in ids.into_iter().flatten() {
            if let Err(place) = self.known.binary_search(&(user, id)) {
                self.known.insert(place, (user, id));
            }
        }
    }

    /// Takes in a listing. What was changed meanwhile may be on it or not.
    fn take(&mut self, mut found: Vec<(UserId, ProvisionId)>, listing: Listing) {
        let changed = self.changed.take();
        if listing.outcome.is_ok() {
            found.sort_unstable();
            found.dedup();
            found.shrink_to_fit();
            self.known = found;
            for (id, ids) in changed.into_iter().flatten() {
                self.apply(id, ids);
            }
        }
        self.listed = Some(listing);
    }
}

impl CustodyEntry {
    pub(super) fn user_ids(&self) -> UserIds {
        [self.user_id, self.granted_by]
    }
}
