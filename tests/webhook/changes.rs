//! What has changed, as it is handed on: read over the verified API, in order, at least once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::types::{
    NotificationCategory, RequestedUserStatus, RequestedUserVerificationStatus, UpdateUserOnboardingRequest, UserId,
    UserOnboardingId,
};
use bunq_partner::webhook::{
    Change, ChangedObject, Changes, ChangesNumbers, FileHintJournal, HintJournal as _, HintJournalBounds, HintedObject,
    Receiver,
};
use bunq_partner::{
    BoxFuture, Client, ContextLock, Custody, CustodyEntry, CustodyFilter, Environment, Error, ErrorKind, MemoryCustody,
    Operation, ProvisionId, RequestedStatuses, Secret, Shutdown, UserClient,
};
use bunq_partner_sandbox::{DeliveryFault, Fault, Injection, Pace, Profile, Sandbox};
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tower_service::Service as _;

use crate::common::{Folder, at_once, calls, id};
use crate::journal::pending;

pub(crate) const SEGMENT: &str = "planted-segment-0123456789";
const PROVISION: NotificationCategory = NotificationCategory::PartnerUserProvision;
const SECOND: Duration = Duration::from_secs(1);
/// Before the second look.
const MINUTE: Duration = Duration::from_secs(60);

/// A bank with provisions, and a receiver whose journal outlives a process.
struct World {
    sandbox: Sandbox,
    client: Client,
    folder: Folder,
    receiver: Receiver<FileHintJournal>,
    journal: FileHintJournal,
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
        Self::with(sandbox.client().retry(at_once()).build().unwrap(), sandbox).await
    }

    async fn with(client: Client, sandbox: Sandbox) -> Self {
        let folder = Folder::new();
        let (receiver, journal) = receiver(&folder).await;
        client.open_session().await.unwrap();
        Self { sandbox, client, folder, receiver, journal }
    }

    /// The first look is over when this returns.
    async fn changes(&self) -> Changes {
        let mut changes = self.client.changes(&self.receiver).start().unwrap();
        nothing(&mut changes, SECOND).await;
        self.sandbox.take_call_log();
        changes
    }

    /// Another process goes on with the journal.
    async fn restarted(self) -> Self {
        let Self { sandbox, client, folder, receiver: old, journal } = self;
        drop((old, journal, client));
        let client = sandbox.client().retry(at_once()).build().unwrap();
        // What the process before has begun lets go of the journal soon.
        let opened = async {
            loop {
                match FileHintJournal::open(folder.path("hints"), HintJournalBounds::default()).await {
                    Ok(journal) => return journal,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let journal = opened.await;
        let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).build(journal.clone()).unwrap();
        Self { sandbox, client, folder, receiver, journal }
    }

    /// bunq calls about a provision, with the `updated` that it claims.
    async fn call(&self, id: ProvisionId, updated: Option<&str>) {
        called(
            &self.receiver,
            "PARTNER_USER_PROVISION",
            json!({"PartnerUserProvision": {"id": id, "updated": updated}}),
        )
        .await;
    }

    fn reads(&self) -> usize {
        self.sandbox.take_call_log().iter().filter(|call| call.method == "GET").count()
    }
}

async fn receiver(folder: &Folder) -> (Receiver<FileHintJournal>, FileHintJournal) {
    let journal = FileHintJournal::open(folder.path("hints"), HintJournalBounds::default()).await.unwrap();
    (Receiver::builder(Environment::Sandbox, SEGMENT).build(journal.clone()).unwrap(), journal)
}

async fn called(receiver: &Receiver<FileHintJournal>, category: &str, object: Value) {
    let body = json!({"NotificationUrl": {"category": category, "object": object}}).to_string();
    let request = Request::post(format!("/{SEGMENT}")).header(CONTENT_TYPE, "application/json").body(body).unwrap();
    assert_eq!(receiver.clone().call(request).await.unwrap().status(), StatusCode::OK);
}

/// The next change, long before the second look.
async fn next(changes: &mut Changes) -> Change {
    timeout(MINUTE, changes.next()).await.unwrap().unwrap()
}

async fn nothing(changes: &mut Changes, time: Duration) {
    let change = timeout(time, changes.next()).await;
    assert!(change.is_err(), "{change:?}");
}

fn status(change: &Change) -> (u64, &str) {
    match change.object() {
        ChangedObject::Provision(provision) => (provision.id.get(), provision.status.as_str()),
        other => panic!("{other:?}"),
    }
}

/// Has the bank show each read of a provision as this function makes it of what it is.
fn shown(sandbox: &Sandbox, id: ProvisionId, mut edit: impl FnMut(&mut Value) + Send + 'static) {
    sandbox.before_signing(move |call, response| {
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
        let items = body["Response"].as_array_mut().into_iter().flatten();
        for item in items {
            let Some(provision) = item.get_mut("PartnerUserProvision") else { continue };
            if call.method == "GET" && provision["id"] == json!(id) {
                edit(provision);
            }
        }
        response.body = serde_json::to_vec(&body).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_provision_is_handed_on_in_order_and_each_change_until_it_is_done() {
    test_timeout::start();
    let world = World::new().await;
    let id = world.sandbox.populate(1)[0];
    let mut changes = world.changes().await;
    let mut told = Vec::new();
    let closing = world.client.provisions().close(id).await.unwrap();
    loop {
        world.call(id, None).await;
        let change = next(&mut changes).await;
        told.push(status(&change).1.to_owned());
        assert_eq!(pending(&world.journal).await, [id.get()]);
        change.done().await.unwrap();
        assert!(pending(&world.journal).await.is_empty());
        if !world.sandbox.advance(id) {
            break;
        }
    }
    assert_eq!(told, ["CANCELLED", "CLOSED"]);
    assert!(closing.await.unwrap().is_closed());
    // The same call again costs a read at most, and is told nothing for.
    world.call(id, None).await;
    nothing(&mut changes, MINUTE).await;
    assert!(pending(&world.journal).await.is_empty());
    let ChangesNumbers { handed_on, done, unchanged, waiting, not_done, .. } = changes.numbers();
    assert_eq!((handed_on, done, unchanged, waiting, not_done), (2, 2, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_handed_on_again_after_a_pause_and_holds_up_itself_alone() {
    test_timeout::start();
    let world = World::new().await;
    let ids = world.sandbox.populate(2);
    let mut changes = world.changes().await;
    world.call(ids[0], None).await;
    let start = Instant::now();
    for seconds in [0, 1, 3, 7] {
        let change = next(&mut changes).await;
        assert_eq!((status(&change), start.elapsed().as_secs()), ((ids[0].get(), "ACTIVE"), seconds));
    }
    // The last of them is dropped too; while it waits, and while one is not done, others come.
    world.call(ids[1], None).await;
    let held = next(&mut changes).await;
    assert_eq!(status(&held).0, ids[1].get());
    let again = next(&mut changes).await;
    assert_eq!(status(&again).0, ids[0].get());
    again.done().await.unwrap();
    assert_eq!(pending(&world.journal).await, [ids[1].get()]);
    let ChangesNumbers { handed_on, handed_on_again, not_done, .. } = changes.numbers();
    assert_eq!((handed_on, handed_on_again, not_done), (2, 4, 1));
    held.done().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_done_is_handed_on_by_the_next_process() {
    test_timeout::start();
    let world = World::new().await;
    let id = world.sandbox.populate(1)[0];
    let mut changes = world.changes().await;
    world.call(id, None).await;
    let change = next(&mut changes).await;
    drop((changes, change));
    let world = world.restarted().await;
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    let change = next(&mut changes).await;
    assert_eq!(status(&change), (id.get(), "ACTIVE"));
    change.done().await.unwrap();
    drop(changes);
    let world = world.restarted().await;
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    nothing(&mut changes, MINUTE).await;
    // Nor is the same state after another call.
    world.call(id, None).await;
    nothing(&mut changes, MINUTE).await;
    assert_eq!(changes.numbers().unchanged, 1);
    // Without an entry, the mark of what is not done is enough.
    world.sandbox.fail(id);
    world.call(id, None).await;
    let change = next(&mut changes).await;
    let (first, _) = world.journal.pending(None).await.unwrap()[0];
    world.journal.done(first).await.unwrap();
    drop((changes, change));
    let world = world.restarted().await;
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    assert_eq!(status(&next(&mut changes).await), (id.get(), "FAILED"));
}

#[tokio::test(start_paused = true)]
async fn a_forged_call_costs_one_read_and_one_about_somebody_elses_user_none() {
    test_timeout::start();
    let world = World::new().await;
    let mut changes = world.changes().await;
    world.call(id(4_000_000), None).await;
    nothing(&mut changes, SECOND).await;
    assert_eq!((world.reads(), changes.numbers().not_ours), (1, 1));
    for (category, kind) in
        [("USER_ONBOARDING", "UserOnboarding"), ("USER_INFORMATION_INQUIRY", "UserInformationInquiry")]
    {
        called(&world.receiver, category, json!({kind: {"id": 7, "user_id": 8}})).await;
    }
    called(&world.receiver, "PAYMENT", json!({"Payment": {"id": 9}})).await;
    // The custody is listed once a minute for users that it did not have.
    nothing(&mut changes, 2 * MINUTE).await;
    let ChangesNumbers { foreign, ignored, handed_on, .. } = changes.numbers();
    assert_eq!((world.reads(), foreign, ignored, handed_on), (0, 2, 1, 0));
    assert!(pending(&world.journal).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_category_that_nothing_reads_is_handed_on_unconfirmed_if_asked_for() {
    test_timeout::start();
    let world = World::new().await;
    let category: NotificationCategory = serde_json::from_value(json!("PAYMENT")).unwrap();
    let mut changes = world.client.changes(&world.receiver).unconfirmed([category.clone()]).start().unwrap();
    nothing(&mut changes, SECOND).await;
    for _ in 0..2 {
        called(&world.receiver, "PAYMENT", json!({"Payment": {"id": 9}})).await;
    }
    called(&world.receiver, "SUPPORT", json!({"SupportMessage": {"id": 9}})).await;
    for _ in 0..2 {
        let change = next(&mut changes).await;
        let ChangedObject::Unconfirmed { provision_id: None, hint } = change.object() else { panic!("{change:?}") };
        assert_eq!(hint.category.as_ref(), Some(&category));
        change.done().await.unwrap();
    }
    nothing(&mut changes, SECOND).await;
    assert!(world.journal.pending(None).await.unwrap().is_empty());
    assert_eq!((changes.numbers().unconfirmed, changes.numbers().ignored), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_claim_saves_a_read_and_calls_about_one_object_cost_one_a_second() {
    test_timeout::start();
    let world = World::new().await;
    let id = world.sandbox.populate(1)[0];
    let updated = world.sandbox.provision(id).unwrap()["updated"].as_str().unwrap().to_owned();
    let mut changes = world.changes().await;
    world.call(id, Some(&updated)).await;
    next(&mut changes).await.done().await.unwrap();
    assert_eq!(world.reads(), 1);
    world.call(id, Some(&updated)).await;
    nothing(&mut changes, SECOND).await;
    assert_eq!((world.reads(), changes.numbers().known), (0, 1));
    for _ in 0..100 {
        world.call(id, Some("2999-01-01 00:00:00.000000")).await;
    }
    nothing(&mut changes, 3 * SECOND).await;
    assert!((1..=3).contains(&world.reads()));
    assert!(pending(&world.journal).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_older_state_never_follows_a_newer_one_and_an_equal_time_with_another_content_does() {
    test_timeout::start();
    let mut world = World::new().await;
    let id = world.sandbox.populate(1)[0];
    let updated = Arc::new(Mutex::new(("2025-01-01 00:00:05.000000", "a")));
    let edited = Arc::clone(&updated);
    shown(&world.sandbox, id, move |provision| {
        let (updated, name) = *edited.lock().unwrap();
        provision["updated"] = json!(updated);
        provision["label_user"]["display_name"] = json!(name);
    });
    let mut changes = world.changes().await;
    world.call(id, None).await;
    next(&mut changes).await.done().await.unwrap();
    for is_restarted in [false, true] {
        if is_restarted {
            drop(changes);
            world = world.restarted().await;
            changes = world.client.changes(&world.receiver).start().unwrap();
        }
        // The bank lags behind itself.
        *updated.lock().unwrap() = ("2025-01-01 00:00:04.000000", "a");
        world.call(id, None).await;
        nothing(&mut changes, 10 * SECOND).await;
        assert_eq!(pending(&world.journal).await, [id.get()]);
        assert!(changes.numbers().lagging >= 3);
        *updated.lock().unwrap() = ("2025-01-01 00:00:05.000000", if is_restarted { "c" } else { "b" });
        next(&mut changes).await.done().await.unwrap();
        assert!(pending(&world.journal).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_bank_that_refuses_for_ten_minutes_loses_nothing_and_is_left_in_peace() {
    test_timeout::start();
    let world = World::new().await;
    let ids = world.sandbox.populate(3);
    let mut changes = world.changes().await;
    world.sandbox.inject(Injection::new(Fault::Status(491)).always());
    for id in &ids {
        world.call(*id, None).await;
    }
    nothing(&mut changes, 10 * MINUTE).await;
    assert_eq!(pending(&world.journal).await.len(), 3);
    assert!(changes.numbers().failed < 100, "{changes:?}");
    world.sandbox.clear_injections();
    let mut told = Vec::new();
    for _ in &ids {
        let change = timeout(6 * MINUTE, changes.next()).await.unwrap().unwrap();
        told.push(status(&change).0);
        change.done().await.unwrap();
    }
    told.sort_unstable();
    assert!(told.into_iter().eq(ids.iter().map(|id| id.get())));
}

/// bunq answers so from an address that is not permitted, and while it lags behind itself.
#[tokio::test(start_paused = true)]
async fn what_bunq_refuses_for_a_while_is_not_lost() {
    test_timeout::start();
    let world = World::new().await;
    let id = world.sandbox.populate(1)[0];
    let mut changes = world.changes().await;
    for status in [403, 404] {
        world.sandbox.inject(Injection::new(Fault::Status(status)).always());
        world.call(id, None).await;
        nothing(&mut changes, MINUTE).await;
        assert_eq!(pending(&world.journal).await, [id.get()], "{status}");
        world.sandbox.clear_injections();
        // Another state, which is news.
        let _ = world.sandbox.advance(id);
        if status == 403 {
            let _ = world.sandbox.client().build().unwrap().provisions().close(id).await.unwrap();
        }
        next(&mut changes).await.done().await.unwrap();
        assert!(pending(&world.journal).await.is_empty());
    }
    assert_eq!(changes.numbers().not_ours, 0);
}

#[tokio::test(start_paused = true)]
async fn a_look_finds_what_no_call_has_told() {
    test_timeout::start();
    let world = World::new().await;
    let ids = world.sandbox.populate(3);
    let _ = world.client.provisions().close(ids[0]).await.unwrap();
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    // What is under way at the start.
    let change = next(&mut changes).await;
    assert_eq!(status(&change), (ids[0].get(), "CANCELLED"));
    change.done().await.unwrap();
    let _ = world.client.provisions().close(ids[1]).await.unwrap();
    nothing(&mut changes, 2 * MINUTE).await;
    while world.sandbox.advance(ids[0]) {}
    let mut told = Vec::new();
    for _ in 0..2 {
        let change = timeout(5 * MINUTE, changes.next()).await.unwrap().unwrap();
        let (id, status) = status(&change);
        told.push((id, status.to_owned()));
        change.done().await.unwrap();
    }
    told.sort_unstable();
    assert_eq!(told, [(ids[0].get(), "CLOSED".to_owned()), (ids[1].get(), "CANCELLED".to_owned())]);
    // Nothing has changed for the looks that follow.
    world.sandbox.take_call_log();
    nothing(&mut changes, 11 * MINUTE).await;
    assert_eq!(calls(&world.sandbox, "GET", &format!("/{}", ids[1])).len(), 0);
    assert_eq!(changes.numbers().found, 3);
    // The next process knows what was under way.
    drop(changes);
    while world.sandbox.advance(ids[1]) {}
    let world = world.restarted().await;
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    assert_eq!(status(&next(&mut changes).await), (ids[1].get(), "CLOSED"));
}

#[tokio::test(start_paused = true)]
async fn a_look_finds_failed_deliveries_once() {
    test_timeout::start();
    let world = World::new().await;
    let ids = world.sandbox.populate(2);
    let url = format!("http://127.0.0.1:9/{SEGMENT}").parse().unwrap();
    world.client.notifications().ensure(PROVISION, url).await.unwrap();
    let mut changes = world.changes().await;
    assert_eq!(world.sandbox.fail_notification(ids[0]), 1);
    let change = timeout(6 * MINUTE, changes.next()).await.unwrap().unwrap();
    assert_eq!(status(&change), (ids[0].get(), "ACTIVE"));
    change.done().await.unwrap();
    nothing(&mut changes, 11 * MINUTE).await;
    assert_eq!(changes.numbers().found, 1);
}

/// Gives a receiver calls over real connections, and returns the URL.
pub(crate) async fn served(receiver: &Receiver<FileHintJournal>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{SEGMENT}", listener.local_addr().unwrap());
    let receiver = receiver.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let receiver = receiver.clone();
            let service = service_fn(move |request| receiver.clone().call(request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

#[tokio::test]
async fn the_bank_calls_and_a_wait_ends_with_its_call() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    // Only calls end this wait in time.
    let client = sandbox.client().retry(at_once()).poll_interval(Duration::from_secs(3600)).build().unwrap();
    let world = World::with(client, sandbox).await;
    let url = served(&world.receiver).await;
    let notifications = world.sandbox.client().build().unwrap().notifications();
    notifications.ensure(PROVISION, url.parse().unwrap()).await.unwrap();
    let id = world.sandbox.populate(1)[0];
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    let closing = world.client.provisions().close(id).await.unwrap();
    let waiting = tokio::spawn(closing.wait());
    let change = changes.next().await.unwrap();
    assert_eq!(status(&change), (id.get(), "CANCELLED"));
    // One that is not done holds up no wait.
    world.sandbox.inject_delivery(DeliveryFault::Doubled);
    while world.sandbox.advance(id) {}
    assert!(waiting.await.unwrap().unwrap().is_closed());
    change.done().await.unwrap();
    let change = changes.next().await.unwrap();
    assert_eq!(status(&change), (id.get(), "CLOSED"));
    change.done().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_task_takes_the_hints_of_a_receiver_and_ends_with_its_changes_or_the_client() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let shutdown = Shutdown::default();
    let client = sandbox.client().shutdown(&shutdown).build().unwrap();
    let world = World::with(client, sandbox).await;
    let changes = || world.client.changes(&world.receiver);
    let first = changes().start().unwrap();
    let error = changes().start().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("not dropped yet"), "{error}");
    assert!(!format!("{first:?} {:?}", changes()).contains("planted"));
    drop(first);
    let refused = changes().look_interval(Duration::ZERO).start().unwrap_err();
    assert!(refused.to_string().contains("look_interval: 0ns is not from 1s to 86400s"), "{refused}");
    let mut again = changes().net_interval(SECOND).start().unwrap();
    shutdown.begin();
    assert!(again.next().await.is_none() && again.next().await.is_none());
}

/// A runtime that ends takes its task with it, and another one goes on.
#[test]
fn another_runtime_goes_on_when_the_first_has_ended() {
    test_timeout::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bank, first) = (tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(), runtime());
    let world = bank.block_on(World::new());
    let id = world.sandbox.populate(1)[0];
    let mut changes = first.block_on(async { world.client.changes(&world.receiver).start().unwrap() });
    drop(first);
    runtime().block_on(async {
        world.call(id, None).await;
        let change = changes.next().await.unwrap();
        assert_eq!(status(&change), (id.get(), "ACTIVE"));
        change.done().await.unwrap();
    });
}

/// A client with a custody, in which there is a user whose session is open, the id of that user and of its onboarding.
async fn with_user() -> (World, UserClient, UserId, UserOnboardingId) {
    let mut profile = Profile::default();
    (profile.onboarding_check, profile.fulfillments) = (MINUTE, Vec::new());
    let sandbox = Sandbox::builder().pace(Pace::Manual).profile(profile).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).custody(MemoryCustody::new()).build().unwrap();
    let world = World::with(client, sandbox).await;
    let user = world.client.users().activate(world.sandbox.populate(1)[0]).await.unwrap();
    let onboarding = user.onboarding().start().await.unwrap().id;
    let user_id = user.user().await.unwrap().id;
    (world, user, user_id, onboarding)
}

impl World {
    /// bunq calls about the onboarding of a user.
    async fn call_about(&self, onboarding: UserOnboardingId, user: UserId) {
        let object = json!({"UserOnboarding": {"id": onboarding, "user_id": user}});
        called(&self.receiver, "USER_ONBOARDING", object).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_onboarding_is_read_with_the_open_session_of_its_user() {
    test_timeout::start();
    let (world, user, user_id, onboarding) = with_user().await;
    let mut changes = world.changes().await;
    world.call_about(onboarding, user_id).await;
    let change = next(&mut changes).await;
    match change.object() {
        ChangedObject::Onboarding { provision_id, onboarding: read } => {
            assert_eq!((*provision_id, read.id), (user.provision_id(), onboarding));
        }
        other => panic!("{other:?}"),
    }
    change.done().await.unwrap();
    assert_eq!(world.reads(), 1);
    // Another's id under the user costs a read, and holds up nothing of the user's own.
    world.call_about(4_000_000_u64.try_into().unwrap(), user_id).await;
    nothing(&mut changes, SECOND).await;
    assert_eq!((world.reads(), changes.numbers().not_ours), (1, 1));
    // What is under way is looked at, and a wait hears of it.
    let statuses =
        UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified);
    let RequestedStatuses::Accepted(waiter) = user.onboarding().request(onboarding, &statuses).await.unwrap() else {
        panic!("something is missing")
    };
    let waiting =
        tokio::spawn(waiter.poll_interval(Duration::from_secs(3600)).timeout(Duration::from_secs(7200)).wait());
    tokio::task::yield_now().await;
    world.sandbox.advance_clock(MINUTE);
    let over = async {
        loop {
            let change = changes.next().await.unwrap();
            let is_over = match change.object() {
                ChangedObject::Onboarding { onboarding, .. } => onboarding.outcome().is_some(),
                other => panic!("{other:?}"),
            };
            change.done().await.unwrap();
            if is_over {
                return;
            }
        }
    };
    timeout(6 * MINUTE, over).await.unwrap();
    assert!(timeout(SECOND, waiting).await.unwrap().unwrap().unwrap().outcome().is_some());
    // What is over is not looked at any more.
    nothing(&mut changes, SECOND).await;
    world.sandbox.take_call_log();
    nothing(&mut changes, 11 * MINUTE).await;
    assert!(world.sandbox.take_call_log().iter().all(|call| !call.path.contains("onboarding")));
}

/// It is over after a read, as one about an id that bunq does not know.
#[tokio::test(start_paused = true)]
async fn a_call_about_an_id_that_bunq_does_not_take_is_over() {
    test_timeout::start();
    let (world, _user, user_id, onboarding) = with_user().await;
    let mut changes = world.changes().await;
    world.sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::GET_USER_ONBOARDING).always());
    world.call_about(onboarding, user_id).await;
    nothing(&mut changes, 2 * MINUTE).await;
    assert!(pending(&world.journal).await.is_empty());
    assert_eq!((changes.numbers().not_ours, changes.numbers().failed), (1, 0));
}

/// A custody whose texts cannot be reached at times.
#[derive(Debug, Clone, Default)]
struct Away {
    custody: MemoryCustody,
    is_away: Arc<AtomicBool>,
}

impl Custody for Away {
    fn name(&self) -> String {
        self.custody.name()
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Box::pin(async { Err(Error::unavailable("the custody is away")) }),
            false => self.custody.load(id),
        }
    }

    fn save<'a>(
        &'a self,
        lock: &'a ContextLock,
        entry: CustodyEntry,
        text: Secret,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.custody.save(lock, entry, text)
    }

    fn remove<'a>(&'a self, lock: &'a ContextLock, id: ProvisionId) -> BoxFuture<'a, Result<(), Error>> {
        self.custody.remove(lock, id)
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.custody.lock(id)
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        self.custody.list(filter, after)
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        self.custody.entry(id)
    }
}

/// It says nothing of the session: the object is read when it comes back, and no call is handed on unconfirmed.
#[tokio::test(start_paused = true)]
async fn a_custody_that_is_away_holds_a_call_up() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let custody = Away::default();
    let client = || sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap();
    let before = client().users().activate(sandbox.populate(1)[0]).await.unwrap();
    let (onboarding, user) = (before.onboarding().start().await.unwrap().id, before.user().await.unwrap().id);
    let another = client();
    let world = World::with(another, sandbox).await;
    let mut changes = world.changes().await;
    custody.is_away.store(true, Ordering::Relaxed);
    world.call_about(onboarding, user).await;
    nothing(&mut changes, MINUTE).await;
    assert!(changes.numbers().failed > 0);
    custody.is_away.store(false, Ordering::Relaxed);
    let change = timeout(6 * MINUTE, changes.next()).await.unwrap().unwrap();
    assert!(matches!(change.object(), ChangedObject::Onboarding { .. }), "{change:?}");
    change.done().await.unwrap();
    assert_eq!(changes.numbers().unconfirmed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_about_a_user_without_a_session_opens_none_and_is_confirmed_once_there_is_one() {
    test_timeout::start();
    let (world, user, user_id, onboarding) = with_user().await;
    user.end_session().await.unwrap();
    let mut changes = world.changes().await;
    world.call_about(onboarding, user_id).await;
    let change = next(&mut changes).await;
    match change.object() {
        ChangedObject::Unconfirmed { provision_id, hint } => {
            assert_eq!((*provision_id, hint.user_id), (Some(user.provision_id()), Some(user_id)));
        }
        other => panic!("{other:?}"),
    }
    change.done().await.unwrap();
    assert!(world.sandbox.take_call_log().is_empty());
    // Nobody has taken this one when the session is opened.
    world.call_about(onboarding, user_id).await;
    while changes.numbers().waiting != 1 || !world.sandbox.take_call_log().is_empty() {
        tokio::time::sleep(SECOND).await;
    }
    tokio::time::sleep(2 * SECOND).await;
    user.open_session().await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let change = next(&mut changes).await;
    assert!(matches!(change.object(), ChangedObject::Onboarding { .. }), "{change:?}");
    change.done().await.unwrap();
    assert!(world.journal.pending(None).await.unwrap().is_empty());
    assert_eq!((changes.numbers().unconfirmed, changes.numbers().handed_on), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_handed_on_unconfirmed_if_its_session_ends() {
    test_timeout::start();
    let (world, user, user_id, onboarding) = with_user().await;
    let mut changes = world.changes().await;
    world.call_about(onboarding, user_id).await;
    let change = next(&mut changes).await;
    user.end_session().await.unwrap();
    drop(change);
    let change = next(&mut changes).await;
    let ChangedObject::Unconfirmed { provision_id, hint } = change.object() else { panic!("{change:?}") };
    assert_eq!((*provision_id, &hint.object), (Some(user.provision_id()), &Some(HintedObject::Onboarding(onboarding))));
    change.done().await.unwrap();
    assert!(pending(&world.journal).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_opened_for_a_call_if_that_is_set() {
    test_timeout::start();
    let (world, user, user_id, onboarding) = with_user().await;
    user.end_session().await.unwrap();
    let mut changes = world.client.changes(&world.receiver).open_sessions(true).start().unwrap();
    world.call_about(onboarding, user_id).await;
    let change = next(&mut changes).await;
    assert!(matches!(change.object(), ChangedObject::Onboarding { .. }), "{change:?}");
    change.done().await.unwrap();
    assert_eq!(changes.numbers().unconfirmed, 0);
}

/// How many requests the reads of many changes cost, and in which order they are told.
async fn cost_of(world: &World, changes: &mut Changes, called: Vec<ProvisionId>) -> (usize, Vec<u64>) {
    let count = called.len();
    let calls = async {
        // All of them in a minute.
        let pause = MINUTE / u32::try_from(count).unwrap();
        for id in called {
            world.call(id, None).await;
            tokio::time::sleep(pause).await;
        }
    };
    let told = async {
        let mut told = Vec::new();
        while told.len() < count {
            let change = changes.next().await.unwrap();
            told.push(status(&change).0);
            change.done().await.unwrap();
        }
        told
    };
    let ((), told) = futures_util::future::join(calls, told).await;
    (world.reads(), told)
}

/// A bank with bunq's limits and so many provisions, of which every so-manieth is closing.
async fn large(count: usize, closing: Option<usize>) -> (World, Vec<ProvisionId>) {
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).rate_limit(&Operation::LIST_PROVISIONS, 3, 3 * SECOND);
    let client = client.rate_limit(&Operation::GET_PROVISION, 3, 3 * SECOND).build().unwrap();
    let world = World::with(client, sandbox).await;
    let ids = world.sandbox.populate(count);
    let other = world.sandbox.client().build().unwrap();
    let mut changing = Vec::new();
    for id in ids.iter().copied().step_by(closing.unwrap_or(1)) {
        if closing.is_some() {
            let _ = other.provisions().close(id).await.unwrap();
        }
        changing.push(id);
    }
    (world, changing)
}

#[tokio::test(start_paused = true)]
async fn two_thousand_neighbours_in_a_minute_cost_sixty_reads() {
    test_timeout::start();
    let (world, ids) = large(2_000, None).await;
    let mut changes = world.changes().await;
    let (reads, told) = cost_of(&world, &mut changes, ids).await;
    assert!(reads <= 60, "{reads}");
    assert_eq!(told.len(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_spread_over_many_are_found_by_their_status() {
    test_timeout::start();
    let (world, mut ids) = large(4_000, Some(10)).await;
    let mut changes = world.client.changes(&world.receiver).start().unwrap();
    // The first look finds all of them under way.
    for _ in 0..ids.len() {
        timeout(10 * MINUTE, changes.next()).await.unwrap().unwrap().done().await.unwrap();
    }
    world.sandbox.take_call_log();
    for id in &ids {
        assert!(world.sandbox.fail(*id));
    }
    // Neighbours do not come one after the other.
    ids.sort_by_key(|id| id.get().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (reads, told) = cost_of(&world, &mut changes, ids.clone()).await;
    // One for two changes.
    assert!(reads <= 200, "{reads}");
    assert_eq!(told.len(), ids.len());
}

/// What a wait for neighbours that close one by one costs, in requests, and how long after its change the last one is told at most.
async fn waited(world: &World, changes: Changes, is_called: impl Fn(usize) -> bool) -> (usize, Duration) {
    let ids = world.sandbox.populate(100);
    let mut waits = Vec::new();
    for id in &ids {
        waits.push(tokio::spawn(world.client.provisions().close(*id).await.unwrap().timeout(60 * MINUTE).wait()));
    }
    let work = tokio::spawn(changes.for_each(async |change| change.done().await.unwrap()));
    tokio::time::sleep(MINUTE).await;
    world.sandbox.take_call_log();
    let mut longest = Duration::ZERO;
    for (number, (id, wait)) in ids.into_iter().zip(waits).enumerate() {
        let closed = Instant::now();
        while world.sandbox.advance(id) {}
        if is_called(number) {
            world.call(id, None).await;
        }
        wait.await.unwrap().unwrap();
        longest = longest.max(closed.elapsed());
        tokio::time::sleep_until(closed + 18 * SECOND).await;
    }
    work.abort();
    (world.sandbox.take_call_log().len(), longest)
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_hundred_that_close_one_by_one_costs_a_read_for_each_and_the_net() {
    test_timeout::start();
    let world = World::new().await;
    let changes = world.changes().await;
    let (requests, longest) = waited(&world, changes, |_| true).await;
    assert!(requests <= 140 && longest < SECOND, "{requests} {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_calls_are_lost_at_times_ends_with_the_net() {
    test_timeout::start();
    let world = World::new().await;
    let changes = world.changes().await;
    let (requests, longest) = waited(&world, changes, |number| number % 10 != 9).await;
    assert!(requests <= 900 && longest <= 61 * SECOND, "{requests} {longest:?}");
}
