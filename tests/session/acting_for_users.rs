//! Users in custody: activated, found again, reset and closed.

use std::time::Duration;

use bunq_partner::jiff::{Span, Timestamp};
use bunq_partner::{Client, Error, ErrorKind, MemoryCustody, Operation, ProvisionId, Remedy, Sent, UserEvent};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Pace, Sandbox};
use futures_util::future::join_all;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{at_once, calls, id, once, quick, ready, start, use_elsewhere};

const MINUTE: Duration = Duration::from_secs(60);

async fn start_with_custody() -> (Sandbox, Client, MemoryCustody) {
    let sandbox = Sandbox::start().await.unwrap();
    let custody = MemoryCustody::new();
    let client = client(&sandbox, &custody);
    (sandbox, client, custody)
}

/// Another process with the same custody.
fn client(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap()
}

/// The token of a user that bunq shows.
async fn shown_token(client: &Client, id: ProvisionId) -> String {
    let seen = client.provisions().get(id).await.unwrap();
    seen.credential.unwrap().token_value.unwrap().expose().to_owned()
}

fn sessions(sandbox: &Sandbox, token: &str) -> Vec<CallLogEntry> {
    let mut opened = calls(sandbox, "POST", "/session-server");
    opened.retain(|call| call.body.contains(token));
    opened
}

fn statuses(sandbox: &Sandbox, id: ProvisionId) -> String {
    sandbox.provision(id).unwrap()["credential"]["status"].as_str().unwrap().to_owned()
}

/// Nothing was sent but what the partner reads.
fn only_reads(sandbox: &Sandbox) {
    let log = sandbox.call_log();
    assert!(!log.is_empty() && log.iter().all(|call| call.method == "GET"), "{log:?}");
}

async fn kept(client: &Client, id: ProvisionId) -> Option<bool> {
    client.users().get(id).await.unwrap().map(|entry| entry.is_activated)
}

