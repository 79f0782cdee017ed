//! What follows from a read.

use super::*;

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
fn what_a_page_lacks_is_sought_once_more_by_its_id() {
    test_timeout::start();
    let (mut world, mut none) = (World::new(), Vec::new());
    world.call(1, 1);
    world.reads();
    assert_eq!(world.objects.not_listed(&key(1), 0, world.now), []);
    // Nothing takes its call from the journal again meanwhile.
    assert_eq!((world.objects.held(), world.objects.numbers().waiting), (entries(&[1]).into_iter().collect(), 1));
    world.now += 2 * SECOND;
    let Some(Job::Read { ask, .. }) = world.objects.begin(world.now, &mut none) else { panic!("it is not read") };
    assert!(ask.is_unlisted);
    assert_eq!(world.objects.not_ours(&key(1), world.now), entries(&[1]));
    assert_eq!(world.objects.numbers().not_ours, 1);
}

#[test]
fn of_many_that_pages_lack_those_that_are_near_the_newest_are_sought() {
    test_timeout::start();
    let mut world = World::new();
    for id in 1..=150 {
        world.call(id, id);
        assert_eq!(world.reads(), [id]);
        let given_up = if id <= 100 { vec![] } else { entries(&[id - 100]) };
        assert_eq!(world.objects.not_listed(&key(id), 1000 - id, world.now), given_up);
    }
    assert_eq!((world.objects.numbers().not_ours, world.objects.numbers().waiting), (50, 100));
    assert_eq!(world.objects.next_due(), Some(world.now + SECOND));
    world.now += 2 * SECOND;
    assert!(world.reads().into_iter().eq(147..=150));
    world.shows_nothing(148);
    assert_eq!(world.reads(), [146]);
}

#[test]
fn each_user_of_one_person_is_asked() {
    test_timeout::start();
    let (mut objects, now, mut none) = (Objects::default(), Instant::now(), Vec::new());
    let called = named_key(8, 7);
    objects.ask(called.clone(), call_of_user(1), now);
    assert!(matches!(objects.begin(now, &mut none), Some(Job::Read { key, .. }) if key == called));
    let ids = [30, 20];
    assert_eq!(objects.belongs(&called, ids.map(|id: u64| id.try_into().unwrap()).to_vec(), now), []);
    for (id, done) in [(ids[0], vec![]), (ids[1], entries(&[1]))] {
        let of_user = user_key(id, 7);
        assert!(matches!(objects.begin(now, &mut none), Some(Job::Read { key, .. }) if key == of_user));
        assert_eq!(objects.not_ours(&of_user, now), done);
    }
    assert_eq!((objects.numbers().not_ours, objects.numbers().foreign), (1, 0));
    // While the custody cannot say whose it is, nobody is told of it.
    objects.ask(called.clone(), call_of_user(3), now);
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

#[test]
fn a_user_who_is_perhaps_listed_later_is_put_off() {
    test_timeout::start();
    let mut world = World::new();
    let called = named_key(8, 7);
    world.objects.ask(called.clone(), call_of_user(1), world.now);
    world.reads();
    let until = world.now + 60 * SECOND;
    assert_eq!(world.objects.put_off(&called, until), []);
    assert_eq!((world.go_on(), world.reads()), (60 * SECOND, vec![7]));
    assert_eq!(world.objects.belongs(&called, Vec::new(), world.now), entries(&[1]));
}
