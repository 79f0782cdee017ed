//! Several clients that share the limit of sessions.

use std::collections::VecDeque;
use std::future::pending;

use tokio::task::yield_now;
use uuid::Uuid;

use super::*;
use crate::transport::credentials::BoxFuture;
use crate::transport::rate_limit::Share;
use crate::transport::rate_limit::store::{Grant, OtherSessions, PermitWindow, Priority, Taken, WaitingSessions};

/// A store whose answers take a while, or do not come.
#[derive(Debug, Clone, Default)]
struct Store {
    permits: MemoryPermits,
    answers: Arc<Mutex<Answers>>,
    announced: Arc<AtomicUsize>,
    /// What it answers to those that ask next for permits.
    taken: Arc<Mutex<VecDeque<Taken>>>,
    /// It does not say when there is room.
    hides_room: bool,
    asked: Arc<AtomicUsize>,
    withdrawn: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Answers {
    #[default]
    Soon,
    /// Nothing is known of what is announced.
    Never,
    Fails,
}

impl PermitStore for Store {
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match lock(&self.taken).pop_front() {
            Some(taken) => Box::pin(async move { Ok(taken) }),
            None => self.permits.take(window, priority),
        }
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.permits.settle(window, id, settlement)
    }

    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        self.withdrawn.fetch_add(1, Ordering::Relaxed);
        self.permits.withdraw(window, unused);
    }

    fn announce<'a>(
        &'a self,
        window: &'a PermitWindow,
        sessions: WaitingSessions,
    ) -> BoxFuture<'a, Result<OtherSessions, Error>> {
        Box::pin(async move {
            self.announced.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
            let answers = *lock(&self.answers);
            let answer = match answers {
                Answers::Soon => self.permits.announce(window, sessions).await.map(|others| match self.hides_room {
                    true => others.not_before(Duration::ZERO),
                    false => others,
                }),
                Answers::Never => pending().await,
                Answers::Fails => Err(Error::permits("away")),
            };
            yield_now().await;
            answer
        })
    }
}

/// Clients that share a limit, of which the first has just opened the session of the partner.
async fn fleet(store: &Store, clients: usize) -> Vec<Bank> {
    slow_fleet(store, clients, Duration::ZERO).await
}

async fn slow_fleet(store: &Store, clients: usize, exchange: Duration) -> Vec<Bank> {
    let bank = |_| Bank::sharing(Some(Arc::new(store.clone())), exchange, None);
    let banks: Vec<_> = (0..clients).map(bank).collect();
    banks[0].partner().await;
    banks
}

/// When which user's session was opened, by whichever client.
fn opened(fleet: &[Bank]) -> Vec<(u64, Duration)> {
    let mut opened: Vec<_> = fleet.iter().flat_map(|bank| lock(&bank.opened).clone()).collect();
    opened.sort_by_key(|(_, at)| *at);
    opened
}

/// Announces sessions as a client does that dies then.
async fn announced_by_the_dead(store: &Store, bank: &Bank, deadlines: Vec<Duration>, candidate: Option<Duration>) {
    let caller = bank.limits.caller("bank".into(), "key".into(), Role::Partner);
    let Share { window, .. } = bank.limits.share(&Operation::CREATE_SESSION, &caller).unwrap();
    let dead = WaitingSessions { client: Uuid::new_v4().as_u128(), number: 1, deadlines, candidate, lease: INTERVAL };
    store.permits.announce(&window, dead).await.unwrap();
}