#[tokio::test]
async fn a_user_is_activated_and_served() {
    test_timeout::start();
    let (sandbox, client, custody) = start_with_custody().await;
    let id = ready(&client).await;
    let token = shown_token(&client, id).await;
    let user = client.users().activate(id).await.unwrap();
    assert_eq!((user.provision_id(), statuses(&sandbox, id).as_str()), (id, "ACTIVE"));
    assert_eq!(kept(&client, id).await, Some(true));
    let known = user.user().await.unwrap();
    assert!(!user.api().list_credentials().await.unwrap().into_inner().is_empty());
    assert!(calls(&sandbox, "GET", &format!("/user/{}/credential-password-ip", known.id)).len() == 1);
    assert!(!format!("{user:?} {:?} {client:?}", client.users()).contains(&token));

    // Nothing is sent for a user that is open.
    sandbox.take_call_log();
    client.users().activate(id).await.unwrap();
    assert_eq!(sandbox.take_call_log().len(), 0);
    let context = user.context().await.unwrap().unwrap();
    assert_eq!((context.has_session, context.user), (true, Some(known)));

    // After a restart, the custody is enough: no call of the partner's, and no session.
    let again = self::client(&sandbox, &custody);
    assert!(again.users().of(id).context().await.unwrap().unwrap().has_session);
    let found = again.users().of(id).api().list_credentials().await.unwrap();
    assert_eq!(found.into_inner().len(), 1);
    let log = sandbox.take_call_log();
    assert_eq!(log.iter().map(|call| call.method.as_str()).collect::<Vec<_>>(), ["GET"], "{log:?}");
    let listed: Vec<_> = again.users().list().try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|entry| entry.provision_id).collect::<Vec<_>>(), [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_share_one_session() {
    test_timeout::start();
    let (sandbox, client, _) = start_with_custody().await;
    let id = ready(&client).await;
    let token = shown_token(&client, id).await;
    join_all((0..100).map(|number| {
        let users = client.users();
        tokio::spawn(async move {
            match number % 2 {
                0 => _ = users.activate(id).await.unwrap(),
                _ => {
                    users.activate(id).await.unwrap();
                    users.of(id).api().list_credentials().await.unwrap();
                }
            }
        })
    }))
    .await
    .into_iter()
    .for_each(|task| task.unwrap());
    assert_eq!(sessions(&sandbox, &token).len(), 1);
    // The user ends its session, and all find out.
    assert_eq!(sandbox.end_sessions_of(id), 1);
    let users = client.users();
    let calls = (0..100).map(|_| {
        let user = users.of(id);
        tokio::spawn(async move { user.api().list_credentials().await })
    });
    for call in join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert_eq!(sessions(&sandbox, &token).len(), 2);
}

/// A crash at any point: after each of the calls, another process goes on with the custody.
#[tokio::test]
async fn an_activation_goes_on_after_a_crash_at_any_point() {
    test_timeout::start();
    for (operation, path, is_carried_out) in [
        (&Operation::CREATE_INSTALLATION, "/installation", false),
        (&Operation::CREATE_DEVICE_SERVER, "/device-server", false),
        (&Operation::CREATE_DEVICE_SERVER, "/device-server", true),
        (&Operation::CREATE_SESSION, "/session-server", false),
        (&Operation::CREATE_SESSION, "/session-server", true),
    ] {
        let (sandbox, client, custody) = start_with_custody().await;
        let id = ready(&client).await;
        let token = shown_token(&client, id).await;
        let fault = if is_carried_out { Fault::Drop } else { Fault::Status(500) };
        sandbox.inject(Injection::new(fault).on(operation).always());
        sandbox.take_call_log();
        // The process dies when the call was made.
        let was_called = async {
            while calls(&sandbox, "POST", path).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let users = client.users();
        tokio::select! {
            outcome = users.activate(id) => drop(outcome.unwrap_err()),
            () = was_called => {}
        }
        assert_eq!(kept(&client, id).await, Some(false), "the token was stored before: {operation:?}");
        drop(client);
        sandbox.clear_injections();
        let client = self::client(&sandbox, &custody);
        let user = client.users().activate(id).await.unwrap();
        user.api().list_credentials().await.unwrap();
        assert_eq!(kept(&client, id).await, Some(true));
        assert!(!sessions(&sandbox, &token).is_empty());
        assert!(calls(&sandbox, "PUT", "").is_empty(), "no token was reset");
    }
}

#[tokio::test(start_paused = true)]
async fn partner_and_users_share_the_rate_limit_for_sessions() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    // One session while a credential lives: the partner's.
    let limited = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, Duration::from_secs(3601));
    let client = limited.custody(MemoryCustody::new()).build().unwrap();
    let error = client.users().activate(sandbox.populate(1)[0]).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
    // It is refused before anything is made for it: each of these is the partner's.
    for path in ["/installation", "/device-server", "/session-server"] {
        assert_eq!(calls(&sandbox, "POST", path).len(), 1, "{path}");
    }
}

/// What was made before stays: a key costs a tenth of a second of CPU time.
#[tokio::test]
async fn a_failure_costs_no_other_key() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(once()).custody(MemoryCustody::new()).build().unwrap();
    let id = ready(&client).await;
    let refused = [&Operation::CREATE_INSTALLATION, &Operation::CREATE_DEVICE_SERVER];
    for operation in refused {
        sandbox.inject(Injection::new(Fault::Status(503)).on(operation).times(1));
    }
    sandbox.take_call_log();
    client.users().activate(id).await.unwrap();
    let installed: Vec<_> = calls(&sandbox, "POST", "/installation").into_iter().map(|call| call.body).collect();
    assert_eq!(installed.len(), 2);
    assert_eq!(installed[0], installed[1], "the same key");
    assert_eq!(calls(&sandbox, "POST", "/device-server").len(), 2);
}

/// Whoever comes next joins it, also when nothing else is remembered of the user.
#[tokio::test(start_paused = true)]
async fn an_opening_that_its_caller_gives_up_goes_on() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let limited = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, 50 * MINUTE);
    let client = limited.custody(MemoryCustody::new()).build().unwrap();
    client.open_session().await.unwrap();
    let id = sandbox.populate(1)[0];
    let (users, began) = (client.users(), Instant::now());
    for _ in 0..2 {
        let mut activated = Box::pin(users.activate_all(iter([id])));
        timeout(MINUTE, activated.next()).await.unwrap_err();
        let error = users.of(id).api().list_credentials().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
        drop(activated);
        sleep(15 * MINUTE).await;
        users.of(self::id(7)).open_session().await.unwrap_err();
    }
    let (places, activated) = (users.places(1), users.activate(id).await);
    places.settle(&activated);
    assert!(!places.are_lost());
    activated.unwrap().api().list_credentials().await.unwrap();
    assert!(began.elapsed() < 51 * MINUTE, "{:?}", began.elapsed());
    assert_eq!(calls(&sandbox, "POST", "/device-server").len(), 2);
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 2);
}

