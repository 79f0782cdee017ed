//! Takes hints in: which object each asks for, and which ask for none.

use super::object::{Ask, CallId, Key};
use super::shared::Shared;
use crate::error::Error;
use crate::sync::lock;
use crate::types::NotificationCategory;
use crate::webhook::mark::MarkedObject;
use crate::webhook::{Hint, HintedObject};

pub(super) struct Intake {
    /// The categories that are handed on although nothing reads what they are about.
    pub(super) unconfirmed: Vec<NotificationCategory>,
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
                match self.asked(CallId::Entry(entry), hint) {
                    _ if is_held => {}
                    Some((key, ask)) => shared.ask(key, ask),
                    None => done.push(entry),
                }
                lock(&shared.cursor).last = Some(entry);
            }
            lock(&shared.objects).numbers.ignored += done.len() as u64;
            shared.forget(done).await;
        }
    }

    /// What a call asks for. `None` if nothing reads what it is about, and nobody has asked for its category.
    pub(super) fn asked(&self, call: CallId, hint: Hint) -> Option<(Key, Ask)> {
        let key = match (&hint.object, hint.user_id) {
            (Some(object @ HintedObject::Provision(_)), _) => {
                Key::Object(MarkedObject { object: object.clone(), provision_id: None })
            }
            (Some(object @ (HintedObject::Onboarding(_) | HintedObject::Inquiry(_))), Some(user)) => {
                Key::OfUser(object.clone(), user)
            }
            (Some(HintedObject::Onboarding(_) | HintedObject::Inquiry(_)), None)
            | (Some(HintedObject::Other { .. }) | None, _) => {
                hint.category.as_ref().filter(|category| self.unconfirmed.contains(category))?;
                Key::Call(call)
            }
        };
        let entries = match call {
            CallId::Entry(entry) => vec![entry],
            CallId::Failure(_) => Vec::new(),
        };
        let claim = hint.updated;
        let hint = key.object().is_none().then(|| Box::new(hint));
        Some((key, Ask { entries, claim, hint, ..Ask::default() }))
    }
}
