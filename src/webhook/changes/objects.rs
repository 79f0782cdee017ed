//! What is known of the objects that were called about: what is to be read and when, and what is to be handed on. Nothing here does I/O.
//!
//! An object goes round: it is *asked* for by calls, read, and its *news* wait until they may be *told*, which is until their mark is kept,
//! until somebody takes them, and until they are done. It is read again while it is told, so that waiters hear of it; what that shows waits.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::mem::Discriminant;
use std::time::Duration;

use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::numbers::ChangesNumbers;
use super::object::{Ask, Key, News, Object, Seen, Stage, Told, pause};
use super::sessions::Sessions;
use super::unlisted::UnlistedObjects;
use crate::types::ProvisionId;
use crate::webhook::mark::Mark;
use crate::webhook::{EntryId, Hint, HintedObject};

/// How many changes may wait to be taken before no more is read.
const MAX_READY: usize = 1000;

/// How many objects may be read at a time. Those that are sought together are found on few pages.
const MAX_BUSY: usize = 4000;

/// How many objects may wait to be read or handed on before the others wait in the journal.
const MAX_WAITING: usize = 10_000;

/// How many objects that wait for something else than their turn are not counted as waiting.
pub(super) const MAX_RESTING: usize = 10_000;

/// How many objects are sought at a time because a look has found them.
const MAX_LOOKED: usize = 200;

/// How many found objects may wait.
const MAX_FOUND: usize = 100_000;

/// How many objects of users are looked at again at most.
const MAX_FOLLOWED: usize = 10_000;

/// How far apart two reads of an object begin at least.
const BETWEEN_READS: Duration = Duration::from_secs(1);

/// What is to be done about an object next.
#[derive(Debug)]
pub(super) enum Job {
    Read { key: Key, ask: Ask },
    Open(ProvisionId),
    Mark { key: Key, mark: Mark },
}

/// A change for whoever takes it.
pub(super) struct Given {
    pub(super) key: Key,
    pub(super) object: ChangedObject,
}

#[derive(Default)]
pub(super) struct Objects {
    pub(super) known: HashMap<Key, Object>,
    pub(super) due: BTreeMap<(Instant, u64), Key>,
    pub(super) ready: BTreeMap<u64, Key>,
    /// The calls that wait to be taken unconfirmed. Whoever knows the path of the receiver can bring about many: they hold up nothing.
    pub(super) unconfirmed: BTreeMap<u64, Key>,
    /// Whether the last that was taken is one of them.
    pub(super) has_given_unconfirmed: bool,
    /// Those of them that stand for all of one kind of a user.
    pub(super) standing: HashMap<(ProvisionId, Discriminant<HintedObject>), Key>,
    /// What a look has found, and nobody has called about. It is asked for when nothing else is due.
    pub(super) found: VecDeque<(Key, Ask)>,
    /// The objects whose reads have failed, and those that wait for a session or for a listing of the custody.
    pub(super) failing: HashSet<Key>,
    pub(super) put_off: HashSet<Key>,
    /// Those that bunq's listing lacks, and that are sought once more.
    pub(super) unlisted: UnlistedObjects,
    pub(super) sessions: Sessions,
    /// How many are being read or marked.
    pub(super) busy: usize,
    pub(super) last_place: u64,
    /// The objects of users that were under way when they were read last.
    pub(super) followed: HashSet<Key>,
    pub(super) numbers: ChangesNumbers,
    /// Those that the metrics were told.
    measured: ChangesNumbers,
}

