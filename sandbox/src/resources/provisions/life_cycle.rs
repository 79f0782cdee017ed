//! The life cycle of a provision as a pure function: from a step and an event to the next step.

use bunq_partner::types::{ActionRequired, ProvisionStatus, ProvisionSubStatus};
use serde::{Deserialize, Serialize};

/// Where a provision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LifeCycleStep {
    /// bunq makes the user.
    User,
    /// bunq ties the user to the partner.
    Relation,
    /// bunq sets up the access on the user's behalf.
    OauthRequest,
    /// The credential is there; the user has things to do.
    Onboarding,
    /// bunq has nothing to do: the provision is active.
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
pub(crate) enum LifeCycleEvent {
    /// bunq's own work moves on.
    Progress,
    /// The partner closes it.
    Close,
    /// The partner asks for a fresh credential.
    Reset,
    /// bunq's work fails.
    Fail,
}

impl LifeCycleStep {
    /// The step that follows when `event` happens here; `None` where it cannot happen.
    pub(crate) fn on(self, event: LifeCycleEvent) -> Option<Self> {
        use LifeCycleStep::*;
        match (event, self) {
            (_, Closed | Failed) => None,
            (LifeCycleEvent::Progress, User) => Some(Relation),
            (LifeCycleEvent::Progress, Relation) => Some(OauthRequest),
            (LifeCycleEvent::Progress, OauthRequest) => Some(Onboarding),
            (LifeCycleEvent::Progress, Onboarding | Resetting) => Some(Active),
            (LifeCycleEvent::Progress, Closing) => Some(Closed),
            (LifeCycleEvent::Progress, Active) => None,
            (LifeCycleEvent::Close, Closing) => None,
            (LifeCycleEvent::Close, _) => Some(Closing),
            (LifeCycleEvent::Reset, Onboarding | Active) => Some(Resetting),
            (LifeCycleEvent::Reset, _) => None,
            (LifeCycleEvent::Fail, _) => Some(Failed),
        }
    }

    pub(crate) fn status(self) -> ProvisionStatus {
        self.shown().0
    }

    pub(crate) fn sub_status(self) -> ProvisionSubStatus {
        self.shown().1
    }

    pub(crate) fn action_required(self) -> ActionRequired {
        self.shown().2
    }

    /// How bunq shows it.
    fn shown(self) -> (ProvisionStatus, ProvisionSubStatus, ActionRequired) {
        use ProvisionStatus::{Active, Cancelled, Closed, Created, Failed, TokenResetRequested};
        use ProvisionSubStatus as Sub;
        match self {
            Self::User => (Created, Sub::PendingProcessUser, ActionRequired::System),
            Self::Relation => (Created, Sub::PendingProcessRelationUser, ActionRequired::System),
            Self::OauthRequest => (Created, Sub::PendingProcessOauthRequest, ActionRequired::System),
            Self::Onboarding => (Created, Sub::PendingProcessUserOnboarding, ActionRequired::User),
            Self::Active => (Active, Sub::None, ActionRequired::None),
            Self::Resetting => (TokenResetRequested, Sub::PendingProcessTokenReset, ActionRequired::System),
            Self::Closing => (Cancelled, Sub::PendingProcessClosure, ActionRequired::System),
            Self::Closed => (Closed, Sub::None, ActionRequired::None),
            Self::Failed => (Failed, Sub::None, ActionRequired::None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [LifeCycleStep; 9] = [
        LifeCycleStep::User,
        LifeCycleStep::Relation,
        LifeCycleStep::OauthRequest,
        LifeCycleStep::Onboarding,
        LifeCycleStep::Active,
        LifeCycleStep::Resetting,
        LifeCycleStep::Closing,
        LifeCycleStep::Closed,
        LifeCycleStep::Failed,
    ];

    /// The steps from `start` on, as bunq shows them, left to themselves.
    fn path(start: LifeCycleStep) -> Vec<String> {
        std::iter::successors(Some(start), |step| step.on(LifeCycleEvent::Progress))
            .map(|step| format!("{}/{}/{}", step.status(), step.sub_status(), step.action_required()))
            .collect()
    }

    #[test]
    fn creation_reset_and_closing_end() {
        test_timeout::start();
        assert_eq!(
            path(LifeCycleStep::User),
            [
                "CREATED/PENDING_PROCESS_USER/SYSTEM",
                "CREATED/PENDING_PROCESS_RELATION_USER/SYSTEM",
                "CREATED/PENDING_PROCESS_OAUTH_REQUEST/SYSTEM",
                "CREATED/PENDING_PROCESS_USER_ONBOARDING/USER",
                "ACTIVE/NONE/NONE",
            ]
        );
        assert_eq!(
            path(LifeCycleStep::Resetting),
            ["TOKEN_RESET_REQUESTED/PENDING_PROCESS_TOKEN_RESET/SYSTEM", "ACTIVE/NONE/NONE"]
        );
        assert_eq!(path(LifeCycleStep::Closing), ["CANCELLED/PENDING_PROCESS_CLOSURE/SYSTEM", "CLOSED/NONE/NONE"]);
        assert_eq!(path(LifeCycleStep::Failed), ["FAILED/NONE/NONE"]);
    }

    #[test]
    fn an_event_applies_to_its_states_alone() {
        test_timeout::start();
        use LifeCycleStep::*;
        let allowed = |event| STEPS.into_iter().filter(|step| step.on(event).is_some()).collect::<Vec<_>>();
        assert_eq!(allowed(LifeCycleEvent::Close), [User, Relation, OauthRequest, Onboarding, Active, Resetting]);
        assert_eq!(allowed(LifeCycleEvent::Reset), [Onboarding, Active]);
        assert_eq!(
            allowed(LifeCycleEvent::Fail),
            [User, Relation, OauthRequest, Onboarding, Active, Resetting, Closing]
        );
        assert!(STEPS.into_iter().filter_map(|step| step.on(LifeCycleEvent::Close)).all(|step| step == Closing));
        assert!(STEPS.into_iter().filter_map(|step| step.on(LifeCycleEvent::Reset)).all(|step| step == Resetting));
        assert!(STEPS.into_iter().filter_map(|step| step.on(LifeCycleEvent::Fail)).all(|step| step == Failed));
    }
}
