//! What is read and handed on when, without I/O.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::object::{Ask, Key, Seen};
use super::objects::{Job, Objects};
use super::version::{Digester, Version};
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

#[test]
fn an_object_is_read_at_once_and_then_once_a_second_and_after_the_last_call() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    assert_eq!(world.reads(), [1]);
    // These come during the read, which may show the object as it was before.
    for entry in 2..50 {
        world.call(1, entry);
    }
    assert_eq!(world.reads(), [0; 0]);
    assert_eq!(world.shows(1, version(1, 1)), []);
    assert_eq!(world.taken(), [1]);
    assert_eq!(world.done(1), entries(&[1]));
    assert_eq!((world.go_on(), world.reads()), (SECOND, vec![1]));
    assert_eq!(world.shows(1, version(1, 1)).len(), 48);
    assert_eq!((world.taken().len(), world.objects.numbers().unchanged), (0, 1));
    // Nothing is left but when it may be read again.
    assert_eq!((world.go_on(), world.reads().len()), (SECOND, 0));
    assert_eq!(world.objects.next_due(), None);
}

#[test]
fn objects_are_read_and_handed_on_in_the_order_of_arrival() {
    test_timeout::start();
    let mut world = World::new();
    for id in [5, 3, 9] {
        world.call(id, id);
    }
    assert_eq!(world.reads(), [5, 3, 9]);
    for id in [9, 3, 5] {
        world.shows(id, version(1, 1));
    }
    assert_eq!(world.taken(), [5, 3, 9]);
    // One that is not done holds up nothing else.
    world.call(3, 10);
    world.call(4, 11);
    world.now += SECOND;
    assert_eq!(world.reads(), [4, 3]);
    world.shows(3, version(2, 2));
    world.shows(4, version(1, 1));
    assert_eq!((world.taken(), world.objects.numbers().not_done), (vec![4], 4));
    assert_eq!(world.done(3), entries(&[3]));
    assert_eq!((world.reads().len(), world.taken()), (0, vec![3]));
    assert_eq!(world.done(3), entries(&[10]));
}

#[test]
fn what_lies_between_two_changes_is_skipped() {
    test_timeout::start();
    let mut world = World::new();
    for (entry, updated) in [(1, 1), (2, 2), (3, 3)] {
        world.call(1, entry);
        assert_eq!(world.reads(), [1]);
        assert_eq!(world.shows(1, version(updated, 1)), []);
        if entry == 1 {
            assert_eq!(world.taken(), [1]);
        }
        world.now += SECOND;
    }
    assert_eq!((world.taken().len(), world.done(1)), (0, entries(&[1])));
    assert_eq!((world.reads().len(), world.taken()), (0, vec![1]));
    assert_eq!(world.done(1), entries(&[2, 3]));
    assert_eq!(world.marks[0].updated, Some(time(3)));
    assert!(world.marks[0].is_done);
}

#[test]
fn an_older_state_never_follows_a_newer_one() {
    test_timeout::start();
    for is_restarted in [false, true] {
        let mut world = World::new();
        world.call(1, 1);
        world.reads();
        world.shows(1, version(5, 1));
        assert_eq!(world.taken(), [1]);
        world.done(1);
        if is_restarted {
            world.objects = Objects::default();
        }
        world.call(1, 2);
        if !is_restarted {
            world.go_on();
        }
        assert_eq!(world.reads(), [1]);
        // The bank lags, and is asked again and again, more and more seldom.
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(world.shows(1, version(4, 9)), []);
            assert!(world.taken().is_empty());
            pauses.push(world.go_on().as_secs());
            assert_eq!(world.reads(), [1]);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        // An equal time with another content is another state.
        world.shows(1, version(5, 2));
        assert_eq!(world.taken(), [1]);
        assert_eq!((world.done(1), world.objects.numbers().lagging), (entries(&[2]), 12));
    }
}

