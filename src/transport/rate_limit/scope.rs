//! By what bunq counts calls.

use serde::{Deserialize, Serialize};

/// By what bunq counts calls.
///
/// bunq's documentation is not settled: an older text counts by address; a newer one "per device", identified by "your API key,
/// session, or IP address". If [`Session`](Self::Session) is wrong, bunq answers some calls with 429, which are repeated and cost
/// time; if [`Address`](Self::Address) is wrong, users wait for each other without need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitScope {
    /// All calls from one address count together: those of a partner and of all its users.
    #[default]
    Address,
    /// The calls that take a session count for each session. Those that open one still count by address.
    Session,
}
