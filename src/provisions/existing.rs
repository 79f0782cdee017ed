//! A provision that is there already, held against a request with its key.

use super::search::is_over;
use crate::error::{Error, ErrorKind, Sent};
use crate::types::{CreateProvisionRequest, Provision, ProvisionId, ProvisionStatus, Timestamp};

/// What matters of a provision that is there already.
#[derive(Debug, Clone)]
pub(crate) struct Existing {
    pub(crate) id: ProvisionId,
    pub(crate) created: Option<Timestamp>,
    status: ProvisionStatus,
}

impl From<&Provision> for Existing {
    fn from(seen: &Provision) -> Self {
        Self { id: seen.id, created: seen.created, status: seen.status.clone() }
    }
}

impl Existing {
    /// Whether nobody can act for its user any more.
    pub(crate) fn is_over(&self) -> bool {
        is_over(&self.status)
    }

    /// Refuses a provision that cannot be taken for the one that is requested.
    pub(crate) fn check(&self, new: &CreateProvisionRequest) -> Result<(), Error> {
        if !self.is_over() {
            return Ok(());
        }
        let (Self { id, status, .. }, external_uuid) = (self, new.external_uuid());
        let problem = format_args!(
            "bunq has a provision with the external_uuid {external_uuid} that is {status}: {id}; create another user with \
             another external_uuid"
        );
        Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem))
    }
}
