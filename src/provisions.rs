//! The verbs on provisions.
//!
//! What must not happen twice, and what must be known for certain, is decided here: after a failure in doubt a verb
//! looks what has become of its request before it says or repeats anything. What takes longer is handed back as a
//! [`Waiter`]. How a call travels is not known here.

use std::sync::Arc;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::call::{Answer, call};
use crate::error::{Error, ErrorKind, Sent};
use crate::looks::Looks;
use crate::operation::Operation;
use crate::pages::List;
use crate::pipeline::Pipeline;
use crate::provision_id::ProvisionId;
use crate::retry::{self, Decision, Failure};
use crate::types::{
    CreateProvisionRequest, IdResponse, Provision, ProvisionResponse, ProvisionStatus, RequestedStatus,
    UpdateProvisionRequest,
};
use crate::wait::{Acceptance, Goal, Waiter, is_new};

/// The verbs on provisions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Provisions {
    pipeline: Arc<Pipeline>,
    looks: Looks,
}

impl Provisions {
    pub(crate) fn new(pipeline: Arc<Pipeline>, looks: Looks) -> Self {
        Self { pipeline, looks }
    }

    /// Asks bunq to create a user, and gives the waiter for when the user's credential is there.
    ///
    /// After a failure in doubt, or where bunq refuses, it looks the `external_uuid` up and takes what it finds for its
    /// own, and [says so](Waiter::acceptance). It asks again only after a failure in doubt, and only if there is nothing.
    ///
    /// It begins with asking. Whoever is not sure that the `external_uuid` is new, as after an error in doubt or a
    /// crash, looks first:
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
    /// As any call. Where the error [is doubtful](Error::is_doubtful), it could not be found out what has become of the
    /// request: [look](Self::find) before you create with the same `external_uuid` again.
    /// [`Duplicate`](ErrorKind::Duplicate) if bunq has carried out more than one request.
    pub async fn create(&self, new: impl Into<CreateProvisionRequest>) -> Result<Waiter, Error> {
        let new = new.into();
        let external_uuid = match &new {
            CreateProvisionRequest::Contact(new) => new.external_uuid,
            CreateProvisionRequest::Pointer(new) => new.external_uuid,
        };
        let deadline = self.pipeline.deadline();
        let mut asked = 0;
        let ask = || {
            asked += 1;
            self.try_to_create(&new, external_uuid, deadline)
        };
        let look =
            || async move { Ok(self.find_by(external_uuid, self.look_by(deadline)).await?.map(|found| found.id)) };
        let (id, acceptance) = self.ask_until_known(&Operation::CREATE_PROVISION, deadline, ask, look).await?;
        if asked > 1 && acceptance == Acceptance::Answered {
            // The request before it may have arrived since the look.
            match self.find_by(external_uuid, self.look_by(deadline)).await {
                Ok(Some(found)) if found.id != id => return Err(duplicate(external_uuid, &[found.id, id])),
                Err(error) if error.kind() == ErrorKind::Duplicate => return Err(error),
                Err(error) => tracing::warn!(%error, provision = id.get(), "whether it was created twice is not known"),
                Ok(_) => {}
            }
        }
        Ok(self.waiter(id, Goal::Ready, acceptance))
    }

    /// Reads a provision.
    ///
    /// # Errors
    ///
    /// As any call; [`NotFound`](ErrorKind::NotFound) if there is no such provision.
    pub async fn get(&self, id: ProvisionId) -> Result<Provision, Error> {
        read(&self.pipeline, id).await
    }

    /// Looks for the provision that was created with this key; of several the one that has not been closed or failed,
    /// or the newest if none is left.
    ///
    /// # Errors
    ///
    /// As any call; [`Duplicate`](ErrorKind::Duplicate) if more than one is left.
    pub async fn find(&self, external_uuid: Uuid) -> Result<Option<Provision>, Error> {
        self.find_by(external_uuid, self.pipeline.deadline()).await
    }

    /// Asks for provisions, newest first: by the page, or as a stream.
    pub fn list(&self) -> List {
        List::new(Arc::clone(&self.pipeline))
    }

