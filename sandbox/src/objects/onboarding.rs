//! Onboardings, what bunq asks of their users, and what these have given.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::Object;

pub(crate) const ADDRESS_MAIN: &str = "ADDRESS_MAIN";
pub(crate) const ADDRESS_POSTAL: &str = "ADDRESS_POSTAL";
pub(crate) const DATE_OF_BIRTH: &str = "DATE_OF_BIRTH";
pub(crate) const NATIONALITY: &str = "NATIONALITY";
pub(crate) const TAX_RESIDENT: &str = "TAX_RESIDENT";

pub(crate) const IDENTITY_VERIFICATION: &str = "IDENTITY_VERIFICATION";
pub(crate) const DOCUMENT_IDENTIFICATION: &str = "DOCUMENT_IDENTIFICATION";

/// What a sandbox asks for: kinds that calls answer, two that are for the user, and one that nobody knows.
pub(crate) const FULFILLMENTS: [&str; 10] = [
    ADDRESS_MAIN,
    ADDRESS_POSTAL,
    DATE_OF_BIRTH,
    "EMAIL",
    "PHONE_NUMBER",
    IDENTITY_VERIFICATION,
    DOCUMENT_IDENTIFICATION,
    NATIONALITY,
    TAX_RESIDENT,
    "SANDBOX_DECLARATION",
];

/// The onboarding of a user.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Onboarding {
    /// When its statuses were asked for and nothing was missing.
    pub(crate) taken: Option<Timestamp>,
    /// What the check comes to; without it, the profile decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<String>,
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
