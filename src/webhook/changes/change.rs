//! A change that is handed on.

use std::fmt;
use std::sync::Arc;

use super::object::Key;
use super::shared::Shared;
use crate::error::Error;
use crate::types::{Provision, ProvisionId, UserInformationInquiry, UserOnboarding};
use crate::webhook::Hint;

/// An object that has changed, as [`Changes`](crate::webhook::Changes) hand it on.
///
/// It stays in the journal until it is [`done`](Self::done). Dropped without that, it is handed on again after a pause, of a second at first
/// and of five minutes at most, in the state that the object then has. Until it is done, later states of the same object wait; changes of
/// other objects do not.
#[must_use = "a change that is dropped without `done` is handed on again"]
pub struct Change {
    object: ChangedObject,
    /// What becomes of it is told to these; `None` once it was.
    given: Option<(Arc<Shared>, Key)>,
}

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
    /// Something that a call claims, and that nobody has confirmed: the call may be forged. Ids alone are known.
    ///
    /// The session of the user is not open, or no operation reads what the call is about.
    Unconfirmed {
        /// The provision that has made the user. `None` if the call does not say whose object it is about.
        provision_id: Option<ProvisionId>,
        /// What the call says.
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

impl Change {
    pub(super) fn new(object: ChangedObject, shared: Arc<Shared>, key: Key) -> Self {
        Self { object, given: Some((shared, key)) }
    }

    /// What has changed.
    pub fn object(&self) -> &ChangedObject {
        &self.object
    }

    /// The work for this change is done: it is not handed on again. It returns when the journal has that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the journal cannot be written. The change is handed on again then, as it is if
    /// the future is dropped.
    pub async fn done(self) -> Result<(), Error> {
        let mut given = self;
        let Some((shared, key)) = &given.given else { return Ok(()) };
        shared.done(key).await?;
        given.given = None;
        Ok(())
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if let Some((shared, key)) = self.given.take() {
            shared.dropped(&key, &self.object);
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("object", &self.object).finish_non_exhaustive()
    }
}
