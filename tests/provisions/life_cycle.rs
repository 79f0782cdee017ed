//! A provision from creation to its end, followed through the client.

use std::collections::BTreeSet;
use std::time::Duration;

use bunq_partner::{
    Acceptance, Cursor, ErrorKind, NewProvisionByPointer, PageSize, Provision, ProvisionStatus, Uuid, Waiter,
    WaitingFor,
};
use bunq_partner_sandbox::{CreationResponse, Pace, Sandbox};
use futures_util::TryStreamExt;
use insta::assert_snapshot;

use crate::common::{calls, id, person, quick, ready, start};

/// Follows a provision until its waiter ends. Returns a line for each change.
async fn followed(waiter: Waiter) -> String {
    let changes: Vec<Provision> = quick(waiter).changes().try_collect().await.unwrap();
    let lines = changes.iter().map(|seen| {
        let step = seen.sub_status.as_ref().unwrap();
        if let Some(belongs_to) = step.belongs_to() {
            assert_eq!(belongs_to, seen.status, "{step}");
        }
        let status = seen.credential.as_ref().and_then(|credential| credential.status.as_ref());
        let credential = status.map_or("no credential", |status| status.as_str());
        format!("{} {step}: waiting for {:?}, {credential}", seen.status, seen.waiting_for())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn created_reset_and_closed() {
    test_timeout::start();
    for creation_response in [CreationResponse::Id, CreationResponse::Provision] {
        let sandbox = Sandbox::builder().creation_response(creation_response).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        let provisions = client.provisions();

        let creating = provisions.create(person()).await.unwrap();
        let id = creating.id();
        assert_snapshot!("followed_until_ready", followed(creating).await);
        assert_snapshot!("followed_until_reset", followed(provisions.reset_token(id).await.unwrap()).await);
        assert_snapshot!("followed_until_closed", followed(provisions.close(id).await.unwrap()).await);
        assert_eq!(provisions.get(id).await.unwrap().waiting_for(), WaitingFor::Nobody);
    }
}

#[tokio::test]
async fn the_older_request_creates_too() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let new = NewProvisionByPointer::email(
        Uuid::new_v4(),
        "user@example.com".parse().unwrap(),
        "Example Person".parse().unwrap(),
    );
    let created = quick(client.provisions().create(new).await.unwrap()).wait().await.unwrap();
    assert!(created.fresh_credential().is_some());
}

#[tokio::test]
async fn a_reset_ends_with_a_new_credential() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let id = ready(&client).await;
    let old = client.provisions().get(id).await.unwrap().credential.unwrap();
    let reset = quick(client.provisions().reset_token(id).await.unwrap()).wait().await.unwrap();
    let new = reset.fresh_credential().unwrap();
    assert_ne!(new.id, old.id);
    assert_ne!(new.token_value, old.token_value);
}

#[tokio::test]
async fn the_moment_of_creation_is_told_by_the_bank() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let id = ready(&client).await;
    let seen = client.provisions().get(id).await.unwrap();
    let age = bunq_partner::jiff::Timestamp::now() - seen.created.unwrap().as_jiff();
    assert!(age.get_hours() == 0, "a zone was mistaken: {age}");
    assert!(seen.updated >= seen.created);
}

#[tokio::test]
async fn waiting_for_a_failed_provision_ends_at_once() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    let closing = client.provisions().close(id).await.unwrap();
    assert!(sandbox.fail(id));
    // The interval is longer than any test, so the first read ends the wait.
    let error = closing.poll_interval(Duration::from_secs(3600)).wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable);
    assert_eq!(error.last_seen::<Provision>().unwrap().status, ProvisionStatus::Failed);
    assert_eq!(
        error.to_string(),
        format!("provision {id} will not be closed: bunq has failed to process it (last seen as FAILED with NONE)")
    );
}

#[tokio::test]
async fn waiting_for_a_closed_provision_to_be_ready_says_why() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let provisions = client.provisions();
    let expired = ready(&client).await;
    assert!(sandbox.expire_credential(expired));
    let closed = ready(&client).await;
    quick(provisions.close(closed).await.unwrap()).wait().await.unwrap();

    for (id, reason) in [(expired, "expired unused; reset the token"), (closed, "it is being or has been closed")] {
        let error = quick(provisions.wait_until_ready(id)).wait().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unattainable);
        assert!(error.to_string().contains(reason), "{error}");
    }

    // The error's advice works.
    let reset = quick(provisions.reset_token(expired).await.unwrap()).wait().await.unwrap();
    assert!(reset.fresh_credential().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_timeout_shows_the_last_state() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let creating = client.provisions().create(person()).await.unwrap();
    let id = creating.id();
    // The interval is longer than the timeout: one read at the start, one at the end.
    let timeout = Duration::from_millis(500);
    let error = creating.poll_interval(Duration::from_secs(3600)).timeout(timeout).wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    assert_eq!(
        error.to_string(),
        format!("provision {id} is not ready after 500 ms (last seen as CREATED with PENDING_PROCESS_USER)")
    );
    assert_eq!(error.last_seen::<Provision>().unwrap().id, id);
    assert_eq!(calls(&sandbox, "GET", &id.to_string()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn time_can_drive_a_provision_too() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Every(Duration::from_millis(5))).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let id = ready(&client).await;
    let closed = quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    assert!(closed.is_closed());
}

#[tokio::test]
async fn a_value_that_bunq_adds_does_not_stop_a_wait() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let id = ready(&client).await;
    let closing = client.provisions().close(id).await.unwrap();
    let mut looks = 0;
    sandbox.before_signing(move |_, response| {
        looks += 1;
        if looks <= 2 {
            let body = String::from_utf8(response.body.clone()).unwrap();
            response.body =
                body.replace("\"CANCELLED\"", "\"WINDING_UP\"").replace("\"CLOSED\"", "\"WINDING_UP\"").into();
        }
    });
    let seen: Vec<_> = quick(closing).changes().try_collect().await.unwrap();
    assert_eq!(seen[0].status, ProvisionStatus::Unknown("WINDING_UP".into()));
    assert!(seen.last().unwrap().is_closed());
}