#[test]
fn an_older_state_does_not_follow_one_that_was_dropped() {
    test_timeout::start();
    let mut world = World::new();
    for updated in [1, 3] {
        world.call(1, 1);
        assert_eq!(world.reads(), [1]);
        world.shows(1, version(updated, 1));
        assert_eq!(world.taken(), [1]);
        match updated {
            1 => drop(world.done(1)),
            _ => world.dropped(1),
        }
        world.now += SECOND;
    }
    assert_eq!(world.reads(), [1]);
    // Newer than what is done.
    world.shows(1, version(2, 1));
    assert_eq!((world.taken().len(), world.objects.numbers().lagging), (0, 1));
    world.go_on();
    assert_eq!(world.reads(), [1]);
    world.shows(1, version(3, 1));
    assert_eq!((world.taken(), world.done(1)), (vec![1], entries(&[1])));
}

#[test]
fn what_is_not_done_is_handed_on_again_also_by_the_next_process() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    world.reads();
    world.shows(1, version(1, 1));
    let mut pauses = Vec::new();
    for _ in 0..11 {
        assert_eq!(world.taken(), [1]);
        world.dropped(1);
        pauses.push(world.go_on().as_secs());
        assert_eq!(world.reads(), [1]);
        world.shows(1, version(1, 1));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let numbers = world.objects.numbers();
    assert_eq!((numbers.handed_on, numbers.handed_on_again), (1, 10));
    // The next process has the entry and the mark.
    world.objects = Objects::default();
    world.call(1, 1);
    world.reads();
    assert_eq!(world.shows(1, version(1, 1)), []);
    assert_eq!((world.taken(), world.done(1)), (vec![1], entries(&[1])));
    // The one after it has the mark, and perhaps another call.
    world.objects = Objects::default();
    world.call(1, 2);
    world.reads();
    assert_eq!(world.shows(1, version(1, 1)), entries(&[2]));
    assert!(world.taken().is_empty());
}

#[test]
fn a_newer_state_waits_for_the_pause_of_one_that_was_dropped() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    world.reads();
    world.shows(1, version(1, 1));
    world.taken();
    world.now += SECOND;
    world.dropped(1);
    // A call is read at once nevertheless, since others may wait for the object.
    world.call(1, 2);
    assert_eq!(world.reads(), [1]);
    world.shows(1, version(2, 2));
    assert!(world.taken().is_empty());
    assert_eq!((world.go_on(), world.reads().len()), (SECOND, 0));
    assert_eq!((world.taken(), world.done(1)), (vec![1], entries(&[1, 2])));
}

#[test]
fn a_claim_can_save_a_read_and_nothing_else() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    world.reads();
    world.shows(1, version(5, 1));
    world.taken();
    let claim = |updated| Ask { claim: Some(time(updated)), entries: entries(&[2]), ..Ask::default() };
    let mut done = Vec::new();
    world.now += SECOND;
    world.ask(1, claim(5));
    assert!(world.objects.begin(world.now, &mut done).is_none());
    assert_eq!((done, world.objects.numbers().known), (entries(&[2]), 1));
    // Of two calls one claims more, or nothing.
    for other in [claim(6), Ask { claim: None, ..claim(0) }] {
        world.ask(1, claim(5));
        world.ask(1, other);
        assert_eq!(world.reads(), [1]);
        world.shows(1, version(5, 1));
        world.now += SECOND;
    }
    // A claim of a far future holds nothing back.
    world.ask(1, claim(9_999));
    assert_eq!(world.reads(), [1]);
    world.shows(1, version(6, 1));
    world.done(1);
    assert_eq!((world.reads().len(), world.taken()), (0, vec![1]));
}

