//! What came of an identity verification session.

use std::fmt;

use crate::types::{IdentityVerificationOutcome, IdentityVerificationSession};

/// What came of an identity verification session: see [`IdentityVerificationSession::outcome`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityOutcome {
    /// bunq knows who the user is.
    Approved,
    /// bunq does not know who the user is. bunq documents no other value than `APPROVED`.
    NotApproved {
        /// bunq's word for it, such as `REJECTED`.
        result: String,
        /// Why, in bunq's words. bunq may give none. They are about a person: `Debug` shows only how many there are.
        reasons: Vec<String>,
    },
}

impl IdentityVerificationSession {
    /// Returns what came of the session; `None` until there is a result.
    pub fn outcome(&self) -> Option<IdentityOutcome> {
        let result = self.result.as_ref()?;
        Some(match &result.result {
            IdentityVerificationOutcome::Approved => IdentityOutcome::Approved,
            IdentityVerificationOutcome::Unknown(word) => {
                IdentityOutcome::NotApproved { result: word.clone(), reasons: result.all_fail_reason.clone() }
            }
        })
    }
}

impl fmt::Debug for IdentityOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approved => f.write_str("Approved"),
            Self::NotApproved { result, reasons } => {
                write!(f, "NotApproved({result}, {} reasons)", reasons.len())
            }
        }
    }
}
