use futures_util::future::join_all;
use proptest::prelude::*;

use super::super::scope::LimitScope;
use super::super::store::{Grant, PermitStore, PermitWindow, Priority, Taken};
use super::super::throttled::{MAX_UNPROVEN_PAUSE, SHORTEST_PAUSE, named_limit};
use super::*;
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;

const MS: Duration = Duration::from_millis(1);

fn window(calls: u32, ms: u32) -> Arc<Window> {
    Arc::new(Window::new("update_provision", RateLimit { calls, per: ms * MS }))
}

fn rank(number: u64) -> Rank {
    // The numbers of a test differ, or are of one call.
    Rank { number, began: Instant::now(), due: None }
}

/// The only caller of most tests.
const CALLER: QueueCaller = QueueCaller { number: 0, is_urgent: false };

fn wait_of(no_permit: NoPermit) -> Duration {
    match no_permit {
        NoPermit::TooLate(wait) => wait,
        NoPermit::Failed(error) => panic!("{error}"),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// What bunq says with its signature.
fn signed(retry_after: Option<Duration>, limit: Option<RateLimit>) -> Throttled {
    Throttled { retry_after, limit, is_signed: true }
}

impl Window {
    fn enter(self: &Arc<Self>, rank: Rank, deadline: Instant) -> Result<Place, Duration> {
        self.join(CALLER, rank, false, deadline, None)
    }

    /// Waits for a permit for a call that begins now.
    async fn next(self: &Arc<Self>, deadline: Instant) -> Result<Permit, Duration> {
        let rank = rank(1_000_000 + self.state().tickets);
        self.enter(rank, deadline)?.permit().await.map_err(wait_of)
    }
}

/// Lets so many calls come to the window.
async fn has_seen(window: &Arc<Window>, calls: u64) {
    while window.state().tickets < calls {
        tokio::task::yield_now().await;
    }
}

/// Waits in a task of its own; when it got its permit, in milliseconds after `start`.
fn waits(window: &Arc<Window>, start: Instant) -> tokio::task::JoinHandle<u128> {
    let window = Arc::clone(window);
    tokio::spawn(async move {
        drop(window.next(soon()).await.unwrap());
        (Instant::now() - start).as_millis()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever within its exchange bunq counts a call, no stretch of the window's length holds too many.
    #[test]
    fn no_window_exceeds_the_limit(
        calls in 1_u32..5,
        exchanges in proptest::collection::vec((0_u64..40, 0_u64..60, 0.0_f64..1.0), 1..40),
    ) {
        test_timeout::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let arrivals = runtime.block_on(async {
            let window = window(calls, 30);
            let mut tasks = Vec::new();
            for (pause, length, at) in exchanges {
                tokio::time::sleep(pause as u32 * MS).await;
                let window = Arc::clone(&window);
                tasks.push(tokio::spawn(async move {
                    let permit = window.next(soon()).await.unwrap();
                    let length = length as u32 * MS;
                    let arrival = Instant::now() + length.mul_f64(at);
                    tokio::time::sleep(length).await;
                    drop(permit);
                    arrival
                }));
            }
            join_all(tasks).await
        });
        let arrivals: Vec<_> = arrivals.into_iter().map(Result::unwrap).collect();
        for start in &arrivals {
            let within = arrivals.iter().filter(|other| *other >= start && **other < *start + 30 * MS).count();
            prop_assert!(within <= calls as usize, "{within} calls within one window of {calls}");
        }
    }
}

/// A call that had a permit, and when the bank may count it.
struct CountedCall {
    sent: Instant,
    arrived: Instant,
    done: Instant,
    responded: Instant,
}

/// The bank may count a call when it arrives, when its work is done, or at any time between. The ways there and back and the
/// work change, and become shorter too. No time passes between the end of a window and the next call.
#[tokio::test(start_paused = true)]
async fn no_window_holds_too_many_wherever_the_bank_counts() {
    test_timeout::start();
    const CALLS: u32 = 2;
    const PER: Duration = Duration::from_secs(3);
    const LONGEST: u64 = 5000;
    let window = Arc::new(Window::new("update_provision", RateLimit { calls: CALLS, per: PER }));
    let mut random = fastrand::Rng::with_seed(24);
    let mut usual = [0; 3];
    let latencies = (0..10_000).map(|position| {
        if position % 20 == 0 {
            usual = [0; 3].map(|_| *random.choice(&[0, 1, 10, 100, 1000, LONGEST]).unwrap());
        }
        usual.map(|usual| random.u64(0..=usual) as u32 * MS)
    });
    let latencies = Mutex::new(latencies.collect::<Vec<_>>().into_iter());
    let calls = (0..8).map(|_| async {
        let mut exchanges = Vec::new();
        while !lock(&latencies).as_slice().is_empty() {
            let permit = window.next(soon()).await.unwrap();
            // The latencies are those of the time at which it is sent.
            let Some([there, work, back]) = lock(&latencies).next() else { break };
            let sent = Instant::now();
            let (arrived, done) = (sent + there, sent + there + work);
            tokio::time::sleep_until(done + back).await;
            permit.settle(Settlement::Admitted).await;
            exchanges.push(CountedCall { sent, arrived, done, responded: Instant::now() });
        }
        exchanges
    });
    let mut exchanges: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
    assert_eq!(exchanges.len(), 10_000);
    exchanges.sort_by_key(|exchange| exchange.sent);
    for (position, last) in exchanges.iter().enumerate() {
        let recent = exchanges.partition_point(|call| call.sent + 3 * LONGEST as u32 * MS + PER < last.arrived);
        // Those that the bank may count within the window that ends when it counts this one at the earliest.
        let counted =
            exchanges[recent..].iter().filter(|call| call.arrived <= last.arrived && call.done + PER > last.arrived);
        let counted = counted.count();
        assert!(counted <= CALLS as usize, "{counted} calls within the window that ends with call {position}");
    }
    let mut responded: Vec<_> = exchanges.iter().map(|exchange| exchange.responded).collect();
    responded.sort_unstable();
    for (next, responded) in exchanges.iter().skip(CALLS as usize).zip(responded) {
        assert_eq!(next.sent, responded + PER);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_keeps_its_permit() {
    test_timeout::start();
    let window = window(1, 10);
    let permit = window.next(soon()).await.unwrap();
    tokio::time::sleep(1000 * MS).await;
    assert!(window.next(Instant::now() + 5 * MS).await.is_err());
    let waiting = tokio::spawn({
        let window = Arc::clone(&window);
        async move { window.next(soon()).await.map(|_| Instant::now()) }
    });
    tokio::time::sleep(100 * MS).await;
    drop(permit);
    let responded = Instant::now();
    assert_eq!(waiting.await.unwrap().unwrap(), responded + 10 * MS);
}

#[tokio::test(start_paused = true)]
async fn memory_grows_with_calls_and_not_with_the_limit() {
    test_timeout::start();
    let window = window(u32::MAX, 1000);
    let start = Instant::now();
    drop((window.next(start).await.unwrap(), window.next(start).await.unwrap()));
    assert_eq!(Instant::now(), start);
}

/// A request is signed shortly before its turn, also if that comes earlier than was known at first.
#[tokio::test(start_paused = true)]
async fn a_call_is_told_that_its_turn_is_near() {
    test_timeout::start();
    let window = window(1, 1000);
    drop(window.next(soon()).await.unwrap());
    let start = Instant::now();
    let first = window.enter(rank(0), soon()).unwrap();
    let mut second = window.enter(rank(1), soon()).unwrap();
    let leaves = async {
        tokio::time::sleep(100 * MS).await;
        drop(first);
    };
    tokio::join!(leaves, async { second.approach().await.unwrap() });
    assert_eq!(Instant::now() - start, 1000 * MS - LEAD);
    drop(second.permit().await.unwrap());
    assert_eq!(Instant::now() - start, 1000 * MS);
    let mut late = window.enter(rank(2), soon()).unwrap();
    late.deadline = Instant::now() + 500 * MS;
    assert_eq!(late.approach().await, Err(1000 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_bunq_names_is_kept_beside_the_configured_one() {
    test_timeout::start();
    // Of the same rate, but shorter; and of a lower rate, but with more at once.
    for (throttled, expected) in [((1, 500), [0, 500, 1000, 1500]), ((5, 4000), [0, 0, 1000, 1000])] {
        let window = window(2, 1000);
        let permit = window.next(soon()).await.unwrap();
        let limit = RateLimit { calls: throttled.0, per: throttled.1 * MS };
        let throttled = signed(Some(limit.per), Some(limit));
        assert_eq!(permit.throttle(throttled, 0.0).await, limit.per);
        let mut times = Vec::new();
        let mut start = None;
        for _ in 0..4 {
            drop(window.next(soon()).await.unwrap());
            let now = Instant::now();
            times.push((now - *start.get_or_insert(now)).as_millis());
        }
        assert_eq!(times, expected, "{throttled:?}");
    }
}

/// After how many milliseconds each of three calls goes that follow a refusal, of which the first is admitted.
async fn goes_after(throttled: Throttled) -> [u128; 3] {
    let window = window(10, 1000);
    let permit = window.next(soon()).await.unwrap();
    let start = Instant::now();
    permit.throttle(throttled, 0.0).await;
    let mut times = [0; 3];
    for time in &mut times {
        let permit = window.next(soon()).await.unwrap();
        *time = (Instant::now() - start).as_millis();
        permit.settle(Settlement::Admitted).await;
    }
    times
}

#[tokio::test(start_paused = true)]
async fn what_is_not_signed_holds_for_a_minute_and_until_a_call_is_admitted() {
    test_timeout::start();
    let hourly = Some(RateLimit { calls: 1, per: 3_600_000 * MS });
    let lower = Some(RateLimit { calls: 1, per: 5000 * MS });
    for (retry_after, limit, signed, unsigned) in [
        (None, None, [100, 100, 100], [100, 100, 100]),
        (Some(7000), None, [7000; 3], [7000; 3]),
        (Some(3_600_000), None, [3_600_000; 3], [60_000; 3]),
        (None, lower, [5000, 10_000, 15_000], [5000; 3]),
        (None, hourly, [3_600_000, 7_200_000, 10_800_000], [60_000; 3]),
        (Some(0), hourly, [3_600_000, 7_200_000, 10_800_000], [60_000; 3]),
        (Some(3_600_000), hourly, [3_600_000, 7_200_000, 10_800_000], [60_000; 3]),
    ] {
        let retry_after = retry_after.map(|ms| ms * MS);
        for (is_signed, expected) in [(true, signed), (false, unsigned)] {
            let throttled = Throttled { retry_after, limit, is_signed };
            assert_eq!(goes_after(throttled).await, expected, "{throttled:?}");
        }
    }
}

/// Even if no call is accepted, or the outcome of one is unknown.
#[tokio::test(start_paused = true)]
async fn what_is_not_signed_ends_by_itself() {
    test_timeout::start();
    let window = window(10, 1000);
    let limit = Some(RateLimit { calls: 1, per: 3_600_000 * MS });
    let start = Instant::now();
    let permit = window.next(soon()).await.unwrap();
    let lost = window.next(soon()).await.unwrap();
    permit.throttle(Throttled { retry_after: None, limit, is_signed: false }, 0.0).await;
    tokio::time::sleep(30_000 * MS).await;
    drop(lost);
    drop(window.next(soon()).await.unwrap());
    drop(window.next(soon()).await.unwrap());
    assert_eq!(Instant::now() - start, 60_000 * MS);
}

/// A call that was sent before the refusal says that bunq admits calls, but not that the window has room again.
#[tokio::test(start_paused = true)]
async fn a_call_in_flight_that_is_admitted_ends_what_is_not_signed() {
    test_timeout::start();
    let limit = Some(RateLimit { calls: 1, per: 3_600_000 * MS });
    for (is_signed, expected) in [(false, 100), (true, 3_600_000)] {
        let window = window(10, 1000);
        let start = Instant::now();
        let [refused, in_flight] = [window.next(soon()).await.unwrap(), window.next(soon()).await.unwrap()];
        refused.throttle(Throttled { retry_after: Some(3_600_000 * MS), limit, is_signed }, 0.0).await;
        let waiting = waits(&window, start);
        tokio::task::yield_now().await;
        in_flight.settle(Settlement::Admitted).await;
        assert_eq!(waiting.await.unwrap(), expected, "{is_signed}");
    }
}

/// A limit that bunq has signed is not replaced by one that it has not.
#[tokio::test(start_paused = true)]
async fn what_is_signed_outlasts_what_is_not() {
    test_timeout::start();
    let window = window(10, 1000);
    let limit = |calls| Some(RateLimit { calls, per: 5000 * MS });
    window.next(soon()).await.unwrap().throttle(signed(None, limit(1)), 0.0).await;
    let permit = window.next(soon()).await.unwrap();
    permit.throttle(Throttled { retry_after: None, limit: limit(1000), is_signed: false }, 0.0).await;
    let start = Instant::now();
    window.next(soon()).await.unwrap().settle(Settlement::Admitted).await;
    window.next(soon()).await.unwrap().settle(Settlement::Admitted).await;
    assert_eq!(Instant::now() - start, 10_000 * MS);
}

/// 90 calls wait, while others arrive at nine tenths of the limit.
#[tokio::test(start_paused = true)]
async fn no_call_is_overtaken() {
    test_timeout::start();
    let window = window(2, 3000);
    let start = Instant::now();
    let mut calls: Vec<_> = (0..90).map(|_| waits(&window, start)).collect();
    has_seen(&window, 90).await;
    for _ in 0..60 {
        tokio::time::sleep(1667 * MS).await;
        calls.push(waits(&window, start));
    }
    let times: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(times.is_sorted(), "{times:?}");
    // All of the limit is used, and no call waits longer than those before it take.
    assert_eq!(times[..150].iter().max(), Some(&(74 * 3000)));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_at_once_that_its_turn_comes_too_late() {
    test_timeout::start();
    let window = window(2, 3000);
    let start = Instant::now();
    let first: Vec<_> = (0..90).map(|_| waits(&window, start)).collect();
    has_seen(&window, 90).await;
    assert_eq!(window.next(start + 120_000 * MS).await.unwrap_err(), 135_000 * MS);
    assert_eq!(Instant::now(), start);
    assert!(window.next(start + 135_000 * MS).await.is_ok());
    for call in first {
        call.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_its_rank() {
    test_timeout::start();
    let window = window(1, 1000);
    let start = Instant::now();
    let rank = rank(0);
    drop(window.enter(rank, soon()).unwrap().permit().await.unwrap());
    let later: Vec<_> = (0..3).map(|_| waits(&window, start)).collect();
    tokio::task::yield_now().await;
    drop(window.enter(rank, soon()).unwrap().permit().await.unwrap());
    assert_eq!(Instant::now() - start, 1000 * MS);
    let times: Vec<_> = join_all(later).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(times, [2000, 3000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_frees_its_place() {
    test_timeout::start();
    let window = window(1, 1000);
    let start = Instant::now();
    drop(window.next(soon()).await.unwrap());
    let mut dropped: Vec<_> = (0..5).map(|_| waits(&window, start)).collect();
    tokio::task::yield_now().await;
    let last = waits(&window, start);
    tokio::task::yield_now().await;
    for call in dropped.drain(1..) {
        call.abort();
    }
    assert_eq!(dropped.remove(0).await.unwrap(), 1000);
    assert_eq!(last.await.unwrap(), 2000);
    assert!(window.state().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_future_is_passed_over_until_it_is_polled_again() {
    test_timeout::start();
    let window = window(1, 1000);
    let start = Instant::now();
    drop(window.next(soon()).await.unwrap());
    let mut idle = Box::pin(window.next(soon()));
    assert!(futures_util::poll!(&mut idle).is_pending());
    let others: Vec<_> = (0..3).map(|_| waits(&window, start)).collect();
    tokio::task::yield_now().await;
    // The turn of the idle one has come and gone. The next one does not wait for it.
    tokio::time::sleep(2500 * MS).await;
    assert!(others[0].is_finished() && !others[1].is_finished());
    // It comes before all that came after it.
    drop(idle.await.unwrap());
    assert_eq!(Instant::now() - start, 3000 * MS);
    let times: Vec<_> = join_all(others).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(times, [2000, 4000, 5000]);
}

#[tokio::test(start_paused = true)]
async fn a_narrower_limit_holds_for_the_calls_that_were_made() {
    test_timeout::start();
    let window = window(4, 1000);
    let start = Instant::now();
    for _ in 0..3 {
        drop(window.next(soon()).await.unwrap());
        tokio::time::sleep(100 * MS).await;
    }
    let permit = window.next(soon()).await.unwrap();
    let limit = Some(RateLimit { calls: 1, per: 1000 * MS });
    permit.throttle(signed(Some(Duration::ZERO), limit), 0.0).await;
    drop(window.next(soon()).await.unwrap());
    assert_eq!(Instant::now() - start, 1300 * MS);
}

#[test]
fn pauses_after_refusals_grow_and_differ() {
    test_timeout::start();
    let second = Duration::from_secs(1);
    let throttled = Throttled::default();
    let pauses = |jitter| [0, 1, 2, 3, 4, 100].map(|refusals| throttled.pause(second, refusals, jitter).as_secs_f64());
    assert_eq!(pauses(0.0), [SHORTEST_PAUSE; 6]);
    assert_eq!(pauses(1.0), [0.5, 0.75, 1.125, 1.6875, 2.53125, 3.0]);
    let asked = signed(Some(7 * second), None);
    assert_eq!(asked.pause(second, 0, 0.0), 7 * second);
    assert!(asked.pause(second, 0, 1.0) > 7 * second);
    assert_eq!(throttled.pause(3600 * second, 9, 1.0), MAX_UNPROVEN_PAUSE);
}

/// The call in flight may have its response at any time.
#[tokio::test(start_paused = true)]
async fn a_call_in_flight_after_a_refusal_is_no_reason_to_give_up() {
    test_timeout::start();
    let window = window(1000, 3_600_000);
    let permit = window.next(soon()).await.unwrap();
    permit.throttle(signed(Some(Duration::ZERO), None), 0.0).await;
    let start = Instant::now();
    let in_flight = window.next(soon()).await.unwrap();
    let waiting = waits(&window, start);
    tokio::time::sleep(100 * MS).await;
    in_flight.settle(Settlement::Admitted).await;
    assert_eq!(waiting.await.unwrap(), 100);
    // The deadline holds nevertheless.
    let permit = window.next(soon()).await.unwrap();
    permit.throttle(signed(Some(Duration::ZERO), None), 0.0).await;
    let _in_flight = window.next(soon()).await.unwrap();
    assert!(window.next(Instant::now() + 500 * MS).await.is_err());
    assert_eq!(Instant::now() - start, 600 * MS);
}

/// The first call in the queue is sent, not the one that is polled first.
#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_first_of_the_queue_goes() {
    test_timeout::start();
    let window = window(5, 1000);
    let rank = rank(0);
    let refused = window.enter(rank, soon()).unwrap().permit().await.unwrap();
    refused.throttle(signed(Some(100 * MS), None), 0.0).await;
    let start = Instant::now();
    let younger = waits(&window, start);
    tokio::task::yield_now().await;
    let again = window.enter(rank, soon()).unwrap().permit().await.unwrap();
    assert!(!younger.is_finished());
    tokio::time::sleep(50 * MS).await;
    again.settle(Settlement::Admitted).await;
    assert_eq!(younger.await.unwrap(), 150);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted_until_a_call_is_accepted() {
    test_timeout::start();
    let window = window(9, 1);
    for expected in [1, 2, 3] {
        let permit = window.next(soon()).await.unwrap();
        permit.throttle(Throttled::default(), 0.5).await;
        assert_eq!(window.state().usage.refusals, expected);
    }
    // The outcome of a call without a response is unknown.
    drop(window.next(soon()).await.unwrap());
    assert_eq!(window.state().usage.refusals, 3);
    let permit = window.next(soon()).await.unwrap();
    permit.settle(Settlement::Admitted).await;
    assert_eq!(window.state().usage.refusals, 0);
}

#[test]
fn the_limit_is_read_from_bunqs_description() {
    test_timeout::start();
    let limit = |calls, seconds| Some(RateLimit { calls, per: Duration::from_secs(seconds) });
    for (words, named) in [
        ("Too many requests. You can do a maximum of 3 calls per 3 second to this endpoint.", limit(3, 3)),
        ("You can do a maximum of 1 calls per 30 seconds to this endpoint.", limit(1, 30)),
        ("a maximum of 0 calls per 3 seconds", None),
        ("a maximum of many calls per second", None),
        ("a maximum of 2800000000 calls per 4294967295 seconds", None),
        ("a maximum of 1 calls per 86400 seconds", None),
        ("Too many requests.", None),
        ("", None),
    ] {
        assert_eq!(named_limit(words), named, "{words}");
    }
}

/// Lends one permit, for later.
#[derive(Debug, Default)]
struct Lender(Mutex<Vec<u128>>);

impl PermitStore for Lender {
    fn take<'a>(&'a self, _: &'a PermitWindow, _: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async { Ok(Taken::Granted(Grant::new(7).send_after(Duration::from_secs(3600)))) })
    }

    fn settle<'a>(&'a self, _: &'a PermitWindow, _: u128, _: Settlement) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn withdraw(&self, _: &PermitWindow, unused: &[u128]) {
        lock(&self.0).extend(unused);
    }
}

/// What was promised for calls that have left goes back to the store with the last that leaves, also if that was late at once.
#[tokio::test]
async fn no_promise_is_kept_that_nobody_waits_for() {
    test_timeout::start();
    let (lender, window) = (Arc::new(Lender::default()), window(2, 1000));
    let of_store = PermitWindow {
        operation: &Operation::UPDATE_PROVISION,
        limit: RateLimit::new(2, Duration::from_secs(1)),
        scope: LimitScope::Address,
        base_url: "https://bunq.test".into(),
        api_key_fingerprint: "fingerprint".into(),
    };
    let share = Share { store: Arc::clone(&lender) as Arc<dyn PermitStore>, window: of_store };
    let first = window.join(CALLER, rank(1), false, soon(), Some(share.clone())).unwrap();
    first.ask().await.map_err(wait_of).unwrap();
    // It is served, and about to leave.
    window.state().waiting.remove(&first.ticket);
    let late = Instant::now().checked_sub(MS).unwrap();
    assert!(window.join(CALLER, rank(2), false, late, Some(share)).is_err());
    assert_eq!(*lock(&lender.0), [7]);
}
