//! The requests that the verbs would send, for a dry run.

use super::Provisions;
use crate::api::RequestPreview;
use crate::error::Error;
use crate::operation::Operation;
use crate::types::{CreateProvisionRequest, ProvisionId, RequestedStatus, UpdateProvisionRequest};

impl Provisions {
    /// Returns the request with which [`create`](Self::create) would create the user, and sends nothing.
    ///
    /// # Errors
    ///
    /// As [`Api::preview`](crate::Api::preview).
    pub fn preview_create(&self, new: impl Into<CreateProvisionRequest>) -> Result<RequestPreview, Error> {
        let body = serde_json::to_value(new.into()).map_err(Error::internal)?;
        self.api.preview(&Operation::CREATE_PROVISION, &[], Some(&body))
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
        let read = self.api.preview(&Operation::GET_PROVISION, &[("provision_id", &id.to_string())], None)?;
        Ok([read, self.preview_update(id, RequestedStatus::TokenResetRequested)?])
    }

    fn preview_update(&self, id: ProvisionId, status: RequestedStatus) -> Result<RequestPreview, Error> {
        let body = serde_json::to_value(UpdateProvisionRequest::new(status)).map_err(Error::internal)?;
        self.api.preview(&Operation::UPDATE_PROVISION, &[("provision_id", &id.to_string())], Some(&body))
    }
}
