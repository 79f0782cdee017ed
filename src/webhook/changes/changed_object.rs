//! What has changed, as it was read.

use std::sync::Arc;

use crate::types::{Provision, ProvisionId, UserInformationInquiry, UserOnboarding};
use crate::webhook::Hint;

/// What has changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ChangedObject {
    /// A provision, as it was read.
    Provision(Arc<Provision>),
    /// The onboarding of a user, as it was read.
    Onboarding {
        /// The provision that has made the user.
        provision_id: ProvisionId,
        /// The onboarding.
        onboarding: Arc<UserOnboarding>,
    },
    /// An inquiry about a user, as it was read.
    Inquiry {
        /// The provision that has made the user.
        provision_id: ProvisionId,
        /// The inquiry.
        inquiry: Arc<UserInformationInquiry>,
    },
    /// Something that a call claims, and that nobody has confirmed: the call may be forged. Ids alone are known, and of some calls not even
    /// these.
    ///
    /// The session of the user is not open or cannot be used, or nothing reads what the call is about. While one about an onboarding
    /// waits to be taken, it stands for all calls about onboardings of that user, and so does one about an inquiry: an outsider can make
    /// up ids.
    Unconfirmed {
        /// The provision that has made the user. `None` if the call does not say whose object it is about, or the user is not in custody.
        provision_id: Option<ProvisionId>,
        /// What the call says. A call that bunq lists as failed names no kind of its object.
        hint: Box<Hint>,
    },
}

impl ChangedObject {
    /// The call, if nobody has confirmed it.
    pub(super) fn into_hint(self) -> Option<Box<Hint>> {
        match self {
            Self::Unconfirmed { hint, .. } => Some(hint),
            Self::Provision(_) | Self::Onboarding { .. } | Self::Inquiry { .. } => None,
        }
    }
}
