use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn window(calls: u32, ms: u32) -> Arc<Window> {
    Arc::new(Window::new(RateLimit { calls, per: ms * MS }))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever within its exchange bunq counts a call, no stretch of the window's length holds too many.
    #[test]
    fn no_window_exceeds_the_limit(
        calls in 1_u32..5,
        exchanges in proptest::collection::vec((0_u64..40, 0_u64..60, 0.0_f64..1.0), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let arrivals = runtime.block_on(async {
            let window = window(calls, 30);
            let mut tasks = Vec::new();
            for (pause, length, at) in exchanges {
                tokio::time::sleep(pause as u32 * MS).await;
                let window = Arc::clone(&window);
                tasks.push(tokio::spawn(async move {
                    let permit = window.acquire(soon()).await.unwrap();
                    let length = length as u32 * MS;
                    let arrival = Instant::now() + length.mul_f64(at);
                    tokio::time::sleep(length).await;
                    drop(permit);
                    arrival
                }));
            }
            let mut arrivals = Vec::new();
            for task in tasks {
                arrivals.push(task.await.unwrap());
            }
            arrivals
        });
        for start in &arrivals {
            let within = arrivals.iter().filter(|other| *other >= start && **other < *start + 30 * MS).count();
            prop_assert!(within <= calls as usize, "{within} calls within one window of {calls}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_used_to_the_full() {
    let window = window(2, 3000);
    let start = Instant::now();
    for _ in 0..60 {
        drop(window.acquire(soon()).await.unwrap());
    }
    // 2 at once, then 2 more every 3 seconds.
    assert_eq!(Instant::now() - start, 29 * 3000 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_outlasts_the_deadline_is_not_begun() {
    let window = window(2, 1000);
    drop((window.acquire(soon()).await, window.acquire(soon()).await));
    let start = Instant::now();
    assert_eq!(window.acquire(start + 999 * MS).await.unwrap_err(), 1000 * MS);

    // Four others are waiting: the fifth permit is two windows further.
    let others: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let window = Arc::clone(&window);
                async move { window.acquire(soon()).await.map(drop) }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(window.acquire(start + 2999 * MS).await.unwrap_err(), 3000 * MS);
    assert_eq!(Instant::now(), start, "time was spent on a wait in vain");
    for other in others {
        other.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_keeps_its_permit() {
    let window = window(1, 10);
    let permit = window.acquire(soon()).await.unwrap();
    tokio::time::sleep(1000 * MS).await;
    assert!(window.acquire(Instant::now() + 5 * MS).await.is_err());
    let waiting = tokio::spawn({
        let window = Arc::clone(&window);
        async move { window.acquire(soon()).await.map(|_| Instant::now()) }
    });
    tokio::time::sleep(100 * MS).await;
    drop(permit);
    let responded = Instant::now();
    assert_eq!(waiting.await.unwrap().unwrap(), responded + 10 * MS);
}

#[tokio::test(start_paused = true)]
async fn memory_grows_with_calls_and_not_with_the_limit() {
    let window = window(u32::MAX, 1000);
    let start = Instant::now();
    drop((window.acquire(start).await.unwrap(), window.acquire(start).await.unwrap()));
    assert_eq!(Instant::now(), start);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_task_holds_no_permit() {
    let window = window(1, 1000);
    drop(window.acquire(soon()).await.unwrap());
    let given_up = tokio::spawn({
        let window = Arc::clone(&window);
        async move { window.acquire(soon()).await.map(drop) }
    });
    tokio::task::yield_now().await;
    given_up.abort();
    let _ = given_up.await;
    let start = Instant::now();
    drop(window.acquire(start + 1000 * MS).await.unwrap());
    assert_eq!(Instant::now(), start + 1000 * MS);
    assert!(window.state().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_expired_task_is_not_counted_as_waiting() {
    let window = window(1, 1000);
    drop(window.acquire(soon()).await.unwrap());
    // Polled once, and then no more.
    let start = Instant::now();
    let mut stalled = Box::pin(window.acquire(start + 1500 * MS));
    assert!(futures_util::poll!(&mut stalled).is_pending());
    assert!(window.acquire(start + 1500 * MS).await.is_err(), "the other is before it");
    tokio::time::advance(2000 * MS).await;
    drop(window.acquire(Instant::now()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_bunqs_is_kept() {
    let window = window(3, 1000);
    let mut permit = window.acquire(soon()).await.unwrap();
    assert_eq!(permit.throttle(Throttled { retry_after: Some(7000 * MS), limit: None }), 7000 * MS);
    drop(permit);
    let start = Instant::now();
    drop(window.acquire(soon()).await.unwrap());
    assert_eq!(Instant::now() - start, 7000 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_bunq_names_is_kept_beside_the_configured_one() {
    // Of the same rate, but shorter; and of a lower rate, but with more at once.
    for (throttled, expected) in [((1, 500), [0, 500, 1000, 1500]), ((5, 4000), [0, 0, 1000, 1000])] {
        let window = window(2, 1000);
        let mut permit = window.acquire(soon()).await.unwrap();
        let limit = RateLimit { calls: throttled.0, per: throttled.1 * MS };
        assert_eq!(permit.throttle(Throttled { retry_after: None, limit: Some(limit) }), limit.per);
        drop(permit);
        let mut times = Vec::new();
        let mut start = None;
        for _ in 0..4 {
            drop(window.acquire(soon()).await.unwrap());
            let now = Instant::now();
            times.push((now - *start.get_or_insert(now)).as_millis());
        }
        assert_eq!(times, expected, "{throttled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unpolled_future_blocks_nobody() {
    let window = window(1, 1000);
    drop(window.acquire(soon()).await.unwrap());
    let mut idle = Box::pin(window.acquire(soon()));
    assert!(futures_util::poll!(&mut idle).is_pending());
    let start = Instant::now();
    drop(window.acquire(soon()).await.unwrap());
    assert_eq!(Instant::now() - start, 1000 * MS);
}

#[test]
fn the_limit_is_read_from_bunqs_description() {
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
