//! Random schedules of faults over create, wait and close, by several tasks at once: no request is lost, none is
//! carried out twice unnoticed, and every future ends. The bank creates another user for each request with the same
//! `external_uuid`, and requests arrive late. Half of the banks sign their refusals, and each has its own way to refuse
//! a dead token.
//!
//! Most schedules have paused time, which advances only when every task is idle, so that no outcome depends on the load of the
//! machine. The last ones are played by several threads in real time, without the faults that are a matter of time.
//!
//! The seed of a schedule determines its faults. `BUNQ_PARTNER_SEED=17 cargo test --all-features --test schedules --
//! --nocapture` plays one again, and prints what its tasks got. The seed does not determine how the tasks are
//! scheduled, nor the session of earlier schedules, so a failure may need several runs to recur.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bunq_partner::{Client, Error, ErrorKind, NewProvision, Operation, ProvisionStatus, RetryPolicy};
use bunq_partner_sandbox::{DeadToken, Fault, Injection, ReceivedSignature, Sandbox};
use common::{person, quick};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::runtime::Builder;

const SCHEDULES: u64 = 2000;

/// The first schedule that threads play.
const BY_THREADS: u64 = 1800;

/// The number of sandboxes that play schedules at the same time.
const WORKERS: usize = 24;

/// Far longer than any schedule whose futures all end.
const FOR_EVER: Duration = Duration::from_secs(600);

const TRY: Duration = Duration::from_millis(250);

/// The time limit of a verb.
const CALL: Duration = Duration::from_secs(20);

/// The longest delay of a request, and how long clients search for a late one.
const LATE: u64 = 150;
const LATE_ARRIVAL: Duration = Duration::from_millis(400);

/// Every fault of the sandbox, and what is to be more frequent or is treated in another way.
fn faults() -> Vec<Fault> {
    let more = [Fault::Drop, Fault::Drop, Fault::Drop, Fault::Truncated, Fault::LateArrival(Duration::ZERO)];
    let refusals = [Fault::Status(403), Fault::Status(491), Fault::Status(500), Fault::UnsignedStatus(429)];
    let relabelled = [401, 429, 491].map(Fault::Relabelled);
    // An older page of a listing that names no request is valid, and shows what was there before.
    let examples = Fault::examples().into_iter().filter(|fault| *fault != Fault::Replayed);
    examples.chain(more).chain(refusals).chain(relabelled).collect()
}

fn fault(rng: &mut Rng, is_by_threads: bool) -> Injection {
    let carried_out = rng.bool();
    let mut faults = faults();
    if is_by_threads {
        faults.retain(|fault| !matches!(fault, Fault::Late(_) | Fault::LateArrival(_) | Fault::SlowDrip(_)));
    }
    let fault = match faults[rng.usize(0..faults.len())] {
        Fault::Late(_) => Fault::Late(Duration::from_secs(3600)),
        Fault::LateArrival(_) => Fault::LateArrival(Duration::from_millis(rng.u64(0..LATE))),
        other => other,
    };
    // bunq has not carried out a request that it refuses itself.
    match fault {
        Fault::Status(500 | 503) | Fault::UnsignedStatus(_) | Fault::Drop | Fault::Truncated | Fault::Late(_) => {
            Injection::new(fault).carried_out(carried_out)
        }
        _ => Injection::new(fault),
    }
}

fn injections(rng: &mut Rng, is_by_threads: bool) -> Vec<Injection> {
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
        fault(rng, is_by_threads).on(operation).after(rng.u32(0..3)).times(rng.u32(1..4))
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
    /// How the wait until it was ready ended.
    ready: Option<Result<(), Error>>,
    closed: Option<Result<(), Error>>,
    ended: Option<Result<ProvisionStatus, Error>>,
}

