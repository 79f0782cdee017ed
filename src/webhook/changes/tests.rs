//! What is read and handed on when, without I/O.

mod objects;
mod outcomes;
mod unconfirmed;
mod version;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::object::{Ask, CallId, Key, Seen};
use super::objects::{Job, Objects};
use super::version::Version;
use crate::types::{Provision, Timestamp};
use crate::webhook::mark::{Mark, MarkedObject};
use crate::webhook::{EntryId, Hint, HintedObject};

const SECOND: Duration = Duration::from_secs(1);

/// Objects, the marks that their journal has, and the time.
struct World {
    objects: Objects,
    marks: Vec<Mark>,
    now: Instant,
}

fn key(id: u64) -> Key {
    let object = HintedObject::Provision(id.try_into().unwrap());
    Key::Object(MarkedObject { object, provision_id: None })
}

fn id_of(key: &Key) -> u64 {
    match key {
        Key::Object(MarkedObject { object, .. }) | Key::OfUser(object, _) => object.id(),
        Key::Call(call) => panic!("{call:?}"),
    }
}

fn entries(ids: &[u64]) -> Vec<EntryId> {
    ids.iter().copied().map(EntryId::new).collect()
}

/// The time of a state.
fn time(second: i64) -> Timestamp {
    jiff::Timestamp::from_second(second).unwrap().into()
}

fn version(updated: i64, digest: u64) -> Version {
    Version { updated: Some(time(updated)), digest }
}

fn provision(id: u64) -> Arc<Provision> {
    Arc::new(serde_json::from_value(json!({"id": id, "status": "ACTIVE"})).unwrap())
}

fn hint() -> Hint {
    serde_json::from_value(json!(["USER_ONBOARDING", null, "onboarding", 7, 8, null, 0])).unwrap()
}

impl World {
    fn new() -> Self {
        Self { objects: Objects::default(), marks: Vec::new(), now: Instant::now() }
    }

    fn call(&mut self, id: u64, entry: u64) {
        self.ask(id, Ask { entries: entries(&[entry]), ..Ask::default() });
    }

    fn ask(&mut self, id: u64, ask: Ask) {
        self.objects.ask(key(id), ask, self.now);
    }

    /// The objects that are read now, in their order. Marks are kept at once.
    fn reads(&mut self) -> Vec<u64> {
        let mut done = Vec::new();
        let mut reads = Vec::new();
        while let Some(job) = self.objects.begin(self.now, &mut done) {
            match job {
                Job::Read { key, .. } => reads.push(id_of(&key)),
                Job::Open(id) => panic!("a session of {id} is opened"),
                Job::Mark { key, mark } => {
                    self.keep(mark);
                    self.objects.marked(&key, true, self.now);
                }
            }
        }
        assert!(done.is_empty(), "{done:?}");
        reads
    }

    fn keep(&mut self, mark: Mark) {
        self.marks.retain(|other| other.object != mark.object);
        self.marks.push(mark);
    }

    /// A read shows this; then marks are kept. Returns the entries that are done with it.
    fn shows(&mut self, id: u64, version: Version) -> Vec<EntryId> {
        let mark = self.marks.iter().find(|mark| Some(&mark.object) == key(id).object()).cloned();
        let object = ChangedObject::Provision(provision(id));
        let seen = Seen { object, version: Some(version), is_under_way: false };
        let done = self.objects.seen(&key(id), seen, mark.as_ref(), self.now);
        assert_eq!(self.reads(), [0; 0]);
        done
    }

    fn shows_nothing(&mut self, id: u64) {
        self.objects.not_ours(&key(id), self.now);
    }

    fn taken(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.objects.take()).map(|given| id_of(&given.key)).collect()
    }

    /// Returns the entries that the journal is told.
    fn done(&mut self, id: u64) -> Vec<EntryId> {
        let (mark, entries) = self.objects.to_be_done(&key(id));
        self.keep(mark.unwrap());
        self.objects.done(&key(id), self.now);
        entries
    }

    fn dropped(&mut self, id: u64) {
        self.objects.dropped(&key(id), None, self.now);
    }

    /// Goes on to when something is due, and returns how long that took.
    fn go_on(&mut self) -> Duration {
        let due = self.objects.next_due().unwrap();
        let pause = due.saturating_duration_since(self.now);
        self.now += pause;
        pause
    }
}

/// The onboarding of a user.
fn user_key(user: u64, id: u64) -> Key {
    let object = HintedObject::Onboarding(id.try_into().unwrap());
    Key::Object(MarkedObject { object, provision_id: Some(user.try_into().unwrap()) })
}

/// The onboarding of a user who is named, until it is known whose it is.
fn named_key(user: u64, id: u64) -> Key {
    Key::OfUser(HintedObject::Onboarding(id.try_into().unwrap()), user.try_into().unwrap())
}

/// A call about an object of a user.
fn call_of_user(entry: u64) -> Ask {
    Ask { entries: entries(&[entry]), hint: Some(Box::new(hint())), ..Ask::default() }
}

fn unconfirmed(key: &Key) -> Seen {
    Seen::unconfirmed(key.provision_id(), Box::new(hint()))
}

fn seen(id: u64) -> Seen {
    Seen { object: ChangedObject::Provision(provision(id)), version: Some(version(1, 1)), is_under_way: false }
}
