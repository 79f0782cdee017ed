//! Provisions that a sandbox begins with.

use std::sync::Arc;

use bunq_partner::types::{CredentialStatus, ProvisionStatus, ProvisionSubStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Numbers;
use crate::resources::provisions::creation::UserProfile;
use crate::resources::provisions::life_cycle::{LifeCycleEvent, LifeCycleStep};
use crate::resources::provisions::provision::{PlaceOfUse, StoredProvision, Terms};
use crate::resources::seed::SeedUser;

/// A provision that a sandbox begins with: see [`SandboxBuilder::seed`](crate::SandboxBuilder::seed).
///
/// ```
/// use bunq_partner_sandbox::SeedProvision;
///
/// let closing: SeedProvision = serde_json::from_str(r#"{"status": "CANCELLED", "display_name": "Ada"}"#)?;
/// let with_a_file: SeedProvision = serde_json::from_str(
///     r#"{"status": "ACTIVE", "credential": "EXPIRED", "user": {"attachments": [{"content_type": "image/png"}]}}"#,
/// )?;
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
    /// What its user has, if it has one by then.
    #[serde(default, skip_serializing_if = "SeedUser::is_empty")]
    pub user: SeedUser,
}

impl SeedProvision {
    /// A provision with this status.
    pub fn new(status: ProvisionStatus) -> Self {
        let user = SeedUser::default();
        Self { status, sub_status: None, external_uuid: None, display_name: None, credential: None, user }
    }

    /// A provision like this one; an error says why there can be none.
    pub(crate) fn make(&self, terms: Terms, now: Timestamp, numbers: &mut Numbers) -> Result<StoredProvision, String> {
        let history = self.history().ok_or_else(|| {
            let sub_status = self.sub_status.as_ref().map(|sub| format!(" with {sub}")).unwrap_or_default();
            format!("there is no status {}{sub_status}", self.status)
        })?;
        let mut profile = UserProfile::example();
        profile.display_name = self.display_name.clone().unwrap_or(profile.display_name);
        let uuid = self.external_uuid.unwrap_or_else(Uuid::new_v4);
        let mut provision = StoredProvision::new(numbers.next(), uuid, Arc::new(profile), now);
        for event in history {
            provision.on(event, terms, now, numbers);
        }
        let fits = match &self.credential {
            None | Some(CredentialStatus::PendingFirstUse) => true,
            Some(CredentialStatus::Active) => provision.use_credential(PlaceOfUse::Elsewhere, now),
            Some(CredentialStatus::Expired) => provision.expire_credential(now),
            Some(_) => false,
        };
        if fits { Ok(provision) } else { Err("it has no credential with that status".to_owned()) }
    }

    /// What happens to a new provision until it is like this one; `None` if there is no such state.
    pub(crate) fn history(&self) -> Option<Vec<LifeCycleEvent>> {
        use LifeCycleEvent::{Close, Fail, Progress, Reset};
        let ways: [(LifeCycleStep, &[LifeCycleEvent]); 9] = [
            (LifeCycleStep::User, &[]),
            (LifeCycleStep::Relation, &[Progress]),
            (LifeCycleStep::OauthRequest, &[Progress, Progress]),
            (LifeCycleStep::Onboarding, &[Progress, Progress, Progress]),
            (LifeCycleStep::Active, &[Progress, Progress, Progress, Progress]),
            (LifeCycleStep::Resetting, &[Progress, Progress, Progress, Progress, Reset]),
            (LifeCycleStep::Closing, &[Progress, Progress, Progress, Progress, Close]),
            (LifeCycleStep::Closed, &[Progress, Progress, Progress, Progress, Close, Progress]),
            (LifeCycleStep::Failed, &[Progress, Fail]),
        ];
        let is_this = |step: &LifeCycleStep| {
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
            Some(seed.history()?.into_iter().fold(LifeCycleStep::User, |step, event| step.on(event).unwrap()))
        };
        assert_eq!(steps("CREATED", None), Some(LifeCycleStep::User));
        assert_eq!(steps("CREATED", Some("PENDING_PROCESS_USER_ONBOARDING")), Some(LifeCycleStep::Onboarding));
        assert_eq!(steps("ACTIVE", None), Some(LifeCycleStep::Active));
        assert_eq!(steps("TOKEN_RESET_REQUESTED", None), Some(LifeCycleStep::Resetting));
        assert_eq!(steps("CANCELLED", None), Some(LifeCycleStep::Closing));
        assert_eq!(steps("CLOSED", Some("NONE")), Some(LifeCycleStep::Closed));
        assert_eq!(steps("FAILED", None), Some(LifeCycleStep::Failed));
        assert_eq!(steps("CLOSED", Some("PENDING_PROCESS_USER")), None);
        assert_eq!(steps("GONE", None), None);
    }
}
