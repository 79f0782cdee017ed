//! Many calls cost few reads, through the whole chain, and what is forged among them holds up nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::ProvisionId;
use bunq_partner::webhook::Changes;
use bunq_partner_sandbox::{DeliveryFault, DeliveryInjection};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bank::{Bank, MINUTE, SECOND, bounded, mixed, next, nothing, provision, still};

/// The ids of what was handed on, in their order.
type Told = Arc<Mutex<Vec<u64>>>;

/// Takes what is handed on.
fn taken(mut changes: Changes) -> (Told, JoinHandle<()>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    let task = tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            tells.lock().unwrap().push(provision(&change).id.get());
            change.done().await.unwrap();
        }
    });
    (told, task)
}

/// bunq calls about these one by one in this time, and all is told and done when this returns. Returns the ids in the order in which
/// they were told, and how many requests it took.
async fn called_over(bank: &Bank, changes: Changes, ids: &[ProvisionId], over: Duration) -> (Vec<u64>, usize) {
    let (told, task) = taken(changes);
    let (start, count) = (Instant::now(), u32::try_from(ids.len()).unwrap());
    for (number, id) in (0..).zip(ids) {
        sleep_until(start + over * number / count).await;
        assert_eq!(bank.call(id.get(), None).await, StatusCode::OK);
    }
    while bank.pending().await > 0 {
        sleep(SECOND).await;
    }
    task.abort();
    let told = told.lock().unwrap().clone();
    (told, bank.take_reads())
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

fn raw(ids: &[ProvisionId]) -> Vec<u64> {
    ids.iter().map(|id| id.get()).collect()
}

#[tokio::test(start_paused = true)]
async fn neighbours_are_read_by_pages() {
    test_timeout::start();
    let bank = Bank::with(still().rate_limits(true), |client| client, bounded(50_000)).await;
    let ids = bank.sandbox.populate(2000);
    let (told, reads) = called_over(&bank, bank.changes().await, &mixed(&ids), MINUTE).await;
    assert_eq!(sorted(told), raw(&ids));
    assert!(reads <= 60, "{reads} reads");
}

/// 2,000 in a minute.
#[tokio::test(start_paused = true)]
async fn what_is_in_progress_is_read_by_status() {
    test_timeout::start();
    let bank = Bank::with(still().rate_limits(true), |client| client, bounded(50_000)).await;
    let ids = bank.sandbox.populate(200_000);
    let closing: Vec<_> = ids.iter().copied().step_by(100).collect();
    bank.close_all(&closing).await;
    // The first look tells them all. Most are as they were when bunq calls.
    let mut first = bank.client.changes(&bank.receiver).start().unwrap();
    for _ in &closing {
        next(&mut first).await.done().await.unwrap();
    }
    drop(first);
    let changes = bank.changes().await;
    let closed: Vec<_> = closing.iter().copied().step_by(400).collect();
    assert!(closed.iter().all(|id| bank.sandbox.advance(*id)));
    let (told, reads) = called_over(&bank, changes, &mixed(&closing), MINUTE).await;
    assert_eq!(sorted(told), raw(&closed));
    assert!((10..=1000).contains(&reads), "{reads} reads");
}

/// No filter tells them from the others, and no two are on one page.
#[tokio::test(start_paused = true)]
async fn scattered_changes_are_told_in_the_order_of_their_calls() {
    test_timeout::start();
    let bank = Bank::with(still().rate_limits(true), |client| client, bounded(50_000)).await;
    let ids = bank.sandbox.populate(20_000);
    let order = mixed(&ids.into_iter().step_by(250).collect::<Vec<_>>());
    let (told, reads) = called_over(&bank, bank.changes().await, &order, 3 * SECOND).await;
    assert_eq!(told, raw(&order));
    // The page of the newest and that of those in progress say first that they have none of them.
    assert!(reads <= order.len() + 2, "{reads} reads");
}

/// Two are on one page: the second may be told before its turn.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn scattered_changes_among_200_000_are_told_in_the_order_of_their_calls() {
    test_timeout::start();
    let bank = Bank::with(still().rate_limits(true), |client| client, bounded(50_000)).await;
    let ids = bank.sandbox.populate(200_000);
    let order = mixed(&ids.into_iter().step_by(100).collect::<Vec<_>>());
    let (told, reads) = called_over(&bank, bank.changes().await, &order, MINUTE).await;
    println!("{reads} reads");
    assert_eq!(sorted(told.clone()), sorted(raw(&order)));
    let mut waiting = raw(&order).into_iter().collect::<VecDeque<_>>();
    let mut early = BTreeSet::new();
    for id in told {
        while waiting.front().is_some_and(|first| early.remove(first)) {
            waiting.pop_front();
        }
        match waiting.front() {
            Some(first) if *first == id => _ = waiting.pop_front(),
            _ => _ = early.insert(id),
        }
        assert!(early.len() <= order.len() / 2, "{} are told early", early.len());
    }
    assert!(reads <= 2000, "{reads} reads");
}

