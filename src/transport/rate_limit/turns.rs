//! Tests of the turns that a partner and its users take within shared limits.

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Limits of one call in a second, for every operation.
fn limits(scope: LimitScope) -> Arc<RateLimits> {
    let set = Operation::ALL.iter().map(|operation| (operation.id, RateLimit::new(1, SECOND))).collect();
    Arc::new(RateLimits::new(false, set, scope, None))
}

fn caller(limits: &RateLimits, role: Role) -> Caller {
    limits.caller("https://bunq.test".into(), "fingerprint".into(), role)
}

/// Makes calls of one operation, each in a task of its own.
struct Calls {
    limits: Arc<RateLimits>,
    operation: &'static Operation,
    start: Instant,
}

impl Calls {
    fn new(limits: &Arc<RateLimits>, operation: &'static Operation) -> Self {
        Self { limits: Arc::clone(limits), operation, start: Instant::now() }
    }

    /// Begins a call, and waits until it has its place in the queue. The task returns after how many seconds the call was sent, or
    /// how long it would have had to wait.
    async fn begin(&self, caller: &Caller, rank: Rank, is_retry: bool, time: Duration) -> JoinHandle<Result<u64, u64>> {
        let (limits, caller, operation) = (Arc::clone(&self.limits), caller.clone(), self.operation);
        let (start, deadline) = (self.start, Instant::now() + time);
        let task = tokio::spawn(async move {
            let late = |no_permit| match no_permit {
                NoPermit::TooLate(wait) => wait.as_secs(),
                NoPermit::Failed(error) => panic!("{error}"),
            };
            let place = limits.approach(operation, rank, is_retry, deadline, &caller).await.map_err(late)?;
            drop(place.unwrap().permit().await.map_err(late)?);
            Ok(start.elapsed().as_secs())
        });
        tokio::task::yield_now().await;
        task
    }

    async fn next(&self, caller: &Caller) -> JoinHandle<Result<u64, u64>> {
        self.begin(caller, self.limits.next_rank(), false, 3600 * SECOND).await
    }
}

async fn sent<T>(tasks: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_user_delays_the_others_by_their_turns_alone() {
    test_timeout::start();
    let limits = limits(LimitScope::Address);
    let calls = Calls::new(&limits, &Operation::GET_ATTACHMENT);
    let flood = caller(&limits, Role::User);
    let mut of_flood = Vec::new();
    for _ in 0..1000 {
        of_flood.push(calls.next(&flood).await);
    }
    let (mut expected, mut of_others) = (Vec::new(), Vec::new());
    for _ in 0..99 {
        let other = caller(&limits, Role::User);
        expected.push(limits.expected_wait(calls.operation, &other).as_secs());
        // They have no time to wait for the flood.
        of_others.push(calls.begin(&other, limits.next_rank(), false, 110 * SECOND).await);
    }
    // The first call of the flood was sent at once.
    let waits = sent(of_others).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(waits, (2..=100).collect::<Vec<_>>());
    assert_eq!(waits, expected);
    let of_flood = sent(of_flood).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert!(of_flood.is_sorted(), "first come, first served within a caller: {of_flood:?}");
    assert_eq!((of_flood[1], of_flood[2], of_flood[999]), (1, 101, 1098));
}

/// Neither does a flood of verbs that began earlier, and whose requests come later.
#[tokio::test(start_paused = true)]
async fn a_call_with_an_earlier_rank_takes_no_turn_of_others() {
    test_timeout::start();
    let limits = limits(LimitScope::Address);
    let calls = Calls::new(&limits, &Operation::GET_ATTACHMENT);
    let [flood, other] = [0; 2].map(|_| caller(&limits, Role::User));
    let ranks: Vec<_> = (0..4).map(|_| limits.next_rank()).collect();
    let first = calls.next(&flood).await;
    let others = [calls.next(&other).await, calls.next(&other).await];
    let mut of_flood = Vec::new();
    for rank in ranks {
        of_flood.push(calls.begin(&flood, rank, false, 3600 * SECOND).await);
    }
    assert_eq!(sent([first]).await, [Ok(0)]);
    assert_eq!(sent(others).await, [Ok(1), Ok(3)]);
    assert_eq!(sent(of_flood).await, [Ok(2), Ok(4), Ok(5), Ok(6)]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_before_callers_that_came_after_it() {
    test_timeout::start();
    let limits = limits(LimitScope::Address);
    let calls = Calls::new(&limits, &Operation::GET_ATTACHMENT);
    let callers = [0; 3].map(|_| caller(&limits, Role::User));
    let rank = limits.next_rank();
    assert_eq!(sent([calls.begin(&callers[0], rank, false, SECOND).await]).await, [Ok(0)]);
    let others = [calls.next(&callers[1]).await, calls.next(&callers[2]).await];
    let again = calls.begin(&callers[0], rank, true, 10 * SECOND).await;
    assert_eq!(sent([again]).await, [Ok(1)]);
    assert_eq!(sent(others).await, [Ok(2), Ok(3)]);
}

/// All calls of the partner wait for its session.
#[tokio::test(start_paused = true)]
async fn the_partners_session_goes_before_those_of_users() {
    test_timeout::start();
    let limits = limits(LimitScope::Address);
    let partner = caller(&limits, Role::Partner);
    for operation in [&Operation::CREATE_SESSION, &Operation::GET_INSTALLATION] {
        let calls = Calls::new(&limits, operation);
        let mut users = Vec::new();
        for _ in 0..4 {
            users.push(calls.next(&caller(&limits, Role::User)).await);
        }
        // Three wait.
        let now = Instant::now();
        assert_eq!(limits.turn(operation, now, 0, now), Some(now + 4 * SECOND));
        assert_eq!(limits.turn(operation, now, 10, now), Some(now + 14 * SECOND));
        let is_urgent = operation == &Operation::CREATE_SESSION;
        let (expected, of_users) = if is_urgent { (1, [0, 2, 3, 4]) } else { (4, [0, 1, 2, 3]) };
        assert_eq!(limits.expected_wait(operation, &partner), expected * SECOND);
        let own = calls.next(&partner).await;
        assert_eq!(sent([own]).await, [Ok(expected.into())]);
        assert_eq!(sent(users).await, of_users.map(Ok));
    }
}

#[tokio::test(start_paused = true)]
async fn by_session_each_user_has_limits_of_its_own() {
    test_timeout::start();
    for (scope, second) in [(LimitScope::Address, 1), (LimitScope::Session, 0)] {
        let partners = limits(scope);
        for (operation, second) in [(&Operation::GET_ATTACHMENT, second), (&Operation::CREATE_SESSION, 1)] {
            let users = [partners.for_user(), partners.for_user()];
            for (expected, limits) in users.iter().enumerate() {
                let expected = if expected == 0 { 0 } else { second };
                let calls = Calls::new(limits, operation);
                let user = caller(limits, Role::User);
                assert_eq!(sent([calls.next(&user).await]).await, [Ok(expected)], "{scope:?} {operation:?}");
            }
            tokio::time::sleep(SECOND).await;
        }
    }
    // A window that nobody has used has no memory.
    let user = limits(LimitScope::Session).for_user();
    assert!(lock(&user.windows).is_empty());
    assert!(user.governs(&Operation::GET_ATTACHMENT) && lock(&user.windows).is_empty());
}
