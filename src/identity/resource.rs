//! Identity verification sessions as a resource that can be waited for.

use std::convert::Infallible;

use crate::api::{Api, Response};
use crate::error::Error;
use crate::feed::{Condition, Evaluation, Readable, Resource};
use crate::operation::Operation;
use crate::types::{
    IdentityVerificationSession, IdentityVerificationSessionId, IdentityVerificationSessionStatus as Status,
};

impl Resource for IdentityVerificationSession {
    type Condition = Processed;

    fn is_terminal(&self) -> bool {
        self.status == Status::Processed
    }

    fn progress(&self) -> String {
        match &self.result {
            Some(result) => format!("{} with {}", self.status, result.result),
            None => self.status.to_string(),
        }
    }
}

impl Readable for IdentityVerificationSession {
    type Id = IdentityVerificationSessionId;
    type State = Infallible;

    const NAME: &'static str = "identity verification session";
    const LIST: Option<&'static Operation> = None;
    const GET: &'static Operation = &Operation::GET_IDENTITY_VERIFICATION_SESSION;

    fn id(&self) -> IdentityVerificationSessionId {
        self.id
    }

    /// The token is handed out by [`Identity`](crate::Identity) alone.
    async fn read(api: &Api, id: IdentityVerificationSessionId) -> Result<Self, Error> {
        let session = api.get_identity_verification_session(id).await.map(Response::into_inner)?;
        Ok(Self { token: None, ..session })
    }
}

/// The session has its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed;

impl Condition<IdentityVerificationSession> for Processed {
    fn name(&self) -> &'static str {
        "processed"
    }

    fn pending(&self) -> Vec<Infallible> {
        Vec::new()
    }

    fn ends(&self) -> Vec<Infallible> {
        Vec::new()
    }

    fn evaluate(&self, seen: &IdentityVerificationSession) -> Evaluation {
        match (&seen.status, &seen.result) {
            // bunq may call it otherwise when it has a result.
            (Status::Processed | Status::Unknown(_), Some(_)) => Evaluation::Met,
            (Status::Processed | Status::Unknown(_), None) | (Status::Created | Status::Submitted, _) => {
                Evaluation::Pending
            }
        }
    }
}
