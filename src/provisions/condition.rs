//! What a waiter waits for, as a pure function of the provision that was read.

use crate::types::{Credential, CredentialStatus, Phase, Provision};

/// A condition that a provision can meet.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// The provision is closed.
    Closed,
    /// It has a credential that has not been used yet.
    Ready,
    /// The same, but another credential than the old one.
    Reset { old: Option<Credential> },
}

/// How far a provision is from meeting a condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Met,
    Pending,
    /// It cannot be met any more, for this reason.
    Unattainable(&'static str),
}

impl Condition {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ready => "ready",
            Self::Reset { .. } => "ready with a new credential",
        }
    }

    /// The phases that a provision is in until it meets the condition.
    pub(super) fn pending(&self) -> &'static [Phase] {
        match self {
            Self::Closed => &[Phase::Closing],
            Self::Ready => &[Phase::Setup, Phase::Reset],
            Self::Reset { .. } => &[Phase::Reset],
        }
    }

    /// The other phases in which the wait ends.
    pub(super) fn ends(&self) -> &'static [Phase] {
        match self {
            Self::Closed => &[Phase::Closed, Phase::Failed],
            Self::Ready => &[Phase::Settled, Phase::Failed],
            Self::Reset { .. } => &[Phase::Settled, Phase::Setup, Phase::Failed],
        }
    }

    pub(super) fn evaluate(&self, seen: &Provision) -> Progress {
        use CredentialStatus::{Active, Expired};
        use Phase::{Closed, Closing, Failed, Reset, Settled, Setup, Unknown};
        match (self, seen.status.phase()) {
            (_, Failed) => Progress::Unattainable("bunq has failed to process it"),
            (Self::Closed, Closed) => Progress::Met,
            (Self::Closed, Setup | Settled | Reset | Closing | Unknown) => Progress::Pending,
            (Self::Ready | Self::Reset { .. }, Closing | Closed) => {
                Progress::Unattainable("it is being or has been closed")
            }
            // The credential that is still shown is about to be replaced.
            (Self::Ready | Self::Reset { .. }, Reset) => Progress::Pending,
            (Self::Ready, Setup | Settled | Unknown) => match (seen.fresh_credential(), &seen.credential) {
                (Some(_), _) => Progress::Met,
                (None, Some(Credential { status: Some(Active), .. })) => {
                    Progress::Unattainable("its credential is already in use; reset the token for a new one")
                }
                (None, Some(Credential { status: Some(Expired), .. })) => {
                    Progress::Unattainable("its credential has expired unused; reset the token for a new one")
                }
                _ => Progress::Pending,
            },
            (Self::Reset { old }, Setup | Settled | Unknown) => match (seen.fresh_credential(), &seen.credential) {
                (Some(fresh), _) if is_new(fresh, old.as_ref()) => Progress::Met,
                // By its id alone: the old one loses its token too when it is used.
                (None, Some(Credential { id: Some(id), status: Some(Active | Expired), .. }))
                    if old.as_ref().and_then(|old| old.id).is_some_and(|old| old != *id) =>
                {
                    Progress::Unattainable(
                        "its new credential is in use already, or has expired; reset the token again",
                    )
                }
                _ => Progress::Pending,
            },
        }
    }
}

/// A new credential has another id or token: bunq may show the old one for a while after a reset.
pub(super) fn is_new(fresh: &Credential, old: Option<&Credential>) -> bool {
    old.is_none_or(|old| fresh.id != old.id || fresh.token_value != old.token_value)
}
