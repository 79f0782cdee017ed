//! Calls that bunq could not deliver: listed, and delivered again.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{Stream, TryStreamExt as _};
use reqwest::Url;

use super::Notifications;
use super::change::parsed;
use crate::error::{Error, ErrorKind};
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled, VerbConfig};
use crate::sync::lock;
use crate::transport::call_budget::CallBudget;
use crate::types::{
    Cursor, ListNotificationFilterFailuresQuery, NotificationFilterFailedIds, NotificationFilterFailure,
    NotificationFilterFailureId, NotificationTarget, PageSize, RetryNotificationFilterFailuresRequest,
};

const RETRY: &Operation = &Operation::RETRY_NOTIFICATION_FILTER_FAILURES;

/// How many failures one request may have.
const BATCH: usize = 100;

/// What came of [`Notifications::retry`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetriedFailures {
    /// The failures that bunq delivers again.
    pub requested: Vec<NotificationFilterFailureId>,
    /// Those that bunq does not have any more: they were delivered before.
    pub gone: Vec<NotificationFilterFailureId>,
}

impl RetriedFailures {
    fn add(&mut self, more: Self) {
        self.requested.extend(more.requested);
        self.gone.extend(more.gone);
    }
}

type Ids = BTreeSet<NotificationFilterFailureId>;

/// What bunq has of a batch that was sent.
struct Batch {
    outcome: Result<Acceptance, Error>,
    /// The failures that the last look has shown.
    left: Ids,
}

impl Notifications {
    /// Streams the calls that bunq has tried to deliver in vain, newest first, page by page: with a partner's client those of all its
    /// users, and those to any URL.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`]. An error ends the stream.
    pub fn failures(&self) -> impl Stream<Item = Result<NotificationFilterFailure, Error>> + Send + 'static + use<> {
        let query = ListNotificationFilterFailuresQuery::default().count(PageSize::MAX);
        self.api.list_notification_filter_failures_stream(None, query)
    }

    /// Asks bunq to deliver these calls again, a hundred with each request, from the oldest on. They may be of any receiver: see
    /// [`retry_target`](Self::retry_target).
    ///
    /// After a failure in doubt it reads [for a while](crate::ClientBuilder::late_arrival), and asks again for those that are still
    /// there. So a call may be delivered twice, and none is passed over.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`]. The error has what was done before it: `error.last_seen::<RetriedFailures>()`.
    pub async fn retry(
        &self,
        ids: impl IntoIterator<Item = NotificationFilterFailureId>,
    ) -> Result<RetriedFailures, Error> {
        let (ids, mut retried) = (ids.into_iter().collect::<Ids>(), RetriedFailures::default());
        let ids: Vec<_> = ids.into_iter().collect();
        for batch in ids.chunks(BATCH) {
            self.retry_batch(batch, &mut retried).await?;
        }
        Ok(retried)
    }

    /// Asks bunq to deliver again what it could not deliver to this URL. The failures of other receivers are left alone. A URL in another
    /// spelling, as of the host in capitals, is the same.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry), and [`InvalidInput`](ErrorKind::InvalidInput) if it is no URL.
    pub async fn retry_target(&self, url: &NotificationTarget) -> Result<RetriedFailures, Error> {
        let (url, mut retried) = (parsed(url)?, RetriedFailures::default());
        let is_to = |failure: &NotificationFilterFailure| {
            let target = failure.notification_target.as_ref();
            target.is_some_and(|target| Url::parse(target.as_str()).is_ok_and(|target| target == url))
        };
        let (mut failures, mut batch) = (pin!(self.failures()), Vec::new());
        loop {
            let next = failures.try_next().await.map_err(|error| error.with_last_seen(Arc::new(retried.clone())))?;
            let is_last = next.is_none();
            batch.extend(next.filter(|failure| is_to(failure)).map(|failure| failure.id));
            if batch.len() == BATCH || is_last {
                self.retry_batch(&batch, &mut retried).await?;
                batch.clear();
            }
            if is_last {
                return Ok(retried);
            }
        }
    }

    /// Asks for at most a hundred. bunq refuses all of them if it does not have one any more.
    async fn retry_batch(
        &self,
        batch: &[NotificationFilterFailureId],
        retried: &mut RetriedFailures,
    ) -> Result<(), Error> {
        let (budget, mut asked) = (self.api.budget(), batch.iter().copied().collect::<Ids>());
        while !asked.is_empty() {
            let Batch { outcome, left } = self.send_batch(asked.clone(), budget).await;
            let gone = asked.difference(&left).copied().collect();
            match outcome {
                Ok(Acceptance::Already) => {
                    let gone = asked.into_iter().collect();
                    retried.add(RetriedFailures { gone, ..RetriedFailures::default() });
                    return Ok(());
                }
                Ok(_) => {
                    let requested = asked.into_iter().collect();
                    retried.add(RetriedFailures { requested, ..RetriedFailures::default() });
                    return Ok(());
                }
                Err(error)
                    if error.kind() == ErrorKind::NotFound && !error.is_doubtful() && left.len() < asked.len() =>
                {
                    retried.add(RetriedFailures { gone, ..RetriedFailures::default() });
                    asked = left;
                }
                Err(error) => return Err(error.with_last_seen(Arc::new(retried.clone()))),
            }
        }
        Ok(())
    }

    /// Sends a request until its outcome is known. It has the failures that the last look has shown.
    async fn send_batch(&self, asked: Ids, budget: CallBudget) -> Batch {
        let (api, left) = (self.api.until(budget), Mutex::new(asked.clone()));
        let send = |reuse| {
            let (api, ids) = (api.over(reuse), joined(&lock(&left)));
            async move {
                let request = RetryNotificationFilterFailuresRequest::new(ids?);
                api.retry_notification_filter_failures(None, &request).await.map(drop)
            }
        };
        let check = || async {
            let shown = self.still_there(&asked, self.api.check_by(budget)).await?;
            let is_done = shown.is_empty();
            *lock(&left) = shown;
            Ok(is_done.then_some(()))
        };
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let (policy, in_doubt) = (self.api.transport().policy(RETRY), InDoubt::RepeatAfterLateArrival);
        let mut in_flight = InFlight::NONE;
        let in_flight = &mut in_flight;
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let outcome = reconcile.until_known(send, check).await.map(|Reconciled { acceptance, .. }| acceptance);
        let left = lock(&left).clone();
        Batch { outcome, left }
    }

    /// Which of these failures bunq still lists. It reads the pages from the newest of them to the oldest.
    async fn still_there(&self, asked: &Ids, budget: CallBudget) -> Result<Ids, Error> {
        let (Some(oldest), Some(newest)) = (asked.first(), asked.last()) else { return Ok(Ids::new()) };
        let newest = i64::try_from(newest.get()).unwrap_or(i64::MAX);
        let query = ListNotificationFilterFailuresQuery::default().count(PageSize::MAX);
        let query = query.cursor(Cursor::older_than(newest.saturating_add(1)));
        let api = self.api.until(budget);
        let mut failures = pin!(api.list_notification_filter_failures_stream(None, query));
        let mut there = Ids::new();
        while let Some(failure) = failures.try_next().await? {
            if failure.id < *oldest {
                break;
            }
            if asked.contains(&failure.id) {
                there.insert(failure.id);
            }
        }
        Ok(there)
    }
}

fn joined(ids: &Ids) -> Result<NotificationFilterFailedIds, Error> {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    Ok(ids.join(",").parse()?)
}
