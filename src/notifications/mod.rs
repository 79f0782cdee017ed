//! Whom bunq tells of what: the notification filters of the partner and of its users, the calls that could not be delivered,
//! and the certificates that bunq accepts from targets.
//!
//! bunq replaces all filters of a user at once. So a change is read, merged and written, and done when a later look shows it.

mod certificates;
mod change;
mod failures;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::certificates::{PinnedChain, Rotation};
use self::change::{FilterChange, Wanted, listed};
pub use self::failures::RetriedFailures;
use crate::api::Api;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled, Requests, VerbConfig};
use crate::sync::lock;
use crate::transport::call_budget::CallBudget;
use crate::types::{NotificationCategory, NotificationFilter, NotificationTarget, ReplaceNotificationFiltersRequest};

/// How often a change is written that others undo.
const ROUNDS: u32 = 3;

/// The notification filters of one user: which events bunq reports, and to which URL; the calls that bunq could not deliver, and the
/// certificates that it accepts from targets. Cheap to clone.
///
/// The filters for provisions are the partner's: [`Client::notifications`](crate::Client::notifications). Those for onboarding and inquiries
/// are each user's own: [`UserClient::notifications`](crate::UserClient::notifications).
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::types::NotificationCategory;
///
/// let (category, url) = (NotificationCategory::PartnerUserProvision, "https://partner.example.com/bunq".parse()?);
/// let ensured = client.notifications().ensure(category, url).await?;
/// println!("{}: {:?}", ensured.filter.category, ensured.acceptance);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Notifications {
    api: Api,
    config: VerbConfig,
    environment: Environment,
    changes: NotificationChanges,
}

/// What there is after [`Notifications::ensure`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EnsuredFilter {
    /// The filter as bunq shows it.
    pub filter: NotificationFilter,
    /// Whether it was there [`Already`](Acceptance::Already), or was set.
    pub acceptance: Acceptance,
    /// Whether this crate can read what such calls are about, so that they can be confirmed: provisions, onboarding and inquiries. No
    /// operation reads what calls of other categories are about.
    pub is_confirmable: bool,
}

/// Held by the one that changes the filters of a user, or its pinned certificates: the requests that may still arrive. All
/// [`Notifications`] of a user share them.
#[derive(Debug, Default, Clone)]
pub(crate) struct NotificationChanges {
    filters: Arc<tokio::sync::Mutex<InFlight>>,
    pins: Arc<tokio::sync::Mutex<InFlight>>,
}

