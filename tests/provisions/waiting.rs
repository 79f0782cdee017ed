//! Many waiters share polls, and each gets its own outcome.

use std::time::Duration;

use bunq_partner::{Client, ErrorKind, Operation, Provision, ProvisionId, ProvisionStatus, Sent, Waiter};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use crate::common::{calls, once, person, quick, ready, start, start_without_retries};

/// Closes many provisions at once, and returns their waiters.
async fn close(client: &Client, ids: Vec<ProvisionId>) -> Vec<Waiter> {
    let closing = ids.into_iter().map(|id| {
        let provisions = client.provisions();
        async move { provisions.close(id).await.unwrap() }
    });
    futures_util::stream::iter(closing).buffered(16).collect().await
}

#[tokio::test(start_paused = true)]
async fn two_thousand_waiters_read_a_few_pages_per_poll() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let ids = sandbox.populate(2000);
    let waiters = close(&client, ids.clone()).await;
    sandbox.take_call_log();

    let tasks = waiters.into_iter().map(|waiter| {
        tokio::spawn(async move {
            let id = waiter.id();
            let looks: Vec<Provision> =
                waiter.poll_interval(Duration::from_secs(1)).changes().map(Result::unwrap).collect().await;
            (id, looks)
        })
    });
    for task in join_all(tasks).await {
        let (id, looks) = task.unwrap();
        assert!(looks.iter().all(|seen| seen.id == id), "a response went astray");
        assert!(looks.last().unwrap().is_closed());
    }
    // Read one by one, each provision would take at least one call, and usually two.
    let calls = sandbox.take_call_log().len();
    assert!(calls <= ids.len() / 50, "{calls} calls");
}

#[tokio::test]
async fn a_provision_missing_from_the_list_is_read_by_id() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let ids = sandbox.populate(5);
    let hidden = ids[2];
    let waiters = close(&client, ids.clone()).await;
    sandbox.before_signing(move |call, response| {
        if call.method == "GET" && call.query.is_some() {
            let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            let items = body["Response"].as_array_mut().unwrap();
            items.retain(|item| item["PartnerUserProvision"]["id"] != hidden.get());
            response.body = body.to_string().into();
        }
    });
    let closed = join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await;
    assert!(closed.iter().all(|closed| closed.as_ref().unwrap().is_closed()));
    assert!(!calls(&sandbox, "GET", &hidden.to_string()).is_empty());
}

#[tokio::test]
async fn pages_between_distant_provisions_are_skipped() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let ids = sandbox.populate(5000);
    let waiters = close(&client, vec![ids[0], ids[2500], ids[4999]]).await;
    sandbox.take_call_log();
    let closed = join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await;
    assert!(closed.iter().all(|closed| closed.as_ref().unwrap().is_closed()));
    assert!(sandbox.take_call_log().len() <= 6, "more than a call for each of them and round");
}

#[tokio::test]
async fn waiters_with_different_conditions_poll_together() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let provisions = client.provisions();
    let creating = provisions.create(person()).await.unwrap();
    let closing = close(&client, sandbox.populate(1)).await.remove(0);
    let failing = close(&client, sandbox.populate(1)).await.remove(0);
    assert!(sandbox.fail(failing.id()));
    let resetting = provisions.reset_token(ready(&client).await).await.unwrap();
    let (created, closed, failed, reset) =
        tokio::join!(quick(creating).wait(), quick(closing).wait(), quick(failing).wait(), quick(resetting).wait());
    assert!(created.unwrap().fresh_credential().is_some());
    assert!(closed.unwrap().is_closed());
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unattainable);
    assert!(reset.unwrap().fresh_credential().is_some());
}

#[tokio::test]
async fn a_failure_that_passes_does_not_end_a_wait() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let waiters = close(&client, sandbox.populate(3)).await;
    for fault in [Fault::Status(500), Fault::Drop, Fault::UnsignedStatus(502)] {
        sandbox.inject(Injection::new(fault).on(&Operation::LIST_PROVISIONS).times(2));
    }
    let closed = join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await;
    assert!(closed.iter().all(|closed| closed.as_ref().unwrap().is_closed()));
}

