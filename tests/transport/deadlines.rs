//! When a deadline passes, the error is about the last failure until then, and has its kind.

use std::time::Duration;

use bunq_partner::{
    BoxFuture, Client, ContextLock, ContextStore, Error, ErrorKind, Operation, ProvisionId, Secret, Sent,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::future::join_all;

use crate::common::{MemoryStore, at_once, calls, person};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Responds with 429 forever.
fn throttled(operation: &Operation) -> Injection {
    Injection::new(Fault::RetryAfter(HOUR)).on(operation).always()
}

fn reason(error: &Error) -> &Error {
    let source = std::error::Error::source(error).unwrap_or_else(|| panic!("no reason: {error}"));
    source.downcast_ref().unwrap()
}

/// Calls of every kind, each with this timeout.
async fn failures(client: &Client, id: ProvisionId, timeout: Duration) -> Vec<Error> {
    let provisions = client.provisions().operation_timeout(timeout);
    vec![
        provisions.get(id).await.map(drop).unwrap_err(),
        provisions.list().page().await.map(drop).unwrap_err(),
        provisions.close(id).await.map(drop).unwrap_err(),
        provisions.create(person()).await.map(drop).unwrap_err(),
        provisions.ensure(person()).await.map(drop).unwrap_err(),
        provisions.reset_token(id).await.map(drop).unwrap_err(),
        client.api().operation_timeout(timeout).list_device_servers().await.map(drop).unwrap_err(),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_holds_up_the_opening_is_the_reason() {
    test_timeout::start();
    for operation in [&Operation::CREATE_INSTALLATION, &Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION] {
        let sandbox = Sandbox::start().await.unwrap();
        let client = sandbox.client().operation_timeout(HOUR * 24).build().unwrap();
        let id = sandbox.populate(1)[0];
        sandbox.inject(throttled(operation));
        for error in failures(&client, id, 5 * SECOND).await {
            assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
            assert_eq!((error.operation(), error.status()), (Some(operation), Some(429)), "{error}");
            assert!(
                error.retry_after().unwrap() >= 60 * SECOND && error.is_from_bunq() && error.is_retryable(),
                "{error}"
            );
            assert!(!error.is_doubtful() && error.bunq_messages()[0].starts_with("Too many requests"), "{error}");
            let told = error.to_string();
            assert!(told.starts_with(&format!("the session was not open in time: {}: too many calls", operation.id)));
            assert_eq!(told.matches("bunq says: Too many requests.").count(), 1, "{error}");
            assert_eq!(reason(&error).kind(), ErrorKind::RateLimited);
        }
    }
}

/// Opening the session may take as long as the call.
#[tokio::test(start_paused = true)]
async fn a_wait_for_a_permit_is_the_reason() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let builder = sandbox.client().rate_limit(&Operation::CREATE_SESSION, 1, HOUR).operation_timeout(2 * HOUR);
    let client = builder.build().unwrap();
    let id = sandbox.populate(1)[0];
    client.open_session().await.unwrap();
    sandbox.end_sessions();
    let error = client.provisions().operation_timeout(5 * SECOND).get(id).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
    assert!(error.to_string().contains("create_session: rate limited: next slot in 3"), "{error}");
    assert!(error.retry_after().unwrap() > HOUR - 10 * SECOND, "{error}");
    // The opening continues.
    client.provisions().get(id).await.unwrap();
}

/// After a 429, one call goes at a time, and the others wait for its response.
#[tokio::test(start_paused = true)]
async fn a_wait_for_another_calls_response_is_the_reason() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let builder = sandbox.client().rate_limit(&Operation::GET_PROVISION, 3, 3 * SECOND);
    let client = builder.operation_timeout(HOUR).attempt_timeout(HOUR).build().unwrap();
    let id = sandbox.populate(1)[0];
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::RateLimited).on(&Operation::GET_PROVISION));
    sandbox.inject(Injection::new(Fault::Late(60 * SECOND)).on(&Operation::GET_PROVISION));
    let first = client.provisions();
    let other = async {
        tokio::time::sleep(10 * SECOND).await;
        client.provisions().operation_timeout(30 * SECOND).get(id).await
    };
    let (first, other) = tokio::join!(first.get(id), other);
    first.unwrap();
    let error = other.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
    assert!(
        error.to_string().contains("rate limited: bunq has refused a call, and has not answered the next one by this"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_call_gets_the_last_failure_so_far_of_the_opening_they_share() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let builder = sandbox.client().operation_timeout(HOUR).attempt_timeout(10 * SECOND).retry(at_once());
    let client = builder.build().unwrap();
    let id = sandbox.populate(1)[0];
    // First 491 at once, then no response for 10 s, then 503, and then only 429.
    for fault in [Fault::Status(491), Fault::Late(HOUR), Fault::Status(503)] {
        sandbox.inject(Injection::new(fault).on(&Operation::CREATE_SESSION));
    }
    sandbox.inject(throttled(&Operation::CREATE_SESSION));
    let timeouts = [2, 5, 9, 12, 15].map(|seconds| seconds * SECOND);
    let ended = timeouts.map(|timeout| {
        let provisions = client.provisions().operation_timeout(timeout);
        async move { provisions.get(id).await }
    });
    let ended = join_all(ended).await;
    let kinds: Vec<_> = ended.into_iter().map(|ended| ended.unwrap_err()).map(|error| error.kind()).collect();
    use ErrorKind::{Maintenance, RateLimited};
    assert_eq!(kinds, [Maintenance, Maintenance, Maintenance, RateLimited, RateLimited]);
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 4, "they share one opening");
}

