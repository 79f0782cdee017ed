//! What the clients that share the limit of sessions tell each other: which sessions of users each has waiting.
//!
//! A session is admitted when it can be in time beside those of all clients. For that it is announced as a candidate before: of two
//! clients that announce at the same time, one sees what the other has, and tries again. Only what was admitted refuses others, and
//! makes others late; those that stand last give way to all, and are not announced. A task repeats what is announced as long as sessions wait, and tells what has changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::order::{Order, OrderState};
use super::place::{Place, check};
use super::queue::{Standing, Wanted};
use crate::error::{Error, ErrorKind};
use crate::text::duration;
use crate::transport::rate_limit::Share;
use crate::transport::rate_limit::store::WaitingSessions;

/// How long what a client has announced counts if it is not repeated: so long the sessions of one that has died keep their places.
const LEASE: Duration = Duration::from_secs(30);

/// How often it is repeated. An answer that takes longer fails.
const REPEATED: Duration = Duration::from_secs(10);

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

    fn without_candidates(self) -> Self {
        Self { candidates: Vec::new(), ..self }
    }
}

/// Announces what waits in the store of the limit.
#[derive(Debug)]
pub(super) struct Announcements {
    share: Share,
    client: u128,
    /// Locked by whoever announces: what is announced is what waits then, and sessions are admitted one at a time.
    last: Mutex<Last>,
    /// What is announced has changed.
    changed: Notify,
    /// The task that repeats it while sessions wait.
    keeper: std::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Last {
    number: u64,
    /// When it has failed, and why.
    failed: Option<(Instant, Error)>,
}

impl Announcements {
    pub(super) fn new(share: Share) -> Self {
        let (client, last) = (Uuid::new_v4().as_u128(), Mutex::default());
        Self { share, client, last, changed: Notify::new(), keeper: std::sync::Mutex::default() }
    }

    /// Takes a place beside the sessions of all clients.
    pub(super) async fn enter(&self, order: &Arc<Order>, wanted: Wanted<'_>) -> Result<Place, Error> {
        let came = Instant::now();
        let mut last = self.last.lock().await;
        // It would fail too, after all that came before it.
        if let Some((_, error)) = last.failed.as_ref().filter(|(at, _)| *at > came) {
            return Err(error.clone());
        }
        let mut was_overtaken = false;
        loop {
            let others = self.announce(order, &mut last, None).await?;
            let others = if was_overtaken { others } else { others.without_candidates() };
            order.state().hear(order, others);
            check(order, &mut order.state(), Instant::now(), &wanted)?;
            // It tells what comes of this, also if this future is dropped.
            self.keep(order);
            let Standing { is_last, deadline, .. } = wanted.standing();
            if !is_last {
                let others = self.announce(order, &mut last, Some(deadline)).await?;
                order.state().hear(order, others);
            }
            match Place::take(order, wanted) {
                Err(error) if error.kind() == ErrorKind::RateLimited && !was_overtaken => was_overtaken = true,
                taken => return taken,
            }
        }
    }

    /// Announces what waits, and a session that may be admitted. Returns what others have.
    async fn announce(&self, order: &Order, last: &mut Last, candidate: Option<Instant>) -> Result<Others, Error> {
        let now = Instant::now();
        let left = |deadline: Instant| deadline.saturating_duration_since(now);
        let (deadlines, candidate) = (order.state().queue.deadlines().map(left).collect(), candidate.map(left));
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

    /// Has the task announce what waits, soon and from now on.
    fn keep(&self, order: &Arc<Order>) {
        let mut keeper = crate::sync::lock(&self.keeper);
        // The runtime of the last task may have ended.
        if keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            *keeper = Some(tokio::spawn(repeat(Arc::clone(order))));
        }
        order.announce();
    }
}

/// Repeats what is announced until nothing waits.
async fn repeat(order: Arc<Order>) {
    let Some(announcements) = &order.announcements else { return };
    loop {
        // It is repeated in any case.
        let _ = timeout(REPEATED, announcements.changed.notified()).await;
        let mut last = announcements.last.lock().await;
        let was_empty = order.state().queue.is_empty();
        match announcements.announce(&order, &mut last, None).await {
            Ok(others) => order.state().hear(&order, others.without_candidates()),
            Err(error) => tracing::debug!(%error, "what sessions wait is not announced to the other clients"),
        }
        let mut keeper = crate::sync::lock(&announcements.keeper);
        if was_empty && order.state().queue.is_empty() {
            *keeper = None;
            return;
        }
    }
}

impl Order {
    /// Tells the other clients what has changed.
    pub(super) fn announce(&self) {
        if let Some(announcements) = &self.announcements {
            announcements.changed.notify_one();
        }
    }
}

impl OrderState {
    /// Notes what other clients have waiting.
    fn hear(&mut self, order: &Order, others: Others) {
        let now = Instant::now();
        self.others = others;
        self.mark_late(order, now);
        self.choose(order, now);
        self.wake(self.head.map(|(head, _)| head));
    }
}