#[tokio::test]
async fn a_failure_that_stays_ends_every_wait() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let waiters = close(&client, sandbox.populate(3)).await;
    sandbox.inject(Injection::new(Fault::Status(403)).always());
    for error in join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Forbidden);
    }
}

#[tokio::test]
async fn when_the_list_is_refused_provisions_are_read_by_id() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let waiters = close(&client, sandbox.populate(3)).await;
    for fault in [Fault::Status(400), Fault::Status(403), Fault::EmptyResponse, Fault::NotJson] {
        sandbox.inject(Injection::new(fault).on(&Operation::LIST_PROVISIONS).times(2));
    }
    let closed = join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await;
    assert!(closed.iter().all(|closed| closed.as_ref().unwrap().is_closed()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_timeout_shows_the_last_failure() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let waiter = close(&client, sandbox.populate(1)).await.remove(0);
    sandbox.inject(Injection::new(Fault::Status(500)).always());
    let error = quick(waiter).timeout(Duration::from_millis(300)).wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WaitTimeout);
    assert!(error.to_string().contains("(it was never read): get_provision: bunq, or a proxy"), "{error}");
    assert!(error.to_string().contains("HTTP status 500"), "{error}");
    assert!(!error.is_doubtful(), "a wait requests nothing");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_does_not_outlast_the_wait() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let waiter = close(&client, sandbox.populate(1)).await.remove(0);
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).on(&Operation::GET_PROVISION).always());
    let error = quick(waiter).timeout(Duration::from_millis(300)).wait().await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::WaitTimeout, Sent::Maybe));
}

#[tokio::test]
async fn a_dropped_waiter_does_not_disturb_the_others() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let mut waiters = close(&client, sandbox.populate(3)).await;
    let mut given_up = Box::pin(quick(waiters.remove(0)).wait());
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    let closed = join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await;
    assert!(closed.iter().all(|closed| closed.as_ref().unwrap().is_closed()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_with_the_longest_timeout_does_not_panic() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().retry(once()).build().unwrap();
    let creating = client.provisions().create(person()).await.unwrap();
    let id = creating.id();
    let wait = creating.poll_interval(Duration::MAX).timeout(Duration::MAX).wait();
    let given_up = tokio::time::timeout(Duration::from_millis(200), wait).await;
    assert!(given_up.is_err());
    let again = client.provisions().wait_until_ready(id).poll_interval(Duration::ZERO).timeout(Duration::ZERO);
    assert_eq!(again.wait().await.unwrap_err().kind(), ErrorKind::WaitTimeout);
}

#[tokio::test]
async fn a_wait_begun_during_a_reset_ends_with_the_new_credential() {
    test_timeout::start();
    for spent in [false, true] {
        let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
        let client = sandbox.client().retry(once()).build().unwrap();
        let id = sandbox.populate(1)[0];
        if spent {
            sandbox.expire_credential(id);
        }
        let old = client.provisions().get(id).await.unwrap().credential;
        drop(client.provisions().reset_token(id).await.unwrap());

        // As after a crash, only the id is known.
        let taken_up = client.provisions().wait_until_ready(id);
        let mut changes = Box::pin(quick(taken_up).changes());
        let first = changes.next().await.unwrap().unwrap();
        assert_eq!(first.status, ProvisionStatus::TokenResetRequested);
        assert!(sandbox.advance(id));
        let last = changes.next().await.unwrap().unwrap();
        let fresh = last.fresh_credential().unwrap();
        assert_ne!(Some(fresh.id), old.map(|old| old.id));
        assert!(changes.next().await.is_none());
    }
}

#[tokio::test]
async fn a_revoked_api_key_ends_every_wait_at_once() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let waiters = close(&client, sandbox.populate(20)).await;
    sandbox.end_sessions();
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_SESSION).always());
    let before = calls(&sandbox, "POST", "/session-server").len();
    for error in join_all(waiters.into_iter().map(|waiter| quick(waiter).wait())).await {
        assert_eq!(error.unwrap_err().operation(), Some(&Operation::CREATE_SESSION));
    }
    // The number of calls does not grow with the number of waiters.
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), before + 1);
}