#[tokio::test]
async fn a_new_credential_that_somebody_else_has_used_ends_the_wait_for_it() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let id = sandbox.populate(1)[0];
    let resetting = client.provisions().reset_token(id).await.unwrap();
    assert!(sandbox.advance(id));
    use_elsewhere(&sandbox, id).await;
    let error = quick(resetting).wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable);
    assert!(error.to_string().contains("in use already"), "{error}");
}

/// An outage is waited out in each of the three calls, also before the turn has come.
#[tokio::test]
async fn an_outage_ends_no_activation() {
    test_timeout::start();
    for operation in [&Operation::CREATE_INSTALLATION, &Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION] {
        let (sandbox, client, _) = start_with_custody().await;
        let id = ready(&client).await;
        let mut events = std::pin::pin!(client.users().events());
        for operation in [operation, &Operation::GET_INSTALLATION] {
            sandbox.inject(Injection::new(Fault::Status(503)).on(operation).always());
        }
        let ends = async {
            while !matches!(events.next().await, Some(UserEvent::Delayed(delayed, _)) if delayed == id) {}
            // More looks than a user has attempts.
            while calls(&sandbox, "GET", "/installation").len() <= 10 * 4 {
                tokio::task::yield_now().await;
            }
            sandbox.clear_injections();
        };
        let users = client.users();
        let (activated, ()) = tokio::join!(users.activate(id), ends);
        activated.unwrap().api().list_credentials().await.unwrap();
        assert_eq!(statuses(&sandbox, id), "ACTIVE");
    }
}

/// Nobody is given a place by whose turn the first credential would have expired.
#[tokio::test]
async fn as_many_have_places_as_can_be_activated_in_time() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let limited = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, Duration::from_secs(30));
    let client = limited.custody(MemoryCustody::new()).build().unwrap();
    assert_eq!(client.users().capacity(), 120);
    let unlimited = sandbox.client().build().unwrap();
    assert!(unlimited.users().capacity() > 1_000_000);
    assert_eq!(unlimited.users().check_custody().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    client.users().check_custody().await.unwrap();

    let places = client.users().places(2);
    let mut created = std::pin::pin!(places.gate(iter(0..)));
    assert_eq!((created.next().await, created.next().await, places.is_full()), (Some(0), Some(1), true));
    assert!(futures_util::poll!(created.next()).is_pending());
    places.wanted().await;
    // A credential that still waits keeps its place.
    places.settle(&Err(Error::context("the disk is full")));
    assert!(places.is_full() && !places.are_lost());
    places.settle(&Err(Error::context("the disk is full")));
    assert!(places.are_lost());
    let (first, second) = (ready(&client).await, ready(&client).await);
    let mut waiting = [first, second].into();
    assert_eq!((places.look(&mut waiting).await, waiting.len()), (0, 2));
    assert!(sandbox.expire_credential(second));
    assert_eq!((places.look(&mut waiting).await, waiting.into_iter().collect::<Vec<_>>()), (1, vec![first]));
    assert_eq!(created.next().await, Some(2));
    places.settle(&Ok(client.users().activate(first).await.unwrap()));
    assert_eq!(created.next().await, Some(3));
}

#[tokio::test]
async fn a_credential_that_is_spent_is_reset() {
    test_timeout::start();
    let (sandbox, client, _) = start_with_custody().await;
    let id = ready(&client).await;
    let token = shown_token(&client, id).await;
    // Another custody has the token.
    self::client(&sandbox, &MemoryCustody::new()).users().activate(id).await.unwrap();
    sandbox.take_call_log();
    let error = client.users().activate(id).await.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::CredentialSpent, Some(Remedy::ResetToken)), "{error}");
    assert!(error.to_string().contains("is in use, and its token is not in custody"), "{error}");
    only_reads(&sandbox);
    assert_eq!(kept(&client, id).await, None);

    let user = client.users().reset(id).await.unwrap();
    user.api().list_credentials().await.unwrap();
    assert_eq!(calls(&sandbox, "PUT", &format!("/{id}")).len(), 1);
    assert!(sessions(&sandbox, &token).is_empty());
}

