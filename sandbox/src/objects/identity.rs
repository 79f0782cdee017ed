//! Sessions in which users prove who they are, and documents that they have given.

use bunq_partner::Secret;
use bunq_partner::wire::exposed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::Object;
use crate::clock::random_token;

/// A session with the SDK of a provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IdentitySession {
    /// What the SDK takes.
    #[serde(serialize_with = "exposed")]
    pub(crate) token: Secret,
    /// What it ends with.
    pub(crate) result: String,
    /// When there is a result; `None`: it is not submitted yet.
    pub(crate) processed: Option<Timestamp>,
}

impl IdentitySession {
    pub(crate) fn new(result: String) -> Self {
        Self { token: Secret::new(random_token()), result, processed: None }
    }

    pub(crate) fn status(&self, now: Timestamp) -> &'static str {
        match self.processed {
            None => "CREATED",
            Some(processed) if now < processed => "SUBMITTED",
            Some(_) => "PROCESSED",
        }
    }
}

impl Object for IdentitySession {
    const NAME: &'static str = "identity verification session";
}

/// A document as it was requested.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) document_type: String,
    pub(crate) country: String,
    pub(crate) front: u64,
    pub(crate) back: Option<u64>,
}

impl Object for Document {
    const NAME: &'static str = "document";
}