async fn live(client: Client) -> Story {
    let (provisions, new) = (client.provisions(), person());
    let mut story = Story { new: new.clone(), created: Ok(()), ready: None, closed: None, ended: None };
    let creating = match provisions.create(new).await {
        Ok(creating) => creating,
        Err(error) => {
            story.created = Err(error);
            return story;
        }
    };
    let id = creating.id();
    let ready = quick(creating).timeout(Duration::from_secs(2)).wait().await.map(drop);
    let is_double = ready.as_ref().is_err_and(|error| error.kind() == ErrorKind::Duplicate);
    story.ready = Some(ready);
    if is_double {
        return story;
    }
    // A provision can be closed from any state.
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

/// The provisions that the bank has made for the tasks.
fn made_since(sandbox: &Sandbox, before: usize) -> Vec<Value> {
    sandbox.provision_ids()[before..].iter().map(|id| sandbox.provision(*id).unwrap()).collect()
}

/// Compares the outcome of a task with the state of the bank.
fn check(story: &Story, provisions: &[Value]) -> Result<(), String> {
    let external_uuid = story.new.external_uuid.to_string();
    let made: Vec<_> = provisions.iter().filter(|provision| provision["external_uuid"] == external_uuid).collect();
    let is_double = |error: &Error| error.kind() == ErrorKind::Duplicate;
    match (&story.created, &story.ready, made.len()) {
        (Ok(()), _, 1) => {}
        (Ok(()), Some(Err(error)), 2..) if is_double(error) => return Ok(()),
        (Err(error), _, 2..) if is_double(error) => {}
        (Err(error), _, _) if error.is_doubtful() => {}
        (Err(_), _, 0) => {}
        (told, ready, times) => return Err(format!("created {times} times, but told {told:?}, {ready:?}")),
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
        // Errors that no fault explains: the provision exists and has not failed, and the client is configured
        // correctly.
        Some(Err(error)) if UNEXPLAINED.contains(&error.kind()) => Err(format!("the wait ended with {error}")),
        _ => Ok(()),
    }
}

fn is_by_threads(seed: u64) -> bool {
    seed >= BY_THREADS
}

async fn play(seed: u64, sandbox: &Sandbox, client: &Client, is_told: bool) {
    let mut rng = Rng::with_seed(seed);
    for injection in injections(&mut rng, is_by_threads(seed)) {
        sandbox.inject(injection);
    }
    let before = sandbox.provision_ids().len();
    let tasks = (0..rng.usize(1..4)).map(|_| tokio::spawn(live(client.clone())));
    let stories = tokio::time::timeout(FOR_EVER, join_all(tasks))
        .await
        .unwrap_or_else(|_| panic!("BUNQ_PARTNER_SEED={seed}: a future does not end"));
    sandbox.clear_injections();
    let stories: Vec<_> = stories.into_iter().map(|story| story.unwrap()).collect();
    let now = made_since(sandbox, before);
    // A request that is reported as not done must not be done after late requests have arrived.
    tokio::time::sleep(Duration::from_millis(LATE)).await;
    let later = made_since(sandbox, before);
    for story in stories {
        if is_told {
            let Story { created, ready, closed, ended, .. } = &story;
            println!("created: {created:?}\nready: {ready:?}\nclosed: {closed:?}\nended: {ended:?}\n");
        }
        for provisions in [&now, &later] {
            check(&story, provisions).unwrap_or_else(|problem| panic!("BUNQ_PARTNER_SEED={seed}: {problem}"));
        }
    }
    for call in sandbox.take_call_log() {
        let signed = call.signature == ReceivedSignature::Valid;
        assert!(signed || call.bytes.is_empty() || call.path.ends_with("/installation"), "unsigned: {call:?}");
    }
}

/// Plays the next schedule, until all are played.
async fn work(worker: usize, next: Arc<AtomicU64>, end: u64, is_told: bool) {
    let manners =
        [DeadToken::Unauthorized, DeadToken::InsufficientAuthentication, DeadToken::InsufficientAuthorisation];
    let builder = Sandbox::builder().deduplicate(false).signed_refusals(worker.is_multiple_of(2));
    let sandbox = builder.dead_token(manners[worker % manners.len()]).start().await.unwrap();
    let retry = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
    let builder = sandbox.client().retry(retry).late_arrival(LATE_ARRIVAL);
    let is_paused = end <= BY_THREADS;
    let builder = if is_paused { builder.attempt_timeout(TRY).operation_timeout(CALL) } else { builder };
    let client = builder.build().unwrap();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        play(seed, &sandbox, &client, is_told).await;
    }
}

/// Plays schedules with so many sandboxes on a runtime.
fn played(runtime: &mut Builder, workers: Range<usize>, next: &Arc<AtomicU64>, end: u64, is_told: bool) {
    let runtime = runtime.enable_all().build().unwrap();
    let work = |worker| runtime.spawn(work(worker, Arc::clone(next), end, is_told));
    let workers: Vec<_> = workers.map(work).collect();
    runtime.block_on(join_all(workers)).into_iter().for_each(|worker| worker.unwrap());
}

#[test]
fn no_request_is_lost_or_carried_out_twice() {
    test_timeout::start();
    let one: Option<u64> = std::env::var("BUNQ_PARTNER_SEED").ok().map(|seed| seed.parse().unwrap());
    let (paused, by_threads) = match one {
        Some(seed) if is_by_threads(seed) => (0..0, seed..seed + 1),
        Some(seed) => (seed..seed + 1, 0..0),
        None => (0..BY_THREADS, BY_THREADS..SCHEDULES),
    };
    let next = Arc::new(AtomicU64::new(paused.start));
    let half = WORKERS / 2;
    let halves = [0..half, half..WORKERS].map(|workers| {
        let next = Arc::clone(&next);
        let play = move || {
            played(Builder::new_current_thread().start_paused(true), workers, &next, paused.end, one.is_some());
        };
        std::thread::spawn(play)
    });
    halves.into_iter().for_each(|half| half.join().unwrap());
    let next = Arc::new(AtomicU64::new(by_threads.start));
    played(&mut Builder::new_multi_thread(), 0..WORKERS, &next, by_threads.end, one.is_some());
}
