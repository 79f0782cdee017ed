//! The operations on provisions that take more than one call.
//!
//! A request that must not be carried out twice is not repeated blindly: after a doubtful failure the outcome is checked
//! before the request is repeated or reported as failed. A process that takes time at bunq is returned as a [`Waiter`].
//! This module does not know how a call is made; [`Api`] does.

mod condition;
mod life_cycle;
mod list;
mod new_provision;
mod poller;
mod waiter;

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use self::condition::{Condition, is_new};
pub use self::life_cycle::WaitingFor;
pub use self::list::List;
pub(crate) use self::poller::Poller;
pub use self::waiter::{Acceptance, Waiter};
use crate::api::{Api, Response};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::transport::deadline::Deadline;
use crate::transport::retry::{self, Decision, Failure};
use crate::types::{
    CreateProvisionOutput, CreateProvisionRequest, Provision, ProvisionId, ProvisionStatus, RequestedStatus,
    UpdateProvisionRequest,
};

/// Creates, finds, closes and lists provisions, resets their tokens, and waits for them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Provisions {
    api: Api,
    poller: Poller,
}

impl Provisions {
    pub(crate) fn new(api: Api, poller: Poller) -> Self {
        Self { api, poller }
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
    /// After a doubtful failure, or if bunq refuses, it searches for a provision with the `external_uuid`. If there is one,
    /// that is the result, and [`acceptance`](Waiter::acceptance) shows it. The request is sent again only after a doubtful
    /// failure, and only if there is no such provision.
    ///
    /// It does not search before the first request. If the `external_uuid` may have been used, as after a doubtful error or
    /// a crash, search first:
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client, new: bunq_partner::NewProvision) -> Result<(), bunq_partner::Error> {
    /// let provisions = client.provisions();
    /// let creating = match provisions.find(new.external_uuid).await? {
    ///     Some(found) => provisions.wait_until_ready(found.id),
    ///     None => provisions.create(new).await?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown: use [`find`](Self::find)
    /// before you create with the same `external_uuid` again.
    /// [`Duplicate`](ErrorKind::Duplicate) if bunq has carried out more than one request.
    pub async fn create(&self, new: impl Into<CreateProvisionRequest>) -> Result<Waiter, Error> {
        let new = new.into();
        let external_uuid = *new.external_uuid();
        let deadline = self.api.deadline();
        let api = self.api.until(deadline);
        let mut requests = 0;
        let request = || {
            requests += 1;
            create(&api, &new)
        };
        let check =
            || async move { Ok(self.find_by(external_uuid, self.check_by(deadline)).await?.map(|found| found.id)) };
        let (id, acceptance) = self.request_until_known(&Operation::CREATE_PROVISION, deadline, request, check).await?;
        if requests > 1 && acceptance == Acceptance::Accepted {
            // An earlier request may have arrived since the check.
            match self.find_by(external_uuid, self.check_by(deadline)).await {
                Ok(Some(found)) if found.id != id => return Err(duplicate(external_uuid, &[found.id, id])),
                Err(error) if error.kind() == ErrorKind::Duplicate => return Err(error),
                Err(error) => tracing::warn!(%error, provision = id.get(), "whether it was created twice is not known"),
                Ok(_) => {}
            }
        }
        Ok(self.waiter(id, Condition::Ready, acceptance))
    }

    /// Reads a provision.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such provision.
    pub async fn get(&self, id: ProvisionId) -> Result<Provision, Error> {
        self.api.get_provision(id).await.map(Response::into_inner)
    }

    /// Searches for the provision that was created with this key. If there are several, it returns the one that is not
    /// closing, closed or failed, or else the newest.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](ErrorKind::Duplicate) if several are neither closing, closed nor failed.
    pub async fn find(&self, external_uuid: Uuid) -> Result<Option<Provision>, Error> {
        self.find_by(external_uuid, self.api.deadline()).await
    }

    /// Lists provisions, newest first: by the page, or as a stream.
    pub fn list(&self) -> List {
        List::new(self.api.clone())
    }

    /// Requests that a provision be closed, and returns the waiter for its closure.
    ///
    /// If the provision is closing or closed already, that is a success, and [`acceptance`](Waiter::acceptance) shows it.
    /// After a doubtful failure it reads the provision before it sends the request again or fails.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown. To close the provision again
    /// does no harm.
    pub async fn close(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let deadline = self.api.deadline();
        let api = self.api.until(deadline);
        let request = || update(&api, id, RequestedStatus::Cancelled);
        let check = || async move {
            let seen = self.api.until(self.check_by(deadline)).get_provision(id).await?;
            Ok(matches!(seen.status, ProvisionStatus::Cancelled | ProvisionStatus::Closed).then_some(()))
        };
        let ((), acceptance) = self.request_until_known(&Operation::UPDATE_PROVISION, deadline, request, check).await?;
        Ok(self.waiter(id, Condition::Closed, acceptance))
    }

    /// Requests another credential for a provision, and returns the waiter for it.
    ///
    /// The provision is read first, so that the new credential can be distinguished from the old one, which bunq shows for
    /// a while. After a doubtful failure the provision is read again; the request is never sent twice.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown. A second reset discards the credential of the first.
    pub async fn reset_token(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let deadline = self.api.deadline();
        let api = self.api.until(deadline);
        let old = api.get_provision(id).await.map_err(Error::before_sending)?.into_inner().credential;
        let acceptance = match update(&api, id, RequestedStatus::TokenResetRequested).await {
            Ok(()) => Acceptance::Accepted,
            Err(error) if error.is_doubtful() => {
                match self.api.until(self.check_by(deadline)).get_provision(id).await {
                    Ok(seen)
                        if seen.status == ProvisionStatus::TokenResetRequested
                            || seen.fresh_credential().is_some_and(|fresh| is_new(fresh, old.as_ref())) =>
                    {
                        Acceptance::Found
                    }
                    Ok(_) | Err(_) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        Ok(self.waiter(id, Condition::Reset { old }, acceptance))
    }

    /// Waits for a provision to be closed, without requesting it.
    pub fn wait_until_closed(&self, id: ProvisionId) -> Waiter {
        self.waiter(id, Condition::Closed, Acceptance::NotRequested)
    }

    /// Waits for a provision to have a credential that has not been used yet.
    pub fn wait_until_ready(&self, id: ProvisionId) -> Waiter {
        self.waiter(id, Condition::Ready, Acceptance::NotRequested)
    }

    fn waiter(&self, id: ProvisionId, condition: Condition, acceptance: Acceptance) -> Waiter {
        Waiter::new(self.poller.clone(), id, condition, acceptance)
    }

    /// Sends a request until its outcome is known.
    ///
    /// After a doubtful failure, or if bunq refuses, it checks whether the request is done. Then it sends the request
    /// again only after a doubtful failure, and only if the check has shown that it is not done.
    async fn request_until_known<T, R, C>(
        &self,
        operation: &Operation,
        deadline: Deadline,
        mut request: impl FnMut() -> R,
        mut check: impl FnMut() -> C,
    ) -> Result<(T, Acceptance), Error>
    where
        R: Future<Output = Result<T, Error>>,
        C: Future<Output = Result<Option<T>, Error>>,
    {
        let config = self.api.transport().config();
        let mut attempts = 0;
        let mut first_doubt: Option<Error> = None;
        loop {
            attempts += 1;
            let error = match request().await {
                Ok(done) => return Ok((done, Acceptance::Accepted)),
                Err(error) => error,
            };
            // The first request may still arrive later, so its doubt remains whatever the second one gets.
            let in_doubt = error.is_doubtful() || first_doubt.is_some();
            // bunq also refuses a request that has been carried out already.
            if !in_doubt && error.kind() != ErrorKind::Rejected {
                return Err(error);
            }
            let failure = Failure::after_check(&error, attempts);
            let error = first_doubt.take().unwrap_or(error);
            match check().await {
                Ok(Some(done)) => {
                    tracing::info!(operation = operation.id, in_doubt, "a request that failed was carried out");
                    return Ok((done, if in_doubt { Acceptance::Found } else { Acceptance::Already }));
                }
                Ok(None) if in_doubt => {}
                Err(duplicate) if duplicate.kind() == ErrorKind::Duplicate => return Err(duplicate),
                Ok(None) | Err(_) => return Err(error),
            }
            let left = deadline.left_to_send();
            match retry::decide(&failure, &config.retry, left, fastrand::f64()) {
                // The check has renewed a session that was rejected.
                Decision::Stop if failure.kind == ErrorKind::Unauthorized && attempts == 1 && !left.is_zero() => {}
                Decision::Stop => return Err(error),
                Decision::RetryAfter(pause) => sleep(pause).await,
            }
            first_doubt = Some(error);
        }
    }

    async fn find_by(&self, external_uuid: Uuid, deadline: Deadline) -> Result<Option<Provision>, Error> {
        let list = List::new(self.api.until(deadline)).external_uuid(external_uuid);
        let is_wanted = |provision: &Provision| provision.external_uuid == Some(external_uuid);
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = match cursor {
                Some(cursor) => list.page_at(cursor).await?,
                None => list.page().await?,
            };
            let (wanted, others): (Vec<_>, Vec<_>) = page.items.into_iter().partition(is_wanted);
            found.extend(wanted);
            if !others.is_empty() && found.is_empty() {
                let problem = "the list was filtered by one external_uuid and has others";
                return Err(Error::new(ErrorKind::InvalidResponse, Sent::Responded, problem));
            }
            cursor = page.older.filter(|_| others.is_empty());
            if cursor.is_none() {
                break;
            }
        }
        let is_left = |provision: &&Provision| {
            use ProvisionStatus::{Cancelled, Closed, Failed};
            !matches!(provision.status, Cancelled | Closed | Failed)
        };
        let left: Vec<_> = found.iter().filter(is_left).map(|provision| provision.id).collect();
        match left[..] {
            [] => Ok(found.into_iter().next()),
            [only] => Ok(found.into_iter().find(|provision| provision.id == only)),
            _ => Err(duplicate(external_uuid, &left)),
        }
    }

    /// By when a check is over. If the call has less time left, the check gets that of an attempt: to stay in doubt is
    /// worse than to be late.
    fn check_by(&self, deadline: Deadline) -> Deadline {
        deadline.with_time_for(self.api.transport().config().attempt_timeout)
    }
}

async fn create(api: &Api, new: &CreateProvisionRequest) -> Result<ProvisionId, Error> {
    api.create_provision(new).await?.try_map(|output| match output {
        CreateProvisionOutput::PartnerUserProvision(provision) => Ok(provision.id),
        CreateProvisionOutput::Id(id) => ProvisionId::try_from(id.id).map_err(|error| error.to_string()),
    })
}

async fn update(api: &Api, id: ProvisionId, status: RequestedStatus) -> Result<(), Error> {
    api.update_provision(id, &UpdateProvisionRequest::new(status)).await.map(drop)
}

fn duplicate(external_uuid: Uuid, ids: &[ProvisionId]) -> Error {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let ids = ids.join(", ");
    let problem =
        format_args!("bunq has several provisions with the external_uuid {external_uuid}: {ids}; close all but one");
    Error::new(ErrorKind::Duplicate, Sent::Responded, problem)
}