#[test]
fn an_outage_does_not_spin() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    let mut pauses = Vec::new();
    for entry in 2..12 {
        assert_eq!(world.reads(), [1]);
        world.objects.failed(&key(1), true, world.now);
        // More calls make no more attempts.
        world.call(1, entry);
        pauses.push(world.go_on().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(world.reads(), [1]);
    world.shows(1, version(1, 1));
    assert_eq!((world.taken(), world.done(1).len()), (vec![1], 11));
}

#[test]
fn what_bunq_does_not_show_is_counted() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    world.reads();
    assert_eq!(world.objects.not_ours(&key(1), world.now), entries(&[1]));
    let numbers = world.objects.numbers();
    assert_eq!((numbers.not_ours, numbers.reads, numbers.waiting, numbers.handed_on), (1, 1, 0, 0));
    // It may be called about again, once a second.
    world.call(1, 2);
    assert_eq!((world.reads().len(), world.go_on(), world.reads()), (0, SECOND, vec![1]));
}

/// What can never be read does not take its place for ever.
#[test]
fn what_fails_for_an_hour_is_given_up() {
    test_timeout::start();
    let (mut world, start) = (World::new(), Instant::now());
    world.call(1, 1);
    while world.objects.numbers().given_up == 0 {
        assert_eq!(world.reads(), [1]);
        world.objects.failed(&key(1), false, world.now);
        world.go_on();
    }
    let numbers = world.objects.numbers();
    assert!((3600..=3900).contains(&(world.now - start).as_secs()) && numbers.failed < 25, "{numbers:?}");
    assert_eq!((world.reads().len(), world.objects.numbers().waiting), (0, 0));
    // Another call about it is another attempt.
    world.call(1, 2);
    world.now += SECOND;
    assert_eq!(world.reads(), [1]);
}

#[test]
fn each_user_of_one_person_is_asked() {
    test_timeout::start();
    let (mut objects, now, mut none) = (Objects::default(), Instant::now(), Vec::new());
    let object = MarkedObject { object: HintedObject::Onboarding(7_u64.try_into().unwrap()), provision_id: None };
    let called = Key::OfUser(object.object.clone(), 8_u64.try_into().unwrap());
    objects.ask(called.clone(), Ask { entries: entries(&[1]), hint: Some(Box::new(hint())), ..Ask::default() }, now);
    assert!(matches!(objects.begin(now, &mut none), Some(Job::Read { key, .. }) if key == called));
    let ids = [30_u64, 20].map(|id| id.try_into().unwrap());
    assert_eq!(objects.belongs(&called, ids.to_vec(), now), []);
    for (id, done) in [(ids[0], vec![]), (ids[1], entries(&[1]))] {
        let of_user = Key::Object(MarkedObject { provision_id: Some(id), ..object.clone() });
        assert!(matches!(objects.begin(now, &mut none), Some(Job::Read { key, .. }) if key == of_user));
        assert_eq!(objects.not_ours(&of_user, now), done);
    }
    assert_eq!((objects.numbers().not_ours, objects.numbers().foreign), (1, 0));
    // While the custody cannot say whose it is, nobody is told of it.
    objects.ask(called.clone(), Ask { entries: entries(&[3]), hint: Some(Box::new(hint())), ..Ask::default() }, now);
    let mut later = now;
    while objects.numbers().given_up == 0 {
        assert!(objects.begin(later, &mut none).is_some());
        objects.failed(&called, false, later);
        later = objects.next_due().unwrap();
    }
    assert!(objects.begin(later, &mut none).is_none() && objects.take().is_none());
    let now = later + SECOND;
    // Nobody's.
    objects.ask(called.clone(), Ask { entries: entries(&[2]), ..Ask::default() }, now);
    assert!(objects.begin(now, &mut none).is_some());
    assert_eq!((objects.belongs(&called, vec![], now), objects.numbers().foreign), (entries(&[2]), 1));
}

fn user_key(user: u64, id: u64) -> Key {
    let object = HintedObject::Onboarding(id.try_into().unwrap());
    Key::Object(MarkedObject { object, provision_id: Some(user.try_into().unwrap()) })
}

fn call_of_user(entry: u64) -> Ask {
    Ask { entries: entries(&[entry]), hint: Some(Box::new(hint())), ..Ask::default() }
}

fn unconfirmed(key: &Key) -> Seen {
    Seen::unconfirmed(key.provision_id(), Box::new(hint()))
}

