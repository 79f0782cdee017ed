//! The life cycle of a provision: which sub-status belongs to which status, and who has to act.
//!
//! These are pure functions of what bunq returns; the README has the life cycle as a diagram. An unknown status is never
//! treated like a known one.

use crate::types::{
    ActionRequired, Credential, CredentialStatus, Phase, Provision, ProvisionStatus, ProvisionSubStatus,
};

/// Who has to act before a provision or an onboarding can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitingFor {
    /// Nobody has to act: nothing is in progress.
    Nobody,
    /// bunq is processing it.
    Bunq,
    /// The user has to act.
    User,
    /// bunq returned a value that this version does not know.
    Unknown,
}

impl ProvisionSubStatus {
    /// Returns the main status that this sub-status belongs to. `None` for `NONE`, which occurs with every status, and for
    /// an unknown sub-status.
    ///
    /// `PENDING_PROCESS_USER_ONBOARDING` belongs to `CREATED`, and has been seen with `ACTIVE` too.
    pub fn belongs_to(&self) -> Option<ProvisionStatus> {
        match self {
            Self::PendingProcessUser
            | Self::PendingProcessRelationUser
            | Self::PendingProcessOauthRequest
            | Self::PendingProcessUserOnboarding => Some(ProvisionStatus::Created),
            Self::PendingProcessClosure => Some(ProvisionStatus::Cancelled),
            Self::PendingProcessTokenReset => Some(ProvisionStatus::TokenResetRequested),
            Self::None | Self::Unknown(_) => None,
        }
    }
}

impl Provision {
    /// Whether the provision is closed for good.
    pub fn is_closed(&self) -> bool {
        self.status == ProvisionStatus::Closed
    }

    /// The credential to act for the user with, if it is there and has not been used yet: bunq shows its `token_value`
    /// and does not call it expired, and it is not about to be replaced. The time of its expiry is not checked.
    ///
    /// This is what "ready" means to a partner. bunq shows it under more than one status of the provision.
    pub fn fresh_credential(&self) -> Option<&Credential> {
        let may_be_used = match self.status.phase() {
            Phase::Setup | Phase::Settled | Phase::Unknown => true,
            Phase::Reset | Phase::Closing | Phase::Closed | Phase::Failed => false,
        };
        self.credential.as_ref().filter(|credential| {
            may_be_used && credential.status != Some(CredentialStatus::Expired) && credential.token_value.is_some()
        })
    }

    /// Who has to act before the provision can go on.
    pub fn waiting_for(&self) -> WaitingFor {
        use ProvisionSubStatus as Step;
        if self.status.is_terminal() {
            return WaitingFor::Nobody;
        }
        match (&self.sub_status, &self.action_required) {
            (_, Some(ActionRequired::User)) => WaitingFor::User,
            (_, Some(ActionRequired::System)) => WaitingFor::Bunq,
            (Some(Step::PendingProcessUserOnboarding), _) => WaitingFor::User,
            (Some(step), _) if step.belongs_to().is_some() => WaitingFor::Bunq,
            (Some(Step::None) | None, Some(ActionRequired::None) | None) => match self.status.phase() {
                Phase::Settled | Phase::Closed | Phase::Failed => WaitingFor::Nobody,
                Phase::Setup | Phase::Reset | Phase::Closing => WaitingFor::Bunq,
                Phase::Unknown => WaitingFor::Unknown,
            },
            _ => WaitingFor::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provision(json: &str) -> Provision {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_unknown_state_matches_no_known_state() {
        test_timeout::start();
        for (state, waiting_for) in [
            (r#"{"id": 1, "status": "ACTIVE", "sub_status": "NONE", "action_required": "NONE"}"#, WaitingFor::Nobody),
            (r#"{"id": 1, "status": "ACTIVE"}"#, WaitingFor::Nobody),
            (r#"{"id": 1, "status": "CLOSED", "action_required": "SYSTEM"}"#, WaitingFor::Nobody),
            (r#"{"id": 1, "status": "CREATED", "sub_status": "NONE"}"#, WaitingFor::Bunq),
            (r#"{"id": 1, "status": "CANCELLED"}"#, WaitingFor::Bunq),
            (r#"{"id": 1, "status": "CREATED", "sub_status": "PENDING_PROCESS_USER_ONBOARDING"}"#, WaitingFor::User),
            (r#"{"id": 1, "status": "PAUSED", "sub_status": "NONE", "action_required": "NONE"}"#, WaitingFor::Unknown),
            (r#"{"id": 1, "status": "PAUSED", "action_required": "USER"}"#, WaitingFor::User),
            (r#"{"id": 1, "status": "ACTIVE", "sub_status": "PENDING_PROCESS_HOLIDAY"}"#, WaitingFor::Unknown),
            (r#"{"id": 1, "status": "ACTIVE", "action_required": "NOTARY"}"#, WaitingFor::Unknown),
        ] {
            assert_eq!(provision(state).waiting_for(), waiting_for, "{state}");
        }
    }

    #[test]
    fn a_fresh_credential_is_unused_and_will_not_be_replaced() {
        test_timeout::start();
        let with = |status: &str, credential: &str| {
            let json = format!(r#"{{"id": 1, "status": "{status}", "credential": {credential}}}"#);
            provision(&json).fresh_credential().is_some()
        };
        let pending = r#"{"id": 1, "status": "PENDING_FIRST_USE", "token_value": "x"}"#;
        assert!(with("CREATED", pending) && with("ACTIVE", pending) && with("ACTIVE", r#"{"token_value": "x"}"#));
        for status in ["CANCELLED", "CLOSED", "FAILED", "TOKEN_RESET_REQUESTED"] {
            assert!(!with(status, pending), "{status}");
        }
        assert!(!with("ACTIVE", "null"));
        assert!(!with("ACTIVE", r#"{"status": "ACTIVE", "token_value": null}"#));
        assert!(!with("ACTIVE", r#"{"status": "EXPIRED", "token_value": "x"}"#));
    }
}
