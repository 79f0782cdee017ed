//! The sessions of users that are to be opened again: those of others, those that bunq still accepts, and those that it refuses.

use std::time::Duration;

use bunq_partner::{Client, ErrorKind, MemoryCustody, Operation, ProvisionId, Remedy, Sent};
use bunq_partner_sandbox::{DeadToken, Fault, Injection, Sandbox};
use tokio::sync::oneshot;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::common::{EndingCustody, at_once, calls};

const MINUTE: Duration = Duration::from_secs(60);

/// A client whose own session is open.
async fn client(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    let client = sandbox.client().retry(at_once()).custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    client
}

/// The same, with one session in ten minutes.
async fn limited(sandbox: &Sandbox, custody: &MemoryCustody) -> Client {
    let limited = sandbox.client().retry(at_once()).rate_limit(&Operation::CREATE_SESSION, 1, 10 * MINUTE);
    let client = limited.custody(custody.clone()).build().unwrap();
    client.open_session().await.unwrap();
    client
}

async fn start() -> (Sandbox, MemoryCustody, ProvisionId) {
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    (sandbox, MemoryCustody::new(), id)
}

fn sessions(sandbox: &Sandbox) -> usize {
    calls(sandbox, "POST", "/session-server").len()
}

/// A client that has read the custody before another client has activated the user.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_taken_over_is_renewed_when_the_credential_would_have_expired() {
    test_timeout::start();
    let (sandbox, custody, id) = start().await;
    let [first, second] = [client(&sandbox, &custody).await, client(&sandbox, &custody).await];
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_DEVICE_SERVER).times(1));
    first.users().activate(id).await.unwrap_err();
    let user = second.users().of(id);
    assert!(!user.context().await.unwrap().unwrap().has_session);
    first.users().activate(id).await.unwrap();
    let before = sessions(&sandbox);
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox), before, "it is taken over");
    advance(120 * MINUTE).await;
    assert_eq!(sandbox.end_sessions_of(id), 1);
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox), before + 1);
}

/// The clock may have been set ahead, or many sessions are over at the same time.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_by_the_clock_alone_is_used_until_another_has_its_turn() {
    test_timeout::start();
    let (sandbox, custody, id) = start().await;
    let client = limited(&sandbox, &custody).await;
    sandbox.before_signing(|call, response| {
        if call.path.ends_with("/session-server") {
            let body = String::from_utf8(response.body.clone()).unwrap();
            response.body = body.replace("\"session_timeout\":604800", "\"session_timeout\":0").into();
        }
    });
    let user = client.users().activate(id).await.unwrap();
    assert_eq!(sessions(&sandbox), 2);
    for _ in 0..3 {
        user.api().list_credentials().await.unwrap();
    }
    assert_eq!(sessions(&sandbox), 2, "there was no turn for another");
    // bunq decides.
    assert_eq!(sandbox.end_sessions_of(id), 1);
    for _ in 0..2 {
        sandbox.take_call_log();
        let error = user.api().list_credentials().await.unwrap_err();
        assert_eq!((error.kind(), error.remedy()), (ErrorKind::RateLimited, None), "{error}");
        assert!(calls(&sandbox, "POST", "").is_empty());
    }
    assert!(sandbox.call_log().is_empty(), "what bunq has refused is not sent again");
    advance(10 * MINUTE).await;
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox), 1);
}

/// Whoever calls such a user again and again takes no turn from others.
#[tokio::test(start_paused = true)]
async fn a_credential_that_bunq_has_refused_is_not_tried_again_for_a_time() {
    test_timeout::start();
    let (sandbox, custody, id) = start().await;
    let client = client(&sandbox, &custody).await;
    let user = client.users().activate(id).await.unwrap();
    // Its token is replaced elsewhere.
    let elsewhere = self::client(&sandbox, &MemoryCustody::new()).await;
    elsewhere.users().reset(id).await.unwrap();
    for _ in 0..2 {
        sandbox.take_call_log();
        for _ in 0..5 {
            let error = user.api().list_credentials().await.unwrap_err();
            assert_eq!((error.kind(), error.sent()), (ErrorKind::Unauthorized, Sent::No), "{error}");
            assert_eq!(error.remedy(), Some(Remedy::ResetTokenOrSetInstallation), "{error}");
        }
        assert_eq!(sessions(&sandbox), 1);
        let error = user.open_session().await.unwrap_err().to_string();
        assert!(error.contains("ago, and is asked again after"), "{error}");
        advance(10 * MINUTE).await;
    }
    // Another credential is another matter.
    user.open_session().await.unwrap_err();
    client.users().reset(id).await.unwrap();
    user.api().list_credentials().await.unwrap();
}

/// Another session would have to wait for its turn.
#[tokio::test]
async fn a_call_that_a_user_may_not_make_costs_no_session() {
    test_timeout::start();
    let sandbox = Sandbox::builder().dead_token(DeadToken::InsufficientAuthorisation).start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let client = client(&sandbox, &MemoryCustody::new()).await;
    let user = client.users().activate(id).await.unwrap();
    sandbox.inject(Injection::new(Fault::Forbidden).on(&Operation::LIST_CREDENTIALS).times(2));
    let before = sessions(&sandbox);
    for _ in 0..2 {
        let error = user.api().list_credentials().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(error.to_string().contains("bunq accepts the session in another call"), "{error}");
    }
    assert_eq!(sessions(&sandbox), before);
    // One that is over is replaced.
    assert_eq!(sandbox.end_sessions_of(id), 1);
    user.api().list_credentials().await.unwrap();
    assert_eq!(sessions(&sandbox), before + 1);
}

/// The custody of a client, and what is told when nobody has it any more.
fn watched(custody: &MemoryCustody) -> (EndingCustody<MemoryCustody>, oneshot::Receiver<()>) {
    let (kept, is_dropped) = oneshot::channel();
    let before_write = move || {
        let _kept = &kept;
        Ok(())
    };
    (EndingCustody::new(custody.clone(), before_write), is_dropped)
}

/// The openings that wait for their turns end with the last who acts for users, so that the next client has the custody.
#[tokio::test(start_paused = true)]
async fn openings_end_with_the_last_who_acts_for_users() {
    test_timeout::start();
    let (sandbox, custody, first) = start().await;
    let second = sandbox.populate(1)[0];
    for (id, is_user_kept) in [(first, true), (second, false)] {
        let (watched, is_dropped) = watched(&custody);
        let limited = sandbox.client().retry(at_once()).rate_limit(&Operation::CREATE_SESSION, 1, 10 * MINUTE);
        let client = limited.custody(watched).build().unwrap();
        client.open_session().await.unwrap();
        let began = Instant::now();
        // Nobody waits for it any more, and it goes on.
        timeout(MINUTE, client.users().activate(id)).await.unwrap_err();
        let user = is_user_kept.then(|| client.users().of(id).api());
        drop(client);
        if let Some(user) = user {
            sleep(10 * MINUTE).await;
            user.list_credentials().await.unwrap();
        }
        is_dropped.await.unwrap_err();
        assert_eq!(began.elapsed() >= 10 * MINUTE, is_user_kept);
    }
    let next = client(&sandbox, &custody).await;
    next.users().activate(second).await.unwrap().api().list_credentials().await.unwrap();
}
