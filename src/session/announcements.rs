//! What the clients that share the limit of sessions tell each other: which sessions of users each has waiting.

use std::collections::HashMap;
use std::time::Duration;

use tokio::runtime::Id;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::error::Error;
use crate::text::duration;
use crate::transport::rate_limit::Share;
use crate::transport::rate_limit::store::WaitingSessions;

/// How long what a client has announced counts if it is not repeated: so long the sessions of one that has died keep their places.
const LEASE: Duration = Duration::from_secs(30);

/// How often it is repeated. An answer that takes longer fails.
pub(super) const REPEATED: Duration = Duration::from_secs(10);

/// What other clients have waiting, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) deadlines: Vec<Instant>,
    /// Of those that may be admitted, if they count.
    candidates: Vec<Instant>,
    /// Before this the limit has no permit, whoever asks.
    pub(super) has_room: Option<Instant>,
}

impl Others {
    pub(super) fn all(&self) -> impl Iterator<Item = Instant> {
        self.deadlines.iter().chain(&self.candidates).copied()
    }

    pub(super) fn without_candidates(self) -> Self {
        Self { candidates: Vec::new(), ..self }
    }
}

/// Announces what waits in the store of the limit.
#[derive(Debug)]
pub(super) struct Announcements {
    pub(super) share: Share,
    client: u128,
    /// Locked by whoever announces: what is announced is what waits then, and sessions are admitted one at a time.
    pub(super) last: Mutex<Last>,
    /// What is announced has changed.
    pub(super) changed: Notify,
    /// The tasks that repeat it while sessions wait: one in each runtime, because another may not be run.
    pub(super) keepers: std::sync::Mutex<HashMap<Id, JoinHandle<()>>>,
}

/// The last announcement.
#[derive(Debug, Default)]
pub(super) struct Last {
    number: u64,
    /// When it has failed, and why.
    failed: Option<(Instant, Error)>,
}

impl Last {
    /// Why it has failed, if that was after this time.
    pub(super) fn failed_since(&self, time: Instant) -> Option<&Error> {
        self.failed.as_ref().filter(|(at, _)| *at > time).map(|(_, error)| error)
    }
}

impl Announcements {
    pub(super) fn new(share: Share) -> Self {
        let (client, last) = (Uuid::new_v4().as_u128(), Mutex::default());
        Self { share, client, last, changed: Notify::new(), keepers: std::sync::Mutex::default() }
    }

    /// Waits for the turn to announce, at the longest until a time: whoever is before may be in a runtime that is not run.
    pub(super) async fn turn(&self, by: Instant) -> Result<MutexGuard<'_, Last>, Error> {
        let turn = timeout_at(by, self.last.lock()).await;
        turn.map_err(|_| Error::permits("the other clients were not asked in time which sessions wait"))
    }

    /// Announces the deadlines of what waits, and that of a session that may be admitted. Returns what others have.
    pub(super) async fn tell(
        &self,
        last: &mut Last,
        deadlines: impl Iterator<Item = Instant>,
        candidate: Option<Instant>,
    ) -> Result<Others, Error> {
        let now = Instant::now();
        let left = |deadline: Instant| deadline.saturating_duration_since(now);
        let (deadlines, candidate) = (deadlines.map(left).collect(), candidate.map(left));
        last.number += 1;
        let sessions = WaitingSessions { client: self.client, number: last.number, deadlines, candidate, lease: LEASE };
        let Share { store, window } = &self.share;
        let answered = timeout(REPEATED, store.announce(window, sessions)).await.unwrap_or_else(|_| {
            Err(Error::permits(format_args!("{store:?} has not answered in {}", duration(REPEATED))))
        });
        let others = answered.inspect_err(|error| last.failed = Some((Instant::now(), error.clone())))?;
        // The answer was true at some time since.
        let at = |time| now.checked_add(time);
        let all = |times: Vec<Duration>| times.into_iter().filter_map(at).collect();
        let (deadlines, candidates) = (all(others.deadlines), all(others.candidates));
        Ok(Others { deadlines, candidates, has_room: at(others.not_before) })
    }
}
