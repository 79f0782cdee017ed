//! The tables of cases of requests and of checks.

use std::future::ready;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::sleep;

use super::*;
use crate::error::CallMetadata;
use crate::operation::Operation;
use crate::retry::RetryPolicy;
use crate::transport::rate_limit::RateLimits;

const SECOND: Duration = Duration::from_secs(1);

fn reconcile(in_doubt: InDoubt, in_flight: &mut InFlight) -> Reconcile<'_> {
    let rank = RateLimits::none().next_rank();
    Reconcile {
        policy: CallPolicy::new(RetryPolicy::default().initial_backoff(SECOND), true),
        budget: CallBudget::after(120 * SECOND, rank),
        poll_interval: 2 * SECOND,
        late_arrival: 10 * SECOND,
        in_doubt,
        in_flight,
    }
}

fn failure(kind: ErrorKind, sent: Sent) -> Error {
    Error::new(kind, sent, "").with_metadata(CallMetadata::new(&Operation::CREATE_PROVISION, 1))
}

/// bunq's own refusal.
fn refusal(kind: ErrorKind, status: u16) -> Error {
    let metadata = CallMetadata { status: Some(status), ..CallMetadata::new(&Operation::CREATE_PROVISION, 1) };
    Error::new(kind, Sent::Responded, "").with_metadata(metadata).with_refusal(true, &[], None)
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_a_request_has_its_decision() {
    test_timeout::start();
    let again = |pause| Ok(pause * SECOND);
    let (not_sent, refused) = (Err("not sent"), Err("refused"));
    // The decisions with `Repeat`, `RepeatAfterLateArrival` and `Stop`.
    for (failures, expected) in [
        (vec![failure(ErrorKind::Connect, Sent::No)], [not_sent; 3]),
        (vec![failure(ErrorKind::Connection, Sent::Maybe)], [again(1), again(10), refused]),
        (vec![failure(ErrorKind::Server, Sent::Responded)], [again(1), again(10), refused]),
        (vec![failure(ErrorKind::InvalidResponse, Sent::Responded)], [refused; 3]),
        (vec![refusal(ErrorKind::Rejected, 400)], [refused; 3]),
        (vec![refusal(ErrorKind::Maintenance, 491)], [again(1); 3]),
        // The check opens another session, once.
        (vec![refusal(ErrorKind::Unauthorized, 401)], [again(0); 3]),
        (vec![refusal(ErrorKind::Unauthorized, 401); 2], [refused; 3]),
        // A doubt stays.
        (
            vec![failure(ErrorKind::Connection, Sent::Maybe), refusal(ErrorKind::Maintenance, 491)],
            [again(2), again(10), refused],
        ),
        (vec![refusal(ErrorKind::Maintenance, 491); 4], [refused; 3]),
    ] {
        let all = [InDoubt::Repeat, InDoubt::RepeatAfterLateArrival, InDoubt::Stop];
        for (in_doubt, expected) in all.into_iter().zip(expected) {
            let (mut in_flight, sent, earlier) = (InFlight::NONE, InFlight::NONE, InFlight::NONE);
            let (of, send, check) = (reconcile(in_doubt, &mut in_flight), (), ());
            let (is_renewed, doubt, last) = (false, None, None);
            let mut requests = RequestAttempts { of, send, check, sent, earlier, is_renewed, doubt, last };
            let decisions: Vec<_> =
                failures.iter().map(|failure| requests.after(failure, Instant::now(), 1.0)).collect();
            let decided = match decisions.last().unwrap() {
                Decision::RetryAfter(pause) => Ok(*pause),
                Decision::Stop(Some(_)) => Err("not sent"),
                Decision::Stop(None) => Err("refused"),
            };
            assert_eq!(decided, expected, "{failures:?} {in_doubt:?}");
            let is_doubtful = failures.iter().any(Error::is_doubtful);
            let left = if is_doubtful { 10 * SECOND } else { Duration::ZERO };
            assert_eq!((in_flight.is_any(), in_flight.left()), (is_doubtful, left), "{failures:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_a_check_has_its_decision() {
    test_timeout::start();
    let again = |pause: u32| Ok(pause * SECOND);
    let (none, seen) = (None, |kind| Some(Error::new(kind, Sent::Responded, "")));
    let asks = |pause| Some(failure(ErrorKind::Maintenance, Sent::Responded).with_retry_after(Some(pause)));
    let of_this_machine = || Some(failure(ErrorKind::Internal, Sent::No));
    let forbidden = || Some(refusal(ErrorKind::Forbidden, 403));
    // What a check has shown that is early by so many seconds, whether the request is in doubt, and how many checks have failed.
    for (seen, early, is_in_doubt, failures, expected) in [
        (none.clone(), 0, true, 0, Err("not done")),
        (none.clone(), 1, true, 0, again(1)),
        (none.clone(), 9, true, 0, again(2)),
        (none.clone(), 200, true, 0, Err("the doubt")),
        (none, 200, false, 0, Err("doubtful")),
        (seen(ErrorKind::Duplicate), 9, true, 0, Err("Duplicate")),
        (seen(ErrorKind::Unattainable), 9, true, 0, again(2)),
        (seen(ErrorKind::Unattainable), 0, true, 0, Err("the doubt")),
        (seen(ErrorKind::Unattainable), 0, false, 0, Err("Unattainable")),
        (seen(ErrorKind::Server), 0, true, 0, Err("the doubt")),
        (seen(ErrorKind::Server), 0, false, 0, again(2)),
        (seen(ErrorKind::Server), 0, false, 2, again(8)),
        (seen(ErrorKind::Server), 0, false, 9, again(20)),
        (asks(30 * SECOND), 0, false, 0, again(30)),
        (asks(200 * SECOND), 0, false, 0, Err("doubtful")),
        (of_this_machine(), 0, false, 0, Err("doubtful")),
        (forbidden(), 0, false, 0, Err("forbidden")),
    ] {
        let refusal = refusal(ErrorKind::Rejected, if expected == Err("forbidden") { 403 } else { 400 });
        let lost = failure(ErrorKind::Connection, Sent::Maybe);
        let mut in_flight = InFlight::NONE;
        let Reconcile { budget, poll_interval, .. } = reconcile(InDoubt::Stop, &mut in_flight);
        let backoff = Backoff { initial: poll_interval, max: 20 * SECOND, jitter: Jitter::None };
        let (check, at, refusal) = ((), Instant::now() + early * SECOND, &refusal);
        let doubt = Some(&lost).filter(|_| is_in_doubt);
        let mut checks = CheckAttempts { check, at, refusal, doubt, budget, backoff, failures };
        let decided = match checks.after(&seen, Instant::now(), 1.0) {
            Decision::RetryAfter(pause) => Ok(pause),
            Decision::Stop(None) => Err("not done"),
            Decision::Stop(Some(error)) => Err(match error.kind() {
                ErrorKind::Connection => "the doubt",
                ErrorKind::Forbidden if error.is_doubtful() => "forbidden",
                _ if error.is_doubtful() => "doubtful",
                kind => kind.as_str(),
            }),
        };
        assert_eq!(decided, expected, "{seen:?} {early} {is_in_doubt} {failures}");
    }
}

/// A doubtful error leaves a request in flight for whoever goes on.
#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_is_in_flight() {
    test_timeout::start();
    let lost = || failure(ErrorKind::Connection, Sent::Maybe);
    let read = |kind| Error::new(kind, Sent::Responded, "");
    for (of_request, of_check, is_doubtful) in [
        (failure(ErrorKind::Connect, Sent::No), None, false),
        (refusal(ErrorKind::Rejected, 400), None, false),
        (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Internal).before_sending()), true),
        (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Server)), true),
        (refusal(ErrorKind::Forbidden, 403), Some(read(ErrorKind::Forbidden)), true),
        (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Duplicate)), false),
        (refusal(ErrorKind::Rejected, 400), Some(read(ErrorKind::Unattainable)), false),
        (lost(), None, true),
        (lost(), Some(read(ErrorKind::Server)), true),
    ] {
        let mut in_flight = InFlight::NONE;
        let reconcile = reconcile(InDoubt::Stop, &mut in_flight);
        let send = |_| ready(Err::<(), _>(of_request.clone()));
        let outcome = reconcile.until_known(send, || ready(of_check.clone().map_or(Ok(None), Err))).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.is_doubtful(), in_flight.is_any()), (is_doubtful, is_doubtful), "{error:?}, {of_check:?}");
    }
}

