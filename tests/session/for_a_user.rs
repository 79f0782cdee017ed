//! A provision's credential opens a client of its own, which acts for the user.

use std::time::Duration;

use bunq_partner::{Client, Credential, ErrorKind, Operation, RetryPolicy, Sent};
use bunq_partner_sandbox::{Pace, Sandbox};

use crate::common::{calls, quick, ready, start};

async fn credential(client: &Client) -> Credential {
    let id = ready(client).await;
    client.provisions().get(id).await.unwrap().credential.unwrap()
}

#[tokio::test]
async fn the_first_session_uses_the_credential_up() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let id = ready(&client).await;
    let credential = client.provisions().get(id).await.unwrap().credential.unwrap();
    let user = client.for_user(&credential).unwrap().build().unwrap();

    user.open_session().await.unwrap();

    let used = client.provisions().get(id).await.unwrap().credential.unwrap();
    assert_eq!(used.token_value, None);
    let error = client.for_user(&used).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::CredentialSpent, Sent::No));
    assert_eq!(
        error.to_string(),
        "the credential has been used, and its token is not shown: get another with `reset_token`"
    );
}

#[tokio::test]
async fn an_expired_credential_is_an_error_and_can_be_reset() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    assert!(sandbox.expire_credential(id));
    let expired = client.provisions().get(id).await.unwrap().credential.unwrap();
    let error = client.for_user(&expired).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialSpent);
    assert!(error.to_string().contains("has expired unused"), "{error}");

    let reset = quick(client.provisions().reset_token(id).await.unwrap()).wait().await.unwrap();
    let user = client.for_user(reset.fresh_credential().unwrap()).unwrap().build().unwrap();
    user.open_session().await.unwrap();
}

#[tokio::test]
async fn a_credential_past_its_expiry_is_not_sent() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let mut credential = credential(&client).await;
    credential.expiry_time = Some("2020-01-01 00:00:00.000000".parse().unwrap());
    let before = sandbox.call_log().len();
    assert_eq!(client.for_user(&credential).map(drop).unwrap_err().kind(), ErrorKind::CredentialSpent);
    assert_eq!(sandbox.call_log().len(), before);
}

#[tokio::test]
async fn a_stored_token_opens_the_client_again() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let credential = credential(&client).await;
    let token = credential.token_value.clone().unwrap();
    let store = crate::common::MemoryStore::default();
    for _ in 0..2 {
        let user = client.for_user_token(token.clone()).context_store(store.clone()).build().unwrap();
        user.api().get_installation().await.unwrap();
    }
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 2, "one for the partner, one for the user");
}

#[tokio::test(start_paused = true)]
async fn partner_and_users_share_the_rate_limit_for_sessions() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::EachRead).start().await.unwrap();
    // One session per hour, and no time to wait for a second one.
    let partner = sandbox
        .client()
        .rate_limit(&Operation::CREATE_SESSION, 1, Duration::from_secs(3600))
        .operation_timeout(Duration::from_secs(5))
        .retry(RetryPolicy::default().max_attempts(1))
        .build()
        .unwrap();
    let created = partner.provisions().create(crate::common::person()).await.unwrap();
    assert!(sandbox.advance(created.id()) && sandbox.advance(created.id()) && sandbox.advance(created.id()));
    let shown = sandbox.provision(created.id()).unwrap();
    let credential: Credential = serde_json::from_value(shown["credential"].clone()).unwrap();

    let user = partner.for_user(&credential).unwrap().build().unwrap();
    let error = user.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No));
    assert_eq!(error.operation().unwrap().id, "create_session");
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_credential_that_somebody_else_has_used_ends_the_wait_for_it() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let id = sandbox.populate(1)[0];
    let resetting = client.provisions().reset_token(id).await.unwrap();
    assert!(sandbox.advance(id));
    let credential = client.provisions().get(id).await.unwrap().credential.unwrap();
    client.for_user(&credential).unwrap().build().unwrap().open_session().await.unwrap();
    let error = quick(resetting).timeout(Duration::from_secs(5)).wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable);
    assert!(error.to_string().contains("in use already"), "{error}");
}
