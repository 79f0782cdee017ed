//! Looks at provisions for all who wait, together.
//!
//! A look that is asked for joins the others that are waiting for their turn. One provision is read by its id; several
//! are looked for in pages of the list, newest first, and only what is not found there is read by its id. Each who
//! asked gets an answer of its own. What a look means is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::pages::{Cursor, List, PageSize};
use crate::pipeline::Pipeline;
use crate::provision_id::ProvisionId;
use crate::provisions::read;
use crate::types::{Provision, ProvisionStatus};

/// How long the first of a round waits for the others, whose timers run out at the same moment.
const GATHERING: Duration = Duration::from_millis(5);

type Answer = Result<Provision, Error>;

/// The looks of one client. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    pipeline: Arc<Pipeline>,
    queue: Arc<Mutex<Queue>>,
    /// What the rounds are counted from.
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    asked: Round,
    /// Somebody is at it, and will come back for what is asked meanwhile.
    is_served: bool,
}

/// Looks that are taken together.
#[derive(Debug, Default)]
struct Round {
    asking: BTreeMap<ProvisionId, Vec<oneshot::Sender<Answer>>>,
    /// Where the provisions may be found.
    statuses: Vec<ProvisionStatus>,
}

impl Looks {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, queue: Arc::default(), epoch: Instant::now() }
    }

    /// When the next round begins of those who look once in every `pause`.
    pub(crate) fn next_round(&self, pause: Duration) -> Instant {
        let now = Instant::now();
        let since = now.duration_since(self.epoch);
        let into_round = match pause.as_nanos() {
            0 => 0,
            pause => since.as_nanos() % pause,
        };
        // What is longer than the clock can tell is cut short; whoever waits has a deadline nearer than that.
        let left = pause.saturating_sub(Duration::from_nanos(u64::try_from(into_round).unwrap_or(u64::MAX)));
        now.checked_add(left).unwrap_or(now + Duration::from_secs(3600))
    }

    /// Looks at a provision, which has one of `statuses` if all goes as usual.
    pub(crate) async fn look(&self, id: ProvisionId, statuses: Vec<ProvisionStatus>) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let is_served = {
            let mut queue = lock(&self.queue);
            queue.asked.asking.entry(id).or_default().push(sender);
            for status in statuses {
                if !queue.asked.statuses.contains(&status) {
                    queue.asked.statuses.push(status);
                }
            }
            std::mem::replace(&mut queue.is_served, true)
        };
        if !is_served {
            let service = Service { queue: Arc::clone(&self.queue), is_over: false };
            tokio::spawn(service.run(Arc::clone(&self.pipeline)).in_current_span());
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::internal("the runtime that looked at the provision was shut down")))
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether bunq has answered the list itself in a way that will not pass.
fn is_about_the_list(error: &Error) -> bool {
    let is_answer = error.sent() == Sent::Answered && error.operation() == Some(&Operation::LIST_PROVISIONS);
    is_answer && matches!(error.kind(), ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::InvalidResponse)
}

/// Whoever is at it. If it is dropped before its end, as a runtime does that shuts down, those who wait are told, and
/// another can take over.
struct Service {
    queue: Arc<Mutex<Queue>>,
    is_over: bool,
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.is_over {
            let left = std::mem::take(&mut *lock(&self.queue));
            drop(left);
        }
    }
}

impl Service {
    async fn run(mut self, pipeline: Arc<Pipeline>) {
        while let Some(round) = self.next_round().await {
            round.serve(&pipeline).await;
        }
    }

    async fn next_round(&mut self) -> Option<Round> {
        sleep(GATHERING).await;
        let mut queue = lock(&self.queue);
        if queue.asked.asking.is_empty() {
            // Said under the lock: whoever asks from now on starts a service of its own.
            queue.is_served = false;
            self.is_over = true;
            return None;
        }
        Some(std::mem::take(&mut queue.asked))
    }
}

impl Round {
    async fn serve(mut self, pipeline: &Arc<Pipeline>) {
        let list = List::new(Arc::clone(pipeline)).status(std::mem::take(&mut self.statuses)).count(PageSize::MAX);
        let mut sought: BTreeSet<_> = self.asking.keys().copied().collect();
        let mut not_listed = Vec::new();
        while let Some(&newest) = sought.last() {
            if sought.len() == 1 {
                not_listed.extend(sought.pop_last());
                break;
            }
            let page = match list.page_at(Cursor::OlderThan(newest.next())).await {
                Ok(page) => page,
                // What the list will not do, the ids may; what stops any call is told to all.
                Err(error) if !is_about_the_list(&error) => return self.fail(&error),
                Err(_) => {
                    not_listed.extend(std::mem::take(&mut sought));
                    break;
                }
            };
            // Down to here the page shows whatever the list holds.
            let shown_to = match (page.older, page.provisions.last()) {
                (None, _) => Bound::Unbounded,
                (Some(_), Some(oldest)) => Bound::Included(oldest.id.min(newest)),
                (Some(_), None) => Bound::Included(newest),
            };
            for provision in page.provisions {
                sought.remove(&provision.id);
                self.answer(provision.id, &Ok(provision));
            }
            let missing: BTreeSet<_> = sought.range((shown_to, Bound::Included(newest))).copied().collect();
            sought = &sought - &missing;
            not_listed.extend(missing);
        }
        // Those who look meanwhile need not wait for these.
        tokio::spawn(self.read_each(Arc::clone(pipeline), not_listed).in_current_span());
    }

    async fn read_each(mut self, pipeline: Arc<Pipeline>, ids: Vec<ProvisionId>) {
        for id in ids {
            // Whoever has given up is not looked for.
            if self.asking.get(&id).is_some_and(|senders| senders.iter().any(|sender| !sender.is_closed())) {
                let answer = read(&pipeline, id).await;
                self.answer(id, &answer);
            }
        }
    }

    fn answer(&mut self, id: ProvisionId, answer: &Answer) {
        for sender in self.asking.remove(&id).into_iter().flatten() {
            // Whoever has given up does not hear it.
            let _ = sender.send(answer.clone());
        }
    }

    fn fail(self, error: &Error) {
        for sender in self.asking.into_values().flatten() {
            let _ = sender.send(Err(error.clone()));
        }
    }
}
