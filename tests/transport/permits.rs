//! Permits of the rate limits that several clients share: in memory, and in a store as one over a database would be, which is
//! slow, fails, and ends what is left behind by leases.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bunq_partner::{
    BoxFuture, Client, Error, ErrorKind, Grant, MemoryCustody, MemoryPermits, Operation, PermitStore, PermitWindow,
    Priority, ProvisionId, RateLimit, Sent, Settlement, Taken,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::join_all;
use futures_util::poll;
use tokio::time::{Instant, sleep};

use crate::common::{at_once, calls, once};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(20);
const READS: RateLimit = Operation::GET_PROVISION.rate_limit;

/// A store whose permits are rows with leases.
#[derive(Debug, Default)]
struct LeasedPermits {
    /// How long it takes to answer.
    delay: Duration,
    /// How long after it is asked for a permit may be used.
    send_within: Option<Duration>,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    fails_to_take: bool,
    fails_to_settle: bool,
    /// Until when each permit counts, by its id.
    counted: HashMap<u128, Instant>,
    closed_until: Option<Instant>,
    /// A refused call and no admitted one since: one call goes at a time.
    is_refused: bool,
    /// The permits that are neither settled nor ended by their leases.
    held: HashMap<u128, Instant>,
    given: u128,
    asked: u32,
    settled: Vec<Settlement>,
    /// The fingerprints of those that asked.
    callers: Vec<String>,
    /// How soon sessions had to have their permits.
    of_sessions: Vec<Priority>,
}

impl LeasedPermits {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }
}

impl PermitStore for LeasedPermits {
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async move {
            sleep(self.delay).await;
            let (mut rows, now) = (self.rows(), Instant::now());
            rows.asked += 1;
            rows.callers.push(window.api_key_fingerprint.to_string());
            if window.operation == &Operation::CREATE_SESSION {
                rows.of_sessions.push(priority);
            }
            if rows.fails_to_take {
                return Err(Error::permits("database `fleet`: it is away"));
            }
            rows.counted.retain(|_, until| *until > now);
            rows.held.retain(|_, until| *until > now);
            if let Some(until) = rows.closed_until.filter(|until| *until > now) {
                return Ok(Taken::NotBefore(until - now));
            }
            if rows.is_refused && !rows.held.is_empty() {
                return Ok(Taken::NotBefore(SECOND / 10));
            }
            let calls = window.limit.calls as usize;
            // One that is held may be settled at any time.
            let settled_now = now + window.limit.per;
            let mut free: Vec<_> = rows.counted.values().map(|until| settled_now.min(*until)).collect();
            free.sort_unstable();
            if let Some(index) = free.len().checked_sub(calls) {
                return Ok(Taken::NotBefore(free[index] - now));
            }
            rows.given += 1;
            let id = rows.given;
            rows.held.insert(id, now + LEASE);
            rows.counted.insert(id, now + LEASE + window.limit.per);
            let grant = Grant::new(id);
            let grant = self.send_within.map_or(grant, |time| grant.send_within(time));
            drop(rows);
            Ok(Taken::Granted(grant))
        })
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            sleep(self.delay).await;
            let (mut rows, now) = (self.rows(), Instant::now());
            if rows.fails_to_settle {
                return Err(Error::permits("database `fleet`: it is away"));
            }
            rows.held.remove(&id).ok_or_else(|| Error::permits("the lease has ended"))?;
            rows.counted.insert(id, now + window.limit.per);
            match settlement {
                Settlement::Admitted => rows.is_refused = false,
                Settlement::Refused(refusal) => {
                    let pause = refusal.claim.map_or(refusal.pause, |claim| claim.pause.max(refusal.pause));
                    rows.closed_until = rows.closed_until.max(Some(now + pause));
                    rows.is_refused = true;
                }
                _ => {}
            }
            rows.settled.push(settlement);
            Ok(())
        })
    }
}

/// A bank that keeps the limit of reads, and a provision there.
async fn bank() -> (Sandbox, ProvisionId) {
    let sandbox =
        Sandbox::builder().rate_limit(&Operation::GET_PROVISION, READS.calls, READS.per).start().await.unwrap();
    let id = sandbox.populate(1)[0];
    (sandbox, id)
}