/// Whoever knows one user can make up onboardings.
#[test]
fn one_unconfirmed_call_stands_for_all_of_a_user_and_holds_up_nothing() {
    test_timeout::start();
    let mut world = World::new();
    for id in 1..=3_000 {
        world.objects.ask(user_key(20, id), call_of_user(id), world.now);
        assert_eq!(world.reads(), [id]);
        world.objects.seen(&user_key(20, id), unconfirmed(&user_key(20, id)), None, world.now);
        assert!(world.reads().is_empty());
    }
    world.call(7, 4_000);
    assert_eq!(world.reads(), [7]);
    let numbers = world.objects.numbers();
    assert_eq!((numbers.merged, numbers.waiting), (2_999, 2));
    // Once the session is open, they are read, as many as are kept.
    world.now += SECOND;
    world.objects.opened(Some(20_u64.try_into().unwrap()), world.now);
    assert_eq!(world.reads().len(), 101);
    assert!(world.taken().is_empty());
    for id in 1..=101 {
        world.objects.seen(&user_key(20, id), unconfirmed(&user_key(20, id)), None, world.now);
    }
    assert!(world.reads().is_empty());
    assert_eq!(world.taken(), [1]);
    let (_, done) = world.objects.to_be_done(&user_key(20, 1));
    assert_eq!(done.len(), 3_000);
    // Another waits by itself as soon as one was taken.
    world.objects.ask(user_key(20, 5_000), call_of_user(5_000), world.now);
    world.reads();
    world.objects.seen(&user_key(20, 5_000), unconfirmed(&user_key(20, 5_000)), None, world.now);
    assert!(world.reads().is_empty());
    assert_eq!(world.taken(), [5_000]);
}

#[test]
fn what_is_being_read_when_the_session_opens_is_read_again() {
    test_timeout::start();
    let mut world = World::new();
    world.objects.ask(user_key(20, 1), call_of_user(1), world.now);
    assert_eq!(world.reads(), [1]);
    // The events of some sessions were missed.
    world.objects.opened(None, world.now);
    world.objects.seen(&user_key(20, 1), unconfirmed(&user_key(20, 1)), None, world.now);
    world.now += SECOND;
    assert_eq!(world.reads(), [1]);
    let confirmed = Seen { version: Some(version(1, 1)), ..unconfirmed(&user_key(20, 1)) };
    world.objects.seen(&user_key(20, 1), confirmed, None, world.now);
    assert!(world.reads().is_empty());
    assert_eq!((world.taken(), world.objects.numbers().unconfirmed), (vec![1], 0));
    assert_eq!(world.objects.to_be_done(&user_key(20, 1)).1, entries(&[1]));
}

#[test]
fn few_sessions_are_opened_at_a_time_and_what_has_none_is_unconfirmed() {
    test_timeout::start();
    let (mut world, mut none) = (World::new(), Vec::new());
    for user in 1..=20 {
        world.objects.ask(user_key(user, user), call_of_user(user), world.now);
    }
    assert_eq!(world.reads().len(), 20);
    for user in 1..=20 {
        assert_eq!(world.objects.wants_session(&user_key(user, user), Box::new(hint()), world.now), []);
    }
    let opens = |objects: &mut Objects, now| match objects.begin(now, &mut Vec::new()) {
        Some(Job::Open(id)) => Some(id.get()),
        _ => None,
    };
    let opened: Vec<_> = std::iter::from_fn(|| opens(&mut world.objects, world.now)).collect();
    assert!(opened.into_iter().eq(1..=8));
    // They hold up no read.
    world.call(30, 30);
    assert_eq!(world.reads(), [30]);
    world.objects.session_tried(1_u64.try_into().unwrap(), world.now);
    assert_eq!(opens(&mut world.objects, world.now), Some(9));
    world.now += SECOND;
    let Some(Job::Read { key, ask }) = world.objects.begin(world.now, &mut none) else { panic!("it is not read") };
    assert_eq!((key, ask.is_session_tried), (user_key(1, 1), true));
}

