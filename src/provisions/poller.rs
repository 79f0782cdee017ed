//! Reads provisions for all waiters together.
//!
//! A poll joins the others that wait for the next round. One provision is read by its id. Several are searched in pages
//! of the listing, newest first: first among those with the statuses that they are expected to have, then among those with
//! the statuses that they may have got since. Only what is not found there is read by its id. A page begins at the newest
//! provision that is sought, so no page costs more than the read of that one. Each waiter gets a result of its own. The
//! poller does not evaluate conditions.
//!
//! One task makes the rounds, also for waiters in other runtimes than its own. When its runtime ends, or is not run, one of
//! those that still wait starts another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Id;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use crate::api::{Api, Response};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::runtime;
use crate::transport::trouble::Trouble;
use crate::types::{Cursor, ListProvisionsQuery, PageSize, Provision, ProvisionId, ProvisionStatus};

/// How long the first poll of a round waits for the others, whose timers end at the same moment.
const GATHERING: Duration = Duration::from_millis(5);

/// How long a poll waits for the worker of another runtime, which nobody may run.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// The worker that makes the rounds. It also serves what is requested while it runs.
    worker: Option<WorkerId>,
    /// How many workers there were.
    workers: u64,
}

/// A worker, and the runtime in which it is a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WorkerId {
    runtime: Id,
    number: u64,
}

/// Polls that are made together.
#[derive(Debug, Default)]
struct Round {
    waiting: BTreeMap<ProvisionId, Vec<oneshot::Sender<PollResult>>>,
    /// The statuses that the provisions are expected to have, and others that they may have.
    expected: Vec<ProvisionStatus>,
    others: Vec<ProvisionStatus>,
    /// That of the call in progress, or of the round before it.
    trouble: Trouble,
}

/// Adds the statuses that are not there yet.
fn add(statuses: &mut Vec<ProvisionStatus>, more: &[ProvisionStatus]) {
    for status in more {
        if !statuses.contains(status) {
            statuses.push(status.clone());
        }
    }
}

impl Poller {
    pub(crate) fn new(api: Api) -> Self {
        Self { api, queue: Arc::default(), epoch: Instant::now() }
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
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

    /// Reads a provision, which has one of the statuses that are `expected`, or else one of `others`, or else any. Until then
    /// `trouble` is that of the round.
    pub(super) async fn poll(
        &self,
        id: ProvisionId,
        expected: Vec<ProvisionStatus>,
        others: Vec<ProvisionStatus>,
        trouble: &Trouble,
    ) -> PollResult {
        let own = runtime::current()?;
        let mut failed = None;
        loop {
            let (worker, is_new, receiver) = self.request(id, &expected, &others, own, failed, trouble);
            let is_own = worker.runtime == own;
            let received = if is_own { Some(receiver.await) } else { timeout(PATIENCE, receiver).await.ok() };
            trouble.end_wait();
            match received {
                Some(Ok(result)) if is_own || !result.as_ref().is_err_and(is_of_this_machine) => return result,
                Some(Err(_)) if is_new => return Err(Error::internal("the runtime of the call is shut down")),
                // The worker's runtime has ended, is not run, or has failed the call by its end.
                _ => failed = Some(worker),
            }
        }
    }

    /// Puts a provision into the next round. Starts a worker if there is none, or if it is the one that has `failed`; says
    /// whether it has.
    fn request(
        &self,
        id: ProvisionId,
        expected: &[ProvisionStatus],
        others: &[ProvisionStatus],
        own: Id,
        failed: Option<WorkerId>,
        trouble: &Trouble,
    ) -> (WorkerId, bool, oneshot::Receiver<PollResult>) {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut queue = lock(&self.queue);
            queue.requested.waiting.entry(id).or_default().push(sender);
            add(&mut queue.requested.expected, expected);
            add(&mut queue.requested.others, others);
            trouble.begin_wait(&queue.requested.trouble);
            if let Some(worker) = queue.worker.filter(|worker| Some(*worker) != failed) {
                return (worker, false, receiver);
            }
            queue.workers += 1;
            let id = WorkerId { runtime: own, number: queue.workers };
            queue.worker = Some(id);
            id
        };
        let worker = Worker { queue: Arc::clone(&self.queue), id };
        tokio::spawn(worker.run(self.api.clone()).in_current_span());
        (id, true, receiver)
    }
}

