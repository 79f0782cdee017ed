//! Waiters while bunq's calls are heard: few polls, and nothing lost when calls are late or do not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bunq_partner_sandbox::{Pace, Sandbox};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::{devices, id, waiter};
use crate::client::Client;
use crate::environment::Environment;
use crate::feed::{Feed, HeardBy};
use crate::types::{DeviceServer, Provision, ProvisionId, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Provisions that are closing in a bank in which nothing moves by itself, and how often provisions have been read. Waiters poll at full
/// minutes and at even seconds from now on.
async fn closing(count: usize) -> (Sandbox, Client, Vec<ProvisionId>, Arc<AtomicUsize>) {
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = Client::builder(Environment::Sandbox).api_key(sandbox.api_key().expose());
    let (began, client) = (Instant::now(), client.base_url(sandbox.base_url()).build().unwrap());
    let ids = sandbox.populate(count).into_iter().map(|id| ProvisionId::try_from(id.get()).unwrap());
    let ids: Vec<_> = ids.collect();
    for id in &ids {
        drop(client.provisions().close(*id).await.unwrap());
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    sandbox.before_signing(move |call, _| {
        let is_read = call.method == "GET" && call.path.contains("partner-user-provision");
        counted.fetch_add(usize::from(is_read), Ordering::Relaxed);
    });
    assert!(began.elapsed() < 10 * MINUTE);
    sleep_until(began + 10 * MINUTE).await;
    (sandbox, client, ids, reads)
}

/// When a provision was changed last.
fn updated(sandbox: &Sandbox, id: ProvisionId) -> Timestamp {
    let shown = sandbox.provision(id.get().try_into().unwrap()).unwrap();
    serde_json::from_value(shown["updated"].clone()).unwrap()
}

/// Neighbours close one by one in half an hour, and are waited for. Bunq calls so long after each change; `None`: it does not.
/// Returns how often provisions were read, and for each when it has changed after the start, and when that was told after the change.
async fn close_one_by_one(
    count: u32,
    call_after: impl Fn(u32) -> Option<Duration>,
) -> (usize, Vec<(Duration, Duration)>) {
    let (sandbox, client, ids, reads) = closing(count as usize).await;
    let feed = client.provisions().feed();
    let _guard = feed.hearing().begin(MINUTE);
    let start = Instant::now();
    let closed = (0..).zip(&ids).map(|(number, id)| {
        let wait = tokio::spawn(client.provisions().wait_until_closed(*id).timeout(60 * MINUTE).wait());
        let changes = start + 19 * SECOND / 2 + 30 * MINUTE / count * number;
        let (sandbox, feed, id, call_after) = (sandbox.clone(), feed.clone(), *id, call_after(number));
        tokio::spawn(async move {
            sleep_until(changes).await;
            assert!(sandbox.advance(id.get().try_into().unwrap()));
            let claim = updated(&sandbox, id);
            if let Some(pause) = call_after {
                sleep(pause).await;
                assert!(feed.hear(id, HeardBy::Call(Some(claim))).await.unwrap().is_closed());
            }
        });
        async move {
            assert!(wait.await.unwrap().unwrap().is_closed());
            (changes - start, changes.elapsed())
        }
    });
    let closed: Vec<_> = closed.map(tokio::spawn).collect();
    let told = join_all(closed).await.into_iter().map(Result::unwrap).collect();
    // Those that are late.
    sleep(2 * MINUTE).await;
    (reads.load(Ordering::Relaxed), told)
}

#[tokio::test(start_paused = true)]
async fn a_change_costs_one_read_while_calls_come() {
    test_timeout::start();
    let (reads, told) = close_one_by_one(100, |_| Some(SECOND / 10)).await;
    assert!(reads <= 130, "{reads} reads");
    assert!(told.iter().all(|(_, after)| *after <= SECOND), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_lost_costs_a_minute_once() {
    test_timeout::start();
    let (reads, told) = close_one_by_one(100, |number| (number % 10 != 3).then_some(SECOND / 10)).await;
    assert!(reads <= 300, "{reads} reads");
    assert!(told.iter().all(|(_, after)| *after <= 61 * SECOND), "{told:?}");
    let late = told.iter().filter(|(_, after)| *after > 3 * SECOND).count();
    assert!((1..=10).contains(&late), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn waiters_poll_as_usual_while_calls_are_late_or_lost() {
    test_timeout::start();
    let (reads, told) = close_one_by_one(20, |number| (number % 10 != 3).then_some(MINUTE)).await;
    assert!(reads <= 900, "{reads} reads");
    assert!(told.iter().all(|(_, after)| *after <= 61 * SECOND), "{told:?}");
    let mut after_a_look = told.iter().filter(|(changed, _)| *changed > MINUTE);
    assert!(after_a_look.all(|(_, after)| *after <= 3 * SECOND), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn waiters_poll_as_usual_unless_somebody_hears_calls() {
    test_timeout::start();
    let (_sandbox, client, ids, reads) = closing(1).await;
    let hearing = client.provisions().feed().hearing().clone();
    let _wait = tokio::spawn(client.provisions().wait_until_closed(ids[0]).timeout(120 * MINUTE).wait());
    // Not at the moment of a poll.
    sleep(SECOND).await;
    let polls_in = async |time| {
        let before = reads.load(Ordering::Relaxed);
        sleep(time).await;
        reads.load(Ordering::Relaxed) - before
    };
    polls_in(MINUTE).await;
    assert_eq!(polls_in(MINUTE).await, 30);
    let guard = hearing.begin(MINUTE);
    assert_eq!(polls_in(4 * MINUTE).await, 4);
    let other = hearing.begin(MINUTE / 2);
    assert_eq!(polls_in(4 * MINUTE).await, 8, "the shorter of both");
    let slow = hearing.begin(60 * MINUTE);
    drop(other);
    assert_eq!(polls_in(4 * MINUTE).await, 4);
    drop(guard);
    assert_eq!(polls_in(10 * MINUTE).await, 0);
    drop(slow);
    assert!((1..=2).contains(&polls_in(3 * SECOND).await), "it does not sleep on");
    assert_eq!(polls_in(MINUTE).await, 30);
    let _often = hearing.begin(SECOND);
    assert_eq!(polls_in(MINUTE).await, 30, "not more often than usual");
}

/// A late call about it costs no read; bunq may correct it nevertheless.
#[tokio::test(start_paused = true)]
async fn what_has_ended_is_read_again_if_a_call_claims_a_later_change() {
    test_timeout::start();
    let (sandbox, client, ids, reads) = closing(1).await;
    let (feed, id) = (client.provisions().feed(), ids[0]);
    let _guard = feed.hearing().begin(MINUTE);
    let wait = tokio::spawn(client.provisions().wait_until_closed(id).timeout(60 * MINUTE).wait());
    sandbox.advance(id.get().try_into().unwrap());
    wait.await.unwrap().unwrap();
    let ended = updated(&sandbox, id);
    let earlier = ended.as_jiff() - SECOND;
    let later = ended.as_jiff() + SECOND;
    for (claim, cost) in [(Some(ended), 0), (Some(earlier.into()), 0), (Some(later.into()), 1), (None, 1)] {
        let before = reads.load(Ordering::Relaxed);
        assert!(feed.hear(id, HeardBy::Call(claim)).await.unwrap().is_closed());
        assert_eq!(reads.load(Ordering::Relaxed) - before, cost, "{claim:?}");
    }
}

/// Whether calls about provisions come says nothing of others.
#[tokio::test(start_paused = true)]
async fn each_feed_knows_by_itself_whether_calls_come() {
    test_timeout::start();
    let (sandbox, statuses, feed) = devices().await;
    let (api, provisions) = (feed.api(), Feed::<Provision>::new(feed.api().clone(), 1.0));
    let feed = Feed::<DeviceServer>::of_user(api.clone(), api.clone(), &provisions);
    let (_guard, usual) = (provisions.hearing().begin(MINUTE), 2 * SECOND);
    let _wait = tokio::spawn(waiter(&feed, 1).poll_interval(usual).timeout(60 * MINUTE).wait());
    // Not at the moment of a poll.
    sleep(SECOND).await;
    let polls_in_a_minute = async || {
        sandbox.take_call_log();
        sleep(MINUTE).await;
        sandbox.take_call_log().len()
    };
    assert_eq!(polls_in_a_minute().await, 30, "no call has told a change yet");
    statuses.lock().unwrap()[0] = "BLOCKED";
    feed.hear(id(1), HeardBy::Call(None)).await.unwrap();
    assert_eq!(polls_in_a_minute().await, 1);
    // One that is lost is told by the next look.
    statuses.lock().unwrap()[0] = "NEEDS_CONFIRMATION";
    sleep(MINUTE).await;
    assert_eq!(polls_in_a_minute().await, 30);
    // What a look is the first to show is no call.
    statuses.lock().unwrap()[0] = "BLOCKED";
    feed.hear(id(1), HeardBy::Look).await.unwrap();
    assert_eq!(polls_in_a_minute().await, 30);
    statuses.lock().unwrap()[0] = "NEEDS_CONFIRMATION";
    feed.hear(id(1), HeardBy::Call(None)).await.unwrap();
    assert_eq!(polls_in_a_minute().await, 1);
    statuses.lock().unwrap()[0] = "BLOCKED";
    feed.hear(id(1), HeardBy::Look).await.unwrap();
    assert_eq!(polls_in_a_minute().await, 30);
    provisions.hearing.has_come();
    assert_eq!(polls_in_a_minute().await, 30);
    assert_eq!(provisions.hearing.mode().poll_interval(usual), MINUTE);
}