#[tokio::test]
async fn a_reset_that_was_sent_is_not_sent_again() {
    test_timeout::start();
    let (sandbox, client, custody) = start_with_custody().await;
    let id = ready(&client).await;
    client.users().activate(id).await.unwrap();
    // A reset, and a crash before its token is stored.
    quick(client.provisions().reset_token(id).await.unwrap()).wait().await.unwrap();
    let token = shown_token(&client, id).await;
    let client = self::client(&sandbox, &custody);
    sandbox.take_call_log();
    client.users().reset(id).await.unwrap().api().list_credentials().await.unwrap();
    assert!(calls(&sandbox, "PUT", "").is_empty());
    assert_eq!(sessions(&sandbox, &token).len(), 1);
    // One that is in use is replaced, and what was open with it ends.
    let user = client.users().of(id);
    let before = user.user().await.unwrap();
    client.users().reset(id).await.unwrap();
    assert_eq!(calls(&sandbox, "PUT", "").len(), 1);
    assert_eq!(user.user().await.unwrap().kind, before.kind);
    user.api().list_credentials().await.unwrap();
}

/// What bunq shows is right: what is stored of an older credential is replaced, unless that may be the only copy.
#[tokio::test]
async fn the_token_of_an_older_credential_is_replaced() {
    test_timeout::start();
    let (sandbox, client, custody) = start_with_custody().await;
    let id = ready(&client).await;
    client.users().activate(id).await.unwrap();
    quick(client.provisions().reset_token(id).await.unwrap()).wait().await.unwrap();
    let token = shown_token(&client, id).await;
    let again = self::client(&sandbox, &custody);
    again.users().activate(id).await.unwrap().api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox, &token).len(), 1);
    // Another has reset and activated it.
    let other = self::client(&sandbox, &MemoryCustody::new());
    other.users().reset(id).await.unwrap();
    let again = self::client(&sandbox, &custody);
    again.open_session().await.unwrap();
    sandbox.take_call_log();
    let error = again.users().activate(id).await.unwrap_err();
    assert!(error.to_string().contains("the token of one before it"), "{error}");
    assert_eq!(error.remedy(), Some(Remedy::ResetToken));
    only_reads(&sandbox);
}

#[tokio::test]
async fn an_expired_credential_is_not_used() {
    test_timeout::start();
    let (sandbox, client, _) = start_with_custody().await;
    let id = ready(&client).await;
    assert!(sandbox.expire_credential(id));
    sandbox.take_call_log();
    let error = client.users().activate(id).await.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::CredentialSpent, Some(Remedy::ResetToken)), "{error}");
    only_reads(&sandbox);
    client.users().reset(id).await.unwrap().open_session().await.unwrap();
}

#[tokio::test]
async fn a_user_that_is_closed_is_removed_from_custody() {
    test_timeout::start();
    let (_sandbox, client, _) = start_with_custody().await;
    let id = ready(&client).await;
    client.users().activate(id).await.unwrap();
    let user = client.users().of(id);
    user.end_session().await.unwrap();
    quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    let error = client.users().activate(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{error}");
    assert_eq!(kept(&client, id).await, None);
    let error = user.api().list_credentials().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No), "{error}");
    let error = client.users().reset(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable, "{error}");
}

#[tokio::test]
async fn a_session_that_has_ended_is_renewed_with_the_stored_token() {
    test_timeout::start();
    let (sandbox, client, custody) = start_with_custody().await;
    let id = ready(&client).await;
    let token = shown_token(&client, id).await;
    let user = client.users().activate(id).await.unwrap();
    user.end_session().await.unwrap();
    user.api().list_credentials().await.unwrap();
    // bunq ends it.
    let another = self::client(&sandbox, &custody);
    another.users().of(id).end_session().await.unwrap();
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox, &token).len(), 3);
}

