//! Many nudges cost few reads, whatever they are about, and are told in the order in which they came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::{Client, Error, ErrorKind, Feed, Provision, ProvisionId};
use bunq_partner_sandbox::{Pace, Sandbox};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::common::{id, once};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A bank in which nothing moves by itself, with or without bunq's rate limits, and a client whose nudges may wait long for their turn.
async fn still(has_limits: bool) -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().pace(Pace::Manual).rate_limits(has_limits).start().await.unwrap();
    let client = sandbox.client().retry(once()).operation_timeout(24 * 60 * MINUTE).build().unwrap();
    client.open_session().await.unwrap();
    (sandbox, client)
}

/// Counts the reads of provisions from now on, and when they were made. A log of so many pages would be full.
fn count_reads(sandbox: &Sandbox) -> Arc<Mutex<Vec<Instant>>> {
    let reads = Arc::new(Mutex::new(Vec::new()));
    let counted = Arc::clone(&reads);
    sandbox.before_signing(move |call, _| {
        if call.method == "GET" && call.path.contains("partner-user-provision") {
            counted.lock().unwrap().push(Instant::now());
        }
    });
    reads
}

/// Nudges these one by one in this time. Returns what each was told, and by which read.
async fn nudge_over(
    feed: Feed,
    ids: &[ProvisionId],
    over: Duration,
    reads: &Arc<Mutex<Vec<Instant>>>,
) -> Vec<(Result<Provision, Error>, usize)> {
    let (start, count) = (Instant::now(), u32::try_from(ids.len()).unwrap());
    let mut told = Vec::new();
    for (number, id) in (0..).zip(ids) {
        sleep_until(start + over * number / count).await;
        let (nudge, reads) = (feed.nudge(*id), Arc::clone(reads));
        told.push(tokio::spawn(async move { (nudge.await, reads.lock().unwrap().len()) }));
    }
    join_all(told).await.into_iter().map(Result::unwrap).collect()
}

/// The same in an order that jumps from one end to the other.
fn mixed<T: Copy>(all: &[T]) -> Vec<T> {
    (0..all.len()).map(|number| all[number * 7919 % all.len()]).collect()
}

#[tokio::test(start_paused = true)]
async fn changes_of_neighbours_are_read_by_pages() {
    test_timeout::start();
    let (sandbox, client) = still(true).await;
    let ids = sandbox.populate(2000);
    for order in [ids.clone(), mixed(&ids)] {
        let reads = count_reads(&sandbox);
        let told = nudge_over(client.provisions().feed(), &order, MINUTE, &reads).await;
        assert!(told.iter().zip(&order).all(|((seen, _), id)| seen.as_ref().unwrap().id == *id));
        let reads = reads.lock().unwrap().len();
        assert!(reads <= 60, "{reads} reads");
    }
}

/// The listing of those in progress has them all.
#[tokio::test(start_paused = true)]
async fn changes_of_what_is_in_progress_are_read_by_status() {
    test_timeout::start();
    let (sandbox, client) = still(true).await;
    let ids = sandbox.populate(50_000);
    let closing: Vec<_> = ids.iter().copied().step_by(100).collect();
    let provisions = client.provisions();
    let closed = futures_util::stream::iter(&closing).map(|id| provisions.close(*id)).buffered(16);
    closed.for_each(async |waiter| drop(waiter.unwrap())).await;
    let (order, reads) = (mixed(&closing), count_reads(&sandbox));
    let told = nudge_over(provisions.feed(), &order, MINUTE / 4, &reads).await;
    assert!(told.iter().all(|(seen, _)| seen.is_ok()));
    let reads = reads.lock().unwrap().len();
    assert!(reads <= 30, "{reads} reads");
}

