//! The operations on provisions that take more than one call.
//!
//! Only this module repeats a request that must not be carried out twice, after it has checked what happened. A process that
//! takes time at bunq is returned as a [`Waiter`]. This module does not know how a call is made; [`Api`] does.

mod condition;
mod existing;
mod life_cycle;
mod list;
mod new_provision;
mod preview;
mod resource;
mod search;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use self::condition::{Goal, is_new};
pub(crate) use self::existing::{Existing, Shown};
pub use self::life_cycle::WaitingFor;
pub use self::list::List;
pub(crate) use self::search::choose;
use crate::api::Api;
use crate::error::Error;
use crate::feed::{Acceptance, Feed, Waiter};
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled, VerbConfig};
use crate::transport::call_budget::CallBudget;
use crate::transport::health::Health;
use crate::transport::shutdown::{Gate, Shutdown};
use crate::types::{
    CreateProvisionOutput, CreateProvisionRequest, Phase, Provision, ProvisionId, RequestedStatus, Timestamp,
    UpdateProvisionRequest,
};

/// How provisions are waited and searched for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProvisionsConfig {
    pub(crate) poll_interval: Duration,
    pub(crate) late_arrival: Duration,
    /// The share of the rate limit that nudges may take.
    pub(crate) nudge_share: f64,
}

impl ProvisionsConfig {
    /// The times of the checks of every verb.
    pub(crate) fn of_verbs(&self) -> VerbConfig {
        let Self { poll_interval, late_arrival, .. } = *self;
        VerbConfig { poll_interval, late_arrival }
    }
}

impl Default for ProvisionsConfig {
    fn default() -> Self {
        Self { poll_interval: Duration::from_secs(2), late_arrival: Duration::from_secs(10), nudge_share: 0.5 }
    }
}

/// Creates, finds, closes and lists provisions, resets their tokens, and waits for them. Cheap to clone.
///
/// # Cancellation
///
/// Web frameworks drop the future of a handler when the caller hangs up. Dropping the future of a verb sends nothing more,
/// but bunq may carry out what was sent. After it:
///
/// - [`create`](Self::create): call [`ensure`](Self::ensure) with the same request. It adopts the provision if there is
///   one. A request that is dropped right after it was sent may arrive later, so do not call it at once;
/// - [`close`](Self::close): close the provision again, which does no harm;
/// - [`reset_token`](Self::reset_token): read the provision when the request cannot
///   [arrive any more](crate::ClientBuilder::late_arrival). [Wait](Self::wait_until_ready) for it if its status is
///   `TOKEN_RESET_REQUESTED` or its credential is another one, or else reset it again;
/// - the others change nothing at bunq.
///
/// To keep a verb going whatever becomes of its caller, run it in a task of its own (`tokio::spawn`).
#[derive(Debug, Clone)]
pub struct Provisions {
    api: Api,
    feed: Feed,
    config: ProvisionsConfig,
}

impl Provisions {
    pub(crate) fn new(api: Api, feed: Feed, config: ProvisionsConfig) -> Self {
        Self { api, feed, config }
    }

    /// The same operations, whose requests pass this gate.
    pub(crate) fn through(&self, gate: &Gate) -> Self {
        let api = self.api.through(gate);
        Self { feed: self.feed.over(api.clone()), api, config: self.config }
    }

    /// A gate for a part of the client's work.
    pub(crate) fn gate(&self, shutdown: &Shutdown) -> Gate {
        self.api.transport().gate().of_part(shutdown)
    }

    pub(crate) fn config(&self) -> &ProvisionsConfig {
        &self.config
    }