/// A client with a session that takes its permits from this store.
async fn client(sandbox: &Sandbox, store: impl PermitStore) -> Client {
    let client = sandbox.client().permits(store).retry(at_once()).build().unwrap();
    client.open_session().await.unwrap();
    client
}

fn refused(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.status == 429).count()
}

/// How long it takes two clients to make ten reads each, in tasks of their own.
async fn twenty_reads(clients: [&Client; 2], id: ProvisionId) -> Duration {
    let start = Instant::now();
    let reads = clients.into_iter().flat_map(|client| {
        (0..10).map(move |_| {
            let provisions = client.provisions();
            tokio::spawn(async move { provisions.get(id).await.map(drop) })
        })
    });
    for read in join_all(reads).await {
        read.unwrap().unwrap();
    }
    start.elapsed()
}

/// What two clients need for twenty reads that follow the limit without a gap.
fn shortest() -> Duration {
    READS.per * (20_u32.div_ceil(READS.calls) - 1)
}

#[tokio::test(start_paused = true)]
async fn clients_that_share_a_store_keep_one_limit() {
    test_timeout::start();
    let slow = || Arc::new(LeasedPermits { delay: SECOND / 20, ..LeasedPermits::default() });
    let stores: [Arc<dyn PermitStore>; 2] = [Arc::new(MemoryPermits::new()), slow()];
    for store in stores {
        let (sandbox, id) = bank().await;
        let [one, other] = [client(&sandbox, Arc::clone(&store)).await, client(&sandbox, Arc::clone(&store)).await];
        let took = twenty_reads([&one, &other], id).await;
        assert_eq!(refused(&sandbox), 0, "{store:?}");
        assert!(took >= shortest() && took < shortest() * 6 / 5, "{store:?}: {took:?}");
    }
    // Apart, they get in each other's way.
    let (sandbox, id) = bank().await;
    let [one, other] = [sandbox.client().build().unwrap(), sandbox.client().build().unwrap()];
    twenty_reads([&one, &other], id).await;
    assert!(refused(&sandbox) > 0);
}

/// The first of each operation asks, and who has to wait is told until when.
#[tokio::test(start_paused = true)]
async fn no_client_asks_in_a_loop() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Arc::new(LeasedPermits { delay: SECOND / 20, ..LeasedPermits::default() });
    let [one, other] = [client(&sandbox, Arc::clone(&store)).await, client(&sandbox, Arc::clone(&store)).await];
    twenty_reads([&one, &other], id).await;
    let rows = store.rows();
    assert_eq!((rows.given, rows.settled.len()), (20, 20));
    assert!(rows.asked <= 40 + 2, "{}", rows.asked);
}

#[tokio::test(start_paused = true)]
async fn a_429_of_one_client_is_a_pause_of_all() {
    test_timeout::start();
    for is_signed in [true, false] {
        let stores: [Arc<dyn PermitStore>; 2] = [Arc::new(MemoryPermits::new()), Arc::<LeasedPermits>::default()];
        for store in stores {
            let sandbox = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, READS.calls, READS.per);
            let sandbox = sandbox.signed_refusals(is_signed).start().await.unwrap();
            let id = sandbox.populate(1)[0];
            let [one, other] = [client(&sandbox, Arc::clone(&store)).await, client(&sandbox, Arc::clone(&store)).await];
            let asked = Fault::RetryAfter(30 * SECOND);
            sandbox.inject(Injection::new(asked).on(&Operation::GET_PROVISION));
            let start = Instant::now();
            let provisions = one.provisions();
            let mut refused_read = Box::pin(provisions.get(id));
            while refused(&sandbox) == 0 {
                assert!(poll!(&mut refused_read).is_pending());
                tokio::task::yield_now().await;
            }
            // It has read its response.
            while one.expected_wait(&Operation::GET_PROVISION).is_zero() {
                assert!(poll!(&mut refused_read).is_pending());
                tokio::task::yield_now().await;
            }
            other.provisions().get(id).await.unwrap();
            assert!(start.elapsed() >= 30 * SECOND, "{store:?}: {:?}", start.elapsed());
            refused_read.await.unwrap();
            assert_eq!(refused(&sandbox), 1, "{store:?}");
        }
    }
}