/// No filter tells them from the others.
#[tokio::test(start_paused = true)]
async fn scattered_changes_are_told_in_the_order_of_their_nudges() {
    test_timeout::start();
    let (sandbox, client) = still(true).await;
    let ids = sandbox.populate(20_000);
    let order = mixed(&ids.into_iter().step_by(100).collect::<Vec<_>>());
    let reads = count_reads(&sandbox);
    let told = nudge_over(client.provisions().feed(), &order, MINUTE / 10, &reads).await;
    for (number, (seen, read)) in (1..).zip(&told) {
        assert!(seen.is_ok());
        assert!(*read <= number + 12, "number {number} was told by read {read}");
    }
    let reads = reads.lock().unwrap().len();
    assert!(reads <= order.len(), "{reads} reads");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_read_once_a_second_at_most() {
    test_timeout::start();
    let (sandbox, client) = still(false).await;
    let ids = sandbox.populate(1000);
    let reads = count_reads(&sandbox);
    let calls = vec![ids[0]; 100];
    let start = Instant::now();
    let told = nudge_over(client.provisions().feed(), &calls, SECOND, &reads).await;
    assert!(told.iter().all(|(seen, _)| seen.is_ok()));
    let times = reads.lock().unwrap().clone();
    assert!(times.len() <= 3 && times.windows(2).all(|two| two[1] - two[0] >= SECOND), "{times:?}");
    assert!(*times.last().unwrap() >= start + SECOND * 99 / 100, "the last read is after the last call");

    // Others are not held up.
    let feed = client.provisions().feed();
    let (first, start) = (feed.nudge(ids[0]).await, Instant::now());
    let again = tokio::spawn(feed.nudge(ids[0]));
    tokio::time::sleep(SECOND / 10).await;
    feed.nudge(ids[999]).await.unwrap();
    assert!(first.is_ok() && start.elapsed() < SECOND / 2, "{:?}", start.elapsed());
    again.await.unwrap().unwrap();
    assert!(start.elapsed() >= SECOND * 9 / 10, "{:?}", start.elapsed());
}

/// Whoever knows the path of a receiver can name any id.
#[tokio::test(start_paused = true)]
async fn ids_that_are_none_cost_pages() {
    test_timeout::start();
    let (sandbox, client) = still(true).await;
    let ids = sandbox.populate(1000);
    let above = (1..3000).map(|number| id(1_000_000_000 + 1_000_003 * number));
    let below = (1..900).map(id);
    let between = ids.iter().map(|real| id(real.get() + 1));
    let forged: Vec<_> = above.chain(below).chain(between).collect();
    let order = mixed(&[&forged[..], &ids[500..502]].concat());
    let reads = count_reads(&sandbox);
    let told = nudge_over(client.provisions().feed(), &order, MINUTE, &reads).await;
    for ((told, _), id) in told.iter().zip(&order) {
        match told {
            Ok(seen) => assert_eq!((seen.id, ids.contains(id)), (*id, true)),
            Err(error) => assert_eq!((error.kind(), ids.contains(id)), (ErrorKind::NotFound, false), "{error}"),
        }
    }
    let error = told.iter().find_map(|(told, _)| told.as_ref().err().filter(|error| error.status().is_none()));
    assert!(error.unwrap().to_string().contains("is not in bunq's listing"), "{error:?}");
    let reads = reads.lock().unwrap().len();
    assert!(reads <= 45, "{reads} reads of {}", order.len());
}

/// A page shows nothing of what was created after it was read.
#[tokio::test(start_paused = true)]
async fn what_is_newer_than_a_page_is_not_missing_from_it() {
    test_timeout::start();
    let (sandbox, client) = still(true).await;
    let (ids, feed) = (sandbox.populate(2), client.provisions().feed());
    let (created, pages) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
    let (nudged, nudging, bank, read) = (Arc::clone(&created), feed.clone(), sandbox.clone(), Arc::clone(&pages));
    sandbox.before_signing(move |call, _| {
        if call.query.is_some() && read.fetch_add(1, Ordering::Relaxed) == 0 {
            *nudged.lock().unwrap() = Some(Box::pin(nudging.nudge(bank.populate(1)[0])));
        }
    });
    assert!(join_all(ids.iter().map(|id| feed.nudge(*id))).await.iter().all(Result::is_ok));
    assert_eq!(pages.load(Ordering::Relaxed), 1);
    let created = created.lock().unwrap().take().unwrap();
    assert!(created.await.is_ok());
}

/// bunq might refuse an id that somebody has made up as the begin of a page, and the listing with it.
#[tokio::test(start_paused = true)]
async fn no_page_begins_above_what_bunq_has_shown() {
    test_timeout::start();
    let (sandbox, client) = still(true).await;
    let (ids, feed) = (sandbox.populate(2000), client.provisions().feed());
    let (begins, pages) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (shown, read) = (Arc::clone(&begins), Arc::clone(&pages));
    sandbox.before_signing(move |call, _| {
        let Some(query) = &call.query else { return };
        read.fetch_add(1, Ordering::Relaxed);
        let begin = query.split('&').find_map(|parameter| parameter.strip_prefix("older_id="));
        shown.lock().unwrap().extend(begin.map(|begin| begin.parse::<u64>().unwrap()));
    });
    let forged = (0..500).map(|number| id(i64::MAX as u64 - number));
    let order = mixed(&forged.chain(ids[..500].iter().copied()).collect::<Vec<_>>());
    let told = join_all(order.iter().map(|id| feed.nudge(*id))).await;
    for (told, id) in told.iter().zip(&order) {
        assert_eq!(told.is_ok(), ids.contains(id), "{told:?}");
    }
    let (begins, newest) = (begins.lock().unwrap(), ids[ids.len() - 1].get());
    assert!(!begins.is_empty() && begins.iter().all(|begin| *begin <= newest + 1), "{begins:?}");
    assert!(pages.load(Ordering::Relaxed) <= 20, "{pages:?} pages");
}

/// What it lacks is read by its id.
#[tokio::test(start_paused = true)]
async fn a_page_that_is_sorted_otherwise_says_of_no_id_that_it_is_none() {
    test_timeout::start();
    let (sandbox, client) = still(false).await;
    let (ids, feed) = (sandbox.populate(3), client.provisions().feed());
    sandbox.before_signing(move |call, response| {
        if call.query.is_some() {
            let mut body: Value = serde_json::from_slice(&response.body).unwrap();
            let items = body["Response"].as_array_mut().unwrap();
            items.reverse();
            // It is listed elsewhere.
            items.remove(1);
            response.body = serde_json::to_vec(&body).unwrap();
        }
    });
    let order = [ids[0], ids[1], ids[2], id(ids[2].get() + 5)];
    let told = join_all(order.iter().map(|id| feed.nudge(*id))).await;
    let told: Vec<_> = told.iter().map(|told| told.as_ref().map(|seen| seen.id).map_err(Error::status)).collect();
    assert_eq!(told, [Ok(ids[0]), Ok(ids[1]), Ok(ids[2]), Err(Some(404))]);
}
