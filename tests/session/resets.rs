//! Resets of a user's credential that are in doubt: none is sent while another may still discard what it makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::{Client, Custody, Error, ErrorKind, MemoryCustody, Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use tokio::time::{sleep, timeout};

use crate::common::{EndingCustody, at_once, calls, unsealed, use_elsewhere};

const RESET: &Operation = &Operation::UPDATE_PROVISION;
const SECOND: Duration = Duration::from_secs(1);

/// Another process with the same custody.
fn client(sandbox: &Sandbox, custody: impl Custody) -> Client {
    let client = sandbox.client().retry(at_once()).late_arrival(10 * SECOND);
    client.custody(custody).build().unwrap()
}

/// A bank with a user, whose token is in this custody, or elsewhere.
async fn bank(custody: &MemoryCustody, is_kept: bool) -> (Sandbox, ProvisionId) {
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0];
    if is_kept {
        client(&sandbox, custody.clone()).users().activate(id).await.unwrap();
    } else {
        use_elsewhere(&sandbox, id).await;
    }
    sandbox.take_call_log();
    (sandbox, id)
}

/// How many requests for a reset were sent.
fn sent(sandbox: &Sandbox) -> usize {
    calls(sandbox, "PUT", "").len()
}

/// Checks that the credential in custody is the one that bunq shows, and that the user can be served, now and later.
async fn is_served(sandbox: &Sandbox, custody: &MemoryCustody, id: ProvisionId) {
    let client = client(sandbox, custody.clone());
    for _ in 0..2 {
        // bunq goes on with each read.
        for _ in 0..5 {
            client.provisions().get(id).await.unwrap();
        }
        let kept = unsealed(custody.load(id).await.unwrap().unwrap().expose(), &sandbox.api_key());
        let shown = sandbox.provision(id).unwrap()["credential"].clone();
        assert_eq!((&kept["credential_id"], &shown["status"]), (&shown["id"], &"ACTIVE".into()), "{shown}");
        client.users().of(id).api().list_credentials().await.unwrap();
        // Whatever is late has arrived.
        sleep(60 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_arrives_late_discards_no_new_credential() {
    test_timeout::start();
    // The request that is dropped arrives late, or it never does.
    let late = Injection::new(Fault::LateArrival(9 * SECOND)).on(RESET);
    let lost = Injection::new(Fault::Drop).carried_out(false).on(RESET);
    for (injection, expected) in [(late, 1), (lost, 2)] {
        for is_kept in [true, false] {
            let cell = format!("{injection:?} {is_kept}");
            let custody = MemoryCustody::new();
            let (sandbox, id) = bank(&custody, is_kept).await;
            let before = sandbox.provision(id).unwrap()["credential"]["id"].clone();
            // Of a user who is not in custody it is not known whether a reset was begun.
            let wait = if is_kept { Duration::ZERO } else { 10 * SECOND };
            sandbox.inject(injection.clone());
            let dropped = client(&sandbox, custody.clone());
            assert!(timeout(wait + SECOND, dropped.users().reset(id)).await.is_err(), "{cell}");
            assert_eq!(sent(&sandbox), 1, "{cell}");

            client(&sandbox, custody.clone()).users().reset(id).await.unwrap();
            assert_eq!(sent(&sandbox), expected, "{cell}");
            is_served(&sandbox, &custody, id).await;
            assert_ne!(sandbox.provision(id).unwrap()["credential"]["id"], before, "{cell}");

            // What was in doubt is over.
            sandbox.take_call_log();
            timeout(9 * SECOND, client(&sandbox, custody.clone()).users().reset(id)).await.unwrap().unwrap();
            assert_eq!(sent(&sandbox), 1, "{cell}");
        }
    }
}

/// The future is not dropped, and fails.
#[tokio::test(start_paused = true)]
async fn a_reset_in_doubt_is_followed_by_another_when_it_cannot_arrive() {
    test_timeout::start();
    let custody = MemoryCustody::new();
    let (sandbox, id) = bank(&custody, true).await;
    sandbox.inject(Injection::new(Fault::Drop).carried_out(false).on(RESET));
    let users = client(&sandbox, custody.clone()).users();
    let error = users.reset(id).await.unwrap_err();
    assert!(error.is_doubtful() && sent(&sandbox) == 1, "{error}");
    // Nothing is sent if the wait does not fit into the time of a call.
    let hasty = sandbox.client().operation_timeout(5 * SECOND).late_arrival(10 * SECOND).custody(custody.clone());
    let error = hasty.build().unwrap().users().reset(id).await.unwrap_err();
    assert_eq!((error.kind(), sent(&sandbox)), (ErrorKind::Timeout, 1), "{error}");
    users.reset(id).await.unwrap();
    assert_eq!(sent(&sandbox), 2);
    is_served(&sandbox, &custody, id).await;

    // A refusal leaves no doubt.
    sandbox.inject(Injection::new(Fault::Status(400)).on(RESET));
    assert_eq!(users.reset(id).await.unwrap_err().kind(), ErrorKind::Rejected);
    timeout(9 * SECOND, users.reset(id)).await.unwrap().unwrap();
}

/// What is activated after a reset that was dropped is the credential of that reset.
#[tokio::test(start_paused = true)]
async fn an_activation_awaits_the_reset_before_it() {
    test_timeout::start();
    let custody = MemoryCustody::new();
    let (sandbox, id) = bank(&custody, true).await;
    sandbox.inject(Injection::new(Fault::LateArrival(9 * SECOND)).on(RESET));
    let dropped = client(&sandbox, custody.clone());
    assert!(timeout(SECOND, dropped.users().reset(id)).await.is_err());
    client(&sandbox, custody.clone()).users().activate(id).await.unwrap();
    is_served(&sandbox, &custody, id).await;
    assert_eq!(sent(&sandbox), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_found_by_a_process_after_the_one_that_has_sent_it() {
    test_timeout::start();
    let custody = MemoryCustody::new();
    let (sandbox, id) = bank(&custody, true).await;
    let has_ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&has_ended);
    // Nothing is stored after the request.
    sandbox.before_signing(move |call, _| {
        ends.fetch_or(call.operation == Some(RESET), Ordering::Relaxed);
    });
    let keeps = move || if has_ended.load(Ordering::Relaxed) { Err(Error::context("it has ended")) } else { Ok(()) };
    let ending = client(&sandbox, EndingCustody::new(custody.clone(), keeps));
    let error = ending.users().reset(id).await.unwrap_err();
    assert_eq!((error.kind(), sent(&sandbox)), (ErrorKind::Context, 1), "{error}");
    sandbox.clear_edits();

    client(&sandbox, custody.clone()).users().reset(id).await.unwrap();
    assert_eq!(sent(&sandbox), 1);
    is_served(&sandbox, &custody, id).await;
}
