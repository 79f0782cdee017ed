//! Calls that nobody has confirmed and that wait to be taken. Nothing here does I/O.

use std::mem::{Discriminant, discriminant};

use tokio::time::Instant;

use super::object::{Ask, Key, Stage, Told};
use super::objects::Objects;
use crate::types::ProvisionId;
use crate::webhook::mark::MarkedObject;
use crate::webhook::{EntryId, HintedObject};

/// For how many objects of a user one call that nobody has confirmed may stand, so that all of them are read once its session is open.
const MAX_MERGED: usize = 100;

/// How many wait to be taken.
const MAX_UNCONFIRMED: usize = 10_000;

impl Objects {
    /// The session of a user is open, or of any: what was not confirmed because of that, and not taken yet, is read.
    pub(super) fn opened(&mut self, id: Option<ProvisionId>, now: Instant) {
        let is_of_user = |key: &&Key| key.provision_id().is_some_and(|own| id.is_none_or(|id| own == id));
        let keys: Vec<_> = self.known.keys().filter(is_of_user).cloned().collect();
        for key in keys {
            let Some(object) = self.known.get_mut(&key) else { continue };
            // It may have found no session.
            let read = object.reading.as_ref().filter(|ask| ask.hint.is_some()).map(|ask| ask.hint.clone());
            let unconfirmed = object.next.take_if(|next| next.seen.version.is_none());
            let next = unconfirmed.map(|next| (next.entries, next.seen.object.into_hint()));
            let place = object.place;
            let told = object.told.take_if(|told| told.version.is_none() && matches!(told.stage, Stage::Ready(_)));
            for (entries, hint) in read.map(|hint| (Vec::new(), hint)).into_iter().chain(next) {
                self.ask(key.clone(), Ask { entries, hint, ..Ask::default() }, now);
            }
            let Some(told) = told else { continue };
            self.take_back(place);
            if let Told { stage: Stage::Ready(state), entries, merged, .. } = *told {
                self.ask(key, Ask { entries, hint: state.into_hint(), ..Ask::default() }, now);
                self.ask_each(merged, now);
            }
        }
    }

    /// A call waits to be taken unconfirmed, or another one stands for it: whoever knows the path of the receiver can make up ids. If too
    /// many wait, it is left out, and its entries are returned, which are done.
    pub(super) fn have_taken_unconfirmed(&mut self, key: Key) -> Vec<EntryId> {
        let Some(object) = self.known.get_mut(&key) else { return Vec::new() };
        let kind = kind_of_user(&key);
        let first = kind.as_ref().and_then(|kind| self.standing.get(kind)).cloned();
        if let Some(first) = first.filter(|first| *first != key) {
            let entries = object.told.take().map(|told| told.entries).unwrap_or_default();
            self.numbers.merged += 1;
            self.schedule(&key);
            if let Some(told) = self.known.get_mut(&first).and_then(|object| object.told.as_mut()) {
                match told.merged.len() {
                    0..MAX_MERGED => told.merged.push((key, entries)),
                    _ => told.entries.extend(entries),
                }
            }
            return Vec::new();
        }
        if self.unconfirmed.len() >= MAX_UNCONFIRMED {
            let told = object.told.take();
            self.numbers.left_out += 1;
            self.schedule(&key);
            return told.map(|told| told.all_entries()).unwrap_or_default();
        }
        if let Some(kind) = kind {
            self.standing.insert(kind, key.clone());
        }
        self.unconfirmed.insert(object.place, key);
        Vec::new()
    }

    /// What waits at a place to be taken unconfirmed does so no more.
    pub(super) fn take_back(&mut self, place: u64) -> Option<Key> {
        let key = self.unconfirmed.remove(&place)?;
        if let Some(kind) = kind_of_user(&key) {
            self.standing.remove(&kind);
        }
        Some(key)
    }

    /// Calls for which another one stood are taken up by themselves.
    pub(super) fn ask_each(&mut self, merged: Vec<(Key, Vec<EntryId>)>, now: Instant) {
        for (key, entries) in merged {
            let hint = key.hint();
            self.ask(key, Ask { entries, hint, ..Ask::default() }, now);
        }
    }

    /// Takes back what waits to be taken unconfirmed, if there is something to hand on in place of it.
    pub(super) fn withdraw(&mut self, key: &Key, now: Instant) {
        let Some(object) = self.known.get_mut(key) else { return };
        let Some(next) = &mut object.next else { return };
        let is_unconfirmed = |told: &mut Box<Told>| matches!(told.stage, Stage::Ready(_)) && told.version.is_none();
        if let Some(told) = object.told.take_if(is_unconfirmed) {
            next.entries.extend(told.entries);
            let place = object.place;
            self.take_back(place);
            self.ask_each(told.merged, now);
        }
    }
}

/// Which calls about a user are handed on as one while nobody confirms them.
fn kind_of_user(key: &Key) -> Option<(ProvisionId, Discriminant<HintedObject>)> {
    let MarkedObject { object, provision_id } = key.object()?;
    Some(((*provision_id)?, discriminant(object)))
}
