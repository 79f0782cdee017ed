//! What nobody has confirmed.

use super::*;

#[test]
fn what_was_not_confirmed_is_once_the_session_is_open() {
    test_timeout::start();
    let user = 20_u64.try_into().unwrap();
    let key = user_key(20, 7);
    let (mut objects, now, mut none) = (Objects::default(), Instant::now(), Vec::new());
    objects.ask(key.clone(), call_of_user(1), now);
    assert!(matches!(objects.begin(now, &mut none), Some(Job::Read { ask: Ask { hint: Some(_), .. }, .. })));
    objects.seen(&key, unconfirmed(&key), None, now);
    assert!(objects.begin(now, &mut none).is_none());
    // Nobody has taken it yet.
    objects.opened(Some(30_u64.try_into().unwrap()), now);
    objects.opened(Some(user), now);
    assert!(objects.take().is_none());
    let later = now + SECOND;
    assert!(matches!(objects.begin(later, &mut none), Some(Job::Read { ask: Ask { hint: Some(_), .. }, .. })));
    let confirmed = Seen { version: Some(version(1, 1)), ..unconfirmed(&key) };
    objects.seen(&key, confirmed, None, later);
    assert!(matches!(objects.begin(later, &mut none), Some(Job::Mark { .. })));
    objects.marked(&key, true, later);
    assert!(objects.take().is_some());
    assert_eq!(objects.to_be_done(&key).1, entries(&[1]));
    objects.done(&key, later);
    assert_eq!((objects.numbers().unconfirmed, objects.numbers().handed_on), (0, 1));
    // One that was taken is done as it is.
    let later = later + SECOND;
    objects.ask(key.clone(), call_of_user(2), later);
    assert!(objects.begin(later, &mut none).is_some());
    objects.seen(&key, unconfirmed(&key), None, later);
    assert!(objects.begin(later, &mut none).is_none());
    assert!(objects.take().is_some());
    objects.opened(Some(user), later);
    let (mark, done) = objects.to_be_done(&key);
    assert_eq!((mark, done, objects.numbers().unconfirmed), (None, entries(&[2]), 1));
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

/// Whoever knows the path can make up calls of a category that is asked for.
#[test]
fn calls_that_nobody_confirms_are_bounded_and_hold_up_no_change() {
    test_timeout::start();
    let (mut world, mut done) = (World::new(), Vec::new());
    for entry in 1..=10_003 {
        let call = Key::Call(CallId::Entry(EntryId::new(entry)));
        world.objects.ask(call.clone(), call_of_user(entry), world.now);
        assert!(matches!(world.objects.begin(world.now, &mut done), Some(Job::Read { key, .. }) if key == call));
        world.objects.seen(&call, unconfirmed(&call), None, world.now);
        assert!(world.objects.begin(world.now, &mut done).is_none());
    }
    assert_eq!((done, world.objects.numbers().left_out), (entries(&[10_001, 10_002, 10_003]), 3));
    assert!(!world.objects.is_crowded());
    for id in [7, 8] {
        world.call(id, 20_000 + id);
        assert_eq!(world.reads(), [id]);
        world.shows(id, version(1, 1));
    }
    let taken = std::iter::from_fn(|| world.objects.take()).take(5).map(|given| given.key.object().is_some());
    assert!(taken.eq([false, true, false, true, false]));
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
