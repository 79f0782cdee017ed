//! The credentials of users are replaced: when, how often, and what a wrong clock changes about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::jiff::{Span, Timestamp};
use bunq_partner::{
    Client, Custody as _, CustodyEntry, ErrorKind, MemoryCustody, Operation, ProvisionId, Remedy, Sent,
};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Sandbox};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::common::{at_once, calls, resealed, unsealed};

const MINUTE: Duration = Duration::from_secs(60);

/// A client for whom a session can be opened once in this time.
fn slow(sandbox: &Sandbox, custody: &MemoryCustody, interval: Duration) -> Client {
    let limited = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, interval);
    limited.retry(at_once()).custody(custody.clone()).build().unwrap()
}

fn quick(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap()
}

fn resets(sandbox: &Sandbox) -> usize {
    calls(sandbox, "PUT", "").len()
}

/// A time in bunq's form, so many minutes from now.
fn in_minutes(minutes: i64) -> Value {
    let time = Timestamp::now() + Span::new().minutes(minutes);
    json!(time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string())
}

/// Edits the credential that bunq shows, until it is replaced.
fn show_first(sandbox: &Sandbox, edit: impl Fn(&mut Value) + Send + 'static) {
    let is_reset = Arc::new(AtomicBool::default());
    sandbox.before_signing(move |call: &CallLogEntry, response| {
        if call.method == "PUT" {
            is_reset.store(true, Ordering::Relaxed);
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
        let Some(items) = body["Response"].as_array_mut().filter(|_| !is_reset.load(Ordering::Relaxed)) else { return };
        for item in items {
            if item["PartnerUserProvision"]["credential"].is_object() {
                edit(&mut item["PartnerUserProvision"]["credential"]);
            }
        }
        response.body = body.to_string().into();
    });
}

#[tokio::test]
async fn of_resets_at_once_one_is_sent() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    // Each has its own locks: what they share is the custody.
    let clients = [quick(&sandbox, &custody), quick(&sandbox, &custody)];
    clients[0].users().activate(id).await.unwrap();
    for expected in 1..=2 {
        let users = clients.iter().chain(&clients).map(Client::users);
        for reset in join_all(users.map(|users| async move { users.reset(id).await })).await {
            reset.unwrap().api().list_credentials().await.unwrap();
        }
        assert_eq!(resets(&sandbox), expected);
    }
}

/// The session of the first one waits for its turn.
#[tokio::test(start_paused = true)]
async fn a_reset_joins_one_whose_session_is_being_opened() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    quick(&sandbox, &custody).users().activate(id).await.unwrap();
    let client = slow(&sandbox, &custody, 30 * MINUTE);
    client.open_session().await.unwrap();
    let (first, second) = (client.users(), client.users());
    let mut first = Box::pin(first.reset(id));
    timeout(MINUTE, &mut first).await.unwrap_err();
    assert_eq!((resets(&sandbox), client.users().unactivated().await.unwrap().count), (1, 1));
    let (first, second) = tokio::join!(first, second.reset(id));
    first.unwrap().api().list_credentials().await.unwrap();
    second.unwrap().api().list_credentials().await.unwrap();
    assert_eq!(resets(&sandbox), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_does_not_wait_behind_a_renewal() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    quick(&sandbox, &custody).users().activate(id).await.unwrap();
    quick(&sandbox, &custody).users().of(id).end_session().await.unwrap();
    let client = slow(&sandbox, &custody, 30 * MINUTE);
    client.open_session().await.unwrap();
    let (users, began) = (client.users(), Instant::now());
    let renewal = users.activate(id);
    let reset = async {
        // The renewal waits for its turn by then.
        tokio::time::sleep(MINUTE).await;
        let mut reset = Box::pin(users.reset(id));
        timeout(MINUTE, &mut reset).await.unwrap_err();
        assert_eq!(resets(&sandbox), 1);
        reset.await.unwrap().api().list_credentials().await.unwrap();
    };
    let renewal = async {
        let error = renewal.await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::CredentialSpent, Sent::No), "{error}");
        assert!(began.elapsed() < 2 * MINUTE, "{:?}", began.elapsed());
    };
    tokio::join!(renewal, reset);
}

/// One that cannot be opened in time is replaced, and not refused for ever.
#[tokio::test(start_paused = true)]
async fn an_unused_credential_is_replaced_if_it_cannot_be_in_time() {
    test_timeout::start();
    for (interval, is_in_time) in [(5, true), (50, false)] {
        let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
        let id = sandbox.populate(1)[0];
        show_first(&sandbox, |credential| credential["expiry_time"] = in_minutes(10));
        let client = slow(&sandbox, &custody, interval * MINUTE);
        client.open_session().await.unwrap();
        let users = client.users();
        if !is_in_time {
            let error = users.activate(id).await.unwrap_err();
            assert_eq!((error.kind(), error.remedy()), (ErrorKind::RateLimited, Some(Remedy::ResetToken)), "{error}");
        }
        users.reset(id).await.unwrap().api().list_credentials().await.unwrap();
        assert_eq!(resets(&sandbox), usize::from(!is_in_time), "{interval}");
    }
    // Another could not be in time either.
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let client = slow(&sandbox, &custody, 70 * MINUTE);
    client.open_session().await.unwrap();
    let error = client.users().reset(sandbox.populate(1)[0]).await.unwrap_err();
    assert_eq!((error.kind(), resets(&sandbox)), (ErrorKind::RateLimited, 0), "{error}");
}

