//! Takes hints in: which object each asks for, and which ask for none.

use super::object::{Ask, Key};
use super::shared::Shared;
use crate::error::Error;
use crate::sync::lock;
use crate::types::NotificationCategory;
use crate::webhook::mark::MarkedObject;
use crate::webhook::{EntryId, Hint, HintedObject};

pub(super) struct Intake {
    /// The categories that are handed on although no operation reads what they are about.
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
                match self.asked(Some(entry), hint) {
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

    /// What a hint asks for, of an entry if it is from the journal. `None` if nothing reads what it is about.
    pub(super) fn asked(&self, entry: Option<EntryId>, hint: Hint) -> Option<(Key, Ask)> {
        let object = MarkedObject { object: hint.object.clone()?, provision_id: None };
        let key = match &object.object {
            HintedObject::Provision(_) => Key::of(object),
            HintedObject::Onboarding(_) | HintedObject::Inquiry(_) => {
                Key { user: Some(hint.user_id?), ..Key::of(object) }
            }
            HintedObject::Other { .. } => {
                hint.category.as_ref().filter(|category| self.unconfirmed.contains(category))?;
                Key { object, call: entry, user: hint.user_id }
            }
        };
        let (entries, claim) = (entry.into_iter().collect(), hint.updated);
        let is_provision = matches!(key.object.object, HintedObject::Provision(_));
        let hint = (!is_provision).then(|| Box::new(hint));
        Some((key, Ask { entries, claim, hint, ..Ask::default() }))
    }
}
