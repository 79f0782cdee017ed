//! Notification filters, calls that could not be delivered, and pinned certificates.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::Object;

/// A filter as it was sent, with its unknown members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Filter(pub(crate) Map<String, Value>);

impl Object for Filter {
    const NAME: &'static str = "filter";
}

/// A call of a filter of the partner's that could not be delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The user that it was about.
    pub(crate) user: u64,
    pub(crate) category: String,
    pub(crate) event_type: String,
    pub(crate) object_id: u64,
    pub(crate) target: String,
}

impl Object for Failure {
    const NAME: &'static str = "failed delivery";
}

/// A chain of certificates, in PEM form, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PinnedChain(pub(crate) String);

impl Object for PinnedChain {
    const NAME: &'static str = "pinned certificate";
}
