//! Two processes at once, which know nothing of each other, in random schedules of faults: none says done for a filter that its last look
//! did not show, and one more call in each brings all.
//!
//! `BUNQ_PARTNER_SEED=17` plays one schedule again. Time is paused, so that no outcome depends on the load of the machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::types::{NotificationCategory, NotificationTarget};
use bunq_partner::{Acceptance, BoxFuture, Client, ErrorKind, Exchange, ExchangeObserver, Operation, RetryPolicy};
use bunq_partner_sandbox::{Fault, FilterResponse, Injection, Profile, Sandbox};
use fastrand::Rng;
use futures_util::future::{join, join_all};
use serde_json::Value;
use tokio::runtime::Builder;

const SCHEDULES: u64 = 1000;
const WORKERS: usize = 12;
const TARGET: &str = "https://partner.example.com/bunq";
/// The longest time in which a request arrives, or a change is shown; and how long clients wait for either.
const LATE: u64 = 150;
const LATE_ARRIVAL: Duration = Duration::from_millis(400);
const LIST: &Operation = &Operation::LIST_NOTIFICATION_FILTERS;
const REPLACE: &Operation = &Operation::REPLACE_NOTIFICATION_FILTERS;

/// The categories that the last look of a client has shown.
#[derive(Debug, Default, Clone)]
struct LastLook(Arc<Mutex<Vec<String>>>);

impl ExchangeObserver for LastLook {
    fn observe<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, ()> {
        if exchange.operation == LIST {
            let body: Value = serde_json::from_slice(&exchange.body).unwrap();
            *self.0.lock().unwrap() = categories(&body["Response"], "/NotificationFilterUrl/category");
        }
        Box::pin(async {})
    }
}

fn categories(filters: &Value, at: &str) -> Vec<String> {
    let filters = filters.as_array().unwrap().iter();
    filters.map(|filter| filter.pointer(at).unwrap().as_str().unwrap().to_owned()).collect()
}

struct Process {
    client: Client,
    last: LastLook,
    own: NotificationCategory,
}

impl Process {
    fn new(sandbox: &Sandbox, own: &str) -> Self {
        let last = LastLook::default();
        let retry = RetryPolicy::default().initial_backoff(Duration::from_millis(1));
        let builder = sandbox.client().retry(retry).late_arrival(LATE_ARRIVAL).observer(last.clone());
        let builder = builder.attempt_timeout(Duration::from_millis(250)).operation_timeout(Duration::from_secs(20));
        Self { client: builder.build().unwrap(), last, own: NotificationCategory::Unknown(own.to_owned()) }
    }

    async fn ensure(&self) -> Result<Acceptance, ErrorKind> {
        let target: NotificationTarget = TARGET.parse().unwrap();
        let ensured = self.client.notifications().ensure(self.own.clone(), target).await;
        ensured.map(|ensured| ensured.acceptance).map_err(|error| error.kind())
    }

    /// Ensures its filter, and returns whether that is said to be done, or which problem there is.
    async fn live(&self, pause: Duration) -> Result<bool, String> {
        const UNEXPLAINED: [ErrorKind; 4] =
            [ErrorKind::InvalidInput, ErrorKind::NotFound, ErrorKind::Internal, ErrorKind::Context];
        tokio::time::sleep(pause).await;
        let ensured = self.ensure().await;
        let last = self.last.0.lock().unwrap().clone();
        match ensured {
            Ok(_) if last.contains(&self.own.to_string()) => Ok(true),
            Ok(acceptance) => Err(format!("{} is {acceptance:?}, and the last look has shown {last:?}", self.own)),
            Err(kind) if UNEXPLAINED.contains(&kind) => Err(format!("{} fails with {kind:?}", self.own)),
            Err(_) => Ok(false),
        }
    }
}

