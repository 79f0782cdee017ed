//! bunq's rate limits: the client keeps to them, and the sandbox enforces them.

use std::time::Duration;

use bunq_partner::{Acceptance, Api, ClientBuilder, ErrorKind, LimitScope, MemoryCustody, Operation, Sent};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::{future::join_all, poll};
use tokio::time::Instant;

use crate::common::{at_once, calls, once, person, quick, ready};

const WINDOW: Duration = Duration::from_millis(200);

/// bunq's limits in short windows, so that a test passes through many of them.
const LIMITS: [(Operation, u32); 5] = [
    (Operation::CREATE_PROVISION, 5),
    (Operation::GET_PROVISION, 3),
    (Operation::LIST_PROVISIONS, 3),
    (Operation::UPDATE_PROVISION, 2),
    (Operation::CREATE_SESSION, 1),
];

async fn start() -> (Sandbox, ClientBuilder) {
    let sandbox = LIMITS
        .iter()
        .fold(Sandbox::builder(), |builder, (operation, calls)| builder.rate_limit(operation, *calls, WINDOW));
    let sandbox = sandbox.start().await.unwrap();
    let builder = sandbox.client();
    (sandbox, builder)
}

fn refused(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.status == 429).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_and_clones_meet_no_429() {
    test_timeout::start();
    let (sandbox, builder) = start().await;
    let client = builder.build().unwrap();
    let tasks = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let provisions = client.provisions();
            let id = ready(&client).await;
            assert!(quick(provisions.close(id).await.unwrap()).wait().await.unwrap().is_closed());
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
    assert_eq!(refused(&sandbox), 0);
    assert_eq!(calls(&sandbox, "POST", "/partner-user-provision").len(), 20);
}

#[tokio::test]
async fn users_share_limits_or_have_their_own() {
    test_timeout::start();
    for (scope, waits) in [(LimitScope::Address, true), (LimitScope::Session, false)] {
        let sandbox = Sandbox::start().await.unwrap();
        let hour = Duration::from_secs(3600);
        let partner = sandbox.client().rate_limit(&Operation::GET_INSTALLATION, 1, hour).limits_are_per(scope);
        let partner =
            partner.rate_limit(&Operation::CREATE_SESSION, 100, hour).custody(MemoryCustody::new()).build().unwrap();
        let mut users = Vec::new();
        for id in sandbox.populate(2) {
            users.push(partner.users().activate(id).await.unwrap());
        }
        users[0].api().get_installation().await.unwrap();
        let is_late = async |api: Api| {
            let called = api.operation_timeout(hour / 2).get_installation().await;
            called.is_err_and(|error| error.kind() == ErrorKind::RateLimited && error.sent() == Sent::No)
        };
        assert_eq!(is_late(partner.api()).await, waits, "{scope:?}");
        assert_eq!(is_late(users[1].api()).await, waits, "{scope:?}");
        assert!(is_late(users[0].api()).await, "{scope:?}");
    }
}

#[tokio::test]
async fn retries_take_permits_too() {
    test_timeout::start();
    let (sandbox, builder) = start().await;
    let client = builder.retry(at_once()).build().unwrap();
    client.provisions().list().page().await.unwrap();
    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION).times(3));
    let id = sandbox.populate(1)[0];
    client.provisions().get(id).await.unwrap();
    assert_eq!(calls(&sandbox, "GET", &id.to_string()).len(), 4);
    assert_eq!(refused(&sandbox), 0);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_calls_and_sets_the_limit() {
    test_timeout::start();
    let second = Duration::from_secs(1);
    for is_signed in [true, false] {
        let bank = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, 1, second).signed_refusals(is_signed);
        let sandbox = bank.start().await.unwrap();
        // The client is configured with a higher limit than bunq's.
        let client = sandbox.client().rate_limit(&Operation::GET_PROVISION, 4, second).retry(at_once());
        let client = client.build().unwrap();
        let id = sandbox.populate(1)[0];
        let provisions = client.provisions();
        let reads = join_all((0..6).map(|_| provisions.get(id))).await;
        assert!(reads.iter().all(Result::is_ok), "{reads:?}");
        // bunq refuses three of the first four calls. From then on the client keeps to the limit that bunq has named,
        // if bunq has signed it.
        assert!(refused(&sandbox) > 0);
        assert!(!is_signed || refused(&sandbox) <= 3, "{} refused", refused(&sandbox));
    }
}

/// Any machine on the way can write such a refusal.
#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_signature_closes_an_operation_for_a_minute_at_most() {
    test_timeout::start();
    const LIMIT: &str = "You can do a maximum of 1 calls per 3600 seconds to this endpoint.";
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let envelope = format!(r#"{{"Error":[{{"error_description":"{LIMIT}"}}]}}"#);
    for (body, retry_after, is_signed) in [
        (&*envelope, None, false),
        (&*envelope, Some("3600"), false),
        (LIMIT, Some("3600"), false),
        (&*envelope, None, true),
        (&*envelope, Some("3600"), true),
    ] {
        let sandbox = Sandbox::builder().signed_refusals(is_signed).start().await.unwrap();
        let client = sandbox.client().rate_limit(&Operation::GET_PROVISION, 3, 3 * second).build().unwrap();
        client.open_session().await.unwrap();
        let (id, provisions) = (sandbox.populate(1)[0], client.provisions());
        let forged = body.to_owned();
        sandbox.before_signing(move |_, response| {
            if response.status == 429 {
                response.body = forged.clone().into_bytes();
                response.headers.extend(retry_after.map(|after| ("Retry-After".to_owned(), after.to_owned())));
            }
        });
        sandbox.inject(Injection::new(Fault::RateLimited).on(&Operation::GET_PROVISION));
        let start = Instant::now();
        let read = provisions.get(id).await;
        if is_signed {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
            assert!(client.expected_wait(&Operation::GET_PROVISION) > 50 * minute);
            continue;
        }
        read.unwrap();
        assert!(start.elapsed() < minute + second, "{body} {retry_after:?}: {:?}", start.elapsed());
        // bunq has accepted a call, so only the configured limit applies.
        let admitted = Instant::now();
        for _ in 0..5 {
            provisions.get(id).await.unwrap();
        }
        assert!(admitted.elapsed() < 7 * second, "{body} {retry_after:?}: {:?}", admitted.elapsed());
    }
}

