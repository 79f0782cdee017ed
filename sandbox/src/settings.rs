//! The behaviour of the bank that a test can choose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What moves a provision on, step by step through its life cycle.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// Reads, by id or on a page of a listing: the second read of a step moves the provision to the next one. So a poller
    /// sees every step, and reaches the end without waiting.
    #[default]
    EachRead,
    /// Only [`Sandbox::advance`](crate::Sandbox::advance).
    Manual,
    /// Time: a step for each such duration.
    Every(Duration),
}

/// How bunq refuses a token that is not alive any more. All three have been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadToken {
    /// 401.
    Unauthorized,
    /// 403 "Insufficient authentication."
    InsufficientAuthentication,
    /// 403 "Insufficient authorisation."
    InsufficientAuthorisation,
}

/// The installations under which the token of a provisioned user opens sessions. bunq's documentation does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AcceptedInstallation {
    /// One that has a device of the token, and none of the partner's.
    Own,
    /// One that has a device of the partner's. The token has none.
    Partner,
    /// Either.
    Both,
}

/// The response to the creation of a provision. Both forms are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CreationResponse {
    /// One `Id` item.
    Id,
    /// One `PartnerUserProvision` item.
    Provision,
}

/// The response to the replacement of the notification filters. Both forms are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FilterResponse {
    /// The new filters, each in an item of its own.
    Filters,
    /// One `Id` item.
    Id,
}

/// What bunq tells of an object when it reports an event. Both forms are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotificationBody {
    /// The object as it is read, with its live keys.
    Whole,
    /// A provision without user, products and credential, and an inquiry with other members and statuses than when it is read.
    Thin,
}

/// What bunq's review of an answer to an inquiry comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Review {
    /// bunq's people approve it.
    Approved,
    /// bunq's computer approves it.
    AutoApproved,
    /// bunq's people reject it.
    Rejected,
    /// bunq's computer rejects it.
    AutoRejected,
}

/// What becomes of an entry of an inquiry whose answer is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectedEntry {
    /// It is `PENDING` again, with the reason, and takes another answer.
    AskedAgain,
    /// It stays rejected.
    Final,
}

/// The response to a request to deliver failed calls again. All three forms are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureRetryResponse {
    /// An `Id` item for each call.
    Ids,
    /// One `Id` item.
    Id,
    /// No item.
    Nothing,
}