    /// Asks bunq to close a provision, and gives the waiter for when it is closed.
    ///
    /// To close what is being closed or has been is a success, and [said so](Waiter::acceptance). After a failure in
    /// doubt it looks at the provision before it asks again or says that it failed.
    ///
    /// # Errors
    ///
    /// As any call. Where the error [is doubtful](Error::is_doubtful), it could not be found out what has become of the
    /// request; to close it again does no harm.
    pub async fn close(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let deadline = self.pipeline.deadline();
        let ask = || self.update(id, RequestedStatus::Cancelled, deadline);
        let look = || async move {
            let seen = read_by(&self.pipeline, id, self.look_by(deadline)).await?.status;
            Ok(matches!(seen, ProvisionStatus::Cancelled | ProvisionStatus::Closed).then_some(()))
        };
        let ((), acceptance) = self.ask_until_known(&Operation::UPDATE_PROVISION, deadline, ask, look).await?;
        Ok(self.waiter(id, Goal::Closed, acceptance))
    }

    /// Asks bunq to replace a provision's credential, and gives the waiter for when the new one is there.
    ///
    /// The provision is read first, so that the new credential can be told from the old one, which bunq goes on
    /// showing for a while. After a failure in doubt it looks whether the reset is under way; it never asks twice.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn reset_token(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let deadline = self.pipeline.deadline();
        let old = read_by(&self.pipeline, id, deadline).await.map_err(Error::before_sending)?.credential;
        let acceptance = match self.update(id, RequestedStatus::TokenResetRequested, deadline).await {
            Ok(()) => Acceptance::Answered,
            Err(error) if error.is_doubtful() => match read_by(&self.pipeline, id, self.look_by(deadline)).await {
                Ok(seen)
                    if seen.status == ProvisionStatus::TokenResetRequested
                        || seen.fresh_credential().is_some_and(|fresh| is_new(fresh, old.as_ref())) =>
                {
                    Acceptance::Found
                }
                Ok(_) | Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        Ok(self.waiter(id, Goal::Reset { old }, acceptance))
    }

    /// Waits for a provision to be closed, without asking bunq to close it.
    pub fn wait_until_closed(&self, id: ProvisionId) -> Waiter {
        self.waiter(id, Goal::Closed, Acceptance::NotAsked)
    }

    /// Waits for a provision to have a credential that has not been used yet.
    pub fn wait_until_ready(&self, id: ProvisionId) -> Waiter {
        self.waiter(id, Goal::Ready, Acceptance::NotAsked)
    }

    fn waiter(&self, id: ProvisionId, goal: Goal, acceptance: Acceptance) -> Waiter {
        Waiter::new(self.looks.clone(), id, goal, acceptance)
    }

    /// Asks bunq for something until it is known what has become of it.
    ///
    /// After a failure in doubt, or where bunq refuses, it looks whether it is done. Then it asks again only after a
    /// failure in doubt, and only if it has seen that it is not done.
    async fn ask_until_known<T, A, L>(
        &self,
        operation: &Operation,
        deadline: Instant,
        mut ask: impl FnMut() -> A,
        mut look: impl FnMut() -> L,
    ) -> Result<(T, Acceptance), Error>
    where
        A: Future<Output = Result<T, Error>>,
        L: Future<Output = Result<Option<T>, Error>>,
    {
        let mut attempts = 0;
        let mut doubt: Option<Error> = None;
        loop {
            attempts += 1;
            let error = match ask().await {
                Ok(done) => return Ok((done, Acceptance::Answered)),
                Err(error) => error,
            };
            // Once in doubt always in doubt: the first request may still arrive, and the second be refused for it.
            let in_doubt = error.is_doubtful() || doubt.is_some();
            // bunq refuses what is done already.
            if !in_doubt && error.kind() != ErrorKind::Rejected {
                return Err(error);
            }
            let failure = Failure::of(&error, true, attempts);
            // The first failure in doubt is the one to act on.
            let error = doubt.take().unwrap_or(error);
            match look().await {
                Ok(Some(done)) => {
                    tracing::info!(operation = operation.id, in_doubt, "what failed is found to be done");
                    return Ok((done, if in_doubt { Acceptance::Found } else { Acceptance::Already }));
                }
                Ok(None) if in_doubt => {}
                Err(duplicate) if duplicate.kind() == ErrorKind::Duplicate => return Err(duplicate),
                Ok(None) | Err(_) => return Err(error),
            }
            let left = self.pipeline.send_by(deadline).saturating_duration_since(Instant::now());
            match retry::decide(&failure, &self.pipeline.bounds().retry, left, fastrand::f64()) {
                // The look has renewed a session that was refused.
                Decision::Stop if failure.kind == ErrorKind::Unauthorized && attempts == 1 && !left.is_zero() => {}
                Decision::Stop => return Err(error),
                Decision::After(pause) => sleep(pause).await,
            }
            doubt = Some(error);
        }
    }

    async fn try_to_create(
        &self,
        new: &CreateProvisionRequest,
        external_uuid: Uuid,
        deadline: Instant,
    ) -> Result<ProvisionId, Error> {
        let answer: Answer<ProvisionResponse> =
            call(&self.pipeline, &Operation::CREATE_PROVISION, deadline, async |api| api.create_provision(new).await)
                .await?;
        answer.take(|answer| {
            for item in answer.response {
                if let Some(provision) = item.partner_user_provision {
                    return match provision.external_uuid {
                        Some(other) if other != external_uuid => {
                            Err(format!("the answer is about external_uuid {other}, not {external_uuid}"))
                        }
                        _ => Ok(provision.id),
                    };
                }
                if let Some(id) = item.id {
                    return ProvisionId::try_from(id.id).map_err(|error| error.to_string());
                }
            }
            Err("the answer holds neither an Id nor a PartnerUserProvision".into())
        })
    }

    async fn find_by(&self, external_uuid: Uuid, deadline: Instant) -> Result<Option<Provision>, Error> {
        let list = self.list().external_uuid(external_uuid);
        let is_asked_for = |provision: &Provision| provision.external_uuid == Some(external_uuid);
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = list.page_by(cursor, deadline).await?;
            let (asked_for, others): (Vec<_>, Vec<_>) = page.provisions.into_iter().partition(is_asked_for);
            found.extend(asked_for);
            if !others.is_empty() && found.is_empty() {
                let problem = "the list was asked for one external_uuid and shows others";
                return Err(Error::new(ErrorKind::InvalidResponse, Sent::Answered, problem));
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

    /// By when a look has to be over. One that the call has left no time for gets that of a try: not to know is worse
    /// than to be late.
    fn look_by(&self, deadline: Instant) -> Instant {
        let bounds = self.pipeline.bounds();
        deadline.max(Instant::now() + bounds.try_timeout + bounds.least_try())
    }

    async fn update(&self, id: ProvisionId, status: RequestedStatus, deadline: Instant) -> Result<(), Error> {
        let request = UpdateProvisionRequest { status };
        let answer: Answer<IdResponse> = call(&self.pipeline, &Operation::UPDATE_PROVISION, deadline, async |api| {
            api.update_provision(&id, &request).await
        })
        .await?;
        answer.take(|answer| match answer.response.into_iter().find_map(|item| item.id) {
            Some(answered) if u64::try_from(answered.id) == Ok(id.get()) => Ok(()),
            Some(answered) => Err(format!("the answer is about provision {}, not {id}", answered.id)),
            None => Err("the answer holds no Id".into()),
        })
    }
}

fn duplicate(external_uuid: Uuid, ids: &[ProvisionId]) -> Error {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let ids = ids.join(", ");
    let problem =
        format_args!("bunq has several provisions with the external_uuid {external_uuid}: {ids}; close all but one");
    Error::new(ErrorKind::Duplicate, Sent::Answered, problem)
}

/// Reads a provision.
pub(crate) async fn read(pipeline: &Arc<Pipeline>, id: ProvisionId) -> Result<Provision, Error> {
    read_by(pipeline, id, pipeline.deadline()).await
}

async fn read_by(pipeline: &Arc<Pipeline>, id: ProvisionId, deadline: Instant) -> Result<Provision, Error> {
    let answer: Answer<ProvisionResponse> =
        call(pipeline, &Operation::GET_PROVISION, deadline, async |api| api.get_provision(&id).await).await?;
    answer.take(|answer| {
        let provision = answer.response.into_iter().find_map(|item| item.partner_user_provision);
        let provision = provision.ok_or("the answer holds no PartnerUserProvision")?;
        if provision.id != id {
            return Err(format!("the answer is about provision {}, not {id}", provision.id));
        }
        Ok(provision)
    })
}
