//! A run of `onboard`: where its answers come from, and what has come of it.

use std::time::Duration;

use bunq_partner::types::{
    Fulfillment, FulfillmentType, RequestedUserStatus, RequestedUserVerificationStatus, UpdateUserOnboardingRequest,
};
use bunq_partner::{Error, ErrorKind, FulfillmentAnswer, UserClient};
use tokio::time::Instant;

use super::super::arguments::OnboardOptions;
use super::super::exit::Failure;
use super::super::invocation::Invocation;
use super::answers::Answers;
use super::asking;
use super::giving::{GOES_ON, Giving};
use super::shown::Progress;

/// Where answers come from.
pub(super) enum Source {
    File(Answers),
    Person,
    Nobody,
}

impl Source {
    pub(super) async fn answer(&mut self, fulfillment: &Fulfillment) -> Result<Option<FulfillmentAnswer>, Failure> {
        match self {
            Self::File(answers) => Ok(answers.take(&fulfillment.type_)),
            Self::Person => asking::ask(fulfillment).await,
            Self::Nobody => Ok(None),
        }
    }
}

/// The onboarding of one user, and what has come of it.
pub(super) struct Onboard<'a> {
    pub(super) invocation: &'a Invocation,
    pub(super) options: &'a OnboardOptions,
    pub(super) user: UserClient,
    pub(super) source: Source,
    pub(super) progress: Progress,
    pub(super) giving: &'a Giving,
    /// What has no answer is not asked for again.
    pub(super) left_out: Vec<FulfillmentType>,
    pub(super) deadline: Instant,
}

pub(super) fn statuses() -> UpdateUserOnboardingRequest {
    UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified)
}

impl Onboard<'_> {
    /// Ends a run that was interrupted, where no request would follow that tells.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        match self.invocation.connection.shutdown.has_begun() {
            true => Err(Failure::interrupted(None)),
            false => Ok(()),
        }
    }

    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The failure of a call that may be made again, by the same command.
    pub(super) fn goes_on(&self, error: Error) -> Failure {
        let passes = error.is_doubtful() || error.kind() == ErrorKind::WaitTimeout;
        let failure = Failure::from(error);
        match passes {
            true => failure.with_hint(GOES_ON),
            false => failure,
        }
    }
}
