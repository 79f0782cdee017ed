//! Verbs whose request may have been carried out.

use std::time::Duration;

use bunq_partner::{Acceptance, Client, Error, ErrorKind, NewProvision, Operation, Provision, ProvisionStatus};
use bunq_partner_sandbox::{DeadToken, Fault, Injection, Pace, Sandbox};
use futures_util::future::join_all;

use crate::common::{at_once, calls, person};

/// A bunq that creates another provision for each request with the same `external_uuid`.
async fn without_deduplication() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).late_arrival(Duration::ZERO).build().unwrap();
    (sandbox, client)
}

/// Creates a user, and waits until it is ready.
async fn created(client: &Client, new: NewProvision) -> Result<Provision, Error> {
    client.provisions().create(new).await?.await
}

#[tokio::test(start_paused = true)]
async fn what_was_created_is_found_before_it_is_created_again() {
    test_timeout::start();
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

#[tokio::test(start_paused = true)]
async fn a_second_user_does_not_go_unnoticed() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new = person();
    // The effect of the first request becomes visible only after the check.
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION));
    let mut is_early = true;
    sandbox.before_signing(move |call, response| {
        if call.method == "GET" && std::mem::take(&mut is_early) {
            let links = r#"{"future_url":null,"newer_url":null,"older_url":null}"#;
            response.body = format!(r#"{{"Response":[],"Pagination":{links}}}"#).into();
        }
    });
    let error = created(&client, new.clone()).await.unwrap_err();
    let ids = sandbox.provision_ids();
    assert_eq!((error.kind(), ids.len()), (ErrorKind::Duplicate, 2));
    assert!(ids.iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
    assert!(!error.is_doubtful());
    let error = client.provisions().find(new.external_uuid).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);

    // The error's advice works.
    client.provisions().close(ids[1]).await.unwrap().wait().await.unwrap();
    assert_eq!(client.provisions().find(new.external_uuid).await.unwrap().unwrap().id, ids[0]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_behind_does_not_hide_a_second_user() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION));
    let mut looks = 0;
    // The first check finds none, the second finds only the first user.
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
    let error = created(&client, person()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert!(sandbox.provision_ids().iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_check_has_time_of_its_own() {
    test_timeout::start();
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

#[tokio::test(start_paused = true)]
async fn a_creation_with_a_dead_session_is_checked() {
    test_timeout::start();
    for manner in [DeadToken::Unauthorized, DeadToken::InsufficientAuthentication, DeadToken::InsufficientAuthorisation]
    {
        let sandbox = Sandbox::builder().deduplicate(false).dead_token(manner).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        client.open_session().await.unwrap();
        sandbox.end_sessions();
        let created = client.provisions().create(person()).await.unwrap();
        assert_eq!((created.acceptance(), sandbox.provision_ids().len()), (Acceptance::Accepted, 1));
        assert_eq!(calls(&sandbox, "POST", "/partner-user-provision").len(), 2);
    }
}

/// bunq's signature covers the body, but not the status.
#[tokio::test(start_paused = true)]
async fn a_success_that_is_made_a_refusal_on_its_way_does_not_create_twice() {
    test_timeout::start();
    for status in [400, 401, 403, 404, 408, 429, 491, 500, 503] {
        for signed in [false, true] {
            let sandbox = Sandbox::builder().deduplicate(false).signed_refusals(signed).start().await.unwrap();
            let client = sandbox.client().retry(at_once()).build().unwrap();
            sandbox.inject(Injection::new(Fault::Relabelled(status)).on(&Operation::CREATE_PROVISION));
            let created = client.provisions().create(person()).await.unwrap();
            assert_eq!(sandbox.provision_ids(), [created.id()], "{status}");
            assert_eq!(created.acceptance(), Acceptance::Found);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_not_repeated_in_doubt() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let id = sandbox.populate(1)[0];
    let resets = |sandbox: &Sandbox| calls(sandbox, "PUT", &id.to_string()).len();
    // It is unknown whether the request arrives.
    sandbox.inject(Injection::new(Fault::Drop).carried_out(false).on(&Operation::UPDATE_PROVISION));
    let error = client.provisions().reset_token(id).await.map(drop).unwrap_err();
    assert!(error.is_doubtful() && resets(&sandbox) == 1, "{error}");
    // bunq itself has refused the request, and no reset is in progress.
    for fault in [Fault::Status(491), Fault::RetryAfter(Duration::ZERO), Fault::SessionLost] {
        let before = resets(&sandbox);
        sandbox.inject(Injection::new(fault).on(&Operation::UPDATE_PROVISION));
        let reset = client.provisions().reset_token(id).await.unwrap();
        assert_eq!((reset.acceptance(), resets(&sandbox)), (Acceptance::Accepted, before + 2), "{fault:?}");
        assert!(reset.await.unwrap().fresh_credential().is_some());
    }
    // bunq has carried out the request, whatever the response says.
    for fault in [Fault::Relabelled(491), Fault::Relabelled(401), Fault::Drop] {
        let before = resets(&sandbox);
        sandbox.inject(Injection::new(fault).on(&Operation::UPDATE_PROVISION));
        let reset = client.provisions().reset_token(id).await.unwrap();
        assert_eq!((reset.acceptance(), resets(&sandbox)), (Acceptance::Found, before + 1), "{fault:?}");
        assert!(reset.await.unwrap().fresh_credential().is_some());
    }
}

/// The first request arrives while the client searches for its user.
#[tokio::test(start_paused = true)]
async fn a_late_arrival_is_awaited() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let late_arrival = Duration::from_secs(2);
    let client = sandbox.client().retry(at_once()).late_arrival(late_arrival).build().unwrap();
    sandbox.inject(Injection::new(Fault::LateArrival(late_arrival / 5)).on(&Operation::CREATE_PROVISION));
    let created = client.provisions().create(person()).await.unwrap();
    assert_eq!(
        (created.acceptance(), calls(&sandbox, "POST", "/partner-user-provision").len()),
        (Acceptance::Found, 1)
    );
    assert_eq!(sandbox.provision_ids(), [created.id()]);
}

/// The first request arrives after the second.
#[tokio::test(start_paused = true)]
async fn a_later_arrival_is_found_before_the_user_is_ready() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).late_arrival(Duration::ZERO).build().unwrap();
    sandbox.inject(Injection::new(Fault::LateArrival(Duration::from_millis(300))).on(&Operation::CREATE_PROVISION));
    let created = client.provisions().create(person()).await.unwrap();
    assert_eq!(created.acceptance(), Acceptance::Accepted);
    while sandbox.provision_ids().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while sandbox.advance(created.id()) {}
    let error = created.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert!(sandbox.provision_ids().iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_page_shows_twice_is_one() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let new = person();
    let id = created(&client, new.clone()).await.unwrap().id;
    sandbox.inject(Injection::new(Fault::RepeatedItems).always());
    assert_eq!(client.provisions().find(new.external_uuid).await.unwrap().unwrap().id, id);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_leads_back_ends() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let new = person();
    created(&client, new.clone()).await.unwrap();
    sandbox.before_signing(|_, response| {
        let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        if let Some(links) = body.get_mut("Pagination") {
            links["older_url"] = "/v1/partner-user-provision?older_id=4711".into();
            response.body = body.to_string().into();
        }
    });
    let error = client.provisions().find(new.external_uuid).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(error.to_string().contains("go in a circle: from"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_user_is_not_created_over_one_that_is_closed_or_failed() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let provisions = client.provisions();
    for is_closed in [true, false] {
        let new = person();
        let id = created(&client, new.clone()).await.unwrap().id;
        if is_closed {
            provisions.close(id).await.unwrap().await.unwrap();
        } else {
            assert!(sandbox.fail(id));
        }
        for error in [
            provisions.create(new.clone()).await.map(drop).unwrap_err(),
            provisions.ensure(new).await.map(drop).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.is_doubtful()), (ErrorKind::Unattainable, false), "{error}");
            assert!(error.last_seen::<Provision>().is_some_and(|seen| seen.id == id), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_that_may_exist_is_found_or_created() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new = person();
    let first = client.provisions().ensure(new.clone()).await.unwrap();
    let again = client.provisions().ensure(new).await.unwrap();
    assert_eq!([first.acceptance(), again.acceptance()], [Acceptance::Accepted, Acceptance::Already]);
    assert_eq!(sandbox.provision_ids(), [first.id()]);
    assert_eq!(again.await.unwrap().status, ProvisionStatus::Created);
    let error = client.provisions().operation_timeout(Duration::ZERO).ensure(person()).await.map(drop).unwrap_err();
    assert!(!error.is_doubtful() && sandbox.provision_ids().len() == 1);
}

/// A bare `Id` does not show what was created. The first read does.
#[tokio::test(start_paused = true)]
async fn the_response_to_another_creation_is_found_out() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    client.provisions().create(person()).await.unwrap().await.unwrap();
    sandbox.inject(Injection::new(Fault::Replayed).on(&Operation::CREATE_PROVISION));
    let new = person();
    let error = created(&client, new.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_doubtful()), (ErrorKind::InvalidResponse, true), "{error}");
    assert!(error.to_string().contains(&new.external_uuid.to_string()), "{error}");
    // The error's advice works.
    assert!(client.provisions().find(new.external_uuid).await.unwrap().is_some());
}

/// Responses arrive late, on connections that other calls use by then.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_takes_the_response_to_another() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    client.open_session().await.unwrap();
    for operation in [&Operation::CREATE_PROVISION, &Operation::LIST_PROVISIONS, &Operation::GET_PROVISION] {
        sandbox.inject(Injection::new(Fault::Crossed).on(operation).after(1).times(40));
    }
    let creations = (0..100).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let new = person();
            let seen = created(&client, new.clone()).await.unwrap();
            assert_eq!(seen.external_uuid, Some(new.external_uuid));
        })
    });
    join_all(creations).await.into_iter().for_each(|created| created.unwrap());
    assert_eq!(sandbox.provision_ids().len(), 100);
}

/// The request of an earlier `create` in doubt arrives after the request of `ensure`.
#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_after_another_verbs_is_found_too() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().retry(crate::common::once()).build().unwrap();
    let late = Fault::LateArrival(Duration::from_millis(300));
    sandbox.inject(Injection::new(late).on(&Operation::CREATE_PROVISION));
    let new = person();
    assert!(client.provisions().create(new.clone()).await.map(drop).unwrap_err().is_doubtful());
    let ensured = client.provisions().ensure(new).await.unwrap();
    while sandbox.provision_ids().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while sandbox.advance(ensured.id()) {}
    assert_eq!(ensured.await.unwrap_err().kind(), ErrorKind::Duplicate);
}

/// A closed provision from earlier says nothing about the request in doubt.
#[tokio::test(start_paused = true)]
async fn a_closed_provision_does_not_end_a_doubt() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new = person();
    let id = created(&client, new.clone()).await.unwrap().id;
    client.provisions().close(id).await.unwrap().await.unwrap();
    sandbox.inject(Injection::new(Fault::Drop).carried_out(false).on(&Operation::CREATE_PROVISION).always());
    let error = client.provisions().create(new).await.map(drop).unwrap_err();
    assert!(error.is_doubtful(), "{error}");
}