fn injection(rng: &mut Rng) -> Injection {
    let faults = [
        Fault::Drop,
        Fault::Drop,
        Fault::Truncated,
        Fault::LateArrival(Duration::from_millis(rng.u64(0..LATE))),
        Fault::LateArrival(Duration::from_millis(rng.u64(0..LATE))),
        Fault::Status(500),
        Fault::UnsignedStatus(429),
        Fault::Status(491),
        Fault::Status(403),
    ];
    let fault = faults[rng.usize(0..faults.len())];
    let carried_out = rng.bool();
    let injection = match fault {
        Fault::Drop | Fault::Truncated | Fault::Status(500) => Injection::new(fault).carried_out(carried_out),
        _ => Injection::new(fault),
    };
    let operation = if rng.u8(0..3) == 0 { LIST } else { REPLACE };
    injection.on(operation).after(rng.u32(0..4)).times(rng.u32(1..4))
}

async fn play(seed: u64, sandbox: &Sandbox, processes: &[Process; 2]) -> Result<bool, String> {
    let mut rng = Rng::with_seed(seed);
    let settle = Duration::from_millis(2 * LATE);
    let [one, another] = processes;
    // Somebody has set one already.
    let others =
        serde_json::json!({ "notification_filters": [{ "category": "OTHERS", "notification_target": TARGET }] });
    one.client.api().call(REPLACE, &[], Some(&others)).await.unwrap();
    tokio::time::sleep(settle).await;
    (0..rng.usize(0..6)).for_each(|_| sandbox.inject(injection(&mut rng)));
    let [first, second] = [(); 2].map(|()| Duration::from_millis(rng.u64(0..60)));
    let (first, second) = join(one.live(first), another.live(second)).await;
    let done = [first?, second?];

    // When all requests have arrived and are shown.
    sandbox.clear_injections();
    tokio::time::sleep(LATE_ARRIVAL + settle).await;
    let mut has_lost = false;
    for (process, was_done) in processes.iter().zip(done) {
        match process.ensure().await {
            Ok(acceptance) => has_lost |= was_done && acceptance != Acceptance::Already,
            Err(kind) => return Err(format!("one more call for {} fails with {kind:?}", process.own)),
        }
    }
    tokio::time::sleep(settle).await;
    let mut all: Vec<_> = one.client.notifications().list().await.unwrap();
    all.sort_by(|one, another| one.category.as_str().cmp(another.category.as_str()));
    let all: Vec<_> = all.iter().map(|filter| filter.category.as_str()).filter(|name| *name != "OTHERS").collect();
    if all != ["FIRST", "SECOND"] {
        return Err(format!("after one more call each there is {all:?}"));
    }
    Ok(has_lost)
}

/// Plays the next schedule, until all are played; returns in how many a filter was lost that was there.
async fn work(worker: usize, next: Arc<AtomicU64>, end: u64) -> u64 {
    let mut profile = Profile::default();
    profile.filter_response = if worker.is_multiple_of(2) { FilterResponse::Id } else { FilterResponse::Filters };
    profile.filters_shown_after = Duration::from_millis([0, 50, LATE][worker % 3]);
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let processes = ["FIRST", "SECOND"].map(|own| Process::new(&sandbox, own));
    let mut lost = 0;
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return lost;
        }
        let has_lost = play(seed, &sandbox, &processes).await;
        lost += u64::from(has_lost.unwrap_or_else(|problem| panic!("BUNQ_PARTNER_SEED={seed}: {problem}")));
        sandbox.take_call_log();
    }
}

#[test]
fn none_says_done_for_what_it_has_not_seen_and_one_more_call_each_brings_all() {
    test_timeout::start();
    let one: Option<u64> = std::env::var("BUNQ_PARTNER_SEED").ok().map(|seed| seed.parse().unwrap());
    let (start, end) = one.map_or((0, SCHEDULES), |seed| (seed, seed + 1));
    let next = Arc::new(AtomicU64::new(start));
    let half = WORKERS / 2;
    let halves = [0..half, half..WORKERS].map(|workers| {
        let next = Arc::clone(&next);
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let work = |worker| runtime.spawn(work(worker, Arc::clone(&next), end));
            let workers: Vec<_> = workers.map(work).collect();
            runtime.block_on(join_all(workers)).into_iter().map(|worker| worker.unwrap()).sum::<u64>()
        })
    });
    let lost: u64 = halves.into_iter().map(|half| half.join().unwrap()).sum();
    // Otherwise the schedules would show nothing.
    assert!(one.is_some() || lost > 0, "no schedule has lost a filter");
}
