//! Certificates are pinned once, and replaced without a time at which bunq accepts neither.

use std::time::Duration;

use bunq_partner::types::{CertificatePem, CertificatePinnedId};
use bunq_partner::{Acceptance, Client, ErrorKind, Operation};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::join_all;

use crate::common::at_once;

const PIN: &Operation = &Operation::CREATE_PINNED_CERTIFICATE;
const SECOND: Duration = Duration::from_secs(1);

fn certificate(body: &str, end: &str) -> CertificatePem {
    format!("-----BEGIN CERTIFICATE-----{end}{body}{end}-----END CERTIFICATE-----{end}").parse().unwrap()
}

async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(at_once()).poll_interval(2 * SECOND).late_arrival(10 * SECOND).build().unwrap();
    client.open_session().await.unwrap();
    sandbox.take_call_log();
    (sandbox, client)
}

async fn pinned(client: &Client) -> Vec<CertificatePinnedId> {
    client.notifications().pinned().await.unwrap().iter().map(|chain| chain.id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_pinned_once() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let chain = [certificate("AAAA", "\n"), certificate("BBBB", "\n")];
    let tasks = (0..8).map(|_| {
        let (client, chain) = (client.clone(), chain.clone());
        tokio::spawn(async move { client.notifications().pin(&chain).await.unwrap() })
    });
    let mut done: Vec<_> = join_all(tasks).await.into_iter().map(|pinned| pinned.unwrap()).collect();
    let made: Vec<_> = done.extract_if(.., |pinned| pinned.acceptance == Acceptance::Accepted).collect();
    assert_eq!((made.len(), done.len()), (1, 7));
    assert!(done.iter().all(|pinned| pinned.id == made[0].id && pinned.acceptance == Acceptance::Already));
    // With other ends of lines it is the same; one that has only a part of it is another.
    let same = [certificate("AAAA", "\r\n"), certificate("BBBB", "\r\n")];
    assert_eq!(client.notifications().pin(&same).await.unwrap().id, made[0].id);
    assert_eq!(client.notifications().pin(&chain[..1]).await.unwrap().acceptance, Acceptance::Accepted);
    assert_eq!(pinned(&client).await.len(), 2);

    assert_eq!(client.notifications().unpin(made[0].id).await.unwrap(), Acceptance::Accepted);
    assert_eq!(client.notifications().unpin(made[0].id).await.unwrap(), Acceptance::Already);
    sandbox.take_call_log();
    for chain in [vec![], vec![chain[0].clone(); 11]] {
        let error = client.notifications().pin(&chain).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert!(sandbox.take_call_log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pin_in_doubt_is_looked_for() {
    test_timeout::start();
    for (fault, carried_out, acceptance) in [
        (Fault::Drop, true, Acceptance::Found),
        (Fault::Drop, false, Acceptance::Accepted),
        (Fault::Status(500), true, Acceptance::Found),
        (Fault::LateArrival(3 * SECOND), true, Acceptance::Found),
    ] {
        let (sandbox, client) = start().await;
        sandbox.inject(Injection::new(fault).on(PIN).carried_out(carried_out));
        let pin = client.notifications().pin(&[certificate("AAAA", "\n")]).await.unwrap();
        tokio::time::sleep(20 * SECOND).await;
        assert_eq!((pin.acceptance, pinned(&client).await), (acceptance, vec![pin.id]), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_certificate_is_pinned_until_a_call_has_come_through_with_the_next() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let notifications = client.notifications();
    let [shown, next, of_others] = ["AAAA", "BBBB", "CCCC"].map(|body| [certificate(body, "\n")]);
    // Nothing is pinned before, and bunq calls the target: it does so with the first pin too.
    let rotation = notifications.rotate(&shown, &next).await.unwrap();
    assert_eq!((rotation.old().acceptance, rotation.next().acceptance), (Acceptance::Accepted, Acceptance::Accepted));
    assert!(rotation.old().id < rotation.next().id, "the chain that the target shows is pinned first");
    let others = notifications.pin(&of_others).await.unwrap();
    let (old, new) = (rotation.old().id, rotation.next().id);
    drop(rotation);

    // After a crash it goes on.
    let rotation = notifications.rotate(&shown, &next).await.unwrap();
    assert_eq!((rotation.old().id, rotation.next().id), (old, new));
    assert_eq!(pinned(&client).await.len(), 3);
    rotation.delivered().await.unwrap();
    rotation.delivered().await.unwrap();
    let mut left = pinned(&client).await;
    left.sort_unstable();
    assert_eq!(left, [new, others.id], "those of other targets stay");

    sandbox.take_call_log();
    let same = [certificate("BBBB", "\r\n")];
    assert_eq!(notifications.rotate(&next, &same).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(sandbox.take_call_log().is_empty());
}
