//! What becomes of an object after a read. Nothing here does I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::object::{Ask, Key, News, Object, Seen, pause};
use super::objects::{MAX_RESTING, Objects};
use super::version::Version;
use crate::types::ProvisionId;
use crate::webhook::mark::{Mark, MarkedObject};
use crate::webhook::{EntryId, Hint};

/// For how long a read may fail. By default, the journal keeps no call for longer.
const FAILS_FOR: Duration = Duration::from_secs(3600);

/// When a session that was asked for has been tried.
const SESSION_TRIED: Duration = Duration::from_secs(24 * 3600);

impl Objects {
    /// A read has shown this, and the journal has this mark. Returns the entries that are done.
    pub(super) fn seen(&mut self, key: &Key, seen: Seen, mark: Option<&Mark>, now: Instant) -> Vec<EntryId> {
        if seen.version.is_some() {
            self.numbers.reads += 1;
            self.follow(key, seen.is_under_way);
        }
        let Some((object, ask)) = self.read(key) else { return Vec::new() };
        let has_failed = object.failing_since.is_some();
        (object.failures, object.failing_since) = (0, None);
        let known = object.version().map(|version| (version, true)).or(object.last);
        // After a crash there is the mark alone.
        let known = known.or_else(|| mark.map(|mark| (Version::of(mark), mark.is_done)));
        // One that is not done is handed on again.
        let (before, is_done) = known.unzip();
        let lags = seen.version.zip(before).is_some_and(|(seen, before)| seen.is_older_than(&before));
        let is_same = seen.version.is_some() && seen.version == before;
        let mut done = Vec::new();
        if lags {
            object.lags += 1;
            object.retry = now + pause(object.lags);
            object.ask_again(ask);
            self.numbers.lagging += 1;
        } else {
            object.lags = 0;
            match &mut object.next {
                // What waits is as new, and what nobody has confirmed says nothing about it.
                Some(next) if is_same || seen.version.is_none() && next.seen.version.is_some() => {
                    next.entries.extend(ask.entries);
                }
                Some(next) => {
                    next.entries.extend(ask.entries);
                    next.seen = seen;
                }
                None if is_same && is_done == Some(true) => {
                    self.numbers.unchanged += 1;
                    done = ask.entries;
                }
                next @ None => *next = Some(Box::new(News { seen, entries: ask.entries })),
            }
            self.withdraw(key, now);
        }
        self.schedule(key);
        if has_failed {
            self.try_again(now);
        }
        done
    }

    /// A read was not needed: the journal's mark is not older than the calls claim. Returns the entries that are done.
    pub(super) fn known(&mut self, key: &Key) -> Vec<EntryId> {
        let entries = self.over(key).map(|ask| ask.entries).unwrap_or_default();
        self.numbers.known += entries.len() as u64;
        entries
    }

    /// It is known whose the object of a call is that names a user: of one of these. Returns the entries that are done.
    pub(super) fn belongs(&mut self, key: &Key, mut ids: Vec<ProvisionId>, now: Instant) -> Vec<EntryId> {
        let Some((object, mut ask)) = self.read(key) else { return Vec::new() };
        (object.failures, object.failing_since, object.next_read) = (0, None, now);
        self.schedule(key);
        let (Key::OfUser(object, _), false) = (key, ids.is_empty()) else {
            self.numbers.foreign += ask.entries.len() as u64;
            return ask.entries;
        };
        let object = MarkedObject { object: object.clone(), provision_id: Some(ids.remove(0)) };
        ask.others = ids;
        self.ask(Key::Object(object), ask, now);
        Vec::new()
    }

    /// bunq does not show the object to the user, but perhaps to another one of the same person. Returns the entries that are done.
    pub(super) fn not_ours(&mut self, key: &Key, now: Instant) -> Vec<EntryId> {
        self.numbers.reads += 1;
        match self.over(key) {
            Some(ask) => self.is_none(key, ask, now),
            None => Vec::new(),
        }
    }

    /// There is no such object, or it is another user's. Returns the entries that are done.
    fn is_none(&mut self, key: &Key, mut ask: Ask, now: Instant) -> Vec<EntryId> {
        self.follow(key, false);
        let Some((object, other)) = key.object().cloned().zip(ask.others.pop()) else {
            self.numbers.not_ours += ask.entries.len() as u64;
            return ask.entries;
        };
        self.ask(Key::Object(MarkedObject { provision_id: Some(other), ..object }), ask, now);
        Vec::new()
    }