/// Its calls are dropped while they are on their way: the others go on after lease and window, and not before.
#[tokio::test(start_paused = true)]
async fn permits_of_dropped_calls_come_free_by_their_leases() {
    test_timeout::start();
    let leased: (Arc<dyn PermitStore>, _) = (Arc::<LeasedPermits>::default(), LEASE + READS.per);
    // In memory nothing can be left behind.
    let in_memory: (Arc<dyn PermitStore>, _) = (Arc::new(MemoryPermits::new()), READS.per);
    for (store, expected) in [leased, in_memory] {
        let (sandbox, id) = bank().await;
        let [one, other] = [client(&sandbox, Arc::clone(&store)).await, client(&sandbox, Arc::clone(&store)).await];
        let stalls = Injection::new(Fault::Late(3600 * SECOND)).on(&Operation::GET_PROVISION);
        sandbox.inject(stalls.times(READS.calls));
        let start = Instant::now();
        let provisions = one.provisions();
        let mut stalled: Vec<_> = (0..READS.calls).map(|_| Box::pin(provisions.get(id))).collect();
        while calls(&sandbox, "GET", &id.to_string()).len() < stalled.len() {
            for read in &mut stalled {
                assert!(poll!(read).is_pending());
            }
            tokio::task::yield_now().await;
        }
        drop(stalled);
        other.provisions().get(id).await.unwrap();
        assert!(start.elapsed() >= expected, "{store:?}: {:?}", start.elapsed());
        assert!(start.elapsed() < expected + SECOND, "{store:?}: {:?}", start.elapsed());
        assert_eq!(refused(&sandbox), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_fails_does_not_fail_the_call() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Arc::<LeasedPermits>::default();
    let client = client(&sandbox, Arc::clone(&store)).await;
    store.rows().fails_to_settle = true;
    let start = Instant::now();
    for _ in 0..=READS.calls {
        client.provisions().get(id).await.unwrap();
    }
    // The last one waits for a lease.
    assert!(start.elapsed() >= LEASE, "{:?}", start.elapsed());
    assert!(store.rows().settled.is_empty());
}

/// It never answers, as a database does whose machine is cut off.
#[tokio::test(start_paused = true)]
async fn a_settlement_without_an_answer_holds_no_call_up() {
    test_timeout::start();
    #[derive(Debug)]
    struct Deaf;
    impl PermitStore for Deaf {
        fn take<'a>(&'a self, _: &'a PermitWindow, _: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
            Box::pin(async { Ok(Taken::Granted(Grant::new(1))) })
        }

        fn settle<'a>(&'a self, _: &'a PermitWindow, _: u128, _: Settlement) -> BoxFuture<'a, Result<(), Error>> {
            Box::pin(std::future::pending())
        }
    }
    let (sandbox, id) = bank().await;
    let client = client(&sandbox, Deaf).await;
    let start = Instant::now();
    client.provisions().get(id).await.unwrap();
    assert!(start.elapsed() <= 2 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_from_the_store_is_not_sent() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    for (delay, problem) in [
        (Duration::ZERO, "get_provision: database `fleet`: it is away"),
        (3600 * SECOND, "did not answer before this call's deadline"),
    ] {
        let store = Arc::new(LeasedPermits { delay, ..LeasedPermits::default() });
        store.rows().fails_to_take = true;
        let client = client(&sandbox, Arc::clone(&store)).await;
        let before = sandbox.call_log().len();
        // Also those that wait while another asks.
        let provisions = client.provisions();
        for read in join_all((0..3).map(|_| provisions.get(id))).await {
            let error = read.map(drop).unwrap_err();
            assert_eq!((error.kind(), error.sent(), error.attempts()), (ErrorKind::Permits, Sent::No, 0), "{error}");
            assert!(error.to_string().contains(problem), "{error}");
            assert!(error.is_retryable() && !error.is_doubtful());
        }
        assert_eq!(sandbox.call_log().len(), before);
        if delay.is_zero() {
            store.rows().fails_to_take = false;
            provisions.get(id).await.unwrap();
        }
    }
}

/// A machine that stood still, or a future that was not polled, does not use what it was given before.
#[tokio::test(start_paused = true)]
async fn a_permit_that_is_too_old_is_not_used() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Arc::new(LeasedPermits { delay: SECOND, send_within: Some(LEASE / 2), ..LeasedPermits::default() });
    let client = client(&sandbox, Arc::clone(&store)).await;
    let provisions = client.provisions();
    let mut stalled = Box::pin(provisions.get(id));
    assert!(poll!(&mut stalled).is_pending());
    sleep(LEASE / 2 + SECOND).await;
    stalled.await.unwrap();
    let rows = store.rows();
    assert_eq!((rows.given, rows.settled.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_asks_and_is_not_polled_holds_no_other_up() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Arc::new(LeasedPermits { delay: SECOND / 20, ..LeasedPermits::default() });
    let client = client(&sandbox, Arc::clone(&store)).await;
    let provisions = client.provisions();
    let mut stalled = Box::pin(provisions.get(id));
    assert!(poll!(&mut stalled).is_pending());
    let start = Instant::now();
    provisions.get(id).await.unwrap();
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    stalled.await.unwrap();
}

/// A user's client takes its permits from its partner's store, and says who it is.
#[tokio::test(start_paused = true)]
async fn a_store_is_told_who_calls() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let store = Arc::<LeasedPermits>::default();
    let partner = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, SECOND).permits(Arc::clone(&store));
    let partner = partner.retry(once()).custody(MemoryCustody::new()).build().unwrap();
    let id = sandbox.populate(1)[0];
    partner.users().activate(id).await.unwrap();
    let key = partner.api_key_fingerprint();
    let expected = [key.to_owned(), format!("{key}/{id}")];
    let mut callers = store.rows().callers.clone();
    callers.dedup();
    assert_eq!(callers, expected);
    let shown = format!("{:?}", store.rows().settled);
    assert!(shown.starts_with("[Admitted"), "{shown}");
    // The partner's own session goes first; that of a user must be open before its credential expires.
    let of_sessions = store.rows().of_sessions.clone();
    let shown: Vec<_> = of_sessions.iter().map(|session| (session.is_urgent, session.deadline.is_some())).collect();
    assert_eq!(shown.first(), Some(&(true, false)), "{of_sessions:?}");
    assert!(shown[1..].iter().all(|shown| *shown == (false, true)) && shown.len() > 1, "{of_sessions:?}");
}

/// A store that gives these answers to reads, and notes what it is asked and told.
#[derive(Debug, Default)]
struct Scripted {
    /// How long it takes to answer.
    delay: Duration,
    answers: Mutex<VecDeque<Taken>>,
    asking: AtomicUsize,
    noted: Mutex<Vec<String>>,
}

impl Scripted {
    fn of(answers: impl IntoIterator<Item = Taken>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() })
    }

    fn note(&self, window: &PermitWindow, what: String) {
        if window.operation == &Operation::GET_PROVISION {
            self.noted.lock().unwrap().push(what);
        }
    }

    fn noted(&self) -> String {
        self.noted.lock().unwrap().join(", ")
    }
}