#[test]
fn what_has_failed_does_not_stop_the_intake_and_is_tried_once_bunq_answers() {
    test_timeout::start();
    let mut world = World::new();
    for id in 1..=10_000 {
        world.call(id, id);
        assert_eq!(world.reads(), [id]);
        world.objects.failed(&key(id), true, world.now);
    }
    assert!(!world.objects.is_crowded());
    world.now += SECOND;
    assert_eq!(world.reads().len(), 4_000);
    world.objects.seen(&key(1), seen(1), None, world.now);
    for id in 2..=4_000 {
        world.objects.failed(&key(id), true, world.now);
    }
    assert_eq!(world.reads().len(), 4_000);
    world.objects.seen(&key(4_001), seen(4_001), None, world.now);
    assert!(world.objects.next_due().is_some_and(|due| due <= world.now));
}

#[test]
fn what_a_look_has_found_stands_behind_calls() {
    test_timeout::start();
    let mut world = World::new();
    for id in 1..=10_000 {
        world.objects.find(key(id), Ask::default());
    }
    assert!(!world.objects.is_crowded());
    world.call(20_000, 1);
    assert_eq!(world.reads(), [20_000].into_iter().chain(1..=199).collect::<Vec<_>>());
    world.call(20_001, 2);
    assert_eq!(world.reads(), [20_001]);
    world.shows_nothing(1);
    world.shows_nothing(2);
    assert_eq!(world.reads(), [200]);
}

#[test]
fn a_user_who_is_perhaps_listed_later_is_put_off() {
    test_timeout::start();
    let mut world = World::new();
    let called = Key::OfUser(HintedObject::Onboarding(7_u64.try_into().unwrap()), 8_u64.try_into().unwrap());
    world.objects.ask(called.clone(), call_of_user(1), world.now);
    world.reads();
    let until = world.now + 60 * SECOND;
    assert_eq!(world.objects.put_off(&called, until), []);
    assert_eq!((world.go_on(), world.reads()), (60 * SECOND, vec![7]));
    assert_eq!(world.objects.belongs(&called, Vec::new(), world.now), entries(&[1]));
}

#[test]
fn what_a_page_lacks_is_sought_once_more() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    world.reads();
    assert_eq!(world.objects.not_listed(&key(1), world.now), []);
    assert_eq!((world.go_on(), world.reads()), (2 * SECOND, vec![1]));
    assert_eq!(world.objects.not_listed(&key(1), world.now), entries(&[1]));
    assert_eq!(world.objects.numbers().not_ours, 1);
}

#[test]
fn nothing_is_read_while_a_thousand_wait_to_be_taken() {
    test_timeout::start();
    let mut world = World::new();
    for id in 1..=5_000 {
        world.call(id, id);
    }
    assert_eq!(world.reads(), (1..=4_000).collect::<Vec<_>>());
    assert_eq!(world.objects.next_due(), None);
    for id in 1..=1_500 {
        world.objects.seen(&key(id), seen(id), None, world.now);
    }
    let mut done = Vec::new();
    while let Some(job) = world.objects.begin(world.now, &mut done) {
        let Job::Mark { key, .. } = job else { continue };
        world.objects.marked(&key, true, world.now);
    }
    assert_eq!(world.objects.next_due(), None);
    assert!(world.objects.take().is_some());
    assert!(world.objects.next_due().is_some());
}

fn seen(id: u64) -> Seen {
    Seen { object: ChangedObject::Provision(provision(id)), version: Some(version(1, 1)), is_under_way: false }
}

