//! Onboardings, what bunq asks of their users, and what these have given.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::Object;

/// The onboarding of a user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Onboarding {
    /// When its statuses were asked for and nothing was missing.
    pub(crate) taken: Option<Timestamp>,
}

impl Object for Onboarding {
    const NAME: &'static str = "onboarding";
}

/// What is known of a user, by the kind of the fulfilment. A user has one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct UserFacts {
    pub(crate) asked: BTreeMap<String, Asked>,
    pub(crate) given: BTreeMap<String, Given>,
}

impl Object for UserFacts {
    const NAME: &'static str = "facts of a user";
}

/// A fulfilment that bunq has listed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) since: Timestamp,
}

/// What was sent last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) at: Timestamp,
    pub(crate) value: Value,
}