/// Whichever client has it, and whenever it came, while others wait: at each turn the one that expires first goes.
#[tokio::test(start_paused = true)]
async fn who_expires_first_goes_first_whichever_client_has_it() {
    test_timeout::start();
    let (store, users) = (Store::default(), 24);
    let fleet = &fleet(&store, 3).await;
    let open = |id: u64| fleet[id as usize % 3].open(id, Duration::from_secs(3600 + id));
    let before = store.announced.load(Ordering::Relaxed);
    let all = join_all((1..=users).rev().map(open)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let expected: Vec<_> = (0..=users).map(|id| (id, INTERVAL * u32::try_from(id).unwrap())).collect();
    assert_eq!(opened(fleet), expected);
    // Two for each that comes, and a few for each turn.
    let announced = store.announced.load(Ordering::Relaxed) - before;
    assert!(announced < 20 * users as usize, "{announced}");
}

/// Also if none knows when there is room before it asks for a permit: all are told when to come back, and each keeps its place.
#[tokio::test(start_paused = true)]
async fn who_expires_first_goes_first_among_those_that_were_told_to_wait() {
    test_timeout::start();
    let (store, users) = (Store { hides_room: true, ..Store::default() }, 24);
    let fleet = &fleet(&store, 3).await;
    let open = |id: u64| fleet[id as usize % 3].open(id, Duration::from_secs(3600 + id));
    let all = join_all((1..=users).rev().map(open)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let opened = opened(fleet);
    assert!(opened.iter().map(|(id, _)| *id).eq(0..=users), "{opened:?}");
    assert!(opened[users as usize].1 <= INTERVAL * 25, "{opened:?}");
    // Whoever is the next of its client asks when another client takes a permit, a second after a place was to be taken, and when it has its
    // own.
    let asked = store.asked.load(Ordering::Relaxed);
    assert!(asked <= 5 * users as usize, "{asked}");
}

/// A database says when to ask again, and grants a permit shortly before it is free. Until then nothing is done for the session, and the
/// client keeps its place.
#[tokio::test(start_paused = true)]
async fn one_that_is_told_to_wait_keeps_its_place_and_does_nothing() {
    test_timeout::start();
    let (store, soon) = (Store::default(), Duration::from_millis(200));
    let bank = &fleet(&store, 1).await[0];
    let promised = Grant::new(1).send_after(soon).send_within(INTERVAL);
    *lock(&store.taken) = [Taken::NotBefore(INTERVAL * 3 - soon), Taken::Granted(promised)].into();
    let attempts = Mutex::new(Duration::ZERO);
    let attempt = async || {
        let began = Instant::now();
        let opened = bank.exchange(1).await;
        *lock(&attempts) += began.elapsed();
        opened
    };
    let wanted = bank.wanted(1, LIFE, bank.turns.ticket());
    let failed = |error: &Error| panic!("{error}");
    bank.turns.open_alone(wanted, nothing, attempt, async || Ok(()), failed).await.unwrap();
    assert_eq!(*lock(&bank.opened), [(0, Duration::ZERO), (1, INTERVAL * 4)]);
    assert_eq!((*lock(&attempts), store.withdrawn.load(Ordering::Relaxed)), (soon, 0));
}

/// What the store has told is about the session that has asked.
#[tokio::test(start_paused = true)]
async fn one_that_expires_before_one_that_was_told_to_wait_asks_at_once() {
    test_timeout::start();
    let store = Store::default();
    let bank = &fleet(&store, 1).await[0];
    lock(&store.taken).push_back(Taken::NotBefore(INTERVAL * 9));
    let at = INTERVAL + Duration::from_secs(1);
    let second = async {
        sleep(at).await;
        bank.open(2, LIFE / 2).await
    };
    let (first, second) = tokio::join!(bank.open(1, LIFE), second);
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(*lock(&bank.opened), [(0, Duration::ZERO), (2, at), (1, INTERVAL * 10)]);
}

/// It leaves no place in the store, and neither does one whose wait is given up.
#[tokio::test(start_paused = true)]
async fn one_that_is_told_to_wait_beyond_its_deadline_is_late() {
    test_timeout::start();
    let store = Store::default();
    let bank = &fleet(&store, 1).await[0];
    lock(&store.taken).push_back(Taken::NotBefore(INTERVAL * 2));
    let error = bank.open(1, INTERVAL * 2).await.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::RateLimited, Some(Remedy::ResetToken)), "{error}");
    assert_eq!((bank.began.elapsed(), store.withdrawn.load(Ordering::Relaxed)), (INTERVAL, 1));

    lock(&store.taken).push_back(Taken::NotBefore(INTERVAL * 2));
    let mut given_up = Box::pin(bank.open(2, LIFE));
    tokio::select! {
        _ = &mut given_up => unreachable!(),
        () = sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(store.withdrawn.load(Ordering::Relaxed), 1);
    drop(given_up);
    assert_eq!(store.withdrawn.load(Ordering::Relaxed), 2);
}

/// Though all ask at the same time.
#[tokio::test(start_paused = true)]
async fn as_many_as_fit_are_admitted_by_all_clients_together() {
    test_timeout::start();
    let fits = 10;
    let life = INTERVAL * fits;
    let store = Store::default();
    let fleet = &fleet(&store, 8).await;
    let open = |id: u64| async move {
        let outcome = fleet[id as usize % 8].open(id, life).await;
        (outcome, fleet[0].began.elapsed())
    };
    let (admitted, refused): (Vec<_>, Vec<_>) =
        join_all((1..=40).map(open)).await.into_iter().partition(|(outcome, _)| outcome.is_ok());
    assert_eq!(admitted.len(), fits as usize);
    assert!(admitted.iter().all(|(_, at)| *at <= life), "{admitted:?}");
    for (outcome, at) in refused {
        let error = outcome.unwrap_err();
        assert_eq!(
            (error.kind(), error.remedy(), at),
            (ErrorKind::RateLimited, Some(Remedy::ResetToken), Duration::ZERO)
        );
    }
}

/// One that another client has admitted stays in time.
#[tokio::test(start_paused = true)]
async fn what_another_client_has_admitted_stays_so() {
    test_timeout::start();
    let store = Store::default();
    let fleet = fleet(&store, 2).await;
    let first = fleet[0].open(1, INTERVAL);
    let second = async {
        sleep(Duration::from_secs(1)).await;
        (fleet[1].open(2, INTERVAL - Duration::from_secs(1)).await, fleet[1].open(3, INTERVAL * 2).await)
    };
    let (first, (second, third)) = tokio::join!(first, second);
    assert!(first.is_ok() && third.is_ok(), "{first:?} {third:?}");
    assert_eq!(second.unwrap_err().kind(), ErrorKind::RateLimited);
    assert_eq!(opened(&fleet), [(0, Duration::ZERO), (1, INTERVAL), (3, INTERVAL * 2)]);
}

/// While one is opened, it has its permit and is still announced.
#[tokio::test(start_paused = true)]
async fn one_that_is_opened_makes_none_of_another_client_late() {
    test_timeout::start();
    let store = Store::default();
    let fleet = &slow_fleet(&store, 3, Duration::from_millis(200)).await;
    let open =
        |id: u64| fleet[id as usize % 3].open(id, INTERVAL * u32::try_from(id).unwrap() + Duration::from_secs(3));
    let all = join_all((1..=9).map(open)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert!(opened(fleet).iter().map(|(id, _)| *id).eq(0..=9));
}

/// What it had admitted, or was about to, counts until its lease ends.
#[tokio::test(start_paused = true)]
async fn a_client_that_dies_gives_its_places_back() {
    test_timeout::start();
    let store = Store::default();
    let bank = &fleet(&store, 1).await[0];
    for (deadlines, candidate) in [(vec![INTERVAL], None), (vec![], Some(INTERVAL))] {
        let life = |left: Duration| bank.began.elapsed() + left;
        announced_by_the_dead(&store, bank, deadlines, candidate).await;
        let refused = bank.open(1, life(INTERVAL)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::RateLimited, "{refused}");
        sleep(INTERVAL).await;
        bank.open(2, life(Duration::ZERO)).await.unwrap();
    }
}

/// Nothing is admitted then, and what waits goes on at its times.
#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_makes_nothing_late() {
    test_timeout::start();
    for (answers, after) in [(Answers::Fails, Duration::ZERO), (Answers::Never, Duration::from_secs(10))] {
        let store = Store::default();
        let bank = &fleet(&store, 1).await[0];
        let waiting = join_all((1..=4).map(|id| bank.open(id, INTERVAL * u32::try_from(id).unwrap())));
        let others = async {
            sleep(Duration::from_secs(1)).await;
            *lock(&store.answers) = answers;
            let began = Instant::now();
            // They do not fail one after the other.
            for outcome in join_all((5..=20).map(|id| bank.open(id, LIFE))).await {
                let error = outcome.unwrap_err();
                assert_eq!((error.kind(), error.sent()), (ErrorKind::Permits, Sent::No), "{error}");
            }
            assert!(began.elapsed() <= 2 * after, "{:?}", began.elapsed());
        };
        let (waited, ()) = tokio::join!(waiting, others);
        assert!(waited.iter().all(Result::is_ok), "{waited:?}");
        assert_eq!(bank.opened(), [0, 1, 2, 3, 4]);
    }
}

/// Those that are given up, or are opened, are announced no more: the task ends.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_leaves_its_place_at_once() {
    test_timeout::start();
    let store = Store::default();
    let fleet = fleet(&store, 2).await;
    let mut given_up = Box::pin(fleet[0].open(1, INTERVAL));
    let refused = async || fleet[1].open(2, INTERVAL).await;
    tokio::select! {
        _ = &mut given_up => unreachable!(),
        () = sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(refused().await.unwrap_err().kind(), ErrorKind::RateLimited);
    drop(given_up);
    sleep(Duration::from_secs(1)).await;
    refused().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let announced = store.announced.load(Ordering::Relaxed);
    sleep(LIFE).await;
    assert_eq!(store.announced.load(Ordering::Relaxed), announced);
}
