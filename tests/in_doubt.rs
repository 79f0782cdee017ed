//! Verbs whose request may have been carried out.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use bunq_partner::sandbox::{Fault, Injection, RawResponse, Sandbox};
use bunq_partner::{Acceptance, Client, ErrorKind, Operation};
use common::{at_once, calls, person};

/// A bunq that creates another provision for each request with the same `external_uuid`.
async fn without_deduplication() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).build().unwrap();
    (sandbox, client)
}

fn unsigned_401(response: &mut RawResponse) {
    response.status = 401;
    response.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("X-Bunq-Server-Signature"));
    response.body = br#"{"Error":[{"error_description":"The session has ended."}]}"#.to_vec();
}

#[tokio::test]
async fn what_was_created_is_found_before_it_is_created_again() {
    let (sandbox, client) = without_deduplication().await;
    let (new, provisions) = (person(), client.provisions());
    assert!(provisions.find(new.external_uuid).await.unwrap().is_none());
    // Both the response and the check fail.
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION));
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::LIST_PROVISIONS));
    assert!(provisions.create(new.clone()).await.unwrap_err().is_doubtful());
    let found = provisions.find(new.external_uuid).await.unwrap().unwrap();
    assert_eq!(sandbox.provision_ids(), [found.id]);
}

#[tokio::test]
async fn a_second_user_does_not_go_unnoticed() {
    let (sandbox, client) = without_deduplication().await;
    let new = person();
    // The effect of the first request is visible only after the check.
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION));
    let mut is_early = true;
    sandbox.before_signing(move |call, response| {
        if call.method == "GET" && std::mem::take(&mut is_early) {
            let links = r#"{"future_url":null,"newer_url":null,"older_url":null}"#;
            response.body = format!(r#"{{"Response":[],"Pagination":{links}}}"#).into();
        }
    });
    let error = client.provisions().create(new.clone()).await.map(drop).unwrap_err();
    let ids = sandbox.provision_ids();
    assert_eq!((error.kind(), ids.len()), (ErrorKind::Duplicate, 2));
    assert!(ids.iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
    assert!(!error.is_doubtful());
    let error = client.provisions().find(new.external_uuid).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);

    // The advice in the error works.
    client.provisions().close(ids[1]).await.unwrap().wait().await.unwrap();
    assert_eq!(client.provisions().find(new.external_uuid).await.unwrap().unwrap().id, ids[0]);
}

#[tokio::test]
async fn a_list_that_lags_behind_does_not_hide_a_second_user() {
    let (sandbox, client) = without_deduplication().await;
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION));
    let mut looks = 0;
    // The first check finds none, the second finds the first alone.
    sandbox.before_signing(move |call, response| {
        if call.method == "GET" {
            let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            let items = body["Response"].as_array_mut().unwrap();
            items.reverse();
            items.truncate(looks);
            looks += 1;
            response.body = body.to_string().into();
        }
    });
    let error = client.provisions().create(person()).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert!(sandbox.provision_ids().iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
}

#[tokio::test]
async fn the_check_has_time_of_its_own() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().operation_timeout(Duration::from_secs(2)).build().unwrap();
    let late = Fault::Late(Duration::from_secs(60));
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(late).on(&Operation::CREATE_PROVISION));
    let created = client.provisions().create(person()).await.unwrap();
    sandbox.inject(Injection::new(late).on(&Operation::UPDATE_PROVISION));
    let closing = client.provisions().close(created.id()).await.unwrap();
    assert_eq!([created.acceptance(), closing.acceptance()], [Acceptance::Found; 2]);
}

#[tokio::test]
async fn an_unsigned_401_is_followed_by_a_signed_check() {
    let (sandbox, client) = without_deduplication().await;
    client.open_session().await.unwrap();
    sandbox.end_sessions();
    sandbox.after_signing(|_, response| {
        if response.status == 401 {
            unsigned_401(response);
        }
    });
    let created = client.provisions().create(person()).await.unwrap();
    assert_eq!((created.acceptance(), sandbox.provision_ids().len()), (Acceptance::Accepted, 1));
    assert_eq!(calls(&sandbox, "POST", "/partner-user-provision").len(), 2);
}

#[tokio::test]
async fn an_unsigned_401_does_not_create_twice() {
    let (sandbox, client) = without_deduplication().await;
    client.open_session().await.unwrap();
    let mut is_first = true;
    sandbox.after_signing(move |call, response| {
        if call.method == "POST" && call.path.ends_with("/partner-user-provision") && std::mem::take(&mut is_first) {
            unsigned_401(response);
        }
    });
    let created = client.provisions().create(person()).await;
    assert_eq!(calls(&sandbox, "POST", "/partner-user-provision").len(), 1);
    assert_eq!(sandbox.provision_ids(), [created.unwrap().id()]);
}
