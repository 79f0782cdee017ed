//! What the client reads of provisions is told to all who wait for them or follow them, and a nudge has one read at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::{Client, ErrorKind, FeedItem, Operation, PageSize, Provision, ProvisionId, ProvisionStatus};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Pace, Sandbox};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;

use crate::common::{id, once};

const HOUR: Duration = Duration::from_secs(3600);

/// A bank in which nothing moves by itself, and a client whose waiters poll once in an hour.
async fn still() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().retry(once()).poll_interval(HOUR).build().unwrap();
    client.open_session().await.unwrap();
    (sandbox, client)
}

/// A provision that is closing.
async fn closing(sandbox: &Sandbox, client: &Client) -> ProvisionId {
    let id = sandbox.populate(1)[0];
    drop(client.provisions().close(id).await.unwrap());
    id
}

/// What a subscriber has been told since the last time.
fn told(changes: &mut (impl Stream<Item = FeedItem> + Unpin)) -> Vec<(ProvisionId, ProvisionStatus)> {
    let mut told = Vec::new();
    while let Some(Some(FeedItem::Changed(seen))) = changes.next().now_or_never() {
        told.push((seen.id, seen.status.clone()));
    }
    told
}

/// The calls that read provisions, since the last time.
fn reads(sandbox: &Sandbox) -> Vec<CallLogEntry> {
    let is_read = |call: &CallLogEntry| call.method == "GET" && call.path.contains("partner-user-provision");
    sandbox.take_call_log().into_iter().filter(is_read).collect()
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_nudged_is_told_after_one_read() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    let id = closing(&sandbox, &client).await;
    let mut changes = Box::pin(client.provisions().wait_until_closed(id).timeout(4 * HOUR).changes());
    assert_eq!(changes.next().await.unwrap().unwrap().status, ProvisionStatus::Cancelled);
    let start = Instant::now();
    let wait = tokio::spawn(async move { (changes.next().await.unwrap().unwrap(), changes.next().await.is_none()) });
    sandbox.advance(id);
    reads(&sandbox);
    assert!(client.provisions().feed().nudge(id).await.unwrap().is_closed());
    let (closed, is_over) = wait.await.unwrap();
    assert!(closed.is_closed() && is_over);
    assert_eq!(reads(&sandbox).len(), 1);
    assert!(start.elapsed() < HOUR / 60, "it was told by the next poll: {:?}", start.elapsed());
}