#[tokio::test]
async fn pages_hold_every_provision_once_newest_first() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let provisions = client.provisions();
    let mut created = Vec::new();
    for _ in 0..25 {
        created.push(provisions.create(person()).await.unwrap().id());
    }
    created.reverse();

    let list = provisions.list().count(PageSize::new(10).unwrap());
    let mut page = list.page().await.unwrap();
    let newest = page.items[0].id;
    let mut listed = Vec::new();
    loop {
        listed.extend(page.items.iter().map(|provision| provision.id));
        let Some(older) = page.older else { break };
        // A cursor can be stored as text.
        page = list.page_at(older.to_string().parse().unwrap()).await.unwrap();
    }
    assert_eq!(listed, created);

    let newer = list.page_at(Cursor::newer_than(*created.last().unwrap())).await.unwrap();
    assert_eq!(newer.items.len(), 10);
    let nothing_newer = list.page_at(Cursor::newer_than(newest)).await.unwrap();
    assert!(nothing_newer.items.is_empty());
}

#[tokio::test]
async fn a_list_can_be_narrowed() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let provisions = client.provisions();
    let ids: Vec<_> = [ready(&client).await, ready(&client).await, ready(&client).await].into();
    assert!(sandbox.fail(ids[0]));
    quick(provisions.close(ids[1]).await.unwrap()).wait().await.unwrap();

    let with = async |statuses: &[ProvisionStatus]| -> BTreeSet<_> {
        let page = provisions.list().status(statuses.to_vec()).page().await.unwrap();
        page.items.into_iter().map(|provision| provision.id).collect()
    };
    assert_eq!(with(&[ProvisionStatus::Failed]).await, [ids[0]].into());
    assert_eq!(with(&[ProvisionStatus::Failed, ProvisionStatus::Closed]).await, [ids[0], ids[1]].into());
    assert_eq!(with(&[]).await.len(), 3);

    let external_uuid = provisions.get(ids[2]).await.unwrap().external_uuid.unwrap();
    let found = provisions.list().external_uuid(external_uuid).page().await.unwrap();
    assert_eq!(found.items.iter().map(|provision| provision.id).collect::<Vec<_>>(), [ids[2]]);
    let not_found = provisions.list().external_uuid(Uuid::new_v4()).page().await.unwrap();
    assert!(not_found.items.is_empty() && not_found.older.is_none());
}

#[tokio::test]
async fn closing_twice_succeeds_and_says_so() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let provisions = client.provisions();
    let id = ready(&client).await;
    let closing = provisions.close(id).await.unwrap();
    assert_eq!(closing.acceptance(), Acceptance::Accepted);
    assert_eq!(provisions.close(id).await.unwrap().acceptance(), Acceptance::Already);
    quick(closing).wait().await.unwrap();
    let again = provisions.close(id).await.unwrap();
    assert_eq!(again.acceptance(), Acceptance::Already);
    assert!(quick(again).wait().await.unwrap().is_closed());
    assert_eq!(provisions.wait_until_closed(id).acceptance(), Acceptance::NotRequested);

    // A failed provision cannot be closed: the error is bunq's refusal.
    let failed = ready(&client).await;
    assert!(sandbox.fail(failed));
    assert_eq!(provisions.close(failed).await.unwrap_err().kind(), ErrorKind::Rejected);
}

#[tokio::test]
async fn creating_twice_finds_the_first_and_says_so() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let new = person();
    let created = client.provisions().create(new.clone()).await.unwrap();
    let again = client.provisions().create(new).await.unwrap();
    assert_eq!((again.id(), again.acceptance()), (created.id(), Acceptance::Already));
    assert_eq!(sandbox.provision_ids().len(), 1);
}

#[tokio::test]
async fn an_unknown_provision_cannot_be_closed() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let error = client.provisions().close(id(999)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.bunq_messages()[0].contains("999"), "{error}");
}
