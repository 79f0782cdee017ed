//! When objects are read, and what is handed on when.

use super::*;

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