/// Whatever else is read is as good as a poll.
#[tokio::test(start_paused = true)]
async fn a_waiter_is_told_of_what_others_read() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    let provisions = client.provisions();
    for way in 0..3 {
        let id = closing(&sandbox, &client).await;
        let mut changes = Box::pin(provisions.wait_until_closed(id).timeout(4 * HOUR).changes());
        changes.next().await.unwrap().unwrap();
        sandbox.advance(id);
        reads(&sandbox);
        match way {
            0 => drop(provisions.get(id).await.unwrap()),
            1 => drop(provisions.list().page().await.unwrap()),
            _ => drop(provisions.list().count(PageSize::MAX).stream().try_collect::<Vec<_>>().await.unwrap()),
        }
        let read = reads(&sandbox).len();
        assert!(changes.next().await.unwrap().unwrap().is_closed());
        assert_eq!((read, reads(&sandbox).len()), (1, 0), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn nudges_are_answered_together() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    let feed = client.provisions().feed();
    let ids = sandbox.populate(150);
    let one = join_all((0..50).map(|_| feed.nudge(ids[0]))).await;
    assert!(one.into_iter().all(|seen| seen.unwrap().id == ids[0]));
    assert_eq!(reads(&sandbox).len(), 1);
    let all = join_all(ids.iter().map(|id| feed.nudge(*id))).await;
    assert!(all.into_iter().zip(&ids).all(|(seen, id)| seen.unwrap().id == *id));
    assert_eq!(reads(&sandbox).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_joins_a_poll_that_has_not_begun() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    let id = closing(&sandbox, &client).await;
    let mut changes = Box::pin(client.provisions().wait_until_closed(id).changes());
    reads(&sandbox);
    assert!(futures_util::poll!(changes.next()).is_pending());
    assert_eq!(client.provisions().feed().nudge(id).await.unwrap().status, ProvisionStatus::Cancelled);
    assert_eq!(changes.next().await.unwrap().unwrap().status, ProvisionStatus::Cancelled);
    assert_eq!(reads(&sandbox).len(), 1);
}

/// A read that is under way may show how the provision was before.
#[tokio::test(start_paused = true)]
async fn a_nudge_is_answered_by_a_read_that_begins_after_it() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    let (id, feed) = (closing(&sandbox, &client).await, client.provisions().feed());
    reads(&sandbox);
    let during = Arc::new(Mutex::new(None));
    let (nudged, nudging) = (Arc::clone(&during), feed.clone());
    sandbox.before_signing(move |_, _| {
        // The bank has read the provision, and the client has no response yet.
        nudged.lock().unwrap().get_or_insert_with(|| Box::pin(nudging.nudge(id)));
    });
    let first = feed.nudge(id).await.unwrap();
    sandbox.advance(id);
    let second = during.lock().unwrap().take().unwrap();
    sandbox.clear_edits();
    assert_eq!(first.status, ProvisionStatus::Cancelled);
    assert!(second.await.unwrap().is_closed());
    assert_eq!(reads(&sandbox).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_told_each_change_once() {
    test_timeout::start();
    use ProvisionStatus::{Active, Cancelled, Closed};
    let (sandbox, client) = still().await;
    let (provisions, ids) = (client.provisions(), sandbox.populate(3));
    let mut changes = Box::pin(provisions.feed().subscribe());
    provisions.list().page().await.unwrap();
    assert_eq!(told(&mut changes), [(ids[2], Active), (ids[1], Active), (ids[0], Active)]);
    provisions.list().stream().try_collect::<Vec<_>>().await.unwrap();
    provisions.get(ids[1]).await.unwrap();
    assert_eq!(told(&mut changes), []);

    let waiter = provisions.close(ids[1]).await.unwrap();
    provisions.get(ids[1]).await.unwrap();
    assert_eq!(told(&mut changes), [(ids[1], Cancelled)]);
    sandbox.advance(ids[1]);
    provisions.feed().nudge(ids[1]).await.unwrap();
    assert_eq!(told(&mut changes), [(ids[1], Closed)]);
    waiter.await.unwrap();
    assert_eq!(told(&mut changes), [], "the poll has shown the same");
    let found = provisions.find(provisions.get(ids[0]).await.unwrap().external_uuid.unwrap()).await.unwrap();
    assert_eq!((found.unwrap().id, told(&mut changes)), (ids[0], vec![]));
    let mut later = Box::pin(provisions.feed().subscribe());
    provisions.list().page().await.unwrap();
    assert_eq!(told(&mut later), [], "nothing has changed since");
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_is_told_how_much_it_has_missed() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    sandbox.populate(1300);
    let list = client.provisions().list().count(PageSize::MAX);
    let mut changes = Box::pin(client.provisions().feed().subscribe());
    let all: Vec<Provision> = list.stream().try_collect().await.unwrap();
    assert_eq!(changes.next().await, Some(FeedItem::Lagged(1300 - 1024)));
    assert_eq!(changes.next().await, Some(FeedItem::Changed(Arc::new(all[1300 - 1024].clone()))));
}

/// Each of these provisions takes a page of its own.
#[tokio::test(start_paused = true)]
async fn a_flood_of_nudges_takes_no_more_than_its_share() {
    test_timeout::start();
    for (share, seconds_per_read) in [(0.5, 2), (0.1, 10)] {
        let sandbox = Sandbox::builder().rate_limits(true).start().await.unwrap();
        let client = sandbox.client().nudge_share(share).build().unwrap();
        let ids = sandbox.populate(20_000);
        client.open_session().await.unwrap();
        sandbox.take_call_log();
        let start = Instant::now();
        let feed = client.provisions().feed();
        let flood: Vec<_> = ids.iter().step_by(200).map(|id| tokio::spawn(feed.nudge(*id))).collect();
        for _ in 0..20 {
            client.provisions().list().page().await.unwrap();
        }
        let took = start.elapsed();
        let nudged = reads(&sandbox).len() as u64 - 20;
        assert!(nudged > 1 && nudged <= took.as_secs() / seconds_per_read + 1, "{nudged} in {took:?}, {share}");
        // Two of three calls in three seconds are left to the pages.
        assert!(took <= Duration::from_secs(40), "{took:?}");
        // The flood lasts longer than a call may.
        let failed: Vec<_> = join_all(flood).await.into_iter().filter_map(|nudge| nudge.unwrap().err()).collect();
        assert!(!failed.is_empty() && failed.iter().all(|error| error.kind() == ErrorKind::Timeout), "{failed:?}");
        assert!(failed[0].to_string().contains("was not read within 2 min of a nudge"), "{}", failed[0]);
        assert!(sandbox.call_log().iter().all(|call| call.status == 200));
    }
}

#[tokio::test(start_paused = true)]
async fn the_smallest_share_allows_one_nudge() {
    test_timeout::start();
    let sandbox = Sandbox::builder().rate_limits(true).start().await.unwrap();
    let feed = sandbox.client().nudge_share(f64::MIN_POSITIVE).build().unwrap().provisions().feed();
    let ids = sandbox.populate(2);
    assert_eq!(feed.nudge(ids[0]).await.unwrap().id, ids[0]);
    assert_eq!(feed.nudge(ids[1]).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_that_fails_says_why() {
    test_timeout::start();
    let (sandbox, client) = still().await;
    let feed = client.provisions().feed();
    assert_eq!(feed.nudge(id(999_999)).await.unwrap_err().kind(), ErrorKind::NotFound);
    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION));
    let id = sandbox.populate(1)[0];
    assert_eq!(feed.nudge(id).await.unwrap_err().status(), Some(500));
    sandbox.take_call_log();
    drop(feed.nudge(id));
    tokio::time::sleep(HOUR).await;
    assert_eq!(reads(&sandbox).len(), 0, "it was withdrawn");
    let outside = std::thread::spawn(move || feed.nudge(id).now_or_never().unwrap());
    assert!(outside.join().unwrap().unwrap_err().to_string().contains("no Tokio runtime"));
}