/// The expected statuses are polled first: the other provisions are active, or were closed before.
#[tokio::test(start_paused = true)]
async fn a_few_among_many_are_found_with_few_calls() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    for (all, every, closed_before, at_most) in [(20_000, 40, 0, 10), (600, 60, 300, 8)] {
        let ids = sandbox.populate(all);
        for waiter in close(&client, ids[..closed_before].to_vec()).await {
            quick(waiter).wait().await.unwrap();
        }
        let sought: Vec<_> = ids.iter().copied().skip(closed_before).step_by(every).collect();
        let waiters = close(&client, sought).await;
        sandbox.take_call_log();
        let closed =
            join_all(waiters.into_iter().map(|waiter| waiter.poll_interval(Duration::from_secs(1)).wait())).await;
        assert!(closed.iter().all(|closed| closed.as_ref().unwrap().is_closed()));
        let calls = sandbox.take_call_log().len();
        assert!(calls <= at_most, "{calls} calls for {} among {all}", closed.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_does_not_poll_before_bunq_asks_for_it() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    sandbox.before_signing(|_, response| {
        response.status = 503;
        response.headers.push(("Retry-After".into(), "3600".into()));
    });
    sandbox.take_call_log();
    let wait = quick(client.provisions().wait_until_closed(id)).timeout(Duration::from_millis(500));
    assert_eq!(wait.wait().await.unwrap_err().kind(), ErrorKind::WaitTimeout);
    assert_eq!(sandbox.take_call_log().len(), 2, "one poll at the beginning, and one at the end");
}

/// A proxy's page proves nothing.
#[tokio::test]
async fn a_refusal_that_is_not_bunqs_does_not_end_a_wait_or_a_read() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let waiter = close(&client, sandbox.populate(1)).await.remove(0);
    let id = waiter.id();
    for status in [401, 403, 404] {
        sandbox.inject(Injection::new(Fault::UnsignedStatus(status)).on(&Operation::GET_PROVISION).times(3));
        client.provisions().get(id).await.unwrap();
        // More often than a call has attempts.
        sandbox.inject(Injection::new(Fault::UnsignedStatus(status)).on(&Operation::GET_PROVISION).times(9));
        quick(client.provisions().wait_until_closed(id)).wait().await.unwrap();
        // No session can be opened for a while.
        sandbox.end_sessions();
        sandbox.inject(Injection::new(Fault::UnsignedStatus(status)).on(&Operation::CREATE_SESSION).times(9));
        quick(client.provisions().wait_until_closed(id)).wait().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_poll_interval_is_the_clients_or_the_waiters_own() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().poll_interval(Duration::from_secs(3600)).build().unwrap();
    let id = sandbox.populate(1)[0];
    client.open_session().await.unwrap();
    sandbox.take_call_log();
    let polls = |waiter: Waiter| {
        let sandbox = sandbox.clone();
        async move {
            waiter.timeout(Duration::from_millis(300)).wait().await.unwrap_err();
            sandbox.take_call_log().len()
        }
    };
    assert_eq!(polls(client.provisions().wait_until_closed(id)).await, 2);
    assert!(polls(quick(client.provisions().wait_until_closed(id))).await > 5);
}

/// Only one session can be opened per window. A wait has enough time for the next window.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_refused_twice_does_not_end_a_wait() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 10, Duration::from_secs(3)).build().unwrap();
    let waiter = close(&client, sandbox.populate(1)).await.remove(0);
    sandbox.inject(Injection::new(Fault::Status(401)).on(&Operation::GET_PROVISION).times(3));
    assert!(waiter.wait().await.unwrap().is_closed());
    assert!(calls(&sandbox, "POST", "/session-server").len() <= 3);
}
