//! What is known of the objects that were called about: what is to be read and when, and what is to be handed on. Nothing here does I/O.
//!
//! An object goes round: it is *asked* for by calls, read, and its *news* wait until they may be *told*, which is until their mark is kept,
//! until somebody takes them, and until they are done. It is read again while it is told, so that waiters hear of it; what that shows waits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::numbers::ChangesNumbers;
use super::object::{Ask, FIRST_PAUSE, Key, News, Object, Seen, Stage, Told, pause};
use super::version::Version;
use crate::types::{ProvisionId, Timestamp};
use crate::webhook::mark::{Mark, MarkedObject};
use crate::webhook::{EntryId, Hint, HintedObject};

/// How many changes may wait to be taken before no more is read.
const MAX_READY: usize = 1000;

/// How many objects may be read at a time. Those that are sought together are found on few pages.
const MAX_BUSY: usize = 4000;

/// How many objects may wait to be read or handed on before the others wait in the journal.
const MAX_WAITING: usize = 10_000;

/// How many objects of users are looked at again at most.
const MAX_FOLLOWED: usize = 10_000;

/// For how long a read may fail. By default, the journal keeps no call for longer.
const FAILS_FOR: Duration = Duration::from_secs(3600);

/// How far apart two reads of an object begin at least.
const BETWEEN_READS: Duration = Duration::from_secs(1);

/// What is to be done about an object next.
#[derive(Debug)]
pub(super) enum Job {
    Read { key: Key, claim: Option<Timestamp>, hint: Option<Box<Hint>> },
    Mark { key: Key, mark: Mark },
}

/// A change for whoever takes it.
pub(super) struct Given {
    pub(super) key: Key,
    pub(super) object: ChangedObject,
}

#[derive(Default)]
pub(super) struct Objects {
    known: HashMap<Key, Object>,
    due: BTreeMap<(Instant, u64), Key>,
    ready: BTreeMap<u64, Key>,
    /// How many are being read or marked.
    busy: usize,
    last_place: u64,
    /// The objects of users that were under way when they were read last.
    followed: HashSet<Key>,
    pub(super) numbers: ChangesNumbers,
}

impl Objects {
    /// Somebody asks for an object to be read.
    pub(super) fn ask(&mut self, key: Key, ask: Ask, now: Instant) {
        self.last_place += 1;
        let place = self.last_place;
        let object = self.known.entry(key.clone()).or_insert_with(|| Object::new(place, now));
        match &mut object.asked {
            Some(asked) => asked.join(ask),
            None => object.asked = Some(ask),
        }
        // During an outage each call would be another attempt.
        if object.failures == 0 {
            object.retry = now;
        }
        self.schedule(&key);
    }

