//! Reads provisions for all waiters together.
//!
//! A poll joins the others that wait for the next round. One provision is read by its id. Several are searched in pages
//! of the listing, newest first, and only those that are not found there are read by their ids. Each waiter gets a result
//! of its own. The poller does not evaluate conditions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::api::{Api, Response};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::types::{Cursor, ListProvisionsQuery, PageSize, Provision, ProvisionId, ProvisionStatus};

/// How long the first poll of a round waits for the others, whose timers end at the same moment.
const GATHERING: Duration = Duration::from_millis(5);

type PollResult = Result<Provision, Error>;

/// The poller of one client. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Poller {
    api: Api,
    queue: Arc<Mutex<Queue>>,
    /// The time from which rounds are counted.
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    requested: Round,
    /// A worker is running. It also serves what is requested while it runs.
    has_worker: bool,
}

/// Polls that are made together.
#[derive(Debug, Default)]
struct Round {
    waiting: BTreeMap<ProvisionId, Vec<oneshot::Sender<PollResult>>>,
    /// The statuses in which the provisions may be found.
    statuses: Vec<ProvisionStatus>,
}

impl Poller {
    pub(crate) fn new(api: Api) -> Self {
        Self { api, queue: Arc::default(), epoch: Instant::now() }
    }

    /// When the next round begins of the waiters that poll once in every `interval`.
    pub(super) fn next_round(&self, interval: Duration) -> Instant {
        let now = Instant::now();
        let since = now.duration_since(self.epoch);
        let into_round = match interval.as_nanos() {
            0 => 0,
            interval => since.as_nanos() % interval,
        };
        // An interval that the clock cannot hold is cut short; every waiter has a nearer deadline.
        let left = interval.saturating_sub(Duration::from_nanos(u64::try_from(into_round).unwrap_or(u64::MAX)));
        now.checked_add(left).unwrap_or(now + Duration::from_secs(3600))
    }

    /// Reads a provision, which usually has one of `statuses`.
    pub(super) async fn poll(&self, id: ProvisionId, statuses: Vec<ProvisionStatus>) -> PollResult {
        let (sender, receiver) = oneshot::channel();
        let has_worker = {
            let mut queue = lock(&self.queue);
            queue.requested.waiting.entry(id).or_default().push(sender);
            for status in statuses {
                if !queue.requested.statuses.contains(&status) {
                    queue.requested.statuses.push(status);
                }
            }
            std::mem::replace(&mut queue.has_worker, true)
        };
        if !has_worker {
            let worker = Worker { queue: Arc::clone(&self.queue), is_done: false };
            tokio::spawn(worker.run(self.api.clone()).in_current_span());
        }
        receiver.await.unwrap_or_else(|_| Err(Error::internal("the runtime that polled the provision was shut down")))
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether bunq refuses the listing itself, and not for a while only.
fn is_about_the_listing(error: &Error) -> bool {
    let is_response = error.sent() == Sent::Responded && error.operation() == Some(&Operation::LIST_PROVISIONS);
    is_response && matches!(error.kind(), ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::InvalidResponse)
}

/// The task that makes the rounds. If it is dropped before its end, as on the shutdown of a runtime, the waiters get an
/// error, and another worker can start.
struct Worker {
    queue: Arc<Mutex<Queue>>,
    is_done: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.is_done {
            let left = std::mem::take(&mut *lock(&self.queue));
            drop(left);
        }
    }
}

impl Worker {
    async fn run(mut self, api: Api) {
        while let Some(round) = self.next_round().await {
            round.serve(&api).await;
        }
    }

    async fn next_round(&mut self) -> Option<Round> {
        sleep(GATHERING).await;
        let mut queue = lock(&self.queue);
        if queue.requested.waiting.is_empty() {
            // Set under the lock: the next poll starts a worker of its own.
            queue.has_worker = false;
            self.is_done = true;
            return None;
        }
        Some(std::mem::take(&mut queue.requested))
    }
}

impl Round {
    async fn serve(mut self, api: &Api) {
        let query = ListProvisionsQuery::default().status(std::mem::take(&mut self.statuses)).count(PageSize::MAX);
        let mut sought: BTreeSet<_> = self.waiting.keys().copied().collect();
        let mut not_listed = Vec::new();
        while let Some(&newest) = sought.last() {
            if sought.len() == 1 {
                not_listed.extend(sought.pop_last());
                break;
            }
            // A saturated id is the last one that there can be.
            let cursor = Cursor::OlderThan(newest.as_i64().saturating_add(1));
            let page = match api.list_provisions(query.clone().cursor(cursor)).await {
                Ok(page) => page.into_inner(),
                // If only the listing is refused, the provisions are read by their ids.
                Err(error) if !is_about_the_listing(&error) => return self.fail(&error),
                Err(_) => {
                    not_listed.extend(std::mem::take(&mut sought));
                    break;
                }
            };
            // Down to this id the page shows everything that the listing has.
            let shown_to = match (page.older, page.items.last()) {
                (None, _) => Bound::Unbounded,
                (Some(_), Some(oldest)) => Bound::Included(oldest.id.min(newest)),
                (Some(_), None) => Bound::Included(newest),
            };
            for provision in page.items {
                sought.remove(&provision.id);
                self.complete(provision.id, &Ok(provision));
            }
            let missing: BTreeSet<_> = sought.range((shown_to, Bound::Included(newest))).copied().collect();
            sought = &sought - &missing;
            not_listed.extend(missing);
        }
        // The next round does not wait for these.
        tokio::spawn(self.read_each(api.clone(), not_listed).in_current_span());
    }

    async fn read_each(mut self, api: Api, ids: Vec<ProvisionId>) {
        for id in ids {
            // Nothing is read for waiters that have given up.
            if self.waiting.get(&id).is_some_and(|senders| senders.iter().any(|sender| !sender.is_closed())) {
                let result = api.get_provision(id).await.map(Response::into_inner);
                self.complete(id, &result);
            }
        }
    }

    fn complete(&mut self, id: ProvisionId, result: &PollResult) {
        for sender in self.waiting.remove(&id).into_iter().flatten() {
            // A waiter that has given up does not receive it.
            let _ = sender.send(result.clone());
        }
    }

    fn fail(self, error: &Error) {
        for sender in self.waiting.into_values().flatten() {
            let _ = sender.send(Err(error.clone()));
        }
    }
}
