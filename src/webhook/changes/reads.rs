//! Reads what a call claims to have changed, over the verified API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::object::{Ask, Key, Seen};
use super::version::{Digester, Version};
use crate::custody::Granted;
use crate::error::{Error, ErrorKind};
use crate::feed::{HeardBy, Resource};
use crate::operation::Operation;
use crate::provisions::Provisions;
use crate::types::{ProvisionId, UserId, UserInformationInquiryId, UserOnboardingId};
use crate::users::{UserClient, Users};
use crate::webhook::mark::{Mark, MarkedObject};
use crate::webhook::{Hint, HintJournal, HintedObject};

/// What reads objects.
pub(super) struct Reads {
    pub(super) provisions: Provisions,
    pub(super) users: Users,
    pub(super) digester: Digester,
    /// Whether the custody could not be listed the last time.
    pub(super) is_custody_lost: AtomicBool,
    /// Whether a session of a user may be opened.
    pub(super) opens_sessions: bool,
}

/// What came of a read.
pub(super) enum Outcome {
    /// It is known to which users the object may belong.
    Belongs(Granted),
    /// It has shown a state, or the call is to be handed on unconfirmed. The mark is the journal's, after the read.
    Seen(Seen, Option<Mark>),
    /// The call claims nothing that was not handed on and done: nothing was read.
    Known,
    /// bunq has no such object, or not for this caller.
    NotOurs,
    /// A page of the listing lacks it. Its id is so far from the newest that is listed.
    NotListed { distance_to_newest: u64 },
    /// The session of the user is not open, and one may be opened for the call.
    WantsSession(Box<Hint>),
    /// The session of the user is not open, and there is no call to hand on.
    NotOpen,
}

impl Reads {
    /// The provisions that have made a user whom a call has named since a moment. It costs no request.
    async fn whose(&self, user: UserId, since: Instant) -> Result<Granted, Error> {
        let found = self.users.provisions_of(user, since).await;
        match (&found, self.is_custody_lost.swap(found.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(%error, "it is not known yet whose the objects are that calls about users name");
            }
            (Ok(_), true) => tracing::info!("it is known again whose the objects are that calls about users name"),
            (Err(_), true) | (Ok(_), false) => {}
        }
        found
    }

    /// Does what a call asks for.
    pub(super) async fn outcome(&self, journal: &dyn HintJournal, key: &Key, ask: Ask) -> Result<Outcome, Error> {
        let since = ask.since.unwrap_or_else(Instant::now);
        match key {
            Key::Object(object) => self.read(journal, object, ask).await,
            Key::OfUser(_, user) => self.whose(*user, since).await.map(Outcome::Belongs),
            Key::Call(_) => {
                let Some(hint) = ask.hint else { return Ok(Outcome::NotOpen) };
                let granted = match hint.user_id {
                    Some(user) => self.whose(user, since).await?,
                    None => Granted::Nobody,
                };
                let provision_id = match granted {
                    Granted::To(ids) => ids.first().copied(),
                    Granted::NotYet { .. } => return Ok(Outcome::Belongs(granted)),
                    Granted::Nobody => None,
                };
                Ok(Outcome::Seen(Seen::unconfirmed(provision_id, hint), None))
            }
        }
    }

    async fn read(&self, journal: &dyn HintJournal, object: &MarkedObject, ask: Ask) -> Result<Outcome, Error> {
        let Ask { entries, claim, hint, is_session_tried, is_unlisted, .. } = ask;
        if let Some(claim) = claim
            && let Some(mark) = journal.mark_of(object).await?
            && mark.is_done
            && Version::of(&mark).covers(claim)
        {
            return Ok(Outcome::Known);
        }
        let by = match (is_unlisted, entries.is_empty()) {
            (true, _) => HeardBy::Again,
            (false, true) => HeardBy::Look,
            (false, false) => HeardBy::Call(claim),
        };
        let seen = match self.seen(object, by).await {
            Ok(seen) => seen,
            // One that was handed on is there: bunq lags behind itself.
            Err(error) if is_not_found(&error) && journal.mark_of(object).await?.is_none() => {
                // Only an answer about this object has a status.
                return Ok(match error.status() {
                    Some(_) => Outcome::NotOurs,
                    None => Outcome::NotListed { distance_to_newest: self.distance_to_newest(object) },
                });
            }
            Err(error) => return Err(error),
        };
        match (seen, hint) {
            (Some(seen), _) => Ok(Outcome::Seen(seen, journal.mark_of(object).await?)),
            // A look opens none.
            (None, Some(hint)) if self.opens_sessions && !is_session_tried && !entries.is_empty() => {
                Ok(Outcome::WantsSession(hint))
            }
            (None, Some(hint)) => Ok(Outcome::Seen(Seen::unconfirmed(object.provision_id, hint), None)),
            (None, None) => Ok(Outcome::NotOpen),
        }
    }