impl Objects {
    /// Somebody asks for an object to be read.
    pub(super) fn ask(&mut self, key: Key, mut ask: Ask, now: Instant) {
        ask.since.get_or_insert(now);
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

    /// A look has found an object.
    pub(super) fn find(&mut self, key: Key, ask: Ask) {
        match self.found.len() {
            0..MAX_FOUND => self.found.push_back((key, ask)),
            _ => self.numbers.left_out += 1,
        }
    }

    /// The next job, of those that were called for before the found ones.
    pub(super) fn begin(&mut self, now: Instant, done: &mut Vec<EntryId>) -> Option<Job> {
        if let Some(id) = self.sessions.next() {
            return Some(Job::Open(id));
        }
        while !self.is_full()
            && let Some((key, ask)) = self.unlisted.next(now)
        {
            self.ask(key, ask, now);
        }
        loop {
            if let Some(job) = self.begin_due(now, done) {
                return Some(job);
            }
            let has_room = self.busy < MAX_LOOKED && !self.is_full();
            let (key, ask) = has_room.then(|| self.found.pop_front())??;
            self.ask(key, ask, now);
        }
    }

    /// The next job that is due. What needs no job is done on the way: the entries of calls that cost no read are returned in `done`.
    fn begin_due(&mut self, now: Instant, done: &mut Vec<EntryId>) -> Option<Job> {
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
                let mark = key.mark(version, false, is_under_way);
                let stage = match &mark {
                    Some(_) => Stage::Marking(state),
                    None => Stage::Ready(state),
                };
                let merged = Vec::new();
                object.told = Some(Box::new(Told { stage, version, is_under_way, entries, merged }));
                self.schedule(&key);
                match mark {
                    Some(mark) => {
                        self.busy += 1;
                        return Some(Job::Mark { key, mark });
                    }
                    None => done.extend(self.have_taken_unconfirmed(key)),
                }
            } else if let Some(ask) = object.asked.take() {
                if ask.claim.zip(object.version()).is_some_and(|(claim, version)| version.covers(claim)) {
                    self.numbers.known += ask.entries.len() as u64;
                    done.extend(ask.entries);
                    self.schedule(&key);
                    continue;
                }
                object.next_read = now + BETWEEN_READS;
                object.reading = Some(ask.clone());
                self.busy += 1;
                for waiting in [&mut self.failing, &mut self.put_off] {
                    waiting.remove(&key);
                }
                self.schedule(&key);
                return Some(Job::Read { key, ask });
            } else {
                self.known.remove(&key);
            }
        }
        None
    }

    /// When the next job is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.due.first_key_value().map(|((due, _), _)| *due);
        due.into_iter().chain(self.unlisted.next_due()).min().filter(|_| !self.is_full())
    }

    /// Whether further hints wait in the journal.
    pub(super) fn is_crowded(&self) -> bool {
        let resting = (self.failing.len() + self.put_off.len()).min(MAX_RESTING);
        (self.busy + self.due.len() + self.ready.len()).saturating_sub(resting) >= MAX_WAITING
    }

    fn is_full(&self) -> bool {
        self.ready.len() >= MAX_READY || self.busy >= MAX_BUSY
    }

    /// The mark is kept, or not. In the second case it is tried again.
    pub(super) fn marked(&mut self, key: &Key, is_kept: bool, now: Instant) {
        self.busy -= 1;
        let Some(object) = self.known.get_mut(key) else { return };
        let Some(told) = object.told.take_if(|told| matches!(told.stage, Stage::Marking(_))) else { return };
        let Told { stage: Stage::Marking(state) | Stage::Ready(state), version, is_under_way, entries, merged } = *told
        else {
            return;
        };
        if is_kept {
            object.failures = 0;
            let stage = Stage::Ready(state);
            object.told = Some(Box::new(Told { stage, version, is_under_way, entries, merged }));
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

    /// The change that arrived first of those that wait to be taken, in turn of those that are confirmed and of the others.
    pub(super) fn take(&mut self) -> Option<Given> {
        let confirmed = self.ready.first_key_value().map(|(place, _)| *place);
        let unconfirmed = self.unconfirmed.first_key_value().map(|(place, _)| *place);
        let first = match confirmed.zip(unconfirmed) {
            Some((confirmed, unconfirmed)) => {
                if self.has_given_unconfirmed {
                    confirmed
                } else {
                    unconfirmed
                }
            }
            None => confirmed.or(unconfirmed)?,
        };
        self.has_given_unconfirmed = Some(first) == unconfirmed;
        let key = self.ready.remove(&first).or_else(|| self.take_back(first))?;
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
        (key.mark(told.version, true, told.is_under_way), told.all_entries())
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
        let Told { entries, version, merged, .. } = *told;
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
        self.ask_each(merged, now);
    }

    /// Has an object of a user looked at again while it is under way.
    pub(super) fn follow(&mut self, key: &Key, is_under_way: bool) {
        if !is_under_way {
            self.followed.remove(key);
        } else if key.provision_id().is_some() && !self.followed.contains(key) {
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
        self.known.values().flat_map(Object::entries).chain(self.unlisted.entries()).collect()
    }

    /// Tells the metrics what was counted since the last time.
    pub(super) fn measure(&mut self) {
        self.numbers.measure(&mut self.measured);
    }

    pub(super) fn numbers(&self) -> ChangesNumbers {
        let is_given = |object: &Object| object.told.as_ref().is_some_and(|told| matches!(told.stage, Stage::Given));
        let not_done = self.known.values().filter(|object| is_given(object)).count() as u64;
        let waits = |object: &&Object| {
            let is_told = object.told.is_some() && !is_given(object);
            is_told || object.asked.is_some() || object.reading.is_some() || object.next.is_some()
        };
        let waiting = (self.known.values().filter(waits).count() + self.unlisted.len()) as u64;
        ChangesNumbers { waiting, not_done, ..self.numbers }
    }

    /// Whoever has read and marked is gone: it is done again.
    pub(super) fn begin_again(&mut self, now: Instant) {
        self.sessions.begin_again();
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

    /// Puts an object where it is due next.
    pub(super) fn schedule(&mut self, key: &Key) {
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
