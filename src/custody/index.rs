//! Which user an id of bunq's is of, by the entries of a custody.
//!
//! The index is made from a listing when it is first needed, and kept up to date with what this client changes. What others have added is
//! found by another listing after a miss, at most once in a minute: made-up ids cost no more than that. An id that is known waits for no
//! listing.

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
    /// When the last listing ended, and what came of it; `None` before the first.
    listed: Option<(Instant, Result<(), Error>)>,
    /// What this client has changed since the listing in progress began.
    changed: Option<HashMap<ProvisionId, UserIds>>,
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

    /// What is known of an id; `None` if a listing has to tell.
    pub(super) fn answer(&self, user: UserId) -> Option<Result<Option<ProvisionId>, Error>> {
        let state = lock(&self.state);
        if let Some(id) = state.find(user) {
            return Some(Ok(Some(id)));
        }
        let (at, listed) = state.listed.as_ref()?;
        (at.elapsed() < LISTED_FOR).then(|| listed.clone().map(|()| None))
    }

    /// Finds an id with a listing of all entries, unless another has been made meanwhile.
    pub(super) async fn look_for(
        &self,
        user: UserId,
        all: impl Stream<Item = Result<CustodyEntry, Error>> + Send,
    ) -> Result<Option<ProvisionId>, Error> {
        let _listing = self.listing.lock().await;
        if let Some(answer) = self.answer(user) {
            return answer;
        }
        lock(&self.state).changed = Some(HashMap::new());
        let mut found = Vec::new();
        let listed = all.try_for_each(|entry| {
            found.extend(entry.user_ids().into_iter().flatten().map(|user| (user, entry.provision_id)));
            ready(Ok(()))
        });
        let listed = listed.await;
        let mut state = lock(&self.state);
        state.take(found, listed.clone());
        listed.map(|()| state.find(user))
    }
}

impl State {
    /// The user with an id; of several that one person has granted, the newest.
    fn find(&self, user: UserId) -> Option<ProvisionId> {
        let end = self.known.partition_point(|(known, _)| *known <= user);
        self.known[..end].last().filter(|(known, _)| *known == user).map(|(_, id)| *id)
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
    fn take(&mut self, mut found: Vec<(UserId, ProvisionId)>, listed: Result<(), Error>) {
        let changed = self.changed.take();
        if listed.is_ok() {
            found.sort_unstable();
            found.dedup();
            found.shrink_to_fit();
            self.known = found;
            for (id, ids) in changed.into_iter().flatten() {
                self.apply(id, ids);
            }
        }
        self.listed = Some((Instant::now(), listed));
    }
}

impl CustodyEntry {
    pub(super) fn user_ids(&self) -> UserIds {
        [self.user_id, self.granted_by]
    }
}