impl PermitStore for Scripted {
    fn take<'a>(&'a self, window: &'a PermitWindow, _: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async {
            if window.operation != &Operation::GET_PROVISION {
                return Ok(Taken::Granted(Grant::new(0)));
            }
            self.note(window, "take".to_owned());
            assert_eq!(self.asking.fetch_add(1, Ordering::Relaxed), 0, "another call asks");
            sleep(self.delay).await;
            self.asking.fetch_sub(1, Ordering::Relaxed);
            Ok(self.answers.lock().unwrap().pop_front().unwrap_or(Taken::Granted(Grant::new(99))))
        })
    }

    fn settle<'a>(&'a self, window: &'a PermitWindow, id: u128, _: Settlement) -> BoxFuture<'a, Result<(), Error>> {
        self.note(window, format!("settle {id}"));
        Box::pin(async { Ok(()) })
    }

    fn abandon(&self, window: &PermitWindow, id: u128) {
        self.note(window, format!("abandon {id}"));
    }

    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        self.note(window, format!("withdraw {unused:?}"));
    }
}

/// It is free a second later.
fn promise(id: u128) -> Taken {
    Taken::Granted(Grant::new(id).send_after(SECOND).send_within(2 * SECOND))
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_promised_is_used_when_it_is_free() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Scripted::of([Taken::NotBefore(3 * SECOND), promise(7)]);
    let client = client(&sandbox, Arc::clone(&store)).await;
    let start = Instant::now();
    client.provisions().get(id).await.unwrap();
    assert!(start.elapsed() >= 4 * SECOND && start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
    assert_eq!(store.noted(), "take, take, settle 7");
}

/// Polls a call until it has asked the store.
async fn asks(call: &mut (impl Future + Unpin), store: &Scripted) {
    while store.noted().is_empty() {
        assert!(poll!(&mut *call).is_pending());
        tokio::task::yield_now().await;
    }
}

/// Whose call is dropped, or not polled, leaves it to the next.
#[tokio::test(start_paused = true)]
async fn a_permit_that_is_promised_is_used_by_whoever_is_first() {
    test_timeout::start();
    for is_dropped in [true, false] {
        let (sandbox, id) = bank().await;
        let store = Scripted::of([promise(7), Taken::NotBefore(60 * SECOND)]);
        let client = client(&sandbox, Arc::clone(&store)).await;
        let provisions = client.provisions();
        let mut first = Box::pin(provisions.get(id));
        asks(&mut first, &store).await;
        // It has read the answer.
        for _ in 0..10 {
            assert!(poll!(&mut first).is_pending());
        }
        let start = Instant::now();
        let mut second = Box::pin(provisions.get(id));
        while store.noted() != "take, take" {
            assert!(poll!(&mut second).is_pending());
            tokio::task::yield_now().await;
        }
        let first = Some(first).filter(|_| !is_dropped);
        second.await.unwrap();
        assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
        // Others wait no more, or one does.
        let expected = if is_dropped { "take, take, withdraw [], settle 7" } else { "take, take, settle 7" };
        assert_eq!(store.noted(), expected);
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_any_more_is_given_back() {
    test_timeout::start();
    for (answer, expected) in [(promise(7), "take, withdraw [7]"), (Taken::NotBefore(SECOND), "take, withdraw []")] {
        let (sandbox, id) = bank().await;
        let store = Scripted::of([answer]);
        let client = client(&sandbox, Arc::clone(&store)).await;
        let provisions = client.provisions();
        let read = tokio::time::timeout(SECOND / 2, provisions.get(id)).await;
        assert!(read.is_err());
        assert_eq!(store.noted(), expected);
    }
}

/// Also if the machine stood still while the call waited for the permit to be free.
#[tokio::test(start_paused = true)]
async fn a_promise_that_is_too_old_is_not_used() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Scripted::of([promise(7)]);
    let client = client(&sandbox, Arc::clone(&store)).await;
    let provisions = client.provisions();
    let mut stalled = Box::pin(provisions.get(id));
    asks(&mut stalled, &store).await;
    assert!(poll!(&mut stalled).is_pending());
    sleep(3 * SECOND).await;
    stalled.await.unwrap();
    assert_eq!(store.noted(), "take, withdraw [7], take, settle 99");
}

/// The store would hold it for as long as the future lives, and no other client could call.
#[tokio::test(start_paused = true)]
async fn a_promise_to_a_call_that_is_not_polled_is_given_back() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Scripted::of([promise(7)]);
    let client = client(&sandbox, Arc::clone(&store)).await;
    let provisions = client.provisions();
    let mut stalled = Box::pin(provisions.get(id));
    asks(&mut stalled, &store).await;
    assert!(poll!(&mut stalled).is_pending());
    sleep(3 * SECOND).await;
    assert_eq!(store.noted(), "take, withdraw [7]");
    drop(stalled);
    assert_eq!(store.noted(), "take, withdraw [7]");
}

/// However long the store takes: the future that asks is polled.
#[tokio::test(start_paused = true)]
async fn one_call_of_a_client_asks_at_a_time() {
    test_timeout::start();
    let (sandbox, id) = bank().await;
    let store = Arc::new(Scripted { delay: 5 * SECOND, ..Scripted::default() });
    let client = client(&sandbox, Arc::clone(&store)).await;
    let provisions = client.provisions();
    for read in join_all((0..3).map(|_| provisions.get(id))).await {
        read.unwrap();
    }
    assert_eq!(store.noted().matches("take").count(), 3, "{}", store.noted());
}