#[tokio::test(start_paused = true)]
async fn one_object_costs_a_read_a_second_and_the_last_is_after_the_last_call() {
    test_timeout::start();
    let bank = Bank::new().await;
    let id = bank.sandbox.populate(1)[0];
    let (told, reads) = called_over(&bank, bank.changes().await, &[id; 100], SECOND).await;
    assert_eq!(told, [id.get()]);
    assert!((2..=3).contains(&reads), "{reads} reads");
}

/// Neighbours close one by one in half an hour and are waited for, and the sandbox calls as bunq does, if at all. Returns how many
/// requests it took, and for each when it has changed after the start, and how long after the change it was told.
async fn close_one_by_one(count: u32, prepare: impl FnOnce(&Bank)) -> (usize, Vec<(Duration, Duration)>) {
    let bank = Bank::new().await;
    let ids = bank.sandbox.populate(count as usize);
    bank.close_all(&ids).await;
    bank.listen().await;
    let mut changes = bank.client.changes(&bank.receiver).start().unwrap();
    for _ in &ids {
        next(&mut changes).await.done().await.unwrap();
    }
    let (_, task) = taken(changes);
    prepare(&bank);
    bank.take_reads();
    let start = Instant::now();
    let closed: Vec<_> = (0..)
        .zip(ids)
        .map(|(number, id)| {
            let wait = tokio::spawn(bank.client.provisions().wait_until_closed(id).timeout(60 * MINUTE).wait());
            let (changes, sandbox) = (start + 19 * SECOND / 2 + 30 * MINUTE / count * number, bank.sandbox.clone());
            tokio::spawn(async move {
                sleep_until(changes).await;
                assert!(sandbox.advance(id));
                assert!(wait.await.unwrap().unwrap().is_closed());
                (changes - start, changes.elapsed())
            })
        })
        .collect();
    let told = join_all(closed).await.into_iter().map(Result::unwrap).collect();
    task.abort();
    (bank.take_reads(), told)
}