/// A store that hangs in one of its steps.
#[derive(Debug)]
struct Hanging {
    store: MemoryStore,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Load,
    Save,
    Lock,
}

impl Hanging {
    async fn at(&self, step: Step) {
        if self.step == step {
            std::future::pending().await
        }
    }
}

impl ContextStore for Hanging {
    fn load(&self) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        Box::pin(async {
            self.at(Step::Load).await;
            self.store.load().await
        })
    }

    fn save<'a>(&'a self, lock: &'a ContextLock, context: Secret) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            self.at(Step::Save).await;
            self.store.save(lock, context).await
        })
    }

    fn lock(&self) -> BoxFuture<'_, Result<ContextLock, Error>> {
        Box::pin(async {
            self.at(Step::Lock).await;
            self.store.lock().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_the_reason() {
    test_timeout::start();
    for (step, kind, problem) in [
        (Step::Load, ErrorKind::Context, "its context was not loaded"),
        (Step::Save, ErrorKind::Context, "its context was not saved"),
        (Step::Lock, ErrorKind::Busy, "its lock was not released"),
    ] {
        // The call may take as long as the store's timeout, or less.
        for timeout in [5, 20] {
            let sandbox = Sandbox::start().await.unwrap();
            let store = Hanging { store: MemoryStore::default(), step };
            let client = sandbox.client().operation_timeout(20 * SECOND).context_store(store).build().unwrap();
            let provisions = client.provisions().operation_timeout(timeout * SECOND);
            let error = provisions.get(sandbox.populate(1)[0]).await.unwrap_err();
            assert_eq!((error.kind(), error.sent()), (kind, Sent::No), "{step:?}: {error}");
            assert!(error.to_string().starts_with("the session was not open in time: Hanging { "), "{error}");
            assert!(error.to_string().contains(problem) && reason(&error).kind() == kind, "{error}");
        }
    }
}

/// A wait that ends during a read says what held up that read.
#[tokio::test(start_paused = true)]
async fn a_wait_tells_what_held_up_its_last_read() {
    test_timeout::start();
    for operation in [&Operation::GET_PROVISION, &Operation::LIST_PROVISIONS, &Operation::CREATE_SESSION] {
        let sandbox = Sandbox::start().await.unwrap();
        let client = sandbox.client().operation_timeout(HOUR * 24).build().unwrap();
        let ids = sandbox.populate(3);
        if operation != &Operation::CREATE_SESSION {
            client.open_session().await.unwrap();
        }
        sandbox.inject(throttled(operation));
        let count = if operation == &Operation::GET_PROVISION { 1 } else { 3 };
        let wait = |id: &ProvisionId| client.provisions().wait_until_closed(*id).timeout(30 * SECOND).wait();
        let first: Vec<_> = ids.iter().take(count).map(wait).collect();
        // These wait for the next round.
        let later = async {
            tokio::time::sleep(SECOND).await;
            join_all(ids.iter().take(count).map(wait)).await
        };
        let (first, later) = tokio::join!(join_all(first), later);
        for ended in first.into_iter().chain(later) {
            let error = ended.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WaitTimeout, "{error}");
            let reason = reason(&error);
            assert_eq!((reason.kind(), reason.operation()), (ErrorKind::RateLimited, Some(operation)), "{error}");
            assert!(error.to_string().contains("bunq says: Too many requests"), "{error}");
        }
    }
}

/// A failure that has passed is not the reason.
#[tokio::test(start_paused = true)]
async fn a_failure_that_has_passed_is_no_reason() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let builder = sandbox.client().operation_timeout(HOUR).attempt_timeout(HOUR).retry(at_once());
    let client = builder.build().unwrap();
    let id = sandbox.populate(1)[0];
    sandbox.inject(Injection::new(Fault::Status(503)).on(&Operation::CREATE_DEVICE_SERVER));
    sandbox.inject(Injection::new(Fault::Late(HOUR)).on(&Operation::CREATE_SESSION));
    let error = client.provisions().operation_timeout(5 * SECOND).get(id).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No), "{error}");
    assert_eq!(error.to_string(), "get_provision: the session was not open in time");
}
