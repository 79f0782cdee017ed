//! Random schedules of faults over create, close and wait, by several tasks at once: no request is lost or carried out
//! twice, and every future ends.
//!
//! The seed of a schedule determines its faults; `BUNQ_PARTNER_SEED=17 cargo test --all-features --test
//! schedules -- --nocapture` plays one again, and prints what its tasks got. The scheduling of the
//! tasks and the session of earlier schedules are not determined by it, so a failure may need several runs to recur.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bunq_partner::sandbox::{Fault, Injection, ReceivedSignature, Sandbox};
use bunq_partner::{Client, Error, ErrorKind, NewProvision, Operation, ProvisionStatus, RetryPolicy};
use common::{person, quick};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::Value;

const SCHEDULES: u64 = 2000;

/// How many sandboxes play schedules at once.
const WORKERS: usize = 24;

/// Far longer than any schedule whose futures all end.
const FOR_EVER: Duration = Duration::from_secs(120);

const TRY: Duration = Duration::from_millis(250);

fn fault(rng: &mut Rng) -> Injection {
    let carried_out = rng.bool();
    let fault = match rng.u8(0..24) {
        0 => Fault::Status(500),
        1 => Fault::UnsignedStatus(502),
        2 => Fault::Status(491),
        3 => Fault::RateLimited { retry_after: None },
        4 => Fault::UnsignedStatus(429),
        5 => Fault::SessionLost,
        6 => Fault::RequestIdRefused,
        7..=10 => Fault::Drop,
        11 | 12 => Fault::Truncated,
        13 => Fault::MissingSignature,
        14 => Fault::WrongSignature,
        15 => Fault::EmptyBody,
        16 => Fault::EmptyResponse,
        17 => Fault::NotJson,
        18 => Fault::UnknownStatus,
        19 => Fault::UnknownValues,
        20 => Fault::NullFields,
        21 => Fault::Status(403),
        22 => Fault::Late(Duration::from_secs(3600)),
        _ => Fault::SlowDrip { pause: Duration::from_millis(100) },
    };
    // bunq has not carried out what it refuses with its signature.
    match fault {
        Fault::Status(500) | Fault::UnsignedStatus(_) | Fault::Drop | Fault::Truncated | Fault::Late(_) => {
            Injection::new(fault).carried_out(carried_out)
        }
        _ => Injection::new(fault),
    }
}

fn injections(rng: &mut Rng) -> Vec<Injection> {
    let operations = [
        &Operation::CREATE_PROVISION,
        &Operation::CREATE_PROVISION,
        &Operation::UPDATE_PROVISION,
        &Operation::UPDATE_PROVISION,
        &Operation::GET_PROVISION,
        &Operation::LIST_PROVISIONS,
        &Operation::CREATE_SESSION,
    ];
    let injection = |rng: &mut Rng| {
        let operation = operations[rng.usize(0..operations.len())];
        fault(rng).on(operation).after(rng.u32(0..3)).times(rng.u32(1..4))
    };
    (0..rng.usize(0..6)).map(|_| injection(rng)).collect()
}

const UNEXPLAINED: [ErrorKind; 6] = [
    ErrorKind::Unattainable,
    ErrorKind::NotFound,
    ErrorKind::InvalidInput,
    ErrorKind::Context,
    ErrorKind::Internal,
    ErrorKind::CredentialSpent,
];

/// What one task got.
struct Story {
    new: NewProvision,
    created: Result<(), Error>,
    closed: Option<Result<(), Error>>,
    ended: Option<Result<ProvisionStatus, Error>>,
}