    /// The bank, and the fingerprint of the key with which it is called.
    pub(crate) fn scope(&self) -> (&str, &str) {
        let transport = self.api.transport();
        (transport.base_url(), transport.api_key_fingerprint())
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        self.api.transport().health()
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`]. A [`Waiter`] has a timeout
    /// of its own.
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Requests a new user, and returns the waiter for the user's credential.
    ///
    /// If the request fails, it searches for a provision with the `external_uuid`. If there is one, that is the result,
    /// and [`acceptance`](Waiter::acceptance) shows it. The request is sent again only if there is none. After a doubtful
    /// failure the first one may still be on its way, so it searches
    /// [for a while](crate::ClientBuilder::late_arrival) before that; and the waiter searches once more before it says
    /// that the provision is ready, and ends with [`Duplicate`](crate::ErrorKind::Duplicate) if there are two.
    ///
    /// A provision that is found may have another e-mail address and another phone number than this request:
    /// [bunq does not show them](Acceptance::Already). Person or company, products and country are compared once bunq shows them.
    ///
    /// It does not search before the first request. [`ensure`](Self::ensure) does: use it if the `external_uuid` may have
    /// been used, as after a doubtful error or a crash.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown: use
    /// [`ensure`](Self::ensure) to create with the same `external_uuid` again, after some seconds.
    /// [`Duplicate`](crate::ErrorKind::Duplicate) if bunq has carried out more than one request.
    /// [`Unattainable`](crate::ErrorKind::Unattainable) if the provision that is found is closing, closed or has failed, or is not
    /// what is requested.
    pub async fn create(&self, new: impl Into<CreateProvisionRequest>) -> Result<Waiter, Error> {
        let mut in_flight = InFlight::NONE;
        self.create_after(new.into(), &mut in_flight).await
    }

    /// Returns the waiter for the credential of the user with this `external_uuid`: of the provision that there is, or of
    /// one that is [created](Self::create).
    ///
    /// A request that was sent before, and whose outcome is in doubt, may still be on its way: wait for some seconds before
    /// you call this. The waiter searches once more before it says that the provision is ready, and ends with
    /// [`Duplicate`](crate::ErrorKind::Duplicate) if there are two.
    ///
    /// A provision that is found is compared with the request as in [`create`](Self::create). Its waiter ends at once
    /// with [`Unattainable`](crate::ErrorKind::Unattainable) if its credential is in use already, or has expired.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client, new: bunq_partner::NewProvision) -> Result<(), bunq_partner::Error> {
    /// // After a crash, when it is not known whether the user was created.
    /// let ready = client.provisions().ensure(new).await?.await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn ensure(&self, new: impl Into<CreateProvisionRequest>) -> Result<Waiter, Error> {
        self.create_after(new.into(), &mut InFlight::until(Instant::now())).await
    }

    /// Creates a user for whom these requests were sent before: if there are any, it searches first. Those whose outcome is in
    /// doubt are added.
    pub(crate) async fn create_after(
        &self,
        new: CreateProvisionRequest,
        in_flight: &mut InFlight,
    ) -> Result<Waiter, Error> {
        let budget = self.api.budget();
        let found = match in_flight.is_any() {
            true => self.find_going(&new, budget).await.map_err(Error::before_sending)?,
            false => None,
        };
        if let Some(found) = found {
            let waiter = self.waiter(found.id, Goal::Ready, Acceptance::Already);
            return Ok(waiter.of_creation(found.created, &new, *in_flight));
        }
        let (api, new) = (self.api.until(budget), &new);
        let check = || async {
            let found = self.find_going(new, self.api.check_by(budget)).await?;
            Ok(found.map(|found| (found.id, found.created, None)))
        };
        let reconcile =
            self.reconcile(&Operation::CREATE_PROVISION, budget, InDoubt::RepeatAfterLateArrival, in_flight);
        let Reconciled { done, acceptance, earlier } =
            reconcile.until_known(|reuse| create(api.over(reuse), new), check).await?;
        let (id, created, response_id) = done;
        let waiter = self.waiter(id, Goal::Ready, acceptance).accepted_in(response_id);
        Ok(waiter.of_creation(created, new, earlier))
    }

    /// Reads a provision.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such provision.
    pub async fn get(&self, id: ProvisionId) -> Result<Provision, Error> {
        self.reads(self.api.clone()).read(id).await
    }

    /// Searches for the provision that was created with this key. If there are several, it returns the one that is not
    /// closing, closed or failed, or else the newest.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](crate::ErrorKind::Duplicate) if several are neither closing, closed nor failed.
    pub async fn find(&self, external_uuid: Uuid) -> Result<Option<Provision>, Error> {
        search::find(self.reads(self.api.until(self.api.budget())), external_uuid).await
    }

    /// Lists provisions, newest first: by the page, or as a stream.
    pub fn list(&self) -> List {
        List::new(self.reads(self.api.clone()))
    }

    /// Returns the feed of provisions, which tells their changes, and reads one at once when you hear of it from elsewhere.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Requests that a provision be closed, and returns the waiter for its closure.
    ///
    /// If the provision is closing or closed already, that is a success, and [`acceptance`](Waiter::acceptance) shows it.
    /// If the request fails, it reads the provision before it sends the request again or fails. If one may still be on its
    /// way, it reads it [for a while](crate::ClientBuilder::late_arrival) before it fails.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown. To close the provision again
    /// does no harm.
    pub async fn close(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let mut in_flight = InFlight::NONE;
        self.close_after(id, &mut in_flight).await
    }

    /// Closes a provision for which these requests were sent before. Those whose outcome is in doubt are added.
    pub(crate) async fn close_after(&self, id: ProvisionId, in_flight: &mut InFlight) -> Result<Waiter, Error> {
        let budget = self.api.budget();
        let api = self.api.until(budget);
        let check = || async move {
            let seen = self.reads(self.api.until(self.api.check_by(budget))).read(id).await?;
            Ok(seen.status.is_closing_or_closed().then_some(None))
        };
        let reconcile = self.reconcile(&Operation::UPDATE_PROVISION, budget, InDoubt::Repeat, in_flight);
        let Reconciled { done: response_id, acceptance, .. } =
            reconcile.until_known(|reuse| update(api.over(reuse), id, RequestedStatus::Cancelled), check).await?;
        Ok(self.waiter(id, Goal::Closed, acceptance).accepted_in(response_id))
    }

    /// Requests another credential for a provision, and returns the waiter for it.
    ///
    /// The provision is read first, so that the new credential can be distinguished from the old one, which bunq shows for
    /// a while. If the request fails, the provision is read again, [for a while](crate::ClientBuilder::late_arrival) if the
    /// request may still arrive. The request is sent again only if bunq itself has
    /// refused it and no reset is in progress, and never after a doubtful failure, because each reset discards a
    /// credential.
    ///
    /// Each call begins anew: it does not know that one before it was sent, whose future was dropped, that has failed in doubt, or that
    /// a crash has ended. That one may arrive later, and then discards the credential that this one gets. Call this after
    /// [as long as that may take](crate::ClientBuilder::late_arrival), and only if bunq still shows the old credential.
    /// [`Users::reset`](crate::Users::reset) does so by itself.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown.
    pub async fn reset_token(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let budget = self.api.budget();
        let api = self.api.until(budget);
        let old = self.reads(api.clone()).read(id).await.map_err(Error::before_sending)?.credential;
        let old = old.as_ref();
        let check = || async move {
            let seen = self.reads(self.api.until(self.api.check_by(budget))).read(id).await?;
            let is_reset =
                seen.status.phase() == Phase::Reset || seen.fresh_credential().is_some_and(|fresh| is_new(fresh, old));
            Ok(is_reset.then_some(None))
        };
        let mut in_flight = InFlight::NONE;
        let reconcile = self.reconcile(&Operation::UPDATE_PROVISION, budget, InDoubt::Stop, &mut in_flight);
        let Reconciled { done: response_id, acceptance, .. } = reconcile
            .until_known(|reuse| update(api.over(reuse), id, RequestedStatus::TokenResetRequested), check)
            .await?;
        Ok(self.waiter(id, Goal::Reset { old: old.cloned() }, acceptance).accepted_in(response_id))
    }

    /// Waits for a provision to be closed, without requesting it.
    pub fn wait_until_closed(&self, id: ProvisionId) -> Waiter {
        self.waiter(id, Goal::Closed, Acceptance::NotRequested)
    }

    /// Waits for a provision to have a credential that has not been used yet.
    pub fn wait_until_ready(&self, id: ProvisionId) -> Waiter {
        self.waiter(id, Goal::Ready, Acceptance::NotRequested)
    }

    fn waiter(&self, id: ProvisionId, goal: Goal, acceptance: Acceptance) -> Waiter {
        Waiter::new(self.feed.clone(), id, goal.into(), acceptance, self.config.poll_interval)
    }

    fn reconcile<'a>(
        &self,
        operation: &Operation,
        budget: CallBudget,
        in_doubt: InDoubt,
        in_flight: &'a mut InFlight,
    ) -> Reconcile<'a> {
        let transport = self.api.transport();
        let ProvisionsConfig { poll_interval, late_arrival, .. } = self.config;
        Reconcile { policy: transport.policy(operation), budget, poll_interval, late_arrival, in_doubt, in_flight }
    }

    /// The provision that can be taken for the one that is requested, if there is one with its key.
    async fn find_going(&self, new: &CreateProvisionRequest, budget: CallBudget) -> Result<Option<Existing>, Error> {
        let Some(found) = search::find(self.reads(self.api.until(budget)), *new.external_uuid()).await? else {
            return Ok(None);
        };
        let existing = Existing::from(&found);
        match existing.check(new) {
            Ok(()) => Ok(Some(existing)),
            Err(error) => Err(error.with_last_seen(Arc::new(found))),
        }
    }

    /// All provisions with this key.
    pub(crate) async fn existing(&self, external_uuid: Uuid) -> Result<Vec<Existing>, Error> {
        let found = search::all(self.reads(self.api.until(self.api.budget())), external_uuid).await?;
        Ok(found.iter().map(Existing::from).collect())
    }

    /// The feed, which learns what these methods read.
    fn reads(&self, api: Api) -> Feed {
        self.feed.over(api)
    }
}

/// Returns bunq's id of the response too, and no time of creation, because the provision is new.
async fn create(
    api: Api,
    new: &CreateProvisionRequest,
) -> Result<(ProvisionId, Option<Timestamp>, Option<String>), Error> {
    let response = api.create_provision(new).await?;
    let response_id = response.response_id().map(str::to_owned);
    let id = match response.into_inner() {
        CreateProvisionOutput::PartnerUserProvision(provision) => provision.id,
        CreateProvisionOutput::Id(id) => id,
    };
    Ok((id, None, response_id))
}

/// Returns bunq's id of the response.
async fn update(api: Api, id: ProvisionId, status: RequestedStatus) -> Result<Option<String>, Error> {
    let response = api.update_provision(id, &UpdateProvisionRequest::new(status)).await?;
    Ok(response.response_id().map(str::to_owned))
}