#[test]
fn what_was_not_confirmed_is_once_the_session_is_open() {
    test_timeout::start();
    let user = 20_u64.try_into().unwrap();
    let object = HintedObject::Onboarding(7_u64.try_into().unwrap());
    let key = Key::Object(MarkedObject { object, provision_id: Some(user) });
    let (mut objects, now, mut none) = (Objects::default(), Instant::now(), Vec::new());
    let unconfirmed = || {
        let object = ChangedObject::Unconfirmed { provision_id: Some(user), hint: Box::new(hint()) };
        Seen { object, version: None, is_under_way: false }
    };
    let ask = |entry| Ask { entries: entries(&[entry]), hint: Some(Box::new(hint())), ..Ask::default() };
    objects.ask(key.clone(), ask(1), now);
    assert!(matches!(objects.begin(now, &mut none), Some(Job::Read { ask: Ask { hint: Some(_), .. }, .. })));
    objects.seen(&key, unconfirmed(), None, now);
    assert!(objects.begin(now, &mut none).is_none());
    // Nobody has taken it yet.
    objects.opened(Some(30_u64.try_into().unwrap()), now);
    objects.opened(Some(user), now);
    assert!(objects.take().is_none());
    let later = now + SECOND;
    assert!(matches!(objects.begin(later, &mut none), Some(Job::Read { ask: Ask { hint: Some(_), .. }, .. })));
    let confirmed = Seen { version: Some(version(1, 1)), ..unconfirmed() };
    objects.seen(&key, confirmed, None, later);
    assert!(matches!(objects.begin(later, &mut none), Some(Job::Mark { .. })));
    objects.marked(&key, true, later);
    assert!(objects.take().is_some());
    assert_eq!(objects.to_be_done(&key).1, entries(&[1]));
    objects.done(&key, later);
    assert_eq!((objects.numbers().unconfirmed, objects.numbers().handed_on), (0, 1));
    // One that was taken is done as it is.
    let later = later + SECOND;
    objects.ask(key.clone(), ask(2), later);
    assert!(objects.begin(later, &mut none).is_some());
    objects.seen(&key, unconfirmed(), None, later);
    assert!(objects.begin(later, &mut none).is_none());
    assert!(objects.take().is_some());
    objects.opened(Some(user), later);
    let (mark, done) = objects.to_be_done(&key);
    assert_eq!((mark, done, objects.numbers().unconfirmed), (None, entries(&[2]), 1));
}

#[test]
fn what_was_in_progress_is_begun_again_by_another_task() {
    test_timeout::start();
    let mut world = World::new();
    world.call(1, 1);
    world.call(2, 2);
    assert_eq!(world.reads(), [1, 2]);
    world.objects.seen(&key(2), seen(2), None, world.now);
    assert!(matches!(world.objects.begin(world.now, &mut Vec::new()), Some(Job::Mark { .. })));
    world.objects.begin_again(world.now);
    world.now += SECOND;
    assert_eq!(world.reads(), [1]);
    world.shows(1, version(1, 1));
    assert_eq!(world.taken(), [1, 2]);
    assert_eq!((world.done(1), world.done(2)), (entries(&[1]), entries(&[2])));
}

#[test]
fn all_that_bunq_shows_is_in_the_digest_and_its_key_is_not_known() {
    test_timeout::start();
    let digest = |object: serde_json::Value| {
        let provision: Provision = serde_json::from_value(object).unwrap();
        Digester::new(&"key".into()).provision(&provision).unwrap().digest
    };
    let whole = json!({
        "id": 1, "status": "ACTIVE", "credential": {"id": 2, "token_value": "token"},
        "oauth_request": {"authorization_code": "code", "client_id": "client", "redirect_url": "https://a.example/?code=c"},
    });
    let mut digests = vec![digest(whole.clone())];
    assert_eq!(digests[0], digest(whole.clone()));
    for (pointer, other) in [
        ("/status", json!("CLOSED")),
        ("/credential/token_value", json!("other")),
        ("/credential/token_value", json!(null)),
        ("/oauth_request/authorization_code", json!("other")),
        ("/oauth_request/client_id", json!("other")),
        ("/oauth_request/redirect_url", json!("https://a.example/?code=d")),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).unwrap() = other;
        digests.push(digest(changed));
    }
    let provision: Provision = serde_json::from_value(whole).unwrap();
    digests.push(Digester::new(&"another key".into()).provision(&provision).unwrap().digest);
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}
