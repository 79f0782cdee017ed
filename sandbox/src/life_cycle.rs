//! The life cycle of a provision as a pure function: from a step and an event to the next step.

use serde::{Deserialize, Serialize};

use bunq_partner::types::{ActionRequired, ProvisionStatus, ProvisionSubStatus};

/// Where a provision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// bunq makes the user.
    User,
    /// bunq ties the user to the partner.
    Relation,
    /// bunq sets up the access on the user's behalf.
    OauthRequest,
    /// The credential is there; the user has things to do.
    Onboarding,
    /// No process runs: the provision is active.
    Active,
    /// bunq makes a fresh credential.
    Resetting,
    /// bunq closes the provision.
    Closing,
    /// Final: the provision is closed.
    Closed,
    /// Final: the processing has failed.
    Failed,
}

/// What happens to a provision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// bunq's own work moves on.
    Progress,
    /// The partner closes it.
    Close,
    /// The partner asks for a fresh credential.
    Reset,
    /// bunq's work fails.
    Fail,
}

impl Step {
    /// The step that follows when `event` happens here; `None` where it cannot happen.
    pub(super) fn on(self, event: Event) -> Option<Self> {
        use Step::*;
        match (event, self) {
            (_, Closed | Failed) => None,
            (Event::Progress, User) => Some(Relation),
            (Event::Progress, Relation) => Some(OauthRequest),
            (Event::Progress, OauthRequest) => Some(Onboarding),
            (Event::Progress, Onboarding | Resetting) => Some(Active),
            (Event::Progress, Closing) => Some(Closed),
            (Event::Progress, Active) => None,
            (Event::Close, Closing) => None,
            (Event::Close, _) => Some(Closing),
            (Event::Reset, Onboarding | Active) => Some(Resetting),
            (Event::Reset, _) => None,
            (Event::Fail, _) => Some(Failed),
        }
    }

    pub(super) fn status(self) -> ProvisionStatus {
        match self {
            Self::User | Self::Relation | Self::OauthRequest | Self::Onboarding => ProvisionStatus::Created,
            Self::Active => ProvisionStatus::Active,
            Self::Resetting => ProvisionStatus::TokenResetRequested,
            Self::Closing => ProvisionStatus::Cancelled,
            Self::Closed => ProvisionStatus::Closed,
            Self::Failed => ProvisionStatus::Failed,
        }
    }

    pub(super) fn sub_status(self) -> ProvisionSubStatus {
        match self {
            Self::User => ProvisionSubStatus::PendingProcessUser,
            Self::Relation => ProvisionSubStatus::PendingProcessRelationUser,
            Self::OauthRequest => ProvisionSubStatus::PendingProcessOauthRequest,
            Self::Onboarding => ProvisionSubStatus::PendingProcessUserOnboarding,
            Self::Resetting => ProvisionSubStatus::PendingProcessTokenReset,
            Self::Closing => ProvisionSubStatus::PendingProcessClosure,
            Self::Active | Self::Closed | Self::Failed => ProvisionSubStatus::None,
        }
    }

    pub(super) fn action_required(self) -> ActionRequired {
        match self {
            Self::Onboarding => ActionRequired::User,
            Self::Active | Self::Closed | Self::Failed => ActionRequired::None,
            Self::User | Self::Relation | Self::OauthRequest | Self::Resetting | Self::Closing => {
                ActionRequired::System
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 9] = [
        Step::User,
        Step::Relation,
        Step::OauthRequest,
        Step::Onboarding,
        Step::Active,
        Step::Resetting,
        Step::Closing,
        Step::Closed,
        Step::Failed,
    ];

    /// The steps from `start` on, as bunq shows them, left to themselves.
    fn path(start: Step) -> Vec<String> {
        std::iter::successors(Some(start), |step| step.on(Event::Progress))
            .map(|step| format!("{}/{}/{}", step.status(), step.sub_status(), step.action_required()))
            .collect()
    }

    #[test]
    fn creation_reset_and_closing_end() {
        test_timeout::start();
        assert_eq!(
            path(Step::User),
            [
                "CREATED/PENDING_PROCESS_USER/SYSTEM",
                "CREATED/PENDING_PROCESS_RELATION_USER/SYSTEM",
                "CREATED/PENDING_PROCESS_OAUTH_REQUEST/SYSTEM",
                "CREATED/PENDING_PROCESS_USER_ONBOARDING/USER",
                "ACTIVE/NONE/NONE",
            ]
        );
        assert_eq!(
            path(Step::Resetting),
            ["TOKEN_RESET_REQUESTED/PENDING_PROCESS_TOKEN_RESET/SYSTEM", "ACTIVE/NONE/NONE"]
        );
        assert_eq!(path(Step::Closing), ["CANCELLED/PENDING_PROCESS_CLOSURE/SYSTEM", "CLOSED/NONE/NONE"]);
        assert_eq!(path(Step::Failed), ["FAILED/NONE/NONE"]);
    }

    #[test]
    fn an_event_applies_to_its_states_alone() {
        test_timeout::start();
        use Step::*;
        let allowed = |event| STEPS.into_iter().filter(|step| step.on(event).is_some()).collect::<Vec<_>>();
        assert_eq!(allowed(Event::Close), [User, Relation, OauthRequest, Onboarding, Active, Resetting]);
        assert_eq!(allowed(Event::Reset), [Onboarding, Active]);
        assert_eq!(allowed(Event::Fail), [User, Relation, OauthRequest, Onboarding, Active, Resetting, Closing]);
        assert!(STEPS.into_iter().filter_map(|step| step.on(Event::Close)).all(|step| step == Closing));
        assert!(STEPS.into_iter().filter_map(|step| step.on(Event::Reset)).all(|step| step == Resetting));
        assert!(STEPS.into_iter().filter_map(|step| step.on(Event::Fail)).all(|step| step == Failed));
    }
}