impl Notifications {
    pub(crate) fn new(api: Api, config: VerbConfig, environment: Environment, changes: NotificationChanges) -> Self {
        Self { api, config, environment, changes }
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`].
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Reads all filters, also those that others have set.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    pub async fn list(&self) -> Result<Vec<NotificationFilter>, Error> {
        self.read(self.api.budget()).await
    }

    /// Refuses what [`ensure`](Self::ensure) refuses before it reads anything, for programs that ask somebody first.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput): the URL has credentials, or is plain HTTP and not loopback in bunq's sandbox environment;
    /// bunq has no such category, or has it for the partner, or for users, alone.
    pub fn check(&self, category: &NotificationCategory, url: &NotificationTarget) -> Result<(), Error> {
        change::check_category(&change::as_known(category.clone()), self.api.transport().role())?;
        change::check_url(url, self.environment)
    }

    /// Sees to it that bunq calls this URL when something of the category happens. The other filters stay as they are, with all members and
    /// categories that this version does not know. A URL in another spelling, as of the host in capitals, is the same.
    ///
    /// bunq can only replace all filters at once. So this reads them, adds the filter, writes them, and reads again a
    /// [poll interval](crate::ClientBuilder::poll_interval) later. If that does not show the filter, because somebody else has replaced the
    /// filters meanwhile, it is merged with what is there now, and written again, three times at most. After a failure in doubt it reads [for a
    /// while](crate::ClientBuilder::late_arrival) before it writes again.
    ///
    /// Concurrent calls of this client and its clones change the filters of a user one after the other. Two processes do not know of each
    /// other. If both write at the same time, the later request may undo the earlier one after the earlier call has seen its filter: call this
    /// again in each, one after the other. After a crash, a request of the process that has ended may still be on its way: wait for some
    /// seconds before you call this again.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput), before anything is written: the URL has credentials, or is plain HTTP and not loopback in
    /// bunq's sandbox environment; bunq has no such category, or has it for the partner, or for users, alone; the category has two other
    /// targets. That error has the filters.
    /// [`Unattainable`](ErrorKind::Unattainable) if the filter is not there after three rounds: `error.last_seen::<Vec<NotificationFilter>>()`
    /// has the filters that are.
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of a request is unknown. To call this again does no harm.
    pub async fn ensure(
        &self,
        category: NotificationCategory,
        url: NotificationTarget,
    ) -> Result<EnsuredFilter, Error> {
        self.check(&category, &url)?;
        let category = change::as_known(category);
        let is_confirmable = change::is_confirmable(&category);
        let change = FilterChange::new(category, url, Wanted::There)?;
        let (filters, acceptance) = self.make(&change).await?;
        let filter = filters.into_iter().find(|filter| change.is_about(filter));
        let filter = filter.ok_or_else(|| Error::internal("a filter was seen that is not there"))?;
        Ok(EnsuredFilter { filter, acceptance, is_confirmable })
    }

    /// Sees to it that bunq does not call this URL any more when something of the category happens. The other filters stay. It works as
    /// [`ensure`](Self::ensure) does.
    ///
    /// # Errors
    ///
    /// Those of `ensure`, but any category and any URL can be removed.
    pub async fn remove(&self, category: NotificationCategory, url: NotificationTarget) -> Result<Acceptance, Error> {
        let change = FilterChange::new(change::as_known(category), url, Wanted::Gone)?;
        Ok(self.make(&change).await?.1)
    }

    /// Makes a change, and returns the filters that a look has shown with it.
    async fn make(&self, change: &FilterChange) -> Result<(Vec<NotificationFilter>, Acceptance), Error> {
        let budget = self.api.budget();
        let problem = "another call changes the notification filters, and that takes too long";
        let mut in_flight = budget.lock(&self.changes.filters, problem).await?;
        in_flight.over_within(budget).await?;
        *in_flight = InFlight::NONE;
        let mut seen = self.read(budget).await.map_err(Error::before_sending)?;
        if change.is_made(&seen) {
            return Ok((seen, Acceptance::Already));
        }
        for _ in 0..ROUNDS {
            let written = self.write(change, seen, budget, &mut in_flight).await?;
            seen = self.look(change, &written, budget).await?;
            if change.is_made(&seen) {
                return Ok((seen, written.acceptance));
            }
        }
        let problem = format_args!(
            "bunq has taken {change} {ROUNDS} times, and shows other filters each time: {}; see who else replaces them, and try again",
            listed(&seen)
        );
        Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem).with_last_seen(Arc::new(seen)))
    }

    /// Writes the filters with the change until the outcome is known. What is sent is made of the last read each time.
    async fn write(
        &self,
        change: &FilterChange,
        seen: Vec<NotificationFilter>,
        budget: CallBudget,
        in_flight: &mut InFlight,
    ) -> Result<Written, Error> {
        let (api, seen) = (self.api.until(budget), Mutex::new(seen));
        let send = |reuse| {
            let (api, merged) = (api.over(reuse), change.merged(&lock(&seen)));
            async move {
                let request = ReplaceNotificationFiltersRequest::new(merged?);
                Ok(api.replace_notification_filters(&request).await?.into_inner())
            }
        };
        let check = || async {
            let read = self.read(self.api.check_by(budget)).await?;
            let made = change.is_made(&read).then(Vec::new);
            *lock(&seen) = read;
            Ok(made)
        };
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let policy = self.api.transport().policy(&Operation::REPLACE_NOTIFICATION_FILTERS);
        let mut requests = Requests::new(in_flight, late_arrival);
        let (in_doubt, in_flight) = (InDoubt::RepeatAfterLateArrival, requests.in_flight());
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let outcome = reconcile.until_known(send, check).await;
        if let Ok(Reconciled { earlier, .. }) = &outcome {
            *requests.in_flight() = *earlier;
        }
        // It has added those that are in doubt.
        requests.are_known();
        let Reconciled { done: answered, acceptance, .. } = outcome?;
        // One source says that the response is an `Id`, which shows no filter.
        let is_contradicted = !answered.is_empty() && !change.is_made(&answered);
        let before = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Written { before, acceptance, is_contradicted })
    }

    /// Reads the filters a moment after they were written. While they are as before, bunq may not show yet what it has taken.
    async fn look(
        &self,
        change: &FilterChange,
        written: &Written,
        budget: CallBudget,
    ) -> Result<Vec<NotificationFilter>, Error> {
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let until = Instant::now() + late_arrival.min(budget.left());
        loop {
            sleep(poll_interval.min(until.saturating_duration_since(Instant::now()))).await;
            let began = Instant::now();
            let read = self.read(self.api.check_by(budget)).await;
            let seen = read
                .map_err(|error| error.with_advice("bunq has taken the filters, and they could not be read again"))?;
            let is_as_before = seen == written.before && !written.is_contradicted;
            if change.is_made(&seen) || !is_as_before || began >= until {
                return Ok(seen);
            }
        }
    }

    async fn read(&self, budget: CallBudget) -> Result<Vec<NotificationFilter>, Error> {
        Ok(self.api.until(budget).list_notification_filters().await?.into_inner())
    }
}

/// Filters that bunq has taken.
struct Written {
    /// Those that the last read before it has shown.
    before: Vec<NotificationFilter>,
    acceptance: Acceptance,
    /// Whether bunq's response shows that the change is not made.
    is_contradicted: bool,
}