/// What cannot be is known before anything is sent.
#[tokio::test]
async fn bad_input_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, without) = start().await;
    let custody = MemoryCustody::new();
    let client = self::client(&sandbox, &custody);
    let none: Result<_, Error> = without.users().activate(id(7)).await.map(drop);
    let shown = none.unwrap_err();
    assert_eq!((shown.kind(), shown.sent()), (ErrorKind::InvalidInput, Sent::No));
    assert!(shown.to_string().contains("ClientBuilder::custody"), "{shown}");
    for error in [
        without.users().of(id(7)).open_session().await.unwrap_err(),
        without.users().reset(id(7)).await.unwrap_err(),
        without.users().list().try_collect::<Vec<_>>().await.unwrap_err(),
        without.users().get(id(7)).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), shown.to_string());
    }
    let error = client.users().of(id(7)).api().list_credentials().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No));
    assert!(error.to_string().contains("call `users().activate(id)` for a new user"), "{error}");
    assert_eq!(sandbox.take_call_log().len(), 0);
    // The custody of another key.
    let user = ready(&client).await;
    client.users().activate(user).await.unwrap();
    let other = Sandbox::start().await.unwrap();
    let others = self::client(&other, &custody);
    for error in [others.users().activate(user).await.unwrap_err(), others.users().of(user).user().await.unwrap_err()] {
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No));
        assert!(error.to_string().contains("was left as it is"), "{error}");
    }
    assert_eq!(other.take_call_log().len(), 0);
}

#[tokio::test]
async fn a_provision_that_is_no_ones_is_not_found() {
    test_timeout::start();
    let (sandbox, client, _) = start_with_custody().await;
    client.open_session().await.unwrap();
    let (users, id) = (client.users(), id(999_999));
    for is_reset in [false, true] {
        sandbox.take_call_log();
        let outcome = if is_reset { users.reset(id).await } else { users.activate(id).await };
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let advice =
            "no provision of this API key has the id 999999: check the id, and of which key and environment it is";
        assert!(error.to_string().contains(advice), "{error}");
        let sent: Vec<_> = sandbox.call_log().into_iter().map(|call| call.method).collect();
        assert_eq!((sent, kept(&client, id).await), (vec!["GET".to_owned()], None));
    }
}

