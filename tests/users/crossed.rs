//! Two users whose responses are crossed on the connections that they share.

use bunq_partner::{Client, Error, ErrorKind, MemoryCustody, UserClient};
use bunq_partner_sandbox::{Sandbox, SeedProvision};
use futures_util::future::join;

use crate::common::once;

const ECHO: &str = "X-Bunq-Client-Request-Id";

const SEED: &str = r#"{"status": "ACTIVE", "user": {
    "onboardings": [{}], "inquiries": [{"entries": [{"type": "USER_PERSON_SOURCE_OF_INCOME"}]}]
}}"#;

async fn two_users() -> (Sandbox, Client, [UserClient; 2]) {
    let seed: SeedProvision = serde_json::from_str(SEED).unwrap();
    let sandbox = Sandbox::builder().seed([seed.clone(), seed]).start().await.unwrap();
    let client = sandbox.client().retry(once()).custody(MemoryCustody::new()).build().unwrap();
    let [first, second] = sandbox.provision_ids().try_into().unwrap();
    let users = [client.users().activate(first).await.unwrap(), client.users().activate(second).await.unwrap()];
    (sandbox, client, users)
}

/// Each call gets the response to the one before it.
fn cross(sandbox: &Sandbox, has_echo: bool) {
    let mut last = None;
    sandbox.after_signing(move |_, response| {
        let own = response.clone();
        if let Some(last) = last.replace(own) {
            *response = last;
        }
        if !has_echo {
            response.headers.retain(|(name, _)| name != ECHO);
        }
    });
}

/// The ids of what a user has.
async fn seen(user: &UserClient) -> [Result<u64, Error>; 3] {
    let onboarding = user.onboarding().find().await.map(|found| found.unwrap().id.get());
    let inquiries = user.inquiries().list().page().await.map(|page| page.items[0].id.get());
    let credentials = user.api().list_credentials().await.map(|found| found.into_inner()[0].id.get());
    [onboarding, inquiries, credentials]
}

#[tokio::test]
async fn no_user_sees_what_is_another_users() {
    test_timeout::start();
    let (sandbox, _client, users) = two_users().await;
    let own = [seen(&users[0]).await, seen(&users[1]).await].map(|seen| seen.map(Result::unwrap));
    assert!(own[0].iter().zip(&own[1]).all(|(first, second)| first != second), "{own:?}");
    for has_echo in [true, false] {
        cross(&sandbox, has_echo);
        let mut refused = 0;
        for _ in 0..4 {
            let (first, second) = join(seen(&users[0]), seen(&users[1])).await;
            for (seen, own) in first.into_iter().chain(second).zip(own.as_flattened()) {
                match seen {
                    Ok(seen) => assert_eq!(seen, *own),
                    Err(error) => {
                        assert!(error.to_string().contains(ECHO), "{error}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 12, "{refused}");
        sandbox.clear_edits();
    }
    let again = [seen(&users[0]).await, seen(&users[1]).await].map(|seen| seen.map(Result::unwrap));
    assert_eq!(again, own);
}

/// Whoever took the id of another's would go on with it, and keep it.
#[tokio::test]
async fn no_user_keeps_what_was_made_for_another() {
    test_timeout::start();
    for has_echo in [true, false] {
        let (sandbox, client, users) = two_users().await;
        cross(&sandbox, has_echo);
        // The first has no response before it.
        let _ = seen(&users[1]).await;
        for user in users.iter().cycle().take(4) {
            let error = user.identity().start().await.unwrap_err();
            assert!(error.is_doubtful(), "{error}");
        }
        sandbox.clear_edits();
        for user in &users {
            let again = client.users().of(user.provision_id()).identity();
            let error = again.start().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unattainable, "it is in doubt: {error}");
            assert!(again.start_another().await.unwrap().take_token().is_some());
        }
    }
}
