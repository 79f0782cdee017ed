//! The verbs on provisions.
//!
//! Each makes one call and says what came of it; what takes longer is handed back as a [`Waiter`]. How a call
//! travels is not known here.

use std::sync::Arc;

use crate::call::{Answer, call};
use crate::error::Error;
use crate::operation::Operation;
use crate::pages::List;
use crate::pipeline::{Credentials, Pipeline};
use crate::provision_id::ProvisionId;
use crate::types::{
    CreateProvisionRequest, IdResponse, Provision, ProvisionResponse, RequestedStatus, UpdateProvisionRequest,
};
use crate::wait::{Goal, Waiter};

/// The verbs on provisions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Provisions {
    pipeline: Arc<Pipeline>,
}

impl Provisions {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline }
    }

    /// Asks bunq to create a user, and gives the waiter for when the user's credential is there.
    ///
    /// # Errors
    ///
    /// As any call. Where [`Error::sent`] says `Maybe`, the provision may have been created: look for its
    /// `external_uuid` with [`list`](Self::list) before you ask again.
    pub async fn create(&self, new: impl Into<CreateProvisionRequest>) -> Result<Waiter, Error> {
        let new = new.into();
        let answer: Answer<ProvisionResponse> =
            call(&self.pipeline, &Operation::CREATE_PROVISION, Credentials::Session, async |api| {
                api.create_provision(&new).await
            })
            .await?;
        let id = answer.take(|answer| {
            let id = answer.response.into_iter().find_map(|item| match item.partner_user_provision {
                Some(provision) => Some(Ok(provision.id)),
                None => item.id.map(|id| ProvisionId::try_from(id.id)),
            });
            id.ok_or("the answer holds neither an Id nor a PartnerUserProvision")?.map_err(|error| error.to_string())
        })?;
        Ok(self.wait_until_ready(id))
    }

    /// Reads a provision.
    ///
    /// # Errors
    ///
    /// As any call; [`NotFound`](crate::ErrorKind::NotFound) if there is no such provision.
    pub async fn get(&self, id: ProvisionId) -> Result<Provision, Error> {
        let answer: Answer<ProvisionResponse> =
            call(&self.pipeline, &Operation::GET_PROVISION, Credentials::Session, async |api| {
                api.get_provision(&id).await
            })
            .await?;
        answer.take(|answer| {
            let provision = answer.response.into_iter().find_map(|item| item.partner_user_provision);
            let provision = provision.ok_or("the answer holds no PartnerUserProvision")?;
            if provision.id != id {
                return Err(format!("the answer is about provision {}, not {id}", provision.id));
            }
            Ok(provision)
        })
    }

    /// Asks for provisions, newest first, a page at a time.
    pub fn list(&self) -> List {
        List::new(Arc::clone(&self.pipeline))
    }

    /// Asks bunq to close a provision, and gives the waiter for when it is closed.
    ///
    /// # Errors
    ///
    /// As any call. Where [`Error::sent`] says `Maybe`, bunq may have begun to close it:
    /// [`wait_until_closed`](Self::wait_until_closed) or [`get`](Self::get) tells.
    pub async fn close(&self, id: ProvisionId) -> Result<Waiter, Error> {
        self.update(id, RequestedStatus::Cancelled).await?;
        Ok(self.wait_until_closed(id))
    }

    /// Asks bunq to replace a provision's credential, and gives the waiter for when the new one is there.
    ///
    /// The provision is read first, so that the new credential can be told from the old one, which bunq goes on
    /// showing for a while.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn reset_token(&self, id: ProvisionId) -> Result<Waiter, Error> {
        let before = self.get(id).await?;
        self.update(id, RequestedStatus::TokenResetRequested).await?;
        Ok(Waiter::new(self.clone(), id, Goal::Reset { old: before.credential }))
    }

    /// Waits for a provision to be closed, without asking bunq to close it.
    pub fn wait_until_closed(&self, id: ProvisionId) -> Waiter {
        Waiter::new(self.clone(), id, Goal::Closed)
    }

    /// Waits for a provision to have a credential that has not been used yet.
    pub fn wait_until_ready(&self, id: ProvisionId) -> Waiter {
        Waiter::new(self.clone(), id, Goal::Ready)
    }

    async fn update(&self, id: ProvisionId, status: RequestedStatus) -> Result<(), Error> {
        let request = UpdateProvisionRequest { status };
        let answer: Answer<IdResponse> =
            call(&self.pipeline, &Operation::UPDATE_PROVISION, Credentials::Session, async |api| {
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