#[tokio::test]
async fn many_are_activated_together() {
    test_timeout::start();
    let (sandbox, client, _) = start_with_custody().await;
    let ids = sandbox.populate(20);
    let mut done: Vec<_> = client.users().activate_all(iter(ids.clone())).collect::<Vec<_>>().await;
    done.sort_by_key(|(id, _)| *id);
    assert!(done.iter().all(|(_, outcome)| outcome.is_ok()), "{done:?}");
    assert_eq!(done.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert!(ids.iter().all(|id| statuses(&sandbox, *id) == "ACTIVE"));
}

/// The next event that is of a kind.
async fn event(events: &mut (impl futures_util::Stream<Item = UserEvent> + Unpin), is_it: impl Fn(&UserEvent) -> bool) {
    while !is_it(&events.next().await.unwrap()) {}
}

/// Whoever reads that a provision is closed, nothing of its user stays in custody. A closing that is only requested removes nothing.
#[tokio::test]
async fn what_is_kept_goes_with_the_provision() {
    test_timeout::start();
    let (sandbox, client, _) = start_with_custody().await;
    let [waited, listed] = [ready(&client).await, ready(&client).await];
    for id in [waited, listed] {
        client.users().activate(id).await.unwrap();
    }
    let mut events = Box::pin(client.users().events());
    let closing = client.provisions().close(waited).await.unwrap();
    assert_eq!(kept(&client, waited).await, Some(true));
    quick(closing).wait().await.unwrap();
    event(&mut events, |event| matches!(event, UserEvent::Removed(id) if *id == waited)).await;
    assert_eq!((kept(&client, waited).await, kept(&client, listed).await), (None, Some(true)));
    // Another process has closed it.
    let other = sandbox.client().retry(at_once()).build().unwrap();
    quick(other.provisions().close(listed).await.unwrap()).wait().await.unwrap();
    client.provisions().list().page().await.unwrap();
    event(&mut events, |event| matches!(event, UserEvent::Removed(id) if *id == listed)).await;
    assert_eq!(kept(&client, listed).await, None);
}

/// A process that ends with the wait for the closing may not have removed what is kept.
#[tokio::test]
async fn what_is_kept_is_surely_removed_on_request() {
    test_timeout::start();
    let (sandbox, client, custody) = start_with_custody().await;
    let user = ready(&client).await;
    client.users().activate(user).await.unwrap();
    let error = client.users().remove(user).await.unwrap_err();
    assert_eq!((error.kind(), kept(&client, user).await), (ErrorKind::Unattainable, Some(true)), "{error}");
    let elsewhere = sandbox.client().retry(at_once()).build().unwrap();
    quick(elsewhere.provisions().close(user).await.unwrap()).wait().await.unwrap();
    assert_eq!(kept(&client, user).await, Some(true));
    let client = self::client(&sandbox, &custody);
    let mut events = Box::pin(client.users().events());
    client.users().remove(user).await.unwrap();
    assert_eq!(kept(&client, user).await, None);
    event(&mut events, |event| matches!(event, UserEvent::Removed(id) if *id == user)).await;
    client.users().remove(user).await.unwrap();
    assert_eq!(elsewhere.users().remove(user).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// A credential that nobody activates is told before it expires, also to a process that finds it in custody.
#[tokio::test]
async fn a_credential_that_nobody_activates_is_told_before_it_expires() {
    test_timeout::start();
    let (sandbox, client, custody) = start_with_custody().await;
    let [soon, used] = [ready(&client).await, ready(&client).await];
    let expiry = Timestamp::now().checked_add(Span::new().minutes(10)).unwrap().strftime("%Y-%m-%d %H:%M:%S.000000");
    let expiry = expiry.to_string();
    sandbox.before_signing(move |call, response| {
        let Ok(mut body) = serde_json::from_slice::<serde_json::Value>(&response.body) else { return };
        let Some(items) = body["Response"].as_array_mut().filter(|_| call.method == "GET") else { return };
        for item in items {
            if item["PartnerUserProvision"]["credential"].is_object() {
                item["PartnerUserProvision"]["credential"]["expiry_time"] = expiry.clone().into();
            }
        }
        response.body = body.to_string().into();
    });
    let (mut events, mut failures) = (Box::pin(client.users().events()), Box::pin(client.users().events()));
    client.users().activate(used).await.unwrap();
    event(&mut events, |event| matches!(event, UserEvent::Stored(id) if *id == used)).await;
    event(&mut events, |event| matches!(event, UserEvent::Activated(id) if *id == used)).await;
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).always());
    client.users().activate(soon).await.unwrap_err();
    event(&mut failures, |event| matches!(event, UserEvent::Failed(id, _) if *id == soon)).await;
    event(&mut events, |event| matches!(event, UserEvent::Expiring(id) if *id == soon)).await;
    let unactivated = client.users().unactivated().await.unwrap();
    assert_eq!(unactivated.count, 1);
    let left = unactivated.next_expiry.unwrap().as_jiff().duration_since(Timestamp::now());
    assert!(left.as_secs() <= 600 && left.as_secs() > 0, "{left:?}");

    let another = self::client(&sandbox, &custody);
    let mut events = Box::pin(another.users().events());
    event(&mut events, |event| matches!(event, UserEvent::Expiring(id) if *id == soon)).await;
}

/// The bank is put back to where nobody had a session: what says otherwise is not believed.
#[tokio::test]
async fn a_session_that_was_never_opened_is_not_believed() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let custody = MemoryCustody::new();
    let client = client(&sandbox, &custody);
    let user = ready(&client).await;
    let state = sandbox.saved_state().unwrap();
    client.users().activate(user).await.unwrap();
    let port = sandbox.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap();
    drop(sandbox);
    let sandbox = loop {
        match Sandbox::builder().saved_state(state.clone()).port(port).start().await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            started => break started.unwrap(),
        }
    };
    let client = self::client(&sandbox, &custody);
    client.users().activate(user).await.unwrap().api().list_credentials().await.unwrap();
    assert_eq!(statuses(&sandbox, user), "ACTIVE");
}
