//! The requests that the verbs would send, for a dry run.

use super::{Provisions, create, update};
use crate::api::RequestPreview;
use crate::error::Error;
use crate::types::{CreateProvisionRequest, ProvisionId, RequestedStatus};

impl Provisions {
    /// Returns the request with which [`create`](Self::create) would create the user, and sends nothing.
    ///
    /// # Errors
    ///
    /// As [`Api::preview`](crate::Api::preview).
    pub fn preview_create(&self, new: impl Into<CreateProvisionRequest>) -> Result<RequestPreview, Error> {
        let new = &new.into();
        self.api.preview_of(|api| create(api, new))
    }

    /// Returns the request with which [`close`](Self::close) would close the provision, and sends nothing.
    ///
    /// # Errors
    ///
    /// As [`Api::preview`](crate::Api::preview).
    pub fn preview_close(&self, id: ProvisionId) -> Result<RequestPreview, Error> {
        self.preview_update(id, RequestedStatus::Cancelled)
    }

    /// Returns the requests with which [`reset_token`](Self::reset_token) would read the provision and reset its token, and
    /// sends nothing.
    ///
    /// # Errors
    ///
    /// As [`Api::preview`](crate::Api::preview).
    pub fn preview_reset_token(&self, id: ProvisionId) -> Result<[RequestPreview; 2], Error> {
        let read = self.api.preview_of(|api| async move { api.get_provision(id).await })?;
        Ok([read, self.preview_update(id, RequestedStatus::TokenResetRequested)?])
    }

    fn preview_update(&self, id: ProvisionId, status: RequestedStatus) -> Result<RequestPreview, Error> {
        self.api.preview_of(|api| update(api, id, status))
    }
}