    /// The next job that is due. What needs no job is done on the way: the entries of calls that cost no read are returned in `done`.
    pub(super) fn begin(&mut self, now: Instant, done: &mut Vec<EntryId>) -> Option<Job> {
        while !self.is_full()
            && let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            let Some(object) = self.known.get_mut(&key) else { continue };
            object.due = None;
            if let Some(news) = object.next.take_if(|_| object.told.is_none() && object.tell <= now) {
                let News { seen, entries } = *news;
                let Seen { object: state, version, is_under_way } = seen;
                let mark = version.map(|version| version.mark(&key, false, is_under_way));
                let stage = match &mark {
                    Some(_) => Stage::Marking(state),
                    None => Stage::Ready(state),
                };
                object.told = Some(Box::new(Told { stage, version, is_under_way, entries }));
                let place = object.place;
                self.schedule(&key);
                match mark {
                    Some(mark) => {
                        self.busy += 1;
                        return Some(Job::Mark { key, mark });
                    }
                    None => _ = self.ready.insert(place, key),
                }
            } else if let Some(ask) = object.asked.take() {
                if ask.claim.zip(object.version()).is_some_and(|(claim, version)| version.covers(claim)) {
                    self.numbers.known += ask.entries.len() as u64;
                    done.extend(ask.entries);
                    self.schedule(&key);
                    continue;
                }
                object.next_read = now + BETWEEN_READS;
                let (claim, hint) = (ask.claim, ask.hint.clone());
                object.reading = Some(ask);
                self.busy += 1;
                self.schedule(&key);
                return Some(Job::Read { key, claim, hint });
            } else {
                self.known.remove(&key);
            }
        }
        None
    }

    /// When the next job is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.due.first_key_value().filter(|_| !self.is_full())?.0;
        Some(*due)
    }

    /// Whether further hints wait in the journal.
    pub(super) fn is_crowded(&self) -> bool {
        self.busy + self.due.len() + self.ready.len() >= MAX_WAITING
    }

    fn is_full(&self) -> bool {
        self.ready.len() >= MAX_READY || self.busy >= MAX_BUSY
    }

    /// A read has shown this, and the journal has this mark. Returns the entries that are done.
    pub(super) fn seen(&mut self, key: &Key, seen: Seen, mark: Option<&Mark>, now: Instant) -> Vec<EntryId> {
        if seen.version.is_some() {
            self.numbers.reads += 1;
            self.follow(key, seen.is_under_way);
        }
        let Some((object, ask)) = self.read(key) else { return Vec::new() };
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
            self.withdraw(key);
        }
        self.schedule(key);
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
        let is_read = !matches!(key.object.object, HintedObject::Other { .. });
        if ids.is_empty() && is_read {
            self.numbers.foreign += ask.entries.len() as u64;
            return ask.entries;
        }
        let provision_id = (!ids.is_empty()).then(|| ids.remove(0));
        ask.others = ids;
        let object = MarkedObject { provision_id, ..key.object.clone() };
        self.ask(Key { object, user: None, ..key.clone() }, ask, now);
        Vec::new()
    }

    /// bunq does not show the object to the user, but perhaps to another one of the same person. Returns the entries that are done.
    pub(super) fn not_ours(&mut self, key: &Key, now: Instant) -> Vec<EntryId> {
        self.numbers.reads += 1;
        self.follow(key, false);
        let Some(mut ask) = self.over(key) else { return Vec::new() };
        let Some(other) = ask.others.pop() else {
            self.numbers.not_ours += 1;
            return ask.entries;
        };
        let object = MarkedObject { provision_id: Some(other), ..key.object.clone() };
        self.ask(Key::of(object), ask, now);
        Vec::new()
    }

    /// The session of the user is not open, and no call is there to be handed on. Returns the entries that are done.
    pub(super) fn not_open(&mut self, key: &Key) -> Vec<EntryId> {
        self.over(key).map(|ask| ask.entries).unwrap_or_default()
    }

    /// bunq's listing lacks the object. It may lag behind, so the object is sought once more. Returns the entries that are done.
    pub(super) fn not_listed(&mut self, key: &Key, now: Instant) -> Vec<EntryId> {
        let Some(object) = self.known.get_mut(key).filter(|object| object.lags == 0) else {
            return self.not_ours(key, now);
        };
        object.lags = 1;
        object.retry = now + 2 * FIRST_PAUSE;
        self.numbers.reads += 1;
        if let Some((object, ask)) = self.read(key) {
            object.ask_again(ask);
        }
        self.schedule(key);
        Vec::new()
    }

    /// A read has failed, and is tried again. After an hour it is given up: its entries stay in the journal for the next process, or go with
    /// the call of a user, which is handed on unconfirmed. What failed for good is not looked at again.
    pub(super) fn failed(&mut self, key: &Key, is_retryable: bool, now: Instant) {
        self.numbers.reads += 1;
        self.numbers.failed += 1;
        let Some((object, mut ask)) = self.read(key) else { return };
        let since = *object.failing_since.get_or_insert(now);
        if now.saturating_duration_since(since) < FAILS_FOR {
            object.failures += 1;
            object.retry = now + pause(object.failures);
            object.ask_again(ask);
        } else {
            (object.failures, object.failing_since) = (0, None);
            if let (None, None, Some(hint)) = (key.user, &object.next, ask.hint.take()) {
                let seen = Seen::unconfirmed(key.object.provision_id, hint);
                object.next = Some(Box::new(News { seen, entries: ask.entries }));
            }
            self.numbers.given_up += 1;
            if !is_retryable {
                self.follow(key, false);
            }
        }
        self.schedule(key);
    }

    /// The mark is kept, or not. In the second case it is tried again.
    pub(super) fn marked(&mut self, key: &Key, is_kept: bool, now: Instant) {
        self.busy -= 1;
        let Some(object) = self.known.get_mut(key) else { return };
        let Some(told) = object.told.take_if(|told| matches!(told.stage, Stage::Marking(_))) else { return };
        let Told { stage: Stage::Marking(state) | Stage::Ready(state), version, is_under_way, entries } = *told else {
            return;
        };
        if is_kept {
            object.failures = 0;
            let stage = Stage::Ready(state);
            object.told = Some(Box::new(Told { stage, version, is_under_way, entries }));
            self.ready.insert(object.place, key.clone());
        } else {
            self.numbers.failed += 1;
            object.failures += 1;
            object.tell = now + pause(object.failures);
            let seen = Seen { object: state, version, is_under_way };
            let next = object.next.get_or_insert_with(|| Box::new(News { seen, entries: Vec::new() }));
            next.entries.extend(entries);
        }
        self.schedule(key);
    }

    /// The session of a user is open: what was not confirmed because of that, and not taken yet, is read.
    pub(super) fn opened(&mut self, id: ProvisionId, now: Instant) {
        let of_user = |key: &&Key| key.object.provision_id == Some(id) && key.call.is_none();
        let keys: Vec<_> = self.ready.values().filter(of_user).cloned().collect();
        for key in keys {
            let Some(object) = self.known.get_mut(&key) else { continue };
            let Some(told) = object.told.take_if(|told| told.version.is_none()) else { continue };
            self.ready.remove(&object.place);
            let hint = match told.stage {
                Stage::Marking(state) | Stage::Ready(state) => state.into_hint(),
                Stage::Given => None,
            };
            self.ask(key, Ask { entries: told.entries, hint, ..Ask::default() }, now);
        }
    }

    /// The change that arrived first of those that wait to be taken.
    pub(super) fn take(&mut self) -> Option<Given> {
        let (_, key) = self.ready.pop_first()?;
        let object = self.known.get_mut(&key)?;
        let told = object.told.as_mut()?;
        let Stage::Ready(state) = std::mem::replace(&mut told.stage, Stage::Given) else { return None };
        match object.drops {
            0 => self.numbers.handed_on += 1,
            _ => self.numbers.handed_on_again += 1,
        }
        self.numbers.unconfirmed += u64::from(told.version.is_none());
        Some(Given { key, object: state })
    }

    /// What the journal is told when a change is done.
    pub(super) fn to_be_done(&self, key: &Key) -> (Option<Mark>, Vec<EntryId>) {
        let Some(told) = self.known.get(key).and_then(|object| object.told.as_ref()) else { return (None, Vec::new()) };
        (told.version.map(|version| version.mark(key, true, told.is_under_way)), told.entries.clone())
    }

    /// A change is done, and the journal has that.
    pub(super) fn done(&mut self, key: &Key, now: Instant) {
        let Some(object) = self.known.get_mut(key) else { return };
        let Some(told) = object.told.take() else { return };
        object.last = told.version.map(|version| (version, true)).or(object.last);
        (object.drops, object.tell) = (0, now);
        self.numbers.done += 1;
        self.schedule(key);
    }

    /// A change was dropped and is not done. It is read and handed on again, after a pause that grows.
    pub(super) fn dropped(&mut self, key: &Key, hint: Option<Box<Hint>>, now: Instant) {
        let Some(object) = self.known.get_mut(key) else { return };
        let Some(told) = object.told.take() else { return };
        let Told { entries, version, .. } = *told;
        object.last = version.map(|version| (version, false)).or(object.last);
        object.drops += 1;
        object.tell = now + pause(object.drops);
        match &mut object.next {
            Some(next) => next.entries.extend(entries),
            None => {
                if object.asked.is_none() {
                    object.retry = object.tell;
                }
                object.ask_again(Ask { entries, hint, ..Ask::default() });
            }
        }
        self.schedule(key);
    }

    /// Has an object of a user looked at again while it is under way.
    pub(super) fn follow(&mut self, key: &Key, is_under_way: bool) {
        if !is_under_way {
            self.followed.remove(key);
        } else if key.object.provision_id.is_some() && !self.followed.contains(key) {
            match self.followed.len() {
                0..MAX_FOLLOWED => _ = self.followed.insert(key.clone()),
                _ => self.numbers.left_out += 1,
            }
        }
    }

    pub(super) fn followed(&self) -> Vec<Key> {
        self.followed.iter().cloned().collect()
    }

    /// The entries of all that is to be read or handed on, or is handed on and not done.
    pub(super) fn held(&self) -> HashSet<EntryId> {
        self.known.values().flat_map(Object::entries).collect()
    }

    pub(super) fn numbers(&self) -> ChangesNumbers {
        let is_given = |object: &Object| object.told.as_ref().is_some_and(|told| matches!(told.stage, Stage::Given));
        let not_done = self.known.values().filter(|object| is_given(object)).count() as u64;
        let waits = |object: &&Object| {
            let is_told = object.told.is_some() && !is_given(object);
            is_told || object.asked.is_some() || object.reading.is_some() || object.next.is_some()
        };
        let waiting = self.known.values().filter(waits).count() as u64;
        ChangesNumbers { waiting, not_done, ..self.numbers }
    }

    /// Whoever has read and marked is gone: it is done again.
    pub(super) fn begin_again(&mut self, now: Instant) {
        let keys: Vec<_> = self.known.keys().cloned().collect();
        for key in keys {
            let Some(object) = self.known.get_mut(&key) else { continue };
            if let Some(ask) = object.reading.take() {
                self.busy -= 1;
                object.ask_again(ask);
            }
            let is_marking = object.told.as_ref().is_some_and(|told| matches!(told.stage, Stage::Marking(_)));
            if is_marking {
                self.marked(&key, false, now);
            }
            self.schedule(&key);
        }
    }

    /// The object that was read, and for what.
    fn read(&mut self, key: &Key) -> Option<(&mut Object, Ask)> {
        self.busy -= 1;
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

    /// Takes back what waits to be taken unconfirmed, if there is something to hand on in place of it.
    fn withdraw(&mut self, key: &Key) {
        let Some(object) = self.known.get_mut(key) else { return };
        let Some(next) = &mut object.next else { return };
        let is_unconfirmed = |told: &mut Box<Told>| matches!(told.stage, Stage::Ready(_)) && told.version.is_none();
        if let Some(told) = object.told.take_if(is_unconfirmed) {
            next.entries.extend(told.entries);
            self.ready.remove(&object.place);
        }
    }

    /// Puts an object where it is due next.
    fn schedule(&mut self, key: &Key) {
        let Some(object) = self.known.get_mut(key) else { return };
        let due = object.next_due();
        if due == object.due {
            return;
        }
        if let Some(before) = object.due {
            self.due.remove(&(before, object.place));
        }
        object.due = due;
        if let Some(due) = due {
            self.due.insert((due, object.place), key.clone());
        }
    }
}