async fn live(client: Client, waits: bool) -> Story {
    let (provisions, new) = (client.provisions(), person());
    let mut story = Story { new: new.clone(), created: Ok(()), closed: None, ended: None };
    let creating = match provisions.create(new).await {
        Ok(creating) => creating,
        Err(error) => {
            story.created = Err(error);
            return story;
        }
    };
    let id = creating.id();
    if waits {
        // The outcome does not matter: a provision can be closed from any state.
        let _ = quick(creating).timeout(Duration::from_secs(2)).wait().await;
    }
    match provisions.close(id).await {
        Ok(closing) => {
            story.closed = Some(Ok(()));
            let ended = quick(closing).timeout(Duration::from_secs(10)).wait().await;
            story.ended = Some(ended.map(|provision| provision.status));
        }
        Err(error) => story.closed = Some(Err(error)),
    }
    story
}

/// Compares the outcome of a task with the state of the bank.
fn check(story: &Story, provisions: &[Value]) -> Result<(), String> {
    let external_uuid = story.new.external_uuid.to_string();
    let made: Vec<_> = provisions.iter().filter(|provision| provision["external_uuid"] == external_uuid).collect();
    match (&story.created, made.len()) {
        (Ok(()), 1) => {}
        (Err(error), 0 | 1) if error.is_doubtful() => {}
        (Err(_), 0) => {}
        (told, times) => return Err(format!("created {times} times, but told {told:?}")),
    }
    let Some(closed) = &story.closed else { return Ok(()) };
    let status = made[0]["status"].as_str().unwrap();
    match (closed, matches!(status, "CANCELLED" | "CLOSED")) {
        (Ok(()), true) => {}
        (Err(error), true) if error.is_doubtful() => {}
        (Err(_), false) => {}
        (told, _) => return Err(format!("{status}, but told {told:?}")),
    }
    match &story.ended {
        Some(Ok(told)) if told.as_str() != "CLOSED" || status != "CLOSED" => {
            Err(format!("{status}, but the wait told {told}"))
        }
        // Errors that no fault explains: the provision exists, has not failed, and the client is configured correctly.
        Some(Err(error)) if UNEXPLAINED.contains(&error.kind()) => Err(format!("the wait ended with {error}")),
        _ => Ok(()),
    }
}

async fn play(seed: u64, sandbox: &Sandbox, client: &Client, is_told: bool) {
    let mut rng = Rng::with_seed(seed);
    for injection in injections(&mut rng) {
        sandbox.inject(injection);
    }
    let before = sandbox.provision_ids().len();
    let tasks = (0..rng.usize(1..4)).map(|_| tokio::spawn(live(client.clone(), rng.u8(0..3) == 0)));
    let stories = tokio::time::timeout(FOR_EVER, join_all(tasks))
        .await
        .unwrap_or_else(|_| panic!("BUNQ_PARTNER_SEED={seed}: a future does not end"));
    sandbox.clear_injections();

    let ids = &sandbox.provision_ids()[before..];
    let provisions: Vec<_> = ids.iter().map(|id| sandbox.provision(*id).unwrap()).collect();
    for story in stories {
        let story = story.unwrap();
        if is_told {
            println!("created: {:?}\nclosed: {:?}\nended: {:?}\n", story.created, story.closed, story.ended);
        }
        check(&story, &provisions).unwrap_or_else(|problem| panic!("BUNQ_PARTNER_SEED={seed}: {problem}"));
    }
    for call in sandbox.take_journal() {
        let signed = call.signature == ReceivedSignature::Valid;
        assert!(signed || call.body.is_empty() || call.path.ends_with("/installation"), "unsigned: {call:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_or_carried_out_twice() {
    let one: Option<u64> = std::env::var("BUNQ_PARTNER_SEED").ok().map(|seed| seed.parse().unwrap());
    let next = Arc::new(AtomicU64::new(one.unwrap_or(0)));
    let end = one.map_or(SCHEDULES, |seed| seed + 1);
    let workers = (0..WORKERS).map(|_| {
        let next = Arc::clone(&next);
        tokio::spawn(async move {
            let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
            let retry = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
            let client = sandbox.client().retry(retry).attempt_timeout(TRY).build().unwrap();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return;
                }
                play(seed, &sandbox, &client, one.is_some()).await;
            }
        })
    });
    join_all(workers).await.into_iter().for_each(|worker| worker.unwrap());
}