#[tokio::test]
async fn a_permit_that_comes_too_late_is_an_error_at_once() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let hour = Duration::from_secs(3600);
    let client = sandbox.client().rate_limit(&Operation::CREATE_PROVISION, 1, hour).build().unwrap();
    let provisions = client.provisions();
    drop(provisions.create(person()).await.unwrap());
    let before = sandbox.call_log().len();
    let error = provisions.create(person()).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.sent(), error.attempts()), (ErrorKind::RateLimited, Sent::No, 0));
    assert!(!error.is_doubtful());
    assert!(error.to_string().contains("rate limited: next slot in 3"), "{error}");
    assert!(error.retry_after().is_some_and(|pause| pause > hour / 2), "{error:?}");
    assert_eq!(sandbox.call_log().len(), before);
}

#[tokio::test]
async fn a_pause_of_bunqs_is_kept_between_the_requests_of_a_verb() {
    test_timeout::start();
    let sandbox = Sandbox::builder().signed_refusals(true).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).build().unwrap();
    sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::CREATE_PROVISION));
    sandbox.before_signing(|_, response| {
        if response.status == 503 {
            response.headers.push(("Retry-After".into(), "3600".into()));
        }
    });
    let error = client.provisions().create(person()).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Server, Some(Duration::from_secs(3600))));
    assert_eq!(calls(&sandbox, "POST", "/partner-user-provision").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_wakes_up_too_late_is_not_sent() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let (second, patience) = (Duration::from_secs(1), Duration::from_secs(3));
    let builder = sandbox.client().rate_limit(&Operation::GET_PROVISION, 1, second).operation_timeout(patience);
    let client = builder.retry(at_once()).build().unwrap();
    let (id, provisions) = (sandbox.populate(1)[0], client.provisions());
    client.open_session().await.unwrap();
    provisions.get(id).await.unwrap();
    let mut stalled = Box::pin(provisions.get(id));
    assert!(poll!(&mut stalled).is_pending());
    tokio::time::sleep(patience).await;
    let before = sandbox.call_log().len();
    let error = stalled.await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No));
    assert_eq!(sandbox.call_log().len(), before);
}

/// Clients that do not know of each other.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_share_an_address_all_finish() {
    test_timeout::start();
    let (sandbox, _) = start().await;
    let clients: Vec<_> = (0..4).map(|_| sandbox.client().build().unwrap()).collect();
    // They start together, however long each takes to generate its key.
    join_all(clients.iter().map(|client| async { client.open_session().await.unwrap() })).await;
    sandbox.take_call_log();
    let closings = clients.into_iter().flat_map(|client| {
        sandbox.populate(4).into_iter().map(move |id| {
            let client = client.clone();
            tokio::spawn(async move { client.provisions().close(id).await.unwrap().acceptance() })
        })
    });
    for acceptance in join_all(closings).await {
        assert_eq!(acceptance.unwrap(), Acceptance::Accepted);
    }
    assert!(refused(&sandbox) > 0, "they did not get in each other's way");
}

#[tokio::test(start_paused = true)]
async fn a_neighbours_calls_are_waited_for() {
    test_timeout::start();
    let sandbox = Sandbox::builder().rate_limit(&Operation::UPDATE_PROVISION, 2, WINDOW).start().await.unwrap();
    // A 429 does not count as an attempt.
    let client = sandbox.client().retry(once()).build().unwrap();
    client.open_session().await.unwrap();
    let id = sandbox.populate(1)[0];
    assert_eq!(sandbox.call_as_neighbour(&Operation::UPDATE_PROVISION, 2), 2);
    client.provisions().close(id).await.unwrap().await.unwrap();
    assert!(refused(&sandbox) > 0);
}

/// Many closings at once, in the simplest code.
#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_permits_as_long_as_they_may_take() {
    test_timeout::start();
    let (second, limit) = (Duration::from_secs(1), Duration::from_millis(20));
    for (timeout, all_succeed) in [(second / 5, false), (60 * second, true)] {
        let sandbox = Sandbox::builder().rate_limit(&Operation::UPDATE_PROVISION, 2, limit).start().await.unwrap();
        let client = sandbox.client().operation_timeout(timeout).build().unwrap();
        client.open_session().await.unwrap();
        let provisions = client.provisions();
        let closings = join_all(sandbox.populate(100).into_iter().map(|id| provisions.close(id))).await;
        let errors: Vec<_> = closings.into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.is_empty(), all_succeed, "{errors:?}");
        let mut told = 0;
        for error in errors {
            assert_eq!(error.sent(), Sent::No);
            // On a busy machine a call can also wake up too late.
            let is_told = error.to_string().contains("raise `operation_timeout` to wait");
            assert!(is_told || error.kind() == ErrorKind::Timeout, "{error}");
            told += usize::from(is_told);
        }
        assert_eq!(told > 0, !all_succeed);
        assert_eq!(refused(&sandbox), 0);
    }
}