/// Sends a request that is lost on its way and arrives so late; how often it is sent until it is found.
async fn sent(arrives_after: Duration, checking_takes: Duration) -> u32 {
    let (start, sent) = (Instant::now(), AtomicU32::new(0));
    let send = |_| async {
        sent.fetch_add(1, Ordering::Relaxed);
        Err(failure(ErrorKind::Connection, Sent::Maybe))
    };
    let check = || async {
        let has_arrived = start.elapsed() >= arrives_after;
        sleep(checking_takes).await;
        Ok(has_arrived.then_some(()))
    };
    let mut in_flight = InFlight::NONE;
    let reconcile = reconcile(InDoubt::RepeatAfterLateArrival, &mut in_flight);
    let outcome = reconcile.until_known(send, check).await.unwrap();
    assert!(in_flight.is_any());
    let sent = sent.into_inner();
    assert_eq!((outcome.acceptance, outcome.earlier.is_any()), (Acceptance::Found, sent > 1));
    sent
}

#[tokio::test(start_paused = true)]
async fn what_arrives_in_time_is_not_sent_again_however_long_a_check_takes() {
    test_timeout::start();
    for checking_takes in [Duration::ZERO, SECOND, 3 * SECOND, 7 * SECOND, 30 * SECOND] {
        for seconds in 0..=10 {
            assert_eq!(sent(seconds * SECOND, checking_takes).await, 1, "{seconds} s, {checking_takes:?}");
        }
        assert_eq!(sent(15 * SECOND + checking_takes, checking_takes).await, 2, "{checking_takes:?}");
    }
}