/// Whether bunq refuses the listing itself, and not for a while only.
fn is_about_the_listing(error: &Error) -> bool {
    let is_response = error.sent() == Sent::Responded && error.operation() == Some(&Operation::LIST_PROVISIONS);
    is_response
        && !error.is_retryable()
        && matches!(
            error.kind(),
            ErrorKind::Forbidden | ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::InvalidResponse
        )
}

/// Whether something has failed before anything was sent, and for longer than a while.
fn is_of_this_machine(error: &Error) -> bool {
    error.sent() == Sent::No && !error.is_retryable()
}

/// The task that makes the rounds. If it is dropped before its end, as on the shutdown of a runtime, another can start.
struct Worker {
    queue: Arc<Mutex<Queue>>,
    id: WorkerId,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        if queue.worker == Some(self.id) {
            queue.worker = None;
            let left = std::mem::take(&mut queue.requested);
            drop(queue);
            // Who waits in another runtime requests it again.
            drop(left);
        }
    }
}

impl Worker {
    async fn run(self, api: Api) {
        while self.is_needed() {
            sleep(GATHERING).await;
            let Some(round) = self.next_round() else { return };
            round.serve(&api).await;
        }
    }

    /// Whether anything is requested. It is asked right after a round, because the runtime may not be run any more when those
    /// that wait in it have their results.
    fn is_needed(&self) -> bool {
        let mut queue = lock(&self.queue);
        if queue.requested.waiting.is_empty() {
            // Set under the lock: the next poll starts a worker of its own.
            queue.worker = queue.worker.filter(|worker| *worker != self.id);
        }
        queue.worker == Some(self.id)
    }

    /// What is requested, unless another worker has taken over.
    fn next_round(&self) -> Option<Round> {
        let mut queue = lock(&self.queue);
        (queue.worker == Some(self.id)).then(|| {
            let round = std::mem::take(&mut queue.requested);
            round.trouble.end_wait();
            queue.requested.trouble.begin_wait(&round.trouble);
            round
        })
    }
}

impl Round {
    async fn serve(mut self, api: &Api) {
        let api = &api.telling(&self.trouble);
        let expected = std::mem::take(&mut self.expected);
        let mut others = std::mem::take(&mut self.others);
        others.retain(|status| !expected.contains(status));
        let mut sought: BTreeSet<_> = self.waiting.keys().copied().collect();
        for statuses in [expected, others] {
            if statuses.is_empty() {
                continue;
            }
            sought = match self.search(api, statuses, sought.clone()).await {
                Ok(missing) => missing,
                // If only the listing is refused, the provisions are read by their ids.
                Err(error) if is_about_the_listing(&error) => {
                    sought.retain(|id| self.waiting.contains_key(id));
                    break;
                }
                Err(error) => return self.fail(&error),
            };
        }
        // The next round does not wait for these.
        tokio::spawn(self.read_each(api.clone(), sought).in_current_span());
    }

    /// Searches the listing of those with one of `statuses`; returns what is not found, or is the only one left.
    async fn search(
        &mut self,
        api: &Api,
        statuses: Vec<ProvisionStatus>,
        mut sought: BTreeSet<ProvisionId>,
    ) -> Result<BTreeSet<ProvisionId>, Error> {
        let query = ListProvisionsQuery::default().status(statuses).count(PageSize::MAX);
        let mut missing = BTreeSet::new();
        while sought.len() > 1 {
            // Nothing is read for waiters that have given up.
            self.waiting.retain(|_, senders| senders.iter().any(|sender| !sender.is_closed()));
            sought.retain(|id| self.waiting.contains_key(id));
            let Some(&newest) = sought.last() else { break };
            // A saturated id is the last one that there can be.
            let cursor = Cursor::OlderThan(newest.as_i64().saturating_add(1));
            let page = api.list_provisions(query.clone().cursor(cursor)).await?.into_inner();
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
            let not_listed: BTreeSet<_> = sought.range((shown_to, Bound::Included(newest))).copied().collect();
            sought = &sought - &not_listed;
            missing.extend(not_listed);
        }
        missing.extend(sought);
        Ok(missing)
    }

    async fn read_each(mut self, api: Api, ids: BTreeSet<ProvisionId>) {
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
