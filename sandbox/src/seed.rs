//! Provisions that a sandbox begins with.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::life_cycle::{Event, Step};
use bunq_partner::types::{CredentialStatus, ProvisionStatus, ProvisionSubStatus};

/// A provision that a sandbox begins with: see [`SandboxBuilder::seed`](super::SandboxBuilder::seed).
///
/// ```
/// use bunq_partner_sandbox::SeedProvision;
///
/// let closing: SeedProvision = serde_json::from_str(r#"{"status": "CANCELLED", "display_name": "Ada"}"#)?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedProvision {
    /// Its main status.
    pub status: ProvisionStatus,
    /// Its sub-status. `CREATED` begins at the first without it; the others have but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_status: Option<ProvisionSubStatus>,
    /// The key that it was created with; without it a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_uuid: Option<Uuid>,
    /// The name of its user; without it "user".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The status of its credential; without it `PENDING_FIRST_USE`, if it has one by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
}

impl SeedProvision {
    /// A provision with this status.
    pub fn new(status: ProvisionStatus) -> Self {
        Self { status, sub_status: None, external_uuid: None, display_name: None, credential: None }
    }

    /// What happens to a new provision until it is like this one; `None` if there is no such state.
    pub(super) fn history(&self) -> Option<Vec<Event>> {
        use Event::{Close, Fail, Progress, Reset};
        let ways: [(Step, &[Event]); 9] = [
            (Step::User, &[]),
            (Step::Relation, &[Progress]),
            (Step::OauthRequest, &[Progress, Progress]),
            (Step::Onboarding, &[Progress, Progress, Progress]),
            (Step::Active, &[Progress, Progress, Progress, Progress]),
            (Step::Resetting, &[Progress, Progress, Progress, Progress, Reset]),
            (Step::Closing, &[Progress, Progress, Progress, Progress, Close]),
            (Step::Closed, &[Progress, Progress, Progress, Progress, Close, Progress]),
            (Step::Failed, &[Progress, Fail]),
        ];
        let is_this = |step: &Step| {
            step.status() == self.status && self.sub_status.as_ref().is_none_or(|sub| *sub == step.sub_status())
        };
        ways.into_iter().find(|(step, _)| is_this(step)).map(|(_, events)| events.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_leads_to_the_state() {
        test_timeout::start();
        let steps = |status: &str, sub_status: Option<&str>| {
            let seed = serde_json::json!({ "status": status, "sub_status": sub_status });
            let seed: SeedProvision = serde_json::from_value(seed).unwrap();
            Some(seed.history()?.into_iter().fold(Step::User, |step, event| step.on(event).unwrap()))
        };
        assert_eq!(steps("CREATED", None), Some(Step::User));
        assert_eq!(steps("CREATED", Some("PENDING_PROCESS_USER_ONBOARDING")), Some(Step::Onboarding));
        assert_eq!(steps("ACTIVE", None), Some(Step::Active));
        assert_eq!(steps("TOKEN_RESET_REQUESTED", None), Some(Step::Resetting));
        assert_eq!(steps("CANCELLED", None), Some(Step::Closing));
        assert_eq!(steps("CLOSED", Some("NONE")), Some(Step::Closed));
        assert_eq!(steps("FAILED", None), Some(Step::Failed));
        assert_eq!(steps("CLOSED", Some("PENDING_PROCESS_USER")), None);
        assert_eq!(steps("GONE", None), None);
    }
}
