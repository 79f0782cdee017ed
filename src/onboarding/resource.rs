//! The onboarding of a user as a resource that can be waited for: how far it is, whose turn it is, and how it ends.

use crate::api::{Api, Response};
use crate::error::Error;
use crate::feed::{Condition, Evaluation, Readable, Resource};
use crate::operation::Operation;
use crate::provisions::WaitingFor;
use crate::types::{
    ActionRequired, Cursor, ListUserOnboardingsQuery, Page, PageSize, UserOnboarding, UserOnboardingId,
    UserOnboardingStatus,
};

/// How an onboarding has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnboardingOutcome {
    /// The user has the verification that was asked for.
    Reached,
    /// bunq does not take the user, or has blocked or frozen it: the status says which. bunq says no more.
    Denied(UserOnboardingStatus),
}

impl UserOnboarding {
    /// How it has ended; `None` while it goes on, or if its status is one that this version does not know.
    pub fn outcome(&self) -> Option<OnboardingOutcome> {
        let status = self.status.as_ref()?;
        match status {
            UserOnboardingStatus::Denied | UserOnboardingStatus::Blocked | UserOnboardingStatus::Frozen => {
                Some(OnboardingOutcome::Denied(status.clone()))
            }
            UserOnboardingStatus::Verified
            | UserOnboardingStatus::ElectronicMoney
            | UserOnboardingStatus::Unknown(_) => {
                let desired = self.user_verification_status_desired.as_ref()?;
                (desired.as_str() == status.as_str()).then_some(OnboardingOutcome::Reached)
            }
        }
    }

    /// Who has to act before it can go on.
    pub fn waiting_for(&self) -> WaitingFor {
        match (&self.action_required, self.outcome()) {
            (Some(ActionRequired::User), _) => WaitingFor::User,
            (Some(ActionRequired::System), _) => WaitingFor::Bunq,
            (Some(ActionRequired::None), _) | (None, Some(_)) => WaitingFor::Nobody,
            (Some(ActionRequired::Unknown(_)) | None, _) => WaitingFor::Unknown,
        }
    }
}

impl Resource for UserOnboarding {
    type Condition = OnboardingCondition;

    /// It goes on when more is asked for.
    fn is_terminal(&self) -> bool {
        false
    }

    fn progress(&self) -> String {
        let status = self.status.as_ref().map_or("no status", UserOnboardingStatus::as_str);
        let action = self.action_required.as_ref().map_or("nothing", ActionRequired::as_str);
        format!("{status}, with {action} in action_required")
    }
}

impl Readable for UserOnboarding {
    type Id = UserOnboardingId;
    /// Their listing has no filter.
    type State = ();

    const NAME: &'static str = "onboarding";
    const LIST: Option<&'static Operation> = Some(&Operation::LIST_USER_ONBOARDINGS);
    const GET: &'static Operation = &Operation::GET_USER_ONBOARDING;

    fn id(&self) -> UserOnboardingId {
        self.id
    }

    #[cfg(feature = "webhook")]
    fn updated(&self) -> Option<crate::types::Timestamp> {
        self.updated
    }

    fn state(&self) -> Option<()> {
        Some(())
    }

    fn states() -> Vec<()> {
        vec![()]
    }

    async fn read(api: &Api, id: UserOnboardingId) -> Result<Self, Error> {
        api.get_user_onboarding(id).await.map(Response::into_inner)
    }

    async fn read_page(api: &Api, _states: &[()], cursor: Option<Cursor>) -> Result<Page<Self>, Error> {
        let query = ListUserOnboardingsQuery { cursor, ..Default::default() }.count(PageSize::MAX);
        api.list_user_onboardings(query).await.map(Response::into_inner)
    }
}

/// What an onboarding can be waited for to be: over, with whatever outcome.
#[derive(Debug, Clone)]
pub struct OnboardingCondition;

impl Condition<UserOnboarding> for OnboardingCondition {
    fn name(&self) -> &'static str {
        "over"
    }

    fn pending(&self) -> Vec<()> {
        vec![()]
    }

    fn ends(&self) -> Vec<()> {
        vec![()]
    }

    fn evaluate(&self, seen: &UserOnboarding) -> Evaluation {
        if seen.outcome().is_some() { Evaluation::Met } else { Evaluation::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_matches_no_known_state() {
        test_timeout::start();
        let reached = Some(OnboardingOutcome::Reached);
        let denied = |status| Some(OnboardingOutcome::Denied(status));
        for (members, outcome, waiting_for) in [
            ("", None, WaitingFor::Unknown),
            (r#", "action_required": "USER""#, None, WaitingFor::User),
            (r#", "action_required": "SYSTEM", "status": "ELECTRONIC_MONEY""#, None, WaitingFor::Bunq),
            (r#", "action_required": "NONE", "status": "ELECTRONIC_MONEY""#, None, WaitingFor::Nobody),
            // Nothing was asked for, so nothing is reached.
            (r#", "status": "VERIFIED""#, None, WaitingFor::Unknown),
            (
                r#", "status": "VERIFIED", "user_verification_status_desired": "VERIFIED""#,
                reached.clone(),
                WaitingFor::Nobody,
            ),
            (r#", "status": "TRUSTED", "user_verification_status_desired": "TRUSTED""#, reached, WaitingFor::Nobody),
            (r#", "status": "TRUSTED", "user_verification_status_desired": "VERIFIED""#, None, WaitingFor::Unknown),
            (
                r#", "status": "DENIED", "action_required": "NONE""#,
                denied(UserOnboardingStatus::Denied),
                WaitingFor::Nobody,
            ),
            (r#", "status": "FROZEN""#, denied(UserOnboardingStatus::Frozen), WaitingFor::Nobody),
            (
                r#", "status": "BLOCKED", "action_required": "USER""#,
                denied(UserOnboardingStatus::Blocked),
                WaitingFor::User,
            ),
            (r#", "action_required": "NOTARY""#, None, WaitingFor::Unknown),
        ] {
            let seen: UserOnboarding = serde_json::from_str(&format!(r#"{{"id": 7{members}}}"#)).unwrap();
            assert_eq!((seen.outcome(), seen.waiting_for()), (outcome, waiting_for), "{members}");
        }
    }
}