#[tokio::test(start_paused = true)]
async fn a_wait_costs_one_read_and_the_net_while_calls_come() {
    test_timeout::start();
    let (reads, told) = close_one_by_one(100, |_| ()).await;
    assert!(reads <= 140, "{reads} requests");
    assert!(told.iter().all(|(_, after)| *after <= SECOND), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_in_ten_that_is_lost_costs_a_minute_once() {
    test_timeout::start();
    let lose = |bank: &Bank| {
        for number in (3..100).step_by(10) {
            bank.sandbox.inject_delivery(DeliveryInjection::new(DeliveryFault::Lost).after(number));
        }
    };
    let (reads, told) = close_one_by_one(100, lose).await;
    assert!(reads <= 900, "{reads} requests");
    assert!(told.iter().all(|(_, after)| *after <= 61 * SECOND), "{told:?}");
    let late = told.iter().filter(|(_, after)| *after > 3 * SECOND).count();
    assert!((1..=10).contains(&late), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_all_late_cost_a_minute_once() {
    test_timeout::start();
    let late = DeliveryInjection::new(DeliveryFault::Late(MINUTE)).always();
    let (reads, told) = close_one_by_one(100, |bank| bank.sandbox.inject_delivery(late)).await;
    assert!(reads <= 900, "{reads} requests");
    assert!(told.iter().all(|(_, after)| *after <= 61 * SECOND), "{told:?}");
    let mut after_a_look = told.iter().filter(|(changed, _)| *changed > MINUTE);
    assert!(after_a_look.all(|(_, after)| *after <= 3 * SECOND), "{told:?}");
}

/// Forged calls about ids that are none come for this time, as many as a million in an hour, and bunq's own are among them. What is not
/// refused is told, and the reads keep to their share. Returns how many of bunq's own were refused, of how many, and how many entries were
/// pending at most.
///
/// An hour takes 35 s of CPU time with `cargo test --release --all-features --test webhook an_hour -- --ignored --nocapture`, and about ten
/// minutes without `--release`. Of 10,000 calls of bunq's none was refused, with at most 1,386 (anywhere) and 1,730 entries (near) pending.
async fn flood(
    time: Duration,
    max_entries: usize,
    forge: impl Fn(&mut fastrand::Rng, &[u64]) -> u64,
) -> (usize, usize, usize) {
    let calls = u32::try_from(time.as_millis() * 1_000_000 / (60 * MINUTE).as_millis()).unwrap();
    let bank = Bank::with(still().rate_limits(true), |client| client, bounded(max_entries)).await;
    let ids = raw(&bank.sandbox.populate(4000));
    let (told, task) = taken(bank.changes().await);
    let (rng, start) = (&mut fastrand::Rng::with_seed(1), Instant::now());
    let (mut named, mut refused, mut most_pending) = (BTreeSet::new(), 0, 0);
    for number in 0..calls {
        sleep_until(start + time * number / calls).await;
        let id = forge(rng, &ids);
        if ids.binary_search(&id).is_err() {
            bank.call(id, Some("2999-01-01 00:00:00.000000")).await;
        }
        if number % 100 == 0 {
            let id = ids[rng.usize(..ids.len())];
            match bank.call(id, None).await {
                StatusCode::OK => _ = named.insert(id),
                _ => refused += 1,
            }
        }
        if number % 500 == 0 {
            most_pending = most_pending.max(bank.pending().await);
        }
    }
    while bank.pending().await > 0 {
        sleep(SECOND).await;
    }
    task.abort();
    let (reads, seconds) = (bank.take_reads(), start.elapsed().as_secs() as usize);
    let count = calls as usize / 100;
    println!("{refused} of {count} are refused, {most_pending} pending, {reads} reads in {seconds} s");
    // A look each 5 minutes reads beside the share.
    assert!(reads <= seconds / 2 + 20 + 2 * (seconds / 300), "{reads} reads in {seconds} s");
    // What is called about again after an hour is told again: its mark has ended.
    let told = told.lock().unwrap().iter().copied().collect::<BTreeSet<_>>();
    let (missing, more) = (named.difference(&told).count(), told.difference(&named).count());
    assert_eq!((missing, more), (0, 0), "of {}", named.len());
    (refused, count, most_pending)
}

/// A flood for this time has few of bunq's own refused, and leaves few entries pending. The journal has a tenth of its usual size: it would
/// be full after a third of a minute if nothing was read.
async fn held_up_nothing(time: Duration, forge: impl Fn(&mut fastrand::Rng, &[u64]) -> u64) {
    let (refused, count, most_pending) = flood(time, 5_000, forge).await;
    assert!(refused * 10 <= count, "{refused} of {count} are refused");
    assert!(most_pending <= 2_500, "{most_pending} are pending");
}

fn anywhere(rng: &mut fastrand::Rng, _: &[u64]) -> u64 {
    rng.u64(1..=i64::MAX as u64)
}

/// From those before the oldest provision to those of the next weeks.
fn near(rng: &mut fastrand::Rng, ids: &[u64]) -> u64 {
    rng.u64(1..=ids[ids.len() - 1] + 1_000_000)
}

fn between(rng: &mut fastrand::Rng, ids: &[u64]) -> u64 {
    rng.u64(ids[0]..=ids[ids.len() - 1])
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forged_calls_holds_up_nothing() {
    test_timeout::start();
    held_up_nothing(MINUTE, anywhere).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forged_calls_about_neighbours_holds_up_nothing() {
    test_timeout::start();
    held_up_nothing(MINUTE, near).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes ten minutes"]
async fn an_hour_of_forged_calls_holds_up_nothing() {
    test_timeout::start();
    held_up_nothing(60 * MINUTE, anywhere).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes ten minutes"]
async fn an_hour_of_forged_calls_about_neighbours_holds_up_nothing() {
    test_timeout::start();
    held_up_nothing(60 * MINUTE, near).await;
}

/// What such ids cost: nothing tells them from bunq's own but a page around each.
#[tokio::test(start_paused = true)]
#[ignore = "takes minutes, and measures"]
async fn forged_calls_between_are_measured() {
    test_timeout::start();
    flood(10 * MINUTE, 50_000, between).await;
}

/// What was made just now may not be listed yet, and looks like an id that somebody has made up.
#[tokio::test(start_paused = true)]
async fn what_is_listed_late_is_told_among_forged_calls() {
    test_timeout::start();
    let bank = Bank::with(still().rate_limits(true), |client| client, bounded(5_000)).await;
    bank.sandbox.populate(1000);
    let (told, task) = taken(bank.changes().await);
    let new = bank.sandbox.populate(1)[0].get();
    bank.sandbox.before_signing(move |call, response| {
        if call.method == "GET" && call.query.is_some() {
            let mut body: Value = serde_json::from_slice(&response.body).unwrap();
            let items = body["Response"].as_array_mut().unwrap();
            items.retain(|item| item["PartnerUserProvision"]["id"] != new);
            response.body = serde_json::to_vec(&body).unwrap();
        }
    });
    let rng = &mut fastrand::Rng::with_seed(1);
    for number in 0.. {
        sleep(SECOND / 250).await;
        bank.call(rng.u64(new + 1..new + 1_000_000), None).await;
        if number == 3_000 {
            assert_eq!(bank.call(new, None).await, StatusCode::OK);
        }
        if !told.lock().unwrap().is_empty() {
            break;
        }
        assert!(number < 33_000, "it is not told within two minutes");
    }
    assert_eq!(*told.lock().unwrap(), [new]);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn replays_and_forged_claims_hold_nothing_back() {
    test_timeout::start();
    let bank = Bank::new().await;
    let id = bank.sandbox.populate(1)[0];
    let mut changes = bank.changes().await;
    let claims = [Some("1970-01-01 00:00:00.000000"), Some("2999-01-01 00:00:00.000000"), None];
    for status in ["ACTIVE", "CANCELLED", "CLOSED"] {
        match status {
            "ACTIVE" => {}
            "CANCELLED" => drop(bank.client.provisions().close(id).await.unwrap()),
            _ => assert!(bank.sandbox.advance(id)),
        }
        let updated = bank.sandbox.provision(id).unwrap()["updated"].as_str().unwrap().to_owned();
        // Before bunq's own, with it, and after it.
        for claim in claims {
            bank.call(id.get(), claim).await;
        }
        bank.call(id.get(), Some(&updated)).await;
        for claim in claims {
            bank.call(id.get(), claim).await;
        }
        let change = next(&mut changes).await;
        assert_eq!(provision(&change).status.as_str(), status);
        change.done().await.unwrap();
        // The same call again and again.
        sleep(2 * SECOND).await;
        bank.take_reads();
        for _ in 0..100 {
            bank.call(id.get(), Some(&updated)).await;
        }
        nothing(&mut changes, 10 * SECOND).await;
        assert_eq!((bank.take_reads(), bank.pending().await), (0, 0));
    }
    // What names somebody else's user, or none, costs no read.
    for user in [0_i64, 1, i64::MAX, -1] {
        for kind in ["UserOnboarding", "UserInformationInquiry"] {
            bank.called("USER_ONBOARDING", json!({kind: {"id": 7, "user_id": user}})).await;
        }
    }
    nothing(&mut changes, 10 * SECOND).await;
    assert_eq!((bank.take_reads(), bank.pending().await), (0, 0));
}
