//! The conditions that a provision can be waited for to meet.

use std::sync::Arc;

use uuid::Uuid;

use super::existing::Existing;
use super::search;
use crate::api::Api;
use crate::error::{CallMetadata, Error};
use crate::feed::{Acceptance, Condition, Evaluation, Feed, Waiter};
use crate::operation::Operation;
use crate::reconcile::InFlight;
use crate::types::{
    CreateProvisionRequest, Credential, CredentialStatus, Phase, Provision, ProvisionStatus, Timestamp,
};

/// What a provision is waited for to be, and what it is compared with before that.
#[derive(Debug, Clone)]
pub struct ProvisionCondition {
    goal: Goal,
    creation: Option<Creation>,
}

/// What a provision can be waited for to be.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// The provision is closed.
    Closed,
    /// It has a credential that has not been used yet.
    Ready,
    /// The same, but another credential than the old one.
    Reset { old: Option<Credential> },
}

/// How a provision was created, or found instead.
#[derive(Debug, Clone)]
struct Creation {
    feed: Feed,
    external_uuid: Uuid,
    /// When, if it was found.
    created: Option<Timestamp>,
    /// What was requested, if the provision existed already.
    requested: Option<Arc<CreateProvisionRequest>>,
    /// The requests before the one that has created it: each may have created another.
    earlier: InFlight,
}

impl From<Goal> for ProvisionCondition {
    fn from(goal: Goal) -> Self {
        Self { goal, creation: None }
    }
}

impl Waiter {
    /// Compares the provision with this request, which created it after these earlier requests, or found one of this time.
    pub(super) fn of_creation(
        mut self,
        created: Option<Timestamp>,
        new: &CreateProvisionRequest,
        earlier: InFlight,
    ) -> Self {
        let (feed, external_uuid) = (self.feed.clone(), *new.external_uuid());
        let requested = (self.acceptance() == Acceptance::Already).then(|| Arc::new(new.clone()));
        self.condition.creation = Some(Creation { feed, external_uuid, created, requested, earlier });
        self
    }

    /// The requests before the one that has created the provision.
    pub(crate) fn earlier_requests(&self) -> InFlight {
        self.condition.creation.as_ref().map_or(InFlight::NONE, |creation| creation.earlier)
    }

    /// When bunq created the provision, if a creation has found one that existed, as with
    /// [`Already`](Acceptance::Already). `None` if bunq's response confirmed the creation, or nothing was to be created.
    pub fn created(&self) -> Option<Timestamp> {
        self.condition.creation.as_ref()?.created
    }
}

impl Condition<Provision> for ProvisionCondition {
    fn name(&self) -> &'static str {
        self.goal.name()
    }

    fn pending(&self) -> Vec<ProvisionStatus> {
        ProvisionStatus::of(self.goal.pending())
    }

    fn ends(&self) -> Vec<ProvisionStatus> {
        ProvisionStatus::of(self.goal.ends())
    }

    fn evaluate(&self, seen: &Provision) -> Evaluation {
        self.goal.evaluate(seen)
    }

    /// Compares a provision that was created with what was requested. If it was requested more than once, it is ready only
    /// if there is no other.
    async fn confirm(&self, api: &Api, seen: &Provision) -> Result<(), Error> {
        let Some(Creation { feed, external_uuid, requested, earlier, .. }) = &self.creation else { return Ok(()) };
        if let Some(other) = seen.external_uuid.filter(|other| other != external_uuid) {
            let problem = format_args!(
                "provision {} has the external_uuid {other}, not {external_uuid}: the response to its creation was about \
                 another; search for it",
                seen.id
            );
            let metadata = CallMetadata::new(&Operation::CREATE_PROVISION, 1);
            return Err(Error::invalid_response(metadata, problem));
        }
        if let Some(requested) = requested {
            // bunq may not have shown all of it before.
            let compared = Existing::from(seen).compare(requested);
            compared.map_err(|error| error.with_last_seen(Arc::new(seen.clone())))?;
        }
        if earlier.is_any() && self.evaluate(seen) == Evaluation::Met {
            search::find(feed.over(api.clone()), *external_uuid).await?;
        }
        Ok(())
    }
}

impl Goal {
    fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ready => "ready",
            Self::Reset { .. } => "ready with a new credential",
        }
    }

    /// The phases that a provision is in until it meets the condition.
    fn pending(&self) -> &'static [Phase] {
        match self {
            Self::Closed => &[Phase::Closing],
            Self::Ready => &[Phase::Setup, Phase::Reset],
            Self::Reset { .. } => &[Phase::Reset],
        }
    }

    /// The other phases in which the wait ends.
    fn ends(&self) -> &'static [Phase] {
        match self {
            Self::Closed => &[Phase::Closed, Phase::Failed],
            Self::Ready => &[Phase::Settled, Phase::Failed],
            Self::Reset { .. } => &[Phase::Settled, Phase::Setup, Phase::Failed],
        }
    }

    fn evaluate(&self, seen: &Provision) -> Evaluation {
        use CredentialStatus::{Active, Expired};
        use Phase::{Closed, Closing, Failed, Reset, Settled, Setup, Unknown};
        match (self, seen.status.phase()) {
            (_, Failed) => Evaluation::Unattainable("bunq has failed to process it"),
            (Self::Closed, Closed) => Evaluation::Met,
            (Self::Closed, Setup | Settled | Reset | Closing | Unknown) => Evaluation::Pending,
            (Self::Ready | Self::Reset { .. }, Closing | Closed) => {
                Evaluation::Unattainable("it is being or has been closed")
            }
            // The credential that is still shown is about to be replaced.
            (Self::Ready | Self::Reset { .. }, Reset) => Evaluation::Pending,
            (Self::Ready, Setup | Settled | Unknown) => match (seen.fresh_credential(), &seen.credential) {
                (Some(_), _) => Evaluation::Met,
                (None, Some(Credential { status: Some(Active), .. })) => {
                    Evaluation::Unattainable("its credential is already in use; reset the token for a new one")
                }
                (None, Some(Credential { status: Some(Expired), .. })) => {
                    Evaluation::Unattainable("its credential has expired unused; reset the token for a new one")
                }
                _ => Evaluation::Pending,
            },
            (Self::Reset { old }, Setup | Settled | Unknown) => match (seen.fresh_credential(), &seen.credential) {
                (Some(fresh), _) if is_new(fresh, old.as_ref()) => Evaluation::Met,
                // By its id only: the old one loses its token too when it is used.
                (None, Some(Credential { id: Some(id), status: Some(Active | Expired), .. }))
                    if old.as_ref().and_then(|old| old.id).is_some_and(|old| old != *id) =>
                {
                    Evaluation::Unattainable(
                        "its new credential is in use already, or has expired; reset the token again",
                    )
                }
                _ => Evaluation::Pending,
            },
        }
    }
}

/// A new credential has another id or token: bunq may show the old one for a while after a reset.
pub(super) fn is_new(fresh: &Credential, old: Option<&Credential>) -> bool {
    old.is_none_or(|old| fresh.id != old.id || fresh.token_value != old.token_value)
}