/// What bunq shows as unused is used. If that cannot be in time, the clock may be the reason, and no reset helps.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_costs_no_credential() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let [activated, reset, called, late]: [ProvisionId; 4] = sandbox.populate(4).try_into().unwrap();
    show_first(&sandbox, |credential| credential["expiry_time"] = in_minutes(-30));
    let users = quick(&sandbox, &custody).users();
    users.activate(activated).await.unwrap().api().list_credentials().await.unwrap();
    users.reset(reset).await.unwrap().api().list_credentials().await.unwrap();

    // Stored, not used, and called two hours later.
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).always());
    for id in [called, late] {
        users.activate(id).await.unwrap_err();
        let text = custody.load(id).await.unwrap().unwrap();
        let mut record = unsealed(text.expose(), &sandbox.api_key());
        (record["stored_at"], record["expiry"]) = (in_minutes(-120), in_minutes(-60));
        let text = resealed(text.expose(), &record, &sandbox.api_key());
        let lock = custody.lock(id).await.unwrap();
        custody.save(&lock, CustodyEntry::new(id), text.into()).await.unwrap();
    }
    sandbox.clear_injections();
    sandbox.take_call_log();
    quick(&sandbox, &custody).users().of(called).api().list_credentials().await.unwrap();
    assert_eq!(calls(&sandbox, "GET", &format!("/{called}")).len(), 1);
    let client = slow(&sandbox, &custody, 50 * MINUTE);
    client.open_session().await.unwrap();
    let users = client.users();
    for error in [
        users.activate(late).await.unwrap_err(),
        users.of(late).api().list_credentials().await.map(drop).unwrap_err(),
        users.reset(late).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
        assert!(error.to_string().contains("set the clock right if it is ahead"), "{error}");
    }
    assert_eq!(resets(&sandbox), 0);
}

/// bunq may show a credential as unused that has expired, and refuses it.
#[tokio::test]
async fn a_credential_that_bunq_refuses_is_replaced_once() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    assert!(sandbox.expire_credential(id));
    show_first(&sandbox, |credential| credential["status"] = json!("PENDING_FIRST_USE"));
    let users = quick(&sandbox, &custody).users();
    let error = users.activate(id).await.unwrap_err();
    assert!(error.to_string().contains("set the clock right if it is ahead"), "{error}");
    assert_eq!((error.remedy(), resets(&sandbox)), (Some(Remedy::ResetTokenOrSetInstallation), 0));
    users.reset(id).await.unwrap().api().list_credentials().await.unwrap();
    assert_eq!(resets(&sandbox), 1);
}

#[tokio::test]
async fn a_clock_that_is_behind_is_named() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    assert!(sandbox.expire_credential(id));
    show_first(&sandbox, |credential| credential["expiry_time"] = in_minutes(30));
    let error = quick(&sandbox, &custody).users().activate(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialSpent, "{error}");
    assert!(error.to_string().contains("this machine's clock is behind"), "{error}");
}

/// Two clients share a custody, and one of them has reset the user since the other has opened its session.
#[tokio::test]
async fn a_client_goes_on_with_the_token_that_another_has_stored() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    let (client, other) = (quick(&sandbox, &custody), quick(&sandbox, &custody));
    let user = client.users().activate(id).await.unwrap();
    let reset = async || _ = other.users().reset(id).await.unwrap();
    reset().await;
    user.api().list_credentials().await.unwrap();
    reset().await;
    assert!(user.context().await.unwrap().is_some());
    user.api().list_credentials().await.unwrap();
    reset().await;
    user.end_session().await.unwrap();
    reset().await;
    user.open_session().await.unwrap();
    user.api().list_credentials().await.unwrap();
    user.end_session().await.unwrap();
    reset().await;
    client.users().activate(id).await.unwrap().api().list_credentials().await.unwrap();
}

/// bunq opens the session of the new credential, and no answer to that is seen.
#[tokio::test(start_paused = true)]
async fn a_reset_goes_on_with_a_credential_whose_session_is_in_doubt() {
    test_timeout::start();
    let (sandbox, custody) = (Sandbox::start().await.unwrap(), MemoryCustody::new());
    let id = sandbox.populate(1)[0];
    let client = quick(&sandbox, &custody);
    client.users().activate(id).await.unwrap();
    let unseen = Injection::new(Fault::Status(500)).carried_out(true);
    sandbox.inject(unseen.on(&Operation::CREATE_SESSION).always());
    client.users().reset(id).await.unwrap_err();
    sandbox.clear_injections();
    assert_eq!(sandbox.provision(id).unwrap()["credential"]["status"], "ACTIVE");
    let restarted = quick(&sandbox, &custody);
    restarted.users().reset(id).await.unwrap().api().list_credentials().await.unwrap();
    assert_eq!(resets(&sandbox), 1);
}
