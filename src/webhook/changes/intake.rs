//! Takes hints in: which object each asks for, and which ask for none.

use std::time::Duration;

use tokio::time::Instant;

use super::object::{Ask, Key};
use super::shared::Shared;
use crate::custody::Granted;
use crate::error::Error;
use crate::sync::lock;
use crate::types::{NotificationCategory, Timestamp};
use crate::users::Users;
use crate::webhook::mark::MarkedObject;
use crate::webhook::{EntryId, Hint, HintedObject};

pub(super) struct Intake {
    pub(super) users: Users,
    /// The categories that are handed on although no operation reads what they are about.
    pub(super) unconfirmed: Vec<NotificationCategory>,
}

/// What a hint asks for.
enum Asked {
    Object(MarkedObject),
    /// To be handed on as it is.
    Call(MarkedObject),
    /// It is about a user who is not in custody.
    Foreign,
    /// Nothing reads what it is about.
    Nothing,
}

impl Intake {
    /// Takes in what the journal has now, from the last entry on, as there is room.
    pub(super) async fn take_all(&self, shared: &Shared) -> Result<(), Error> {
        loop {
            if lock(&shared.objects).is_crowded() {
                shared.has_room.notified().await;
                continue;
            }
            let after = lock(&shared.cursor).last;
            let page = shared.journal.pending(after).await?;
            if page.is_empty() {
                lock(&shared.cursor).held.clear();
                return Ok(());
            }
            let mut done = Vec::new();
            for (entry, hint) in page {
                let is_held = lock(&shared.cursor).held.remove(&entry);
                if !is_held {
                    done.extend(self.take(shared, entry, hint).await);
                }
                lock(&shared.cursor).last = Some(entry);
            }
            shared.forget(done).await;
        }
    }

    /// Takes in again what was put off. Returns whether something still is.
    pub(super) async fn take_put_off(&self, shared: &Shared) -> bool {
        let (put_off, mut done) = (std::mem::take(&mut *lock(&shared.put_off)), Vec::new());
        for (entry, hint) in put_off {
            done.extend(self.take(shared, entry, hint).await);
        }
        shared.forget(done).await;
        !lock(&shared.put_off).is_empty()
    }

    /// Takes in the hint of an entry, which it returns if it is done. What the custody cannot say whose it is, is put off.
    async fn take(&self, shared: &Shared, entry: EntryId, hint: Hint) -> Option<EntryId> {
        match self.take_hint(shared, Some(entry), hint.clone()).await {
            Ok(is_asked) => (!is_asked).then_some(entry),
            Err(error) => {
                tracing::warn!(%error, "it is not known yet whose an object is that a call was about");
                lock(&shared.put_off).push((entry, hint));
                None
            }
        }
    }

    /// Takes in a hint, of an entry if it is from the journal. Returns whether something is asked for.
    pub(super) async fn take_hint(&self, shared: &Shared, entry: Option<EntryId>, hint: Hint) -> Result<bool, Error> {
        let (object, call) = match self.asked(&hint).await? {
            Asked::Object(object) => (object, None),
            Asked::Call(object) => (object, entry),
            Asked::Foreign => {
                lock(&shared.objects).numbers.foreign += 1;
                return Ok(false);
            }
            Asked::Nothing => {
                lock(&shared.objects).numbers.ignored += 1;
                return Ok(false);
            }
        };
        let (entries, claim) = (entry.into_iter().collect(), hint.updated);
        let is_provision = matches!(object.object, HintedObject::Provision(_));
        let hint = (!is_provision).then(|| Box::new(hint));
        shared.ask(Key { object, call }, Ask { entries, claim, hint });
        Ok(true)
    }

    async fn asked(&self, hint: &Hint) -> Result<Asked, Error> {
        let Some(object) = hint.object.clone() else { return Ok(Asked::Nothing) };
        let provision_id = match hint.user_id {
            Some(user) => match self.users.provisions_of(user, since(hint.arrived)).await? {
                Granted::To(provisions) => provisions.first().copied(),
                Granted::NotYet { .. } | Granted::Nobody => None,
            },
            None => None,
        };
        let of_user = MarkedObject { object, provision_id };
        Ok(match (&of_user.object, provision_id) {
            (HintedObject::Provision(_), _) => Asked::Object(MarkedObject { provision_id: None, ..of_user }),
            (HintedObject::Onboarding(_) | HintedObject::Inquiry(_), Some(_)) => Asked::Object(of_user),
            (HintedObject::Onboarding(_) | HintedObject::Inquiry(_), None) => Asked::Foreign,
            (HintedObject::Other { .. }, _) => match &hint.category {
                Some(category) if self.unconfirmed.contains(category) => Asked::Call(of_user),
                _ => Asked::Nothing,
            },
        })
    }
}

/// When a call arrived, by the clock of listings. One that has perhaps arrived before this machine was started arrives now.
fn since(arrived: Timestamp) -> Instant {
    let now = Instant::now();
    let age = Duration::try_from(jiff::Timestamp::now().duration_since(arrived.as_jiff())).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}