    /// How far an id is from the newest that is listed.
    fn distance_to_newest(&self, object: &MarkedObject) -> u64 {
        match object.object {
            HintedObject::Provision(id) => self.provisions.feed().distance_to_newest(id),
            // A user has few.
            HintedObject::Onboarding(_) | HintedObject::Inquiry(_) | HintedObject::Other { .. } => 0,
        }
    }

    /// Reads an object. `None`: nothing reads it, or not now.
    async fn seen(&self, object: &MarkedObject, by: HeardBy) -> Result<Option<Seen>, Error> {
        match (&object.object, object.provision_id) {
            (&HintedObject::Provision(id), _) => {
                let provision = self.provisions.feed().hear(id, by).await?;
                let (version, is_under_way) = (self.digester.provision(&provision)?, provision.status.is_in_progress());
                Ok(Some(Seen { object: ChangedObject::Provision(provision), version: Some(version), is_under_way }))
            }
            (&HintedObject::Onboarding(id), Some(provision_id)) => self.onboarding(provision_id, id, by).await,
            (&HintedObject::Inquiry(id), Some(provision_id)) => self.inquiry(provision_id, id, by).await,
            (HintedObject::Onboarding(_) | HintedObject::Inquiry(_), None) | (HintedObject::Other { .. }, _) => {
                Ok(None)
            }
        }
    }

    async fn onboarding(
        &self,
        provision_id: ProvisionId,
        id: UserOnboardingId,
        by: HeardBy,
    ) -> Result<Option<Seen>, Error> {
        let Some(user) = self.open_user(provision_id).await? else { return Ok(None) };
        let Some(onboarding) = if_still_open(user.onboardings_feed().hear(id, by).await)? else { return Ok(None) };
        let (version, is_under_way) = (Some(self.digester.onboarding(&onboarding)?), onboarding.outcome().is_none());
        Ok(Some(Seen { object: ChangedObject::Onboarding { provision_id, onboarding }, version, is_under_way }))
    }

    async fn inquiry(
        &self,
        provision_id: ProvisionId,
        id: UserInformationInquiryId,
        by: HeardBy,
    ) -> Result<Option<Seen>, Error> {
        let Some(user) = self.open_user(provision_id).await? else { return Ok(None) };
        let Some(inquiry) = if_still_open(user.inquiries_feed().hear(id, by).await)? else { return Ok(None) };
        let (version, is_under_way) = (Some(self.digester.inquiry(&inquiry)?), !inquiry.is_terminal());
        Ok(Some(Seen { object: ChangedObject::Inquiry { provision_id, inquiry }, version, is_under_way }))
    }

    /// A client of the user whose calls open no session. `None` if none is open.
    async fn open_user(&self, id: ProvisionId) -> Result<Option<UserClient>, Error> {
        let user = self.users.of(id);
        match user.if_open().await {
            // What is in custody cannot be used. If the custody cannot be reached, it is read again.
            Err(error) if error.kind() == ErrorKind::Context && !error.is_retryable() => {
                tracing::debug!(%error, provision = %id, "the session of a user is not used for a call");
                Ok(None)
            }
            open => open,
        }
    }
}

/// Whether bunq says that there is no such object, or not for this caller. It refuses for other reasons too, and for a while.
fn is_not_found(error: &Error) -> bool {
    const BY_ID: [&Operation; 3] =
        [&Operation::GET_PROVISION, &Operation::GET_USER_ONBOARDING, &Operation::GET_USER_INFORMATION_INQUIRY];
    // A refusal of a page says nothing about an id.
    let is_by_id = || error.operation().is_some_and(|operation| BY_ID.contains(&operation));
    error.is_from_bunq()
        && match error.kind() {
            ErrorKind::NotFound => true,
            // It takes no such id.
            ErrorKind::Rejected => error.status() == Some(400) && is_by_id(),
            _ => false,
        }
}

/// What was read. `None` if bunq has refused the session: it is not open any more.
fn if_still_open<T>(read: Result<Arc<T>, Error>) -> Result<Option<Arc<T>>, Error> {
    match read {
        Err(error) if error.kind() == ErrorKind::Unauthorized => Ok(None),
        read => read.map(Some),
    }
}