    /// The custody has no such user yet. When it may be listed again, it may have.
    pub(super) fn put_off(&mut self, key: &Key, until: Instant) -> Vec<EntryId> {
        let has_room = self.put_off.len() < MAX_RESTING;
        let Some((object, ask)) = self.read(key) else { return Vec::new() };
        if !has_room {
            self.schedule(key);
            self.numbers.foreign += ask.entries.len() as u64;
            return ask.entries;
        }
        object.retry = until;
        object.ask_again(ask);
        self.put_off.insert(key.clone());
        self.schedule(key);
        Vec::new()
    }

    /// The session of the user is to be opened, or the call is handed on unconfirmed.
    pub(super) fn wants_session(&mut self, key: &Key, hint: Box<Hint>, now: Instant) -> Vec<EntryId> {
        let has_room = self.put_off.len() < MAX_RESTING;
        let Some(id) = key.provision_id().filter(|id| has_room && self.sessions.want(*id)) else {
            return self.seen(key, Seen::unconfirmed(key.provision_id(), hint), None, now);
        };
        tracing::debug!(provision = %id, "a session is to be opened for a call");
        self.put_off(key, now + SESSION_TRIED)
    }

    /// The session of a user is open, or cannot be opened.
    pub(super) fn session_tried(&mut self, id: ProvisionId, now: Instant) {
        self.sessions.tried(id);
        let keys: Vec<_> = self.put_off.extract_if(|key| key.provision_id() == Some(id)).collect();
        for key in keys {
            let Some(object) = self.known.get_mut(&key) else { continue };
            object.retry = now;
            if let Some(asked) = &mut object.asked {
                asked.is_session_tried = true;
            }
            self.schedule(&key);
        }
    }

    /// The session of the user is not open, and no call is there to be handed on. Returns the entries that are done.
    pub(super) fn not_open(&mut self, key: &Key) -> Vec<EntryId> {
        self.over(key).map(|ask| ask.entries).unwrap_or_default()
    }

    /// A page of bunq's listing lacks the object. It may lag behind, so the object is sought once more. Returns the entries that are done.
    pub(super) fn not_listed(&mut self, key: &Key, distance_to_newest: u64, now: Instant) -> Vec<EntryId> {
        self.numbers.reads += 1;
        let Some(ask) = self.over(key) else { return Vec::new() };
        match self.unlisted.add(key.clone(), ask, distance_to_newest, now) {
            Some(unlisted) => self.is_none(&unlisted.key, unlisted.ask, now),
            None => Vec::new(),
        }
    }

    /// A read has failed, and is tried again. After an hour it is given up: its entries stay in the journal for the next process, or go with
    /// the call, which is handed on unconfirmed, unless nobody knows whose its object is. What failed for good is not looked at again.
    pub(super) fn failed(&mut self, key: &Key, is_retryable: bool, now: Instant) {
        self.numbers.reads += 1;
        self.numbers.failed += 1;
        let Some((object, mut ask)) = self.read(key) else { return };
        let since = *object.failing_since.get_or_insert(now);
        if now.saturating_duration_since(since) < FAILS_FOR {
            object.failures += 1;
            object.retry = now + pause(object.failures);
            object.ask_again(ask);
            self.failing.insert(key.clone());
        } else {
            (object.failures, object.failing_since) = (0, None);
            let is_known = !matches!(key, Key::OfUser(..));
            if let (true, None, Some(hint)) = (is_known, &object.next, ask.hint.take()) {
                let seen = Seen::unconfirmed(key.provision_id(), hint);
                object.next = Some(Box::new(News { seen, entries: ask.entries }));
            }
            self.numbers.given_up += 1;
            if !is_retryable {
                self.follow(key, false);
            }
        }
        self.schedule(key);
    }

    /// bunq answers again: what has failed waits no longer.
    fn try_again(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.failing) {
            if let Some(object) = self.known.get_mut(&key) {
                object.retry = now;
                self.schedule(&key);
            }
        }
    }

    /// The object that was read, and for what.
    fn read(&mut self, key: &Key) -> Option<(&mut Object, Ask)> {
        self.busy -= 1;
        self.unlisted.was_read(key);
        let object = self.known.get_mut(key)?;
        let ask = object.reading.take()?;
        Some((object, ask))
    }

    /// Nothing is handed on for what an object was read for.
    fn over(&mut self, key: &Key) -> Option<Ask> {
        let (object, ask) = self.read(key)?;
        (object.failures, object.failing_since, object.lags) = (0, None, 0);
        self.schedule(key);
        Some(ask)
    }
}
