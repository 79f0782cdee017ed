//! The life of a provision: which states there are, which follow, and who has to act.
//!
//! ```text
//! CREATED ──▶ ACTIVE ──▶ CANCELLED ──▶ CLOSED
//!    │          ▲│
//!    ▼          │▼
//! FAILED     TOKEN_RESET_REQUESTED
//! ```
//!
//! Pure functions over what bunq says. A state that bunq adds is never mistaken for one that is known.

use crate::types::{ActionRequired, Credential, CredentialStatus, Provision, ProvisionStatus, ProvisionSubStatus};

/// Who has to act before a provision can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitingFor {
    /// Nobody: it has arrived.
    Nobody,
    /// bunq: it is at work.
    Bunq,
    /// The user.
    User,
    /// bunq says something that this version does not know.
    Unknown,
}

impl ProvisionStatus {
    /// Whether this is an end: nothing follows `CLOSED` and `FAILED`.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Closed | Self::Failed)
    }
}

impl ProvisionSubStatus {
    /// The main status that this step belongs to. `None` for `NONE`, which goes with any, and for a step that the
    /// document does not know.
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

    /// The credential to act for the user with, if it is there and has not been used yet: its `token_value` is shown
    /// and has not expired.
    ///
    /// This is what "ready" means to a partner. bunq shows it under more than one status of the provision.
    pub fn fresh_credential(&self) -> Option<&Credential> {
        use ProvisionStatus::{Cancelled, Closed, Failed};
        let gone = matches!(self.status, Cancelled | Closed | Failed);
        self.credential.as_ref().filter(|credential| {
            !gone && credential.status != CredentialStatus::Expired && credential.token_value.is_some()
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
            (None | Some(Step::None), Some(ActionRequired::None)) => WaitingFor::Nobody,
            (Some(Step::None), None) => WaitingFor::Nobody,
            _ => WaitingFor::Unknown,
        }
    }
}
